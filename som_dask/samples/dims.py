"""Which dimensions are samples and which are features, and what the features are called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from som_dask.errors import DataError, ParameterError

__all__ = ["VARIABLE", "Features", "Roles", "features_of", "roles_of"]

VARIABLE = "variable"  # the coordinate that tells of which variable a feature is


@dataclass(frozen=True)
class Roles:
    """What each dimension is.

    Attributes
    ----------
    samples, features : tuple of str
        In the order in which rows and features are counted, the last one fastest.
    """

    samples: tuple[str, ...]
    features: tuple[str, ...]

    def own(self, variable: xr.DataArray) -> tuple[str, ...]:
        """The feature dimensions of a variable."""
        return tuple(dim for dim in self.features if dim in variable.dims)


def roles_of(
    variables: Sequence[xr.DataArray],
    sample_dims: Sequence[str] | None,
    feature_dims: Sequence[str] | None,
    where: str,
) -> Roles:
    """Tell sample dimensions from feature dimensions.

    Given one kind, the others are of the other kind. Given none: of a single variable "feature" is the feature
    dimension, or else of two dimensions the last; of several variables the dimensions that all share are those of
    the samples.

    Raises
    ------
    ParameterError
        If dimensions named are not there, named twice, or don't tell all.
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
        feature_dims = _usual_features(every, shared, len(variables), where)
    if sample_dims is None:
        sample_dims = [dim for dim in shared if dim not in (feature_dims or ())]
    if feature_dims is None:
        feature_dims = [dim for dim in every if dim not in sample_dims]
    if not sample_dims:
        raise ParameterError(f"{where} has no dimension left for the samples of {every}; name one with --sample-dims")
    roles = Roles(tuple(sample_dims), tuple(feature_dims))
    for variable in variables:
        for dim in roles.samples:
            if dim not in variable.dims:
                raise DataError(
                    f"variable {variable.name} lacks the sample dimension {dim!r}, it has {variable.dims}; "
                    f"leave the variable out or choose other --sample-dims"
                )
    for dim in every:
        if dim not in (*roles.samples, *roles.features):
            raise ParameterError(
                f"{where}: the dimension {dim!r} is of neither samples nor features; add it to --sample-dims or "
                f"--feature-dims"
            )
    return roles


def _usual_features(every: tuple[str, ...], shared: tuple[str, ...], n_variables: int, where: str) -> list[str]:
    if n_variables > 1:
        return [dim for dim in every if dim not in shared or dim == "feature"]
    if "feature" in every and len(every) > 1:
        return ["feature"]
    if len(every) == 2:
        return [every[1]]
    raise ParameterError(
        f"{where} has dimensions {every}; say which of them are samples with --sample-dims, or which are features "
        f"with --feature-dims"
    )


@dataclass(frozen=True)
class Features:
    """What the columns of the table are.

    Attributes
    ----------
    names : tuple of str, or None
        None where the input has none.
    coords : dict of str to xarray.Variable
        Along "feature": the value of each feature dimension, and of which variable it is where there are several.
    """

    names: tuple[str, ...] | None
    coords: dict[str, xr.Variable]


def features_of(variables: Sequence[xr.DataArray], roles: Roles, where: str) -> Features:
    """Names and coordinates of the features.

    The features of one variable with one feature dimension are called by its coordinate; with several "lat=10.0
    lon=20.0"; those of several variables begin with the variable's name, as in "z level=500". A dimension without
    coordinate counts from 0.

    Raises
    ------
    DataError
        If two features have the same name.
    """
    several = len(variables) > 1
    names: list[str] = []
    columns: dict[str, list[np.ndarray | int]] = {dim: [] for dim in roles.features}
    for variable in variables:
        own = roles.own(variable)
        size = math.prod(variable.sizes[dim] for dim in own)
        values = dict(zip(own, _all_pairs([variable[dim].values for dim in own]), strict=True))
        for dim, column in columns.items():
            column.append(values.get(dim, size))
        if len(own) == 1 and not several:
            names += [str(value) for value in values[own[0]]]
            continue
        first = [str(variable.name)] if several or not own else []
        texts = [[f"{dim}={value}" for value in values[dim]] for dim in own]
        names += [" ".join([*first, *parts]) for parts in zip(*texts, strict=True)] if own else [" ".join(first)]
    nameless = not several and _nameless(variables[0], roles)
    if not nameless and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where} has two features of the same name {twice!r}; rename one")
    coords = {dim: _joined(parts, variables, dim) for dim, parts in columns.items() if dim != "feature" or several}
    if nameless:
        coords = {}
    if several:
        owners = np.array([str(v.name) for v in variables], dtype=object)
        coords[VARIABLE] = xr.Variable("feature", np.repeat(owners, _sizes(variables, roles)))
    return Features(None if nameless else tuple(names), coords)


def _sizes(variables: Sequence[xr.DataArray], roles: Roles) -> list[int]:
    return [math.prod(v.sizes[dim] for dim in roles.own(v)) for v in variables]


def _nameless(variable: xr.DataArray, roles: Roles) -> bool:
    """Whether nothing tells what the features of a single variable are."""
    own = roles.own(variable)
    if not own:
        return variable.name is None
    return len(own) == 1 and own[0] not in variable.coords


def _all_pairs(values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Each of the arrays (n_i,) repeated over all combinations, the last one fastest."""
    if not values:
        return []
    indices = np.indices([len(v) for v in values]).reshape(len(values), -1)
    return [v[index] for v, index in zip(values, indices, strict=True)]


def _joined(parts: Sequence[np.ndarray | int], variables: Sequence[xr.DataArray], dim: str) -> xr.Variable:
    """Values along "feature"; where a variable has not the dimension NaN, NaT or an empty text."""
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
