"""The best and the second best of each sample: what float32 leaves open is settled by the plain float64 rule."""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import math

import numba
import numpy as np

from som_dask.engine.error_bound import LEAST_SQUARE
from som_dask.engine.lanes import first_bit, lanes_within, score_lanes
from som_dask.engine.sample_lanes import PLACE_ERROR
from som_dask.engine.strips import VISITED

__all__ = ["decide", "differ", "power_below_one", "settle"]

VANISHING = 1e-30  # far above what a place in the lowest bits makes of a score of zero, far below other bounds


@numba.njit(nogil=True, cache=True)
def differ(low, high, bound):
    """Whether half squared distances, and all above the higher one, differ by more than their errors.

    The plain rule then has the same order. Each error is up to `bound`, and that of the place in the lowest bits,
    which grows more slowly than the distances.
    """
    low, high = np.float64(low), np.float64(high)
    return high - low > 2 * bound + PLACE_ERROR * (abs(low) + abs(high)) + VANISHING


@numba.njit(nogil=True, cache=True)
def _squared(x, w, inverse, power, factor):
    """Compute a squared distance by the plain float64 rule: features in their order, NaN left out.

    Differences are in units of the errors of the values, where there are any: times `inverse`, and a power of two.
    """
    squared = 0.0
    for j in range(len(w)):
        difference = (x[j] - w[j]) * factor
        if len(inverse) > 0:
            difference *= inverse[j] * power
        squared += difference * difference if x[j] == x[j] else 0.0
    return squared


@numba.njit(nogil=True, cache=True)
def _among(x, inverse, power, patched, scores, visited, n_visited, limit):
    """Find the best and the second best by the plain float64 rule among the nodes with scores within a limit."""
    codebook, nodes = patched.codebook, patched.nodes
    bmu = second = np.int64(-1)
    # As they are; and scaled only where squares overflow or vanish.
    for factor in (1.0, patched.scale):
        bmu = second = np.int64(-1)
        least = next_least = np.inf
        for k in range(n_visited):
            mask = lanes_within(scores[k].ctypes.data, limit)
            while mask != 0:
                node = nodes[visited[k], first_bit(mask)]
                mask &= mask - np.uint64(1)
                if node < 0:
                    continue
                squared = _squared(x, codebook[node], inverse, power, factor)
                if squared < least or (squared == least and node < bmu) or bmu < 0:
                    next_least, second = least, bmu
                    least, bmu = squared, node
                elif squared < next_least or (squared == next_least and node < second) or second < 0:
                    next_least, second = squared, node
        if LEAST_SQUARE < next_least < np.inf:
            break
    return bmu, second


@numba.njit(nogil=True, cache=True)
def _among_two(x, inverse, power, patched, a, b):
    """`_among` two nodes."""
    bmu, second = a, b
    for factor in (1.0, patched.scale):
        first = _squared(x, patched.codebook[a], inverse, power, factor)
        other = _squared(x, patched.codebook[b], inverse, power, factor)
        bmu, second = (a, b) if first < other or (first == other and a < b) else (b, a)
        if LEAST_SQUARE < max(first, other) < np.inf:
            break
    return bmu, second


@numba.njit(nogil=True, cache=True)
def power_below_one(inverse):
    """The power of two that brings the largest of some inverse errors between 1/2 and 1; 1 if there are none."""
    largest = 0.0
    for value in inverse:
        largest = max(largest, value)
    return math.ldexp(1.0, -math.frexp(largest)[1])


@numba.njit(nogil=True, cache=True)
def settle(x, inverse, shifted, offset, bmu, second, best, third, bound, lower, patched, scores, visited):
    """Find the best and the second best of a sample by the plain rule, where float32 leaves a choice.

    Parameters
    ----------
    x : (D,) float64
        The sample.
    inverse : (D,) or (0,) float64
        1 over the errors of its values, 0 where one is missing; nothing where values have no errors.
    shifted : (D4,) float32
        It shifted and scaled.
    offset : float32
        Half its squared norm.
    bmu, second : int
        Its two nearest nodes in float32; of no meaning if `bound` is below 0.
    best : float32
        Half the highest squared distance that is wanted: the second lowest, or the lowest if no second is needed.
    third : bool
        Whether a third node may be among the two.
    bound : float64
        Of the error of a score; below 0 where float32 can't hold the sample.
    lower : (at least P,) float32
        `VISITED` for patches that have been scored; of no patches if all have.
    patched : PatchedCodebook
    scores, visited : (P, 64) float32, (P,) int64
        Working memory.
    """
    power = power_below_one(inverse)
    if bound >= 0 and not third:
        return _among_two(x, inverse, power, patched, bmu, second)
    limit = np.float32(np.inf)
    if bound >= 0:
        # Scores may have been added up in another order than here: the limit allows for both.
        score = np.float64(best) - offset
        limit = np.float32(score + 4 * bound + PLACE_ERROR * abs(best) + 1e-6 * abs(score) + VANISHING)
    n_visited = 0
    for p in range(len(patched.nodes)):
        # What was passed over can't hold a winner.
        if bound < 0 or len(lower) == 0 or lower[p] == VISITED:
            score_lanes(
                shifted.ctypes.data, patched.weights.shape[1], patched.weights[p].ctypes.data,
                patched.half_norms[p].ctypes.data, scores[n_visited].ctypes.data,
            )  # fmt: skip
            visited[n_visited] = p
            n_visited += 1
    return _among(x, inverse, power, patched, scores, visited, n_visited, limit)


@numba.njit(nogil=True, cache=True)
def decide(rows, inverse, patched, need_second, certify, memory, bmus, seconds):
    """Enter the best and the second best of each sample of a strip that was searched patch by patch.

    `inverse` are (n, D) inverse errors of the values, or (1, 0) where these have none.
    """
    nodes = patched.nodes.ravel()
    for i in range(len(rows)):
        best, bound = memory.best[i], memory.bounds[i]
        bmu, second = nodes[memory.numbers[i, 0]], nodes[memory.numbers[i, 1]]
        certain, apart = differ(best[0], best[1], bound), differ(best[1], best[2], bound)
        if bound < 0 or (certify and not (certain and (apart or not need_second))):
            bmu, second = settle(
                rows[i], inverse[i if len(inverse) > 1 else 0], memory.shifted[i], memory.offsets[i], bmu, second,
                best[1 if need_second else 0], not apart, bound, memory.lower[i], patched,
                memory.scores, memory.visited,
            )  # fmt: skip
        bmus[i], seconds[i] = bmu, second
