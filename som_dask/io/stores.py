"""Open Zarr stores for reading."""

from __future__ import annotations

import os
import warnings
from typing import Any

import xarray as xr
import zarr

from som_dask.errors import DataError, StorageError
from som_dask.io.files import is_url
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
    if not is_url(path) and not os.path.exists(path):
        raise StorageError(f"{path} does not exist; check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return zarr.open(os.fspath(path), mode="r")
    except Exception as error:  # zarr, fsspec and the backends of fsspec each raise errors of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(f"can't open {path} as a Zarr store: {reason}") from error


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
    store, group = (os.fspath(path), None) if isinstance(path, (str, os.PathLike)) else (node.store, node.path)
    try:
        return xr.open_zarr(store, group=group, chunks=None, consolidated=consolidated, decode_times=decode_times)
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
