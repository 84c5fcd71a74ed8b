"""Average linkage of nodes that have weights, along the lattice or free.

The libraries at hand can't do it. `scipy.cluster.hierarchy.linkage` knows neither weights nor a lattice; and
`sklearn.cluster.AgglomerativeClustering` with a connectivity averages only the distances of nodes that are neighbors,
along the border of two clusters, and takes no weights either.
"""

from __future__ import annotations

import heapq

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.merges import Merges
from som_dask.analysis.regions import Distances, check_pairs_fit, find_adjacent, find_nearest, grow_regions

__all__ = ["merge_by_average"]


def merge_by_average(
    points: np.ndarray, weights: np.ndarray, lattice: Lattice | None, metric: str = "euclidean"
) -> Merges:
    """Merge the two clusters with the least average distance, until one is left.

    The distance of two clusters A and B is the mean over all pairs of their nodes, ``sum w_a w_b d(a, b) /
    (sum w_a sum w_b)``. Nodes of weight 0 go with another node from the start.

    Parameters
    ----------
    points : (M, K) array
    weights : (M,) float64
        Of which at least one is positive.
    lattice : Lattice with M nodes, or None
        If given, only clusters that are adjacent on it are merged; a node of weight 0 goes with the nearest node of
        positive weight whose region it is adjacent to. The distances of all pairs are measured, but not held: at most
        2^22 at once. If None, M^2 distances are held.
    metric : {"euclidean", "hamming"}

    Returns
    -------
    Merges

    Raises
    ------
    MemoryLimitError
        If without a lattice the distances don't fit the memory.
    """
    distances = Distances(points, metric)
    taken = np.flatnonzero(weights > 0)
    if lattice is None:
        check_pairs_fit(len(taken))
        owner = find_nearest(distances, weights > 0)
        pairs, heights = _merge_freely(distances.between(taken, taken), weights[taken])
        return Merges(owner, taken[pairs], heights)
    owner = grow_regions(distances, weights > 0, lattice)
    pairs, heights = _merge_adjacent(distances, weights, find_adjacent(owner, lattice))
    return Merges(owner, pairs, heights)


def _merge_adjacent(
    distances: Distances, weights: np.ndarray, adjacent: dict[int, set[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Merge adjacent clusters: pairs of nodes, (m, 2) int64, and heights, (m,).

    Once measured, the distance of two adjacent clusters follows from those of their parts. What becomes adjacent only
    by a merge is measured then, so that the distance of two nodes is computed at most once.
    """
    members = {node: np.array([node]) for node in adjacent}
    weight = {node: float(weights[node]) for node in members}
    apart: dict[int, dict[int, float]] = {}
    for node, others in adjacent.items():
        order = np.array(sorted(others), dtype=np.int64)
        apart[node] = dict(zip(order.tolist(), distances.between(np.array([node]), order)[0].tolist(), strict=True))
    queue = [(d, a, b) for a, others in apart.items() for b, d in others.items() if a < b]
    heapq.heapify(queue)
    pairs, heights, new = [], [], len(weights)
    while queue:
        height, a, b = heapq.heappop(queue)
        if a not in members or b not in members:
            continue
        pairs.append((members[a][0], members[b][0]))
        heights.append(height)
        of_a, of_b = apart.pop(a), apart.pop(b)
        del of_a[b], of_b[a]
        share = weight[a] / (weight[a] + weight[b])
        merged: dict[int, float] = {}
        for other in sorted({*of_a, *of_b}):
            of_other = apart[other]
            to_a, to_b = of_other.pop(a, None), of_other.pop(b, None)
            if to_a is None:
                to_a = distances.mean(members[a], members[other], weights)
            if to_b is None:
                to_b = distances.mean(members[b], members[other], weights)
            merged[other] = of_other[new] = share * to_a + (1 - share) * to_b
            heapq.heappush(queue, (merged[other], other, new))
        apart[new], weight[new] = merged, weight[a] + weight[b]
        members[new] = np.concatenate([members.pop(a), members.pop(b)])
        new += 1
    return np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array(heights, dtype=np.float64)


def _merge_freely(apart: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge any clusters, by chains of nearest neighbors (Murtagh, *The Computer Journal* 26, 1983).

    Changes the distances, (n, n), in place. Two clusters that are nearest to each other may be merged at any time, as
    with averages no other cluster comes nearer by it; so the merges are sorted by height afterwards.
    """
    n, weights = len(weights), weights.copy()
    np.fill_diagonal(apart, np.inf)
    pairs: list[tuple[int, int]] = []
    heights: list[float] = []
    chain, gone = [0], np.zeros(n, dtype=bool)
    while len(pairs) < n - 1:
        if not chain:
            chain.append(int(np.argmin(gone)))
        a = chain[-1]
        b = int(np.argmin(apart[a]))
        if len(chain) > 1 and apart[a, chain[-2]] <= apart[a, b]:
            b = chain[-2]
        else:
            chain.append(b)
            continue
        del chain[-2:]
        pairs.append((b, a))
        heights.append(float(apart[a, b]))
        share = weights[a] / (weights[a] + weights[b])
        apart[b] = share * apart[a] + (1 - share) * apart[b]
        apart[b, b] = np.inf
        apart[:, b] = apart[b]
        apart[a] = apart[:, a] = np.inf
        weights[b] += weights[a]
        gone[a] = True
    order = np.argsort(heights, kind="stable")
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)[order], np.array(heights, dtype=np.float64)[order]
