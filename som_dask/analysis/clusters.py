"""Group the nodes of a map into a few clusters. Needs the extra ``analysis``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.analysis.clusters_dataset import make_clusters_dataset, weights_of_nodes
from som_dask.analysis.consensus import find_consensus, measure_stability, resample
from som_dask.analysis.merges import Merges, score_elbow
from som_dask.analysis.node_clustering import (
    ClusterMethod,
    KMeans,
    NodeClustering,
    import_sklearn,
    normalize_points,
    number_by_first_node,
    score_clusters,
)
from som_dask.errors import ParameterError
from som_dask.io.attributes import make_plain
from som_dask.io.models import lattice_of, open_model, scaled_codebook_of

__all__ = ["ClusterMethod", "Suggestion", "clusters"]

Suggestion = Literal["elbow", "silhouette"]
MOST_SUGGESTED = 15  # clusters, by the silhouette


def clusters(
    model: Any,
    n_clusters: int | None = None,
    method: ClusterMethod = "average",
    *,
    connected: bool | None = None,
    weighted_by_hits: bool | None = None,
    suggest_by: Suggestion | None = None,
    resamplings: int = 0,
    seed: int = 0,
) -> xr.Dataset:
    r"""Group the nodes of a map into clusters of similar nodes.

    After Vesanto and Alhoniemi (*Clustering of the self-organizing map*, IEEE Transactions on Neural Networks 11,
    2000).

    "average" and "ward" start from single nodes, and merge two clusters in each step: "average" those with the least
    mean distance between their nodes, "ward" those that increase the squared distances from the cluster means least.
    If `connected`, only clusters that are adjacent on the lattice are merged. So each cluster is one connected region
    of the map, across the seam if the lattice wraps around. "kmeans" ignores the lattice, and its clusters may
    consist of several pieces; weighted by hits, it is close to k-means of the samples themselves.

    Which method is best depends on the samples. "average" finds groups of very different sizes, such as populations
    of cells of which some are rare, because the distance of two clusters does not depend on their sizes. For a few
    groups of about equal size that touch one another, and for maps with few samples a node, use "ward": "average"
    splits off outliers first.

    Distances are measured in the map's own space, so scaling, feature weights and the metric have an effect (with
    "cosine", nodes are unit vectors). Weighted by hits, nodes without hits do not change the clusters of the others:
    on the lattice they belong to the nearest node with hits whose region they are adjacent to, otherwise to the
    nearest one. Without weights they take part like all others.

    If `n_clusters` is not given, a number is suggested. "elbow" looks at the distances at which clusters were merged,
    and cuts where the curve of the last 80 of them bends most: at the first of the low ones. Each group counts there
    by one merge however small it is, so that rare groups are kept. "silhouette" takes the number with the highest
    mean silhouette of the nodes (Rousseeuw, *Silhouettes*, Journal of Computational and Applied Mathematics 20,
    1987), which is ``(b - a) / max(a, b)`` of a node with its mean distance a to the nodes of its own cluster and b
    to those of the nearest other cluster. Numbers from 2 to the square root of the number of nodes, at most 15, are
    tried, as far as there are enough different nodes; if scores are equal, the lowest number is chosen. With more
    than 2500 nodes, the mean is over 2500 nodes drawn at random. It suggests a few large groups. Either number is
    only a suggestion: look at ``cluster_score``.

    With `resamplings`, the nodes are clustered so often, each time without a tenth of them, and then merged by
    average linkage of the share of resamplings in which two nodes were in different clusters (Monti et al.,
    *Consensus clustering*, Machine Learning 52, 2003). What that gives beside the clusters is their stability.

    Parameters
    ----------
    model : xarray.Dataset, or path or URL of a saved model
    n_clusters : int, optional
        From 1 to the number of different nodes; with weights by hits, of those with hits.
    method : {"average", "ward", "kmeans"}
    connected : bool, optional
        Whether clusters are connected on the lattice. By default they are, but not with "kmeans", which can't. If
        they are not, "average" and "ward" hold the distances of all pairs of nodes. Connected, "average" holds few
        of them, but measures them all: a map of 150 x 150 nodes takes seconds, one of 400 x 400 many minutes.
    weighted_by_hits : bool, optional
        Weight each node by its hits or, where the model's samples have weights, by their weight (``hit_share``). This
        is the default for "average" and "kmeans" if there are any hits, and not possible for "ward".
    suggest_by : {"elbow", "silhouette"}, optional
        How the number is suggested. By default "elbow" for "average", and "silhouette" for the others; "kmeans"
        merges nothing and has no elbow.
    resamplings : int
        0 for none; 100 are usual.
    seed : int
        Seed of the ten random starts of k-means, of the nodes drawn for the silhouette, and of those left out.

    Returns
    -------
    xarray.Dataset
        ``cluster (row, col)`` int32, numbered from 0 in the order of the first nodes;
        ``cluster_center (cluster, feature)`` float64, the mean of the nodes (weighted by hits, if asked for) in the
        data's units, and ``scaled_cluster_center`` in the map's own space if that is another;
        ``cluster_nodes (cluster)`` and ``cluster_hits (cluster)``, the numbers of nodes and of samples;
        ``cluster_share (cluster)``, the share of the samples, or of their weight where the model's samples have
        weights;
        ``cluster_stability (cluster)``, only with `resamplings`: the mean over them of the Jaccard index of the
        cluster and the one most like it, from 0 to 1, 1 if it was always found;
        ``cluster_score (n_clusters)``, higher is better, for each number that was tried: how far the merge that left
        so many clusters lies below the chord of the elbow, from -1 to 1, or else the mean silhouette, from -1 to 1.
        It is the silhouette of the given number if `n_clusters` is given, and leaves out numbers for which the
        silhouette has no meaning;
        ``merge_height (n_clusters)``, but for "kmeans": at what distance the merge was that left so many clusters, in
        the map's own space. The result is the same for the same model and seed.

    Raises
    ------
    ParameterError
        If scikit-learn is missing, or an argument can't be used.
    MemoryLimitError
        If clusters need not be connected, and the distances of all pairs of nodes don't fit the memory.

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
    import_sklearn()
    model = open_model(model)
    codebook, hits = scaled_codebook_of(model), weights_of_nodes(model)
    options = _Options.of(method, connected, weighted_by_hits, suggest_by, has_hits=bool(hits.any()))
    _check_numbers(resamplings, seed)
    weights = hits if options.weighted else np.ones(len(codebook))
    points, spread = normalize_points(codebook)
    clustering = NodeClustering(
        method=method, points=points, lattice=lattice_of(model) if options.connected else None, seed=int(seed)
    )
    distinct = clustering.count_distinct(weights)
    if n_clusters is not None:
        _check_n_clusters(n_clusters, distinct, options.weighted)
    cut = clustering.of(weights)
    if n_clusters is None and options.suggest_by == "elbow" and isinstance(cut, Merges):
        found = _suggest_by_elbow(cut)
    else:
        tried = _numbers_to_try(len(points), distinct) if n_clusters is None else [int(n_clusters)]
        found = _score_silhouettes(cut, points, tried, int(seed), n_clusters)
    labels, stability = found.labels, None
    if resamplings:
        n = len(np.unique(labels))
        resampled = resample(clustering, weights, n, int(resamplings), int(seed))
        labels = find_consensus(clustering, resampled, weights, n)
    labels = number_by_first_node(labels)
    if resamplings:
        stability = measure_stability(labels, resampled, weights)
    heights = cut.descending_heights * spread if isinstance(cut, Merges) else None
    result = make_clusters_dataset(model, codebook, labels, weights, found.scores, found.score, heights, stability)
    result.attrs.update(
        method=method,
        connected=int(options.connected),
        weighted_by_hits=int(options.weighted),
        n_clusters=int(labels.max()) + 1,
        n_clusters_suggested=int(n_clusters is None),
        score=found.score,
        resamplings=int(resamplings),
        seed=int(seed),
        model_codebook_sha256=model.attrs["codebook_sha256"],
        som_dask_version=__version__,
    )
    return make_plain(result)


