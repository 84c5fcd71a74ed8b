"""Products of a covariance with some vectors, without the covariance: for the initial plane of wide data.

Each product is a sum of whole numbers over the samples, the same in any order of addition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.engine.block import Block, Tile, add_up_tiles
from som_dask.numerics.eigen import iterate_components
from som_dask.numerics.sizes import HasSize
from som_dask.passes.blas import single_threaded_blas
from som_dask.passes.plane_moments import QUANTA, Quantizer
from som_dask.passes.run import Group, Pass, run_pass
from som_dask.samples.table import Samples

__all__ = ["PlaneMean", "Probes", "iterate_plane", "measure_block_mean", "multiply_block"]

VECTORS = 64  # so that up to 64 samples, whose covariance has a rank below 64, need two rounds and no more
ROUNDS = 16  # each is a pass over the samples
TOLERANCE = 2.0**-12  # of the largest variance; the rounding of scores and levels leaves less than this
EXACT_BITS, SUM_BITS = 53, 62  # of the integers that float64 and int64 hold
LEVEL_BITS = (2 * QUANTA).bit_length() - 1  # levels around the mean are at most 2^LEVEL_BITS
MOST_BITS = 20  # of coefficients and of scores
BATCH_BYTES = 2**23  # of the levels that are multiplied at once


@dataclass(frozen=True)
class PlaneMean(HasSize):
    """Sums of quantized samples: exact integers that add up in any order.

    Attributes
    ----------
    weight : int
        Total weight of the samples; their number if they have no weights.
    known, first : (K,) int64
        Total weight of the samples that have the feature, and the weighted sum of its levels.
    largest : (K,) float64
        Largest absolute level.
    """

    weight: int
    known: np.ndarray
    first: np.ndarray
    largest: np.ndarray

    def __add__(self, other: PlaneMean) -> PlaneMean:
        return PlaneMean(
            self.weight + other.weight,
            self.known + other.known,
            self.first + other.first,
            np.maximum(self.largest, other.largest),
        )


@dataclass(frozen=True)
class Probes(HasSize):
    """Vectors that a covariance is multiplied by, in whole numbers.

    The score of a sample is its product with a vector. To be multiplied by the levels again it is rounded, so that
    what is added up over the samples fits in an int64.

    Attributes
    ----------
    coefficients : (v, K) int32
        For each level of a feature.
    shift : (v,) int64
        Scores are divided by 2^shift before they are rounded.
    rows : int
        Maximum total weight of the samples whose products float64 holds exactly.
    """

    coefficients: np.ndarray
    shift: np.ndarray
    rows: int

    @classmethod
    def of(cls, vectors: np.ndarray, most_total: int) -> tuple[Probes, np.ndarray]:
        """Round vectors (v, K), finite, for samples whose total weight is at most `most_total`.

        Returns
        -------
        Probes
        units : (v,) float64
            What a product is multiplied by to undo the rounding.
        """
        bits = min(MOST_BITS, EXACT_BITS - LEVEL_BITS - vectors.shape[1].bit_length())
        score_bits = min(MOST_BITS, SUM_BITS - LEVEL_BITS - most_total.bit_length())
        largest = np.abs(vectors).max(axis=1)
        largest = np.where(largest > 0, largest, 1.0)
        coefficients = np.rint(vectors / largest[:, None] * 2.0**bits).astype(np.int32)
        _, score_exponent = np.frexp(np.abs(coefficients).sum(axis=1, dtype=np.int64) * 2.0**LEVEL_BITS)
        shift = np.maximum(score_exponent.astype(np.int64) - score_bits, 0)
        probes = cls(coefficients, shift, 2 ** (EXACT_BITS - LEVEL_BITS - score_bits))
        return probes, np.ldexp(largest / 2.0**bits, shift)


def iterate_plane(
    samples: Samples, quantizer: Quantizer, space: FeatureSpace, taken: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Find mean, deviations and directions of the plane by subspace iteration with 64 vectors.

    One pass finds the mean. Each round of the iteration is one more pass, which multiplies the vectors by the
    covariance: ``C v = sum_i w_i z_i (z_i . v) / sum_i w_i``, where z is a sample minus the mean, and a missing value
    counts as the mean. Up to 64 samples need two rounds. It ends when ``|C v - s^2 v| <= 2^-12 s_1^2`` for the first
    two vectors, or after 16 rounds. More would be needed only if the 65th variance was nearly as large as the second;
    the two directions are then a choice among nearly equal ones.

    Parameters
    ----------
    samples : Samples
    quantizer : Quantizer
    space : FeatureSpace
    taken : int
        Number of samples that are not left out.

    Returns
    -------
    mean : (K,) float64
    deviations : (2,) float64
    directions : (2, K) float64
    """
    look = Pass(name="plane_mean", of_group=_mean_of_group, joins=True, nodes=1)
    sums: PlaneMean = run_pass(look, samples, (quantizer, space))
    mean = quantizer.center + quantizer.step * (sums.first / np.maximum(sums.known, 1))
    around = quantizer.around(mean)
    steps = np.where(sums.largest > 0, quantizer.step, 0.0)  # where nothing varies, a step has no meaning
    unit = steps.max() if steps.any() else 1.0
    relative, most_total = steps / unit, max(taken, 1) * quantizer.most_weight

    def multiply(vectors: np.ndarray) -> np.ndarray:
        probes, units = Probes.of(vectors * relative, most_total)
        look = Pass(name="plane_products", of_group=_multiply_group, joins=True, nodes=len(vectors))
        products: np.ndarray = run_pass(look, samples, (around, space, probes))
        return products / max(sums.weight, 1) * units[:, None] * relative

    deviations, directions = iterate_components(
        multiply, space.n_used, vectors=VECTORS, rounds=ROUNDS, tolerance=TOLERANCE
    )
    return mean, deviations * unit, directions


