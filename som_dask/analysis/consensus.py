"""Clusters that many resamplings of the nodes agree on, and how stable each of them is."""

from __future__ import annotations

import numpy as np

from som_dask.analysis.average_linkage import merge_by_average
from som_dask.analysis.node_clustering import NodeClustering
from som_dask.samples.reweight import held_out

__all__ = ["LEFT_OUT", "find_consensus", "measure_stability", "resample"]

LEFT_OUT = 0.1  # share of the nodes


def resample(
    clustering: NodeClustering, weights: np.ndarray, n_clusters: int, resamplings: int, seed: int
) -> np.ndarray:
    """Cluster the nodes again and again, each time without some of them.

    Each node is left out with a probability of 0.1: it gets the weight 0, and so goes with another node. Which ones
    is a function of hashes of their numbers, the resampling's number and the seed.

    Parameters
    ----------
    clustering : NodeClustering
    weights : (M,) float64
    n_clusters : int
    resamplings : int
    seed : int

    Returns
    -------
    (M, resamplings) float64
        Whole numbers: the clusters of the nodes in each resampling. There are fewer of them if fewer different nodes
        are left.
    """
    found = np.empty((len(weights), resamplings))
    for number in range(resamplings):
        kept = np.where(held_out(len(weights), LEFT_OUT, seed + (number + 1 << 32)), 0.0, weights)
        kept = kept if kept.any() else weights
        found[:, number] = clustering.of(kept)(min(n_clusters, clustering.count_distinct(kept)))
    return found


def find_consensus(
    clustering: NodeClustering, resampled: np.ndarray, weights: np.ndarray, n_clusters: int
) -> np.ndarray:
    """Cluster the nodes by how often they were together.

    Their distance is the share of the resamplings in which two nodes were in different clusters, and they are merged
    by average linkage (Monti et al., *Consensus clustering*, Machine Learning 52, 2003).

    Parameters
    ----------
    clustering : NodeClustering
        Whose lattice, if any, counts here too.
    resampled : (M, resamplings) float64
        From `resample`.
    weights : (M,) float64
    n_clusters : int

    Returns
    -------
    (M,) int64
    """
    return merge_by_average(resampled, weights, clustering.lattice, "hamming")(n_clusters)


def measure_stability(labels: np.ndarray, resampled: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Measure how well each cluster is found again.

    In each resampling, the cluster that is most like it counts: by the Jaccard index ``w(A and B) / w(A or B)``, with
    w the sum of the weights of nodes (Hennig, *Cluster-wise assessment of cluster stability*, Computational
    Statistics & Data Analysis 52, 2007).

    Parameters
    ----------
    labels : (M,) int
        Numbered from 0.
    resampled : (M, resamplings) float64
    weights : (M,) float64

    Returns
    -------
    (n_clusters,) float64
        Means over the resamplings, from 0 to 1.
    """
    size = np.bincount(labels, weights=weights)
    total = np.zeros(len(size))
    for column in resampled.T:
        others, number = np.unique(column, return_inverse=True)
        both = np.zeros((len(size), len(others)))
        np.add.at(both, (labels, number), weights)
        either = size[:, None] + both.sum(axis=0) - both
        total += np.divide(both, either, out=np.zeros_like(both), where=either > 0).max(axis=1)
    return total / resampled.shape[1]
