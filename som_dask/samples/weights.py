"""Weights of samples and of features: given numbers, or the areas that samples or features stand for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from som_dask.errors import DataError, ParameterError
from som_dask.samples.dims import Roles
from som_dask.samples.gaps import fill_masked

__all__ = ["AREA", "feature_weights_of", "sample_weights_of"]

AREA = "area"
DEGREES_NORTH = {"degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"}
STEPS = 2.0**40  # cosines are rounded to 1/STEPS: the last bits differ between libraries, and the pole must give 0


def is_latitude(coordinate: xr.DataArray) -> bool:
    """Return whether a coordinate is a latitude, by the attributes of the CF conventions or by its name."""
    attrs = {name: str(coordinate.attrs.get(name, "")).lower() for name in ("units", "standard_name", "axis")}
    if coordinate.dtype.kind not in "iuf" or attrs["units"].startswith("rad"):
        return False
    return (
        attrs["units"] in DEGREES_NORTH
        or attrs["standard_name"] == "latitude"
        or (attrs["axis"] == "y" and attrs["units"].startswith("degree"))
        or str(coordinate.name).lower() in ("lat", "latitude")
    )


def compute_cosines(
    coords: Iterable[xr.DataArray],
    dims: Sequence[str],
    kind: str,
    where: str,
    others: Iterable[xr.DataArray] = (),
) -> xr.DataArray:
    """Compute cos(latitude) along the dimensions that have a latitude as their coordinate.

    A coordinate of a dimension goes first (also a rotated latitude: cells of a rotated grid are as large as it says),
    then other latitudes of one dimension, then those of several, as curvilinear grids have them: ``lat(y, x)``.

    Parameters
    ----------
    coords : iterable of DataArray
    dims : sequence of str
        The dimensions among which a latitude is looked for.
    kind : {"sample", "feature"}
        The role of these dimensions, for messages.
    where : str
        Description of the input, for messages.
    others : iterable of DataArray
        Other variables of the input, among which a latitude is looked for if no coordinate is one.

    Returns
    -------
    DataArray on the dimensions of the latitude, float64
        Rounded to 2^-40, so that it is the same on every machine, and 0 at the poles. NaN where a latitude of several
        dimensions is missing.

    Raises
    ------
    ParameterError
        If there is no latitude or there are several, or if it has values beyond 90 degrees.
    """
    every = _latitudes_among(coords, dims) or _latitudes_among(others, dims)
    found = [c for c in every if c.dims == (c.name,)] or [c for c in every if c.ndim == 1] or every
    if len(found) != 1:
        what = f"{len(found)} latitudes: {', '.join(str(c.name) for c in found)}" if found else "no latitude"
        raise ParameterError(
            f"{where} has {what} among its {kind} dimensions {tuple(dims)}, so weights can't be areas; give one "
            f"coordinate the units degrees_north, or give the weights themselves"
        )
    (latitude,) = found
    degrees = np.asarray(latitude.values, dtype=np.float64)
    missing = np.isnan(degrees) if latitude.ndim > 1 else False  # as on land, where ocean models have no cells
    if not (missing | (np.abs(degrees) <= 90)).all():
        raise ParameterError(f"{where} has latitudes {latitude.name} that are not between -90 and 90 degrees")
    values = np.rint(np.cos(np.deg2rad(degrees)) * STEPS) / STEPS
    return xr.DataArray(values, dims=latitude.dims, name="area")


def _latitudes_among(variables: Iterable[xr.DataArray], dims: Sequence[str]) -> list[xr.DataArray]:
    return [v for v in variables if v.ndim and set(v.dims) <= set(dims) and is_latitude(v)]


def sample_weights_of(
    weights: Any,
    coords: Mapping[str, xr.DataArray],
    sizes: Mapping[str, int],
    where: str,
    others: Iterable[xr.DataArray] = (),
) -> xr.DataArray:
    """Return sample weights as a DataArray on some of the sample dimensions.

    Parameters
    ----------
    weights : "area", DataArray, or array with the shape of the sample dimensions or (n,)
    coords : mapping of str to DataArray
        Coordinates of the samples.
    sizes : mapping of str to int
        Sizes of the sample dimensions, in their order.
    where : str
        Description of the input, for messages.
    others : iterable of DataArray
        Other variables of the input; a latitude among them serves if no coordinate is one.

    Raises
    ------
    ParameterError
        If dimensions, sizes or coordinates of the weights are not those of the samples.
    DataError
        If the weights are not real numbers.
    """
    if isinstance(weights, str) and weights == AREA:
        return compute_cosines(coords.values(), tuple(sizes), "sample", where, others)
    weights = fill_masked(weights)
    if not isinstance(weights, xr.DataArray):
        values = weights if isinstance(weights, dask.array.Array) else np.asarray(weights)
        shape, n = tuple(sizes.values()), math.prod(sizes.values())
        if values.shape not in (shape, (n,)):
            raise ParameterError(f"the weights have shape {values.shape}, {where} has samples of shape {shape}")
        weights = xr.DataArray(values.reshape(shape), dims=tuple(sizes))
    _check(weights, coords, sizes, "sample", where)
    return weights


def feature_weights_of(
    weights: Any,
    variables: Sequence[xr.DataArray],
    roles: Roles,
    where: str,
    others: Iterable[xr.DataArray] = (),
    columns: np.ndarray | None = None,
) -> np.ndarray:
    """Return the weights of the features, (D,) float64: finite, none negative, some positive.

    Parameters
    ----------
    weights : "area", DataArray on feature dimensions, or (D,) numbers
    variables : sequence of DataArray
    roles : Roles
    where : str
        Description of the input, for messages.
    others : iterable of DataArray
        Other variables of the input; a latitude among them serves if no coordinate is one.
    columns : (D,) int, optional
        Which columns of the variables the features are, if they are not all of them in order.

    Raises
    ------
    ParameterError
        If there are not D weights, or if one of them is negative or not finite, or all are 0.
    """
    fields = [v.isel(dict.fromkeys(roles.samples, 0), drop=True) for v in variables]
    columns = np.arange(sum(field.size for field in fields)) if columns is None else columns
    n_features = len(columns)
    if isinstance(weights, str):
        if weights != AREA:
            raise ParameterError(f"feature weights must be 'area' or a number for each feature, got {weights!r}")
        parts = [
            _spread_over_features(
                compute_cosines(_coords_of(f), roles.feature_dims_of(f), "feature", _describe(f, where), others),
                f,
                roles,
            )
            for f in fields
        ]
        values = np.concatenate(parts)[columns]
    elif isinstance(weights, xr.DataArray) and len(fields) == 1 and weights.dims != ("feature",):
        sizes = {dim: fields[0].sizes[dim] for dim in roles.feature_dims_of(fields[0])}
        _check(weights, {str(c.name): c for c in _coords_of(fields[0])}, sizes, "feature", where)
        values = _spread_over_features(weights, fields[0], roles)[columns]
    else:
        try:
            values = np.array(fill_masked(weights), dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"feature weights must be numbers, got {weights!r}") from error
    if values.shape != (n_features,):
        raise ParameterError(f"there are {values.size} feature weights for the {n_features} features of {where}")
    if not (np.isfinite(values).all() and (values >= 0).all() and (values > 0).any()):
        raise ParameterError("feature weights must be finite, none below 0, and some above")
    return values


def _coords_of(field: xr.DataArray) -> list[xr.DataArray]:
    return [field[name] for name in field.coords]


def _describe(field: xr.DataArray, where: str) -> str:
    return where if field.name is None else f"variable {field.name}"


def _spread_over_features(values: xr.DataArray, field: xr.DataArray, roles: Roles) -> np.ndarray:
    """Spread numbers on some of the feature dimensions of a variable over all of its features."""
    own = roles.feature_dims_of(field)
    plain = xr.Variable(values.dims, np.asarray(values.values, dtype=np.float64))
    return plain.set_dims({dim: field.sizes[dim] for dim in own}).transpose(*own).values.reshape(-1)


def _check(
    weights: xr.DataArray, coords: Mapping[str, xr.DataArray], sizes: Mapping[str, int], kind: str, where: str
) -> None:
    """Check that weights are real numbers on some of the dimensions, at the same coordinates."""
    if weights.dtype.kind not in "iufb":
        raise DataError(f"the weights have dtype {weights.dtype}; real numbers are needed")
    for dim in map(str, weights.dims):
        if dim not in sizes:
            raise ParameterError(f"the weights have a dimension {dim!r}, which is none of the {kind}s {tuple(sizes)}")
        same = weights.sizes[dim] == sizes[dim]
        if same and dim in weights.indexes and dim in coords:
            same = bool(np.array_equal(weights[dim].values, coords[dim].values))
        if not same:
            raise ParameterError(f"the weights and {where} differ along {dim!r}; select the same part of both")
