"""The search for best matching units on a CPU: whole patches of the map are passed over by a proven bound."""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from som_dask.lanes import LANES, find_lane, first_bit, lanes_within, lowest_lane, score_four, score_lanes
from som_dask.patches import FAR, PatchedCodebook

__all__ = ["Search"]

LARGEST_NORM = 1e15  # of a scaled sample: beyond it a float32 square might overflow
LEAST_SQUARE = 1e-280  # below it a sum of squares may have lost digits to underflow
UNIT_ROUNDOFF_32, UNIT_ROUNDOFF_64 = 2.0**-24, 2.0**-53
STRIP_ROWS = 128  # samples shifted and projected together; a multiple of 4
FIRST_ROWS = 256  # samples that show which way pays
WORTHWHILE = 0.45  # share of patches above which pruning costs more than it saves

# Reordering, fusing and vectorizing are allowed where only a proposal is computed: its error bound holds for any
# order. Everything that decides is compiled without.
PROPOSAL = {"reassoc", "contract", "nnan", "nsz"}


class _Memory(NamedTuple):
    """Working memory of a search."""

    shifted: np.ndarray  # (STRIP_ROWS, D4) float32: samples, shifted and scaled
    squared_norms: np.ndarray  # (STRIP_ROWS,) float64
    bounds: np.ndarray  # (STRIP_ROWS,) float64: of the error of a score; -1 where float32 can't hold the sample
    product: np.ndarray  # (STRIP_ROWS, 64 C) float32: samples times the frame
    lower: np.ndarray  # float32: the bound of each patch; those beyond the last patch stay far
    scores: np.ndarray  # (P, 64) float32
    visited: np.ndarray  # (P,) int64: which patch each row of scores belongs to
    best: np.ndarray  # (STRIP_ROWS, 3, 3) float64: the three lowest (score, patch, lane)


@numba.njit(nogil=True, cache=True)
def _shift(rows, patched, gamma, memory):
    """Shift and scale some samples, with their squared norms and error bounds."""
    n_features = rows.shape[1]
    terms = n_features + 8
    for i in range(rows.shape[0]):
        squared = 0.0
        for j in range(n_features):
            value = (rows[i, j] - patched.center[j]) * patched.scale
            memory.shifted[i, j] = value
            squared += value * value
        size = math.sqrt(squared) + patched.radius
        memory.squared_norms[i] = squared
        memory.bounds[i] = gamma * patched.radius * size + terms * UNIT_ROUNDOFF_64 * size * size
        if not squared < LARGEST_NORM**2:
            memory.bounds[i] = -1.0
            for j in range(n_features):
                memory.shifted[i, j] = 0.0


@numba.njit(nogil=True, cache=True)
def _project(n, patched, memory):
    """Products of some samples with the frame."""
    chunks, padded, lanes = patched.frame.shape
    nothing = np.zeros(LANES, dtype=np.float32)
    lowest = np.empty(4, dtype=np.float32)
    for c in range(chunks):
        for i in range(0, n, 4):
            score_four(
                memory.shifted[i].ctypes.data, padded, patched.frame[c].ctypes.data, nothing.ctypes.data,
                memory.product[i].ctypes.data + 4 * lanes * c, lanes * chunks, lowest.ctypes.data,
            )  # fmt: skip


@numba.njit(nogil=True, cache=True, fastmath=PROPOSAL)
def _lower_bounds(squared, product, facts, n_patches, bounds):
    """Least squared distance of a sample to any node of each patch; returns the lowest."""
    for p in range(n_patches):
        a1 = product[n_patches + p] - facts[1, p]
        a2 = product[2 * n_patches + p] - facts[2, p]
        out1 = max(max(facts[3, p] - a1, a1 - facts[4, p]), np.float32(0))
        out2 = max(max(facts[5, p] - a2, a2 - facts[6, p]), np.float32(0))
        above = max(squared - 2 * product[p] + facts[0, p] - a1 * a1 - a2 * a2, np.float32(0))
        clear = max(np.sqrt(above) - facts[7, p], np.float32(0))
        bounds[p] = out1 * out1 + out2 * out2 + clear * clear
    lowest = bounds[0]
    for p in range(n_patches):
        lowest = min(lowest, bounds[p])
    return lowest


