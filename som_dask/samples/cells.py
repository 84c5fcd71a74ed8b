"""Cells as input: AnnData objects and stores, and FCS files; what the rest of the package asks of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr
import zarr

from som_dask.errors import ParameterError
from som_dask.samples.anndata_input import anndata_layers, is_anndata, is_anndata_store, open_anndata
from som_dask.samples.fcs import fcs_names, is_fcs, open_fcs_files, parse_transform

__all__ = ["channel_names_of", "find_variable", "is_cells", "is_of_anndata", "open_cells"]


def is_of_anndata(source: Any) -> bool:
    """Whether something is an AnnData object, or the path of a store of one."""
    return is_anndata(source) or is_anndata_store(source)


def is_cells(source: Any) -> bool:
    """Whether something is of AnnData or FCS files."""
    return is_fcs(source) or is_of_anndata(source)


def open_cells(
    source: Any, names: Sequence[str] | None, features: Sequence[str] | None
) -> tuple[tuple[xr.DataArray, ...], str, tuple[tuple[zarr.Array, str], ...]]:
    """Open cells as variables that are read lazily.

    Parameters
    ----------
    source : AnnData, path, or sequence of paths of FCS files
    names : sequence of str, optional
        Layers, or transforms of FCS files.
    features : sequence of str, optional
        Channels of FCS files to take.

    Returns
    -------
    variables : tuple of DataArray
    description : str
    stored : tuple of (zarr.Array, str)
        As for `som_dask.samples.anndata_input.open_anndata`.
    """
    if is_fcs(source):
        return *open_fcs_files(source, names, features), ()
    return open_anndata(source, names)


def find_variable(source: Any, names: Sequence[str]) -> list[str] | None:
    """Return the variables that training used if cells have them, and None to take what is usual.

    Raises
    ------
    ParameterError
        If an AnnData object has several layers, and none that training used.
    """
    if not names:
        return None
    if is_fcs(source):
        try:
            return [name for name in names if (parse_transform(name), True)]
        except ParameterError:  # a model that was trained on something else
            return None
    known = anndata_layers(source)
    if not set(names) <= set(known) and len(known) == 1:
        return None
    return list(names)


def channel_names_of(source: Any) -> set[str]:
    """Return the names by which the columns of FCS files can be chosen; nothing for other cells."""
    return fcs_names(source) if is_fcs(source) else set()