class _Options(NamedTuple):
    """What is asked for, with the defaults that depend on the method."""

    connected: bool
    weighted: bool
    suggest_by: Suggestion

    @classmethod
    def of(
        cls,
        method: str,
        connected: bool | None,
        weighted_by_hits: bool | None,
        suggest_by: Suggestion | None,
        has_hits: bool,
    ) -> _Options:
        if method not in get_args(ClusterMethod):
            raise ParameterError(f"method must be one of {get_args(ClusterMethod)}, got {method!r}")
        if suggest_by not in (None, *get_args(Suggestion)):
            raise ParameterError(f"suggest_by must be one of {get_args(Suggestion)}, got {suggest_by!r}")
        if method == "ward" and weighted_by_hits:
            raise ParameterError("Ward's clusters can't be weighted by hits; use `method='average'`")
        if method == "kmeans" and connected:
            raise ParameterError("clusters of k-means need not be connected; use `method='average'`")
        if method == "kmeans" and suggest_by == "elbow":
            raise ParameterError("k-means merges nothing and has no elbow; use `suggest_by='silhouette'`")
        return cls(
            method != "kmeans" if connected is None else bool(connected),
            method != "ward" and has_hits if weighted_by_hits is None else bool(weighted_by_hits),
            suggest_by or ("elbow" if method == "average" else "silhouette"),
        )


