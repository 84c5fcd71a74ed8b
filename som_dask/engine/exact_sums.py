"""Sums over the tiles of a block: of whole numbers, the same in any order, or of float64 in the order of the rows."""

from __future__ import annotations

import numpy as np

from som_dask.algorithm.feature_space import Part
from som_dask.engine.accumulate import (
    add_numbers,
    add_numbers_rounded,
    add_points,
    add_points_rounded,
    add_points_with_errors,
    add_points_with_errors_rounded,
    add_weighted_points,
    add_weighted_points_rounded,
    count_misses,
    normalize,
    weigh_misses,
    weigh_misses_rounded,
)
from som_dask.engine.block import MOST_TILE_ROWS, Tile
from som_dask.engine.partial import ExactPartial, NodeWeights, Partial, SumScales
from som_dask.errors import DataError
from som_dask.numerics.fixed_point import ROWS_AT_ONCE, join_limbs

__all__ = ["ExactSums", "FastSums", "refuse_outside"]

ONE = np.ones(1)


def refuse_outside(outside: int) -> None:
    """See that no number was beyond the range that exact sums are made for.

    Raises
    ------
    DataError
    """
    if outside:
        raise DataError(
            f"{outside} values lie outside the range that the first pass over the data found; "
            f"the data have changed since, start again"
        )


class ExactSums:
    """Sums of whole numbers, to which the points of tiles are added once their nodes are known.

    Parameters
    ----------
    n_nodes, n_features : int
    neighbors : (M, k) int64
        The table of neighbors of the lattice.
    scales : SumScales
    weighted : bool
        Whether samples count by their weights; with `gaps` they may lack features.
    gaps : bool
    """

    def __init__(
        self, n_nodes: int, n_features: int, neighbors: np.ndarray, scales: SumScales, *, weighted: bool, gaps: bool
    ) -> None:
        self.neighbors, self.scales = neighbors, scales
        self.total = ExactPartial.zero(n_nodes, n_features, scales.limbs, weighted=weighted, gaps=gaps)
        self.factors, self.distance_factors = (
            np.stack(scale.factors()) for scale in (scales.features, scales.distance)
        )
        self.samples = self.fingerprint = self.outside = self.distance = self.misses = self.uncarried = 0

    def count(self, tile: Tile) -> None:
        """Enter a tile into the ledger, before its values are changed."""
        self.samples += len(tile.values)
        self.fingerprint += tile.fingerprint

    def add(self, points: np.ndarray, part: Part, bmu: np.ndarray, second: np.ndarray, distance: np.ndarray) -> None:
        """Add samples.

        Parameters
        ----------
        points : (n, D) float64
            What is added up by node.
        part : Part
            The samples; their weights count.
        bmu, second : (n,) int64
        distance : (n,) float64
        """
        total, scales = self.total, self.scales
        weights = ONE if part.weights is None else part.weights
        limit = scales.features.limit
        sums = np.zeros((2, scales.limbs), dtype=np.int64)  # of distances, and of the weights of misses
        if total.weights is None or scales.weight is None:
            self.outside += add_points(points, bmu, self.factors, limit, total.numerator, total.hits)
            self.misses += count_misses(bmu, second, self.neighbors)
        else:
            factors, arrays = np.stack(scales.weight.factors())[:, 0], _arrays(total.weights)
            if part.inverse_errors is None or scales.shares is None:
                self.outside += add_weighted_points(
                    points, weights, bmu, self.factors, factors, limit, total.numerator, total.hits, *arrays
                )
            else:
                self.outside += add_points_with_errors(
                    points, part.inverse_errors, weights, bmu, self.factors, np.stack(scales.shares.factors()),
                    factors, limit, total.numerator, total.hits, *arrays[1:],
                )  # fmt: skip
            self.outside += weigh_misses(bmu, second, self.neighbors, weights, factors, limit, sums[1])
            self.misses += join_limbs(sums[1])
        self.outside += add_numbers(distance, weights, self.distance_factors[:, 0], scales.distance.limit, sums[0])
        self.distance += join_limbs(sums[0])
        self.uncarried += len(points)
        if self.uncarried > ROWS_AT_ONCE - MOST_TILE_ROWS:
            self._carry()

    def _carry(self) -> None:
        weights = self.total.weights
        for limbs in (self.total.numerator, *([] if weights is None else weights.arrays())):
            normalize(limbs, self.total.hits)
        self.uncarried = 0

    def result(self) -> ExactPartial:
        """Return the sums of all that was added.

        Raises
        ------
        DataError
            If numbers were beyond the range of the scales.
        """
        refuse_outside(self.outside)
        self._carry()
        total = self.total
        return ExactPartial(
            total.numerator,
            total.hits,
            self.distance,
            self.misses,
            self.samples,
            self.fingerprint % 2**64,
            total.weights,
        )


class FastSums:
    """`ExactSums` in float64, in the order of the rows, without a ledger."""

    def __init__(self, n_nodes: int, n_features: int, neighbors: np.ndarray, *, weighted: bool, gaps: bool) -> None:
        self.neighbors = neighbors
        self.total = Partial.zero(n_nodes, n_features, weighted=weighted, gaps=gaps)
        self.samples, self.distance, self.misses = 0, 0.0, 0.0

    def count(self, tile: Tile) -> None:
        """Count the samples of a tile."""
        self.samples += len(tile.values)

    def add(self, points: np.ndarray, part: Part, bmu: np.ndarray, second: np.ndarray, distance: np.ndarray) -> None:
        """Add samples, as `ExactSums.add` does."""
        total = self.total
        weights = ONE if part.weights is None else part.weights
        if total.weights is None:
            add_points_rounded(points, bmu, total.numerator, total.hits)
            self.misses += count_misses(bmu, second, self.neighbors)
        else:
            arrays = _arrays(total.weights)
            if part.inverse_errors is None:
                add_weighted_points_rounded(points, weights, bmu, total.numerator, total.hits, *arrays)
            else:
                add_points_with_errors_rounded(
                    points, part.inverse_errors, weights, bmu, total.numerator, total.hits, *arrays[1:]
                )
            self.misses += weigh_misses_rounded(bmu, second, self.neighbors, weights)
        self.distance += add_numbers_rounded(distance, weights)

    def result(self) -> Partial:
        """Return the sums of all that was added."""
        total = self.total
        misses = self.misses if total.weights is not None else int(self.misses)
        # A value that went missing after the summary is no number in the sums; the distance passes over it.
        distance = np.nan if np.isnan(total.numerator).any() else self.distance
        return Partial(total.numerator, total.hits, distance, misses, self.samples, total.weights)


def _arrays(weights: NodeWeights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three arrays of weights as compiled loops take them: those that there are not, of no nodes."""
    nothing = np.zeros((0,) * weights.complete.ndim, dtype=weights.complete.dtype)
    return (
        weights.complete,
        nothing if weights.incomplete is None else weights.incomplete,
        nothing if weights.known is None else weights.known,
    )
