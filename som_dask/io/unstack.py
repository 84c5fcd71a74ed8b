"""From features back to fields: the feature dimensions that samples had, as dimensions again."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from som_dask.errors import DataError
from som_dask.io.models import OWN_NAMES

__all__ = ["unstack_features"]

VARIABLE = "variable"


def unstack_features(array: xr.DataArray, coords: Mapping[str, Any] | None = None) -> xr.DataArray | xr.Dataset:
    """Turn what is given for each feature, such as a codebook, back into fields.

    Parameters
    ----------
    array : DataArray
        With the dimension "feature".
    coords : mapping of str to (D,) array or Variable, optional
        Along "feature": the value of each feature dimension, NaN, NaT or an empty text where a feature has not got
        it, and "variable" where there are several; as of `som_dask.samples.table.Samples.feature_coords`. By default
        those of the array itself.

    Returns
    -------
    DataArray, or Dataset if there are several variables
        The other dimensions first, then the feature dimensions. Combinations that are no feature are NaN. What has
        no such coordinates comes back as it is. In a model's codebook the feature dimension "x" is called
        "feature_x", for "x" is a node's place there; likewise other names that models use themselves.

    Raises
    ------
    DataError
        If there is no dimension "feature", or two features have the same place.
    """
    if "feature" not in array.dims:
        raise DataError(f"the array has dimensions {array.dims}; fields are made of one with 'feature'")
    own = [name for name, c in array.coords.items() if c.dims == ("feature",)]
    columns: dict[Hashable, xr.Variable] = {name: array[name].variable for name in own if name != "feature"}
    if coords is not None:
        columns = {name: xr.Variable("feature", _values(c), getattr(c, "attrs", None)) for name, c in coords.items()}
    columns = {_own_name(str(name), array): column for name, column in columns.items()}
    bare = array.drop_vars([str(name) for name, c in array.coords.items() if "feature" in c.dims])
    owners = columns.pop(VARIABLE, None)
    if owners is None:
        return _field(bare, columns, array)
    names = [str(name) for name in owners.values]
    fields = {}
    for name in dict.fromkeys(names):
        chosen = [i for i, other in enumerate(names) if other == name]
        parts = {dim: column[chosen] for dim, column in columns.items()}
        field = _field(bare.isel(feature=chosen), parts, array.isel(feature=chosen))
        fields[name] = field.isel(feature=0, drop=True) if "feature" in field.dims and len(chosen) == 1 else field
    return xr.Dataset(fields)


def _own_name(name: str, array: xr.DataArray) -> str:
    """The name that a feature coordinate had before it went into a model, unless the array uses that itself."""
    own = name.removeprefix("feature_")
    return own if own in OWN_NAMES and own not in array.coords and own not in array.dims else name


def _values(column: Any) -> np.ndarray:
    return np.asarray(getattr(column, "values", column))


def _field(bare: xr.DataArray, columns: Mapping[Any, xr.Variable], whole: xr.DataArray) -> xr.DataArray:
    """One variable: the features on the grid of their coordinates."""
    found = {dim: _places(column.values) for dim, column in columns.items() if not _lacking(column.values)}
    if not found:
        return bare.assign_coords(feature=whole["feature"]) if "feature" in whole.coords else bare
    # The dimension that changes last is the slowest.
    order = sorted(found, key=lambda dim: -_first_change(found[dim][1]))
    sizes = [len(found[dim][0]) for dim in order]
    places = np.ravel_multi_index([found[dim][1] for dim in order], sizes)
    feature_of = np.full(np.prod(sizes), -1)
    feature_of[places] = np.arange(len(places))
    if np.count_nonzero(feature_of >= 0) < len(places):
        raise DataError(f"two features have the same {', '.join(str(dim) for dim in order)}; fields need one each")
    picked = bare.isel(feature=xr.DataArray(np.maximum(feature_of, 0).reshape(sizes), dims=order))
    if (feature_of < 0).any():
        picked = picked.where(xr.DataArray((feature_of >= 0).reshape(sizes), dims=order))
    values = {dim: xr.Variable(dim, found[dim][0], columns[dim].attrs) for dim in order}
    return picked.assign_coords(values).transpose(..., *order)


def _lacking(values: np.ndarray) -> bool:
    """Whether no feature has a value: the variable has not got the dimension."""
    if values.dtype.kind in "fmM":
        return bool(np.isnan(values.astype(np.float64) if values.dtype.kind == "f" else values).all())
    return values.dtype.kind in "OUST" and all(value == "" for value in values)


def _places(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in the order in which they come, and which one each is."""
    distinct, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.argsort(first)
    return distinct[rank], np.argsort(rank)[inverse]


def _first_change(index: np.ndarray) -> int:
    changes = np.flatnonzero(index != index[0])
    return int(changes[0]) if len(changes) else len(index)
