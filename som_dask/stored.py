"""Rows of a stored table, read ahead of what is computed on them."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from distributed import get_worker

__all__ = ["PIECE_BYTES", "READERS", "READ_AHEAD", "StoredRows"]

PIECE_BYTES = 4 * 2**20  # read at once, where a stored chunk is not larger
READ_AHEAD, MOST_READERS, MOST_PREPARED = 4, 256, 64


class _Readers:
    """Threads of this process that read ahead, and what they have read of blocks that no task has begun."""

    def __init__(self) -> None:
        self.lock, self.tasks = threading.Lock(), 0
        self.prepared: dict[tuple[str, int, int], Future[np.ndarray]] = {}

    @functools.cached_property
    def threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(MOST_READERS, thread_name_prefix="som-dask-reader")

    @contextlib.contextmanager
    def task(self) -> Iterator[int]:
        """Around a task that reads; gives the number of such tasks."""
        with self.lock:
            self.tasks += 1
            tasks = self.tasks
        try:
            yield tasks
        finally:
            with self.lock:
                self.tasks -= 1

    def take(self, rows: StoredRows, first: int) -> Future[np.ndarray]:
        """The piece of some rows that begins at row `first`."""
        with self.lock:
            known = self.prepared.pop(rows.key(first), None)
        return known or self.threads.submit(rows.read, first)

    def prepare(self, rows: StoredRows) -> None:
        """Begin to read a block that a task of this process will most likely ask for."""
        if rows.start == rows.stop or in_a_worker():
            return
        with self.lock:
            if rows.key(rows.start) not in self.prepared:
                self.prepared[rows.key(rows.start)] = self.threads.submit(rows.read, rows.start)
            while len(self.prepared) > MOST_PREPARED:  # of runs that were broken off
                self.prepared.pop(next(iter(self.prepared)))


READERS = _Readers()


def in_a_worker() -> bool:
    """Whether this thread is a distributed worker's: which block it gets next is the scheduler's to say."""
    try:
        get_worker()
    except ValueError:
        return False
    return True


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
        with READERS.task() as tasks:
            for first in range(self.start, self.stop, self.piece_rows):
                coming.append((first - self.start, READERS.take(self, first)))
                if first == self.start:
                    # The blocks that are next in turn, where as many at a time are worked on as now.
                    pieces = -(-(self.stop - self.start) // self.piece_rows)
                    for turn in range(1, -(-READ_AHEAD // pieces) + 1):
                        READERS.prepare(self.moved(turn * tasks))
                if len(coming) > READ_AHEAD:
                    row, piece = coming.popleft()
                    yield row, piece.result()
            for row, piece in coming:
                yield row, piece.result()

    def key(self, first: int) -> tuple[str, int, int]:
        """What tells one piece from another."""
        return self.name, first, min(first + self.piece_rows, self.stop)

    def moved(self, blocks: int) -> StoredRows:
        """The rows that come so many blocks of this size later; there may be fewer, or none."""
        size, n = self.stop - self.start, self.variable.shape[0]
        start = min(self.start + blocks * size, n)
        return replace(self, start=start, stop=min(start + size, n))

    def read(self, first: int) -> np.ndarray:
        """The piece that begins at a row."""
        end = min(first + self.piece_rows, self.stop)
        return np.asarray(self.variable[first:end].values, dtype=self.dtype)
