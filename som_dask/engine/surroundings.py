"""Cells of a map with the nodes around them: where samples most likely find their node, if they know an old one."""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.error_bound import gamma_of
from som_dask.engine.lanes import LANES, score_lanes
from som_dask.engine.patches import PatchedCodebook, orthonormalize
from som_dask.engine.pruned_search import bound_patches_of, shift_rows
from som_dask.engine.sample_boxes import BOX, DIRECTIONS
from som_dask.engine.strips import memory_for

__all__ = ["SIDE", "Surroundings", "surround"]

SIDE = 8  # of the surroundings, in nodes: 64 lanes
CELL = 4  # sides of a cell, which lies in their middle
RING = 4  # width of what lies around them and is bounded box by box
UNIT = 2  # sides of the boxes of the ring
WIDE = 4.0  # times the squared distance that is clear: what is so far away need not be known better
NOWHERE = np.float32(1e15)  # where a box lies that there is not


class Surroundings(NamedTuple):
    """Q cells of 4 x 4 nodes, each with the 8 x 8 nodes around it; made by `surround`.

    All vectors are shifted and scaled as those of the `PatchedCodebook` that they are made of. At the edges of the
    map, and on cylinders and tori, the surroundings are those 8 x 8 nodes that are nearest by index.

    Attributes
    ----------
    cells : (M,) int64
        The cell that each node is of.
    nodes : (Q, 64) int64
        The surroundings, flat indices of nodes.
    weights : (Q, D4, 64) float32
    half_norms : (Q, 64) float32
        ``|w|^2 / 2``.
    clear : (2, M) float64
        At least so far from each node are all nodes outside of the surroundings of its cell, and all those outside
        of them and the ring of 4 nodes around them.
    frame : (Q, D4, 3) float32
        Twice the mean c of the surroundings, and the negatives of both directions t of their plane.
    frame_offsets : (Q, 3) float32
        ``|c|^2`` and both ``-t . c``.
    boxes : (Q, U, 6) float32
        What holds the nodes of the ring, 2 x 2 together, seen from c: see `som_dask.engine.sample_boxes.bound_boxes`.
    """

    cells: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray
    half_norms: np.ndarray
    clear: np.ndarray
    frame: np.ndarray
    frame_offsets: np.ndarray
    boxes: np.ndarray


