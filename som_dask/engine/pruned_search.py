"""The search for best matching units on a CPU: whole patches of the map are passed over by a proven bound."""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import math

import numba
import numpy as np

from som_dask.engine.lanes import LANES, bound_patches, score_four
from som_dask.engine.patches import PatchedCodebook
from som_dask.engine.strips import (
    LARGEST_NORM,
    UNIT_ROUNDOFF_64,
    decide,
    gamma_of,
    memory_for,
    place_of,
    search_all,
    search_pruned,
)

__all__ = ["Search"]

FIRST_ROWS = 256  # samples that show which way pays


@numba.njit(nogil=True, cache=True)
def _shift(rows, patched, gamma, memory):
    """Shift and scale some samples, with their squared norms and error bounds.

    A score ``|w|^2 / 2 - x . w`` is off by at most ``gamma R (|x| + R / 2)``, gamma = (D + 4) u / (1 - (D + 4) u)
    with u = 2^-24: rounding x, w and |w|^2 / 2 to float32 makes three factors 1 + u at most, the D products, added
    one after the other, D + 1 more, fused or not (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd
    ed., 2002, section 3.1). The rounding of the float64 rule itself is added to that.
    """
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
        bound = gamma * patched.radius * (size - patched.radius / 2) + terms * UNIT_ROUNDOFF_64 * size * size
        memory.bounds[i] = bound
        # The bound of a patch has some more operations, on products that may be of the size of `size`.
        memory.rooms[i] = squared + 2 * bound + 32 * gamma * size * size
        if not squared < LARGEST_NORM**2:
            memory.bounds[i] = -1.0
            for j in range(n_features):
                memory.shifted[i, j] = 0.0


@numba.njit(nogil=True, cache=True)
def _bound_patches(n, patched, memory):
    """Lower bounds of all patches for some samples, and the nearest patch of each."""
    chunks, padded, lanes = patched.frame.shape
    count = patched.box.shape[1]
    box_at = patched.box.ctypes.data
    lowest = np.empty(4, dtype=np.float32)
    product_at = memory.product.ctypes.data
    for i in range(0, n, 4):
        for c in range(chunks):
            score_four(
                memory.shifted[i].ctypes.data, padded, patched.frame[c].ctypes.data,
                patched.frame_offsets[c].ctypes.data, product_at + 4 * lanes * c, lanes * chunks, lowest.ctypes.data,
            )  # fmt: skip
        for k in range(i, min(i + 4, n)):
            at = product_at + 4 * lanes * chunks * (k - i)
            least = bound_patches(np.float32(memory.squared_norms[k]), at, box_at, count, memory.lower[k].ctypes.data)
            memory.first[k] = place_of(memory.lower[k], least)


@numba.njit(nogil=True, cache=True)
def _search_rows(rows, patched, gamma, prune, need_second, certify, memory, bmus, seconds):
    """Search any number of rows, a strip at a time; returns how many patches were scored."""
    scored = 0
    strip = len(memory.shifted)
    for start in range(0, len(rows), strip):
        some = rows[start : start + strip]
        n = len(some)
        _shift(some, patched, gamma, memory)
        memory.best[:n] = np.inf
        if prune:
            _bound_patches(n, patched, memory)
            scored += search_pruned(n, patched, 1 if need_second else 0, memory)
        else:
            search_all(n, patched, memory)
        decide(some, patched, prune, need_second, certify, memory, bmus[start:], seconds[start:])
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
        self.gamma = gamma_of(patched.codebook.shape[1] + 4)
        self.prune = self.undecided = len(patched.nodes) > 1
        self.memory = memory_for(patched)

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
                self.prune = self._pays(scored / start)
            self._search(rows[start:], bmus[start:], seconds[start:])
        return bmus, seconds

    def _pays(self, visited: float) -> bool:
        """Whether pruning pays, if each sample has so many patches scored."""
        n_patches, features = len(self.patched.nodes), self.patched.weights.shape[1]
        # In units of one feature of one patch: what bounding and ordering cost, as measured.
        score = features + 10
        return self._bounding_cost() + visited * (1.5 * score + 20) < n_patches * score

    def _bounding_cost(self) -> float:
        n_patches, features = len(self.patched.nodes), self.patched.weights.shape[1]
        return 3 * n_patches / LANES * features + n_patches * 0.8

    def _search(self, rows: np.ndarray, bmus: np.ndarray, seconds: np.ndarray) -> int:
        return _search_rows(
            rows, self.patched, self.gamma, self.prune, self.need_second, self.certify, self.memory, bmus, seconds
        )
