"""Cluster the nodes of a map by scikit-learn, and score a clustering. Needs the extra ``analysis``."""

from __future__ import annotations

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError

__all__ = [
    "MOST_SCORED",
    "KMeans",
    "Ward",
    "import_sklearn",
    "normalize_points",
    "number_by_first_node",
    "score_clusters",
]

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


def normalize_points(codebook: np.ndarray) -> np.ndarray:
    """Shift and scale a codebook, (M, K) float64, so that its values are between -1 and 1.

    Without it, scikit-learn treats numbers near 1e-8 as zero, and large numbers overflow.
    """
    least, most = codebook.min(axis=0), codebook.max(axis=0)
    spread = float(np.max(most / 2 - least / 2, initial=0.0))
    return (codebook - (least / 2 + most / 2)) / (spread if spread > 0 else 1.0)


class Ward:
    """Clusters by Ward's method along the lattice: merged once, and cut at any number of clusters.

    Parameters
    ----------
    points : (M, K) float64
    lattice : Lattice with M nodes
    """

    def __init__(self, points: np.ndarray, lattice: Lattice) -> None:
        self.n_nodes, self.merges = len(points), np.empty((0, 2), dtype=np.int64)
        if self.n_nodes > 1:
            from scipy.sparse import coo_array

            pairs = lattice.neighbor_pairs()
            shape = (self.n_nodes, self.n_nodes)
            adjacency = coo_array((np.ones(len(pairs[0])), pairs), shape=shape).tocsr()
            tree = import_sklearn().cluster.AgglomerativeClustering(
                n_clusters=None, distance_threshold=0.0, linkage="ward", connectivity=adjacency
            )
            self.merges = tree.fit(points).children_

    def __call__(self, n_clusters: int) -> np.ndarray:
        """Return the clusters of the nodes, (M,) int, after all merges but the last ``n_clusters - 1``."""
        done = self.n_nodes - n_clusters
        parent = np.arange(self.n_nodes + done)
        for i, (a, b) in enumerate(self.merges[:done]):
            parent[a] = parent[b] = self.n_nodes + i
        for node in range(
            len(parent) - 1, -1, -1
        ):  # a merge has a higher index than the nodes and merges that it joins
            parent[node] = parent[parent[node]]
        return parent[: self.n_nodes]


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
