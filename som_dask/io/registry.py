"""A registry of trained maps: versioned, with provenance, whole or not there.

One folder holds one model: ``ROOT/environment/name/code_version/model_version/revision/`` with ``claim``,
``model.zarr`` and ``manifest.json``. The claim is created first and gives the number to one writer; the manifest is
written last, and a folder without it holds no model. Nothing is pickled. A number is never given to a second model,
so the claim stays when a model is deleted.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import fsspec
import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.errors import ModelExistsError, ModelNotFoundError, ParameterError, SomError, StorageError
from som_dask.io import models as schema
from som_dask.io.files import (
    check_free,
    create,
    is_url,
    make_durable,
    names_in,
    read_bytes,
    remove,
    write_bytes,
)
from som_dask.io.manifest import Entry, dataset_digest, provenance
from som_dask.io.model_key import NUMBER, ModelKey, Reference, check_name
from som_dask.io.models import open_model, save_model

__all__ = ["ENVIRONMENT", "MODEL_VERSION", "PROMOTED", "Registry", "resolve"]

ENVIRONMENT, PROMOTED, MODEL_VERSION = "dev", "prod", "1"  # the defaults
CLAIM, MODEL, MANIFEST = "claim", "model.zarr", "manifest.json"
Entries = list[Entry]  # inside the class, `list` is its method


class Registry:
    """Trained maps under one root, by environment, name, code version, model version and revision.

    Parameters
    ----------
    root : path or fsspec URL
        Made by the first `save`.
    environment : str
        Where `save`, `load` and `list` look: "dev", "prod", or any name of your own.

    Raises
    ------
    ParameterError
        If the environment is no name.
    StorageError
        If the root's protocol is not known.

    Notes
    -----
    Two writers never get one revision on local disks, in memory, and on object stores with conditional writes (S3,
    Google, Azure, with current s3fs, gcsfs, adlfs). On others two processes that save within the same moment
    may; the later one ends with an error, or the digest tells when the model is loaded.
    """

    def __init__(self, root: str | os.PathLike[str], environment: str = ENVIRONMENT) -> None:
        self.environment = check_name("environment", environment)
        place = os.fspath(root)
        if not place:
            raise ParameterError("the registry's root is empty; give a path or URL")
        if is_url(place):
            try:
                filesystem, path = fsspec.core.url_to_fs(place)
            except (ValueError, ImportError) as error:
                raise StorageError(f"can't use the registry {place}: {error}") from error
            if "file" in np.atleast_1d(filesystem.protocol):  # as a path it has the system's own guarantees
                place = path
        self.root = place.rstrip("/") or "/"

    def __repr__(self) -> str:
        return f"Registry({self.root!r}, environment={self.environment!r})"

    # What there is

    def place(self, key: ModelKey | str) -> str:
        """Path or URL of a model's Zarr store."""
        return f"{self._folder(key)}/{MODEL}"

    def environments(self) -> builtins.list[str]:
        """Names of all environments that hold something."""
        return sorted(name for name in self._names(self.root) if self._names(f"{self.root}/{name}"))

    def list(self) -> Entries:
        """All models of this environment, newest first by the time they were saved, then by key.

        A manifest that is damaged is passed over with a warning.

        Returns
        -------
        list of Entry
        """
        entries = []
        for key in self._keys(self.environment):
            try:
                entries.append(self.entry(key))
            except ModelNotFoundError:
                continue  # deleted since
            except StorageError as error:
                warnings.warn(str(error), stacklevel=2)
        return sorted(entries, key=lambda entry: (entry.created, entry.key.order()), reverse=True)

    def find(
        self,
        name: str,
        code_version: str | None = None,
        model_version: str | None = None,
        revision: int | None = None,
    ) -> ModelKey:
        """The key of a model; parts left out mean the newest.

        Newest is the highest code version, of these the highest model version, of these the highest revision.
        Versions compare by their numbers: 1.10.0 is newer than 1.9.0.

        Raises
        ------
        ModelNotFoundError
            If there is none; the message tells what there is.
        ParameterError
            If a part can't be used.
        """
        wanted = Reference(name, self.environment, code_version, model_version, revision)
        found = tuple(self._keys(self.environment, wanted))
        if not found:
            raise ModelNotFoundError(f"{self.root} has no model {_told(wanted)}; {self._there_is(name)}")
        return max(found, key=ModelKey.order)

    def entry(self, key: ModelKey | str) -> Entry:
        """What is known of a model, of any environment.

        Raises
        ------
        ModelNotFoundError
            If there is none.
        StorageError
            If its manifest is damaged.
        """
        key = ModelKey.parse(key)
        place = f"{self._folder(key)}/{MANIFEST}"
        if MANIFEST not in self._names(self._folder(key), every=True):
            raise ModelNotFoundError(f"{self.root} has no model {key}; {self._there_is(key.name, key.environment)}")
        try:
            entry = Entry.from_json(read_bytes(place))
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(f"the manifest {place} is damaged ({error}); restore it or delete {key}") from error
        if entry.key != key:
            raise StorageError(f"the manifest {place} is of {entry.key}; restore it or delete {key}")
        return entry

    # Reading and writing

    def load(
        self,
        name: str,
        code_version: str | None = None,
        model_version: str | None = None,
        revision: int | None = None,
    ) -> xr.Dataset:
        """Load a model and see that it is the one that was saved.

        Parameters
        ----------
        name : str
        code_version, model_version : str, optional
        revision : int, optional
            Parts left out mean the newest; see `find`.

        Returns
        -------
        xarray.Dataset
            In memory; see `som_dask.io.models.model_dataset`.

        Raises
        ------
        ModelNotFoundError
            If there is none.
        StorageError
            If model or manifest are damaged.
        ParameterError
            If a part can't be used.
        """
        return self.load_key(self.find(name, code_version, model_version, revision))

    def load_key(self, key: ModelKey | str) -> xr.Dataset:
        """As `load`, for a whole key of any environment."""
        entry = self.entry(key)
        return self._verified(entry.key, entry.sha256)

    def save(
        self,
        model: Any,
        name: str,
        *,
        model_version: str = MODEL_VERSION,
        parent: ModelKey | str | None = None,
        revision: int | None = None,
    ) -> ModelKey:
        """Save a model under the next revision of its name.

        Its code version is that of som_dask as it runs. It is read back before its manifest is written.

        Parameters
        ----------
        model : xarray.Dataset of `som_dask.fit`, or an object whose ``to_dataset()`` gives one
        name : str
        model_version : str
            Yours to choose: a set of features, a lattice.
        parent : ModelKey or str, optional
            The revision that it succeeds; by default the newest before it of the same name and versions.
        revision : int, optional
            By default the one after the highest that was ever given.

        Returns
        -------
        ModelKey

        Raises
        ------
        ModelExistsError
            If the revision asked for was given before; a `FileExistsError`.
        ModelNotFoundError
            If the parent is not in the registry.
        ParameterError
            If a part of the key can't be used, or `model` is no model.
        StorageError
            If it can't be written; then nothing is left of it, but its number may be passed over.
        """
        number = 1 if revision is None else revision
        key = ModelKey(self.environment, name, __version__, model_version, number)
        dataset = _dataset_of(model)
        before = None if parent is None else self.entry(parent).key
        entry = Entry(
            key=key,
            created="",
            sha256=dataset_digest(dataset),
            parent=before,
            promoted_from=None,
            **provenance(dataset),
        )
        return self._publish(dataset, entry, next_free=revision is None)

    def check_can_save(self, name: str, model_version: str = MODEL_VERSION) -> None:
        """See before any work that a model can be saved under this name.

        Raises
        ------
        ParameterError
            If a part of the key can't be used.
        StorageError
            If its folder can't be written to.
        """
        folder = os.path.dirname(self._folder(ModelKey(self.environment, name, __version__, model_version, 1)))
        if not is_url(folder):
            try:
                os.makedirs(folder, exist_ok=True)
            except OSError as error:
                raise StorageError(f"can't write to {folder}: {error.strerror}; choose another registry") from error
        check_free(f"{folder}/{MODEL}", overwrite=False)

    def promote(self, key: ModelKey | str, to: str = PROMOTED) -> ModelKey:
        """Copy a model and its provenance to another environment, as the next revision there.

        Parameters
        ----------
        key : ModelKey or str
            It stays as it is.
        to : str
            The other environment.

        Returns
        -------
        ModelKey
            Of the copy; its entry tells what it was promoted from.

        Raises
        ------
        ModelNotFoundError
            If there is no such model.
        ParameterError
            If it is in that environment already.
        StorageError
            If it is damaged, or the copy can't be written.
        """
        source = self.entry(key)
        if check_name("environment", to) == source.key.environment:
            raise ParameterError(f"{source.key} is in {to} already; promote it to another environment")
        dataset = self._verified(source.key, source.sha256).drop_encoding()
        copy = replace(source, key=replace(source.key, environment=to, revision=1), promoted_from=source.key)
        return self._publish(dataset, copy, next_free=True)

    def delete(self, key: ModelKey | str) -> None:
        """Remove a model: its manifest first, so that one half deleted can't be loaded.

        The same call removes what a killed `save` or `delete` left. The revision is not given again.

        Raises
        ------
        ModelNotFoundError
            If there is nothing.
        """
        key = ModelKey.parse(key)
        folder = self._folder(key)
        if not set(self._names(folder, every=True)) - {CLAIM}:
            raise ModelNotFoundError(f"{self.root} has no model {key}; {self._there_is(key.name, key.environment)}")
        try:
            self._clear(folder)
        except OSError as error:
            raise StorageError(f"can't delete {folder}: {error.strerror or error}; delete {key} again") from error

    # Folders

    def _folder(self, key: ModelKey | str) -> str:
        return f"{self.root}/{ModelKey.parse(key)}"

    def _names(self, folder: str, *, every: bool = False) -> builtins.list[str]:
        """Names in a folder that can be parts of keys, or all."""
        try:
            if is_url(folder):
                filesystem, path = fsspec.core.url_to_fs(folder)
                filesystem.invalidate_cache(path)  # others write here too
            names = names_in(folder)
        except OSError as error:
            raise StorageError(f"can't read {folder}: {error.strerror or error}; check the registry") from error
        return names if every else [name for name in names if _is_name(name)]

    def _keys(self, environment: str, wanted: Reference | None = None) -> Iterator[ModelKey]:
        """Keys of all models that are whole, in any order."""
        parts: tuple[str | None, ...] = (None, None, None)
        if wanted is not None:
            parts = (wanted.name, wanted.code_version, wanted.model_version)
        paths: builtins.list[tuple[str, ...]] = [(environment,)]
        for part in parts:
            paths = [
                (*path, name)
                for path in paths
                for name in ([part] if part is not None else self._names("/".join((self.root, *path))))
            ]
        for path in paths:
            for number in self._numbers("/".join((self.root, *path))):
                if wanted is None or wanted.revision in (None, number):
                    key = ModelKey(*path, number)  # type: ignore[call-arg, arg-type]
                    if MANIFEST in self._names(self._folder(key), every=True):
                        yield key

    def _numbers(self, folder: str) -> builtins.list[int]:
        """Revisions ever given in the folder of a version, whole or not."""
        return [int(name) for name in self._names(folder) if NUMBER.fullmatch(name)]

    def _there_is(self, name: str, environment: str | None = None) -> str:
        environment = environment or self.environment
        names = sorted(self._names(f"{self.root}/{environment}"))
        if name not in names:
            held = f"{environment} holds {_some(names)}" if names else f"{environment} is empty"
            others = [other for other in self.environments() if other != environment]
            return f"{held}, and there is {_some(others)}" if others else held
        keys = sorted(self._keys(environment, Reference(name, environment)), key=ModelKey.order, reverse=True)
        return f"there is {_some([str(key) for key in keys])}" if keys else f"nothing is left of {name}"

    def _publish(self, dataset: xr.Dataset, entry: Entry, *, next_free: bool) -> ModelKey:
        """Write a model under the number of `entry.key`, or the next one that is free."""
        key, token = entry.key, uuid.uuid4().hex.encode()
        if next_free:
            key = replace(key, revision=max(self._numbers(os.path.dirname(self._folder(key))), default=0) + 1)
        while not self._claim(self._folder(key), token):
            if not next_free:
                raise ModelExistsError(
                    f"{key} was given to a model before; leave the revision out to save under the next one"
                )
            key = replace(key, revision=key.revision + 1)
        folder = self._folder(key)
        parent = entry.parent
        try:
            save_model(dataset, self.place(key))
            self._verified(key, entry.sha256)
            if parent is None and entry.promoted_from is None:
                same = Reference(key.name, key.environment, key.code_version, key.model_version)
                earlier = [other for other in self._keys(key.environment, same) if other.revision < key.revision]
                parent = max(earlier, key=ModelKey.order, default=None)
            if not self._owns(folder, token):
                raise StorageError(f"another writer has taken {key} in the meantime; save the model again")
            now = datetime.now(UTC).isoformat(timespec="microseconds")
            write_bytes(f"{folder}/{MANIFEST}", replace(entry, key=key, created=now, parent=parent).to_json())
        except BaseException:  # an interrupt must not leave a part either
            with contextlib.suppress(OSError):
                if self._owns(folder, token):
                    self._clear(folder)
                    remove(f"{folder}/{CLAIM}")  # the last step: from here on the folder may be another's
            raise
        return key

    def _claim(self, folder: str, token: bytes) -> bool:
        """Take a folder for this writer; False if it was taken before."""
        # A model that was copied here without its claim must not be lost.
        return create(f"{folder}/{CLAIM}", token) and self._names(folder, every=True) == [CLAIM]

    def _owns(self, folder: str, token: bytes) -> bool:
        return read_bytes(f"{folder}/{CLAIM}") == token

    def _clear(self, folder: str) -> None:
        """Remove everything but the claim, the manifest first."""
        remove(f"{folder}/{MANIFEST}")
        make_durable([folder])
        for name in self._names(folder, every=True):
            if name != CLAIM:
                remove(f"{folder}/{name}")

    def _verified(self, key: ModelKey, sha256: str) -> xr.Dataset:
        dataset = open_model(self.place(key))
        if dataset_digest(dataset) != sha256:
            raise StorageError(f"the model {self.place(key)} is not the one that was saved; restore or delete {key}")
        return dataset