class _Found(NamedTuple):
    """The clusters of the nodes, the scores of numbers of clusters, and what they are scores of."""

    labels: np.ndarray
    scores: dict[int, float]
    score: Suggestion


def _suggest_by_elbow(cut: Merges) -> _Found:
    scores = {n: float(score) for n, score in enumerate(score_elbow(cut.descending_heights), 1)}
    return _Found(cut(max(scores, key=lambda n: scores[n], default=1)), scores, "elbow")


def _score_silhouettes(
    cut: Merges | KMeans, points: np.ndarray, tried: Sequence[int], seed: int, n_clusters: int | None
) -> _Found:
    labels = {n: cut(n) for n in tried}
    scores = {n: score for n, each in labels.items() if (score := score_clusters(points, each, seed)) is not None}
    if n_clusters is not None:
        chosen = labels[int(n_clusters)]
    else:
        chosen = labels[max(scores, key=lambda n: scores[n])] if scores else np.zeros(len(points), dtype=np.int64)
    return _Found(chosen, scores, "silhouette")


def _check_numbers(resamplings: Any, seed: Any) -> None:
    if not _is_integer(resamplings) or resamplings < 0:
        raise ParameterError(f"`resamplings` must be a whole number, 0 or more, got {resamplings!r}")
    if not _is_integer(seed) or not 0 <= seed < 2**32:
        raise ParameterError(f"seed must be a whole number from 0 to {2**32 - 1}, got {seed!r}")


def _is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_n_clusters(n_clusters: Any, distinct: int, weighted: bool) -> None:
    if not _is_integer(n_clusters) or not 1 <= n_clusters <= distinct:
        raise ParameterError(
            f"`n_clusters` must be a whole number from 1 to {distinct}, the number of different nodes"
            f"{' with hits' if weighted else ''}, got {n_clusters!r}"
        )


def _numbers_to_try(n_nodes: int, distinct: int) -> range:
    """Return all numbers of clusters that are worth a silhouette."""
    root = max(math.ceil(math.sqrt(n_nodes)), 2)
    # With as many clusters as there are different nodes, every score is perfect.
    return range(2, min(MOST_SUGGESTED, root, n_nodes - 1, max(distinct - 1, 2), distinct) + 1)
