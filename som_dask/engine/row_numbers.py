"""Which rows of the data a block holds: numbers that the cutting into blocks has no say in."""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

__all__ = [
    "BoxRows",
    "ConsecutiveRows",
    "Grid",
    "JoinedRows",
    "RowNumbers",
    "all_box_rows",
    "join_rows",
    "table_rows",
]

Grid = tuple[tuple[int, ...], ...]


class RowNumbers(ABC):
    """Numbers of the rows of a block.

    Attributes
    ----------
    first : int
        Number of the first row.
    contiguous : bool
        Whether the numbers are ``first``, ``first + 1`` and so on.
    """

    first: int
    contiguous: bool

    @abstractmethod
    def numbers(self, start: int, n: int) -> np.ndarray:
        """List the numbers of n rows from the block's row `start` on: (n,) int64."""

    def at(self, start: int, n: int) -> int | np.ndarray:
        """Return the numbers, or that of the first row where the others follow it."""
        return self.first + start if self.contiguous else self.numbers(start, n)


@dataclass(frozen=True)
class ConsecutiveRows(RowNumbers):
    """Rows that follow each other: those of a block of one sample dimension."""

    first: int = 0

    @property
    def contiguous(self) -> bool:  # type: ignore[override]
        """Always."""
        return True

    def numbers(self, start: int, n: int) -> np.ndarray:
        """Numbers of n rows from row `start` on: (n,) int64."""
        return np.arange(self.first + start, self.first + start + n, dtype=np.int64)


@dataclass(frozen=True)
class BoxRows(RowNumbers):
    """The rows of a block that is a box cut out of all sample dimensions, in C order.

    The number of a row is its index in C order over all samples, so it is the same for any blocks.

    Attributes
    ----------
    offsets : tuple of int
        Where the box begins along each dimension.
    shape : tuple of int
        Its sizes.
    full : tuple of int
        Sizes of all samples.
    """

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    full: tuple[int, ...]

    def __len__(self) -> int:
        return math.prod(self.shape)

    @functools.cached_property
    def steps(self) -> tuple[int, ...]:
        """How far apart neighbors along each dimension are numbered."""
        return tuple(math.prod(self.full[d + 1 :]) for d in range(len(self.full)))

    @property
    def first(self) -> int:  # type: ignore[override]
        """Number of the first row."""
        return sum(offset * step for offset, step in zip(self.offsets, self.steps, strict=True))

    @functools.cached_property
    def contiguous(self) -> bool:  # type: ignore[override]
        """Whether the numbers are ``first``, ``first + 1`` and so on."""
        long = [d for d, size in enumerate(self.shape) if size != 1]
        return not long or self.shape[long[0] + 1 :] == self.full[long[0] + 1 :]

    def numbers(self, start: int = 0, n: int | None = None) -> np.ndarray:
        """Numbers of n rows, by default all, from the block's row `start` on: (n,) int64."""
        n = len(self) - start if n is None else n
        local = np.arange(start, start + n, dtype=np.int64)
        if self.contiguous or not n:
            return self.first + local
        total = np.full(n, self.first, dtype=np.int64)
        for size, step in zip(reversed(self.shape), reversed(self.steps), strict=True):
            local, index = np.divmod(local, size)
            total += index * step
        return total


@dataclass(frozen=True)
class JoinedRows(RowNumbers):
    """The rows of several boxes, one behind the other: made by `join_rows`."""

    parts: tuple[BoxRows, ...]

    def __len__(self) -> int:
        return self.edges[-1] + len(self.parts[-1])

    @property
    def first(self) -> int:  # type: ignore[override]
        """Number of the first row."""
        return self.parts[0].first

    @functools.cached_property
    def contiguous(self) -> bool:  # type: ignore[override]
        """Whether the numbers are ``first``, ``first + 1`` and so on."""
        following = self.first
        for part in self.parts:
            if not part.contiguous or part.first != following:
                return False
            following += len(part)
        return True

    def numbers(self, start: int = 0, n: int | None = None) -> np.ndarray:
        """Numbers of n rows, by default all, from row `start` on: (n,) int64."""
        stop = len(self) if n is None else start + n
        if self.contiguous:
            return np.arange(self.first + start, self.first + stop, dtype=np.int64)
        found, place = [np.empty(0, dtype=np.int64)], self._part_of(start)
        while start < stop:
            begin, part = self.edges[place], self.parts[place]
            end = min(stop - begin, len(part))
            found.append(part.numbers(start - begin, end - (start - begin)))
            start, place = begin + end, place + 1
        return np.concatenate(found)

    def at(self, start: int, n: int) -> int | np.ndarray:
        """Return the numbers, or that of the first row where the others follow it, as in one part they may."""
        place = self._part_of(start)
        begin, part = self.edges[place], self.parts[place]
        if not self.contiguous and start + n <= begin + len(part):
            return part.at(start - begin, n)
        return super().at(start, n)

    @functools.cached_property
    def edges(self) -> list[int]:
        """The row that each part begins at."""
        return [0, *accumulate(len(part) for part in self.parts[:-1])]

    def _part_of(self, row: int) -> int:
        return bisect.bisect_right(self.edges, row) - 1


def join_rows(parts: Sequence[RowNumbers], lengths: Sequence[int]) -> RowNumbers:
    """Join the row numbers of blocks.

    Parameters
    ----------
    parts : sequence of RowNumbers
    lengths : sequence of int
        How many rows each block has. Blocks of one sample dimension that follow each other are told by the first of
        their numbers.
    """
    if len(parts) == 1:
        return parts[0]
    boxes = [
        part if isinstance(part, BoxRows) else BoxRows((part.first,), (n,), (part.first + n,))
        for part, n in zip(parts, lengths, strict=True)
    ]
    joined = JoinedRows(tuple(boxes))
    return parts[0] if isinstance(parts[0], ConsecutiveRows) and joined.contiguous else joined


def all_box_rows(grid: Grid) -> Iterator[BoxRows]:
    """Describe the rows of each block of a grid, in C order of the blocks and in time linear in their number.

    Parameters
    ----------
    grid : tuple of tuple of int
        Sizes of the blocks along each sample dimension.
    """
    sides = [zip(accumulate(sizes[:-1], initial=0), sizes, strict=True) for sizes in grid]
    full = tuple(sum(sizes) for sizes in grid)
    for place in itertools.product(*sides):
        offsets, shape = zip(*place, strict=True)
        yield BoxRows(offsets, shape, full)


def table_rows(numbers: np.ndarray, grid: Grid) -> np.ndarray:
    """Find where rows of some numbers lie in the table of all blocks, one behind the other.

    Parameters
    ----------
    numbers : (k,) int
    grid : tuple of tuple of int

    Returns
    -------
    (k,) int64
    """
    rest = np.asarray(numbers, dtype=np.int64)
    places, locals_, sizes = [], [], []
    for cuts in reversed(grid):
        rest, index = np.divmod(rest, sum(cuts))
        edges = np.concatenate([[0], np.cumsum(cuts)])
        place = np.searchsorted(edges, index, side="right") - 1
        places.append(place)
        locals_.append(index - edges[place])
        sizes.append(np.asarray(cuts)[place])
    block, local = np.zeros_like(rest), np.zeros_like(rest)
    for cuts, place, inner, size in zip(grid, *(reversed(x) for x in (places, locals_, sizes)), strict=True):
        block, local = block * len(cuts) + place, local * size + inner
    counts = functools.reduce(np.multiply.outer, [np.asarray(cuts, dtype=np.int64) for cuts in grid]).ravel()
    return (np.cumsum(counts) - counts)[block] + local
