"""Save labeled Datasets in Zarr stores whole, and read them back."""

from __future__ import annotations

import contextlib
import os
import warnings
from typing import Any

import xarray as xr
from zarr.codecs import Crc32cCodec, ZstdCodec

from som_dask.errors import StorageError
from som_dask.io.digest import DIGEST, dataset_digest
from som_dask.io.draft import Draft, open_draft
from som_dask.io.files import PathOrUrl, is_url
from som_dask.io.outputs import check_free, lock
from som_dask.io.store_objects import Place, StoreObject, describe_place, resolve_place
from som_dask.io.stores import open_dataset
from som_dask.io.transactions import check_writable, create_in

__all__ = ["read_whole", "save_labeled", "store_encoding"]


def store_encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return a Zarr encoding with a checksum on every chunk: a flipped bit is an error, not a wrong number."""
    return {str(name): {"compressors": (ZstdCodec(level=3), Crc32cCodec())} for name in dataset.variables}


def save_labeled(dataset: xr.Dataset, place: Place, *, overwrite: bool = False, with_digest: bool = False) -> None:
    """Save a labeled result as one Zarr store, read back before readers can see it; see `som_dask.io.draft`.

    Parameters
    ----------
    dataset : xarray.Dataset
    place : path, fsspec URL or Zarr store
        A store is written to directly, and read back; publishing it, as by the commit of an icechunk session, is left
        to the caller.
    overwrite : bool
        Replace an existing store; it can be opened until the new one is whole.
    with_digest : bool
        Whether the store holds the digest of the Dataset, as its attribute `som_dask.io.digest.DIGEST`, and what is
        read back must have it.

    Raises
    ------
    StorageError
        If the store exists and may not be overwritten, if it can't be written, or if what was written can't be read
        as it was.
    """
    place = resolve_place(place)
    if not isinstance(place, (str, os.PathLike)):
        _save_into(place, dataset, overwrite=overwrite, with_digest=with_digest)
        return
    check_free(place, overwrite=overwrite)
    dataset = dataset.compute().drop_encoding()  # which may be that of another store, in fewer digits
    digest = dataset_digest(dataset) if with_digest else None
    if digest is not None:
        dataset = dataset.assign_attrs({DIGEST: digest})
    # The rename of a local store is one step, in which the last one wins; at a URL two would mix their chunks.
    with lock(place) if is_url(place) else contextlib.nullcontext():
        draft = open_draft(place)
        try:
            _write_draft(draft, dataset, place)
            read_whole(draft.target, digest, f"what was written for {place}")
        except BaseException:
            with contextlib.suppress(StorageError):
                draft.discard()
            raise
        draft.publish(overwrite=overwrite)


def _write_draft(draft: Draft, dataset: xr.Dataset, place: PathOrUrl) -> None:
    try:
        draft.write(dataset, store_encoding(dataset))
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"can't write {place}: {error}; free some space or choose another output") from error
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # what xarray and zarr can't store they refuse by errors of many kinds
        reason = " ".join(str(error).split())
        raise StorageError(f"can't write {place}: {reason}; store it as numbers or text, or leave it out") from error


def _save_into(place: StoreObject, dataset: xr.Dataset, *, overwrite: bool, with_digest: bool) -> None:
    """Save a result in a store object, without a commit or anything like it, and read it back."""
    check_writable(place, overwrite=overwrite)
    dataset = dataset.compute().drop_encoding()
    digest = dataset_digest(dataset) if with_digest else None
    marked = dataset if digest is None else dataset.assign_attrs({DIGEST: digest})
    create_in(place, marked, store_encoding(dataset), overwrite=overwrite)
    read_whole(place, digest, f"what was written to {describe_place(place)}")


def read_whole(place: Place, digest: str | None, name: PathOrUrl) -> xr.Dataset:
    """Read all of a saved Dataset, and check that it is the one that was saved.

    Parameters
    ----------
    place : path, fsspec URL or Zarr store
    digest : str, optional
        Digest of what was saved; by default any will do.
    name : str or path
        What it is called in messages.

    Returns
    -------
    xarray.Dataset
        Without the attribute that holds the digest.

    Raises
    ------
    StorageError
        If it can't be read, or if it has another digest.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about dates
            dataset = open_dataset(place).load()
    except Exception as error:  # codecs raise errors of many kinds for a damaged chunk
        reason = " ".join(str(error).split())
        raise StorageError(f"{name} is damaged: {reason}; restore it or train again") from error
    dataset.attrs.pop(DIGEST, None)
    if digest is not None and digest != dataset_digest(dataset):
        raise StorageError(f"{name} is not the one that was saved; restore it or train again")
    return dataset
