"""Regions of a lattice: some nodes, each with the nodes that go with it, and which of them are adjacent."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import MemoryLimitError
from som_dask.passes.memory import process_memory

__all__ = ["Distances", "check_pairs_fit", "find_adjacent", "find_nearest", "grow_regions"]

MOST_DISTANCES = 2**22  # that are computed at once


class Distances:
    """Distances between nodes.

    Parameters
    ----------
    points : (M, K) array
    metric : {"euclidean", "hamming"}
    """

    def __init__(self, points: np.ndarray, metric: str) -> None:
        self.points, self.metric = points, metric

    def between(self, some: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the distances of some nodes, (n,), to others, (m,): (n, m) float64."""
        from scipy.spatial.distance import cdist  # which scikit-learn brings along

        return cdist(self.points[some], self.points[others], self.metric)

    def mean(self, some: np.ndarray, others: np.ndarray, weights: np.ndarray) -> float:
        """Return the mean distance over all pairs, by the weights of both."""
        mine, theirs = weights[some], weights[others]
        total = 0.0
        for part in _split(len(some), len(others)):
            total += float((mine[part] * (self.between(some[part], others) * theirs).sum(axis=1)).sum())
        return total / (float(mine.sum()) * float(theirs.sum()))


def _split(n: int, each: int) -> Iterator[slice]:
    """Cut n rows into parts, so that few distances are held if each row has so many."""
    step = max(MOST_DISTANCES // max(each, 1), 1)
    return (slice(start, start + step) for start in range(0, n, step))


def find_nearest(distances: Distances, is_taken: np.ndarray) -> np.ndarray:
    """Return the nearest taken node of each node, (M,) int64; of one that is taken, itself."""
    nodes, taken, rest = np.arange(len(is_taken)), np.flatnonzero(is_taken), np.flatnonzero(~is_taken)
    for part in _split(len(rest), len(taken)):
        nodes[rest[part]] = taken[distances.between(rest[part], taken).argmin(axis=1)]
    return nodes


def _list_neighbors(lattice: Lattice) -> list[list[int]]:
    table = lattice.neighbor_table().tolist()
    return [[other for other in dict.fromkeys(row) if other != node] for node, row in enumerate(table)]


def grow_regions(distances: Distances, is_taken: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Let each node go with a taken one whose region it is adjacent to, the least distances first.

    So each region is connected on the lattice.

    Parameters
    ----------
    distances : Distances
    is_taken : (M,) bool
        At least one is.
    lattice : Lattice with M nodes

    Returns
    -------
    (M,) int64
        A taken node for each node; for one that is taken, itself.
    """
    neighbors = _list_neighbors(lattice)
    owner = np.where(is_taken, np.arange(len(is_taken)), -1)
    waiting: list[tuple[float, int, int]] = []

    def ask(node: int, mine: int) -> None:
        free = [other for other in neighbors[node] if owner[other] < 0]
        if free:
            apart = distances.between(np.array([mine]), np.array(free))[0].tolist()
            for distance, other in zip(apart, free, strict=True):
                heapq.heappush(waiting, (distance, other, mine))

    for node in np.flatnonzero(is_taken).tolist():
        ask(node, node)
    while waiting:
        _, node, mine = heapq.heappop(waiting)
        if owner[node] < 0:
            owner[node] = mine
            ask(node, mine)
    return owner


def find_adjacent(owner: np.ndarray, lattice: Lattice) -> dict[int, set[int]]:
    """Return the owners whose regions are adjacent to that of each owner, from the owner of each node, (M,)."""
    adjacent: dict[int, set[int]] = {mine: set() for mine in np.unique(owner).tolist()}
    of = owner.tolist()
    for node, others in enumerate(_list_neighbors(lattice)):
        adjacent[of[node]].update(of[other] for other in others)
    for mine, others_of_mine in adjacent.items():
        others_of_mine.discard(mine)
    return adjacent


def check_pairs_fit(n: int) -> None:
    """Check that the distances of all pairs of n nodes fit the memory of this process.

    Raises
    ------
    MemoryLimitError
        If they don't.
    """
    needed = 2 * 8 * n * n  # with a copy of them
    if needed > (limit := process_memory()):
        raise MemoryLimitError(
            f"the distances of all pairs of {n} nodes need {needed / 2**30:.3g} GiB of memory, and there are "
            f"{limit / 2**30:.3g} GiB; ask for clusters that are connected on the lattice, or for a smaller map"
        )
