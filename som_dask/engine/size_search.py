"""The search for best matching units by sizes of differences, as the Manhattan distance has them."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numba
import numpy as np

from som_dask.engine.error_bound import UNIT_ROUNDOFF_64
from som_dask.engine.patches import PatchedCodebook

__all__ = ["SizeSearch"]


@numba.njit(nogil=True, cache=True)
def _search_rows(rows, codebook, nodes, low, high, shrink, need_second, bmus, seconds):
    """Search rows patch by patch, the nearest patch first, and pass over those that hold no nearer node."""
    n_patches, n_features = nodes.shape[0], codebook.shape[1]
    bounds = np.empty(n_patches)
    for i in range(len(rows)):
        nearest = 0
        for p in range(n_patches):
            bound = 0.0
            for j in range(n_features):
                x = rows[i, j]
                outside = max(max(low[p, j] - x, x - high[p, j]), 0.0) if x == x else 0.0
                bound += outside
            bounds[p] = bound * shrink
            nearest = p if bounds[p] < bounds[nearest] else nearest
        bmu = second = np.int64(-1)
        least = next_least = np.inf
        for turn in range(-1, n_patches):
            p = nearest if turn < 0 else turn
            if turn == nearest or bounds[p] > (next_least if need_second else least):
                continue
            for lane in range(nodes.shape[1]):
                node = nodes[p, lane]
                if node < 0:
                    break
                total = 0.0
                for j in range(n_features):
                    difference = rows[i, j] - codebook[node, j]
                    total += abs(difference) if difference == difference else 0.0
                if total < least or (total == least and node < bmu) or bmu < 0:
                    next_least, second = least, bmu
                    least, bmu = total, node
                elif total < next_least or (total == next_least and node < second) or second < 0:
                    next_least, second = total, node
        bmus[i] = bmu
        seconds[i] = second if second >= 0 else bmu


class SizeSearch:
    r"""Searches samples for the nodes of the least ``sum_j |x_j - w_ij|``, over the features that they know.

    All is computed in float64, features added in order; the lowest index wins ties. A patch of the map is passed over
    where no node of it can be nearer: ``sum_j max(low_j - x_j, x_j - high_j, 0)`` with the box that holds its nodes.
    Each of these terms is no more than the true size, rounded once, and sums of D such terms are within D + 1
    roundings of the exact ones, so the bound is lowered by twice that.

    Parameters
    ----------
    patched : PatchedCodebook
    need_second : bool
        Without it the second best matching units are not certain.
    certify : bool
        There is nothing to certify: no step is in float32.
    """

    def __init__(self, patched: PatchedCodebook, *, need_second: bool = True, certify: bool = True) -> None:
        self.patched, self.need_second = patched, need_second
        inside = (patched.nodes >= 0)[:, :, None]
        weights = patched.codebook[np.maximum(patched.nodes, 0)]
        self.low = np.ascontiguousarray(np.where(inside, weights, np.inf).min(axis=1))
        self.high = np.ascontiguousarray(np.where(inside, weights, -np.inf).max(axis=1))
        self.shrink = 1 - 4 * (patched.codebook.shape[1] + 1) * UNIT_ROUNDOFF_64

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Best and second best matching units of samples, (n, D) float64: two (n,) int64."""
        bmus, seconds = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.int64)
        patched = self.patched
        _search_rows(
            rows, patched.codebook, patched.nodes, self.low, self.high, self.shrink, self.need_second, bmus, seconds
        )
        return bmus, seconds
