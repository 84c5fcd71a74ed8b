"""The search of a strip of samples by the patches of a codebook, for each sample its nearest patch first.

The searches for samples with and without gaps share these functions. They differ in how they shift samples and how
they bound patches.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from som_dask.engine.lanes import LANES, find_lane, lowest_lane, score_lanes
from som_dask.engine.patches import PatchedCodebook
from som_dask.engine.sample_lanes import PLACE_ERROR, TOGETHER, score_samples
from som_dask.engine.shifted import FAR

__all__ = [
    "GROUPS",
    "VISITED",
    "Memory",
    "lowest_of",
    "memory_for",
    "place_of",
    "search_all",
    "search_pruned",
]

# Samples searched together: so many that several share a nearest patch, so few that the bounds stay in the cache.
BOUNDS_BYTES, LEAST_STRIP, MOST_STRIP = 2**20, 256, 4096
ROUNDS = 6  # in which each sample takes its nearest patch left; few samples need more
GROUPS = 8  # of 16 samples that a patch is taken to while it is in the cache, where all patches are searched
VISITED = np.float32(2e38)  # in place of the bound of a patch that has been scored
FEW = 4  # samples of one patch below which each is scored by itself


class Memory(NamedTuple):
    """Working memory of a search over a strip of S samples."""

    shifted: np.ndarray  # (S, D4) float32: samples, shifted and scaled
    squared_norms: np.ndarray  # (S,) float64
    bounds: np.ndarray  # (S,) float64: of the error of a score; -1 where float32 can't hold the sample
    offsets: np.ndarray  # (S,) float32: half the squared norms, which make half a squared distance of a score
    rooms: np.ndarray  # (S,) float64: all errors of a squared distance and of a patch's bound
    product: np.ndarray  # (4, 64 C) float32: samples times the frame
    lower: np.ndarray  # (S, 64 k) float32: the bound of each patch, far beyond the last one
    first: np.ndarray  # (S,) int64: the patch that is next, -1 if none
    order: np.ndarray  # (S,) int64: samples by patch
    starts: np.ndarray  # (P + 1,) int64: where each patch's samples begin
    best: np.ndarray  # (S, 3) float32: half the three lowest squared distances
    numbers: np.ndarray  # (S, 2) int32: 64 times the patch plus the lane of the two lowest
    turned: np.ndarray  # (GROUPS, D4, 16) float32: 16 samples each, features first, their signs changed
    turned_offsets: np.ndarray  # (GROUPS, 16) float32
    turned_best: np.ndarray  # (GROUPS, 3, 16) float32
    turned_numbers: np.ndarray  # (GROUPS, 2, 16) int32
    scores: np.ndarray  # (P, 64) float32: of one sample
    visited: np.ndarray  # (P,) int64: which patch each row of scores belongs to


def memory_for(patched: PatchedCodebook) -> Memory:
    """Allocate the working memory for a search by some patches."""
    n_patches, padded, chunks = len(patched.nodes), patched.weights.shape[1], len(patched.frame)
    lanes = -(-patched.box.shape[1] // LANES) * LANES
    strip = min(max(BOUNDS_BYTES // (4 * lanes), LEAST_STRIP), MOST_STRIP)
    return Memory(
        shifted=np.zeros((strip, padded), dtype=np.float32),
        squared_norms=np.empty(strip),
        bounds=np.empty(strip),
        offsets=np.empty(strip, dtype=np.float32),
        rooms=np.empty(strip),
        product=np.empty((4, chunks * LANES), dtype=np.float32),
        lower=np.full((strip, lanes), FAR),
        first=np.empty(strip, dtype=np.int64),
        order=np.empty(strip, dtype=np.int64),
        starts=np.empty(n_patches + 1, dtype=np.int64),
        best=np.empty((strip, 3), dtype=np.float32),
        numbers=np.zeros((strip, 2), dtype=np.int32),
        turned=np.zeros((GROUPS, padded, TOGETHER), dtype=np.float32),
        turned_offsets=np.zeros((GROUPS, TOGETHER), dtype=np.float32),
        turned_best=np.zeros((GROUPS, 3, TOGETHER), dtype=np.float32),
        turned_numbers=np.zeros((GROUPS, 2, TOGETHER), dtype=np.int32),
        scores=np.empty((n_patches, LANES), dtype=np.float32),
        visited=np.empty(n_patches, dtype=np.int64),
    )


@numba.njit(nogil=True, cache=True)
def place_of(values, value):
    """Find the first of some float32 lanes that equals `value`: its index, or -1 if there is none."""
    address = values.ctypes.data
    for start in range(0, len(values), LANES):
        lane = find_lane(address + 4 * start, value)
        if lane < LANES:
            return start + lane
    return -1


@numba.njit(nogil=True, cache=True)
def lowest_of(values):
    """Find the lowest of some float32 lanes."""
    address = values.ctypes.data
    lowest = FAR
    for start in range(0, len(values), LANES):
        lowest = min(lowest, lowest_lane(address + 4 * start))
    return lowest


@numba.njit(nogil=True, cache=True)
def _sort_by_patch(n, memory):
    """Order the samples by the patch that each takes next, by a counting sort; those without one are left out."""
    starts = memory.starts
    starts[:] = 0
    for i in range(n):
        if memory.first[i] >= 0:
            starts[memory.first[i] + 1] += 1
    for p in range(len(starts) - 1):
        starts[p + 1] += starts[p]
    for i in range(n):
        p = memory.first[i]
        if p >= 0:
            memory.order[starts[p]] = i
            starts[p] += 1
    # Each start has moved to the next one's place.
    for p in range(len(starts) - 1, 0, -1):
        starts[p] = starts[p - 1]
    starts[0] = 0


@numba.njit(nogil=True, cache=True)
def _score_alone(i, p, patched, memory):
    """Score one sample against one patch, and keep what is among its three lowest."""
    scores, best, numbers = memory.scores[0], memory.best[i], memory.numbers[i]
    at = scores.ctypes.data
    lowest = score_lanes(
        memory.shifted[i].ctypes.data, memory.shifted.shape[1], patched.weights[p].ctypes.data,
        patched.half_norms[p].ctypes.data, at,
    )  # fmt: skip
    offset, taken = memory.offsets[i], 0
    while taken < 3 and lowest + offset < best[2]:
        lane, half = find_lane(at, lowest), lowest + offset
        number = np.int32(p * LANES + lane)
        if half < best[0]:
            best[2], best[1], best[0] = best[1], best[0], half
            numbers[1], numbers[0] = numbers[0], number
        elif half < best[1]:
            best[2], best[1] = best[1], half
            numbers[1] = number
        else:
            best[2] = half
        scores[lane] = FAR  # hidden, to see the next
        lowest = lowest_lane(at)
        taken += 1


@numba.njit(nogil=True, cache=True)
def _turn(some, group, memory):
    """Copy at most 16 samples into a group, features first, with the lowest scores that they have found so far."""
    turned, best, numbers = memory.turned[group], memory.turned_best[group], memory.turned_numbers[group]
    for k in range(len(some)):
        i = some[k]
        for j in range(memory.shifted.shape[1]):
            turned[j, k] = -memory.shifted[i, j]
        memory.turned_offsets[group, k] = memory.offsets[i]
        for m in range(3):
            best[m, k] = memory.best[i, m]
        for m in range(2):
            numbers[m, k] = memory.numbers[i, m]


@numba.njit(nogil=True, cache=True)
def _turn_back(some, group, memory):
    """Copy the lowest scores of the samples of a group back to where they belong."""
    best, numbers = memory.turned_best[group], memory.turned_numbers[group]
    for k in range(len(some)):
        i = some[k]
        for m in range(3):
            memory.best[i, m] = best[m, k]
        for m in range(2):
            memory.numbers[i, m] = numbers[m, k]


@numba.njit(nogil=True, cache=True)
def _score_group(group, p, patched, memory):
    """Score the samples of a group against one patch, and keep the scores that are among the three lowest."""
    score_samples(
        memory.turned[group].ctypes.data, patched.weights.shape[1], memory.turned_offsets[group].ctypes.data,
        patched.weights[p].ctypes.data, patched.half_norms[p].ctypes.data, patched.counts[p], p * LANES,
        memory.turned_best[group].ctypes.data, memory.turned_numbers[group].ctypes.data,
    )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _next_patch(i, target, memory):
    """Choose the nearest patch that is not scored yet and may hold a winner; return whether there is one."""
    lower = memory.lower[i]
    least = lowest_of(lower)
    # Beyond this squared distance a patch holds neither of the nodes wanted. It is rounded up, for float32 may
    # round it down.
    half = np.float64(memory.best[i, target])
    cut = (2 * (half + PLACE_ERROR * abs(half)) + memory.rooms[i]) * (1 + 1e-6)
    if least <= min(cut, np.float64(FAR) / 2):
        memory.first[i] = place_of(lower, least)
        return True
    memory.first[i] = -1
    return False


@numba.njit(nogil=True, cache=True)
def search_pruned(n, patched, target, memory):
    """Search a strip patch by patch, for each sample its nearest patch first.

    The lower bounds of all patches and the first patch of each sample are in `memory`. Returns how many pairs of a
    sample and a patch were scored.
    """
    scored = active = 0
    for i in range(n):
        if memory.bounds[i] < 0:
            memory.first[i] = -1
        active += memory.first[i] >= 0
    for _ in range(ROUNDS):
        if active < n // TOGETHER:
            break
        _sort_by_patch(n, memory)
        for p in range(len(patched.nodes)):
            for start in range(memory.starts[p], memory.starts[p + 1], TOGETHER):
                some = memory.order[start : min(start + TOGETHER, memory.starts[p + 1])]
                if len(some) < FEW:
                    for k in range(len(some)):
                        _score_alone(some[k], p, patched, memory)
                else:
                    _turn(some, 0, memory)
                    _score_group(0, p, patched, memory)
                    _turn_back(some, 0, memory)
        scored += active
        active = 0
        for i in range(n):
            if memory.first[i] >= 0:
                memory.lower[i, memory.first[i]] = VISITED
                active += _next_patch(i, target, memory)
    for i in range(n):
        while memory.first[i] >= 0:
            _score_alone(i, memory.first[i], patched, memory)
            scored += 1
            memory.lower[i, memory.first[i]] = VISITED
            _next_patch(i, target, memory)
    return scored


@numba.njit(nogil=True, cache=True)
def search_all(n, patched, memory):
    """Search a strip by all patches, without bounds."""
    memory.lower[:n] = VISITED
    for i in range(n):
        memory.order[i] = i
    for start in range(0, n, GROUPS * TOGETHER):
        stop = min(start + GROUPS * TOGETHER, n)
        groups = -(-(stop - start) // TOGETHER)
        for g in range(groups):
            _turn(memory.order[start + g * TOGETHER : min(start + (g + 1) * TOGETHER, stop)], g, memory)
        for p in range(len(patched.nodes)):
            for g in range(groups):
                _score_group(g, p, patched, memory)
        for g in range(groups):
            _turn_back(memory.order[start + g * TOGETHER : min(start + (g + 1) * TOGETHER, stop)], g, memory)