def surround(patched: PatchedCodebook, lattice: Lattice) -> Surroundings | None:
    """Cut a codebook into cells with their surroundings; None for maps that are too small.

    It takes the time of searching some ten samples for each node.
    """
    rows, cols = lattice.rows, lattice.cols
    if min(rows, cols) < SIDE:
        return None
    tops, lefts = _starts(rows), _starts(cols)
    row, col = np.divmod(np.arange(lattice.n_nodes), cols)
    cells = (row // CELL) * len(lefts) + col // CELL
    corners = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
    inside = np.add.outer(np.arange(SIDE) * cols, np.arange(SIDE)).ravel()
    nodes = corners[:, :1] * cols + corners[:, 1:] + inside
    n_cells, n_features, padded = len(nodes), patched.codebook.shape[1], patched.weights.shape[1]
    shifted = (patched.codebook - patched.center) * patched.scale
    weights = np.zeros((n_cells, padded, LANES), dtype=np.float32)
    weights[:, :n_features] = shifted[nodes].transpose(0, 2, 1)
    half_norms = (np.sum(shifted * shifted, axis=1) / 2).astype(np.float32)[nodes]
    clear = np.full((2, lattice.n_nodes), math.inf)
    places = np.stack(np.divmod(np.maximum(patched.nodes, 0), cols)).astype(np.int32)
    _clear(patched, gamma_of(n_features + 1), corners[cells].astype(np.int32), places, memory_for(patched), clear)
    units = ((SIDE + 2 * RING) // UNIT + 1) ** 2
    frame = np.zeros((n_cells, padded, DIRECTIONS), dtype=np.float32)
    offsets = np.zeros((n_cells, DIRECTIONS), dtype=np.float32)
    boxes = np.full((n_cells, units, BOX), NOWHERE, dtype=np.float32)
    filled = _fill_boxes(shifted, corners, rows, cols, frame, offsets, boxes)
    return Surroundings(
        cells, nodes, weights, half_norms, clear, frame, offsets, np.ascontiguousarray(boxes[:, :filled])
    )


def _starts(length: int) -> np.ndarray:
    """Where the surroundings of the cells begin along a side."""
    return np.clip(np.arange(0, length, CELL) - (SIDE - CELL) // 2, 0, length - SIDE)


@numba.njit(nogil=True, cache=True)
def _clear(patched, gamma, corners, places, memory, clear):
    """Bound how far nodes are from those outside, by searching for them as for samples: fill `clear`.

    `places` (2, P, 64) int32 has the row and the column of the node in each lane of each patch.
    """
    n_nodes, n_patches, strip = len(corners), len(patched.nodes), len(memory.shifted)
    scores = memory.scores[0]
    for start in range(0, n_nodes, strip):
        some = patched.codebook[start : start + strip]
        shift_rows(some, patched, False, gamma, memory)
        bound_patches_of(len(some), patched, memory)
        for i in range(len(some)):
            top, left = corners[start + i]
            nearest, shift = memory.first[i], memory.offsets[i] - memory.bounds[i]
            near = far = np.inf
            for turn in range(-1, n_patches):
                p = nearest if turn < 0 else turn
                lower = np.float64(memory.lower[i, p]) * (1 - 1e-6) - memory.rooms[i]
                if turn == nearest or (lower >= near and lower >= far):
                    continue
                if lower >= WIDE * near:  # far enough, and sooner had
                    far = min(far, lower)
                    continue
                lowest = score_lanes(
                    memory.shifted[i].ctypes.data, patched.weights.shape[1], patched.weights[p].ctypes.data,
                    patched.half_norms[p].ctypes.data, scores.ctypes.data,
                )  # fmt: skip
                if 2 * (lowest + shift) >= max(near, far):
                    continue
                for lane in range(LANES):
                    row, col = places[0, p, lane], places[1, p, lane]
                    # How many rows or columns it is outside; lanes without nodes are far.
                    out = max(max(top - row, row - (top + SIDE - 1)), max(left - col, col - (left + SIDE - 1)))
                    squared = 2 * (np.float64(scores[lane]) + shift)
                    near = min(near, squared) if out > 0 else near
                    far = min(far, squared) if out > RING else far
            clear[0, start + i] = math.sqrt(max(near, 0.0)) * (1 - 1e-12)
            clear[1, start + i] = math.sqrt(max(far, 0.0)) * (1 - 1e-12)


@numba.njit(nogil=True, cache=True)
def _fill_boxes(shifted, corners, rows, cols, frame, offsets, boxes):
    """Fill in the frames of all cells, and the boxes of their rings; returns the largest number of boxes."""
    n_features, most = shifted.shape[1], 0
    middle, first, second = np.empty(n_features), np.empty(n_features), np.empty(n_features)
    for q in range(len(corners)):
        top, left = corners[q]
        middle[:], first[:], second[:] = 0.0, 0.0, 0.0
        for r in range(SIDE):
            for c in range(SIDE):
                w = shifted[(top + r) * cols + left + c]
                for j in range(n_features):
                    middle[j] += w[j] / (SIDE * SIDE)
                    first[j] += w[j] * (c - (SIDE - 1) / 2)
                    second[j] += w[j] * (r - (SIDE - 1) / 2)
        orthonormalize(first, second)
        squared = t1 = t2 = 0.0
        for j in range(n_features):
            frame[q, j, 0], frame[q, j, 1], frame[q, j, 2] = 2 * middle[j], -first[j], -second[j]
            squared += middle[j] ** 2
            t1 += first[j] * middle[j]
            t2 += second[j] * middle[j]
        offsets[q, 0], offsets[q, 1], offsets[q, 2] = squared, -t1, -t2
        place = 0
        row_end, col_end = min(top + SIDE + RING, rows), min(left + SIDE + RING, cols)
        for r0 in range(max(top - RING, 0) // UNIT * UNIT, row_end, UNIT):
            for c0 in range(max(left - RING, 0) // UNIT * UNIT, col_end, UNIT):
                used = False
                ends = np.array([np.inf, -np.inf, np.inf, -np.inf, np.inf, -np.inf])
                for r in range(r0, min(r0 + UNIT, rows)):
                    for c in range(c0, min(c0 + UNIT, cols)):
                        if top <= r < top + SIDE and left <= c < left + SIDE:
                            continue
                        used = True
                        w = shifted[r * cols + c]
                        q1 = q2 = rest = 0.0
                        for j in range(n_features):
                            q1 += first[j] * (w[j] - middle[j])
                            q2 += second[j] * (w[j] - middle[j])
                        for j in range(n_features):
                            rest += (w[j] - middle[j] - q1 * first[j] - q2 * second[j]) ** 2
                        for k, value in enumerate((q1, q2, math.sqrt(rest))):
                            ends[2 * k] = min(ends[2 * k], value)
                            ends[2 * k + 1] = max(ends[2 * k + 1], value)
                if used:
                    boxes[q, place] = ends
                    place += 1
        most = max(most, place)
    return most
