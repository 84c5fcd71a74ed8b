"""Turn features back into fields, with the feature dimensions that the samples had."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from som_dask.errors import DataError
from som_dask.io.models import OWN_NAMES
from som_dask.io.units import FEATURE_UNITS, describe_units

__all__ = ["unstack_features"]

VARIABLE = "variable"
NOT_PLACES = ("feature", FEATURE_UNITS)  # coordinates that don't say where a feature lies


def unstack_features(array: xr.DataArray, coords: Mapping[str, Any] | None = None) -> xr.DataArray | xr.Dataset:
    """Turn an array over features, such as a codebook, back into fields.

    Parameters
    ----------
    array : DataArray
        It has the dimension "feature".
    coords : mapping of str to (D,) array or Variable, optional
        The coordinates of the features: for each feature dimension its values, which are NaN, NaT or "" where a
        feature does not have the dimension, and "variable" if there are several variables. By default these are the
        coordinates of the array along "feature".

    Returns
    -------
    DataArray, or Dataset if there are several variables
        The feature dimensions come after all other dimensions. Combinations of coordinates that are not a feature
        are NaN. In a Dataset each variable of a codebook has its own units, if they are known. An array without such
        coordinates is returned unchanged. A feature dimension whose name a model uses itself, such as "x" for the
        positions of the nodes, is called "feature_x" in the codebook of the model, and "x" again in the result if
        that name is free.

    Raises
    ------
    DataError
        If there is no dimension "feature", or if two features have the same coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> import xarray as xr
    >>> days = xr.DataArray(np.random.default_rng(0).random((50, 3, 4)), dims=("time", "lat", "lon"))
    >>> samples = som.open_samples(days, sample_dims="time")
    >>> model = som.train(samples, som.Lattice(2, 2), som.MapConfig(epochs=3))
    >>> dict(som.unstack_features(model["codebook"]).sizes)
    {'row': 2, 'col': 2, 'lat': 3, 'lon': 4}
    """
    if "feature" not in array.dims:
        raise DataError(f"the array has dimensions {array.dims}; fields are made of one with 'feature'")
    own = [name for name, c in array.coords.items() if c.dims == ("feature",)]
    columns: dict[Hashable, xr.Variable] = {name: array[name].variable for name in own if name not in NOT_PLACES}
    if coords is not None:
        columns = {name: xr.Variable("feature", _values(c), getattr(c, "attrs", None)) for name, c in coords.items()}
    columns = {_original_name(str(name), array): column for name, column in columns.items()}
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
        field = field.isel(feature=0, drop=True) if "feature" in field.dims and len(chosen) == 1 else field
        if FEATURE_UNITS in array.coords and array.name == "codebook":
            field = field.assign_attrs(describe_units(array[FEATURE_UNITS].values[chosen].tolist())[0])
        fields[name] = field
    return xr.Dataset(fields)


def _original_name(name: str, array: xr.DataArray) -> str:
    """Return the name that a feature coordinate had before it went into a model, unless the array uses that name."""
    own = name.removeprefix("feature_")
    return own if own in OWN_NAMES and own not in array.coords and own not in array.dims else name


def _values(column: Any) -> np.ndarray:
    return np.asarray(getattr(column, "values", column))


def _field(bare: xr.DataArray, columns: Mapping[Any, xr.Variable], whole: xr.DataArray) -> xr.DataArray:
    """Put the features of one variable on the grid of their coordinates."""
    found = {dim: _index(column.values) for dim, column in columns.items() if not _is_missing(column.values)}
    if not found:
        return bare.assign_coords(feature=whole["feature"]) if "feature" in whole.coords else bare
    # The order of the features tells the order of the dimensions: the one that changes last varies slowest.
    order = sorted(found, key=lambda dim: -_first_change(found[dim][1]))
    sizes = [len(found[dim][0]) for dim in order]
    indices = np.ravel_multi_index([found[dim][1] for dim in order], sizes)
    feature_of = np.full(np.prod(sizes), -1)
    feature_of[indices] = np.arange(len(indices))
    if np.count_nonzero(feature_of >= 0) < len(indices):
        raise DataError(f"two features have the same {', '.join(str(dim) for dim in order)}; fields need one each")
    picked = bare.isel(feature=xr.DataArray(np.maximum(feature_of, 0).reshape(sizes), dims=order))
    if (feature_of < 0).any():
        picked = picked.where(xr.DataArray((feature_of >= 0).reshape(sizes), dims=order))
    values = {dim: xr.Variable(dim, found[dim][0], columns[dim].attrs) for dim in order}
    return picked.assign_coords(values).transpose(..., *order)


def _is_missing(values: np.ndarray) -> bool:
    """Whether no feature has a value, because the variable does not have the dimension."""
    if values.dtype.kind in "fmM":
        return bool(np.isnan(values.astype(np.float64) if values.dtype.kind == "f" else values).all())
    return values.dtype.kind in "OUST" and all(value == "" for value in values)


def _index(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values in the order of their first appearance, and the index of each value among them."""
    distinct, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.argsort(first)
    return distinct[rank], np.argsort(rank)[inverse]


def _first_change(index: np.ndarray) -> int:
    changes = np.flatnonzero(index != index[0])
    return int(changes[0]) if len(changes) else len(index)
