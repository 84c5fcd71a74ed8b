"""First and second moments of samples, for an initial plane: whole numbers, the same in any order of adding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from som_dask.algorithm.feature_space import Part, Preparation
from som_dask.engine.batch import tiles_of
from som_dask.passes.summary import DataSummary

__all__ = ["PlaneMoments", "Quantizer", "block_moments"]

QUANTA = 2**15
MOST_WEIGHT = 2**12  # of one sample
MOST_TOTAL = 2**32  # of all samples: products below 2^30 then add up in an int64
EXACT_TOTAL = 2**22  # of samples multiplied at once: sums of such products are exact in float64
TILE_ROWS = 8192


@dataclass(frozen=True)
class Quantizer:
    """Cuts the range of each feature in 2^16 steps, and weights into whole numbers.

    Attributes
    ----------
    center, step : (K,) float64
    weight_step : float
        What counts as one; 0 for samples without weights.
    most_weight : int
        Of one sample.
    """

    center: np.ndarray
    step: np.ndarray
    weight_step: float = 0.0
    most_weight: int = 1

    @classmethod
    def of(cls, summary: DataSummary, preparation: Preparation) -> Quantizer:
        """For the samples of a summary, as points of the map's space.

        Weights that are whole numbers are kept as they are where they and their number allow it, so that a weight
        of two is the same as two samples.
        """
        minimum, maximum = preparation.scaled(summary.minimum), preparation.scaled(summary.maximum)
        if preparation.metric == "cosine":
            minimum, maximum = np.full(len(minimum), -1.0), np.full(len(minimum), 1.0)
        # Halves first: the range of data near the largest float64 must not overflow.
        step = (maximum / 2 - minimum / 2) / QUANTA
        center, step = minimum + (maximum / 2 - minimum / 2), np.where(step > 0, step, 1.0)
        if not preparation.weighted:
            return cls(center, step)
        most, heaviest = max(1, min(MOST_WEIGHT, MOST_TOTAL // max(summary.taken, 1))), summary.weights[1]
        if summary.whole_weights and heaviest <= most:
            return cls(center, step, 1.0, int(heaviest))
        return cls(center, step, heaviest / most, most)

    def __call__(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Levels (n, K), NaN where missing, and weights (n,): whole numbers in float64."""
        levels = np.clip(np.rint((part.values - self.center) / self.step), -QUANTA, QUANTA)
        if not self.weight_step or part.weights is None:
            return levels, np.ones(len(levels))
        return levels, np.minimum(np.rint(part.weights / self.weight_step), self.most_weight)


@dataclass(frozen=True)
class PlaneMoments:
    """Moments of quantized samples, exact integers: they add up in any order.

    Attributes
    ----------
    weight : int
        Of all samples; their number where they have no weights.
    first : (K,) int64
    second : (K, K) int64
    pairs, cross : (K, K) int64, or None where no value is missing
        Weight of the samples that know both features; of these, the sum of the second one.
    """

    weight: int
    first: np.ndarray
    second: np.ndarray
    pairs: np.ndarray | None = None
    cross: np.ndarray | None = None

    def __add__(self, other: PlaneMoments) -> PlaneMoments:
        return PlaneMoments(
            self.weight + other.weight,
            self.first + other.first,
            self.second + other.second,
            None if self.pairs is None or other.pairs is None else self.pairs + other.pairs,
            None if self.cross is None or other.cross is None else self.cross + other.cross,
        )

    def mean_and_covariance(self, quantizer: Quantizer) -> tuple[np.ndarray, np.ndarray]:
        """Mean (K,) and covariance (K, K), float64, in the units of the map's space.

        A value that is missing counts as the mean of its feature, so that the covariance stays one of a table.
        """
        weight = max(self.weight, 1)
        if self.pairs is None or self.cross is None:
            mean = self.first / weight
            covariance = self.second / weight - np.outer(mean, mean)
        else:
            mean = self.first / np.maximum(np.diagonal(self.pairs), 1)
            across = mean[:, None] * self.cross
            covariance = (self.second - (across + across.T) + np.outer(mean, mean) * self.pairs) / weight
        return quantizer.center + quantizer.step * mean, covariance * np.outer(quantizer.step, quantizer.step)


def block_moments(block: Any, quantizer: Quantizer, preparation: Preparation) -> PlaneMoments:
    """Moments of a block, (n, D), with each feature's range cut into 2^16 steps.

    Products of such integers stay below 2^31, so float64 matrix products of up to 2^22 rows are exact in any
    order of adding, and int64 holds the sum over 2^32 rows. The rounding shifts a covariance by about a
    twelfth of a squared step: nothing to an initial codebook, which is what this is for.
    """
    n_used, masked = len(quantizer.center), preparation.masked
    total = np.zeros(n_used, dtype=np.int64)
    tables = [np.zeros((n_used, n_used), dtype=np.int64) for _ in range(3 if masked else 1)]
    weight = 0
    rows = min(TILE_ROWS, EXACT_TOTAL // quantizer.most_weight)
    for tile in tiles_of(block):
        for part in preparation.parts(tile.values, tile.weights):
            levels, weights = quantizer(part)
            for start in range(0, len(levels), rows):
                some, heavy = levels[start : start + rows], weights[start : start + rows]
                weight += int(heavy.sum())
                known = ~np.isnan(some)
                some = np.where(known, some, 0.0)
                weighted = some * heavy[:, None] if preparation.weighted else some
                total += weighted.sum(axis=0).astype(np.int64)
                tables[0] += (weighted.T @ some).astype(np.int64)
                if masked:
                    having = known * heavy[:, None]
                    tables[1] += (having.T @ known.astype(np.float64)).astype(np.int64)
                    tables[2] += (known.T.astype(np.float64) @ weighted).astype(np.int64)
    return PlaneMoments(weight, total, *tables)
