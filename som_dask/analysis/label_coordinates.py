"""Coordinates of labels, cut into the parts that groups of blocks write to a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from som_dask.io.coordinates import check_names, make_storable
from som_dask.io.digest import json_digest, values_digest
from som_dask.samples.table import Samples

__all__ = ["coordinates_of_group", "cut_coordinates", "digest_coordinates", "make_all_storable"]


def make_all_storable(coords: dict[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Replace what a store can't hold: an index with several levels by these, and periods, categories ... by text.

    Raises
    ------
    DataError
        If there is text that can't be encoded, or a name that no store can hold.
    """
    found = _split_multi_indexes(coords)
    check_names({*found, *(str(dim) for c in found.values() for dim in c.dims)}, "the samples")
    for name, c in found.items():
        # What is still in a store came out of one; it may be as long as the samples, and is not read here.
        usual = isinstance(c.dtype, np.dtype) and c.dtype.kind in "biufcmMUST"
        if c.variable._in_memory and not usual:
            values = c if c.dims else c.expand_dims("value")
            stored = make_storable(values.variable, f"the coordinate {name!r} of the samples")
            found[name] = xr.DataArray(stored if c.dims else stored.squeeze("value"), name=name)
    return found


def _split_multi_indexes(coords: dict[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Replace each index with several levels by its levels, because a store can't hold it."""
    found = {}
    for name, c in coords.items():
        levels = [dim for dim in c.dims if isinstance(c.indexes.get(dim), pd.MultiIndex)]
        if name not in levels:
            found[name] = xr.DataArray(c.values, dims=c.dims, attrs=c.attrs, name=name) if levels else c
    return found


def cut_coordinates(samples: Samples, chunks: Mapping[str, int]) -> dict[str, Any]:
    """Cut the coordinates that groups of blocks write into parts, on the grid of the groups.

    Coordinates without dimensions, and those that are dimensions, are written when the store is made.

    Parameters
    ----------
    samples : Samples
    chunks : mapping of str to int
        Size of the groups along each sample dimension.

    Returns
    -------
    dict of str to dask array
        For each coordinate, an array whose blocks are the parts.
    """
    return {
        name: coordinate.chunk({dim: chunks[str(dim)] for dim in coordinate.dims}).data
        for name, coordinate in samples.coords.items()
        if coordinate.dims and name not in samples.sample_dims
    }


def digest_coordinates(samples: Samples) -> str:
    """Compute the digest of the coordinates that are written when the store is made, not by groups."""
    own = {n: c for n, c in samples.coords.items() if not c.dims or n in samples.sample_dims}
    attrs = json_digest({name: c.attrs for name, c in samples.coords.items()})
    return json_digest([sorted(samples.coords), attrs, values_digest({name: c.values for name, c in own.items()})])


def coordinates_of_group(
    samples: Samples, place: tuple[int, ...], parts: Mapping[str, Any]
) -> tuple[list[Any], dict[str, tuple[str, ...]]]:
    """Return the parts of coordinates that a group writes, as keys of tasks, and the names and dimensions of these.

    Several groups may share a part; the first one along each dimension that the coordinate lacks writes it.

    Parameters
    ----------
    samples : Samples
    place : tuple of int
        Index of the group along each sample dimension.
    parts : mapping of str to dask array
        As `cut_coordinates` returns them.
    """
    index_of = dict(zip(samples.sample_dims, place, strict=True))
    keys, dims = [], {}
    for name, array in parts.items():
        own = tuple(str(dim) for dim in samples.coords[name].dims)
        if all(index == 0 for dim, index in index_of.items() if dim not in own):
            keys.append((array.name, *(index_of[dim] for dim in own)))
            dims[name] = own
    return keys, dims
