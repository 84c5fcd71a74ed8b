"""What samples contribute to an epoch, in float64 or in whole numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from som_dask.accumulate import add_limbs, rounded
from som_dask.fixed import LIMB_BITS, FixedPoint

__all__ = ["BatchSums", "WholeSums"]


@dataclass(frozen=True)
class BatchSums:
    """What some samples contribute to an epoch, in float64. Sums travel, samples stay.

    Attributes
    ----------
    sums : (M, D) float64
        S, the sum of the samples whose best matching unit is the node.
    counts : (M,) int64
        n, how many those are: the hits.
    distance : float
        Sum of the samples' Euclidean distances to their best matching units.
    misses : int
        Samples whose two best units are not adjacent on the lattice.
    samples : int
        Number of samples counted.
    """

    sums: np.ndarray
    counts: np.ndarray
    distance: float
    misses: int
    samples: int

    def __add__(self, other: BatchSums) -> BatchSums:
        return BatchSums(
            self.sums + other.sums,
            self.counts + other.counts,
            self.distance + other.distance,
            self.misses + other.misses,
            self.samples + other.samples,
        )

    @classmethod
    def zero(cls, n_nodes: int, n_features: int) -> BatchSums:
        """The sums of no samples."""
        return cls(np.zeros((n_nodes, n_features)), np.zeros(n_nodes, dtype=np.int64), 0.0, 0, 0)

    @property
    def quantization_error(self) -> float:
        """Mean distance of the samples to their best matching units; nan without samples."""
        return self.distance / self.samples if self.samples else float("nan")

    @property
    def topographic_error(self) -> float:
        """Share of samples whose two best matching units are not adjacent; nan without samples."""
        return self.misses / self.samples if self.samples else float("nan")


@dataclass(frozen=True)
class WholeSums:
    """`BatchSums` as whole numbers, which add up to the same bits in any order.

    Attributes
    ----------
    limbs : (M, L, D) int64
        Of the sums; see `som_dask.fixed.FixedPoint`.
    counts : (M,) int64
    distance : int
        All limbs in one.
    misses, samples : int
    fingerprint : int
        Ledger: the fingerprints of all samples counted, added up mod 2^64.
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
    def zero(cls, n_nodes: int, n_features: int, n_limbs: int) -> WholeSums:
        """The sums of no samples."""
        limbs = np.zeros((n_nodes, n_limbs, n_features), dtype=np.int64)
        return cls(limbs, np.zeros(n_nodes, dtype=np.int64), 0, 0, 0, 0)

    def rounded(self, whole: tuple[FixedPoint, FixedPoint]) -> BatchSums:
        """The sums in float64, by the fixed point of the features and of the distance."""
        features, distance = whole
        rest, limbs = self.distance, []
        for _ in range(1, distance.limbs):
            limbs.append([rest & (2**LIMB_BITS - 1)])
            rest >>= LIMB_BITS
        total = _rounded(np.array([[[rest], *reversed(limbs)]]), np.ones(1, dtype=np.int64), distance)
        sums = _rounded(self.limbs, self.counts, features)
        return BatchSums(sums, self.counts, float(total[0, 0]), self.misses, self.samples)


def _shape(limbs: np.ndarray) -> tuple[int, int, int]:
    """Nodes, features and limbs."""
    n_nodes, n_limbs, n_features = limbs.shape
    return n_nodes, n_features, n_limbs


def _own(array: np.ndarray) -> np.ndarray:
    """An array that can be written to: what came from another worker is read-only, another type to the compiler."""
    return array if array.flags.writeable else array.copy()


def _rounded(limbs: np.ndarray, counts: np.ndarray, fixed: FixedPoint) -> np.ndarray:
    with np.errstate(over="ignore"):
        return rounded(_own(limbs), _own(counts), np.stack(fixed.inverse_factors()))
