"""What samples contribute to an epoch, in float64 or in whole numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from som_dask.engine.accumulate import add_limbs, rounded
from som_dask.numerics.fixed_point import LIMB_BITS, FixedPoint

__all__ = ["BatchSums", "Layout", "WholeSums", "layout_of"]

Layout = Literal["plain", "weighted", "masked"]


def layout_of(n_columns: int, n_features: int) -> Layout:
    """What the columns of sums are.

    ======== ======= =================================================================================
    layout   columns
    ======== ======= =================================================================================
    plain    D       sum of the samples of the node
    weighted D + 1   sum of weight times sample; sum of the weights
    masked   2 D + 2 sum of weight times feature, where known; weight of the samples without a gap; of
                     the others the weight of those that know feature 1, 2, ... D; the weight of all those
    ======== ======= =================================================================================

    No denominator is a difference: where no sample of a node knows a feature it is zero and not nearly so.
    """
    return {n_features: "plain", n_features + 1: "weighted"}.get(n_columns, "masked")  # type: ignore[return-value]


@dataclass(frozen=True)
class BatchSums:
    """What some samples contribute to an epoch, in float64. Sums travel, samples stay.

    Attributes
    ----------
    sums : (M, C) float64
        S, the sum of the samples whose best matching unit is the node, and what `layout_of` has besides.
    counts : (M,) int64
        n, how many those are: the hits.
    distance : float
        Sum of the samples' distances to their best matching units, times their weights.
    misses : int or float
        Samples whose two best units are not adjacent on the lattice; the sum of their weights where there are any.
    samples : int
        Number of samples read, those that were left out included.
    layout : {"plain", "weighted", "masked"}
    """

    sums: np.ndarray
    counts: np.ndarray
    distance: float
    misses: float
    samples: int
    layout: Layout = "plain"

    def __add__(self, other: BatchSums) -> BatchSums:
        return BatchSums(
            self.sums + other.sums,
            self.counts + other.counts,
            self.distance + other.distance,
            self.misses + other.misses,
            self.samples + other.samples,
            self.layout,
        )

    @classmethod
    def zero(cls, n_nodes: int, n_columns: int, layout: Layout = "plain") -> BatchSums:
        """The sums of no samples."""
        return cls(np.zeros((n_nodes, n_columns)), np.zeros(n_nodes, dtype=np.int64), 0.0, 0, 0, layout)

    @property
    def n_features(self) -> int:
        """D"""
        n_columns = self.sums.shape[1]
        return {"plain": n_columns, "weighted": n_columns - 1, "masked": n_columns // 2 - 1}[self.layout]

    @property
    def weights(self) -> np.ndarray:
        """Weight of the samples of each node, (M,) float64."""
        if self.layout == "plain":
            return self.counts.astype(np.float64)
        weights = self.sums[:, self.n_features]
        return weights + self.sums[:, -1] if self.layout == "masked" else weights

    @property
    def denominators(self) -> np.ndarray:
        """Weight of the samples of each node, (M, 1) float64, or by the features that they have, (M, D)."""
        if self.layout != "masked":
            return self.weights[:, None]
        n_features = self.n_features
        return self.sums[:, n_features : n_features + 1] + self.sums[:, n_features + 1 : -1]

    @property
    def quantization_error(self) -> float:
        """Weighted mean distance of the samples to their best matching units; nan without samples."""
        return self._mean(self.distance)

    @property
    def topographic_error(self) -> float:
        """Weighted share of samples whose two best matching units are not adjacent; nan without samples."""
        return self._mean(self.misses)

    def _mean(self, total: float) -> float:
        weight = math.fsum(self.weights)
        return total / weight if weight else float("nan")


@dataclass(frozen=True)
class WholeSums:
    """`BatchSums` as whole numbers, which add up to the same bits in any order.

    Attributes
    ----------
    limbs : (M, L, C) int64
        Of the sums; see `som_dask.numerics.fixed_point.FixedPoint` and `layout_of`.
    counts : (M,) int64
    distance : int
        All limbs in one.
    misses : int
        A number of samples; all limbs of a weight in one where samples have weights or gaps.
    samples : int
    fingerprint : int
        Ledger: the fingerprints of all samples read, added up mod 2^64.
    """

    limbs: np.ndarray
    counts: np.ndarray
    distance: int
    misses: int
    samples: int
    fingerprint: int

    def __add__(self, other: WholeSums) -> WholeSums:
        return WholeSums.zero(*_shape(self.limbs))._plus(self)._plus(other)

    def __iadd__(self, other: WholeSums) -> WholeSums:
        """Their sum, in the memory of the left side."""
        return self._plus(other)

    def _plus(self, other: WholeSums) -> WholeSums:
        add_limbs(self.limbs, _own(other.limbs), _own(other.counts))
        return WholeSums(
            self.limbs,
            self.counts + other.counts,
            self.distance + other.distance,
            self.misses + other.misses,
            self.samples + other.samples,
            (self.fingerprint + other.fingerprint) % 2**64,
        )

    @classmethod
    def zero(cls, n_nodes: int, n_columns: int, n_limbs: int) -> WholeSums:
        """The sums of no samples."""
        limbs = np.zeros((n_nodes, n_limbs, n_columns), dtype=np.int64)
        return cls(limbs, np.zeros(n_nodes, dtype=np.int64), 0, 0, 0, 0)

    def rounded(self, whole: tuple[FixedPoint, FixedPoint], n_features: int | None = None) -> BatchSums:
        """The sums in float64, by the fixed point of the columns and of the distance.

        `n_features` is D; without it the layout is plain.
        """
        columns, distance = whole
        n_columns = self.limbs.shape[2]
        layout = layout_of(n_columns, n_columns if n_features is None else n_features)
        misses: float = self.misses
        if n_features is not None and layout != "plain":
            misses = _one_rounded(self.misses, columns.of_column(n_features))
        total = _one_rounded(self.distance, distance)
        return BatchSums(_rounded(self.limbs, self.counts, columns), self.counts, total, misses, self.samples, layout)


def _shape(limbs: np.ndarray) -> tuple[int, int, int]:
    """Nodes, columns and limbs."""
    n_nodes, n_limbs, n_columns = limbs.shape
    return n_nodes, n_columns, n_limbs


def _own(array: np.ndarray) -> np.ndarray:
    """An array that can be written to: what came from another worker is read-only, another type to the compiler."""
    return array if array.flags.writeable else array.copy()


def _rounded(limbs: np.ndarray, counts: np.ndarray, fixed: FixedPoint) -> np.ndarray:
    with np.errstate(over="ignore"):
        return rounded(_own(limbs), _own(counts), np.stack(fixed.inverse_factors()))


def _one_rounded(number: int, fixed: FixedPoint) -> float:
    """A number of which all limbs are in one, correctly rounded."""
    shift = int(fixed.shift[0]) + LIMB_BITS * (fixed.limbs - 1)
    try:
        return number / 2**shift if shift >= 0 else float(number * 2**-shift)
    except OverflowError:
        return math.inf
