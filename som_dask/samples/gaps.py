"""Values that stand for missing ones: the masks of NumPy arrays, and numbers that are named as nodata."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from som_dask.errors import ParameterError

__all__ = ["fill_masked", "is_missing", "make_missing", "nodata_attrs", "parse_nodata"]

Number = int | float


def fill_masked(values: Any, *, classes: bool = False) -> Any:
    """Make masked values missing: NaN in numbers, NaT in dates, None in all else.

    Parameters
    ----------
    values : array of any kind, or DataArray
        A NumPy masked array, or a Dask array whose blocks are such arrays; others are returned as they are. Integers
        and booleans become float64, whether or not a value is masked.
    classes : bool
        Whether the values name classes: then integers and booleans become objects, and stay what they are.

    Returns
    -------
    array or DataArray, without a mask
    """
    if isinstance(values, xr.DataArray):  # of old versions of xarray; newer ones keep no masks
        return values if values.chunks is None else values.copy(data=fill_masked(values.data, classes=classes))
    if isinstance(values, (list, tuple)) and any(isinstance(row, np.ma.MaskedArray) for row in values):
        values = np.ma.array(values)
    lazy = isinstance(values, dask.array.Array)
    if not isinstance(values._meta if lazy else values, np.ma.MaskedArray):
        return values
    dtype, missing = _missing_value_of(values.dtype, classes)
    fill = functools.partial(_fill_block, dtype, missing)
    return _map_blocks(values, fill, dtype) if lazy else fill(values)


def _missing_value_of(dtype: np.dtype, classes: bool) -> tuple[np.dtype, Any]:
    """Return the dtype of values of which some are missing, and the value that stands for these."""
    if dtype.kind in "fc":
        return dtype, np.nan
    if dtype.kind in "mM":
        return dtype, np.array("NaT", dtype=dtype)[()]
    if dtype.kind in "iub" and not classes:
        return np.dtype(np.float64), np.nan
    return np.dtype(object), None


def _fill_block(dtype: np.dtype, missing: Any, block: Any) -> np.ndarray:
    filled = np.array(np.ma.getdata(block), dtype=dtype)
    filled[np.ma.getmaskarray(block)] = missing
    return filled


def _map_blocks(array: Any, function: Callable[[np.ndarray], np.ndarray], dtype: np.dtype) -> Any:
    return array.map_blocks(function, dtype=dtype, meta=np.empty((0,) * array.ndim, dtype=dtype))


def parse_nodata(nodata: Any) -> tuple[Number, ...]:
    """Return the numbers that stand for missing values, without NaN.

    Parameters
    ----------
    nodata : number, sequence of numbers, or None
        A number may be written as a string.

    Raises
    ------
    ParameterError
        If something is not a number.
    """
    if nodata is None:
        return ()
    several = isinstance(nodata, Iterable) and not isinstance(nodata, str) and getattr(nodata, "ndim", 1) != 0
    parsed = [_parse_number(value) for value in (nodata if several else (nodata,))]
    return tuple(value for value in dict.fromkeys(parsed) if not math.isnan(value))


def _parse_number(value: Any) -> Number:
    try:
        if isinstance(value, str):
            try:
                value = int(value)  # of 64 bits not all are whole as floats
            except ValueError:
                return float(value)
        value = value.item() if isinstance(value, (np.generic, np.ndarray)) else value
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            float(value)  # OverflowError, if it is too large for any dtype
            return int(value)
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ParameterError(f"nodata must be a number or a list of numbers, got {value!r}")


def nodata_attrs(nodata: Sequence[Number]) -> dict[str, Any]:
    """Return how a model keeps these numbers in its attributes, for `parse_nodata`: infinities are no JSON."""
    return {"nodata": [value if math.isfinite(value) else str(value) for value in nodata]} if nodata else {}


def make_missing(variables: Sequence[xr.DataArray], nodata: Sequence[Number], where: str) -> tuple[xr.DataArray, ...]:
    """Make numbers missing that stand for missing values, as the variables are read.

    Parameters
    ----------
    variables : sequence of DataArray
        Of real numbers. Integers and booleans become float64.
    nodata : sequence of numbers
        Compared as numbers of a variable's own dtype.
    where : str
        Description of the input, for messages.

    Returns
    -------
    tuple of DataArray

    Raises
    ------
    ParameterError
        If no variable can hold one of the numbers.
    """
    own = [[number for each in nodata if (number := _as_number_of(each, v.dtype)) is not None] for v in variables]
    for value in nodata:
        if all(_as_number_of(value, v.dtype) is None for v in variables):
            dtypes = " or ".join(dict.fromkeys(str(v.dtype) for v in variables))
            raise ParameterError(
                f"nodata {value} is no number of dtype {dtypes}, which {where} has; name a value that it can hold"
            )
    return tuple(_make_missing_in(v, each) for v, each in zip(variables, own, strict=True))


def is_missing(value: np.ndarray, nodata: Sequence[Number]) -> bool:
    """Whether a value as it is read, (1,), is NaN, or one of the numbers that stand for missing values."""
    own = [_as_number_of(number, value.dtype) for number in nodata]
    return bool((value != value).any()) or any(number is not None and bool((value == number).any()) for number in own)


def _as_number_of(value: Number, dtype: np.dtype) -> Any:
    """Return a number as one of a dtype; None if the dtype has none that is the same, but for rounding."""
    if dtype.kind == "f":
        with np.errstate(over="ignore", under="ignore"):
            number = dtype.type(value)
        return None if (np.isinf(number) and not math.isinf(value)) or (number == 0 and value) else number
    if dtype.kind not in "iub" or math.isinf(value) or value != int(value):
        return None
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return dtype.type(int(value)) if least <= value <= most else None


def _make_missing_in(variable: xr.DataArray, nodata: Sequence[Any]) -> xr.DataArray:
    if variable.dtype.kind not in "iufb":  # which is refused elsewhere
        return variable
    dtype = variable.dtype if variable.dtype.kind == "f" else np.dtype(np.float64)
    blank = functools.partial(_blank_block, dtype, tuple(nodata))
    if variable.chunks is not None:
        return variable.copy(data=_map_blocks(variable.data, blank, dtype))
    if variable.variable._in_memory:
        return variable.copy(data=blank(variable.values))
    lazy = xr.core.indexing.LazilyIndexedArray(_BlankedArray(variable.variable, blank, dtype))
    return variable.copy(data=lazy)


def _blank_block(dtype: np.dtype, nodata: tuple[Any, ...], block: np.ndarray) -> np.ndarray:
    result = np.array(block, dtype=dtype)
    for value in nodata:
        result[block == value] = np.nan
    return result


class _BlankedArray(xr.backends.BackendArray):
    """A variable that is read lazily, and blanked when it is read."""

    def __init__(self, variable: xr.Variable, blank: Callable[[np.ndarray], np.ndarray], dtype: np.dtype) -> None:
        self.variable, self.blank = variable, blank
        self.shape, self.dtype = variable.shape, dtype

    def __getitem__(self, key: Any) -> Any:
        support = xr.core.indexing.IndexingSupport.BASIC
        return xr.core.indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: Any) -> np.ndarray:
        return self.blank(self.variable[key].values)
