"""A block of samples: the rows of one task, walked in tiles that fit a core's cache."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from som_dask.engine.device import to_host
from som_dask.engine.row_numbers import ConsecutiveRows, RowNumbers, join_rows
from som_dask.errors import DataError
from som_dask.numerics.hashing import fingerprint_of

__all__ = ["MOST_TILE_ROWS", "ArrayRows", "Block", "BlockSource", "Tile", "TileSum", "add_up_tiles", "refuse_mask"]

# A tile is copied as float64: small enough for a core's cache, large enough that Python's part does not count.
TILE_BYTES, LEAST_TILE_ROWS, MOST_TILE_ROWS = 2 * 2**20, 1024, 16384
FROM_THE_FIRST = ConsecutiveRows()


class BlockSource(ABC):
    """Where the rows of a block come from: arrays in memory, or a store that is read piece by piece.

    Attributes
    ----------
    shape : tuple of int
        Rows and features.
    """

    shape: tuple[int, ...]

    @abstractmethod
    def pieces(self) -> Iterator[tuple[int, Any]]:
        """Yield the parts in order, each an array (rows, D) with the row that it starts at."""

    def joined(self, others: Sequence[BlockSource]) -> BlockSource:
        """Join these rows and those of the blocks behind them to one source."""
        return _JoinedSources((self, *others)) if others else self


@dataclass(frozen=True, eq=False)
class ArrayRows(BlockSource):
    """The rows of an array that is in memory, of this machine or of a GPU."""

    array: Any

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Rows and features."""
        return self.array.shape

    def pieces(self) -> Iterator[tuple[int, Any]]:
        """Yield the array as it is."""
        yield 0, self.array


@dataclass(frozen=True, eq=False)
class _JoinedSources(BlockSource):
    """Sources of any kind, one behind the other."""

    parts: tuple[BlockSource, ...]

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """Rows and features."""
        return sum(part.shape[0] for part in self.parts), self.parts[0].shape[1]

    def pieces(self) -> Iterator[tuple[int, Any]]:
        """Yield the pieces of all, with the rows that they start at here."""
        start = 0
        for part in self.parts:
            for first, piece in part.pieces():
                yield start + first, piece
            start += part.shape[0]


class Tile(NamedTuple):
    """A few rows of a block as float64: one kind of array for the compiled loops.

    Attributes
    ----------
    start : int
        The block's row that is its first.
    values : (n, D) float64
        A copy, which may be changed.
    weights : (n,) float64, or None
    numbers : int, or (n,) int64
        Number in the data of the first row, which the others follow, or of each.
    known : int, optional
        Its share in the fingerprint of the block, where that is known.
    errors : (n, D) float64, optional
        Errors of the values; infinite where a value is missing.
    last : (n,) int32, optional
        See `Block`.
    """

    start: int
    values: np.ndarray
    weights: np.ndarray | None
    numbers: int | np.ndarray
    known: int | None = None
    errors: np.ndarray | None = None
    last: np.ndarray | None = None

    @property
    def columns(self) -> np.ndarray:
        """The values, and behind them their errors if there are any: (n, D) or (n, 2 D) float64."""
        return self.values if self.errors is None else np.hstack([self.values, self.errors])

    @property
    def fingerprint(self) -> int:
        """Hash of rows, weights and numbers, not yet taken mod 2^64."""
        return fingerprint_of(self.columns, self.weights, self.numbers) if self.known is None else self.known


