"""The search for best matching units on a CPU: whole patches of the map are passed over by a proven bound."""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numba
import numpy as np

from som_dask.lanes import LANES, find_lane, first_bit, lanes_within, lowest_lane, score_four, score_lanes
from som_dask.lattice import Lattice

__all__ = ["TILE_ROWS", "PatchedCodebook", "TileSearch", "add_tile", "distances", "patch", "plain_tile"]

FAR = np.float32(1e38)  # score of a lane without a node: above every real one
LARGEST_NORM = 1e15  # of a scaled sample: beyond it a float32 square might overflow
VECTOR = 16  # patches whose bounds are computed together
LEAST_SQUARE = 1e-280  # below it a sum of squares may have lost digits to underflow
UNIT_ROUNDOFF_32, UNIT_ROUNDOFF_64 = 2.0**-24, 2.0**-53

# Reordering, fusing and vectorizing are allowed where only a proposal is computed: its error bound holds for any
# order. Everything that decides is compiled without.
PROPOSAL = {"reassoc", "contract", "nnan", "nsz"}


@dataclass(frozen=True)
class PatchedCodebook:
    """A codebook cut into patches of at most 64 neighboring nodes; built by `patch`.

    All vectors are shifted by the codebook's mean and scaled by a power of two.

    Attributes
    ----------
    codebook : (M, D) float64
        As it is.
    center : (D,) float64
    scale : float
    radius : float
        R, the largest norm of a shifted, scaled node.
    nodes : (P, 64) int64
        Flat index of the node in each lane of each patch, -1 where there is none.
    weights : (P, D4, 64) float32
        The nodes, features first; D4 is D rounded up to a multiple of 4, the rest is zero.
    half_norms : (P, 64) float32
        ``|w|^2 / 2``, `FAR` where there is no node.
    frame : (D4, 3 F) float32
        Centers of the patches, first and second directions of their planes; F is P rounded up to a multiple of
        16.
    facts : (8, F) float32
        |center|^2; the center along both directions; low and high ends of the patch in both; its thickness.
    """

    codebook: np.ndarray
    center: np.ndarray
    scale: float
    radius: float
    nodes: np.ndarray
    weights: np.ndarray
    half_norms: np.ndarray
    frame: np.ndarray
    facts: np.ndarray


