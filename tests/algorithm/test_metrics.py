"""Metrics: distances against their formulas, for numbers of any size."""

import numpy as np
import pytest

from som_dask.algorithm.metrics import METRICS, euclidean_distances


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_distances_neither_overflow_nor_vanish(size):
    codebook = np.array([[0.0, 0.0], [size, size]])
    tile = np.array([[3 * size, 4 * size], [size, size], [size, 2 * size]])
    found = euclidean_distances(tile, np.array([0, 1, 1]), codebook)
    np.testing.assert_allclose(found, [5 * size, 0.0, size], rtol=1e-15)


@pytest.mark.parametrize("name", METRICS)
def test_no_distance_is_beyond_the_farthest(name, rng):
    rule = METRICS[name]
    points, nodes = rng.normal(size=(200, 5)) * [1, 2, 3, 4, 50], rng.normal(size=(7, 5))
    if rule.on_sphere:
        points, nodes = (a / np.linalg.norm(a, axis=1)[:, None] for a in (points, nodes))
    spans = np.maximum(points.max(axis=0) - nodes.min(axis=0), nodes.max(axis=0) - points.min(axis=0))
    found = rule.distances(points, rng.integers(0, 7, 200), nodes)
    assert found.max() <= rule.farthest(spans)


@pytest.mark.parametrize("name", METRICS)
def test_features_that_are_missing_do_not_count(name, rng):
    points, nodes, bmu = rng.normal(size=(20, 4)), rng.normal(size=(3, 4)), rng.integers(0, 3, 20)
    lacking = points.copy()
    lacking[:, 2] = np.nan
    fewer = METRICS[name].distances(np.delete(points, 2, axis=1), bmu, np.delete(nodes, 2, axis=1))
    np.testing.assert_array_equal(METRICS[name].distances(lacking, bmu, nodes), fewer)


def test_manhattan_is_the_sum_of_sizes(rng):
    points, nodes, bmu = rng.normal(size=(30, 4)), rng.normal(size=(5, 4)), rng.integers(0, 5, 30)
    found = METRICS["manhattan"].distances(points, bmu, nodes)
    np.testing.assert_allclose(found, np.abs(points - nodes[bmu]).sum(axis=1), rtol=1e-15)


def test_memberships_fall_off_by_the_euclidean_distance_of_directions(rng):
    points, nodes = rng.normal(size=(30, 4)), rng.normal(size=(5, 4))
    points, nodes = (a / np.linalg.norm(a, axis=1)[:, None] for a in (points, nodes))
    bmu = rng.integers(0, 5, 30)
    straight = METRICS["cosine"].to_euclidean(METRICS["cosine"].distances(points, bmu, nodes))
    np.testing.assert_allclose(straight, euclidean_distances(points, bmu, nodes), rtol=1e-14)


def test_cosine_is_one_less_the_cosine(rng):
    points, nodes = rng.normal(size=(30, 4)), rng.normal(size=(5, 4))
    points /= np.linalg.norm(points, axis=1)[:, None]
    nodes /= np.linalg.norm(nodes, axis=1)[:, None]
    bmu = rng.integers(0, 5, 30)
    found = METRICS["cosine"].distances(points, bmu, nodes)
    np.testing.assert_allclose(found, 1 - (points * nodes[bmu]).sum(axis=1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("n_features", [1, 3, 7, 8, 18, 50])
@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 203])
def test_distances_are_those_of_the_plain_loop_to_the_bit(n, n_features, rng):
    points, nodes, bmu = rng.normal(size=(n, n_features)), rng.normal(size=(7, n_features)), rng.integers(0, 7, n)
    points[n // 2 : n // 2 + 1, 0] = np.nan
    points[n // 3 : n // 3 + 1] *= 1e200
    wanted = []
    for point, node in zip(points, nodes[bmu], strict=True):
        differences = np.where(np.isnan(point), 0.0, point - node)
        largest = np.abs(differences).max()
        factor = largest if largest > 1e150 else 1.0
        squared = 0.0
        for difference in differences / factor:
            squared += difference * difference
        wanted.append(np.sqrt(squared) * factor)
    np.testing.assert_array_equal(euclidean_distances(points, bmu, nodes), wanted)
