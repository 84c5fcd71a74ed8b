"""The search for best matching units on a CPU: whole patches of the map are passed over by a proven bound."""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import math

import llvmlite.binding
import numba
import numpy as np

from som_dask.engine.error_bound import LARGEST_NORM, gamma_of, half_square_error, patch_room
from som_dask.engine.lanes import bound_patches, score_four
from som_dask.engine.patches import PatchedCodebook
from som_dask.engine.settle import decide, power_below_one
from som_dask.engine.shifted import FAR
from som_dask.engine.strips import lowest_of, memory_for, place_of, search_all, search_pruned
from som_dask.engine.whole_search import search_whole

__all__ = ["ErrorSearch", "GapSearch", "Search", "bound_patches_of", "shift_rows"]

FEW_FEATURES = 8  # whose squares are added up sooner one by one
FIRST_ROWS = 256  # samples that show which way pays
NO_BOX = np.zeros((0, 0), dtype=np.float32)
NO_ERRORS = np.zeros((1, 0))
WEIGHT_ROUNDINGS = 4  # in float64, of the weight of a value: a power of two aside, two products and a square


def _cost_of_narrow_registers() -> float:
    """Return by how much searching all nodes loses more than pruning does, where registers hold no 16 floats."""
    try:
        return 1.0 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 1.35
    except RuntimeError:  # there are platforms that don't tell
        return 1.35


NARROW = _cost_of_narrow_registers()


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _squared_norm(values):
    """Add up squares in any order: it is for bounds, which allow for more."""
    squared = 0.0
    for value in values:
        squared += value * value
    return squared


@numba.njit(nogil=True, cache=True)
def shift_rows(rows, patched, gaps, gamma, memory):
    """Shift and scale some samples, with their squared norms and the bounds of their scores' errors.

    With `gaps` a sample that lacks features becomes ``(k x, -k / 2)``; see `som_dask.engine.error_bound`.
    """
    n_features = rows.shape[1]
    half = memory.shifted.shape[1] // 2
    few, values = n_features < FEW_FEATURES, np.empty(n_features)
    for i in range(rows.shape[0]):
        squared = 0.0
        for j in range(n_features):
            value = (rows[i, j] - patched.center[j]) * patched.scale
            if gaps:
                known = value == value
                value = value if known else 0.0
                memory.shifted[i, half + j] = -0.5 if known else 0.0
            memory.shifted[i, j] = value
            if few:
                squared += value * value
            else:
                values[j] = value
        if not few:
            squared = _squared_norm(values)
        norm = math.sqrt(squared)
        error = half_square_error(norm, patched.radius, gamma, n_features)
        memory.squared_norms[i] = squared
        memory.offsets[i] = squared / 2
        memory.bounds[i] = error
        memory.rooms[i] = patch_room(error, norm + patched.radius, gamma)
        if not squared < LARGEST_NORM**2:  # NaN among them
            memory.bounds[i] = -1.0
            memory.offsets[i] = 0.0
            memory.shifted[i] = np.float32(0.0)


@numba.njit(nogil=True, cache=True)
def _shift_weighted(rows, inverse, patched, gamma, memory):
    """`_shift` for samples whose values have weights: ``(u z, -u / 2)``; see `som_dask.engine.error_bound`.

    The weights u are the squares of the inverse errors times the power of two by which the largest is below 1.
    """
    n_features = rows.shape[1]
    half = memory.shifted.shape[1] // 2
    for i in range(rows.shape[0]):
        power = power_below_one(inverse[i])
        squared = largest = 0.0
        for j in range(n_features):
            root = inverse[i, j] * power
            known = rows[i, j] == rows[i, j]
            value = (rows[i, j] - patched.center[j]) * patched.scale if known else 0.0
            memory.shifted[i, j] = root * root * value
            memory.shifted[i, half + j] = -0.5 * (root * root)
            squared += (root * value) * (root * value)
            largest = max(largest, abs(value))
        norm = math.sqrt(squared)
        error = half_square_error(norm, patched.radius, gamma, n_features + WEIGHT_ROUNDINGS)
        memory.squared_norms[i] = squared
        memory.offsets[i] = squared / 2
        memory.bounds[i] = error
        memory.rooms[i] = patch_room(error, norm + patched.radius, gamma)
        if not largest < LARGEST_NORM:
            memory.bounds[i] = -1.0
            memory.offsets[i] = 0.0
            memory.shifted[i] = np.float32(0.0)


