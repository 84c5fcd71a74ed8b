"""Open netCDF files, and HDF5 files like them, as Datasets that are read lazily."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import xarray as xr

from som_dask.errors import SomError, StorageError
from som_dask.io.data_files import find_files
from som_dask.io.files import PathOrUrl, is_url, resolve_url

__all__ = ["open_netcdf"]

EXTRA = "install som_dask[netcdf]"
HDF5 = b"\x89HDF"  # the first bytes of a file
# The second names dimensions that have no names as netCDF4 does.
H5NETCDF: dict[str, Any] = {"engine": "h5netcdf", "phony_dims": "sort"}


def open_netcdf(path: PathOrUrl, *, decode_times: bool | None = None) -> xr.Dataset:
    """Open a netCDF file, or several as one, without reading any values.

    Parameters
    ----------
    path : path or fsspec URL
        A file; or several, as a folder or a pattern with wildcards, which are put together by their coordinates. At a
        URL they must be netCDF 4.
    decode_times : bool, optional
        Passed to xarray.

    Returns
    -------
    xarray.Dataset
        Of one file without Dask, with the chunks of the file as ``encoding["chunks"]`` of its variables; of several
        with dask arrays.

    Raises
    ------
    StorageError
        If there is no such file, if it is not netCDF, or if no package that reads it is installed.
    ValueError
        If times can't be decoded.
    """
    files = find_files(path, "netcdf")
    options: dict[str, Any] = {"decode_times": decode_times}
    if len(files) == 1:
        return _note_chunks(_open_one(files[0], path, options))
    datasets = [_open_one(file, file, options | {"chunks": {}}) for file in files]
    try:
        # What differs along no coordinate is taken from the first file: to compare it is to read it.
        return xr.combine_by_coords(  # type: ignore[return-value]  # a Dataset, as all are
            datasets, data_vars="minimal", coords="minimal", compat="override", join="exact", combine_attrs="override"
        )
    except Exception as error:  # xarray tells by errors of many kinds that files don't fit
        reason = " ".join(str(error).split())
        raise StorageError(
            f"the {len(files)} files of {os.fspath(path)} don't fit together: {reason}; give them one by one"
        ) from error


def _open_one(file: str, name: PathOrUrl, options: dict[str, Any]) -> xr.Dataset:
    try:
        if is_url(file):
            filesystem, inner = resolve_url(file)
            return xr.open_dataset(filesystem.open(inner), **H5NETCDF, **options)
        return xr.open_dataset(file, **_choose_engine(file), **options)
    except (MemoryError, SomError):
        raise
    except Exception as error:  # each package that reads such files raises errors of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        if "decode time" in reason:
            raise
        shown = os.fspath(name)
        if "dependencies may not be installed" in reason or "unrecognized engine" in reason:
            raise StorageError(f"no package that reads {shown} is installed; {EXTRA}") from error
        if "did not find a match" in reason:
            raise StorageError(f"{shown} is not a netCDF file, whatever its name says; check the path") from error
        raise StorageError(f"can't open {shown} as a netCDF file: {reason.split('. ')[0]}; restore it") from error


def _choose_engine(file: str) -> dict[str, Any]:
    """Return options that choose the package which reads a file; none if xarray's own choice is good."""
    if importlib.util.find_spec("netCDF4") is not None:
        return {}
    with open(file, "rb") as opened:
        return H5NETCDF if opened.read(len(HDF5)) == HDF5 else {}


def _note_chunks(dataset: xr.Dataset) -> xr.Dataset:
    for variable in dataset.variables.values():
        chunks = variable.encoding.get("chunksizes")
        if chunks and not variable.encoding.get("contiguous"):
            variable.encoding["chunks"] = tuple(chunks)
    return dataset
