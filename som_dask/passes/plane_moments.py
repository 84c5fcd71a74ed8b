"""First and second moments of samples for the initial plane: exact integers, the same in any order of addition."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace, Part
from som_dask.engine.block import Block, Tile, add_up_tiles
from som_dask.numerics.sizes import HasSize
from som_dask.passes.blas import single_threaded_blas
from som_dask.passes.run import Group, Pass, run_pass
from som_dask.passes.summary import DataSummary
from som_dask.samples.table import Samples

__all__ = ["PlaneMoments", "Quantizer", "measure_block_plane", "measure_plane"]

QUANTA = 2**15
MOST_WEIGHT = 2**12  # largest integer weight of one sample
MOST_TOTAL = 2**32  # largest total weight of all samples: sums of products below 2^30 then fit in an int64
EXACT_TOTAL = 2**22  # largest total weight of samples multiplied at once: these sums of products are exact in float64
TILE_ROWS = 8192


@dataclass(frozen=True)
class Quantizer(HasSize):
    """A rule that rounds each feature to 2^16 steps over its range, and weights to integers.

    Attributes
    ----------
    center, step : (K,) float64
        A value z has the level ``round((z - center) / step)``.
    weight_step : float
        The weight that counts as 1; 0 for samples without weights.
    most_weight : int
        Largest integer weight of one sample.
    most_level : int
        Levels are between this and its negative.
    """

    center: np.ndarray
    step: np.ndarray
    weight_step: float = 0.0
    most_weight: int = 1
    most_level: int = QUANTA

    @classmethod
    def of(cls, summary: DataSummary, space: FeatureSpace) -> Quantizer:
        """Make a quantizer for the samples of a summary, as points of the map's space.

        Weights that are all integers are kept as they are if they and the number of samples are small enough, so that
        a weight of two is the same as two samples.
        """
        minimum, maximum = space.scale_values(summary.minimum), space.scale_values(summary.maximum)
        if space.rule.on_sphere:
            minimum, maximum = np.full(len(minimum), -1.0), np.full(len(minimum), 1.0)
        # Halve first: the range of data near the largest float64 must not overflow.
        step = (maximum / 2 - minimum / 2) / QUANTA
        center, step = minimum + (maximum / 2 - minimum / 2), np.where(step > 0, step, 1.0)
        if not space.weighted:
            return cls(center, step)
        most, heaviest = max(1, min(MOST_WEIGHT, MOST_TOTAL // max(summary.taken, 1))), summary.weights[1]
        if summary.whole_weights and heaviest <= most:
            return cls(center, step, 1.0, int(heaviest))
        return cls(center, step, heaviest / most, most)

    def around(self, mean: np.ndarray) -> Quantizer:
        """Return the rule with the same steps whose level 0 is the mean, (K,), of each feature."""
        return replace(self, center=mean, most_level=2 * QUANTA)

    def __call__(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        """Return the levels (n, K), NaN where missing, and the weights (n,): integers as float64."""
        with np.errstate(over="ignore"):  # beyond all numbers is beyond the last level
            levels = np.rint((part.values - self.center) / self.step)
        levels = np.clip(levels, -self.most_level, self.most_level)
        if not self.weight_step or part.weights is None:
            return levels, np.ones(len(levels))
        return levels, np.minimum(np.rint(part.weights / self.weight_step), self.most_weight)


@dataclass(frozen=True)
class PlaneMoments(HasSize):
    """Moments of quantized samples: exact integers that add up in any order.

    Attributes
    ----------
    weight : int
        Total weight of the samples; their number if they have no weights.
    first : (K,) int64
        Weighted sums of the levels.
    second : (K, K) int64
        Weighted sums of the products of two levels.
    pairs, cross : (K, K) int64, or None if no value is missing
        Total weight of the samples that have both features, and the weighted sum of the second feature over these.
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
        """Compute the mean (K,) and the covariance (K, K), float64, in the units of the map's space.

        A missing value counts as the mean of its feature, so that the covariance is that of a complete table.
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


def measure_plane(samples: Samples, quantizer: Quantizer, space: FeatureSpace) -> PlaneMoments:
    """Measure exact first and second moments of all samples, in one pass, for the initial plane."""
    look = Pass(name="plane_moments", of_group=_measure_group, joins=True, nodes=space.n_used)
    moments: PlaneMoments = run_pass(look, samples, (quantizer, space))
    return moments


def _measure_group(group: Group, how: tuple[Quantizer, FeatureSpace]) -> PlaneMoments:
    # One BLAS thread wherever the task runs, because tasks fill the cores.
    with single_threaded_blas():
        return measure_block_plane(group.joined, *how)


def measure_block_plane(block: Block, quantizer: Quantizer, space: FeatureSpace) -> PlaneMoments:
    """Measure the moments of a block, with each feature rounded to 2^16 steps over its range.

    Products of such integers stay below 2^31, so float64 matrix products of up to 2^22 rows are exact in any order
    of addition, and int64 holds the sum over 2^32 rows. The rounding shifts a covariance by about a twelfth of a
    squared step, which does not matter for an initial codebook.
    """
    return add_up_tiles(block, _PlaneSums(quantizer, space))


class _PlaneSums:
    """Moments of a block, added up tile by tile."""

    def __init__(self, quantizer: Quantizer, space: FeatureSpace) -> None:
        n_used = len(quantizer.center)
        self.quantizer, self.space, self.weight = quantizer, space, 0
        self.first = np.zeros(n_used, dtype=np.int64)
        self.tables = [np.zeros((n_used, n_used), dtype=np.int64) for _ in range(3 if space.gaps else 1)]
        self.rows = min(TILE_ROWS, EXACT_TOTAL // quantizer.most_weight)

    def add(self, tile: Tile) -> None:
        """Add the samples of a tile."""
        for part in self.space.parts(tile.values, tile.weights):
            levels, weights = self.quantizer(part)
            for start in range(0, len(levels), self.rows):
                self._enter(levels[start : start + self.rows], weights[start : start + self.rows])

    def _enter(self, levels: np.ndarray, weights: np.ndarray) -> None:
        self.weight += int(weights.sum())
        known = ~np.isnan(levels)
        levels = np.where(known, levels, 0.0)
        weighted = levels * weights[:, None] if self.space.weighted else levels
        self.first += weighted.sum(axis=0).astype(np.int64)
        self.tables[0] += (weighted.T @ levels).astype(np.int64)
        if self.space.gaps:
            having = known * weights[:, None]
            self.tables[1] += (having.T @ known.astype(np.float64)).astype(np.int64)
            self.tables[2] += (known.T.astype(np.float64) @ weighted).astype(np.int64)

    def result(self) -> PlaneMoments:
        """Return the moments of all tiles."""
        return PlaneMoments(self.weight, self.first, *self.tables)