def _mean_of_group(group: Group, how: tuple[Quantizer, FeatureSpace]) -> PlaneMean:
    return measure_block_mean(group.joined, *how)


def _multiply_group(group: Group, how: tuple[Quantizer, FeatureSpace, Probes]) -> np.ndarray:
    # One BLAS thread wherever the task runs, because tasks fill the cores.
    with single_threaded_blas():
        return multiply_block(group.joined, *how)


def measure_block_mean(block: Block, quantizer: Quantizer, space: FeatureSpace) -> PlaneMean:
    """Add up the levels of a block, tile by tile."""
    return add_up_tiles(block, _MeanSums(quantizer, space))


def multiply_block(block: Block, quantizer: Quantizer, space: FeatureSpace, probes: Probes) -> np.ndarray:
    """Multiply a block by vectors: the weighted sums of rounded scores times levels, (v, K) int64.

    They are exact integers, which add up in any order.
    """
    return add_up_tiles(block, _ProductSums(quantizer, space, probes))


class _LevelSums:
    """Levels of a block that are added up batch by batch, because a tile of wide samples is large."""

    def __init__(self, quantizer: Quantizer, space: FeatureSpace, most_rows: int) -> None:
        self.quantizer, self.space = quantizer, space
        self.rows = max(1, min(BATCH_BYTES // (8 * space.n_used), most_rows))

    def add(self, tile: Tile) -> None:
        """Add the samples of a tile."""
        for part in self.space.parts(tile.values, tile.weights):
            for start in range(0, len(part.values), self.rows):
                some = slice(start, start + self.rows)
                heavy = None if part.weights is None else part.weights[some]
                self.enter(*self.quantizer(part._replace(values=part.values[some], weights=heavy)))

    def enter(self, levels: np.ndarray, weights: np.ndarray) -> None:
        """Add the levels (n, K), NaN where missing, and weights (n,) of some samples: integers as float64."""
        raise NotImplementedError


class _MeanSums(_LevelSums):
    """`PlaneMean` of a block."""

    def __init__(self, quantizer: Quantizer, space: FeatureSpace) -> None:
        super().__init__(quantizer, space, BATCH_BYTES)
        nothing = np.zeros(space.n_used, dtype=np.int64)
        self.total = PlaneMean(0, nothing, nothing, np.zeros(space.n_used))

    def enter(self, levels: np.ndarray, weights: np.ndarray) -> None:
        known = ~np.isnan(levels)
        levels = np.where(known, levels, 0.0)
        self.total = self.total + PlaneMean(
            int(weights.sum()),
            (known * weights[:, None]).sum(axis=0).astype(np.int64),
            (levels * weights[:, None]).sum(axis=0).astype(np.int64),
            np.abs(levels).max(axis=0),
        )

    def result(self) -> PlaneMean:
        """Return the sums of all tiles."""
        return self.total


class _ProductSums(_LevelSums):
    """Products of the samples of a block."""

    def __init__(self, quantizer: Quantizer, space: FeatureSpace, probes: Probes) -> None:
        self.room = probes.rows // quantizer.most_weight  # samples whose products float64 holds exactly
        super().__init__(quantizer, space, self.room)
        self.coefficients = probes.coefficients.astype(np.float64)
        self.shift, self.held = probes.shift[:, None], 0
        self.some = np.zeros(self.coefficients.shape)  # the products of the samples held, not yet in `total`
        self.total = np.zeros(self.coefficients.shape, dtype=np.int64)

    def enter(self, levels: np.ndarray, weights: np.ndarray) -> None:
        if self.held + len(levels) > self.room:
            self._carry()
        levels = np.where(np.isnan(levels), 0.0, levels)
        scores = np.rint(np.ldexp(self.coefficients @ levels.T, -self.shift)) * weights
        self.some += scores @ levels
        self.held += len(levels)

    def _carry(self) -> None:
        self.total += self.some.astype(np.int64)
        self.some[:], self.held = 0.0, 0

    def result(self) -> np.ndarray:
        """Return the products of all tiles."""
        self._carry()
        return self.total