def patch(codebook: np.ndarray, lattice: Lattice) -> PatchedCodebook:
    """Cut a codebook, (M, D) float64 and finite, into patches.

    Neighboring nodes have similar weights, so the nodes w of a patch lie near a plane through their mean c,
    spanned by the directions in which the patch extends. With T (2, D) an orthonormal basis of it, each patch
    stores the box that holds all ``T (w - c)`` and its thickness, the largest distance of a w from the plane.
    """
    codebook = np.array(codebook, dtype=np.float64, order="C")
    center = codebook.mean(axis=0)
    shifted = codebook - center
    largest = float(np.abs(shifted).max(initial=0.0))
    scale = 2.0 ** -min(max(math.frexp(largest)[1], -1000), 1000) if largest > 0 else 1.0
    shifted *= scale
    nodes = _patch_nodes(lattice)
    n_patches, n_features = len(nodes), codebook.shape[1]
    padded = -(-n_features // 4) * 4
    weights = np.zeros((n_patches, padded, LANES), dtype=np.float32)
    half_norms = np.full((n_patches, LANES), FAR, dtype=np.float32)
    frames = -(-n_patches // VECTOR) * VECTOR  # whole vectors; those of no patch are far
    frame = np.zeros((padded, 3 * frames), dtype=np.float32)
    facts = np.zeros((8, frames), dtype=np.float32)
    facts[0] = FAR
    largest_norm = _fill_patches(shifted, nodes, lattice.cols, weights, half_norms, frame, facts)
    return PatchedCodebook(codebook, center, scale, math.sqrt(largest_norm), nodes, weights, half_norms, frame, facts)


@functools.lru_cache(maxsize=8)  # each block of samples asks for it
def _patch_nodes(lattice: Lattice) -> np.ndarray:
    """Cut the lattice into rectangles of at most 64 nodes, as square as it allows: (P, 64) flat indices."""
    height = min(8, lattice.rows)
    width = min(LANES // height, lattice.cols)
    height = min(LANES // width, lattice.rows)
    patches = []
    for top in range(0, lattice.rows, height):
        for left in range(0, lattice.cols, width):
            row, col = np.mgrid[top : min(top + height, lattice.rows), left : min(left + width, lattice.cols)]
            inside = (row * lattice.cols + col).ravel()
            patches.append(np.concatenate([inside, np.full(LANES - len(inside), -1)]))
    return np.array(patches, dtype=np.int64)


@numba.njit(nogil=True, cache=True)
def _fill_patches(
    shifted: np.ndarray,
    nodes: np.ndarray,
    cols: int,
    weights: np.ndarray,
    half_norms: np.ndarray,
    frame: np.ndarray,
    facts: np.ndarray,
) -> float:
    n_patches, n_features = len(nodes), shifted.shape[1]
    largest = 0.0
    middle, first, second = np.empty(n_features), np.empty(n_features), np.empty(n_features)
    for p in range(n_patches):
        count = 0
        row_sum = col_sum = 0.0
        for lane in range(LANES):
            node = nodes[p, lane]
            if node < 0:
                break
            count += 1
            row_sum += node // cols
            col_sum += node % cols
            norm = 0.0
            for j in range(n_features):
                weights[p, j, lane] = shifted[node, j]
                norm += shifted[node, j] ** 2
            half_norms[p, lane] = norm / 2
            largest = max(largest, norm)
        # Center, and the plane: how weights change along the columns and along the rows.
        for j in range(n_features):
            total = along_col = along_row = 0.0
            for lane in range(count):
                node = nodes[p, lane]
                value = shifted[node, j]
                total += value
                along_col += value * (node % cols - col_sum / count)
                along_row += value * (node // cols - row_sum / count)
            middle[j], first[j], second[j] = total / count, along_col, along_row
        _orthonormalize(first, second)
        squared = t1 = t2 = 0.0
        for j in range(n_features):
            frame[j, p] = middle[j]
            frame[j, facts.shape[1] + p] = first[j]
            frame[j, 2 * facts.shape[1] + p] = second[j]
            squared += middle[j] ** 2
            t1 += first[j] * middle[j]
            t2 += second[j] * middle[j]
        low1 = low2 = np.inf
        high1 = high2 = -np.inf
        thickness = 0.0
        for lane in range(count):
            q1 = q2 = 0.0
            for j in range(n_features):
                delta = shifted[nodes[p, lane], j] - middle[j]
                q1 += first[j] * delta
                q2 += second[j] * delta
            rest = 0.0
            for j in range(n_features):
                delta = shifted[nodes[p, lane], j] - middle[j]
                rest += (delta - q1 * first[j] - q2 * second[j]) ** 2
            low1, high1 = min(low1, q1), max(high1, q1)
            low2, high2 = min(low2, q2), max(high2, q2)
            thickness = max(thickness, rest)
        facts[0, p], facts[1, p], facts[2, p] = squared, t1, t2
        facts[3, p], facts[4, p], facts[5, p], facts[6, p] = low1, high1, low2, high2
        facts[7, p] = math.sqrt(thickness)
    return largest


@numba.njit(nogil=True, cache=True)
def _orthonormalize(first: np.ndarray, second: np.ndarray) -> None:
    """Make two vectors orthonormal, or zero where there is no such direction; any result keeps the bound true."""
    norm = math.sqrt(np.sum(first * first))
    first *= 1 / norm if norm > 1e-150 else 0.0
    before = math.sqrt(np.sum(second * second))
    for _ in range(2):  # twice is enough (Parlett): once can leave a part of the first
        second -= np.sum(first * second) * first
    norm = math.sqrt(np.sum(second * second))
    second *= 1 / norm if norm > 1e-6 * before and norm > 1e-150 else 0.0


@numba.njit(nogil=True, cache=True)
def _shift_tile(tile, center, scale, gamma, radius, shifted, squared_norms, bounds):
    """Samples shifted and scaled, in float32, with their squared norms and error bounds; -1 where unsafe."""
    n_features = tile.shape[1]
    terms = n_features + 8
    for i in range(tile.shape[0]):
        squared = 0.0
        for j in range(n_features):
            value = (np.float64(tile[i, j]) - center[j]) * scale
            shifted[i, j] = value
            squared += value * value
        size = math.sqrt(squared) + radius
        squared_norms[i] = squared
        bounds[i] = gamma * radius * size + terms * UNIT_ROUNDOFF_64 * size * size
        if not squared < LARGEST_NORM**2:
            bounds[i] = -1.0
            for j in range(n_features):
                shifted[i, j] = 0.0


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
def _settle(x, codebook, scale, nodes, scores, patches, n_visited, limit):
    """Best and second best by the plain float64 rule among the nodes whose score is within the limit."""
    bmu = second = np.int64(-1)
    # As they are; and scaled only where squares overflow or vanish.
    for factor in (1.0, scale):
        bmu = second = np.int64(-1)
        least = next_least = np.inf
        for k in range(n_visited):
            for lane in range(LANES):
                node = nodes[patches[k], lane]
                if node < 0 or scores[k, lane] > limit:
                    continue
                squared = 0.0
                for j in range(codebook.shape[1]):
                    difference = (np.float64(x[j]) - codebook[node, j]) * factor
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
def _search_pruned(
    tile, codebook, scale, nodes, weights, half_norms, facts, shifted, squared_norms, bounds, product, slack_factor,
    radius, need_second, certify, bmus, seconds, lower, scores, patches, best,
):  # fmt: skip
    """Search a tile patch by patch, the nearest first; returns how many patches were scored."""
    n_patches, padded, n_frames = len(nodes), shifted.shape[1], facts.shape[1]
    weights_at, halves_at, scores_at = weights.ctypes.data, half_norms.ctypes.data, scores.ctypes.data
    lower_at = lower.ctypes.data
    row, step = 4 * LANES, 4 * LANES * padded  # bytes of 64 lanes, and of a patch
    scored = 0
    target = 1 if need_second else 0
    for i in range(len(tile)):
        bound, squared = bounds[i], squared_norms[i]
        if bound < 0:
            _settle_all(tile[i], codebook, scale, nodes, scores, patches, i, bmus, seconds)
            scored += n_patches
            continue
        at_x = shifted[i].ctypes.data
        best[:, 0] = np.inf
        lowest = _lower_bounds(np.float32(squared), product[i], facts, n_frames, lower)
        first = 0
        for start in range(0, len(lower), LANES):
            lane = find_lane(lower_at + 4 * start, lowest)
            if lane < LANES:
                first = start + lane
                break
        lower[first] = FAR
        patches[0] = first
        n_visited = 1
        lowest = score_lanes(at_x, padded, weights_at + first * step, halves_at + first * row, scores_at)
        _keep_lowest(scores[0], first, lowest, best)
        size = math.sqrt(squared) + radius
        room = squared + 2 * bound + slack_factor * size * size
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
                    while k > 1 and lower[patches[k - 1]] > lower[p]:
                        patches[k] = patches[k - 1]
                        k -= 1
                patches[k] = p
                n_near += 1
        for k in range(1, n_near):
            p = patches[k]
            if lower[p] <= cut:
                patches[n_visited] = p
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
            bmus[i], seconds[i] = _settle(tile[i], codebook, scale, nodes, scores, patches, n_visited, limit)
    return scored


@numba.njit(nogil=True, cache=True)
def _search_all(
    tile, codebook, scale, nodes, weights, half_norms, shifted, bounds, need_second, certify, bmus, seconds, scores,
    patches, best_of,
):  # fmt: skip
    """Search a tile against every patch: each patch is taken to the whole tile while it is in the cache."""
    n_patches, padded, n = len(nodes), shifted.shape[1], len(tile)
    weights_at, halves_at, scores_at = weights.ctypes.data, half_norms.ctypes.data, scores.ctypes.data
    row, step = 4 * LANES, 4 * LANES * padded
    four = np.empty((4, LANES), dtype=np.float32)
    four_lowest = np.empty(4, dtype=np.float32)
    four_at, lowest_at = four.ctypes.data, four_lowest.ctypes.data
    best_of[:n, :, 0] = np.inf
    for p in range(n_patches):
        at_w, at_h = weights_at + p * step, halves_at + p * row
        for i in range(0, n, 4):  # the rows of `shifted` are a multiple of 4: those beyond n are not looked at
            score_four(shifted[i].ctypes.data, padded, at_w, at_h, four_at, lowest_at)
            for k in range(min(4, n - i)):
                if four_lowest[k] < best_of[i + k, 2, 0]:
                    _keep_lowest(four[k], p, four_lowest[k], best_of[i + k])
    target = 1 if need_second else 0
    for i in range(n):
        if bounds[i] < 0:
            _settle_all(tile[i], codebook, scale, nodes, scores, patches, i, bmus, seconds)
        elif not _decide(nodes, best_of[i], bounds[i], need_second, certify, i, bmus, seconds):
            for p in range(n_patches):
                patches[p] = p
                at = scores_at + p * row
                score_lanes(shifted[i].ctypes.data, padded, weights_at + p * step, halves_at + p * row, at)
            # Four samples together may be added up in another order than one: the limit allows for both.
            limit = best_of[i, target, 0] + 4 * bounds[i]
            bmus[i], seconds[i] = _settle(tile[i], codebook, scale, nodes, scores, patches, n_patches, limit)


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
def _settle_all(x, codebook, scale, nodes, scores, patches, i, bmus, seconds):
    """Settle a sample that float32 can't hold, among all nodes."""
    for p in range(len(nodes)):
        patches[p] = p
        scores[p] = 0
    bmus[i], seconds[i] = _settle(x, codebook, scale, nodes, scores, patches, len(nodes), np.inf)


TILE_ROWS = 1024


def plain_tile(tile: np.ndarray) -> np.ndarray:
    """A tile as its own float64 array: one kind of array, so that each kernel is compiled once."""
    return np.array(tile, dtype=np.float64, order="C")


WORTHWHILE = 0.45  # share of patches above which pruning costs more than it saves


class TileSearch:
    """Searches tile after tile against one codebook, choosing the way by what the first tile shows.

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
        n_patches, (padded, n_frames) = len(patched.nodes), patched.frame.shape
        terms = patched.codebook.shape[1] + 8
        self.gamma = terms * UNIT_ROUNDOFF_32 / (1 - terms * UNIT_ROUNDOFF_32)
        self.prune = self.undecided = n_patches > 1
        self.shifted = np.zeros((TILE_ROWS, padded), dtype=np.float32)
        self.squared_norms, self.bounds = np.empty(TILE_ROWS), np.empty(TILE_ROWS)
        self.product = np.empty((TILE_ROWS, n_frames), dtype=np.float32)
        # Bounds are looked at 64 at a time: those beyond the last patch stay far.
        self.lower = np.full(-(-n_frames // 3 // LANES) * LANES, FAR)
        self.scores = np.empty((n_patches, LANES), dtype=np.float32)
        self.patches = np.empty(n_patches, dtype=np.int64)
        self.best = np.zeros((TILE_ROWS, 3, 3))

    def __call__(self, tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Best and second best matching units of a tile, (n, D) with n at most `TILE_ROWS`: two (n,) int64."""
        n, way = len(tile), self.patched
        bmus, seconds = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        if len(way.codebook) == 1:
            return bmus, seconds
        _shift_tile(
            tile, way.center, way.scale, self.gamma, way.radius, self.shifted, self.squared_norms, self.bounds
        )
        if not self.prune:
            _search_all(
                tile, way.codebook, way.scale, way.nodes, way.weights, way.half_norms, self.shifted, self.bounds,
                self.need_second, self.certify, bmus, seconds, self.scores, self.patches, self.best,
            )  # fmt: skip
            return bmus, seconds
        np.matmul(self.shifted[:n], way.frame, out=self.product[:n])
        scored = _search_pruned(
            tile, way.codebook, way.scale, way.nodes, way.weights, way.half_norms, way.facts, self.shifted,
            self.squared_norms, self.bounds, self.product, 16 * self.gamma, way.radius, self.need_second,
            self.certify, bmus, seconds, self.lower, self.scores, self.patches, self.best[0],
        )  # fmt: skip
        if self.undecided:
            self.undecided = False
            self.prune = scored < WORTHWHILE * n * len(way.nodes)
        return bmus, seconds


@numba.njit(nogil=True, cache=True)
def _distance(x, w):
    """Euclidean distance in float64, features added in order."""
    squared = 0.0
    largest = 0.0
    for j in range(len(w)):
        difference = np.float64(x[j]) - w[j]
        squared += difference * difference
        largest = max(largest, abs(difference))
    if 1e-150 < largest < 1e150 or largest == 0:
        return math.sqrt(squared)
    squared = 0.0  # squares that overflow or vanish: once more, scaled
    for j in range(len(w)):
        difference = (np.float64(x[j]) - w[j]) / largest
        squared += difference * difference
    return math.sqrt(squared) * largest


@numba.njit(nogil=True, cache=True)
def distances(tile, bmu, codebook):
    """Euclidean distances of samples (n, D) to their nodes: (n,) float64."""
    result = np.empty(len(tile))
    for i in range(len(tile)):
        result[i] = _distance(tile[i], codebook[bmu[i]])
    return result


@numba.njit(nogil=True, cache=True)
def add_tile(tile, bmu, second, codebook, neighbors, sums, counts):
    """Add a tile to the sums (M, D) and counts (M,) of its nodes, in the order of its rows.

    Returns
    -------
    distance : float
        Sum of the distances to the best matching units.
    misses : int
        Samples whose two best matching units are not neighbors.
    """
    distance, misses = 0.0, 0
    for i in range(len(tile)):
        node = bmu[i]
        counts[node] += 1
        for j in range(tile.shape[1]):
            sums[node, j] += np.float64(tile[i, j])
        distance += _distance(tile[i], codebook[node])
        near = second[i] == node
        for k in range(neighbors.shape[1]):
            near = near or neighbors[node, k] == second[i]
        misses += not near
    return distance, misses
