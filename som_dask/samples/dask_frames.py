"""Dask DataFrames as tables, and text files that Dask reads as such: parts are partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask
import numpy as np
import pandas as pd
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from som_dask.errors import DataError, StorageError
from som_dask.io.data_files import find_files
from som_dask.io.files import PathOrUrl
from som_dask.samples.frames import dtype_of_column
from som_dask.samples.tables import Table, check_rows, warn_of_index

__all__ = ["FrameTable", "TextTable", "is_dask_frame", "text_columns"]

EXTRA = "install som_dask[tables]"
HEAD = 1000  # rows by which the kinds of columns are known


def is_dask_frame(source: Any) -> bool:
    """Return whether something is a dask DataFrame; dask.dataframe is not imported for that."""
    module = type(source).__module__.startswith(("dask.dataframe", "dask_expr"))
    return module and hasattr(source, "to_dask_array") and hasattr(source, "columns")


class FrameTable(Table):
    """A dask DataFrame. To know the number of rows of each partition, all of them are computed once, one by one.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame
    where : str
        Description for messages.
    """

    def __init__(self, frame: Any, where: str) -> None:
        self.frame, self.where = frame, where
        self.by_name = {str(name): name for name in frame.columns}
        dtypes = {name: frame._meta[own] for name, own in self.by_name.items()}
        self.columns = {
            name: (None if column.dtype == object else dtype_of_column(column), str(column.dtype))
            for name, column in dtypes.items()
        }

    def read(self, names: Sequence[str], dtype: np.dtype) -> Any:
        """Return columns side by side, lazily: a dask array (n, D)."""
        # Optimized here, because that may join partitions.
        self.parts = self.frame[[self.by_name[name] for name in names]].to_delayed(optimize_graph=True)
        self.rows = self._count_rows(names)
        return self._map(_numbers_of, len(names), dtype)

    def read_index(self) -> dict[str, Any]:
        """Return the index, lazily, if it has a name and holds numbers or times; others restart in each partition."""
        index = self.frame._meta.index
        dtype = index.dtype
        plain = isinstance(dtype, np.dtype) and dtype.kind in "biufM"
        if index.nlevels > 1 or index.name is None:
            return {}
        if not plain:
            warn_of_index(index.name, self.where)
            return {}
        return {str(index.name): self._map(_index_of, None, dtype)}

    def _count_rows(self, names: Sequence[str]) -> list[int]:
        return _count_rows(self.parts)

    def _map(self, function: Any, columns: int | None, dtype: Any) -> Any:
        inner = () if columns is None else (0,)
        name = f"{function.__name__.strip('_')}-{tokenize([part.key for part in self.parts], dtype)}"
        graph: dict[Any, Any] = {
            (name, i, *inner): (function, part.key, rows, dtype, self.where)
            for i, (part, rows) in enumerate(zip(self.parts, self.rows, strict=True))
        }
        layers = HighLevelGraph.from_collections(name, graph, dependencies=list(self.parts))
        chunks = (tuple(self.rows), *(() if columns is None else ((columns,),)))
        return dask.array.Array(layers, name, chunks=chunks, dtype=dtype)


def _count_rows(parts: Sequence[Any]) -> list[int]:
    return list(dask.compute(*[dask.delayed(len)(part) for part in parts]))


def _numbers_of(part: pd.DataFrame, rows: int, dtype: np.dtype, where: str) -> np.ndarray:
    check_rows(part, rows, where)
    values = np.empty(part.shape, dtype=dtype)
    for i in range(part.shape[1]):
        values[:, i] = part.iloc[:, i].to_numpy(dtype=dtype, na_value=np.nan)
    return values


def _index_of(part: pd.DataFrame, rows: int, dtype: np.dtype, where: str) -> np.ndarray:
    return np.asarray(check_rows(part, rows, where).index, dtype=dtype)


class TextTable(FrameTable):
    """Text files of columns with a header, separated by commas or, with the ending tsv, by tabs.

    Whether a column is of numbers is known by the first 1000 rows. All of them are read as float64.

    Parameters
    ----------
    path : path or fsspec URL
        A file, a folder, or a pattern.
    features : sequence of str, optional
        The columns that are read; by default all.

    Raises
    ------
    StorageError
        If there are no such files, if one can't be read, or if dask.dataframe is not installed.
    DataError
        If there are no rows.
    """

    def __init__(self, path: PathOrUrl, features: Sequence[str] | None = None) -> None:
        self.files, where = find_files(path, "csv"), str(path)
        self.head = _read_head(self.files[0], where, HEAD)
        if self.head.empty:
            raise DataError(f"{where} has no samples")
        super().__init__(self._read(features), where)

    def _read(self, features: Sequence[str] | None) -> Any:
        """Return the files as a dask DataFrame, or their first rows if these are enough to refuse them in words."""
        try:
            import dask.dataframe
        except ImportError as error:
            raise StorageError(f"no package that reads {self.files[0]} is installed; {EXTRA}") from error
        wanted = [name for name in self.head.columns if features is None or str(name) in features]
        found = {name: dtype_of_column(self.head[name]) for name in wanted if self.head[name].dtype != object}
        dtypes = {name: "boolean" if kind.kind == "b" else "float64" for name, kind in found.items() if kind}
        known = {str(name) for name in self.head.columns}
        if len(dtypes) < len(wanted) or not known.issuperset(features or ()):
            return dask.dataframe.from_pandas(self.head, npartitions=1)
        options: dict[str, Any] = {"sep": _separator_of(self.files[0]), "dtype": dtypes}
        if features is not None:
            options["usecols"] = wanted
        if any(file.lower().endswith(".gz") for file in self.files):
            options["blocksize"] = None  # because these can't be cut
        return dask.dataframe.read_csv(self.files, **options)

    def _count_rows(self, names: Sequence[str]) -> list[int]:
        try:
            return _count_rows(self.parts)
        except OSError as error:
            raise StorageError(f"can't read {self.where}: {_in_one_line(error)}; restore it") from error
        except ValueError as error:
            bad = self._find_bad_column(names)
            what = self.where if bad is None else f"the column {bad} of {self.where}"
            raise DataError(
                f"{what} is not as its first rows are: {_in_one_line(error)}; choose others by `features`, or mend it"
            ) from error

    def _find_bad_column(self, names: Sequence[str]) -> str | None:
        """Return the first column that can't be read as numbers."""
        for name in names:
            try:
                _count_rows(self._read([name]).to_delayed())
            except ValueError:
                return name
        return None


def text_columns(path: PathOrUrl) -> tuple[str, ...]:
    """Return the names of the columns of text files."""
    files = find_files(path, "csv")
    return tuple(str(name) for name in _read_head(files[0], str(path), rows=0).columns)


def _read_head(file: str, where: str, rows: int) -> pd.DataFrame:
    try:
        return pd.read_csv(file, nrows=rows, sep=_separator_of(file))
    except (OSError, ValueError) as error:  # of no columns, of bytes that are no text, of rows that are too long
        raise StorageError(f"can't read {where} as a table: {_in_one_line(error)}; restore it") from error


def _separator_of(file: str) -> str:
    return "\t" if ".tsv" in file.lower() else ","


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
