"""Which clusters of nodes were merged, in turn, and into how many they are best cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["MOST_MERGES", "Merges", "score_elbow"]

MOST_MERGES = 80  # the last ones, among which the elbow is looked for


@dataclass(frozen=True, eq=False)
class Merges:
    """The merges of a hierarchical clustering, from single nodes to one cluster.

    Attributes
    ----------
    owner : (M,) int64
        The node that each node goes with. It is the node itself for the nodes that are merged.
    pairs : (m, 2) int64
        A node of each of the two clusters that are merged, in the order of the merges; m + 1 nodes are merged.
    heights : (m,) float64
        How far apart the two clusters were.
    """

    owner: np.ndarray
    pairs: np.ndarray
    heights: np.ndarray

    def __call__(self, n_clusters: int) -> np.ndarray:
        """Return the clusters of the nodes, (M,) int, after all merges but the last ``n_clusters - 1``."""
        root = self.owner.copy()
        for one, other in self.pairs[: len(self.pairs) + 1 - n_clusters]:
            root[_find_root(root, other)] = _find_root(root, one)
        return np.array([_find_root(root, node) for node in range(len(root))], dtype=np.int64)

    @property
    def descending_heights(self) -> np.ndarray:
        """The heights, (m,) float64, greatest first: the k-th is of the merge that left k clusters.

        A cluster that grows may come nearer to others on the lattice than its parts were, so heights may fall a
        little from one merge to the next. They are sorted here.
        """
        return np.sort(self.heights)[::-1]


def _find_root(root: np.ndarray, node: int) -> int:
    while root[node] != node:
        root[node] = root[root[node]]  # shortens the way for the next one
        node = root[node]
    return int(node)


def score_elbow(heights: np.ndarray) -> np.ndarray:
    """Measure where the heights of the last 80 merges bend.

    Between its first and its last point the curve of the heights is compared with a straight line, both scaled to the
    unit square: ``score = 1 - x - y``, with x from 0 to 1 and ``y = (height - last) / (first - last)``. The height
    that is farthest below the line is the first of the low ones (Satopää et al., *Finding a "kneedle" in a haystack*,
    ICDCS Workshops 2011).

    Parameters
    ----------
    heights : (m,) float64
        Descending.

    Returns
    -------
    (n,) float64
        With n up to 80, the k-th for k clusters. 0 at both ends, and everywhere if all heights are the same.
    """
    heights = heights[:MOST_MERGES]
    n = len(heights)
    if n < 3 or heights[0] == heights[-1]:
        return np.zeros(n)
    score = 1 - np.arange(n) / (n - 1) - (heights - heights[-1]) / (heights[0] - heights[-1])
    score[[0, -1]] = 0.0
    return score
