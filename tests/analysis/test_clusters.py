"""Meta-clusters: connected on the lattice, numbered stably, in the map's own space; and each sample's."""

import builtins

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.analysis import node_clustering
from som_dask.analysis.clusters import MOST_SUGGESTED, clusters
from som_dask.analysis.labels import infer
from som_dask.analysis.sample_clusters import sample_clusters
from som_dask.errors import ParameterError
from som_dask.io.models import model_dataset
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.engine.test_pruned_search import smooth_codebook
from tests.reference.twins import every_lattice, name_of, plain_distances

sklearn_cluster = pytest.importorskip("sklearn.cluster")


def model_of(points, lattice, hits=None, space=None):
    """A model whose codebook in the map's own space is this, (M, K)."""
    space = space or FeatureSpace.plain(points.shape[1])
    return model_dataset(
        points=points,
        space=space,
        hits=np.ones(len(points), dtype=np.int64) if hits is None else hits,
        history={"radius": [np.nan], "quantization_error": [0.5], "topographic_error": [0.0]},
        features=[f"f{j}" for j in range(len(space.used))],
        lattice=lattice,
        attrs={
            "topology": lattice.topology, "boundary": lattice.boundary,
            "missing": space.missing, "metric": space.metric,
        },
    )  # fmt: skip


def pieces(labels, lattice):
    """How many connected pieces the clusters are in, by flood fill over grid distances."""
    labels, apart = np.ravel(labels), plain_distances(lattice)
    neighbors = (apart > 0) & (apart < (1.25 if lattice.topology == "hexagonal" else 1.5))
    seen, number = set(), 0
    for start in range(len(labels)):
        if start in seen:
            continue
        number += 1
        waiting = [start]
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += [i for i in np.flatnonzero(neighbors[node]).tolist() if labels[i] == labels[node]]
    return number


def blobs(lattice, rng, n=3, apart=10.0):
    """A codebook whose columns fall into n groups that lie far apart."""
    group = np.arange(lattice.n_nodes) % lattice.cols * n // lattice.cols
    return group, apart * np.eye(n)[group] + 0.1 * rng.normal(size=(lattice.n_nodes, n))


@pytest.mark.parametrize("lattice", every_lattice(), ids=name_of)
def test_merged_clusters_are_connected(lattice, rng):
    hits = rng.integers(0, 3, lattice.n_nodes)
    hits[-1] = 1
    for n_clusters in sorted({1, min(2, lattice.n_nodes), min(4, lattice.n_nodes), lattice.n_nodes}):
        points = rng.normal(size=(lattice.n_nodes, 3))
        for method, of in (("ward", None), ("average", None), ("average", hits)):
            n = n_clusters if of is None else min(n_clusters, np.count_nonzero(of))
            found = clusters(model_of(points, lattice, of), n, method)
            assert found["cluster"].dtype == np.int32
            assert len(np.unique(found["cluster"])) == n
            assert pieces(found["cluster"].values, lattice) == n


def test_a_cluster_goes_over_the_seam(rng):
    group = np.array([0, 0, 1, 1, 1, 1, 0, 0])[np.arange(48) % 8]
    codebook = 10.0 * group[:, None] + 0.1 * rng.normal(size=(48, 2))
    for boundary, wanted in (("planar", 3), ("cylindrical", 2), ("toroidal", 2)):
        lattice = Lattice(6, 8, boundary=boundary)
        found = clusters(model_of(codebook, lattice), wanted)
        assert pieces(found["cluster"].values, lattice) == wanted
        assert all(len(np.unique(group[found["cluster"].values.ravel() == i])) == 1 for i in range(wanted))


