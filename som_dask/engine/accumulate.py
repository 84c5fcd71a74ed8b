"""Compiled loops that add up samples whose best matching units are known."""

# mypy: disable-error-code="no-untyped-def, call-arg"
from __future__ import annotations

import numba
import numpy as np

from som_dask.engine.row_vectors import NEIGHBORS, add_whole_numbers, is_among
from som_dask.numerics.fixed_point import LIMB_BITS

__all__ = [
    "add_limbs",
    "add_number",
    "add_numbers",
    "add_numbers_rounded",
    "add_points",
    "add_points_rounded",
    "add_points_with_errors",
    "add_points_with_errors_rounded",
    "add_weighted_points",
    "add_weighted_points_rounded",
    "are_neighbors",
    "count_misses",
    "normalize",
    "round_limbs",
    "weigh_misses",
    "weigh_misses_rounded",
]

LIMB = np.float64(2**LIMB_BITS)
LIMB_MASK = np.int64(2**LIMB_BITS - 1)


@numba.njit(nogil=True, cache=True)
def are_neighbors(a, b, neighbors):
    """Whether two nodes are one or neighbors, by the table of neighbors (M, 8) int64."""
    return (a == b) | is_among(b, neighbors.ctypes.data + 8 * NEIGHBORS * a)


@numba.njit(nogil=True, cache=True)
def count_misses(bmu, second, neighbors):
    """How many samples have two best matching units that are not neighbors."""
    misses = 0
    for i in range(len(bmu)):
        misses += not are_neighbors(bmu[i], second[i], neighbors)
    return misses


@numba.njit(nogil=True, cache=True)
def weigh_misses(bmu, second, neighbors, weights, factors, limit, limbs):
    """The weight of the samples that `count_misses` counts, added to limbs (L,).

    Returns
    -------
    outside : int
        Weights that are beyond the limit.
    """
    outside = 0
    for i in range(len(bmu)):
        if not are_neighbors(bmu[i], second[i], neighbors):
            outside += add_number(limbs, weights[i if len(weights) > 1 else 0], factors, limit)
    return outside


@numba.njit(nogil=True, cache=True)
def weigh_misses_rounded(bmu, second, neighbors, weights):
    """The weight of the samples that `count_misses` counts, float64."""
    total = 0.0
    for i in range(len(bmu)):
        if not are_neighbors(bmu[i], second[i], neighbors):
            total += weights[i if len(weights) > 1 else 0]
    return total


@numba.njit(nogil=True, cache=True)
def add_number(limbs, value, factors, limit):
    """Add a number to limbs (L,), by factors (2,); returns whether it is beyond the limit."""
    scaled = value * factors[0] * factors[1]
    beyond = not abs(scaled) < limit
    for k in range(len(limbs)):
        whole = np.int64(scaled)
        limbs[k] += whole
        scaled = (scaled - np.float64(whole)) * LIMB
    return beyond


@numba.njit(nogil=True, cache=True)
def add_numbers(values, weights, factors, limit, limbs):
    """Add numbers (n,), times weights (n,) or (1,), to limbs (L,); returns how many are beyond the limit."""
    outside = 0
    if len(limbs) != 2:
        for i in range(len(values)):
            outside += add_number(limbs, weights[i if len(weights) > 1 else 0] * values[i], factors, limit)
        return outside
    first = second = np.int64(0)  # the usual case, in registers
    for i in range(len(values)):
        scaled = weights[i if len(weights) > 1 else 0] * values[i] * factors[0] * factors[1]
        outside += not abs(scaled) < limit
        whole = np.int64(scaled)
        first += whole
        second += np.int64((scaled - np.float64(whole)) * LIMB)
    limbs[0] += first
    limbs[1] += second
    return outside


@numba.njit(nogil=True, cache=True)
def add_numbers_rounded(values, weights):
    """The sum of numbers (n,), times weights (n,) or (1,), in their order."""
    total = 0.0
    for i in range(len(values)):
        total += weights[i if len(weights) > 1 else 0] * values[i]
    return total


