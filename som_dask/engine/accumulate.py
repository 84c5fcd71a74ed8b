"""What is done with samples once their best matching units are known: distances and sums, tile by tile."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numba
import numpy as np

from som_dask.numerics.fixed_point import LIMB_BITS

__all__ = [
    "add_limbs",
    "add_rounded",
    "add_weighted",
    "add_weighted_rounded",
    "add_whole",
    "distances",
    "normalize",
    "ranges",
    "rounded",
]

LIMB = np.float64(2**LIMB_BITS)
LIMB_MASK = np.int64(2**LIMB_BITS - 1)


@numba.njit(nogil=True, cache=True)
def _distance(x, w):
    """Euclidean distance in float64, features added in order."""
    squared = 0.0
    largest = 0.0
    for j in range(len(w)):
        difference = x[j] - w[j]
        squared += difference * difference
        largest = max(largest, abs(difference))
    if 1e-150 < largest < 1e150 or largest == 0:
        return math.sqrt(squared)
    squared = 0.0  # squares that overflow or vanish: once more, scaled
    for j in range(len(w)):
        difference = (x[j] - w[j]) / largest
        squared += difference * difference
    return math.sqrt(squared) * largest


@numba.njit(nogil=True, cache=True)
def _known_distance(x, w):
    """`_distance` over the features that are not NaN."""
    squared = 0.0
    largest = 0.0
    for j in range(len(w)):
        difference = x[j] - w[j] if x[j] == x[j] else 0.0
        squared += difference * difference
        largest = max(largest, abs(difference))
    if 1e-150 < largest < 1e150 or largest == 0:
        return math.sqrt(squared)
    squared = 0.0
    for j in range(len(w)):
        difference = (x[j] - w[j]) / largest if x[j] == x[j] else 0.0
        squared += difference * difference
    return math.sqrt(squared) * largest


@numba.njit(nogil=True, cache=True)
def distances(tile, bmu, codebook):
    """Euclidean distances of samples (n, D) float64 to their nodes, over what is not NaN: (n,) float64."""
    result = np.empty(len(tile))
    for i in range(len(tile)):
        result[i] = _known_distance(tile[i], codebook[bmu[i]])
    return result


@numba.njit(nogil=True, cache=True)
def _near(a, b, neighbors):
    """Whether two nodes are one or neighbors."""
    near = a == b
    for k in range(neighbors.shape[1]):
        near = near or neighbors[a, k] == b
    return near


@numba.njit(nogil=True, cache=True)
def _misses(bmu, second, neighbors):
    """How many samples have two best matching units that are not neighbors."""
    misses = 0
    for i in range(len(bmu)):
        misses += not _near(bmu[i], second[i], neighbors)
    return misses


@numba.njit(nogil=True, cache=True)
def add_rounded(tile, bmu, second, codebook, neighbors, sums, counts):
    """Add a tile to the sums (M, D) float64 and counts (M,) of its nodes, in the order of its rows.

    Returns
    -------
    distance : float
        Sum of the distances to the best matching units.
    misses : int
        Samples whose two best matching units are not neighbors.
    """
    distance = 0.0
    for i in range(len(tile)):
        node = bmu[i]
        counts[node] += 1
        for j in range(tile.shape[1]):
            sums[node, j] += tile[i, j]
        distance += _distance(tile[i], codebook[node])
    return distance, _misses(bmu, second, neighbors)


@numba.njit(nogil=True, cache=True)
def add_whole(tile, bmu, second, codebook, neighbors, factors, limit, limbs, counts, distance):
    """Add a tile to sums of integers, which are the same in any order; see `FixedPoint`.

    Parameters
    ----------
    tile : (n, D) float64
    bmu, second : (n,) int64
    codebook : (M, D) float64
    neighbors : (M, k) int64
    factors : (2, D + 1) float64
        Of the features, and of the distance in the last place.
    limit : float
        What a scaled number must stay below.
    limbs : (M, L, D) int64
        Added to in place.
    counts : (M,) int64
        Added to in place.
    distance : (L,) int64
        Limbs of the sum of the distances, added to in place.

    Returns
    -------
    misses : int
        Samples whose two best matching units are not neighbors.
    outside : int
        Numbers that are beyond the limit; where there are any, the sums are of no use.
    """
    n_features, n_limbs = tile.shape[1], limbs.shape[1]
    rest = np.empty(n_features)
    outside = 0
    for i in range(len(tile)):
        node = bmu[i]
        counts[node] += 1
        if n_limbs == 2:  # the usual case, in one loop
            for j in range(n_features):
                scaled = tile[i, j] * factors[0, j] * factors[1, j]
                outside += not abs(scaled) < limit
                whole = np.int64(scaled)
                limbs[node, 0, j] += whole
                limbs[node, 1, j] += np.int64((scaled - np.float64(whole)) * LIMB)
        else:
            for j in range(n_features):
                scaled = tile[i, j] * factors[0, j] * factors[1, j]
                outside += not abs(scaled) < limit
                whole = np.int64(scaled)
                limbs[node, 0, j] += whole
                rest[j] = scaled - np.float64(whole)
            for k in range(1, n_limbs):
                for j in range(n_features):
                    scaled = rest[j] * LIMB
                    whole = np.int64(scaled)
                    limbs[node, k, j] += whole
                    rest[j] = scaled - np.float64(whole)
        scaled = _distance(tile[i], codebook[node]) * factors[0, n_features] * factors[1, n_features]
        outside += not scaled < limit
        for k in range(n_limbs):
            whole = np.int64(scaled)
            distance[k] += whole
            scaled = (scaled - np.float64(whole)) * LIMB
    return _misses(bmu, second, neighbors), outside


@numba.njit(nogil=True, cache=True)
def _enter(limbs, j, value, factors, column, limit):
    """Add a number to column j of limbs (L, C); returns whether it is beyond the limit."""
    scaled = value * factors[0, column] * factors[1, column]
    beyond = not abs(scaled) < limit
    for k in range(limbs.shape[0]):
        whole = np.int64(scaled)
        limbs[k, j] += whole
        scaled = (scaled - np.float64(whole)) * LIMB
    return beyond


@numba.njit(nogil=True, cache=True)
def add_weighted(
    part, weights, whole, bmu, second, codebook, neighbors, cosine, factors, limit, limbs, counts, totals
):
    """Add samples that have weights, or lack features, to sums of integers; see `add_whole`.

    Parameters
    ----------
    part : (n, D) float64
        NaN where a feature is missing.
    weights : (n,) float64, or (1,) for all alike
    whole : bool
        Whether no feature is missing.
    bmu, second, codebook, neighbors
        As for `add_whole`.
    cosine : bool
        Whether the distance is half the squared one.
    factors : (2, C + 1) float64
        Of the columns, and of the distance in the last place.
    limit : float
    limbs : (M, L, C) int64
        Added to in place: weight times feature; the weight of whole samples in column D; if there are more columns,
        the weights of other samples by the features that they have, and in the last column their weight.
    counts : (M,) int64
    totals : (L, 2) int64
        Limbs of weight times distance, and of the weight of the misses, added to in place.

    Returns
    -------
    outside : int
        Numbers that are beyond the limit.
    """
    n_features, n_limbs, n_columns = part.shape[1], limbs.shape[1], limbs.shape[2]
    rest, mass = np.empty(n_features), np.empty((n_limbs, 1), dtype=np.int64)
    outside = 0
    for i in range(len(part)):
        node = bmu[i]
        weight = weights[i if len(weights) > 1 else 0]
        counts[node] += 1
        here = limbs[node]
        for j in range(n_features):
            known = whole or part[i, j] == part[i, j]
            rest[j] = weight * part[i, j] * factors[0, j] * factors[1, j] if known else 0.0
            outside += not abs(rest[j]) < limit
        for k in range(n_limbs):
            for j in range(n_features):
                piece = np.int64(rest[j])
                here[k, j] += piece
                rest[j] = (rest[j] - np.float64(piece)) * LIMB
        mass[:] = 0
        outside += _enter(mass, 0, weight, factors, n_features, limit)
        column = n_features if whole else n_columns - 1
        for k in range(n_limbs):
            here[k, column] += mass[k, 0]
            if not whole:
                for j in range(n_features):
                    here[k, n_features + 1 + j] += mass[k, 0] if part[i, j] == part[i, j] else 0
        distance = _known_distance(part[i], codebook[node])
        if cosine:
            distance = distance * distance / 2
        outside += _enter(totals, 0, weight * distance, factors, n_columns, limit)
        if not _near(node, second[i], neighbors):
            for k in range(n_limbs):
                totals[k, 1] += mass[k, 0]
    return outside


@numba.njit(nogil=True, cache=True)
def add_weighted_rounded(part, weights, whole, bmu, second, codebook, neighbors, cosine, sums, counts, totals):
    """`add_weighted` with sums (M, C) and totals (2,) in float64, in the order of the rows."""
    n_features, n_columns = part.shape[1], sums.shape[1]
    for i in range(len(part)):
        node = bmu[i]
        weight = weights[i if len(weights) > 1 else 0]
        counts[node] += 1
        for j in range(n_features):
            if part[i, j] == part[i, j]:
                sums[node, j] += weight * part[i, j]
                if not whole:
                    sums[node, n_features + 1 + j] += weight
        sums[node, n_features if whole else n_columns - 1] += weight
        distance = _known_distance(part[i], codebook[node])
        totals[0] += weight * (distance * distance / 2 if cosine else distance)
        if not _near(node, second[i], neighbors):
            totals[1] += weight


@numba.njit(nogil=True, cache=True)
def ranges(table):
    """Least and most of each column of an array (n, D) float64, n at least 1: two (D,) float64."""
    least, most = table[0].copy(), table[0].copy()
    for i in range(len(table)):
        for j in range(table.shape[1]):
            least[j], most[j] = min(least[j], table[i, j]), max(most[j], table[i, j])
    return least, most


@numba.njit(nogil=True, cache=True)
def normalize(limbs, counts):
    """Carry, so that all limbs of a sum but the first lie in [0, 2^40): (M, L, D), in place.

    It makes equal sums equal integers. Nodes without samples, by their counts (M,), are not looked at: memory that
    was never written takes no time.
    """
    for node in range(limbs.shape[0]):
        if counts[node] != 0:
            for k in range(limbs.shape[1] - 1, 0, -1):
                for j in range(limbs.shape[2]):
                    limbs[node, k - 1, j] += limbs[node, k, j] >> LIMB_BITS
                    limbs[node, k, j] &= LIMB_MASK


@numba.njit(nogil=True, cache=True)
def add_limbs(total, more, counts):
    """Add normalized sums (M, L, D), of nodes with so many samples (M,), to `total`, in place, and carry."""
    for node in range(total.shape[0]):
        if counts[node] != 0:
            for k in range(total.shape[1]):
                for j in range(total.shape[2]):
                    total[node, k, j] += more[node, k, j]
            for k in range(total.shape[1] - 1, 0, -1):
                for j in range(total.shape[2]):
                    total[node, k - 1, j] += total[node, k, j] >> LIMB_BITS
                    total[node, k, j] &= LIMB_MASK


@numba.njit(nogil=True, cache=True)
def rounded(limbs, counts, factors):
    """Sums as float64: normalized limbs (M, L, D), counts (M,), factors (2, D) -> (M, D).

    The factors are powers of two, by which to multiply one after the other.
    """
    n_nodes, n_limbs, n_features = limbs.shape
    result = np.zeros((n_nodes, n_features))
    magnitude = np.empty(n_limbs, dtype=np.int64)
    for node in range(n_nodes):
        if counts[node] == 0:
            continue
        for j in range(n_features):
            # Of a negative sum the first limb alone is negative, and the others nearly undo it: turn it round.
            sign = -1 if limbs[node, 0, j] < 0 else 1
            carried = np.int64(0)
            for k in range(n_limbs - 1, 0, -1):
                limb = sign * limbs[node, k, j] + carried
                magnitude[k] = limb & LIMB_MASK
                carried = limb >> LIMB_BITS
            magnitude[0] = sign * limbs[node, 0, j] + carried
            total = 0.0
            for k in range(n_limbs - 1, -1, -1):
                total = total / LIMB + np.float64(magnitude[k])
            result[node, j] = sign * total * factors[0, j] * factors[1, j]
    return result