@pytest.mark.parametrize("method", ["average", "ward"])
def test_free_clusters_may_have_several_pieces(method, rng):
    lattice, group = Lattice(6, 9), np.array([0, 0, 0, 1, 1, 1, 0, 0, 0])[np.arange(54) % 9]
    model = model_of(10.0 * group[:, None] + 0.1 * rng.normal(size=(54, 2)), lattice)
    free = clusters(model, 2, method, connected=False)
    np.testing.assert_array_equal(free["cluster"].values.ravel(), group)
    assert free.attrs["connected"] == 0
    assert clusters(model, method=method, connected=False).attrs["n_clusters"] == 2
    assert pieces(clusters(model, 2, method)["cluster"].values, lattice) == 2


@pytest.mark.parametrize("method", ["ward", "kmeans"])
@pytest.mark.parametrize("size", [1e-200, 1e-9, 1.0, 1e150])
def test_the_number_is_suggested_by_the_silhouette(method, size, rng):
    lattice = Lattice(8, 12)
    group, codebook = blobs(lattice, rng, 4)
    found = clusters(model_of(size * codebook, lattice), method=method)
    np.testing.assert_array_equal(found["cluster"].values.ravel(), group)
    assert found["n_clusters"].values.tolist() == list(range(2, 11))
    assert int(found["n_clusters"][found["cluster_score"].argmax()]) == found.attrs["n_clusters"] == 4
    assert found.attrs["n_clusters_suggested"] == 1
    wanted = plain_silhouette(codebook, group)
    assert float(found["cluster_score"].sel(n_clusters=4)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("size", [1e-200, 1e-9, 1.0, 1e150])
def test_the_number_is_suggested_by_the_elbow(size, rng):
    lattice = Lattice(8, 12)
    group, codebook = blobs(lattice, rng, 4)
    found = clusters(model_of(size * codebook, lattice))
    np.testing.assert_array_equal(found["cluster"].values.ravel(), group)
    assert found["n_clusters"].values.tolist() == list(range(1, 81))  # of 95 merges
    assert int(found["n_clusters"][found["cluster_score"].argmax()]) == found.attrs["n_clusters"] == 4
    assert (found.attrs["n_clusters_suggested"], found.attrs["score"]) == (1, "elbow")
    heights = found["merge_height"].values / size
    assert (np.diff(heights) <= 0).all()
    apart = np.linalg.norm(codebook[group == 0][:, None] - codebook[group == 1], axis=2)
    # The first two groups to be merged are among those that are neighbors on the lattice, all about as far apart.
    assert heights[2] == pytest.approx(apart.mean(), rel=0.05)
    assert heights[3] < 1


def test_rare_groups_are_kept(rng):
    # Four large groups, and a single node with few samples.
    lattice = Lattice(11, 11)
    codebook = 10 * np.eye(5)[np.arange(121) % 11 // 3] + 0.3 * rng.normal(size=(121, 5))
    codebook[60] = 8.0
    hits = np.full(121, 500)
    hits[60] = 5
    model = model_of(codebook, lattice, hits)
    found = clusters(model)
    assert found["cluster_nodes"].values.min() == 1
    assert found["cluster_hits"].values.min() == 5
    assert found.attrs["n_clusters"] == 5


def plain_silhouette(points, labels):
    """Mean of (b - a) / max(a, b), node by node (Rousseeuw, 1987)."""
    result = []
    for i, point in enumerate(points):
        apart = np.array([np.linalg.norm(point - other) for other in points])
        means = {}
        for kind in set(labels.tolist()):
            mine = labels == kind
            mine[i] = False
            means[kind] = apart[mine].mean()
        own = means.pop(labels[i])
        other = min(means.values())
        result.append((other - own) / max(own, other))
    return np.mean(result)


@pytest.mark.parametrize("method", ["ward", "kmeans"])
@pytest.mark.parametrize(("name", "classes"), [("wine", 3), ("breast_cancer", 2)])
def test_about_as_many_clusters_as_there_are_classes(method, name, classes):
    data = getattr(pytest.importorskip("sklearn.datasets"), f"load_{name}")().data
    model = train((data - data.mean(axis=0)) / data.std(axis=0), Lattice(8, 8), MapConfig(epochs=20))
    # The Davies-Bouldin index would ask for ten and more.
    assert clusters(model, method=method).attrs["n_clusters"] in (classes, classes + 1)


def test_large_maps_are_scored_by_some_of_their_nodes(rng, monkeypatch):
    lattice = Lattice(10, 12)
    group, codebook = blobs(lattice, rng, 3)
    model = model_of(codebook, lattice)
    wanted = clusters(model, suggest_by="silhouette")
    monkeypatch.setattr(node_clustering, "MOST_SCORED", 50)
    found = clusters(model, suggest_by="silhouette")
    np.testing.assert_array_equal(found["cluster"].values.ravel(), group)
    assert found["cluster_score"].sel(n_clusters=3) != wanted["cluster_score"].sel(n_clusters=3)
    xr.testing.assert_identical(found, clusters(model, suggest_by="silhouette"))


def test_cuts_are_those_of_scikit_learn(rng):
    lattice = Lattice(7, 8)
    points = smooth_codebook(lattice, 4, rng)
    adjacency = np.zeros((56, 56))
    adjacency[lattice.neighbor_pairs()] = 1
    for n in (2, 5, 11, 56):
        wanted = sklearn_cluster.AgglomerativeClustering(n, connectivity=adjacency).fit_predict(points)
        found = clusters(model_of(points, lattice), n, "ward")["cluster"].values.ravel()
        pairs = set(zip(wanted.tolist(), found.tolist(), strict=True))
        assert len(pairs) == n  # the same clusters but for their numbers


@pytest.mark.parametrize("method", ["average", "ward", "kmeans"])
def test_numbers_are_in_the_order_of_first_nodes_and_stable(method, rng):
    model = model_of(rng.normal(size=(63, 4)), Lattice(7, 9), rng.integers(0, 5, 63))
    found = clusters(model, 6, method, seed=3)
    _, first = np.unique(found["cluster"].values, return_index=True)
    assert (np.diff(first) > 0).all()
    xr.testing.assert_identical(found, clusters(model, 6, method, seed=3))
    assert found["cluster_score"].dims == ("n_clusters",)
    assert found["n_clusters"].values.tolist() == [6]


def test_sizes_and_centers(rng):
    lattice, hits = Lattice(6, 6), rng.integers(0, 9, 36)
    points = rng.normal(size=(36, 3))
    for method in ("average", "ward", "kmeans"):
        found = clusters(model_of(points, lattice, hits), 5, method)
        labels = found["cluster"].values.ravel()
        for i in range(5):
            assert found["cluster_nodes"][i] == np.count_nonzero(labels == i)
            assert found["cluster_hits"][i] == hits[labels == i].sum()
            weights = hits[labels == i] if method != "ward" else None
            wanted = np.average(points[labels == i], axis=0, weights=weights)
            np.testing.assert_allclose(found["cluster_center"][i], wanted, rtol=1e-12)
        assert "scaled_cluster_center" not in found


def test_kmeans_by_hits_is_kmeans_of_nodes_repeated(rng):
    lattice, hits = Lattice(5, 6), rng.integers(0, 4, 30)
    _, points = blobs(lattice, rng, 3, apart=3.0)
    found = clusters(model_of(points, lattice, hits), 3, "kmeans")
    centers = found["cluster_center"].values
    labels = found["cluster"].values.ravel()
    nearest = np.argmin(((points[:, None] - centers) ** 2).sum(axis=2), axis=1)
    np.testing.assert_array_equal(labels, nearest)  # of the nodes without hits too
    repeated = np.repeat(points, hits, axis=0)
    other = sklearn_cluster.KMeans(3, n_init=10, random_state=0).fit(repeated).inertia_
    assert ((repeated - centers[np.repeat(labels, hits)]) ** 2).sum() == pytest.approx(other, rel=1e-9)
    even = clusters(model_of(points, lattice, hits), 3, "kmeans", weighted_by_hits=False)
    for i in range(3):
        wanted = points[even["cluster"].values.ravel() == i].mean(axis=0)
        np.testing.assert_allclose(even["cluster_center"][i], wanted, rtol=1e-12)


def test_nodes_without_hits_do_not_move_the_means(rng):
    lattice = Lattice(4, 6)
    group, points = blobs(lattice, rng, 2)
    hits = np.ones(24, dtype=np.int64)
    points[5], hits[5] = points[5] + 500.0, 0
    found = clusters(model_of(points, lattice, hits), 2, "kmeans")
    labels = found["cluster"].values.ravel()
    np.testing.assert_array_equal(np.delete(labels, 5), np.delete(group, 5))
    assert np.abs(found["cluster_center"].values).max() < 20


def test_the_maps_own_space_counts(rng):
    lattice = Lattice(6, 8)
    group, points = blobs(lattice, rng, 2)
    points[:, 1] = 0.1 * rng.normal(size=48)
    used = np.array([True, False, True])
    space = FeatureSpace(np.array([7.0, 0, -2]), np.array([1e-6, 1, 1e6]), np.ones(3), used)
    found = clusters(model_of(points, lattice, space=space), 2)
    np.testing.assert_array_equal(found["cluster"].values.ravel(), group)
    centers = np.stack([points[group == i].mean(axis=0) for i in range(2)])
    np.testing.assert_allclose(found["scaled_cluster_center"].values[:, used], centers, rtol=1e-12)
    np.testing.assert_allclose(found["cluster_center"], space.to_data_units(centers), rtol=1e-12)
    assert np.isnan(found["cluster_center"].values[:, 1]).all()
    assert np.isnan(found["scaled_cluster_center"].values[:, 1]).all()


def test_centers_of_directions_are_directions(rng):
    space = FeatureSpace(np.zeros(3), np.ones(3), np.ones(3), np.ones(3, dtype=bool), metric="cosine")
    points = space.to_sphere(rng.normal(size=(24, 3)))
    found = clusters(model_of(points, Lattice(4, 6), space=space), 3)
    np.testing.assert_allclose(np.linalg.norm(found["scaled_cluster_center"], axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("method", ["average", "ward", "kmeans"])
@pytest.mark.parametrize(
    ("values", "suggested"),
    [([1.0], 1), ([1, 2], 1), ([1, 1], 1), ([1, 1, 1, 1], 1), ([1, 1, 2, 2], 2), ([1, 1, 9, 9, 10, 10], 2)],
)
def test_few_different_nodes(method, values, suggested):
    model = model_of(np.array(values, dtype=np.float64)[:, None], Lattice(1, len(values)))
    found = clusters(model, method=method)
    assert found.attrs["n_clusters"] == suggested == found.sizes["cluster"]
    distinct = len(set(values))
    assert clusters(model, distinct, method).sizes["cluster"] == distinct
    with pytest.raises(ParameterError, match=f"from 1 to {distinct}, the number of different nodes"):
        clusters(model, distinct + 1, method)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 6), cols=st.integers(1, 6), kinds=st.integers(1, 4))
def test_any_codebook(seed, rows, cols, kinds):
    rng = np.random.default_rng(seed)
    lattice = Lattice(rows, cols)
    points = rng.normal(size=(kinds, 2))[rng.integers(0, kinds, lattice.n_nodes)]
    model = model_of(points, lattice, rng.integers(0, 3, lattice.n_nodes))
    found = clusters(model)
    labels = found["cluster"].values
    assert set(labels.ravel().tolist()) == set(range(found.sizes["cluster"]))
    assert pieces(labels, lattice) == found.sizes["cluster"]
    assert int(found["cluster_nodes"].sum()) == lattice.n_nodes


@pytest.mark.parametrize("n_clusters", [0, -1, 2.0, True, "3"])
def test_numbers_that_can_not_be(n_clusters, rng):
    with pytest.raises(ParameterError, match="n_clusters"):
        clusters(model_of(rng.normal(size=(6, 2)), Lattice(2, 3)), n_clusters)


def test_arguments_that_can_not_be(rng, monkeypatch):
    model = model_of(rng.normal(size=(6, 2)), Lattice(2, 3), np.zeros(6, dtype=np.int64))
    with pytest.raises(ParameterError, match="method must be one of"):
        clusters(model, 2, "dbscan")
    for seed in (-1, 2**32, 0.5):
        with pytest.raises(ParameterError, match="seed must be"):
            clusters(model, 2, seed=seed)
    for options, words in (
        ({"method": "ward", "weighted_by_hits": True}, "use `method='average'`"),
        ({"method": "kmeans", "connected": True}, "use `method='average'`"),
        ({"method": "kmeans", "suggest_by": "elbow"}, "use `suggest_by='silhouette'`"),
        ({"suggest_by": "gap"}, "suggest_by must be one of"),
        ({"resamplings": -1}, "`resamplings` must be a whole number, 0 or more"),
        ({"resamplings": 2.5}, "`resamplings` must be a whole number, 0 or more"),
    ):
        with pytest.raises(ParameterError, match=words):
            clusters(model, 2, **options)
    for method in ("average", "kmeans"):
        with pytest.raises(ParameterError, match="different nodes with hits"):
            clusters(model, 2, method, weighted_by_hits=True)
        assert clusters(model, 2, method).attrs["weighted_by_hits"] == 0  # as there are none

    def without(name, *rest, plain=builtins.__import__):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ParameterError, match=r"pip install 'som_dask\[analysis\]'"):
        clusters(model, 2)


def test_iris_species_are_found_without_being_told():
    iris = pytest.importorskip("sklearn.datasets").load_iris()
    values = (iris.data - iris.data.mean(axis=0)) / iris.data.std(axis=0)
    model = train(values, Lattice(8, 8), MapConfig(epochs=10))
    labels = infer(values, model).compute()
    for method in ("ward", "kmeans"):  # groups of one size, two of which touch
        mine = sample_clusters(labels, clusters(model, 3, method)).values
        agreeing = sum(np.bincount(iris.target[mine == i]).max() for i in range(3))
        assert agreeing / len(values) > 0.75
        assert MOST_SUGGESTED >= clusters(model, method=method).attrs["n_clusters"] >= 2


def test_nodes_count_by_the_weight_of_their_samples(rng):
    lattice, n = Lattice(4, 5), 20
    points, share = rng.normal(size=(n, 2)), rng.integers(1, 6, n) / 64
    model = model_of(points, lattice, rng.integers(1, 6, n))
    model["hit_share"] = (("row", "col"), (share / share.sum()).reshape(4, 5))
    found = clusters(model, 3, "kmeans", seed=3)
    assert_same_split(
        found["cluster"].values.ravel(),
        clusters(model_of(points, lattice, (64 * share).astype(int)), 3, "kmeans", seed=3)["cluster"].values.ravel(),
    )
    for i in range(3):
        mine = found["cluster"].values.ravel() == i
        assert float(found["cluster_share"][i]) == pytest.approx(share[mine].sum() / share.sum())
        np.testing.assert_allclose(found["cluster_center"][i], np.average(points[mine], axis=0, weights=share[mine]))
        assert found["cluster_hits"][i] == model["hits"].values.ravel()[mine].sum()
    regions = clusters(model.drop_vars("hit_share"), 3)
    hits = regions["cluster_hits"]
    np.testing.assert_array_equal(regions["cluster_share"], hits / hits.sum())
    model["hits"] = 0 * model["hits"]
    assert bool(clusters(model.drop_vars("hit_share"), 3)["cluster_share"].isnull().all())


def assert_same_split(one, other):
    np.testing.assert_array_equal(one[:, None] == one, other[:, None] == other)
