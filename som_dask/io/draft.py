"""Drafts: Zarr stores that are being written, which readers see when they are whole and not before.

A local store is written beside its place and renamed. Object stores can't rename, and copying would double the work.
There the chunks are written where they belong, and the metadata documents, without which nothing can be opened, are
written when all chunks are there, the root's last. A store that is to be replaced stays as it is until then, because
the new chunks have keys of another form: Zarr knows ``c/0/1`` and ``0.1``. As the root's document holds the metadata
of all arrays, writing it replaces the old store in one step for readers of consolidated metadata, such as xarray.
Others may meanwhile see some arrays of the old and some of the new store.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import xarray as xr
import zarr.storage

from som_dask.errors import StorageError
from som_dask.io.claims import check_claimed
from som_dask.io.files import (
    PathOrUrl,
    beside_for_me,
    create,
    exists,
    is_url,
    list_tree,
    local_path,
    names_in,
    read_bytes,
    remove,
    remove_all,
    write_bytes,
)
from som_dask.io.leftovers import remove_leftovers
from som_dask.io.outputs import ROOTS, publish, work_folder
from som_dask.io.stores import open_zarr_node
from som_dask.io.withheld import DOCUMENT, WithheldMetadata

__all__ = ["Draft", "LocalDraft", "ObjectDraft", "open_draft", "published_run_id"]

ENCODINGS = ({"name": "default", "separator": "/"}, {"name": "v2", "separator": "."})
CHUNKS = {"default": re.compile(r"c(/\d+)*"), "v2": re.compile(r"\d+(\.\d+)*")}  # keys of chunks within an array


class Draft(Protocol):
    """A Zarr store that is being written.

    Attributes
    ----------
    target : str or zarr Store
        What `xarray.Dataset.to_zarr` and `xarray.open_zarr` take, here and on workers.
    """

    target: Any

    @property
    def run_id(self) -> str | None:
        """The attribute ``run_id`` that the draft was begun with; None if nothing is left to be continued."""

    def take_up(self) -> None:
        """Remove the files that an earlier run was writing when it ended."""

    def write(self, dataset: xr.Dataset, encoding: Mapping[str, Any], *, compute: bool = True) -> None:
        """Begin anew, with a Dataset; with ``compute=False`` its Dask arrays are written later, by regions."""

    def publish(self, *, overwrite: bool) -> None:
        """Show the store to readers, in place of an old one if `overwrite` allows it.

        Raises
        ------
        StorageError
            If there is another store and it may not be replaced, or if it can't be done; then nothing has changed.
        """

    def discard(self) -> None:
        """Remove all that was written."""


def open_draft(place: PathOrUrl) -> Draft:
    """Open an empty draft that this process writes in one go.

    Parameters
    ----------
    place : path or fsspec URL
        Where the store will be; a URL must be claimed.
    """
    if is_url(place):
        return ObjectDraft(place)
    remove_leftovers(place)
    return LocalDraft(place, beside_for_me(place))


class LocalDraft:
    """A draft on a local disk, which is renamed when it is whole.

    Parameters
    ----------
    place : path
    target : path
        Where it is written, on the same disk.
    work : path, optional
        The folder that holds it and all else that belongs to it alone.
    """

    def __init__(self, place: PathOrUrl, target: str, work: str | None = None) -> None:
        self.place, self.target, self.work = local_path(place), target, work or target

    @property
    def run_id(self) -> str | None:
        """See `Draft`."""
        try:
            return open_zarr_node(self.target).attrs.get("run_id")
        except StorageError:
            return None  # it was published by a run that was killed before it had removed the rest

    def take_up(self) -> None:
        """See `Draft`."""
        for folder, _, files in os.walk(self.target):
            for name in files:
                if name.endswith(".partial"):  # Zarr renames each file when it is complete
                    remove(f"{folder}/{name}")

    def write(self, dataset: xr.Dataset, encoding: Mapping[str, Any], *, compute: bool = True) -> None:
        """See `Draft`."""
        remove(self.work)
        _write(dataset, self.target, encoding, compute)

    def publish(self, *, overwrite: bool) -> None:
        """See `Draft`."""
        publish(self.target, self.place, overwrite=overwrite)
        remove(self.work)

    def discard(self) -> None:
        """See `Draft`."""
        remove(self.work)


class ObjectDraft:
    """A draft at a URL, whose metadata documents are written last.

    Parameters
    ----------
    place : fsspec URL
        It must be claimed. What another process has begun there is taken up.
    """

    def __init__(self, place: PathOrUrl) -> None:
        self.place, self.work = str(place).rstrip("/"), work_folder(place)
        self._kept = f"{self.work}/documents.json"
        self.documents: dict[str, bytes] = {}
        if exists(self._kept):
            self.documents |= {key: text.encode() for key, text in json.loads(read_bytes(self._kept)).items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that storages without asynchronous functions are used nevertheless
            store = zarr.storage.FsspecStore.from_url(self.place)
        self.target = WithheldMetadata(store, self.documents)

    @property
    def run_id(self) -> str | None:
        """See `Draft`."""
        began = _run_id_of(self.documents.get(DOCUMENT))
        is_published = began is not None and published_run_id(self.place) == began
        return None if is_published else began

    def take_up(self) -> None:
        """See `Draft`: an object is there when it is complete."""

    def write(self, dataset: xr.Dataset, encoding: Mapping[str, Any], *, compute: bool = True) -> None:
        """See `Draft`."""
        old = names_in(self.place)
        if old and not ROOTS & set(old) and not exists(self.work):
            raise StorageError(f"{self.place} is not a Zarr store and is never overwritten; choose another output")
        # Says of what is there without a root that it is a draft.
        write_bytes(self._kept, b"{}")
        kept = os.path.basename(self._kept)
        remove_all(f"{self.work}/{key}" for key in list_tree(self.work) if key != kept)
        form = self._make_room()
        self.documents.clear()
        encoding = {name: {**entries, "chunk_key_encoding": form} for name, entries in encoding.items()}
        _write(dataset, self.target, encoding, compute)
        write_bytes(self._kept, json.dumps({key: data.decode() for key, data in self.documents.items()}).encode())

    def _make_room(self) -> dict[str, str]:
        """Remove what is in the way of new chunks, but not an old store; return a form of keys that it hasn't."""
        old = self._old_forms()
        form = next((form for form in ENCODINGS if form["name"] not in old), ENCODINGS[0])
        if form["name"] in old or not old:
            remove(self.place)
        else:
            found = list_tree(self.place)
            remove_all(f"{self.place}/{key}" for key in found if _is_chunk(key, form["name"]))
        return form

    def _old_forms(self) -> set[str]:
        """Return which forms of keys the store has that can be opened now; none if there is none."""
        names = set(names_in(self.place))
        if DOCUMENT not in names:
            return {"v2"} if ROOTS & names else set()
        root = json.loads(read_bytes(f"{self.place}/{DOCUMENT}"))
        arrays = (root.get("consolidated_metadata") or {}).get("metadata", {}).values()
        if not arrays:
            found = [key for key in list_tree(self.place) if key.endswith(f"/{DOCUMENT}")]
            arrays = [root, *(json.loads(read_bytes(f"{self.place}/{key}")) for key in found)]
        return {array["chunk_key_encoding"]["name"] for array in arrays if "chunk_key_encoding" in array} or {"v2"}

    def publish(self, *, overwrite: bool) -> None:
        """See `Draft`."""
        check_claimed(self.place)
        replaces = bool(ROOTS & set(names_in(self.place)))
        if replaces and not overwrite:
            raise StorageError(f"{self.place} has appeared in the meantime; choose another output")
        for key in sorted(self.documents.keys() - {DOCUMENT}):
            write_bytes(f"{self.place}/{key}", self.documents[key])
        root = f"{self.place}/{DOCUMENT}"
        if replaces:
            write_bytes(root, self.documents[DOCUMENT])
            old = [key for key in list_tree(self.place) if key not in self.documents and not self._is_own_chunk(key)]
            remove_all(f"{self.place}/{key}" for key in old)
        elif not create(root, self.documents[DOCUMENT]):
            raise StorageError(f"{self.place} has appeared in the meantime; choose another output")
        remove(self.work)

    def discard(self) -> None:
        """See `Draft`."""
        if not ROOTS & set(names_in(self.place)):
            remove(self.place)
        else:
            remove_all(f"{self.place}/{key}" for key in list_tree(self.place) if self._is_own_chunk(key))
        remove(self.work)

    def _is_own_chunk(self, key: str) -> bool:
        document = self.documents.get(f"{key.partition('/')[0]}/{DOCUMENT}")
        return document is not None and _is_chunk(key, json.loads(document)["chunk_key_encoding"]["name"])


def published_run_id(place: PathOrUrl) -> str | None:
    """Return the attribute ``run_id`` of the Zarr store that readers see at a path or URL; None if there is none."""
    root = f"{os.fspath(place).rstrip('/')}/{DOCUMENT}"
    return _run_id_of(read_bytes(root)) if exists(root) else None


def _run_id_of(root: bytes | None) -> str | None:
    return json.loads(root or b"{}").get("attributes", {}).get("run_id")


def _is_chunk(key: str, form: str) -> bool:
    """Whether this can be the key of a chunk, ``ARRAY/CHUNK``, in one of the forms."""
    return CHUNKS[form].fullmatch(key.partition("/")[2]) is not None


def _write(dataset: xr.Dataset, target: Any, encoding: Mapping[str, Any], compute: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about consolidated metadata
        options: dict[str, Any] = {"mode": "w-", "zarr_format": 3, "consolidated": True, "compute": compute}
        dataset.to_zarr(target, encoding=encoding, **options)