@numba.njit(nogil=True, cache=True)
def _keep_lowest(scores, p, lowest, best):
    """Enter a patch's scores into the three lowest so far; best holds (score, patch, lane) three times."""
    address = scores.ctypes.data
    taken = 0
    first_lane = second_lane = third_lane = 0
    first = second = third = np.float32(0)
    while lowest < best[2, 0]:
        lane = find_lane(address, lowest)
        k = 2
        while k > 0 and lowest < best[k - 1, 0]:
            best[k, 0], best[k, 1], best[k, 2] = best[k - 1, 0], best[k - 1, 1], best[k - 1, 2]
            k -= 1
        best[k, 0], best[k, 1], best[k, 2] = lowest, p, lane
        # Hide the lane to see the next; it is put back below, for the settling.
        if taken == 0:
            first_lane, first = lane, lowest
        elif taken == 1:
            second_lane, second = lane, lowest
        else:
            third_lane, third = lane, lowest
        taken += 1
        scores[lane] = FAR
        if taken == 3:
            break
        lowest = lowest_lane(address)
    # The last first: where a patch runs out of nodes, a lane hidden before has been taken again.
    if taken > 2:
        scores[third_lane] = third
    if taken > 1:
        scores[second_lane] = second
    if taken > 0:
        scores[first_lane] = first


@numba.njit(nogil=True, cache=True)
def _settle(x, patched, scores, visited, n_visited, limit):
    """Best and second best by the plain float64 rule among the nodes whose score is within the limit."""
    codebook, nodes = patched.codebook, patched.nodes
    bmu = second = np.int64(-1)
    # As they are; and scaled only where squares overflow or vanish.
    for factor in (1.0, patched.scale):
        bmu = second = np.int64(-1)
        least = next_least = np.inf
        for k in range(n_visited):
            for lane in range(LANES):
                node = nodes[visited[k], lane]
                if node < 0 or scores[k, lane] > limit:
                    continue
                squared = 0.0
                for j in range(codebook.shape[1]):
                    difference = (x[j] - codebook[node, j]) * factor
                    squared += difference * difference
                if squared < least or (squared == least and node < bmu) or bmu < 0:
                    next_least, second = least, bmu
                    least, bmu = squared, node
                elif squared < next_least or (squared == next_least and node < second) or second < 0:
                    next_least, second = squared, node
        if LEAST_SQUARE < next_least < np.inf:
            break
    return bmu, second


