r"""The search of samples that know an old node of theirs: among the nodes around it, and mostly nowhere else.

A sample x is scored against the 8 x 8 nodes around the cell that its old node is of. With u and v the distances to
the nearest two of these, no node outside can be among the two nearest of all if either

- it lies at least c from the nearest one and ``c - u > v``: it is then at least ``c - u`` from the sample; or
- the box that it is in lies farther than v from the sample, in the plane of the surroundings or off it.

The second is asked of the nodes next to the surroundings, where the first fails for samples that lie off the sheet of
the map, as noisy ones do. In float32 half a squared distance is off by no more than the bound of
`som_dask.engine.error_bound` and what the place in its lowest bits makes of it: u and v are raised by both, and
the square of ``c - u`` must be above that of v by another such bound, for the rounding of the plain rule. The bounds
of boxes are as those of patches. Samples that leave any doubt are searched as if they knew nothing, so an old node
may be any.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import math
import threading

import numba
import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.error_bound import gamma_of, patch_room
from som_dask.engine.lanes import LANES
from som_dask.engine.patches import PatchedCodebook
from som_dask.engine.pruned_search import Search
from som_dask.engine.sample_boxes import bound_boxes, project_samples
from som_dask.engine.sample_lanes import PLACE_ERROR, TOGETHER, score_samples
from som_dask.engine.settle import VANISHING, differ
from som_dask.engine.surroundings import SIDE, Surroundings, surround
from som_dask.engine.whole_search import turn_rows

__all__ = ["Recall", "RecalledSearch"]

SCATTERED = 1.5  # by what a search of the samples left over is slower than that of all, since they share few patches
PAUSE = -3  # in place of an old node: tried again in the fourth epoch
FEW_PATCHES = 3.0  # that samples may have scored: those who need more will be left over
SLACK = 1 + 1e-6  # above the roundings of these few lines


class Recall:
    """The surroundings of a codebook, made when first asked for, and whether they pay. Threads share it.

    Attributes
    ----------
    promises : bool
        Whether a search without old nodes has shown that they may pay.
    pays : bool, optional
        None as long as it is not known.
    """

    def __init__(self, patched: PatchedCodebook, lattice: Lattice) -> None:
        self.patched, self.lattice = patched, lattice
        self.lock, self.made = threading.Lock(), False
        self.around: Surroundings | None = None
        self.promises = False
        self.pays: bool | None = None if min(lattice.shape) >= SIDE else False

    def surroundings(self) -> Surroundings | None:
        """Return the surroundings; None where the map has none, or where they don't pay."""
        with self.lock:
            if not self.made:
                self.around, self.made = surround(self.patched, self.lattice), True
        return None if self.pays is False else self.around

    def remember(self, last: np.ndarray, bmus: np.ndarray) -> np.ndarray:
        """What to keep of samples, whose old nodes are (n,) int32 and whose nodes (n,) int64 are found.

        Where old nodes don't pay, numbers below -1 count the epochs until they are tried again.
        """
        if len(last) and last[0] < -1:
            return last + 1
        return np.full(len(last), PAUSE) if self.pays is False else bmus


@numba.njit(nogil=True, cache=True)
def _sort_by_cell(last, cells, order, starts):
    """Order samples by the cells of their old nodes, by a counting sort; those without one are left out."""
    starts[:] = 0
    for node in last:
        if 0 <= node < len(cells):
            starts[cells[node] + 1] += 1
    for q in range(len(starts) - 1):
        starts[q + 1] += starts[q]
    for i in range(len(last)):
        if 0 <= last[i] < len(cells):
            q = cells[last[i]]
            order[starts[q]] = i
            starts[q] += 1


@numba.njit(nogil=True, cache=True)
def _bound_ring(q, turned, offsets, rooms, around, products, places, lowest):
    """Bound the squared distances from 16 samples to the ring around their cell."""
    project_samples(turned.ctypes.data, len(turned), around.frame[q].ctypes.data, products.ctypes.data)
    for k in range(TOGETHER):
        along = products[1, k] + around.frame_offsets[q, 1]
        across = products[2, k] + around.frame_offsets[q, 2]
        squared = 2 * offsets[k] + products[0, k] + around.frame_offsets[q, 0]
        off = max(squared - along * along - across * across, np.float32(0.0))
        places[0, k], places[1, k] = along, across
        places[2, k], places[3, k] = math.sqrt(off), math.sqrt(off + rooms[k])
    bound_boxes(places.ctypes.data, around.boxes[q].ctypes.data, around.boxes.shape[1], lowest.ctypes.data)


