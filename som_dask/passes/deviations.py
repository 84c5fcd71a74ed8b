"""Deviations of samples from their best matching units: the sums that measure a trained map."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from som_dask.engine.block import Block, Tile, add_up_tiles
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.cpu import Matcher, sums_of_epoch
from som_dask.engine.partial import ExactPartial, Partial
from som_dask.numerics.sizes import HasSize
from som_dask.passes.run import Group, Pass, run_pass
from som_dask.samples.table import Samples

__all__ = ["Deviations", "add_deviations", "measure_block_deviations", "measure_deviations"]

ONE = np.ones(1)


@numba.njit(nogil=True, cache=True)
def add_deviations(part, weights, bmu, codebook, known, sums, squares):
    """Add the differences of samples from their best matching units to sums, by feature, in the order of the rows.

    Parameters
    ----------
    part : (n, K) float64
        Samples as points of the map's space, NaN where a feature is missing.
    weights : (n,) float64, or (1,) if all are equal
    bmu : (n,) int64
        Best matching units.
    codebook : (M, K) float64
        The scaled codebook.
    known : (M, K) float64
        Total weight of the samples of the node that have the feature. Changed in place, as are the next two.
    sums, squares : (M, K) float64
        Sums of ``z_j - w_j`` and of its square, times the weight of the sample.
    """
    for i in range(len(part)):
        node = bmu[i]
        weight = weights[i if len(weights) > 1 else 0]
        for j in range(part.shape[1]):
            difference = part[i, j] - codebook[node, j]
            if difference == difference:
                known[node, j] += weight
                sums[node, j] += weight * difference
                squares[node, j] += weight * difference * difference


@dataclass(frozen=True, eq=False)
class Deviations(HasSize):
    """Sums of deviations of samples from their best matching units; parts add up.

    Attributes
    ----------
    distances : ExactPartial
        Exact sums with a single column: the distances to the best matching units, by node and in total. Whole
        numbers, the same in any order, and the same as in training if the scales are the same.
    known : (M, K) float64
        Total weight of the samples of the node that have the feature; their number if samples have no weights.
    sums, squares : (M, K) float64
        ``sum of v (z - w)`` and ``sum of v (z - w)^2`` over these samples, with z a sample in the map's space, w the
        node in the scaled codebook, and v the weight of the sample. Their last bits depend on the blocks.
    points : (m, K) float64
        The picked samples, without those that lack a feature or are left out.
    bmu : (m,) int64
        Best matching units of these points.
    """

    distances: ExactPartial
    known: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    points: np.ndarray
    bmu: np.ndarray

    def __add__(self, other: Deviations) -> Deviations:
        return Deviations(
            self.distances + other.distances,
            self.known + other.known,
            self.sums + other.sums,
            self.squares + other.squares,
            np.concatenate([self.points, other.points]),
            np.concatenate([self.bmu, other.bmu]),
        )

    def rounded(self, shared: SharedCodebook) -> Partial:
        """Round to float64: errors, hits and weights, with the sum of the distances of each node as the numerator."""
        assert shared.scales is not None
        return self.distances.rounded(shared.scales.of_distances())


def measure_deviations(samples: Samples, shared: SharedCodebook, picked: np.ndarray) -> Deviations:
    """Measure the deviations in one pass: each block is searched once, and sums are added in a tree by block order.

    Parameters
    ----------
    samples : Samples
    shared : SharedCodebook
        With the scales of exact sums.
    picked : (m,) int64, ascending
        Rows of the table to return as points.

    Returns
    -------
    Deviations

    Raises
    ------
    DataError
        If a distance is beyond the range of the scales, which means that the data have changed.
    """
    edges = np.searchsorted(picked, [*samples.block_starts, samples.n_samples])
    own = [picked[edges[i] : edges[i + 1]] - start for i, start in enumerate(samples.block_starts)]
    found: Deviations = run_pass(Pass(name="deviations", of_group=_measure_group), samples, shared, own)
    return found


def _measure_group(group: Group, shared: SharedCodebook) -> Deviations:
    (block,), (picked,) = group.blocks, group.own
    return measure_block_deviations(block, shared, picked)


def measure_block_deviations(block: Block, shared: SharedCodebook, picked: Sequence[int] | np.ndarray) -> Deviations:
    """Search a block of samples once, and add up its deviations.

    Parameters
    ----------
    block : Block
    shared : SharedCodebook
    picked : (m,) int64, ascending
        Rows of the block to return as points.

    Returns
    -------
    Deviations
    """
    return add_up_tiles(block, _DeviationSums(shared, np.asarray(picked, dtype=np.int64)))


class _DeviationSums:
    """Deviations of a block, added up tile by tile."""

    def __init__(self, shared: SharedCodebook, picked: np.ndarray) -> None:
        state = shared.state
        self.space, self.picked, self.match = shared.space, picked, Matcher(state)
        self.codebook = state.patched.codebook
        # The sums of training with the distance as the only feature.
        self.distances = sums_of_epoch(state, of_distances=True)
        self.known, self.sums, self.squares = np.zeros((3, *self.codebook.shape))
        self.points, self.bmu = [np.empty((0, self.codebook.shape[1]))], [np.empty(0, dtype=np.int64)]

    def add(self, tile: Tile) -> None:
        """Add the samples of a tile."""
        self.distances.count(tile)
        ends = np.searchsorted(self.picked, [tile.start, tile.start + len(tile.values)])
        wanted = self.picked[slice(*ends)] - tile.start
        for part in self.space.parts(tile.values, tile.weights, tile.errors):
            bmu, second, distance = self.match(part)
            self.distances.add(distance[:, None], part, bmu, second, distance)
            weights = ONE if part.weights is None else part.weights
            add_deviations(part.values, weights, bmu, self.codebook, self.known, self.sums, self.squares)
            if part.complete:
                here = wanted if part.rows is None else np.flatnonzero(np.isin(part.rows, wanted))
                self.points.append(part.values[here])
                self.bmu.append(bmu[here])

    def result(self) -> Deviations:
        """Return the deviations of all tiles."""
        points, bmu = np.concatenate(self.points), np.concatenate(self.bmu)
        return Deviations(self.distances.result(), self.known, self.sums, self.squares, points, bmu)
