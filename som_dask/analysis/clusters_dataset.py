"""The Dataset of the clusters of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from som_dask.io.models import feature_space_of

__all__ = ["make_clusters_dataset", "weights_of_nodes"]

SCORES = {
    "elbow": "how far the height of the merge is below the chord, higher is better",
    "silhouette": "mean silhouette of the nodes, higher is better",
}


def weights_of_nodes(model: xr.Dataset) -> np.ndarray:
    """Return the weight of the samples of each node, (M,) float64: all in units of their sum, or else the hits."""
    values = model["hit_share" if "hit_share" in model else "hits"].transpose("row", "col").values
    return np.asarray(values, dtype=np.float64).ravel()


def _average_nodes(codebook: np.ndarray, labels: np.ndarray, weights: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return the means of the clusters, (n_clusters, K); without weights where a cluster has none."""
    centers = np.empty((n_clusters, codebook.shape[1]))
    for cluster in range(n_clusters):
        mine = labels == cluster
        weight = weights[mine] if weights[mine].any() else np.ones(np.count_nonzero(mine))
        centers[cluster] = np.average(codebook[mine], axis=0, weights=weight)
    return centers


def make_clusters_dataset(
    model: xr.Dataset,
    codebook: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    scores: Mapping[int, float],
    score: str,
    heights: np.ndarray | None = None,
    stability: np.ndarray | None = None,
) -> xr.Dataset:
    """Return the Dataset that `som_dask.clusters` describes, without attributes.

    Parameters
    ----------
    model : xarray.Dataset
    codebook : (M, K) float64
        In the map's own space.
    labels : (M,) int32
        Clusters of the nodes, numbered from 0.
    weights : (M,) float64
        Of the nodes, in the means of the clusters.
    scores : mapping
        From numbers of clusters to how good they are.
    score : {"elbow", "silhouette"}
    heights : (m,) float64, optional
        Of merges, in the map's own space: the k-th is of the one that left k clusters.
    stability : (n,) float64, optional
        Of the clusters.

    Returns
    -------
    xarray.Dataset
    """
    space, n = feature_space_of(model), int(labels.max()) + 1
    hits = np.bincount(labels, weights=np.asarray(model["hits"].values, dtype=np.float64).ravel(), minlength=n)
    centers = space.to_sphere(_average_nodes(codebook, labels, weights, n))
    mine = np.bincount(labels, weights=weights_of_nodes(model), minlength=n)
    shape = model["codebook"].transpose("row", "col", "feature").shape[:2]
    of = "weight of the samples" if "hit_share" in model else "samples"
    counted = np.issubdtype(model["hits"].dtype, np.integer)
    variables: dict[str, Any] = {
        "cluster": (("row", "col"), labels.reshape(shape), {"long_name": "cluster of the node", "units": "1"}),
        "cluster_center": (
            ("cluster", "feature"),
            space.to_data_units(centers),
            {"long_name": "mean of the cluster's nodes, in the data's units"},
        ),
        "cluster_nodes": ("cluster", np.bincount(labels, minlength=n), {"long_name": "nodes of the cluster"}),
        "cluster_hits": (
            "cluster",
            hits.astype(np.int64) if counted else hits,
            {"long_name": "samples of the cluster's nodes"},
        ),
        "cluster_share": (
            "cluster",
            mine / mine.sum() if mine.any() else np.full(n, np.nan),
            {"long_name": f"share of the {of}", "units": "1"},
        ),
        "cluster_score": (
            "n_clusters",
            np.array(list(scores.values()), dtype=np.float64),
            {"long_name": SCORES[score], "units": "1"},
        ),
    }
    if heights is not None:
        tried = np.array(list(scores), dtype=np.int64)
        known = np.concatenate([heights, np.full(max(tried.max(initial=0) - len(heights), 0), np.nan)])
        words = {"long_name": "distance at which a merge left so many clusters, in the map's own space"}
        variables["merge_height"] = ("n_clusters", known[tried - 1], words)
    if stability is not None:
        words = {"long_name": "mean Jaccard index of the cluster and those of resamplings", "units": "1"}
        variables["cluster_stability"] = ("cluster", stability, words)
    if "scaled_codebook" in model:
        scaled = np.full((n, len(space.used)), np.nan)
        scaled[:, space.used] = centers
        words = {"long_name": "mean of the cluster's nodes, in the map's own space"}
        variables["scaled_cluster_center"] = (("cluster", "feature"), scaled, words)
    coords = {name: model[name] for name in ("feature", "x", "y") if name in model.coords}
    return xr.Dataset(variables, {**coords, "n_clusters": np.array(list(scores), dtype=np.int64)})
