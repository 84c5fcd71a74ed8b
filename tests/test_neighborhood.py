"""Neighborhood: kernels, and smoothing against the dense matrix that it never forms."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from som_dask.errors import ParameterError
from som_dask.lattice import Lattice
from som_dask.neighborhood import Neighborhood, smooth
from tests.twins import BOUNDARIES, NEIGHBORHOODS, TOPOLOGIES, dense_matrix, every_lattice, exists, name_of

RADII = (0.4, 1.0, math.sqrt(3), 2.5, 30.0)


def assert_smooth_is_dense(lattice, neighborhood, radius, values):
    matrix = dense_matrix(lattice, neighborhood, radius)
    scale = (matrix @ np.abs(values)).max()
    result = smooth(values, lattice, neighborhood, radius)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, matrix @ values, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
@pytest.mark.parametrize("lattice", every_lattice(), ids=name_of)
def test_smoothing_is_the_dense_product(lattice, neighborhood, rng):
    for radius in RADII:
        assert_smooth_is_dense(lattice, neighborhood, radius, rng.normal(size=(lattice.n_nodes, 3)))


@given(
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    topology=st.sampled_from(TOPOLOGIES),
    boundary=st.sampled_from(BOUNDARIES),
    neighborhood=st.sampled_from(NEIGHBORHOODS),
    radius=st.floats(0.2, 15.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_smoothing_is_the_dense_product_of_any_shape(rows, cols, topology, boundary, neighborhood, radius, seed):
    assume(exists(rows, topology, boundary))
    values = np.random.default_rng(seed).normal(size=(rows * cols, 2))
    assert_smooth_is_dense(Lattice(rows, cols, topology, boundary), neighborhood, radius, values)


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
def test_far_nodes_keep_their_relative_precision(neighborhood):
    # A node far from all hits divides a tiny sum by a tiny count: neither may be lost in a neighbor's rounding.
    lattice, radius = Lattice(9, 8, "hexagonal"), 0.5
    values = np.zeros((lattice.n_nodes, 1))
    values[0] = 1.0
    expected = dense_matrix(lattice, neighborhood, radius)[:, :1]
    np.testing.assert_allclose(smooth(values, lattice, neighborhood, radius), expected, rtol=1e-12)


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
def test_smoothing_leaves_its_input_alone(neighborhood, rng):
    lattice = Lattice(4, 5)
    values = np.asfortranarray(rng.normal(size=(20, 3)))
    values.setflags(write=False)
    expected = dense_matrix(lattice, neighborhood, 1.5) @ values
    np.testing.assert_allclose(smooth(values, lattice, neighborhood, 1.5), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
def test_smoothing_never_forms_the_dense_matrix(neighborhood):
    lattice = Lattice(60, 60)
    values = np.ones((lattice.n_nodes, 2))
    tracemalloc.start()
    smooth(values, lattice, neighborhood, 5.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * lattice.n_nodes**2 / 20


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
@pytest.mark.parametrize("radius", [5e-324, 1e-170, 1e-3, 1.0, 1e3, 1e300])
def test_weight_at_no_distance_is_one(neighborhood, radius):
    assert neighborhood.weights(np.zeros(1), np.float64(radius)) == 1.0


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_nodes_that_reach_the_same_others_stay_equal(topology, boundary, rng):
    lattice, values = Lattice(6, 7, topology, boundary), rng.normal(size=(42, 3))
    for neighborhood, radius in (
        (Neighborhood("bubble"), 100.0),
        (Neighborhood("bubble"), 4.0),
        (Neighborhood(), 1e9),
    ):
        result, matrix = smooth(values, lattice, neighborhood, radius), dense_matrix(lattice, neighborhood, radius)
        for node, reached in enumerate(matrix):
            first = np.flatnonzero((matrix == reached).all(axis=1))[0]
            np.testing.assert_array_equal(result[node], result[first])


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
def test_a_tiny_radius_leaves_each_node_alone(neighborhood, rng):
    values = rng.normal(size=(12, 2))
    np.testing.assert_array_equal(smooth(values, Lattice(3, 4), neighborhood, 1e-170), values)


def test_gaussian_weights_follow_the_formula():
    squared = np.array([[0.0, 1.0, 2.0], [3.0, 50.0, 1e6]])
    expected = [[math.exp(-d / (2 * 1.3**2)) for d in row] for row in squared]
    np.testing.assert_allclose(Neighborhood().weights(squared, 1.3), expected, rtol=1e-15)


def test_the_rim_of_a_bubble_belongs_to_it():
    lattice = Lattice(7, 7, "hexagonal")
    squared = lattice.squared_distances(24, np.arange(49))  # from the middle node
    bubble = Neighborhood("bubble")
    assert bubble.weights(squared, 0.999).sum() == 1
    assert bubble.weights(squared, 1.0).sum() == 7
    assert bubble.weights(squared, math.sqrt(3)).sum() == 13
    assert bubble.weights(squared, 2.0).sum() == 19


def test_the_rim_of_a_compact_gaussian_belongs_to_it():
    weights = Neighborhood(support=2.0).weights(np.array([0.0, 1.0, 9.0, 9.001]), 1.5)
    np.testing.assert_allclose(weights, [1.0, math.exp(-1 / 4.5), math.exp(-2), 0.0], rtol=1e-15)


def test_endless_support_is_none(rng):
    lattice, values = Lattice(4, 5), rng.normal(size=(20, 2))
    endless = smooth(values, lattice, Neighborhood(support=math.inf), 1.0)
    np.testing.assert_allclose(endless, smooth(values, lattice, Neighborhood(), 1.0), rtol=0, atol=1e-12)


def test_unusable_neighborhoods_are_refused():
    with pytest.raises(ParameterError, match="neighborhood must be one of"):
        Neighborhood("triangle")
    for support in (0.0, -1.0, math.nan):
        with pytest.raises(ParameterError, match="support must be positive"):
            Neighborhood(support=support)
    with pytest.raises(ParameterError, match="support belongs to the gaussian"):
        Neighborhood("bubble", support=2.0)
