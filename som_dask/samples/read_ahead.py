"""Rows of a stored table that are read ahead of the computation."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from som_dask.engine.block import BlockSource

__all__ = ["PIECE_BYTES", "READ_AHEAD", "StoredRows"]

PIECE_BYTES = 4 * 2**20  # read at once, unless a stored chunk is larger
READ_AHEAD, MOST_READERS = 4, 256


@functools.cache
def _readers() -> ThreadPoolExecutor:
    """Return the threads of this process that read ahead; each computing task uses a few of them."""
    return ThreadPoolExecutor(MOST_READERS, thread_name_prefix="som-dask-reader")


@dataclass(frozen=True)
class StoredRows(BlockSource):
    """Rows of a stored table, read piece by piece while earlier pieces are computed on.

    Attributes
    ----------
    variable : xarray.Variable (n, D)
        Lazily indexed.
    dtype : numpy.dtype
    piece_rows : int
        Rows of a piece, a multiple of the rows of a stored chunk.
    name : str
        Name of the dask array that holds the same rows.
    start, stop : int
        First row, and the row after the last.
    columns : (d,) int, optional
        The columns of `variable` that are the features, if they are not all of them in order.
    """

    variable: xr.Variable
    dtype: np.dtype
    piece_rows: int
    name: str
    start: int = 0
    stop: int = 0
    columns: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Number of rows and of features."""
        return self.stop - self.start, self.variable.shape[1] if self.columns is None else len(self.columns)

    def pieces(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the pieces in order, each (rows, D), with the row that it begins at, counted from `start`."""
        coming = deque[tuple[int, Future[np.ndarray]]]()
        for first in range(self.start, self.stop, self.piece_rows):
            coming.append((first - self.start, _readers().submit(self.read, first)))
            if len(coming) > READ_AHEAD:
                row, piece = coming.popleft()
                yield row, piece.result()
        while coming:
            row, piece = coming.popleft()
            yield row, piece.result()

    def joined(self, others: Sequence[BlockSource]) -> BlockSource:
        """Join these rows with those of the blocks that follow, to read ahead across the borders of blocks too."""
        last = others[-1] if others else self
        return replace(self, stop=last.stop) if isinstance(last, StoredRows) else super().joined(others)

    def choose(self, columns: np.ndarray, name: str) -> StoredRows:
        """Return the same rows with some of their features; `name` is that of the dask array that holds them."""
        return replace(self, columns=columns if self.columns is None else self.columns[columns], name=name)

    def read(self, first: int) -> np.ndarray:
        """Read the piece that begins at a row."""
        end = min(first + self.piece_rows, self.stop)
        values = self.variable[first:end].values
        return np.asarray(values if self.columns is None else values[:, self.columns], dtype=self.dtype)
