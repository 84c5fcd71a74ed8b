"""Parquet files as a table: parts are row groups, whose numbers of rows the files themselves tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask.base import tokenize
from dask.utils import parse_bytes

from som_dask.errors import StorageError
from som_dask.io.data_files import find_files
from som_dask.io.files import PathOrUrl, is_url, resolve_url
from som_dask.io.store_state import store_state
from som_dask.samples.block_rows import DEFAULT_BLOCK_SIZE, choose_block_rows
from som_dask.samples.tables import INDEX, Table, array_of_parts, check_rows, warn_of_index

__all__ = ["ParquetTable", "parquet_columns"]

READERS = 16  # of what files tell of themselves, at once
UNNAMED = "__index_level_"  # begins the names that pandas gives to levels of an index without names


@dataclass(frozen=True)
class _Part:
    """Neighboring row groups of a file."""

    file: str
    groups: tuple[int, ...]
    rows: int


class ParquetTable(Table):
    """A table in Parquet files. All of them must have the columns that are read; names of folders are none.

    Parameters
    ----------
    path : path or fsspec URL
        A file, a folder, or a pattern.

    Raises
    ------
    StorageError
        If there are no such files, if one can't be read, or if pyarrow is not installed.
    """

    def __init__(self, path: PathOrUrl) -> None:
        self.where = str(path)
        self.files = find_files(path, "parquet")
        self.state = store_state(path)
        with ThreadPoolExecutor(READERS) as readers:
            self.told = list(readers.map(_read_footer, self.files))
        schema = self.told[0][0]
        self.index = [name for name in _index_of(schema) if name in schema.names]
        self.columns = {name: self._kind_of(name) for name in schema.names if name not in self.index}

    def _kind_of(self, name: str) -> tuple[np.dtype | None, str]:
        """Return the common dtype of a column in all files, and what the files call it."""
        found: list[np.dtype] = []
        for file, (schema, _) in zip(self.files, self.told, strict=True):
            if name not in schema.names:
                return None, f"absent from {file}"
            dtype = _dtype_of(schema.field(name).type)
            if dtype is None:
                return None, str(schema.field(name).type)
            found.append(dtype)
        dtype = np.result_type(*found)
        return dtype, str(dtype)

    def _parts_for(self, row_bytes: int) -> list[_Part]:
        """Cut the files into parts: single row groups, or small ones together."""
        n = sum(sum(groups) for _, groups in self.told)
        most = choose_block_rows(n, row_bytes, parse_bytes(DEFAULT_BLOCK_SIZE))
        return [
            part
            for file, (_, groups) in zip(self.files, self.told, strict=True)
            for part in _join_groups(file, groups, most)
        ]

    def read(self, names: Sequence[str], dtype: np.dtype) -> Any:
        """Return columns side by side, lazily: a dask array (n, D)."""
        self.parts = self._parts_for(len(names) * dtype.itemsize)
        tasks = [(_read_numbers, part, tuple(names), dtype) for part in self.parts]
        name = f"parquet-{tokenize(self.files, self.state, self.parts, names, dtype)}"
        return array_of_parts(name, tasks, [part.rows for part in self.parts], len(names), dtype)

    def read_index(self) -> dict[str, Any]:
        """Return the levels of pandas's index that are stored as columns of numbers or times, lazily."""
        found = {}
        for i, level in enumerate(self.index):
            dtype = _dtype_of_index(self.told[0][0].field(level).type)
            if dtype is None:
                warn_of_index(level, self.where)
                continue
            tasks = [(_read_index, part, level, dtype) for part in self.parts]
            name = f"parquet-index-{tokenize(self.files, self.state, self.parts, level)}"
            told = level if not level.startswith(UNNAMED) else INDEX if len(self.index) == 1 else f"{INDEX}_{i}"
            found[told] = array_of_parts(name, tasks, [part.rows for part in self.parts], None, dtype)
        return found


def _join_groups(file: str, groups: Sequence[int], most: int) -> Iterator[_Part]:
    """Join neighboring row groups of a file up to a number of rows."""
    own: list[int] = []
    for i, rows in enumerate(groups):
        if own and sum(groups[j] for j in own) + rows > most:
            yield _Part(file, tuple(own), sum(groups[j] for j in own))
            own = []
        if rows:
            own.append(i)
    if own:
        yield _Part(file, tuple(own), sum(groups[j] for j in own))


def _open(file: str) -> Any:
    """Open a Parquet file.

    Raises
    ------
    StorageError
        If it can't be read, or if pyarrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise StorageError(f"no package that reads {file} is installed; install som_dask[tables]") from error
    try:
        if not is_url(file):
            return pyarrow.parquet.ParquetFile(file)
        filesystem, inner = resolve_url(file)
        return pyarrow.parquet.ParquetFile(filesystem.open(inner))
    except (OSError, pyarrow.ArrowException) as error:
        raise StorageError(f"can't read {file} as a Parquet file: {_first_words(error)}; restore it") from error


def _first_words(error: Exception) -> str:
    return " ".join(str(error).split()).split(". ")[0]


def _read_footer(file: str) -> tuple[Any, list[int]]:
    """Return the schema of a file, and the number of rows of each of its row groups."""
    with _open(file) as opened:
        told = opened.metadata
        return opened.schema_arrow, [told.row_group(i).num_rows for i in range(told.num_row_groups)]


def _index_of(schema: Any) -> list[str]:
    """Return the columns that were the index of a DataFrame of pandas; one of plain row numbers has none."""
    told = (schema.pandas_metadata or {}).get("index_columns", [])
    return [level for level in told if isinstance(level, str)]


def _dtype_of(kind: Any) -> np.dtype | None:
    """Return the dtype of a column's numbers; None if they are not real numbers."""
    import pyarrow.types as types

    if types.is_decimal(kind):
        return np.dtype(np.float64)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return np.dtype(kind.to_pandas_dtype())
    return None


def _dtype_of_index(kind: Any) -> np.dtype | None:
    import pyarrow.types as types

    if types.is_timestamp(kind) and kind.tz is None:
        return np.dtype(f"M8[{kind.unit}]")
    dtype = _dtype_of(kind)
    return None if dtype is None or types.is_decimal(kind) else dtype


def _read(part: _Part, names: Sequence[str]) -> Any:
    import pyarrow

    with _open(part.file) as opened:
        try:
            found = opened.read_row_groups(list(part.groups), columns=list(names), use_threads=False)
        except (OSError, IndexError, pyarrow.ArrowException) as error:
            words = f"can't read {part.file}: {_first_words(error)}; restore it, or open it again"
            raise StorageError(words) from error
    return check_rows(found, part.rows, part.file)


def _read_numbers(part: _Part, names: Sequence[str], dtype: np.dtype) -> np.ndarray:
    import pyarrow

    found = _read(part, names)
    values = np.empty((part.rows, len(names)), dtype=dtype)
    wanted = pyarrow.from_numpy_dtype(dtype)
    for i, name in enumerate(names):
        values[:, i] = found.column(name).cast(wanted, safe=False).to_numpy()  # NaN where there is nothing
    return values


def _read_index(part: _Part, name: str, dtype: np.dtype) -> np.ndarray:
    return np.asarray(_read(part, [name]).column(name).to_numpy(), dtype=dtype)


def parquet_columns(path: PathOrUrl) -> tuple[str, ...]:
    """Return the names of the columns of Parquet files that are not the index."""
    schema, _ = _read_footer(find_files(path, "parquet")[0])
    return tuple(name for name in schema.names if name not in _index_of(schema))
