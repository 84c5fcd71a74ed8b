"""The search for best matching units of samples that lack some of their features."""

# mypy: disable-error-code="no-untyped-def, call-arg"
from __future__ import annotations

import math

import numba
import numpy as np

from som_dask.engine.patches import FAR, PatchedCodebook
from som_dask.engine.pruned_search import Search
from som_dask.engine.strips import (
    LARGEST_NORM,
    UNIT_ROUNDOFF_64,
    decide,
    gamma_of,
    lowest_of,
    place_of,
    search_all,
    search_pruned,
)

__all__ = ["MaskedSearch"]


@numba.njit(nogil=True, cache=True)
def _shift(rows, patched, gamma, memory):
    """Shift and scale some samples, NaN where they lack a feature, with their squared norms and error bounds.

    With k_j = 1 where x_j is known and 0 elsewhere, ``sum_j k_j w_j^2 / 2 - sum_j k_j x_j w_j`` is half the squared
    distance over the known features, less what is the same for all nodes. It is one product of the vectors
    ``(k x, -k / 2)`` and ``(w, w^2)``, of 2 D terms; so it is off by at most ``gamma R (|x| + R / 2)``, now with
    gamma of 2 D + 4 roundings: as in `som_dask.engine.pruned_search`.
    """
    n_features = rows.shape[1]
    half = memory.shifted.shape[1] // 2
    terms = n_features + 8
    for i in range(rows.shape[0]):
        squared = 0.0
        for j in range(n_features):
            value = (rows[i, j] - patched.center[j]) * patched.scale
            known = value == value
            memory.shifted[i, j] = value if known else 0.0
            memory.shifted[i, half + j] = -0.5 if known else 0.0
            squared += value * value if known else 0.0
        size = math.sqrt(squared) + patched.radius
        memory.squared_norms[i] = squared
        bound = gamma * patched.radius * (size - patched.radius / 2) + terms * UNIT_ROUNDOFF_64 * size * size
        memory.bounds[i] = bound
        memory.rooms[i] = squared + 2 * bound + 32 * gamma * size * size
        if not squared < LARGEST_NORM**2:
            memory.bounds[i] = -1.0
            for j in range(2 * half):
                memory.shifted[i, j] = 0.0


@numba.njit(nogil=True, cache=True)
def _bound_patches(n, low, high, memory):
    """Lower bounds of all patches for some samples, and the nearest patch of each.

    No node of a patch is nearer than the box that holds it: ``sum_j k_j max(low_j - x_j, x_j - high_j, 0)^2``.
    """
    n_patches = low.shape[1]
    half = memory.shifted.shape[1] // 2
    nothing = np.float32(0.0)
    for i in range(n):
        lower = memory.lower[i]
        lower[:n_patches] = nothing
        lower[n_patches:] = FAR
        for j in range(half):
            if memory.shifted[i, half + j] != 0:
                x = memory.shifted[i, j]
                for p in range(n_patches):
                    outside = max(max(low[j, p] - x, x - high[j, p]), nothing)
                    lower[p] += outside * outside
        memory.first[i] = place_of(lower, lowest_of(lower))


@numba.njit(nogil=True, cache=True)
def _search_rows(rows, patched, low, high, gamma, prune, need_second, certify, memory, bmus, seconds):
    """Search any number of rows, a strip at a time; returns how many patches were scored."""
    scored = 0
    strip = len(memory.shifted)
    for start in range(0, len(rows), strip):
        some = rows[start : start + strip]
        n = len(some)
        _shift(some, patched, gamma, memory)
        memory.best[:n] = np.inf
        if prune:
            _bound_patches(n, low, high, memory)
            scored += search_pruned(n, patched, 1 if need_second else 0, memory)
        else:
            search_all(n, patched, memory)
        decide(some, patched, prune, need_second, certify, memory, bmus[start:], seconds[start:])
    return scored


class MaskedSearch(Search):
    r"""Searches samples of which some features are unknown: NaN.

    The best matching unit is ``argmin_i sum_j k_j (x_j - w_ij)^2`` in float64, k_j = 1 where x_j is known and 0
    elsewhere, features added in order, lowest index on ties: the distance over the known features alone (Samad and
    Harp, *Self-organization with partial data*, Network 3, 1992; SOM Toolbox, Vesanto et al., 2000). It is found
    and certified as for whole samples, with bounds of the patches that hold for any set of known features.

    Parameters
    ----------
    patched : PatchedCodebook
    need_second, certify : bool
        As for `som_dask.engine.pruned_search.Search`.
    """

    def __init__(self, patched: PatchedCodebook, *, need_second: bool = True, certify: bool = True) -> None:
        super().__init__(_with_squares(patched), need_second=need_second, certify=certify)
        self.gamma = gamma_of(2 * patched.codebook.shape[1] + 4)
        inside = (patched.nodes >= 0)[:, None, :]
        self.low = np.ascontiguousarray(np.where(inside, patched.weights, np.inf).min(axis=2).T)
        self.high = np.ascontiguousarray(np.where(inside, patched.weights, -np.inf).max(axis=2).T)

    def _bounding_cost(self) -> float:
        return 0.2 * self.low.size

    def _search(self, rows: np.ndarray, bmus: np.ndarray, seconds: np.ndarray) -> int:
        return _search_rows(
            rows, self.patched, self.low, self.high, self.gamma, self.prune, self.need_second, self.certify,
            self.memory, bmus, seconds,
        )  # fmt: skip


def _with_squares(patched: PatchedCodebook) -> PatchedCodebook:
    """Patches with the squares of the nodes as further features, and no norms."""
    # Of the float64 values, so that a square is rounded once.
    shifted = (patched.codebook - patched.center) * patched.scale
    squares = np.zeros_like(patched.weights)
    n_features = shifted.shape[1]
    for p, nodes in enumerate(patched.nodes):
        here = nodes >= 0
        squares[p, :n_features, here] = shifted[nodes[here]] ** 2
    weights = np.ascontiguousarray(np.concatenate([patched.weights, squares], axis=1))
    half_norms = np.where(patched.nodes >= 0, np.float32(0.0), FAR).astype(np.float32)
    return patched._replace(weights=weights, half_norms=half_norms)