@numba.njit(nogil=True, cache=True)
def add_points(points, bmu, factors, limit, numerator, hits):
    """Add samples to sums of whole numbers, which are the same in any order; see `FixedPoint`.

    Parameters
    ----------
    points : (n, D) float64
    bmu : (n,) int64
    factors : (2, D) float64
    limit : float
        What a scaled number must stay below.
    numerator : (M, L, D) int64
        Added to in place.
    hits : (M,) int64
        Added to in place.

    Returns
    -------
    outside : int
        Numbers that are beyond the limit; where there are any, the sums are of no use.
    """
    n_features, n_limbs = points.shape[1], numerator.shape[1]
    rest = np.empty(n_features)
    row_at, factors_at, limbs_at = points.ctypes.data, factors.ctypes.data, numerator.ctypes.data
    outside = 0
    for i in range(len(points)):
        node = bmu[i]
        hits[node] += 1
        if n_limbs == 2:  # the usual case
            outside += add_whole_numbers(
                row_at + 8 * n_features * i, n_features, factors_at, limit, limbs_at + 16 * n_features * node
            )
            continue
        for j in range(n_features):
            scaled = points[i, j] * factors[0, j] * factors[1, j]
            outside += not abs(scaled) < limit
            whole = np.int64(scaled)
            numerator[node, 0, j] += whole
            rest[j] = scaled - np.float64(whole)
        for k in range(1, n_limbs):
            for j in range(n_features):
                scaled = rest[j] * LIMB
                whole = np.int64(scaled)
                numerator[node, k, j] += whole
                rest[j] = scaled - np.float64(whole)
    return outside


@numba.njit(nogil=True, cache=True)
def add_weighted_points(
    points, weights, bmu, factors, weight_factors, limit, numerator, hits, complete, incomplete, known
):
    """Add samples that have weights, or lack features, to sums of whole numbers; see `add_points`.

    Parameters
    ----------
    points : (n, D) float64
        NaN where a feature is missing.
    weights : (n,) float64, or (1,) for all alike
    bmu : (n,) int64
    factors, weight_factors : (2, D) and (2,) float64
        Of the features, and of the weights.
    limit : float
    numerator, hits
        As for `add_points`: weight times feature, where it is known.
    complete : (M, L, 1) int64
        Weight of the samples that know all features, added to in place.
    incomplete : (M, L, 1) int64
        Weight of the others.
    known : (M, L, D) int64
        Weight of the others by the features that they know. The last two are of no nodes where every sample is to
        know all: there a value that is missing is beyond the limit.

    Returns
    -------
    outside : int
    """
    n_features, n_limbs = points.shape[1], numerator.shape[1]
    rest, mass = np.empty(n_features), np.empty(n_limbs, dtype=np.int64)
    gaps, outside = len(known) > 0, 0
    for i in range(len(points)):
        node = bmu[i]
        weight = weights[i if len(weights) > 1 else 0]
        hits[node] += 1
        lacking = 0
        for j in range(n_features):
            is_known = not gaps or points[i, j] == points[i, j]
            lacking += not is_known
            rest[j] = weight * points[i, j] * factors[0, j] * factors[1, j] if is_known else 0.0
            outside += not abs(rest[j]) < limit
        for k in range(n_limbs):
            for j in range(n_features):
                piece = np.int64(rest[j])
                numerator[node, k, j] += piece
                rest[j] = (rest[j] - np.float64(piece)) * LIMB
        mass[:] = 0
        outside += add_number(mass, weight, weight_factors, limit)
        if lacking == 0:
            for k in range(n_limbs):
                complete[node, k, 0] += mass[k]
            continue
        for k in range(n_limbs):
            incomplete[node, k, 0] += mass[k]
            for j in range(n_features):
                known[node, k, j] += mass[k] if points[i, j] == points[i, j] else 0
    return outside


@numba.njit(nogil=True, cache=True)
def add_points_with_errors(
    points, inverse, weights, bmu, factors, share_factors, weight_factors, limit, numerator, hits, incomplete, known
):
    """Add samples whose values have errors to sums of whole numbers; see `add_weighted_points`.

    A value counts by its share: the weight of the sample, divided by the square of the error.

    Parameters
    ----------
    points : (n, D) float64
        NaN where a feature is missing.
    inverse : (n, D) float64
        1 over the errors, 0 where a feature is missing.
    weights : (n,) float64, or (1,) for all alike
    bmu : (n,) int64
    factors, share_factors, weight_factors : (2, D), (2, D) and (2,) float64
        Of the features, of the shares, and of the weights.
    limit : float
    numerator : (M, L, D) int64
        Share times feature, added to in place.
    hits : (M,) int64
    incomplete : (M, L, 1) int64
        Weight of the samples.
    known : (M, L, D) int64
        Shares.

    Returns
    -------
    outside : int
    """
    n_limbs = numerator.shape[1]
    mass = np.empty(n_limbs, dtype=np.int64)
    outside = 0
    for i in range(len(points)):
        node = bmu[i]
        weight = weights[i if len(weights) > 1 else 0]
        hits[node] += 1
        mass[:] = 0
        outside += add_number(mass, weight, weight_factors, limit)
        for k in range(n_limbs):
            incomplete[node, k, 0] += mass[k]
        for j in range(points.shape[1]):
            share = weight * (inverse[i, j] * inverse[i, j])
            if share == 0:
                continue
            mass[:] = 0
            outside += add_number(mass, share, share_factors[:, j], limit)
            for k in range(n_limbs):
                known[node, k, j] += mass[k]
            mass[:] = 0
            outside += add_number(mass, share * points[i, j], factors[:, j], limit)
            for k in range(n_limbs):
                numerator[node, k, j] += mass[k]
    return outside


