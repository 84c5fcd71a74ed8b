"""What some samples contribute to an epoch, in float64 or in whole numbers: parts add up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from som_dask.engine.accumulate import add_limbs, round_limbs
from som_dask.numerics.fixed_point import LIMB_BITS, FixedPoint
from som_dask.numerics.sizes import HasSize

__all__ = ["ExactPartial", "NodeWeights", "Partial", "SumScales"]


@dataclass(frozen=True, eq=False)
class NodeWeights(HasSize):
    """The weight of the samples of each node, apart for those that lack features, or whose values have errors.

    No denominator that comes of it is a difference: where no sample of a node knows a feature it is zero, and not
    nearly so.

    Attributes
    ----------
    complete : (M, 1) float64, or (M, L, 1) int64 limbs
        Of the samples that know all features.
    incomplete : (M, 1) or (M, L, 1), optional
        Of the others; None where every sample knows all.
    known : (M, D) or (M, L, D), optional
        Of the others, by the features that they know: divided by the squares of the errors where values have any.
    """

    complete: np.ndarray
    incomplete: np.ndarray | None = None
    known: np.ndarray | None = None

    @classmethod
    def zero(cls, shape: tuple[int, ...], n_features: int, dtype: Any, *, gaps: bool) -> NodeWeights:
        """Make the weights of no samples; `shape` is (M,) or (M, L)."""
        complete = np.zeros((*shape, 1), dtype=dtype)
        if not gaps:
            return cls(complete)
        return cls(complete, np.zeros((*shape, 1), dtype=dtype), np.zeros((*shape, n_features), dtype=dtype))

    def arrays(self) -> list[np.ndarray]:
        """List the arrays that there are."""
        return [array for array in (self.complete, self.incomplete, self.known) if array is not None]

    def map(self, function: Callable[..., Any], *others: NodeWeights) -> NodeWeights:
        """Apply a function to each array, together with those of others of the same kind."""
        every = (self, *others)
        return NodeWeights(
            function(*(each.complete for each in every)),
            None if self.incomplete is None else function(*(each.incomplete for each in every)),
            None if self.known is None else function(*(each.known for each in every)),
        )

    @property
    def total(self) -> np.ndarray:
        """Of all samples of each node, (M,) float64."""
        return (self.complete if self.incomplete is None else self.complete + self.incomplete)[:, 0]

    @property
    def denominator(self) -> np.ndarray:
        """(M, 1) float64, or by the features that samples know (M, D)."""
        return self.complete if self.known is None else self.complete + self.known


@dataclass(frozen=True, eq=False)
class Partial(HasSize):
    """What some samples contribute to an epoch, in float64. Sums travel, samples stay.

    Attributes
    ----------
    numerator : (M, D) float64
        S, the sum of weight times sample over those whose best matching unit is the node, feature by feature over
        the values that are known.
    hits : (M,) int64
        How many those are.
    distance : float
        Sum of the samples' distances to their best matching units, times their weights.
    topographic_misses : int or float
        Samples whose two best matching units are not adjacent on the lattice; the sum of their weights where they
        have any.
    samples : int
        Number of samples read, those that were left out included.
    weights : NodeWeights, optional
        None where each sample counts once and knows all features: then the hits are the denominator.
    """

    numerator: np.ndarray
    hits: np.ndarray
    distance: float
    topographic_misses: float
    samples: int
    weights: NodeWeights | None = None

    def __add__(self, other: Partial) -> Partial:
        weights = None
        if self.weights is not None and other.weights is not None:
            weights = self.weights.map(np.add, other.weights)
        return Partial(
            self.numerator + other.numerator,
            self.hits + other.hits,
            self.distance + other.distance,
            self.topographic_misses + other.topographic_misses,
            self.samples + other.samples,
            weights,
        )

    @classmethod
    def zero(cls, n_nodes: int, n_features: int, *, weighted: bool = False, gaps: bool = False) -> Partial:
        """Make the sums of no samples."""
        weights = None
        if weighted or gaps:
            weights = NodeWeights.zero((n_nodes,), n_features, np.float64, gaps=gaps)
        return cls(np.zeros((n_nodes, n_features)), np.zeros(n_nodes, dtype=np.int64), 0.0, 0, 0, weights)

    @property
    def weight(self) -> np.ndarray:
        """Weight of the samples of each node, (M,) float64."""
        return self.hits.astype(np.float64) if self.weights is None else self.weights.total

    @property
    def weight_share(self) -> np.ndarray:
        """Share of each node in the weight of all samples, (M,) float64; nan without samples."""
        weight = math.fsum(self.weight)
        return self.weight / weight if weight else np.full(len(self.hits), np.nan)

    @property
    def denominator(self) -> np.ndarray:
        """The hits, (M, 1) int64; or the weight of the samples, (M, 1) float64, or by the features known, (M, D)."""
        return self.hits[:, None] if self.weights is None else self.weights.denominator

    @property
    def quantization_error(self) -> float:
        """Weighted mean distance of the samples to their best matching units; nan without samples."""
        return self._mean(self.distance)

    @property
    def topographic_error(self) -> float:
        """Weighted share of samples whose two best matching units are not adjacent; nan without samples."""
        return self._mean(self.topographic_misses)

    def _mean(self, total: float) -> float:
        weight = math.fsum(self.weight)
        return total / weight if weight else float("nan")


@dataclass(frozen=True)
class SumScales:
    """The fixed points of exact sums, all of as many limbs.

    Attributes
    ----------
    features : FixedPoint of D columns
    distance : FixedPoint of one column
    weight : FixedPoint of one column, optional
        None where samples have no weights and no gaps.
    shares : FixedPoint of D columns, optional
        Of the weights of values, which have errors; None where they have none.
    """

    features: FixedPoint
    distance: FixedPoint
    weight: FixedPoint | None = None
    shares: FixedPoint | None = None

    @property
    def limbs(self) -> int:
        """L."""
        return self.features.limbs

    def of_distances(self) -> SumScales:
        """Return the scales for sums of the distances of each node in place of the features."""
        return replace(self, features=self.distance, shares=None)


@dataclass(frozen=True, eq=False)
class ExactPartial(HasSize):
    """`Partial` as whole numbers, which add up to the same bits in any order.

    Attributes
    ----------
    numerator : (M, L, D) int64
        Limbs; see `som_dask.numerics.fixed_point.FixedPoint`.
    hits : (M,) int64
    distance : int
        All limbs in one.
    topographic_misses : int
        A number of samples; all limbs of a weight in one where samples have weights or gaps.
    samples : int
    fingerprint : int
        Ledger: the fingerprints of all samples read, added up mod 2^64.
    weights : NodeWeights of limbs, optional
    """

    numerator: np.ndarray
    hits: np.ndarray
    distance: int
    topographic_misses: int
    samples: int
    fingerprint: int
    weights: NodeWeights | None = None

    def __add__(self, other: ExactPartial) -> ExactPartial:
        empty = ExactPartial(
            _zeros(self.numerator),
            _zeros(self.hits),
            0, 0, 0, 0,
            None if self.weights is None else self.weights.map(_zeros),
        )  # fmt: skip
        return empty._plus(self)._plus(other)

    def __iadd__(self, other: ExactPartial) -> ExactPartial:
        """Their sum, in the memory of the left side."""
        return self._plus(other)

    def _plus(self, other: ExactPartial) -> ExactPartial:
        hits = _writable(other.hits)

        def add(total: np.ndarray, more: np.ndarray) -> np.ndarray:
            add_limbs(total, _writable(more), hits)
            return total

        weights = self.weights
        if weights is not None and other.weights is not None:
            weights = weights.map(add, other.weights)
        return ExactPartial(
            add(self.numerator, other.numerator),
            self.hits + other.hits,
            self.distance + other.distance,
            self.topographic_misses + other.topographic_misses,
            self.samples + other.samples,
            (self.fingerprint + other.fingerprint) % 2**64,
            weights,
        )

    @classmethod
    def zero(
        cls, n_nodes: int, n_features: int, n_limbs: int, *, weighted: bool = False, gaps: bool = False
    ) -> ExactPartial:
        """Make the sums of no samples."""
        shape, weights = (n_nodes, n_limbs), None
        if weighted or gaps:
            weights = NodeWeights.zero(shape, n_features, np.int64, gaps=gaps)
        numerator = np.zeros((*shape, n_features), dtype=np.int64)
        return cls(numerator, np.zeros(n_nodes, dtype=np.int64), 0, 0, 0, 0, weights)

    def rounded(self, scales: SumScales) -> Partial:
        """Round the sums to float64."""
        hits, weights, misses = _writable(self.hits), None, float(self.topographic_misses)
        if self.weights is not None and scales.weight is not None:
            scale = scales.weight
            weights = self.weights.map(lambda limbs: _rounded(limbs, hits, scale))
            if scales.shares is not None and self.weights.known is not None:
                weights = replace(weights, known=_rounded(self.weights.known, hits, scales.shares))
            misses = _one_rounded(self.topographic_misses, scale)
        return Partial(
            _rounded(self.numerator, hits, scales.features),
            self.hits,
            _one_rounded(self.distance, scales.distance),
            self.topographic_misses if self.weights is None else misses,
            self.samples,
            weights,
        )


def _zeros(array: np.ndarray) -> np.ndarray:
    """Of the same shape and kind; where nothing is written later it takes no memory."""
    return np.zeros(array.shape, dtype=array.dtype)


def _writable(array: np.ndarray) -> np.ndarray:
    """An array that can be written to: what came from another worker is read-only, another type to the compiler."""
    return array if array.flags.writeable else array.copy()


def _rounded(limbs: np.ndarray, hits: np.ndarray, scale: FixedPoint) -> np.ndarray:
    factors = np.stack(scale.inverse_factors())
    if factors.shape[1] != limbs.shape[2]:  # one fixed point for all columns
        factors = np.repeat(factors, limbs.shape[2], axis=1)
    with np.errstate(over="ignore"):
        return round_limbs(_writable(limbs), hits, factors)


def _one_rounded(number: int, scale: FixedPoint) -> float:
    """A number of which all limbs are in one, correctly rounded."""
    shift = int(scale.shift[0]) + LIMB_BITS * (scale.limbs - 1)
    try:
        return number / 2**shift if shift >= 0 else float(number * 2**-shift)
    except OverflowError:
        return math.inf