@numba.njit(nogil=True, cache=True)
def bound_patches_of(n, patched, memory):
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
def _bound_boxes(n, low, high, memory):
    """`bound_patches_of` for samples that lack features, which hold for any set of known ones.

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
def _bound_weighted_boxes(rows, patched, low, high, memory):
    """`_bound_boxes` with weights: ``sum_j u_j max(low_j - z_j, z_j - high_j, 0)^2``."""
    n_patches = low.shape[1]
    half = memory.shifted.shape[1] // 2
    nothing = np.float32(0.0)
    for i in range(len(rows)):
        lower = memory.lower[i]
        lower[:n_patches] = nothing
        lower[n_patches:] = FAR
        for j in range(half):
            weight = np.float32(-2.0) * memory.shifted[i, half + j]
            if weight != 0:
                x = np.float32((rows[i, j] - patched.center[j]) * patched.scale)
                for p in range(n_patches):
                    outside = max(max(low[j, p] - x, x - high[j, p]), nothing)
                    lower[p] += weight * (outside * outside)
        memory.first[i] = place_of(lower, lowest_of(lower))


@numba.njit(nogil=True, cache=True)
def _search_rows(rows, inverse, patched, low, high, gamma, prune, need_second, certify, memory, bmus, seconds):
    """Search any number of rows, a strip at a time; returns how many patches were scored."""
    scored = 0
    gaps, weighted, strip = low.size > 0, inverse.size > 0, len(memory.shifted)
    if not (prune or gaps):
        search_whole(rows, patched, gamma, need_second, certify, memory, bmus, seconds)
        return scored
    for start in range(0, len(rows), strip):
        some = rows[start : start + strip]
        own = inverse[start : start + strip] if weighted else inverse
        n = len(some)
        if weighted:
            _shift_weighted(some, own, patched, gamma, memory)
        else:
            shift_rows(some, patched, gaps, gamma, memory)
        memory.best[:n] = np.inf
        if not prune:
            search_all(n, patched, memory)
        else:
            if weighted:
                _bound_weighted_boxes(some, patched, low, high, memory)
            elif gaps:
                _bound_boxes(n, low, high, memory)
            else:
                bound_patches_of(n, patched, memory)
            scored += search_pruned(n, patched, 1 if need_second else 0, memory)
        decide(some, own, patched, need_second, certify, memory, bmus[start:], seconds[start:])
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

    Attributes
    ----------
    cost : float
        About how many nanoseconds a sample takes.
    visited : float, optional
        How many patches the first samples had scored; None before, and where all are scored from the start.
    """

    def __init__(self, patched: PatchedCodebook, *, need_second: bool = True, certify: bool = True) -> None:
        self.patched, self.need_second, self.certify = patched, need_second, certify
        self.low = self.high = NO_BOX
        self.gamma = gamma_of(patched.codebook.shape[1] + 1)
        self.cost = 0.0
        self.visited: float | None = None
        self.prune = self.undecided = self._pays(visited=1.0)
        self.memory = memory_for(patched)

    def __call__(self, rows: np.ndarray, inverse: np.ndarray = NO_ERRORS) -> tuple[np.ndarray, np.ndarray]:
        """Best and second best matching units of samples, (n, D) float64: two (n,) int64.

        `ErrorSearch` needs the inverse errors of the values, (n, D) float64, too.
        """
        n = len(rows)
        bmus, seconds = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        if len(self.patched.codebook) > 1:
            start = 0
            if self.undecided and n:
                start = min(FIRST_ROWS, n)
                scored = self._search(rows[:start], inverse[:start], bmus[:start], seconds[:start])
                self.undecided, self.visited = False, scored / start
                self.prune = self._pays(self.visited)
            self._search(rows[start:], inverse[start:] if inverse.size else inverse, bmus[start:], seconds[start:])
        return bmus, seconds

    def _pays(self, visited: float) -> bool:
        """Whether pruning pays, if each sample has so many patches scored: by nanoseconds a sample, as measured."""
        features, lanes = self.patched.weights.shape[1], self.patched.counts.sum()
        whole = 9 + 0.5 * features + NARROW * (0.12 + 0.019 * features) * lanes
        pruned = self._bounding_cost() + visited * (43 + 1.4 * features)
        self.cost = float(min(whole, pruned))
        return pruned < whole

    def _bounding_cost(self) -> float:
        n_patches, features = len(self.patched.nodes), self.patched.weights.shape[1]
        return 45 + features + (1.2 + 0.07 * features) * n_patches

    def _search(self, rows: np.ndarray, inverse: np.ndarray, bmus: np.ndarray, seconds: np.ndarray) -> int:
        return _search_rows(
            rows, inverse, self.patched, self.low, self.high, self.gamma, self.prune, self.need_second, self.certify,
            self.memory, bmus, seconds,
        )  # fmt: skip


class GapSearch(Search):
    r"""Searches samples of which some features are unknown: NaN.

    The best matching unit is ``argmin_i sum_j k_j (x_j - w_ij)^2`` in float64, k_j = 1 where x_j is known and 0
    elsewhere, features added in order, lowest index on ties: the distance over the known features alone (Samad and
    Harp, *Self-organization with partial data*, Network 3, 1992; SOM Toolbox, Vesanto et al., 2000). It is found
    and certified as for complete samples, with bounds of the patches that hold for any set of known features.

    Parameters
    ----------
    patched : PatchedCodebook
    need_second, certify : bool
        As for `Search`.
    """

    def __init__(self, patched: PatchedCodebook, *, need_second: bool = True, certify: bool = True) -> None:
        super().__init__(_with_squares(patched), need_second=need_second, certify=certify)
        self.gamma = gamma_of(2 * patched.codebook.shape[1] + 1)
        inside = (patched.nodes >= 0)[:, None, :]
        self.low = np.ascontiguousarray(np.where(inside, patched.weights, np.inf).min(axis=2).T)
        self.high = np.ascontiguousarray(np.where(inside, patched.weights, -np.inf).max(axis=2).T)

    def _bounding_cost(self) -> float:
        return 45 + self.patched.weights.shape[1] + 0.23 * self.low.size


class ErrorSearch(GapSearch):
    r"""Searches samples of which each value has an error, and some may be unknown.

    The best matching unit is ``argmin_i sum_j ((x_j - w_ij) / e_j)^2`` in float64, over the known values, features
    added in order, lowest index on ties. A known value without an error is one of weight 1, an unknown value one of
    weight 0: it is found and certified as by `GapSearch`.
    """


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