@numba.njit(nogil=True, cache=True)
def add_points_with_errors_rounded(points, inverse, weights, bmu, numerator, hits, incomplete, known):
    """`add_points_with_errors` in float64, in the order of the rows: the arrays are without the limbs."""
    for i in range(len(points)):
        node = bmu[i]
        weight = weights[i if len(weights) > 1 else 0]
        hits[node] += 1
        incomplete[node, 0] += weight
        for j in range(points.shape[1]):
            share = weight * (inverse[i, j] * inverse[i, j])
            known[node, j] += share
            numerator[node, j] += share * points[i, j] if share != 0 else 0.0


@numba.njit(nogil=True, cache=True)
def add_points_rounded(points, bmu, numerator, hits):
    """`add_points` with sums (M, D) in float64, in the order of the rows."""
    for i in range(len(points)):
        node = bmu[i]
        hits[node] += 1
        for j in range(points.shape[1]):
            numerator[node, j] += points[i, j]


@numba.njit(nogil=True, cache=True)
def add_weighted_points_rounded(points, weights, bmu, numerator, hits, complete, incomplete, known):
    """`add_weighted_points` in float64, in the order of the rows: the arrays are without the limbs."""
    gaps = len(known) > 0
    for i in range(len(points)):
        node = bmu[i]
        weight = weights[i if len(weights) > 1 else 0]
        hits[node] += 1
        lacking = 0
        for j in range(points.shape[1]):
            if not gaps or points[i, j] == points[i, j]:
                numerator[node, j] += weight * points[i, j]
            else:
                lacking += 1
        if lacking == 0:
            complete[node, 0] += weight
            continue
        incomplete[node, 0] += weight
        for j in range(points.shape[1]):
            known[node, j] += weight if points[i, j] == points[i, j] else 0.0


@numba.njit(nogil=True, cache=True)
def normalize(limbs, hits):
    """Carry, so that all limbs of a sum but the first lie in [0, 2^40): (M, L, C), in place.

    It makes equal sums equal integers. Nodes without hits (M,) are not looked at: memory that was never written takes
    no time.
    """
    for node in range(limbs.shape[0]):
        if hits[node] != 0:
            for k in range(limbs.shape[1] - 1, 0, -1):
                for j in range(limbs.shape[2]):
                    limbs[node, k - 1, j] += limbs[node, k, j] >> LIMB_BITS
                    limbs[node, k, j] &= LIMB_MASK


@numba.njit(nogil=True, cache=True)
def add_limbs(total, more, hits):
    """Add normalized sums (M, L, C), of nodes with so many hits (M,), to `total`, in place, and carry."""
    for node in range(total.shape[0]):
        if hits[node] != 0:
            for k in range(total.shape[1]):
                for j in range(total.shape[2]):
                    total[node, k, j] += more[node, k, j]
            for k in range(total.shape[1] - 1, 0, -1):
                for j in range(total.shape[2]):
                    total[node, k - 1, j] += total[node, k, j] >> LIMB_BITS
                    total[node, k, j] &= LIMB_MASK


@numba.njit(nogil=True, cache=True)
def round_limbs(limbs, hits, factors):
    """Sums as float64: normalized limbs (M, L, C), hits (M,), factors (2, C) -> (M, C).

    The factors are powers of two, by which to multiply one after the other.
    """
    n_nodes, n_limbs, n_columns = limbs.shape
    result = np.zeros((n_nodes, n_columns))
    magnitude = np.empty(n_limbs, dtype=np.int64)
    for node in range(n_nodes):
        if hits[node] == 0:
            continue
        for j in range(n_columns):
            # Of a negative sum the first limb alone is negative, and the others nearly undo it: turn it round.
            sign = -1 if limbs[node, 0, j] < 0 else 1
            carry = np.int64(0)
            for k in range(n_limbs - 1, 0, -1):
                limb = sign * limbs[node, k, j] + carry
                magnitude[k] = limb & LIMB_MASK
                carry = limb >> LIMB_BITS
            magnitude[0] = sign * limbs[node, 0, j] + carry
            total = 0.0
            for k in range(n_limbs - 1, -1, -1):
                total = total / LIMB + np.float64(magnitude[k])
            result[node, j] = sign * total * factors[0, j] * factors[1, j]
    return result