@dataclass(frozen=True, eq=False)
class Block:
    """Some rows of the data, in their order.

    Attributes
    ----------
    source : BlockSource
    weights : (n,) float64, or None
        Of the samples.
    numbers : RowNumbers
        Which rows of the data they are.
    fingerprint : int, optional
        That of the block, where it is known: then nothing is hashed.
    with_errors : bool
        Whether the columns of the source are D values and behind them their D errors.
    last : (n,) int32, optional
        The nodes that the samples had last, -1 where they are not known; `Engine.add_up` may enter those that they
        have. They are where a search may begin, and results never depend on them.
    """

    source: BlockSource
    weights: np.ndarray | None = None
    numbers: RowNumbers = FROM_THE_FIRST
    fingerprint: int | None = None
    with_errors: bool = False
    last: np.ndarray | None = None

    @classmethod
    def of(cls, rows: Any, weights: Any = None, numbers: RowNumbers | int = 0, *, with_errors: bool = False) -> Self:
        """Make a block of an array (n, D), or (n, 2 D) with errors, or of a source.

        Parameters
        ----------
        rows : array or BlockSource
        weights : (n,) array, optional
        numbers : RowNumbers or int
            As a number, that of the first row, which the others follow.
        with_errors : bool
        """
        source = rows if isinstance(rows, BlockSource) else ArrayRows(refuse_mask(rows))
        weights = None if weights is None else np.asarray(refuse_mask(weights), dtype=np.float64)
        numbers = ConsecutiveRows(numbers) if isinstance(numbers, int) else numbers
        return cls(source, weights, numbers, with_errors=with_errors)

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """Join blocks to one, in their order."""
        first, *others = blocks
        if not others:
            return first
        weights = [block.weights for block in blocks if block.weights is not None]
        return cls(
            first.source.joined([block.source for block in others]),
            np.concatenate(weights) if weights else None,
            join_rows([block.numbers for block in blocks], [len(block) for block in blocks]),
            with_errors=first.with_errors,
        )

    def __len__(self) -> int:
        return self.source.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and features."""
        shape = self.source.shape
        return (shape[0], shape[1] // 2) if self.with_errors else shape

    def tiles(self) -> Iterator[Tile]:
        """Yield the rows in tiles."""
        rows = min(max(TILE_BYTES // (8 * self.source.shape[1]), LEAST_TILE_ROWS), MOST_TILE_ROWS)
        known = self.fingerprint  # entered by the first tile
        for first, piece in self.source.pieces():
            for begin in range(0, len(piece), rows):
                values = np.array(to_host(piece[begin : begin + rows]), dtype=np.float64, order="C")
                start, n, errors = first + begin, len(values), None
                if self.with_errors:
                    values, errors = _split_errors(values)
                weights = None if self.weights is None else self.weights[start : start + n]
                last = None if self.last is None else self.last[start : start + n]
                yield Tile(start, values, weights, self.numbers.at(start, n), known, errors, last)
                known = None if known is None else 0


def _split_errors(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values and errors of columns (n, 2 D): a value without a finite error is missing, and its error inf."""
    values, errors = (half.copy() for half in np.hsplit(columns, 2))
    lacking = np.isnan(values) | ~np.isfinite(errors)
    values[lacking], errors[lacking] = np.nan, np.inf
    return values, errors


def refuse_mask(block: Any) -> Any:
    """Return a block, unless it has a mask, which would be lost.

    Raises
    ------
    DataError
        Masked values become NaN when samples are opened, so the input did not tell of this mask.
    """
    if isinstance(block, np.ma.MaskedArray):
        raise DataError(
            "a block is a masked array, which the dask array that it is of does not tell; give that array a masked "
            "meta (such as meta=np.ma.array([])), or fill its blocks with NaN"
        )
    return block


Result = TypeVar("Result", covariant=True)


class TileSum(Protocol[Result]):
    """Something that the tiles of a block are added to, one after the other."""

    def add(self, tile: Tile) -> None:
        """Enter a tile."""

    def result(self) -> Result:
        """Return what all tiles add up to."""


def add_up_tiles(block: Block, total: TileSum[Result]) -> Result:
    """Walk through a block tile by tile: all that is computed of samples on a CPU is computed in this loop.

    Memory beyond the block and the total is a few MiB.
    """
    for tile in block.tiles():
        total.add(tile)
    return total.result()