@numba.njit(nogil=True, cache=True)
def _search_around(rows, last, patched, around, gamma, certify, bmus, seconds, rest):
    """Search samples around their old nodes.

    Parameters
    ----------
    rows : (n, D) float64
    last : (n,) int32
        The old nodes, below 0 where there is none.
    bmus, seconds : (n,) int64
        Filled for all but the samples left over.
    rest : (n,) int64
        Filled with these.

    Returns
    -------
    left, groups : int
        How many samples are left over, and how many groups of 16 were searched.
    """
    n, n_features, left, groups = len(rows), rows.shape[1], 0, 0
    order, starts = np.empty(n, dtype=np.int64), np.empty(len(around.nodes) + 1, dtype=np.int64)
    together, filled = np.empty((TOGETHER, n_features)), np.empty((TOGETHER, n_features))
    turned, offsets = np.empty((n_features, TOGETHER), dtype=np.float32), np.empty(TOGETHER, dtype=np.float32)
    bounds, rooms = np.empty(TOGETHER), np.empty(TOGETHER)
    best, numbers = np.empty((3, TOGETHER), dtype=np.float32), np.zeros((2, TOGETHER), dtype=np.int32)
    products, lowest = np.empty((3, TOGETHER), dtype=np.float32), np.empty(TOGETHER, dtype=np.float32)
    places = np.empty((4, TOGETHER), dtype=np.float32)
    for i in range(n):
        if not 0 <= last[i] < len(around.cells):
            rest[left] = i
            left += 1
    _sort_by_cell(last, around.cells, order, starts)
    begin = 0
    for q in range(len(around.nodes)):
        end = starts[q]
        for start in range(begin, end, TOGETHER):
            some = order[start : min(start + TOGETHER, end)]
            for k in range(len(some)):
                for j in range(n_features):
                    together[k, j] = rows[some[k], j]
            turn_rows(
                together[: len(some)], filled, patched.center, patched.scale, patched.radius, gamma, turned, offsets,
                bounds,
            )  # fmt: skip
            best[:] = np.inf
            score_samples(
                turned.ctypes.data, n_features, offsets.ctypes.data, around.weights[q].ctypes.data,
                around.half_norms[q].ctypes.data, LANES, 0, best.ctypes.data, numbers.ctypes.data,
            )  # fmt: skip
            bounded = False
            for k in range(len(some)):
                bound = bounds[k]
                first, second = np.float64(best[0, k]), np.float64(best[1, k])
                bmu = around.nodes[q, numbers[0, k]]
                # Half of the squared distances at most; the computed ones may be below zero.
                most = max(first + PLACE_ERROR * abs(first) + bound + VANISHING, 0.0)
                next_most = max(second + PLACE_ERROR * abs(second) + bound + VANISHING, 0.0)
                needed = (math.sqrt(2 * most) + math.sqrt(2 * (next_most + bound))) * SLACK
                sure = bound >= 0 and around.cells[bmu] == q and around.clear[1, bmu] > needed
                if sure and around.clear[0, bmu] <= needed:
                    if not bounded:
                        for m in range(TOGETHER):
                            size = math.sqrt(2 * np.float64(offsets[m])) * SLACK + patched.radius
                            rooms[m] = patch_room(max(bounds[m], 0.0), size, gamma)
                        _bound_ring(q, turned, offsets, rooms, around, products, places, lowest)
                        bounded = True
                    sure = lowest[k] > (2 * (second + PLACE_ERROR * abs(second)) + rooms[k]) * SLACK
                if sure and certify:
                    sure = differ(best[0, k], best[1, k], bound) and differ(best[1, k], best[2, k], bound)
                if sure:
                    bmus[some[k]], seconds[some[k]] = bmu, around.nodes[q, numbers[1, k]]
                else:
                    rest[left] = some[k]
                    left += 1
            groups += 1
        begin = end
    return left, groups


class RecalledSearch:
    """Searches samples around their old nodes, as long as that pays, and those left over by another search.

    The result is that of the other search. Not to be shared between threads.

    Parameters
    ----------
    search : Search
    recall : Recall
        Of the same codebook.
    """

    def __init__(self, search: Search, recall: Recall) -> None:
        self.search, self.recall = search, recall
        self.gamma = gamma_of(search.patched.codebook.shape[1] + 1)

    def __call__(self, rows: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Best and second best matching units of samples, (n, D) float64, with old nodes (n,) int32 or -1."""
        if not len(last) or last.max() < 0 or self.recall.pays is False:
            return self.search(rows)
        if self.recall.pays is None and not self.recall.promises:
            found = self.search(rows)
            few = self.search.visited is not None and self.search.visited <= FEW_PATCHES
            self.recall.promises, self.recall.pays = few, None if few else False
            return found
        around = self.recall.surroundings()
        if around is None:
            return self.search(rows)
        n = len(rows)
        bmus, seconds, rest = (np.empty(n, dtype=np.int64) for _ in range(3))
        left, groups = _search_around(
            rows, last, self.search.patched, around, self.gamma, self.search.certify, bmus, seconds, rest
        )  # fmt: skip
        rest = rest[:left]
        bmus[rest], seconds[rest] = self.search(rows[rest])
        if self.recall.pays is None:
            self.recall.pays = self._pays(left / n, TOGETHER * groups / n)
        return bmus, seconds

    def _pays(self, left: float, places: float) -> bool:
        """Whether it pays if such a share is left over, in so many places a sample: by nanoseconds, as measured."""
        features = self.search.patched.weights.shape[1]
        own = 10 + features + places * (40 + 2.4 * features)
        return bool(own + left * SCATTERED * self.search.cost < self.search.cost)
