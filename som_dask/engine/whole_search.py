"""The search of samples among all nodes, without bounds, in one go for 16 samples at a time."""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import math

import numba
import numpy as np

from som_dask.engine.error_bound import LARGEST_NORM, half_square_error
from som_dask.engine.lanes import LANES
from som_dask.engine.sample_lanes import TOGETHER, score_samples, turn_samples
from som_dask.engine.settle import differ, settle
from som_dask.engine.strips import GROUPS

__all__ = ["search_whole", "turn_rows"]


@numba.njit(nogil=True, cache=True)
def turn_rows(rows, last, center, scale, radius, gamma, turned, offsets, bounds):
    """Shift, scale and turn 16 rows, with the bounds of their scores' errors."""
    n_features, squares = rows.shape[1], np.empty(TOGETHER)
    if len(rows) < TOGETHER:  # the last of all: filled up with themselves
        for k in range(TOGETHER):
            last[k] = rows[k % len(rows)]
        rows = last
    turn_samples(
        rows.ctypes.data, n_features, center.ctypes.data, scale, turned.ctypes.data, squares.ctypes.data
    )  # fmt: skip
    for k in range(TOGETHER):
        offsets[k] = squares[k] / 2
        bounds[k] = half_square_error(math.sqrt(squares[k]), radius, gamma, n_features)
    for k in range(TOGETHER):
        if not squares[k] < LARGEST_NORM**2:  # NaN among them
            bounds[k], offsets[k] = -1.0, 0.0
            turned[:, k] = np.float32(0.0)


@numba.njit(nogil=True, cache=True)
def search_whole(rows, patched, gamma, need_second, certify, memory, bmus, seconds):
    """Find the best and the second best among all nodes for complete samples, (n, D) float64."""
    n, n_features = rows.shape
    center, scale, radius, counts = patched.center, patched.scale, patched.radius, patched.counts
    weights, half_norms, nodes = patched.weights, patched.half_norms, patched.nodes.ravel()
    turned, best, numbers = memory.turned, memory.turned_best, memory.turned_numbers
    offsets, last, bounds = memory.turned_offsets, np.empty((TOGETHER, n_features)), np.empty((GROUPS, TOGETHER))
    everywhere, no_errors = np.empty(0, dtype=np.float32), np.empty(0)
    for start in range(0, n, GROUPS * TOGETHER):
        groups = min(GROUPS, -(-(n - start) // TOGETHER))
        for g in range(groups):
            first = start + g * TOGETHER
            turn_rows(
                rows[first : first + TOGETHER], last, center, scale, radius, gamma, turned[g], offsets[g], bounds[g]
            )
        best[:groups] = np.inf
        # A patch stays in the cache for all groups.
        for p in range(len(counts)):
            for g in range(groups):
                score_samples(
                    turned[g].ctypes.data, n_features, offsets[g].ctypes.data, weights[p].ctypes.data,
                    half_norms[p].ctypes.data, counts[p], p * LANES, best[g].ctypes.data, numbers[g].ctypes.data,
                )  # fmt: skip
        for g in range(groups):
            first = start + g * TOGETHER
            for k in range(min(TOGETHER, n - first)):
                bound = bounds[g, k]
                bmu, second = nodes[numbers[g, 0, k]], nodes[numbers[g, 1, k]]
                certain = differ(best[g, 0, k], best[g, 1, k], bound)
                apart = differ(best[g, 1, k], best[g, 2, k], bound)
                if bound < 0 or (certify and not (certain and (apart or not need_second))):
                    shifted = memory.shifted[0]
                    for j in range(n_features):
                        shifted[j] = -turned[g, j, k]
                    bmu, second = settle(
                        rows[first + k], no_errors, shifted, offsets[g, k], bmu, second,
                        best[g, 1 if need_second else 0, k], not apart, bound, everywhere, patched,
                        memory.scores, memory.visited,
                    )  # fmt: skip
                bmus[first + k], seconds[first + k] = bmu, second
