"""Save labeled Datasets in Zarr stores whole, and read them back."""

from __future__ import annotations

import os
import warnings
from typing import Any

import xarray as xr
from zarr.codecs import Crc32cCodec, ZstdCodec

from som_dask.errors import StorageError
from som_dask.io.digest import DIGEST, dataset_digest
from som_dask.io.files import PathOrUrl, beside_for_me, is_url, remove, remove_leftovers
from som_dask.io.outputs import check_free, publish
from som_dask.io.store_objects import Place, StoreObject, describe_place, resolve_place
from som_dask.io.stores import open_dataset
from som_dask.io.transactions import check_writable, create_in

__all__ = ["read_whole", "save_labeled", "store_encoding"]


def store_encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return a Zarr encoding with a checksum on every chunk: a flipped bit is an error, not a wrong number."""
    return {str(name): {"compressors": (ZstdCodec(level=3), Crc32cCodec())} for name in dataset.variables}


def save_labeled(dataset: xr.Dataset, place: Place, *, overwrite: bool = False, with_digest: bool = False) -> None:
    """Save a labeled result as one Zarr store, written beside its place, read back, and published by one rename.

    Parameters
    ----------
    dataset : xarray.Dataset
    place : path, fsspec URL or Zarr store
        A store is written to directly, and read back; publishing it, as by the commit of an icechunk session, is left
        to the caller.
    overwrite : bool
        Replace an existing store; it stays complete until the new one is.
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
    temporary = beside_for_me(place)
    dataset = dataset.compute().drop_encoding()  # which may be that of another store, in fewer digits
    digest = dataset_digest(dataset) if with_digest else None
    if digest is not None:
        dataset = dataset.assign_attrs({DIGEST: digest})
    try:
        remove_leftovers(place)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about consolidated metadata
            dataset.to_zarr(temporary, mode="w-", zarr_format=3, encoding=store_encoding(dataset))
    except OSError as error:
        remove(temporary)
        raise StorageError(f"can't write {place}: {error}; free some space or choose another output") from error
    except Exception as error:  # what xarray and zarr can't store they refuse by errors of many kinds
        remove(temporary)
        reason = " ".join(str(error).split())
        raise StorageError(f"can't write {place}: {reason}; store it as numbers or text, or leave it out") from error
    try:
        read_whole(temporary, digest, f"what was written for {place}")
    except StorageError:
        remove(temporary)
        raise
    publish(temporary, place, overwrite=overwrite)
    if is_url(place):  # it was copied there
        read_whole(place, digest, place)


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
