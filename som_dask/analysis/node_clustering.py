"""Cluster the nodes of a map, and score a clustering. Needs the extra ``analysis``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.average_linkage import merge_by_average
from som_dask.analysis.merges import Merges
from som_dask.analysis.regions import Distances, check_pairs_fit, find_adjacent, find_nearest, grow_regions
from som_dask.errors import ParameterError

__all__ = [
    "MOST_SCORED",
    "ClusterMethod",
    "KMeans",
    "NodeClustering",
    "import_sklearn",
    "merge_by_ward",
    "normalize_points",
    "number_by_first_node",
    "score_clusters",
]

ClusterMethod = Literal["average", "ward", "kmeans"]
MOST_SCORED = 2500  # nodes: a silhouette needs the distances of all pairs
STARTS = 10  # random starts of k-means, of which the best is kept


def import_sklearn() -> Any:
    """Import scikit-learn.

    Raises
    ------
    ParameterError
        If it is not installed.
    """
    try:
        import sklearn.cluster
        import sklearn.metrics
    except ImportError as error:
        raise ParameterError("clusters need scikit-learn: pip install 'som_dask[analysis]'") from error
    return sklearn


def normalize_points(codebook: np.ndarray) -> tuple[np.ndarray, float]:
    """Shift and scale a codebook, (M, K) float64, so that its values are between -1 and 1; return the scale too.

    Without it, scikit-learn treats numbers near 1e-8 as zero, and large numbers overflow.
    """
    least, most = codebook.min(axis=0), codebook.max(axis=0)
    spread = float(np.max(most / 2 - least / 2, initial=0.0))
    scale = spread if spread > 0 else 1.0
    return (codebook - (least / 2 + most / 2)) / scale, scale


@dataclass(frozen=True, kw_only=True, eq=False)
class NodeClustering:
    """A way to cluster the nodes of a map by any weights of theirs.

    Attributes
    ----------
    method : {"average", "ward", "kmeans"}
    points : (M, K) float64
    lattice : Lattice with M nodes, or None
        None if clusters need not be connected.
    seed : int
        For "kmeans".
    """

    method: ClusterMethod
    points: np.ndarray
    lattice: Lattice | None
    seed: int

    def of(self, weights: np.ndarray) -> Merges | KMeans:
        """Return what gives the clusters for any number of them, by some weights, (M,) float64.

        Nodes of weight 0 go with others. "ward" takes all other weights for equal.
        """
        if self.method == "kmeans":
            return KMeans(self.points, weights, self.seed)
        if self.method == "ward":
            return merge_by_ward(self.points, weights > 0, self.lattice)
        return merge_by_average(self.points, weights, self.lattice)

    def count_distinct(self, weights: np.ndarray) -> int:
        """Return the number of different nodes with a positive weight."""
        return len(np.unique(self.points[weights > 0], axis=0))


def merge_by_ward(points: np.ndarray, is_taken: np.ndarray, lattice: Lattice | None) -> Merges:
    """Merge the two clusters that increase the squared distances from the means least, until one is left.

    Parameters
    ----------
    points : (M, K) float64
    is_taken : (M,) bool
        The other nodes go with one of these; see `som_dask.analysis.average_linkage.merge_by_average`.
    lattice : Lattice with M nodes, or None
        If given, only clusters that are adjacent on it are merged.

    Returns
    -------
    Merges
        Heights are square roots of twice the increase.

    Raises
    ------
    MemoryLimitError
        If without a lattice the distances of all pairs don't fit the memory.
    """
    taken, distances, adjacency = np.flatnonzero(is_taken), Distances(points, "euclidean"), None
    if lattice is None:
        check_pairs_fit(len(taken))
        owner = find_nearest(distances, is_taken)
    else:
        owner = grow_regions(distances, is_taken, lattice)
        adjacency = _make_matrix(find_adjacent(owner, lattice))
    if len(taken) < 2:
        return Merges(owner, np.empty((0, 2), dtype=np.int64), np.empty(0))
    tree = import_sklearn().cluster.AgglomerativeClustering(
        n_clusters=None, distance_threshold=0.0, linkage="ward", connectivity=adjacency
    )
    tree.fit(points[taken])
    some = taken.tolist()  # a node of each cluster, also of those that are made
    pairs = []
    for a, b in tree.children_:
        pairs.append((some[a], some[b]))
        some.append(some[a])
    return Merges(owner, np.array(pairs, dtype=np.int64), tree.distances_)


def _make_matrix(adjacent: dict[int, set[int]]) -> Any:
    """Return which clusters are adjacent as a sparse matrix, rows and columns in ascending order of their keys."""
    from scipy.sparse import coo_array

    number = {node: i for i, node in enumerate(sorted(adjacent))}
    pairs = [(number[a], number[b]) for a, others in adjacent.items() for b in sorted(others)]
    places = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return coo_array((np.ones(len(pairs)), tuple(places)), shape=(len(number), len(number))).tocsr()


class KMeans:
    """Clusters by k-means of the nodes with positive weight; the other nodes go to the nearest center.

    Parameters
    ----------
    points : (M, K) float64
    weights : (M,) float64
    seed : int
    """

    def __init__(self, points: np.ndarray, weights: np.ndarray, seed: int) -> None:
        self.points, self.weights, self.seed = points, weights, seed

    def __call__(self, n_clusters: int) -> np.ndarray:
        """Return the clusters of the nodes, (M,) int."""
        taken = self.weights > 0
        method = import_sklearn().cluster.KMeans(n_clusters, n_init=STARTS, random_state=self.seed)
        with threadpool_limits(1):  # a fixed order: more threads would change the last digits from run to run
            method.fit(self.points[taken], sample_weight=self.weights[taken])
            return method.predict(self.points)


def number_by_first_node(labels: np.ndarray) -> np.ndarray:
    """Number clusters, (M,) of any kind, in the order of their first nodes: (M,) int32."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[inverse]


def score_clusters(points: np.ndarray, labels: np.ndarray, seed: int) -> float | None:
    """Return the mean silhouette of the nodes, a measure of how distinct their clusters are.

    Parameters
    ----------
    points : (M, K) float64
    labels : (M,) int
        Clusters of the nodes.
    seed : int
        Seed for the nodes that are drawn if there are more than 2500.

    Returns
    -------
    float, or None
        None if the silhouette has no meaning: with a single cluster, or if each node is a cluster of its own.
    """
    if len(points) > MOST_SCORED:
        some = np.random.default_rng(seed).choice(len(points), MOST_SCORED, replace=False)
        points, labels = points[some], labels[some]
    if not 2 <= len(np.unique(labels)) < len(points):
        return None
    with threadpool_limits(1):
        return float(import_sklearn().metrics.silhouette_score(points, labels))
