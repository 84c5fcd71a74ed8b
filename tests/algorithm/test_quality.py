"""Quality: errors, distortion, U-matrix and hits against literal loops."""

import math

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.algorithm.quality import (
    distortion,
    hit_histogram,
    node_means,
    quantization_error,
    topographic_error,
    u_matrix,
)
from tests.reference.twins import NEIGHBORHOODS, dense_matrix, every_lattice, name_of, plain_distances

LATTICES = pytest.mark.parametrize("lattice", every_lattice(), ids=name_of)


def neighbors_of(node, lattice):
    """Flat indices of the nodes beside one: at distance 1, and on a rectangular lattice sqrt(2) too."""
    reach = 1.0 if lattice.topology == "hexagonal" else math.sqrt(2)
    distances = plain_distances(lattice)[node]
    return [other for other in range(lattice.n_nodes) if other != node and distances[other] < reach + 1e-9]


@LATTICES
def test_u_matrix_is_the_mean_distance_to_the_neighbors(lattice, rng):
    codebook = rng.normal(1000.0, 1.0, (lattice.n_nodes, 3))
    expected = np.zeros(lattice.n_nodes)
    for node in range(lattice.n_nodes):
        beside = neighbors_of(node, lattice)
        if beside:
            expected[node] = sum(math.dist(codebook[node], codebook[other]) for other in beside) / len(beside)
    result = u_matrix(codebook, lattice)
    assert result.shape == lattice.shape
    np.testing.assert_allclose(result.ravel(), expected, rtol=1e-12)


def test_u_matrix_of_a_map_by_hand():
    rectangular = u_matrix(np.array([[0.0], [1.0], [5.0]]), Lattice(1, 3, "rectangular"))
    np.testing.assert_array_equal(rectangular, [[1.0, 2.5, 4.0]])
    # On a hexagonal 2 x 2 map nodes (0, 0) and (1, 1) are not neighbors.
    hexagonal = u_matrix(np.array([[0.0], [1.0], [2.0], [9.0]]), Lattice(2, 2, "hexagonal"))
    np.testing.assert_allclose(hexagonal, [[1.5, 10 / 3], [10 / 3, 7.5]])
    np.testing.assert_array_equal(u_matrix(np.ones((1, 2)), Lattice(1, 1)), [[0.0]])


@LATTICES
def test_topographic_error_counts_the_pairs_apart(lattice, rng):
    bmu, second = rng.integers(0, lattice.n_nodes, (2, 50))
    misses = sum(b != a and b not in neighbors_of(a, lattice) for a, b in zip(bmu, second, strict=True))
    assert topographic_error(bmu, second, lattice) == misses / 50


def test_topographic_error_over_the_seam_and_across_corners():
    first, last, diagonal = np.array([0]), np.array([3]), np.array([5])
    for boundary, error in (("planar", 1.0), ("cylindrical", 0.0), ("toroidal", 0.0)):
        assert topographic_error(first, last, Lattice(4, 4, "rectangular", boundary)) == error
    assert topographic_error(first, diagonal, Lattice(4, 4, "rectangular")) == 0.0
    assert topographic_error(first, diagonal, Lattice(4, 4, "hexagonal")) == 1.0


def test_quantization_error_is_the_mean_distance(rng):
    distance = rng.random(1001)
    assert quantization_error(distance) == pytest.approx(math.fsum(distance) / 1001, rel=1e-14)
    assert type(quantization_error(distance)) is float


def test_hits_are_counted_per_node():
    lattice = Lattice(2, 3)
    hits = hit_histogram(np.array([5, 0, 5, 2, 5]), lattice)
    np.testing.assert_array_equal(hits, [[1, 0, 1], [0, 0, 3]])
    assert hits.dtype == np.int64
    np.testing.assert_array_equal(hit_histogram(np.empty(0, dtype=np.int64), lattice), np.zeros((2, 3)))


def test_means_of_nodes_without_samples_are_missing():
    np.testing.assert_array_equal(node_means(np.array([3.0, 0.0, 5.0]), np.array([2, 0, 1])), [1.5, np.nan, 5.0])
    table = node_means(np.array([[2.0, 4.0], [1.0, 1.0]]), np.array([[2], [0]]))
    np.testing.assert_array_equal(table, [[1.0, 2.0], [np.nan, np.nan]])


def deviations_of(samples, bmu, codebook):
    """Number, sum and sum of squares of what the samples differ from their nodes by, feature by feature."""
    known = np.zeros(codebook.shape, dtype=np.int64)
    sums, squares = np.zeros(codebook.shape), np.zeros(codebook.shape)
    for sample, node in zip(samples, bmu, strict=True):
        for j, value in enumerate(sample):
            if not math.isnan(value):
                known[node, j] += 1
                sums[node, j] += value - codebook[node, j]
                squares[node, j] += (value - codebook[node, j]) ** 2
    return known, sums, squares


def plain_distortion(samples, bmu, codebook, h):
    """Sample by sample and node by node."""
    total = 0.0
    for sample, node in zip(samples, bmu, strict=True):
        for other in range(len(codebook)):
            squared = sum((x - w) ** 2 for x, w in zip(sample, codebook[other], strict=True) if not math.isnan(x))
            total += h[node, other] * squared
    return total / len(samples)


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
@pytest.mark.parametrize("lattice", every_lattice(((1, 1), (1, 5), (4, 5))), ids=name_of)
def test_distortion_is_the_sum_over_samples_and_nodes(lattice, neighborhood, rng):
    codebook = rng.normal(1e5, 1.0, (lattice.n_nodes, 3))
    samples = rng.normal(1e5, 2.0, (30, 3))
    samples[rng.random(samples.shape) < 0.2] = np.nan
    bmu = rng.integers(0, lattice.n_nodes, 30)
    for radius in (0.4, 1.5):
        expected = plain_distortion(samples, bmu, codebook, dense_matrix(lattice, neighborhood, radius))
        sums = deviations_of(samples, bmu, codebook)
        found = distortion(*sums, len(samples), codebook, lattice, neighborhood, radius)
        assert found == pytest.approx(expected, rel=1e-10)


def test_distortion_without_neighbors_is_the_mean_squared_distance(rng):
    lattice, codebook, samples = Lattice(4, 4), rng.normal(size=(16, 2)), rng.normal(size=(50, 2))
    bmu = rng.integers(0, 16, 50)
    sums = deviations_of(samples, bmu, codebook)
    expected = np.mean(np.sum((samples - codebook[bmu]) ** 2, axis=1))
    assert distortion(*sums, 50, codebook, lattice, Neighborhood("bubble"), 0.5) == pytest.approx(expected)
    nothing = deviations_of(samples[:0], bmu[:0], codebook)
    assert math.isnan(distortion(*nothing, 0, codebook, lattice, Neighborhood(), 1.0))


@pytest.mark.parametrize("exponent", [-900, 900])
def test_u_matrix_of_numbers_whose_squares_leave_float64(exponent, rng):
    lattice, codebook = Lattice(3, 4), rng.normal(size=(12, 3))
    found = u_matrix(np.ldexp(codebook, exponent), lattice)
    np.testing.assert_allclose(np.ldexp(found, -exponent), u_matrix(codebook, lattice), rtol=1e-15)
