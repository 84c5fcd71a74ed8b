"""Open Zarr stores for reading."""

from __future__ import annotations

import os
import warnings
from typing import Any

import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore

from som_dask.errors import DataError, StorageError
from som_dask.io.conversions import describe_conversion
from som_dask.io.files import PathOrUrl, is_url, local_path
from som_dask.io.store_objects import Place, describe_place, open_object

__all__ = ["open_dataset", "open_zarr_node"]


def open_zarr_node(path: Place) -> Any:
    """Open the Zarr group or array at a path or in a store, read-only.

    Parameters
    ----------
    path : path, URL or store
        A local path, an fsspec URL, any Zarr store, or a group or array in one.

    Returns
    -------
    zarr.Group or zarr.Array

    Raises
    ------
    StorageError
        If there is nothing at `path`, or if it is not a Zarr store.
    """
    if not isinstance(path, (str, os.PathLike)):
        return open_object(path)
    if not is_url(path) and not os.path.exists(local_path(path)):
        text = os.fspath(path)
        shown = text if text.isprintable() else repr(text if len(text) < 80 else f"{text[:80]}...")
        raise StorageError(f"{shown} does not exist; check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return zarr.open(_store_of(path), mode="r")
    except Exception as error:  # zarr, fsspec and the backends of fsspec each raise errors of their own
        what = describe_conversion(path)
        if what is not None:
            raise StorageError(f"{path} is {what}") from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(f"can't open {path} as a Zarr store: {reason}") from error


def _store_of(path: PathOrUrl) -> str | Store:
    """Return what zarr opens: for a URL, a store that remembers nothing of what was there before."""
    if not is_url(path):
        return os.path.abspath(local_path(path))  # workers may run in another folder
    store = FsspecStore.from_url(os.fspath(path), read_only=True)
    store.fs.invalidate_cache(store.path)
    return store


def open_dataset(path: Place, *, decode_times: bool | None = None) -> xr.Dataset:
    """Open the Zarr group at a path or in a store as a Dataset that reads values when they are used, without Dask.

    Parameters
    ----------
    path : path, URL or store
        As for `open_zarr_node`.
    decode_times : bool, optional
        Passed to `xarray.open_zarr`.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    StorageError
        If there is nothing at `path`, or if it is not a Zarr store.
    DataError
        If the arrays of the group have no names of dimensions.
    """
    node = open_zarr_node(path)
    # If this were left out, xarray would look for consolidated metadata and warn if there is none.
    consolidated = getattr(node.metadata, "consolidated_metadata", None) is not None
    try:
        return xr.open_zarr(
            node.store, group=node.path or None, chunks=None, consolidated=consolidated, decode_times=decode_times
        )
    except KeyError as error:
        if "dimension" not in str(error):
            raise
        arrays = sorted(name for name, _ in node.arrays()) if isinstance(node, zarr.Group) else []
        name = describe_place(path)
        example = f"{name.rstrip('/')}/{arrays[0] if arrays else 'NAME'}"
        raise DataError(
            f"the arrays of {name} have no names of dimensions, as xarray writes them; "
            f"give the path of one array, such as {example}"
        ) from error
