"""How the samples of each node lie about its weights: what is added up to measure a trained map."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np

from som_dask.algorithm.feature_space import Part
from som_dask.engine.accumulate import add_weighted, add_whole, distances, normalize
from som_dask.engine.batch import ONE, Searches, SharedCodebook, tiles_of
from som_dask.engine.exact_sums import BatchSums, WholeSums
from som_dask.engine.row_numbers import Rows, numbers_of
from som_dask.errors import DataError
from som_dask.numerics.fixed_point import ROWS_AT_ONCE, FixedPoint, in_one
from som_dask.numerics.hashing import fingerprint_of

__all__ = ["Deviations", "block_deviations"]


@numba.njit(nogil=True, cache=True)
def add_deviations(part, weights, bmu, codebook, known, sums, squares):
    """Add samples less the weights of their nodes to sums, feature by feature, in the order of the rows.

    Parameters
    ----------
    part : (n, K) float64
        NaN where a feature is missing.
    weights : (n,) float64, or (1,) for all alike
    bmu : (n,) int64
    codebook : (M, K) float64
    known : (M, K) float64
        Weight of the samples of the node that have the feature; added to in place, as are the next two.
    sums, squares : (M, K) float64
        Of ``z_j - w_j``, and of its square, times the weight.
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
class Deviations:
    """What some samples tell of the map that they lie on; parts add up.

    Attributes
    ----------
    whole : WholeSums
        Of one column: the distances to the best matching units, by node and in all; of a second one where samples
        have weights: these. Whole numbers, the same in any order, and those of training where the fixed point is
        the same.
    known : (M, K) float64
        Weight of the samples of the node that have the feature; their number where they have none.
    sums, squares : (M, K) float64
        ``sum (z - w)`` and ``sum (z - w)^2`` over these, z a sample in the map's space, w the node's weights; times
        the sample's. To rounding: their last bits depend on the blocks.
    points : (m, K) float64
        The samples that were picked, without those that lack a feature or were left out.
    units : (m,) int64
        Their best matching units.
    """

    whole: WholeSums
    known: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    points: np.ndarray
    units: np.ndarray

    def __add__(self, other: Deviations) -> Deviations:
        return Deviations(
            self.whole + other.whole,
            self.known + other.known,
            self.sums + other.sums,
            self.squares + other.squares,
            np.concatenate([self.points, other.points]),
            np.concatenate([self.units, other.units]),
        )

    def measured(self, shared: SharedCodebook) -> BatchSums:
        """Errors, counts and weights, and the distances of each node in the first column of the sums."""
        return self.whole.rounded(_fixed(shared), 1)


def _fixed(shared: SharedCodebook) -> tuple[FixedPoint, FixedPoint]:
    """Of the distances, and the weights beside them, and of the distance in all: as in training."""
    assert shared.whole is not None
    columns, distance = shared.whole
    if not shared.preparation.weighted:
        return distance, distance
    of_weights = columns.of_column(shared.codebook.shape[1])
    return replace(distance, shift=np.concatenate([distance.shift, of_weights.shift])), distance


def block_deviations(block: Any, shared: SharedCodebook, rows: Rows, picked: np.ndarray) -> Deviations:
    """Search a block of samples once, and add up what a measure of the map needs.

    Parameters
    ----------
    block : (n, D) array of real numbers, or what `som_dask.engine.batch.chunk_sums` takes
    shared : SharedCodebook
        With exact sums.
    rows : int or BlockRows
        Position of the block's first row in the data, or of all, for the fingerprint.
    picked : (m,) int64, ascending
        Rows of the block to hand out as points.

    Returns
    -------
    Deviations

    Raises
    ------
    DataError
        If a distance is beyond the range that `shared` was made for: the data have changed.
    """
    columns, fixed = _fixed(shared)
    preparation, search = shared.preparation, Searches(shared)
    codebook, neighbors = shared.patched().codebook, shared.lattice.neighbor_table()
    factors, origin = np.column_stack([columns.factors(), fixed.factors()]), np.zeros((len(codebook), 1))
    total = WholeSums.zero(len(codebook), len(columns.shift), fixed.limbs)
    known, sums, squares = np.zeros((3, *codebook.shape))
    points, units = [np.empty((0, codebook.shape[1]))], [np.empty(0, dtype=np.int64)]
    in_all = misses = samples = outside = fingerprint = uncarried = 0
    for tile in tiles_of(block):
        n = len(tile.values)
        fingerprint += fingerprint_of(tile.values, tile.weights, numbers_of(rows, tile.start, n))
        samples += n
        some = picked[slice(*np.searchsorted(picked, [tile.start, tile.start + n]))] - tile.start
        for part in preparation.parts(tile.values, tile.weights):
            bmu, second = search(part)
            distance = distances(part.values, bmu, codebook)
            if preparation.metric == "cosine":
                distance = distance * distance / 2
            # The distance as the only feature: what adds up the features of a node in training adds up this.
            common = (bmu, second, origin, neighbors)
            end = (factors, fixed.limit, total.limbs, total.counts)
            weights = ONE if part.weights is None else part.weights
            if preparation.weighted:
                both = np.zeros((fixed.limbs, 2), dtype=np.int64)
                beyond = add_weighted(distance[:, None], weights, True, *common, False, *end, both)
                limbs, missed = both[:, 0], in_one(both[:, 1])
            else:
                limbs = np.zeros(fixed.limbs, dtype=np.int64)
                missed, beyond = add_whole(distance[:, None], *common, *end, limbs)
            in_all, misses = in_all + in_one(limbs), misses + missed
            outside, uncarried = outside + beyond, uncarried + len(bmu)
            add_deviations(part.values, weights, bmu, codebook, known, sums, squares)
            if part.whole:
                here = _places(part, some)
                points.append(part.values[here])
                units.append(bmu[here])
        if uncarried > ROWS_AT_ONCE // 2:
            normalize(total.limbs, total.counts)
            uncarried = 0
    if outside:
        raise DataError("the data have changed since the first pass over them; start again")
    normalize(total.limbs, total.counts)
    whole = WholeSums(total.limbs, total.counts, in_all, misses, samples, fingerprint % 2**64)
    return Deviations(whole, known, sums, squares, np.concatenate(points), np.concatenate(units))


def _places(part: Part, rows: np.ndarray) -> np.ndarray:
    """Where in a part rows of its tile are; those that it has not are left out."""
    return rows if part.rows is None else np.flatnonzero(np.isin(part.rows, rows))
