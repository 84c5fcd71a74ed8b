"""The roles of dimensions (samples or features), and the names of the features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from som_dask.errors import DataError, ParameterError
from som_dask.io.coordinates import check_names, check_text, make_storable
from som_dask.io.units import units_in

__all__ = ["VARIABLE", "Features", "Roles", "features_of", "roles_of"]

VARIABLE = "variable"  # the coordinate that holds the name of the variable that each feature belongs to


@dataclass(frozen=True)
class Roles:
    """The dimensions of the samples and those of the features.

    Attributes
    ----------
    samples, features : tuple of str
        Names of the dimensions. Rows and features are numbered in C order over them: the last one varies fastest.
    """

    samples: tuple[str, ...]
    features: tuple[str, ...]

    def feature_dims_of(self, variable: xr.DataArray) -> tuple[str, ...]:
        """Return the feature dimensions that a variable has."""
        return tuple(dim for dim in self.features if dim in variable.dims)


def roles_of(
    variables: Sequence[xr.DataArray],
    sample_dims: Sequence[str] | None,
    feature_dims: Sequence[str] | None,
    where: str,
) -> Roles:
    """Decide which dimensions are sample dimensions and which are feature dimensions.

    If only one kind is given, all other dimensions are of the other kind. If neither is given, a single variable has
    "feature" as its feature dimension or, with two dimensions, the last one; with several variables, the dimensions
    that all of them share are the sample dimensions.

    Parameters
    ----------
    variables : sequence of DataArray
    sample_dims, feature_dims : sequence of str, optional
    where : str
        Description of the input, for messages.

    Returns
    -------
    Roles

    Raises
    ------
    ParameterError
        If a given dimension does not exist or is given twice, or if the role of a dimension can't be decided.
    DataError
        If a variable lacks a sample dimension.
    """
    every = tuple(dict.fromkeys(str(dim) for v in variables for dim in v.dims))
    shared = tuple(dim for dim in every if all(dim in v.dims for v in variables))
    named = [*(sample_dims or ()), *(feature_dims or ())]
    for i, dim in enumerate(named):
        if dim not in every:
            raise ParameterError(f"{where} has no dimension {dim!r}, only {every}")
        if dim in named[:i]:
            raise ParameterError(f"the dimension {dim!r} is named twice among sample and feature dimensions")
    if sample_dims is None and feature_dims is None:
        feature_dims = _guess_feature_dims(every, shared, len(variables), where)
    if sample_dims is None:
        sample_dims = [dim for dim in shared if dim not in (feature_dims or ())]
    if feature_dims is None:
        feature_dims = [dim for dim in every if dim not in sample_dims]
    if not sample_dims:
        raise ParameterError(f"{where} has no dimension left for the samples of {every}; name one with `sample_dims`")
    roles = Roles(tuple(sample_dims), tuple(feature_dims))
    for variable in variables:
        for dim in roles.samples:
            if dim not in variable.dims:
                raise DataError(
                    f"variable {variable.name} lacks the sample dimension {dim!r}, it has {variable.dims}; "
                    f"leave the variable out or choose other `sample_dims`"
                )
    for dim in every:
        if dim not in (*roles.samples, *roles.features):
            raise ParameterError(
                f"{where}: the dimension {dim!r} is of neither samples nor features; add it to `sample_dims` or "
                f"`feature_dims`"
            )
    return roles


def _guess_feature_dims(every: tuple[str, ...], shared: tuple[str, ...], n_variables: int, where: str) -> list[str]:
    if n_variables > 1:
        return [dim for dim in every if dim not in shared or dim == "feature"]
    if "feature" in every and len(every) > 1:
        return ["feature"]
    if len(every) == 2:
        return [every[1]]
    raise ParameterError(
        f"{where} has dimensions {every}; say which of them are samples with `sample_dims`, or which are features "
        f"with `feature_dims`"
    )


@dataclass(frozen=True)
class Features:
    """Names and coordinates of the columns of the table.

    Attributes
    ----------
    names : tuple of str, or None
        None if the input does not name its features.
    coords : dict of str to xarray.Variable
        Coordinates along "feature", as a model can store them: the value of each feature dimension, or of each level
        of one that was stacked, and, with several variables, the name of the variable that the feature belongs to.
    units : tuple of str
        Units of each feature; empty where they are unknown.
    """

    names: tuple[str, ...] | None
    coords: dict[str, xr.Variable]
    units: tuple[str, ...]


def features_of(variables: Sequence[xr.DataArray], roles: Roles, where: str) -> Features:
    """Return the names and coordinates of the features.

    With one variable and one feature dimension, the names are the values of its coordinate; with several feature
    dimensions they look like "lat=10.0 lon=20.0"; with several variables they begin with the name of the variable, as
    in "z level=500". A dimension without a coordinate is numbered from 0; one that was stacked counts as the levels
    of its index.

    Parameters
    ----------
    variables : sequence of DataArray
    roles : Roles
    where : str
        Description of the input, for messages.

    Raises
    ------
    DataError
        If two features have the same name, or one that a model can't store.
    """
    several = len(variables) > 1
    names: list[str] = []
    columns: dict[str, list[np.ndarray | int]] = {
        label: [] for dim in roles.features for variable in variables for label in _labels_of(variable, dim)
    }
    for variable in variables:
        own = roles.feature_dims_of(variable)
        size = math.prod(variable.sizes[dim] for dim in own)
        places = dict(zip(own, _combine([np.arange(variable.sizes[dim]) for dim in own]), strict=True))
        values = {label: variable[label].values[places[dim]] for dim in own for label in _labels_of(variable, dim)}
        for label, column in columns.items():
            column.append(values.get(label, size))
        if list(values) == list(own) and len(own) == 1 and not several:
            names += [str(value) for value in values[own[0]]]
            continue
        first = [str(variable.name)] if several or not own else []
        texts = [[f"{label}={value}" for value in column] for label, column in values.items()]
        names += [" ".join([*first, *parts]) for parts in zip(*texts, strict=True)] if own else [" ".join(first)]
    nameless = not several and _is_nameless(variables[0], roles)
    if not nameless and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where} has two features of the same name {twice!r}; rename one")
    check_text(names, f"the name of a feature of {where}")
    coords = {
        label: make_storable(_join(parts, variables, label), f"the coordinate {label!r} of {where}")
        for label, parts in columns.items()
        if label != "feature" or several
    }
    if nameless:
        coords = {}
    check_names(coords, where)
    if several:
        owners = np.array([str(v.name) for v in variables], dtype=object)
        coords[VARIABLE] = xr.Variable("feature", np.repeat(owners, _sizes_of(variables, roles)))
    units = np.repeat(np.array([units_in(v.attrs) for v in variables], dtype=object), _sizes_of(variables, roles))
    check_text(set(units), f"the units of {where}")
    return Features(None if nameless else tuple(names), coords, tuple(units))


def _labels_of(variable: xr.DataArray, dim: str) -> list[str]:
    """Return the names of what labels a dimension of a variable: the levels of its index, or itself."""
    if dim not in variable.dims:
        return []
    index = variable.indexes.get(dim)
    return [str(name) for name in index.names] if isinstance(index, pd.MultiIndex) else [dim]


def _sizes_of(variables: Sequence[xr.DataArray], roles: Roles) -> list[int]:
    return [math.prod(v.sizes[dim] for dim in roles.feature_dims_of(v)) for v in variables]


def _is_nameless(variable: xr.DataArray, roles: Roles) -> bool:
    """Return whether the features of a single variable have neither a name nor a coordinate."""
    own = roles.feature_dims_of(variable)
    if not own:
        return variable.name is None
    return len(own) == 1 and own[0] not in variable.coords


def _combine(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Repeat each of the arrays, (n_i,), over all combinations of their values; the last array varies fastest."""
    if not values:
        return []
    indices = np.indices([len(v) for v in values]).reshape(len(values), -1)
    return [v[index] for v, index in zip(values, indices, strict=True)]


def _join(parts: Sequence[np.ndarray | int], variables: Sequence[xr.DataArray], dim: str) -> xr.Variable:
    """Join values along "feature"; a variable without the dimension gets NaN, NaT or an empty string."""
    known = [part for part in parts if not isinstance(part, int)]
    lacking = len(known) < len(parts)
    dtype = np.result_type(*known) if all(part.dtype.kind in "iufbmM" for part in known) else np.dtype(object)
    fill: object = ""
    if dtype.kind in "iufb":
        dtype, fill = (np.dtype(np.float64) if lacking and dtype.kind != "f" else dtype), np.nan
    elif dtype.kind in "mM":
        fill = np.array("NaT", dtype=dtype)[()]
    values = [np.full(part, fill, dtype=dtype) if isinstance(part, int) else part.astype(dtype) for part in parts]
    attrs = next((v[dim].attrs for v in variables if dim in v.coords), {})
    return xr.Variable("feature", np.concatenate(values), attrs)
