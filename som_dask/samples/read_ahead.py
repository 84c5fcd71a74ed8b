"""Rows of a stored table, read ahead of what is computed on them."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

__all__ = ["PIECE_BYTES", "READ_AHEAD", "StoredRows"]

PIECE_BYTES = 4 * 2**20  # read at once, where a stored chunk is not larger
READ_AHEAD, MOST_READERS = 4, 256


@functools.cache
def _readers() -> ThreadPoolExecutor:
    """This process's threads that read ahead: each task that computes has a few at work."""
    return ThreadPoolExecutor(MOST_READERS, thread_name_prefix="som-dask-reader")


@dataclass(frozen=True)
class StoredRows:
    """Rows of a stored table, read piece by piece, each while the one before is computed on.

    Attributes
    ----------
    variable : xarray.Variable (n, D)
        Lazily indexed.
    dtype : numpy.dtype
    piece_rows : int
        Rows of a piece, in the store's own chunks.
    name : str
        Name of the dask array that holds the same rows.
    start, stop : int
        Which rows.
    """

    variable: xr.Variable
    dtype: np.dtype
    piece_rows: int
    name: str
    start: int = 0
    stop: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return self.stop - self.start, self.variable.shape[1]

    def pieces(self) -> Iterator[tuple[int, np.ndarray]]:
        """The pieces in order, each (rows, D) with its first row counted from `start`."""
        coming = deque[tuple[int, Future[np.ndarray]]]()
        for first in range(self.start, self.stop, self.piece_rows):
            coming.append((first - self.start, _readers().submit(self.read, first)))
            if len(coming) > READ_AHEAD:
                row, piece = coming.popleft()
                yield row, piece.result()
        while coming:
            row, piece = coming.popleft()
            yield row, piece.result()

    def joined(self, last: StoredRows) -> StoredRows:
        """All rows from these to the last of others behind them."""
        return replace(self, stop=last.stop)

    def read(self, first: int) -> np.ndarray:
        """The piece that begins at a row."""
        end = min(first + self.piece_rows, self.stop)
        return np.asarray(self.variable[first:end].values, dtype=self.dtype)
