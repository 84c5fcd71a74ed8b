"""Tables of named columns that are read in parts: what they have in common, whatever they are read from."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from dask.highlevelgraph import HighLevelGraph

from som_dask.errors import DataError
from som_dask.samples.choose import check_names
from som_dask.samples.frames import check_beside, name_dims, refuse_columns

__all__ = ["INDEX", "Table", "array_of_parts", "check_rows", "convert_table", "dtype_of_numbers", "warn_of_index"]

INDEX = "index"  # name of the coordinate of an index without one


class Table(ABC):
    """A table of named columns in parts of known numbers of rows.

    Attributes
    ----------
    where : str
        Description for messages.
    columns : mapping of str to (numpy.dtype or None, str)
        The dtype of the numbers in each column, None if it has others than real numbers; and what the table calls it.
    """

    where: str
    columns: Mapping[str, tuple[np.dtype | None, str]]

    @abstractmethod
    def read(self, names: Sequence[str], dtype: np.dtype) -> Any:
        """Return columns side by side, lazily: a dask array (n, D) in the parts of the table."""

    @abstractmethod
    def read_index(self) -> dict[str, Any]:
        """Return the index, lazily: dask arrays (n,) by name; none if the rows have only their places."""


def convert_table(
    table: Table, features: Sequence[str] | None = None, beside: str | None = None
) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Convert a table: its columns name the features, and its index is a coordinate of the samples.

    Parameters
    ----------
    table : Table
    features : sequence of str, optional
        The columns to take, in this order; nothing else is read.
    beside : str, optional
        A column that is returned by itself; it is read together with the others.

    Returns
    -------
    rows : DataArray (sample, feature)
        Read in parts when it is computed. The index is no index of xarray's, which would be in memory.
    beside : DataArray (sample,), or None

    Raises
    ------
    DataError
        If a column is not of real numbers.
    ParameterError
        If a column that is asked for is not there.
    """
    names = [name for name in table.columns if name != beside] if features is None else list(features)
    if features is not None:
        check_names(features, tuple(table.columns), table.where)
    if beside is not None:
        check_beside(beside, table.columns, table.where)
    every = names if beside is None else [*names, beside]
    kinds = {name: table.columns[name] for name in every}
    refuse_columns([f"{name} ({told})" for name, (dtype, told) in kinds.items() if dtype is None], table.where)
    if not names:
        raise DataError(f"{table.where} has no features")
    dtypes = {name: dtype for name, (dtype, _) in kinds.items() if dtype is not None}
    array = table.read(list(kinds), dtype_of_numbers(list(dtypes.values())))
    weights = None
    if beside is not None:
        weights = xr.DataArray(array[:, list(kinds).index(beside)], dims=name_dims(2)[:1], name=beside)
        array = array[:, : len(names)].astype(dtype_of_numbers([dtypes[name] for name in names]))
    if not array.shape[0]:
        raise DataError(f"{table.where} has no samples")
    dims = name_dims(2)
    coords: dict[str, Any] = {dims[1]: np.array(names, dtype=object)}
    for name, values in table.read_index().items():
        coords[f"{name}_{INDEX}" if name in dims else name] = (dims[0], values)
    return xr.DataArray(array, dims=dims, coords=coords), weights


def dtype_of_numbers(dtypes: Sequence[np.dtype]) -> np.dtype:
    """Return the dtype of the samples: that of floats, or float64, as whole numbers and truths may be missing."""
    found = np.result_type(*dtypes)
    return found if found.kind == "f" else np.dtype(np.float64)


def array_of_parts(name: str, tasks: Sequence[Any], rows: Sequence[int], columns: int | None, dtype: Any) -> Any:
    """Make a dask array of tasks that read parts of it.

    Parameters
    ----------
    name : str
        Of the array; the same for the same parts.
    tasks : sequence of tuple
        A function and its arguments for each part, as graphs of Dask hold them.
    rows : sequence of int
    columns : int, optional
        None for an array (n,).
    dtype : numpy.dtype
    """
    inner = () if columns is None else (0,)
    graph: dict[Any, Any] = {(name, i, *inner): task for i, task in enumerate(tasks)}
    chunks = (tuple(rows), *(() if columns is None else ((columns,),)))
    return dask.array.Array(HighLevelGraph({name: graph}, {name: set()}), name, chunks=chunks, dtype=dtype)


def check_rows(values: Any, rows: int, where: str) -> Any:
    """Return a part of a table, unless it has more or fewer rows than when the table was opened.

    Raises
    ------
    DataError
    """
    if len(values) != rows:
        raise DataError(f"{where} has changed: {len(values)} rows in place of {rows}; open it again")
    return values


def warn_of_index(name: Any, where: str) -> None:
    """Warn that labels go without an index, because a store can't be begun with text of unknown length."""
    warnings.warn(f"the index {name!r} of {where} is not of numbers or times; labels go without it", stacklevel=2)