def resolve(reference: str, root: str | os.PathLike[str]) -> ModelKey:
    """The key of the model that a reference names.

    Parameters
    ----------
    reference : str
        ``NAME@ENVIRONMENT[:CODE_VERSION[/MODEL_VERSION[/REVISION]]]``, parts left out mean the newest; or a key.
    root : path or fsspec URL

    Returns
    -------
    ModelKey

    Raises
    ------
    ParameterError
        If it is no reference.
    ModelNotFoundError
        If there is no such model.
    """
    wanted = Reference.parse(reference)
    registry = Registry(root, wanted.environment)
    return registry.find(wanted.name, wanted.code_version, wanted.model_version, wanted.revision)


def _dataset_of(model: Any) -> xr.Dataset:
    if not isinstance(model, xr.Dataset) and hasattr(model, "to_dataset"):
        model = model.to_dataset()
    if not isinstance(model, xr.Dataset) or model.attrs.get("format") != schema.FORMAT:
        raise ParameterError("this is no som_dask model; save what som_dask.fit or som_dask.open_model returns")
    return model.compute().drop_encoding()


def _is_name(name: str) -> bool:
    try:
        check_name("name", name)
    except SomError:
        return False
    return True


def _told(wanted: Reference) -> str:
    parts = [wanted.code_version, wanted.model_version, wanted.revision]
    while parts and parts[-1] is None:
        parts.pop()
    versions = "/".join("*" if part is None else str(part) for part in parts)
    return f"{wanted.name}@{wanted.environment}{':' if versions else ''}{versions}"


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