@numba.njit(nogil=True, cache=True)
def _search_pruned(rows, patched, gamma, need_second, certify, memory, bmus, seconds):
    """Search patch by patch, the nearest first; returns how many patches were scored."""
    nodes, lower, scores, visited, best = patched.nodes, memory.lower, memory.scores, memory.visited, memory.best[0]
    n_patches, padded, n_frames = len(nodes), memory.shifted.shape[1], patched.facts.shape[1]
    weights_at, halves_at = patched.weights.ctypes.data, patched.half_norms.ctypes.data
    scores_at, lower_at = scores.ctypes.data, lower.ctypes.data
    row, step = 4 * LANES, 4 * LANES * padded  # bytes of 64 lanes, and of a patch
    scored = 0
    target = 1 if need_second else 0
    for i in range(len(rows)):
        bound, squared = memory.bounds[i], memory.squared_norms[i]
        if bound < 0:
            _settle_all(rows[i], patched, memory, i, bmus, seconds)
            scored += n_patches
            continue
        at_x = memory.shifted[i].ctypes.data
        best[:, 0] = np.inf
        lowest = _lower_bounds(np.float32(squared), memory.product[i], patched.facts, n_frames, lower)
        first = 0
        for start in range(0, len(lower), LANES):
            lane = find_lane(lower_at + 4 * start, lowest)
            if lane < LANES:
                first = start + lane
                break
        lower[first] = FAR
        visited[0] = first
        n_visited = 1
        lowest = score_lanes(at_x, padded, weights_at + first * step, halves_at + first * row, scores_at)
        _keep_lowest(scores[0], first, lowest, best)
        size = math.sqrt(squared) + patched.radius
        room = squared + 2 * bound + 16 * gamma * size * size
        cut = 2 * best[target, 0] + room
        # The patches that may matter, nearest first while they are few: each one scored lowers the cut.
        n_near = 1
        for start in range(0, len(lower), LANES):
            # A cut rounded up: float32 may round it down, and the comparison is in float32.
            mask = lanes_within(lower_at + 4 * start, np.float32(min(cut * (1 + 1e-6), FAR / 2)))
            while mask != 0:
                p = start + first_bit(mask)
                mask &= mask - np.uint64(1)
                k = n_near
                if n_near <= 32:
                    while k > 1 and lower[visited[k - 1]] > lower[p]:
                        visited[k] = visited[k - 1]
                        k -= 1
                visited[k] = p
                n_near += 1
        for k in range(1, n_near):
            p = visited[k]
            if lower[p] <= cut:
                visited[n_visited] = p
                at = scores_at + n_visited * row
                lowest = score_lanes(at_x, padded, weights_at + p * step, halves_at + p * row, at)
                n_visited += 1
                if lowest < best[2, 0]:
                    _keep_lowest(scores[n_visited - 1], p, lowest, best)
                    cut = 2 * best[target, 0] + room
        scored += n_visited
        certain = _decide(nodes, best, bound, need_second, certify, i, bmus, seconds)
        if not certain:
            limit = best[target, 0] + 2 * bound
            bmus[i], seconds[i] = _settle(rows[i], patched, scores, visited, n_visited, limit)
    return scored


@numba.njit(nogil=True, cache=True)
def _search_all(rows, patched, need_second, certify, memory, bmus, seconds):
    """Search every patch: each is taken to all the rows while it is in the cache."""
    nodes, scores, best = patched.nodes, memory.scores, memory.best
    n_patches, padded, n = len(nodes), memory.shifted.shape[1], len(rows)
    weights_at, halves_at, scores_at = patched.weights.ctypes.data, patched.half_norms.ctypes.data, scores.ctypes.data
    row, step = 4 * LANES, 4 * LANES * padded
    four = np.empty((4, LANES), dtype=np.float32)
    four_lowest = np.empty(4, dtype=np.float32)
    four_at, lowest_at = four.ctypes.data, four_lowest.ctypes.data
    best[:n, :, 0] = np.inf
    for p in range(n_patches):
        at_w, at_h = weights_at + p * step, halves_at + p * row
        for i in range(0, n, 4):  # the rows of `shifted` are a multiple of 4: those beyond n are not looked at
            score_four(memory.shifted[i].ctypes.data, padded, at_w, at_h, four_at, LANES, lowest_at)
            for k in range(min(4, n - i)):
                if four_lowest[k] < best[i + k, 2, 0]:
                    _keep_lowest(four[k], p, four_lowest[k], best[i + k])
    target = 1 if need_second else 0
    for i in range(n):
        bound = memory.bounds[i]
        if bound < 0:
            _settle_all(rows[i], patched, memory, i, bmus, seconds)
        elif not _decide(nodes, best[i], bound, need_second, certify, i, bmus, seconds):
            for p in range(n_patches):
                memory.visited[p] = p
                at = scores_at + p * row
                score_lanes(memory.shifted[i].ctypes.data, padded, weights_at + p * step, halves_at + p * row, at)
            # Four samples together may be added up in another order than one: the limit allows for both.
            limit = best[i, target, 0] + 4 * bound
            bmus[i], seconds[i] = _settle(rows[i], patched, scores, memory.visited, n_patches, limit)


