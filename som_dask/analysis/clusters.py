"""Group the nodes of a map into a few clusters. Needs the extra ``analysis``."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import dask.array
import numpy as np
import xarray as xr
from dask.delayed import delayed

from som_dask._version import __version__
from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.by_node import bmus_of
from som_dask.analysis.node_clustering import (
    KMeans,
    Ward,
    import_sklearn,
    normalize_points,
    number_by_first_node,
    score_clusters,
)
from som_dask.analysis.node_counts import flatten_nodes
from som_dask.errors import DataError, ParameterError
from som_dask.io.attributes import make_plain
from som_dask.io.models import feature_space_of, lattice_of, open_model, scaled_codebook_of

__all__ = ["ClusterMethod", "clusters", "sample_clusters"]

ClusterMethod = Literal["agglomerative", "kmeans"]
MOST_SUGGESTED = 15  # clusters


def clusters(
    model: Any,
    n_clusters: int | None = None,
    method: ClusterMethod = "agglomerative",
    *,
    seed: int = 0,
    weighted_by_hits: bool | None = None,
) -> xr.Dataset:
    r"""Group the nodes of a map into clusters of similar nodes.

    After Vesanto and Alhoniemi (*Clustering of the self-organizing map*, IEEE Transactions on Neural Networks 11,
    2000).

    "agglomerative" starts from single nodes. In each step it merges the two clusters adjacent on the lattice that
    increase the squared distances from the cluster means least (Ward). So each cluster is one connected region of the
    map, across the seam if the lattice wraps around. "kmeans" ignores the lattice, and its clusters may consist of
    several pieces; weighted by hits, it is close to k-means of the samples themselves.

    Distances are measured in the map's own space, so scaling, feature weights and the metric have an effect (with
    "cosine", nodes are unit vectors). Nodes without hits take part like all others: they lie between their neighbors,
    and without them clusters would be torn apart. With weights by hits, they do not change the means, and belong to
    the nearest one.

    If `n_clusters` is not given, the number with the highest mean silhouette of the nodes is chosen (Rousseeuw,
    *Silhouettes*, Journal of Computational and Applied Mathematics 20, 1987). The silhouette of a node is
    ``(b - a) / max(a, b)``, with its mean distance a to the nodes of its own cluster and b to those of the nearest
    other cluster. Vesanto and Alhoniemi choose by the Davies-Bouldin index. For the data sets wine and breast_cancer
    of scikit-learn, on maps of 8 x 8, 12 x 12 and 20 x 20 nodes and by both methods, that index asked for 10 to 15
    clusters. The silhouette finds 3 or 4 clusters in wine, which has 3 classes, and 2 or 3 in breast_cancer, which
    has 2. Numbers from 2 to the square root of the number of nodes, at most 15, are tried, as far as there are enough
    different nodes; if scores are equal, the lowest number is chosen. With more than 2500 nodes, the mean is over
    2500 nodes drawn at random. The number is only a suggestion: look at ``cluster_score``.

    Parameters
    ----------
    model : xarray.Dataset, or path or URL of a saved model
    n_clusters : int, optional
        From 1 to the number of different nodes.
    method : {"agglomerative", "kmeans"}
    seed : int
        Seed of the ten random starts of k-means, and of the nodes drawn for the silhouette.
    weighted_by_hits : bool, optional
        Weight each node by its hits or, where the model's samples have weights, by their weight (``hit_share``). This
        is the default for "kmeans", and not possible for "agglomerative".

    Returns
    -------
    xarray.Dataset
        ``cluster (row, col)`` int32, numbered from 0 in the order of the first nodes;
        ``cluster_center (cluster, feature)`` float64, the mean of the nodes (weighted by hits, if asked for) in the
        data's units, and ``scaled_cluster_center`` in the map's own space if that is another;
        ``cluster_nodes (cluster)`` and ``cluster_hits (cluster)``, the numbers of nodes and of samples;
        ``cluster_share (cluster)``, the share of the samples, or of their weight where the model's samples have
        weights;
        ``cluster_score (n_clusters)``, the mean silhouette for each number that was tried, from -1 to 1, higher is
        better. It holds only the given number if `n_clusters` is given, and leaves out numbers for which the
        silhouette has no meaning. The result is the same for the same model and seed.

    Raises
    ------
    ParameterError
        If scikit-learn is missing, or an argument can't be used.

    Examples
    --------
    Two groups of samples, and two clusters of nodes:

    >>> import numpy as np
    >>> import som_dask as som
    >>> rng = np.random.default_rng(0)
    >>> samples = np.concatenate([rng.normal(0, 0.1, (50, 2)), rng.normal(9, 0.1, (30, 2))])
    >>> model = som.train(samples, som.Lattice(3, 4), som.MapConfig(epochs=10))
    >>> clusters = som.clusters(model, n_clusters=2)
    >>> sorted(clusters["cluster_hits"].values.tolist())
    [30, 50]
    """
    _check_options(method, seed, weighted_by_hits)
    import_sklearn()
    model = open_model(model)
    weighted = method == "kmeans" if weighted_by_hits is None else bool(weighted_by_hits)
    codebook = scaled_codebook_of(model)
    weights = _weights_of_nodes(model) if weighted else np.ones(len(codebook))
    points = normalize_points(codebook)
    distinct = len(np.unique(points[weights > 0], axis=0))
    cut = Ward(points, lattice_of(model)) if method == "agglomerative" else KMeans(points, weights, seed)
    tried = _choose_numbers(n_clusters, len(points), distinct, weighted)
    labels = {n: number_by_first_node(cut(n)) for n in tried}
    scores = {n: score for n, each in labels.items() if (score := score_clusters(points, each, seed)) is not None}
    if n_clusters is not None:
        chosen = labels[int(n_clusters)]
    else:
        chosen = labels[max(scores, key=lambda n: scores[n])] if scores else np.zeros(len(points), dtype=np.int32)
    result = _make_dataset(model, codebook, chosen, scores, weights)
    result.attrs.update(
        method=method,
        n_clusters=int(chosen.max()) + 1,
        n_clusters_suggested=int(n_clusters is None),
        weighted_by_hits=int(weighted),
        seed=int(seed),
        score="silhouette",
        model_codebook_sha256=model.attrs["codebook_sha256"],
        som_dask_version=__version__,
    )
    return make_plain(result)


def _weights_of_nodes(model: xr.Dataset) -> np.ndarray:
    """Return the weight of the samples of each node, (M,) float64: all in units of their sum, or else the hits."""
    values = model["hit_share" if "hit_share" in model else "hits"].transpose("row", "col").values
    return np.asarray(values, dtype=np.float64).ravel()


def _check_options(method: str, seed: Any, weighted_by_hits: bool | None) -> None:
    if method not in get_args(ClusterMethod):
        raise ParameterError(f"method must be one of {get_args(ClusterMethod)}, got {method!r}")
    if method == "agglomerative" and weighted_by_hits:
        raise ParameterError("agglomerative clusters can't be weighted by hits; use method 'kmeans'")
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise ParameterError(f"seed must be a whole number from 0 to {2**32 - 1}, got {seed!r}")


def _choose_numbers(n_clusters: Any, n_nodes: int, distinct: int, weighted: bool) -> range:
    """Return the numbers of clusters to try: the one given, or else all that are worth a score."""
    if n_clusters is None:
        root = max(math.ceil(math.sqrt(n_nodes)), 2)
        # With as many clusters as there are different nodes, every score is perfect.
        return range(2, min(MOST_SUGGESTED, root, n_nodes - 1, max(distinct - 1, 2), distinct) + 1)
    is_integer = isinstance(n_clusters, (int, np.integer)) and not isinstance(n_clusters, bool)
    if not is_integer or not 1 <= n_clusters <= distinct:
        raise ParameterError(
            f"`n_clusters` must be a whole number from 1 to {distinct}, the number of different nodes"
            f"{' with hits' if weighted else ''}, got {n_clusters!r}"
        )
    return range(int(n_clusters), int(n_clusters) + 1)


def _average_nodes(codebook: np.ndarray, labels: np.ndarray, weights: np.ndarray, n_clusters: int) -> np.ndarray:
    """Return the means of the clusters, (n_clusters, K); without weights where a cluster has none."""
    centers = np.empty((n_clusters, codebook.shape[1]))
    for cluster in range(n_clusters):
        mine = labels == cluster
        weight = weights[mine] if weights[mine].any() else np.ones(np.count_nonzero(mine))
        centers[cluster] = np.average(codebook[mine], axis=0, weights=weight)
    return centers


def _make_dataset(
    model: xr.Dataset, codebook: np.ndarray, labels: np.ndarray, scores: dict[int, float], weights: np.ndarray
) -> xr.Dataset:
    space, n = feature_space_of(model), int(labels.max()) + 1
    hits = np.bincount(labels, weights=np.asarray(model["hits"].values, dtype=np.float64).ravel(), minlength=n)
    centers = space.to_sphere(_average_nodes(codebook, labels, weights, n))
    mine = np.bincount(labels, weights=_weights_of_nodes(model), minlength=n)
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
            {"long_name": "mean silhouette of the nodes, higher is better", "units": "1"},
        ),
    }
    if "scaled_codebook" in model:
        scaled = np.full((n, len(space.used)), np.nan)
        scaled[:, space.used] = centers
        words = {"long_name": "mean of the cluster's nodes, in the map's own space"}
        variables["scaled_cluster_center"] = (("cluster", "feature"), scaled, words)
    coords = {name: model[name] for name in ("feature", "x", "y") if name in model.coords}
    return xr.Dataset(variables, {**coords, "n_clusters": np.array(list(scores), dtype=np.int64)})


def sample_clusters(labels: xr.Dataset, clusters: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Find the cluster of each sample from its best matching unit; lazily if the labels are lazy.

    Parameters
    ----------
    labels : xarray.Dataset
        Result of `som_dask.infer`: ``bmu_row`` and ``bmu_col`` on any dimensions.
    clusters : xarray.Dataset or DataArray
        Result of `som_dask.clusters`, or your own cluster numbers ``(row, col)``.

    Returns
    -------
    xarray.DataArray
        "cluster", on the dimensions and coordinates of the labels: int32, with -1 where a row or column is negative,
        or float64, with NaN for samples without a label, if the labels are float.

    Raises
    ------
    DataError
        If the labels have no best matching units; when computed, if they hold nodes that the map does not have.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> rng = np.random.default_rng(0)
    >>> samples = np.concatenate([rng.normal(0, 0.1, (3, 2)), rng.normal(9, 0.1, (2, 2))])
    >>> model = som.train(samples, som.Lattice(2, 3), som.MapConfig(epochs=10))
    >>> found = som.sample_clusters(som.infer(samples, model), som.clusters(model, n_clusters=2)).values
    >>> (found == found[0]).tolist()
    [True, True, True, False, False]
    """
    table = clusters["cluster"] if isinstance(clusters, xr.Dataset) else clusters
    values = np.asarray(table.transpose("row", "col").values)
    if values.dtype.kind not in "iu":
        raise DataError(f"clusters must be whole numbers, got dtype {values.dtype}")
    row, col = bmus_of(labels)
    dtype = np.float64 if "f" in (row.dtype.kind, col.dtype.kind) else np.int32
    data: Any
    if row.chunks or col.chunks:
        dims = tuple(range(row.ndim))
        arrays = [dask.array.asarray(array.data) for array in (row, col)]
        _, arrays = dask.array.core.unify_chunks(arrays[0], dims, arrays[1], dims)
        shared = delayed(values, pure=True)
        meta = np.empty((0,) * row.ndim, dtype=dtype)
        data = dask.array.map_blocks(_look_up_clusters, *arrays, shared, dtype, dtype=dtype, meta=meta)
    else:
        data = _look_up_clusters(row.values, col.values, values, dtype)
    words = {"long_name": "cluster of the best matching unit", "units": "1"}
    return make_plain(xr.DataArray(data, coords=row.coords, dims=row.dims, name="cluster", attrs=words))


def _look_up_clusters(row: np.ndarray, col: np.ndarray, table: np.ndarray, dtype: Any) -> np.ndarray:
    rows, cols = table.shape
    nodes = flatten_nodes(row, col, Lattice(rows, cols))
    missing = np.nan if np.dtype(dtype).kind == "f" else -1
    return np.where(nodes >= 0, table.ravel()[nodes], missing).astype(dtype)
