"""Samples that are in memory: pandas DataFrames, arrays, and what can't be taken for either."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr

from som_dask.errors import DataError, ParameterError
from som_dask.samples.choose import check_names
from som_dask.samples.gaps import fill_masked
from som_dask.samples.sparse import is_sparse, make_blocks_dense

__all__ = ["as_array", "check_beside", "convert_frame", "dtype_of_column", "name_dims", "refuse_columns"]

TAKEN = (
    "a path or URL of a Zarr store or of files, an xarray, dask or NumPy array, an xarray Dataset, "
    "a DataFrame or AnnData"
)
NUMBERS = {"integer", "floating", "mixed-integer-float", "boolean", "decimal", "empty"}  # by pandas's infer_dtype


def convert_frame(
    frame: pd.DataFrame, features: Sequence[str] | None = None, beside: str | None = None
) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Convert a DataFrame: its columns name the features, and its index, unless a plain range, the samples.

    Parameters
    ----------
    frame : pandas.DataFrame
        Whole numbers, floats, booleans, and all of these with missing values, which become NaN.
    features : sequence of str, optional
        The columns to take, in this order.
    beside : str, optional
        A column that is returned by itself, and is no feature unless it is named as one.

    Returns
    -------
    rows : DataArray (sample, feature)
    beside : DataArray (sample,), or None

    Raises
    ------
    DataError
        If a column is not of real numbers.
    ParameterError
        If a column that is asked for is not there.
    """
    names = [str(name) for name in frame.columns]
    other = None
    if beside is not None:
        check_beside(beside, names, "the DataFrame")
        own = _numbers_of(frame.iloc[:, [names.index(beside)]])[:, 0]
        other = xr.DataArray(own, dims=name_dims(2)[:1], name=beside)
        features = [name for name in names if name != beside] if features is None else features
    if features is not None:
        check_names(features, names, "the DataFrame")
        frame = frame.iloc[:, [names.index(name) for name in features]]
    coords: dict[str, Any] = {"feature": np.array([str(name) for name in frame.columns], dtype=object)}
    if not isinstance(frame.index, (pd.RangeIndex, pd.MultiIndex)):
        coords["sample"] = ("sample", frame.index)  # whatever the name of the index
    return xr.DataArray(_numbers_of(frame), dims=name_dims(2), coords=coords), other


def check_beside(name: str, columns: Iterable[str], where: str) -> None:
    """Check that a table has the column of weights.

    Raises
    ------
    ParameterError
        If it has not.
    """
    if name not in columns:
        raise ParameterError(f"{where} has no column {name!r} for the weights; name one that it has")


def name_dims(ndim: int) -> tuple[str, ...]:
    """Return names for the dimensions of an array that has none."""
    return ("sample", "feature") if ndim == 2 else tuple(f"dim_{i}" for i in range(ndim))


def _numbers_of(frame: pd.DataFrame) -> np.ndarray:
    """Return the values of a DataFrame in one dtype; as floats, NaN where missing, if columns can lack values."""
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    dtypes = [dtype_of_column(column) for column in columns]
    bad = [f"{c.name} ({c.dtype})" for c, dtype in zip(columns, dtypes, strict=True) if dtype is None]
    refuse_columns(bad, "the DataFrame")
    dtype = np.result_type(*dtypes) if dtypes else np.dtype(np.float64)
    if all(isinstance(column.dtype, np.dtype) and column.dtype.kind != "O" for column in columns):
        return frame.to_numpy(dtype=dtype)
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    values = np.empty(frame.shape, dtype=dtype)
    for i, column in enumerate(columns):
        if column.dtype.kind == "O":
            column = column.where(~column.isna(), np.nan)
        values[:, i] = column.to_numpy(dtype=dtype, na_value=np.nan)
    return values


def refuse_columns(bad: Sequence[str], where: str) -> None:
    """Refuse columns that are not of real numbers, each given with its dtype, if there are any.

    Raises
    ------
    DataError
    """
    if bad:
        raise DataError(
            f"{where} has columns that are not of real numbers: {', '.join(bad[:8])}"
            f"{f' and {len(bad) - 8} more' if len(bad) > 8 else ''}; choose the others by `features`, or encode "
            f"these as numbers"
        )


def dtype_of_column(column: pd.Series) -> np.dtype | None:
    """Return the dtype of a column's values; None if they are not real numbers."""
    if column.dtype == object:
        return np.dtype(np.float64) if pd.api.types.infer_dtype(column, skipna=True) in NUMBERS else None
    if isinstance(column.dtype, pd.CategoricalDtype):
        return None
    own = getattr(column.dtype, "numpy_dtype", getattr(column.dtype, "subtype", column.dtype))
    return own if isinstance(own, np.dtype) and own.kind in "iufb" else None


def as_array(source: Any) -> tuple[Any, str]:
    """Return what is no store, Dataset or DataFrame as a dask or NumPy array, and what to call it.

    Raises
    ------
    DataError
        If it is of a kind that is not taken; the message says which are.
    """
    kind = type(source).__name__
    if isinstance(source, dask.array.Array):
        return make_blocks_dense(source) if is_sparse(source._meta) else fill_masked(source), "the dask array"
    if hasattr(source, "to_dask_array"):
        raise DataError(f"the samples are a dask {kind}; give its to_dask_array(lengths=True)")
    if is_sparse(source):
        return make_blocks_dense(source), f"the {kind}"
    if isinstance(source, Mapping) or (
        isinstance(source, (list, tuple)) and source and isinstance(source[0], Mapping)
    ):
        what = f"a {kind}" if isinstance(source, Mapping) else f"a {kind} of {type(source[0]).__name__}s"
        raise DataError(f"the samples are {what}; make it a table by pandas.DataFrame(...)")
    if isinstance(source, pd.Series):
        raise DataError("the samples are a single Series; make it a table of one column by its to_frame()")
    try:
        array = np.asarray(fill_masked(source))
    except (TypeError, ValueError) as error:  # ragged lists, or whatever has no values
        raise DataError(f"the samples, a {kind}, make no array: {error}; give {TAKEN}") from error
    if not array.ndim or (array.dtype == object and not isinstance(source, np.ndarray)):
        raise DataError(f"the samples can't be {'None' if source is None else f'of the type {kind}'}; give {TAKEN}")
    return array, "the NumPy array" if isinstance(source, np.ndarray) else f"the {kind}"