@numba.njit(nogil=True, cache=True)
def _decide(nodes, best, bound, need_second, certify, i, bmus, seconds):
    """Enter the two winners; returns whether the error bound leaves no other choice."""
    bmus[i] = nodes[np.int64(best[0, 1]), np.int64(best[0, 2])]
    seconds[i] = nodes[np.int64(best[1, 1]), np.int64(best[1, 2])]
    certain = best[1, 0] - best[0, 0] > 2 * bound
    if need_second:
        certain = certain and best[2, 0] - best[1, 0] > 2 * bound
    return certain or not certify


@numba.njit(nogil=True, cache=True)
def _settle_all(x, patched, memory, i, bmus, seconds):
    """Settle a sample that float32 can't hold, among all nodes."""
    n_patches = len(patched.nodes)
    for p in range(n_patches):
        memory.visited[p] = p
        memory.scores[p] = 0
    bmus[i], seconds[i] = _settle(x, patched, memory.scores, memory.visited, n_patches, np.inf)


@numba.njit(nogil=True, cache=True)
def _search_rows(rows, patched, gamma, prune, need_second, certify, memory, bmus, seconds):
    """Search any number of rows, a strip at a time; returns how many patches were scored."""
    scored = 0
    strip = len(memory.shifted)
    for start in range(0, len(rows), strip):
        some = rows[start : start + strip]
        _shift(some, patched, gamma, memory)
        if prune:
            _project(len(some), patched, memory)
            scored += _search_pruned(
                some, patched, gamma, need_second, certify, memory, bmus[start:], seconds[start:]
            )
        else:
            _search_all(some, patched, need_second, certify, memory, bmus[start:], seconds[start:])
    return scored


class Search:
    """Searches samples against one codebook, choosing the way by what the first of them show.

    The result never depends on the way. Not to be shared between threads: it owns its working memory.

    Parameters
    ----------
    patched : PatchedCodebook
    need_second : bool
        Without it the second best matching units are not certified.
    certify : bool
        Settle what float32 leaves open by the float64 rule; without it a near-tie may go either way.
    """

    def __init__(self, patched: PatchedCodebook, *, need_second: bool = True, certify: bool = True) -> None:
        self.patched, self.need_second, self.certify = patched, need_second, certify
        n_patches, padded, chunks = len(patched.nodes), patched.weights.shape[1], len(patched.frame)
        terms = patched.codebook.shape[1] + 8
        self.gamma = terms * UNIT_ROUNDOFF_32 / (1 - terms * UNIT_ROUNDOFF_32)
        self.prune = self.undecided = n_patches > 1
        self.memory = _Memory(
            shifted=np.zeros((STRIP_ROWS, padded), dtype=np.float32),
            squared_norms=np.empty(STRIP_ROWS),
            bounds=np.empty(STRIP_ROWS),
            product=np.empty((STRIP_ROWS, chunks * LANES), dtype=np.float32),
            lower=np.full(-(-patched.facts.shape[1] // LANES) * LANES, FAR),
            scores=np.empty((n_patches, LANES), dtype=np.float32),
            visited=np.empty(n_patches, dtype=np.int64),
            best=np.zeros((STRIP_ROWS, 3, 3)),
        )

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Best and second best matching units of samples, (n, D) float64: two (n,) int64."""
        n = len(rows)
        bmus, seconds = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        if len(self.patched.codebook) > 1:
            start = 0
            if self.undecided and n:
                start = min(FIRST_ROWS, n)
                scored = self._search(rows[:start], bmus[:start], seconds[:start])
                self.undecided = False
                self.prune = scored < WORTHWHILE * start * len(self.patched.nodes)
            self._search(rows[start:], bmus[start:], seconds[start:])
        return bmus, seconds

    def _search(self, rows: np.ndarray, bmus: np.ndarray, seconds: np.ndarray) -> int:
        return _search_rows(
            rows, self.patched, self.gamma, self.prune, self.need_second, self.certify, self.memory, bmus, seconds
        )
