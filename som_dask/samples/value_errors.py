"""Errors of single values: one for each value of each variable, given or beside the variables in their store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import xarray as xr

from som_dask.errors import DataError, ParameterError
from som_dask.samples.frames import as_array, convert_frame
from som_dask.samples.gaps import fill_masked, make_missing
from som_dask.samples.sources import Source

__all__ = ["names_of_errors", "value_errors_of"]


def names_of_errors(given: Any) -> tuple[str, ...]:
    """Return the names of the variables that hold the errors; none if the errors are given as arrays."""
    if isinstance(given, str):
        return (given,)
    several = isinstance(given, (list, tuple)) and len(given) and all(isinstance(name, str) for name in given)
    return tuple(given) if several else ()


def value_errors_of(given: Any, source: Source, features: Sequence[str] | None = None) -> tuple[xr.DataArray, ...]:
    """Return the errors of the values of each variable, on the same dimensions.

    Parameters
    ----------
    given : str, sequence of str, DataFrame, DataArray, or array; or None
        Names of variables of the same store or Dataset, one for each variable of the source in their order; or the
        errors of the only variable. Columns of a DataFrame are put into the order of the features if they are called
        like these.
    source : Source
    features : sequence of str, optional
        The columns that are taken of a DataFrame.

    Returns
    -------
    tuple of DataArray
        Empty for None. Masked values, and those that are nodata, are NaN.

    Raises
    ------
    ParameterError
        If there is no such variable, or dimensions, sizes or coordinates differ.
    DataError
        If the errors are not real numbers.
    """
    if given is None:
        return ()
    variables, names = source.variables, names_of_errors(given)
    if names:
        found = [source.find_other(name, "the errors") for name in names]
    else:
        found = [_as_variable(given, variables[0], features)]
    if len(found) != len(variables):
        raise ParameterError(
            f"there are errors of {len(found)} variables for the {len(variables)} of {source.description}; name one "
            f"variable of errors for each"
        )
    errors = tuple(_fit(each, variable) for each, variable in zip(found, variables, strict=True))
    return make_missing(errors, source.nodata, "the errors") if source.nodata else errors


def _as_variable(given: Any, variable: xr.DataArray, features: Sequence[str] | None) -> xr.DataArray:
    """Return errors that are given as an array or a DataFrame as a DataArray."""
    if isinstance(given, xr.DataArray):
        return fill_masked(given)
    if isinstance(given, pd.DataFrame):
        names = [str(name) for name in given.columns]
        if features is not None and set(features) <= set(names):
            return convert_frame(given, features)[0]
        wanted = [str(name) for name in variable["feature"].values] if "feature" in variable.coords else names
        return convert_frame(given, wanted if set(wanted) == set(names) else names)[0]
    array, _ = as_array(given)
    if array.shape != variable.shape:
        raise ParameterError(f"the errors have shape {array.shape}, the values {variable.shape}")
    return xr.DataArray(array, dims=variable.dims)


def _fit(errors: xr.DataArray, variable: xr.DataArray) -> xr.DataArray:
    """Return errors with the dimensions of their variable in its order."""
    if errors.dtype.kind not in "iuf":
        raise DataError(f"the errors have dtype {errors.dtype}; real numbers are needed")
    if set(errors.dims) != set(variable.dims):
        raise ParameterError(f"the errors have the dimensions {errors.dims}, the values {variable.dims}")
    for dim in variable.dims:
        same = errors.sizes[dim] == variable.sizes[dim]
        named = dim in errors.indexes and dim in variable.indexes and not isinstance(errors, pd.DataFrame)
        if same and named and dim != "feature":
            same = errors.indexes[dim].equals(variable.indexes[dim])
        if not same:
            raise ParameterError(f"the errors and the values differ along {dim!r}; select the same part of both")
    return errors.transpose(*variable.dims)
