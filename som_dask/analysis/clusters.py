"""Meta-clusters: the nodes of a map in a few groups. Needs the extra ``analysis``."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import dask.array
import numpy as np
import xarray as xr
from dask.delayed import delayed
from threadpoolctl import threadpool_limits

from som_dask._version import __version__
from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.node_counts import flat_nodes
from som_dask.analysis.node_summary import units_of
from som_dask.errors import DataError, ParameterError
from som_dask.io.models import codebook_of, lattice_of, open_model, preparation_of

__all__ = ["ClusterMethod", "cluster_codebook", "sample_clusters"]

ClusterMethod = Literal["agglomerative", "kmeans"]
MOST_SUGGESTED = 15
MOST_SCORED = 2500  # nodes: a silhouette takes the distances of all pairs
STARTS = 10  # of k-means, of which the best is kept


def cluster_codebook(
    model: Any,
    n_clusters: int | None = None,
    method: ClusterMethod = "agglomerative",
    *,
    seed: int = 0,
    weighted_by_hits: bool | None = None,
) -> xr.Dataset:
    r"""Put the nodes of a map into clusters of similar weights.

    After Vesanto and Alhoniemi (*Clustering of the self-organizing map*, IEEE Transactions on Neural Networks 11,
    2000).

    "agglomerative" starts from single nodes and merges, each time, the two clusters adjacent on the lattice that add
    least to the squared distances from the clusters' means (Ward). So each cluster is one connected region of the
    map, over the seam where the lattice wraps. "kmeans" knows nothing of the lattice, and its clusters may be in
    several pieces; weighted by hits it is close to k-means of the samples themselves.

    All is done in the map's own space, so scaling, feature weights and the metric count (unit vectors with
    "cosine"). Nodes without hits take part as all others do: they lie between their neighbors, and without them
    clusters would be torn. Weighted by hits they do not move the means, and go to the nearest.

    Without `n_clusters` the number is that of the highest mean silhouette of the nodes (Rousseeuw, *Silhouettes*,
    Journal of Computational and Applied Mathematics 20, 1987), ``(b - a) / max(a, b)`` with a node's mean distance
    a to its own cluster and b to the nearest other one. Vesanto and Alhoniemi choose by the Davies-Bouldin index.
    On maps of 8 x 8, 12 x 12 and 20 x 20 nodes, by both methods, that index asked for 10 to 15 clusters of the data
    wine and breast_cancer (scikit-learn's), where the silhouette finds the 3 classes of the one, or 4, and the 2
    classes of the other, or 3. Numbers from 2 to the root of the number of nodes, and to 15, are tried, as far as
    there are enough different nodes; of equal scores the lowest number wins. On more than 2500 nodes the mean is
    over as many, drawn at random. It is a suggestion: look at ``cluster_score``.

    Parameters
    ----------
    model : xarray.Dataset, or path or URL of a saved model
    n_clusters : int, optional
        From 1 to the number of different nodes.
    method : {"agglomerative", "kmeans"}
    seed : int
        Of k-means' ten random starts, and of the nodes drawn for the silhouette.
    weighted_by_hits : bool, optional
        Count each node as often as it has hits: by default for "kmeans"; "agglomerative" can't.

    Returns
    -------
    xarray.Dataset
        ``cluster (row, col)`` int32, numbered from 0 in the order of their first nodes;
        ``cluster_center (cluster, feature)`` float64, the mean of the nodes (by hits if so weighted) in the data's
        units, and ``cluster_center_scaled`` in the map's space where that is another; ``cluster_nodes (cluster)`` and
        ``cluster_hits (cluster)``, its size; ``cluster_score (n_clusters)``, the silhouette of each number tried,
        from -1 to 1, higher is better (of the one number, if it was given; nothing where it has no meaning). The same
        for the same model and seed.

    Raises
    ------
    ParameterError
        If scikit-learn is missing, or an argument can't be.
    """
    if method not in get_args(ClusterMethod):
        raise ParameterError(f"method must be one of {get_args(ClusterMethod)}, got {method!r}")
    if method == "agglomerative" and weighted_by_hits:
        raise ParameterError("agglomerative clusters can't be weighted by hits; use method 'kmeans'")
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise ParameterError(f"seed must be a whole number from 0 to {2**32 - 1}, got {seed!r}")
    _sklearn()
    model = open_model(model)
    weighted = method == "kmeans" if weighted_by_hits is None else bool(weighted_by_hits)
    codebook, hits = codebook_of(model), np.asarray(model["hits"].values, dtype=np.float64).ravel()
    weights = hits if weighted else np.ones(len(codebook))
    points = _normalized(codebook)
    distinct = len(np.unique(points[weights > 0], axis=0))
    cut = _Ward(points, lattice_of(model)) if method == "agglomerative" else _KMeans(points, weights, seed)
    if n_clusters is None:
        root = max(math.ceil(math.sqrt(len(points))), 2)
        # With as many clusters as there are different nodes every score is perfect.
        tried = range(2, min(MOST_SUGGESTED, root, len(points) - 1, max(distinct - 1, 2), distinct) + 1)
    elif (
        isinstance(n_clusters, (int, np.integer)) and not isinstance(n_clusters, bool) and 1 <= n_clusters <= distinct
    ):
        tried = range(int(n_clusters), int(n_clusters) + 1)
    else:
        raise ParameterError(
            f"n_clusters must be a whole number from 1 to {distinct}, the number of different nodes"
            f"{' with hits' if weighted else ''}, got {n_clusters!r}"
        )
    labels = {n: _in_order(cut(n)) for n in tried}
    scores = {n: score for n, each in labels.items() if (score := _score(points, each, seed)) is not None}
    if n_clusters is not None:
        chosen = labels[int(n_clusters)]
    else:
        chosen = labels[max(scores, key=lambda n: scores[n])] if scores else np.zeros(len(points), dtype=np.int32)
    result = _dataset(model, codebook, chosen, scores, weights)
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
    return result


def _sklearn() -> Any:
    try:
        import sklearn.cluster
        import sklearn.metrics
    except ImportError as error:
        raise ParameterError("clusters need scikit-learn: pip install 'som_dask[analysis]'") from error
    return sklearn


def _normalized(codebook: np.ndarray) -> np.ndarray:
    """The codebook about 0 and of size 1: scikit-learn takes numbers near 1e-8 for zero, and large ones overflow."""
    least, most = codebook.min(axis=0), codebook.max(axis=0)
    spread = float(np.max(most / 2 - least / 2, initial=0.0))
    return (codebook - (least / 2 + most / 2)) / (spread if spread > 0 else 1.0)


class _Ward:
    """Ward's merges along the lattice, done once and cut at any number."""

    def __init__(self, points: np.ndarray, lattice: Lattice) -> None:
        self.n_nodes, self.merges = len(points), np.empty((0, 2), dtype=np.int64)
        if self.n_nodes > 1:
            from scipy.sparse import coo_array

            pairs = lattice.neighbor_pairs()
            shape = (self.n_nodes, self.n_nodes)
            adjacency = coo_array((np.ones(len(pairs[0])), pairs), shape=shape).tocsr()
            tree = _sklearn().cluster.AgglomerativeClustering(
                n_clusters=None, distance_threshold=0.0, linkage="ward", connectivity=adjacency
            )
            self.merges = tree.fit(points).children_

    def __call__(self, n_clusters: int) -> np.ndarray:
        """Labels (M,) after all merges but the last ``n_clusters - 1``."""
        done = self.n_nodes - n_clusters
        parent = np.arange(self.n_nodes + done)
        for i, (a, b) in enumerate(self.merges[:done]):
            parent[a] = parent[b] = self.n_nodes + i
        for node in range(len(parent) - 1, -1, -1):  # a merge has a higher number than what it merges
            parent[node] = parent[parent[node]]
        return parent[: self.n_nodes]


class _KMeans:
    """k-means of the nodes that have any weight; the others go to the nearest center."""

    def __init__(self, points: np.ndarray, weights: np.ndarray, seed: int) -> None:
        self.points, self.weights, self.seed = points, weights, seed

    def __call__(self, n_clusters: int) -> np.ndarray:
        taken = self.weights > 0
        method = _sklearn().cluster.KMeans(n_clusters, n_init=STARTS, random_state=self.seed)
        with threadpool_limits(1):  # in one order: threads would change the last digits from run to run
            method.fit(self.points[taken], sample_weight=self.weights[taken])
            return method.predict(self.points)


def _in_order(labels: np.ndarray) -> np.ndarray:
    """Labels (M,) of any kind, numbered by their first node: int32."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[inverse]


def _score(points: np.ndarray, labels: np.ndarray, seed: int) -> float | None:
    """Mean silhouette; None where it has no meaning: one cluster, or each node its own."""
    if len(points) > MOST_SCORED:
        some = np.random.default_rng(seed).choice(len(points), MOST_SCORED, replace=False)
        points, labels = points[some], labels[some]
    if not 2 <= len(np.unique(labels)) < len(points):
        return None
    with threadpool_limits(1):
        return float(_sklearn().metrics.silhouette_score(points, labels))


def _dataset(
    model: xr.Dataset, codebook: np.ndarray, labels: np.ndarray, scores: dict[int, float], weights: np.ndarray
) -> xr.Dataset:
    preparation, n = preparation_of(model), int(labels.max()) + 1
    hits = np.bincount(labels, weights=np.asarray(model["hits"].values, dtype=np.float64).ravel(), minlength=n)
    centers = np.empty((n, codebook.shape[1]))
    for cluster in range(n):
        mine = labels == cluster
        weight = weights[mine] if weights[mine].any() else np.ones(np.count_nonzero(mine))
        centers[cluster] = np.average(codebook[mine], axis=0, weights=weight)
    centers = preparation.on_sphere(centers)
    shape = model["codebook"].transpose("row", "col", "feature").shape[:2]
    counted = np.issubdtype(model["hits"].dtype, np.integer)
    variables: dict[str, Any] = {
        "cluster": (("row", "col"), labels.reshape(shape), {"long_name": "cluster of the node", "units": "1"}),
        "cluster_center": (
            ("cluster", "feature"),
            preparation.physical(centers),
            {"long_name": "mean of the cluster's nodes, in the data's units"},
        ),
        "cluster_nodes": ("cluster", np.bincount(labels, minlength=n), {"long_name": "nodes of the cluster"}),
        "cluster_hits": (
            "cluster",
            hits.astype(np.int64) if counted else hits,
            {"long_name": "samples of the cluster's nodes"},
        ),
        "cluster_score": (
            "n_clusters",
            np.array(list(scores.values()), dtype=np.float64),
            {"long_name": "mean silhouette of the nodes, higher is better", "units": "1"},
        ),
    }
    if "codebook_scaled" in model:
        scaled = np.full((n, len(preparation.used)), np.nan)
        scaled[:, preparation.used] = centers
        words = {"long_name": "mean of the cluster's nodes, in the map's own space"}
        variables["cluster_center_scaled"] = (("cluster", "feature"), scaled, words)
    coords = {name: model[name] for name in ("feature", "x", "y") if name in model.coords}
    return xr.Dataset(variables, {**coords, "n_clusters": np.array(list(scores), dtype=np.int64)})


def sample_clusters(labels: xr.Dataset, clusters: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Each sample's cluster, from its best matching unit; lazily where the labels are lazy.

    Parameters
    ----------
    labels : xarray.Dataset
        What `som_dask.assign` gives: ``bmu_row`` and ``bmu_col`` on any dimensions.
    clusters : xarray.Dataset or DataArray
        What `cluster_codebook` gives, or numbers ``(row, col)`` of your own.

    Returns
    -------
    xarray.DataArray
        "cluster", on the labels' dimensions and coordinates: int32, -1 where a row or column is negative; float64
        with NaN where the labels' are float.

    Raises
    ------
    DataError
        If the labels have no best matching units; when computed, if they name nodes that the map does not have.
    """
    table = clusters["cluster"] if isinstance(clusters, xr.Dataset) else clusters
    values = np.asarray(table.transpose("row", "col").values)
    if values.dtype.kind not in "iu":
        raise DataError(f"clusters must be whole numbers, got dtype {values.dtype}")
    row, col = units_of(labels)
    dtype = np.float64 if "f" in (row.dtype.kind, col.dtype.kind) else np.int32
    data: Any
    if row.chunks or col.chunks:
        dims = tuple(range(row.ndim))
        arrays = [dask.array.asarray(array.data) for array in (row, col)]
        _, arrays = dask.array.core.unify_chunks(arrays[0], dims, arrays[1], dims)
        shared = delayed(values, pure=True)
        meta = np.empty((0,) * row.ndim, dtype=dtype)
        data = dask.array.map_blocks(_clusters_of, *arrays, shared, dtype, dtype=dtype, meta=meta)
    else:
        data = _clusters_of(row.values, col.values, values, dtype)
    words = {"long_name": "cluster of the best matching unit", "units": "1"}
    return xr.DataArray(data, coords=row.coords, dims=row.dims, name="cluster", attrs=words)


def _clusters_of(row: np.ndarray, col: np.ndarray, table: np.ndarray, dtype: Any) -> np.ndarray:
    rows, cols = table.shape
    nodes = flat_nodes(row, col, Lattice(rows, cols))
    missing = np.nan if np.dtype(dtype).kind == "f" else -1
    return np.where(nodes >= 0, table.ravel()[nodes], missing).astype(dtype)
