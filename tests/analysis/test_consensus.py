"""Consensus over resamplings: what they agree on, the same every time, and how stable clusters are."""

import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.clusters import clusters
from som_dask.analysis.consensus import find_consensus, measure_stability, resample
from som_dask.analysis.node_clustering import NodeClustering
from tests.analysis.test_clusters import blobs, model_of, pieces

pytest.importorskip("sklearn.cluster")


def clustering_of(points, method="average", lattice=None, seed=0):
    return NodeClustering(method=method, points=points, lattice=lattice, seed=seed)


@pytest.mark.parametrize("method", ["average", "ward", "kmeans"])
def test_a_tenth_of_the_nodes_is_left_out_each_time(method, rng, monkeypatch):
    _, points = blobs(Lattice(6, 10), rng, 3)
    weights, seen = np.ones(60), []
    plain = NodeClustering.of
    monkeypatch.setattr(NodeClustering, "of", lambda self, weights: seen.append(weights) or plain(self, weights))
    some = resample(clustering_of(points, method), weights, 3, 14, 1)
    assert some.shape == (60, 14)
    left_out = np.array([each == 0 for each in seen])
    assert 0.07 < left_out.mean() < 0.13
    assert left_out.any(axis=1).all()
    assert len({tuple(each) for each in left_out.tolist()}) == 14
    again = resample(clustering_of(points, method), weights, 3, 5, 1)
    np.testing.assert_array_equal(again, some[:, :5])  # more resamplings begin with the same
    assert (resample(clustering_of(points, method), weights, 3, 5, 2) != again).any() or method != "ward"


def test_consensus_is_what_most_resamplings_say():
    # Nodes 0 to 3 in a row, in four resamplings: only one has 1 with 2 and 3.
    resampled = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]], dtype=np.float64)
    for lattice in (Lattice(1, 4), None):
        found = find_consensus(clustering_of(np.zeros((4, 1)), lattice=lattice), resampled, np.ones(4), 2)
        assert found[0] == found[1] != found[2] == found[3]


def test_stability_is_the_mean_of_the_best_jaccard_index():
    labels, weights = np.array([0, 0, 1, 1]), np.array([3.0, 1, 2, 2])
    resampled = np.array([[5, 5, 7, 7], [0, 1, 1, 1]], dtype=np.float64).T
    found = measure_stability(labels, resampled, weights)
    np.testing.assert_allclose(found, [(1 + 3 / 4) / 2, (1 + 4 / 5) / 2])


@pytest.mark.parametrize("method", ["average", "ward", "kmeans"])
def test_clusters_with_resamplings(method, rng):
    lattice = Lattice(6, 9)
    group, codebook = blobs(lattice, rng, 3)
    model = model_of(codebook, lattice, rng.integers(1, 9, 54))
    found = clusters(model, 3, method, resamplings=12, seed=5)
    np.testing.assert_array_equal(found["cluster"].values.ravel(), group)
    np.testing.assert_allclose(found["cluster_stability"], 1.0)
    assert found.attrs["resamplings"] == 12
    xr.testing.assert_identical(found, clusters(model, 3, method, resamplings=12, seed=5))
    unclear = clusters(model, 8, method, resamplings=12, seed=5)
    assert 0 < unclear["cluster_stability"].values.min() < 0.9
    assert unclear.sizes["cluster"] == 8
    if method != "kmeans":
        assert pieces(unclear["cluster"].values, lattice) == 8
    assert "cluster_stability" not in clusters(model, 3, method)


@pytest.mark.parametrize("values", [[1.0], [1, 1], [1, 2], [1, 1, 2, 2, 3]])
@pytest.mark.parametrize("method", ["average", "ward", "kmeans"])
def test_few_nodes_may_all_be_left_out(method, values):
    model = model_of(np.array(values, dtype=np.float64)[:, None], Lattice(1, len(values)))
    distinct = len(set(values))
    found = clusters(model, distinct, method, resamplings=10)
    assert found.sizes["cluster"] == distinct
