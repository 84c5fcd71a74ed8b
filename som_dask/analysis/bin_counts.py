"""Counts or weights of samples by node and bin of a value, and the range of values; those of blocks add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.node_counts import find_heavy, flatten_nodes, read_numbers
from som_dask.errors import DataError, ParameterError
from som_dask.numerics.sizes import HasSize

__all__ = ["BinCounts", "ValueRange", "parse_bins", "spread_edges"]

MOST_BINS = 4096


@dataclass(frozen=True)
class ValueRange(HasSize):
    """The least and the greatest value of the samples that count; ranges add up."""

    low: float
    high: float

    @classmethod
    def of(
        cls, row: np.ndarray, col: np.ndarray, values: np.ndarray, lattice: Lattice, weights: np.ndarray | None = None
    ) -> ValueRange:
        """Find the range of one block; inf and -inf if no sample counts."""
        _, values, _, _ = _select(row, col, values, lattice, weights)
        return cls(float(values.min(initial=np.inf)), float(values.max(initial=-np.inf)))

    def __add__(self, other: ValueRange) -> ValueRange:
        return ValueRange(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class BinCounts(HasSize):
    """Number, or weight, of the samples by node and bin of their value; counts add up.

    Attributes
    ----------
    counts : (M, B + 2) int64, or float64 sums of weights
        Below the first edge, in each of the B bins, and above the last edge. (M, 1), all samples of the node, where
        there are no edges.
    no_node, no_value, no_weight : int
        Number of samples that are left out: those without a node, those with a node but no value, and those with both
        but of weight 0.
    samples : int
        Number of the others.
    """

    counts: np.ndarray
    no_node: int
    no_value: int
    no_weight: int
    samples: int

    @classmethod
    def of(
        cls,
        edges: np.ndarray,
        row: np.ndarray,
        col: np.ndarray,
        values: np.ndarray,
        lattice: Lattice,
        weights: np.ndarray | None = None,
    ) -> BinCounts:
        """Count the samples of one block: row, column, value and perhaps weight of each, arrays of one shape.

        Edges (B + 1,) belong to the bin on their right, the last one to the last bin.
        """
        node, values, weights, left_out = _select(row, col, values, lattice, weights)
        place = np.searchsorted(edges, values, side="right")
        if len(edges):
            place[values == edges[-1]] -= 1
        columns = len(edges) + 1
        counts = np.bincount(node * columns + place, weights, lattice.n_nodes * columns)
        counts = counts.astype(np.int64 if weights is None else np.float64, copy=False)
        return cls(counts.reshape(lattice.n_nodes, columns), *left_out, len(node))

    def __add__(self, other: BinCounts) -> BinCounts:
        return BinCounts(
            self.counts + other.counts,
            self.no_node + other.no_node,
            self.no_value + other.no_value,
            self.no_weight + other.no_weight,
            self.samples + other.samples,
        )


def _select(
    row: np.ndarray, col: np.ndarray, values: np.ndarray, lattice: Lattice, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, tuple[int, int, int]]:
    """Select the samples that count: their nodes, values and weights, and how many of each kind do not."""
    node, values = flatten_nodes(row, col, lattice).ravel(), read_numbers(values)
    taken = (node >= 0) & ~np.isnan(values)
    no_node, known = int(np.count_nonzero(node < 0)), int(np.count_nonzero(taken))
    if weights is not None:
        weights = np.asarray(weights, dtype=np.float64).ravel()
        taken &= find_heavy(weights, taken)
        weights = weights[taken]
    no_weight = known - int(np.count_nonzero(taken))
    return node[taken], values[taken], weights, (no_node, len(node) - known - no_node, no_weight)


def parse_bins(bins: Any) -> int | np.ndarray:
    """Return a number of bins, or their edges (B + 1,) float64.

    Raises
    ------
    ParameterError
        If they are neither, or there are too many.
    """
    if isinstance(bins, (int, np.integer)) and not isinstance(bins, bool):
        found: int | np.ndarray = int(bins)
        n_bins = int(bins)
    else:
        try:
            found = np.array(bins, dtype=np.float64)
        except (TypeError, ValueError):
            found = np.empty(0)
        n_bins = len(found) - 1 if found.ndim == 1 else 0
        if n_bins >= 1 and not (np.isfinite(found).all() and (np.diff(found) > 0).all()):
            raise ParameterError("the edges of bins must be finite and ascend")
    if not 1 <= n_bins <= MOST_BINS:
        raise ParameterError(f"bins are a number from 1 to {MOST_BINS}, or the edges of so many, got {bins!r:.80}")
    return found


def spread_edges(found: ValueRange, n_bins: int) -> np.ndarray:
    """Return the edges of bins of one width over a range, (B + 1,) float64.

    Raises
    ------
    DataError
        If there is no value, or the range is too narrow, or too wide, for so many bins in float64.
    """
    low, high = found.low, found.high
    if low > high:
        raise DataError("no sample has both a node and a value, so there is no range to cut into bins")
    if low == high:
        low, high = low - 0.5, high + 0.5  # as NumPy does it
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.linspace(low, high, n_bins + 1)
    if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
        raise DataError(f"values from {low:g} to {high:g} can't be cut into {n_bins} bins; give their edges")
    return edges
