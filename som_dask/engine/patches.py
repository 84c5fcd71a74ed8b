"""Patches: a codebook cut into squares of neighboring nodes, each with a box that holds it."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numba
import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.lanes import LANES
from som_dask.engine.sample_lanes import AT_ONCE
from som_dask.engine.shifted import FAR, shift_codebook

__all__ = ["VECTOR", "PatchedCodebook", "cut_into_patches", "orthonormalize"]

VECTOR = 16  # patches whose bounds are computed together
A_PATCH = 8  # what a patch costs beside its nodes, in nodes


class PatchedCodebook(NamedTuple):
    """A codebook cut into patches of at most 64 neighboring nodes; made by `cut_into_patches`.

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
    counts : (P,) int64
        Number of nodes, rounded up to a multiple of 8; the lanes beyond are without nodes.
    frame : (C, D4, 64) float32
        Twice the patches' centers c, then the negatives of the first and of the second directions t of their
        planes, each of the three over F places, where F is P rounded up to a multiple of 16; cut into C times 64
        lanes.
    frame_offsets : (C, 64) float32
        So that ``offset - x . frame`` is ``|c|^2 - 2 x . c``, or ``t . (x - c)``; `FAR` where there is no patch.
    box : (5, F) float32
        Low and high end of the patch in both directions, seen from its center; its thickness.
    """

    codebook: np.ndarray
    center: np.ndarray
    scale: float
    radius: float
    nodes: np.ndarray
    weights: np.ndarray
    half_norms: np.ndarray
    counts: np.ndarray
    frame: np.ndarray
    frame_offsets: np.ndarray
    box: np.ndarray


def cut_into_patches(codebook: np.ndarray, lattice: Lattice) -> PatchedCodebook:
    """Cut a codebook, (M, D) float64 and finite, into patches.

    Neighboring nodes have similar weights, so the nodes w of a patch lie near a plane through their mean c,
    spanned by the directions in which the patch extends. With T (2, D) an orthonormal basis of it, each patch
    stores the box that holds all ``T (w - c)`` and its thickness, the largest distance of a w from the plane.
    """
    shifted = shift_codebook(codebook)
    nodes = _patch_nodes(lattice)
    n_patches, n_features = len(nodes), shifted.codebook.shape[1]
    padded = -(-n_features // 4) * 4
    weights = np.zeros((n_patches, padded, LANES), dtype=np.float32)
    half_norms = np.full((n_patches, LANES), FAR, dtype=np.float32)
    frames = -(-n_patches // VECTOR) * VECTOR  # whole vectors; those of no patch are far
    frame = np.zeros((padded, 3, frames), dtype=np.float32)
    offsets = np.zeros((1, 3, frames), dtype=np.float32)
    offsets[:, 0] = FAR
    box = np.zeros((5, frames), dtype=np.float32)
    _fill_patches(shifted.shifted, nodes, lattice.cols, weights, half_norms, frame, offsets[0], box)
    frame, offsets = (_in_lanes(table.reshape(len(table), -1)) for table in (frame, offsets))
    return PatchedCodebook(
        shifted.codebook, shifted.center, shifted.scale, shifted.radius, nodes, weights, half_norms,
        _rounded_up(np.count_nonzero(nodes >= 0, axis=1)), frame, offsets[:, 0], box,
    )  # fmt: skip


def _in_lanes(table: np.ndarray) -> np.ndarray:
    """(D4, K) as (C, D4, 64): what `som_dask.engine.lanes.score_four` takes."""
    chunks = -(-table.shape[1] // LANES)
    padded = np.zeros((len(table), chunks * LANES), dtype=np.float32)
    padded[:, : table.shape[1]] = table
    return np.ascontiguousarray(padded.reshape(len(table), chunks, LANES).transpose(1, 0, 2))


def _rounded_up(counts: np.ndarray) -> np.ndarray:
    return -(-counts // AT_ONCE) * AT_ONCE


@functools.lru_cache(maxsize=8)  # each epoch asks for it
def _patch_nodes(lattice: Lattice) -> np.ndarray:
    """Cut the lattice into rectangles of at most 64 nodes: (P, 64) flat indices."""
    height, width = _size_of_patch(lattice.rows, lattice.cols)
    patches = []
    for top in range(0, lattice.rows, height):
        for left in range(0, lattice.cols, width):
            row, col = np.mgrid[top : min(top + height, lattice.rows), left : min(left + width, lattice.cols)]
            inside = (row * lattice.cols + col).ravel()
            patches.append(np.concatenate([inside, np.full(LANES - len(inside), -1)]))
    return np.array(patches, dtype=np.int64)


def _size_of_patch(rows: int, cols: int) -> tuple[int, int]:
    """Rows and columns of a patch: near square, few patches, few lanes without nodes."""

    def cost(height: int) -> tuple[float, float]:
        width = min(LANES // height, cols)
        heights, widths = _pieces(rows, height), _pieces(cols, width)
        lanes = _rounded_up(np.outer(heights, widths)).sum()
        return lanes + A_PATCH * len(heights) * len(widths), abs(math.log(height / width))

    square = min(8, cols)
    least = min(max(square // 2 + 1, LANES // min(2 * square, cols)), rows)
    height = min(range(least, min(LANES // (square // 2 + 1), rows) + 1), key=cost)
    return height, min(LANES // height, cols)


def _pieces(length: int, size: int) -> np.ndarray:
    """Lengths of the pieces of a side that is cut."""
    return np.minimum(size, length - np.arange(0, length, size))


@numba.njit(nogil=True, cache=True)
def _fill_patches(
    shifted: np.ndarray,
    nodes: np.ndarray,
    cols: int,
    weights: np.ndarray,
    half_norms: np.ndarray,
    frame: np.ndarray,
    offsets: np.ndarray,
    box: np.ndarray,
) -> None:
    n_patches, n_features = len(nodes), shifted.shape[1]
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
        orthonormalize(first, second)
        squared = t1 = t2 = 0.0
        for j in range(n_features):
            frame[j, 0, p], frame[j, 1, p], frame[j, 2, p] = 2 * middle[j], -first[j], -second[j]
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
        offsets[0, p], offsets[1, p], offsets[2, p] = squared, -t1, -t2
        box[0, p], box[1, p], box[2, p], box[3, p] = low1, high1, low2, high2
        box[4, p] = math.sqrt(thickness)


@numba.njit(nogil=True, cache=True)
def orthonormalize(first: np.ndarray, second: np.ndarray) -> None:
    """Make two vectors orthonormal in place, or zero where there is no such direction.

    The bounds of patches hold for any result.
    """
    norm = math.sqrt(np.sum(first * first))
    first *= 1 / norm if norm > 1e-150 else 0.0
    before = math.sqrt(np.sum(second * second))
    for _ in range(2):  # twice is enough (Parlett): once can leave a part of the first
        second -= np.sum(first * second) * first
    norm = math.sqrt(np.sum(second * second))
    second *= 1 / norm if norm > 1e-6 * before and norm > 1e-150 else 0.0
