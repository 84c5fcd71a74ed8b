"""Attributes of results in a form that Zarr and netCDF hold alike, and give back as they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from som_dask.io.digest import to_json

__all__ = ["make_plain", "read_attribute", "read_attributes"]

Result = TypeVar("Result", xr.Dataset, xr.DataArray)
LEAST, MOST = -(2**63), 2**64 - 1  # integers that files hold


def make_plain(result: Result) -> Result:
    """Return a result with attributes, and those of its variables, that any file holds: text, numbers, lists of them.

    Arrays of numbers stay what they are. Attributes that are None are left out, True and False become 1 and 0, and
    whatever else there is, such as lists of names, becomes text as JSON, which `read_attribute` reads. Attributes of
    netCDF can be none of these.

    Parameters
    ----------
    result : xarray.Dataset or DataArray

    Returns
    -------
    xarray.Dataset or DataArray
        It shares its values with `result`, which is not changed.
    """
    result = result.copy(deep=False)
    result.attrs = _make_plain_attributes(result.attrs)
    for variable in [each.variable for each in result.coords.values()] + _data_variables_of(result):
        variable.attrs = _make_plain_attributes(variable.attrs)
    return result


def _data_variables_of(result: xr.Dataset | xr.DataArray) -> list[xr.Variable]:
    return [result[name].variable for name in result.data_vars] if isinstance(result, xr.Dataset) else []


def _make_plain_attributes(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    return {name: _make_plain_value(value) for name, value in attrs.items() if value is not None}


def _make_plain_value(value: Any) -> Any:
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, str) or _is_integer(value) or _is_float(value):
        return value
    if isinstance(value, (list, tuple, np.ndarray)) and len(value):
        values = list(value)
        if all(map(_is_integer, values)) or all(map(_is_float, values)):
            # Arrays stay arrays: netCDF keeps their dtype. Zarr takes those, but no lists of NumPy's numbers.
            return value if isinstance(value, np.ndarray) else [np.asarray(each).item() for each in values]
    return json.dumps(to_json(value))


def _is_integer(value: Any) -> bool:
    """Whether a value is an integer that files hold."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and LEAST <= int(value) <= MOST


def _is_float(value: Any) -> bool:
    return isinstance(value, (float, np.floating))


def read_attribute(value: Any) -> Any:
    """Return what an attribute was before `make_plain`: lists and mappings of their text, and others as they are."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def read_attributes(attrs: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return all attributes as `read_attribute` does."""
    return {name: read_attribute(value) for name, value in attrs.items()}
