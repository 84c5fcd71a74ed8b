"""Smoothing against the dense matrix that it never forms, and the limit of inhibition."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from som_dask.algorithm import smoothing
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.algorithm.smoothing import INHIBITION, smooth, smooth_sums
from tests.reference.twins import (
    BOUNDARIES,
    EXCITATION,
    NEIGHBORHOODS,
    TOPOLOGIES,
    dense_matrix,
    every_lattice,
    exists,
    name_of,
)

KERNELS = (*NEIGHBORHOODS, EXCITATION)
HAT = Neighborhood("mexican_hat")
RADII = (0.4, 1.0, math.sqrt(3), 2.5, 30.0)


def assert_smooth_is_dense(lattice, neighborhood, radius, values):
    matrix = dense_matrix(lattice, neighborhood, radius)
    scale = (np.abs(matrix) @ np.abs(values)).max()
    result = smooth(values, lattice, neighborhood, radius)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, matrix @ values, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("neighborhood", KERNELS, ids=str)
@pytest.mark.parametrize("lattice", every_lattice(), ids=name_of)
def test_smoothing_is_the_dense_product(lattice, neighborhood, rng):
    for radius in RADII:
        assert_smooth_is_dense(lattice, neighborhood, radius, rng.normal(size=(lattice.n_nodes, 3)))


@given(
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    topology=st.sampled_from(TOPOLOGIES),
    boundary=st.sampled_from(BOUNDARIES),
    neighborhood=st.sampled_from(KERNELS),
    radius=st.floats(0.2, 15.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_smoothing_is_the_dense_product_of_any_shape(rows, cols, topology, boundary, neighborhood, radius, seed):
    assume(exists(rows, topology, boundary))
    values = np.random.default_rng(seed).normal(size=(rows * cols, 2))
    assert_smooth_is_dense(Lattice(rows, cols, topology, boundary), neighborhood, radius, values)


@pytest.mark.parametrize("neighborhood", KERNELS, ids=str)
def test_far_nodes_keep_their_relative_precision(neighborhood):
    # A node far from all hits divides a tiny sum by a tiny count: neither may be lost in a neighbor's rounding.
    lattice, radius = Lattice(9, 8, "hexagonal"), 0.5
    values = np.zeros((lattice.n_nodes, 1))
    values[0] = 1.0
    expected = dense_matrix(lattice, neighborhood, radius)[:, :1]
    np.testing.assert_allclose(smooth(values, lattice, neighborhood, radius), expected, rtol=1e-12)


@pytest.mark.parametrize("neighborhood", KERNELS, ids=str)
def test_smoothing_leaves_its_input_alone(neighborhood, rng):
    lattice = Lattice(4, 5)
    values = np.asfortranarray(rng.normal(size=(20, 3)))
    values.setflags(write=False)
    expected = dense_matrix(lattice, neighborhood, 1.5) @ values
    np.testing.assert_allclose(smooth(values, lattice, neighborhood, 1.5), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("neighborhood", KERNELS, ids=str)
def test_smoothing_never_forms_the_dense_matrix(neighborhood):
    lattice = Lattice(60, 60)
    values = np.ones((lattice.n_nodes, 2))
    tracemalloc.start()
    smooth(values, lattice, neighborhood, 5.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * lattice.n_nodes**2 / 20


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


@pytest.mark.parametrize("neighborhood", KERNELS, ids=str)
def test_a_tiny_radius_leaves_each_node_alone(neighborhood, rng):
    values = rng.normal(size=(12, 2))
    np.testing.assert_array_equal(smooth(values, Lattice(3, 4), neighborhood, 1e-170), values)


@pytest.mark.parametrize("kernel", ["bubble", "triangle"])
@pytest.mark.parametrize(
    "lattice",
    [Lattice(40, 41), Lattice(40, 40, "hexagonal", "toroidal"), Lattice(41, 40, "rectangular"), Lattice(3, 300)],
    ids=name_of,
)
def test_rows_are_shared_among_all_threads_with_the_same_bits(lattice, kernel, rng, monkeypatch):
    values, found, shares = rng.normal(size=(lattice.n_nodes, 20)), [], []
    run = smoothing.run_in_threads
    monkeypatch.setattr(smoothing, "run_in_threads", lambda f, parts: shares.append(parts) or run(f, parts))
    for cores in (1, 2, 5, 16):
        monkeypatch.setattr(smoothing, "core_count", lambda cores=cores: cores)
        found.append(smooth(values, lattice, Neighborhood(kernel), 12.0))
        np.testing.assert_array_equal(found[-1], found[0])
    assert [len(parts) for parts in shares] == ([1, 2, 5, 16] if lattice.rows > 3 else [1] * 4)
    assert all([a for a, _ in parts] == [0, *(b for _, b in parts[:-1])] for parts in shares)
    assert all(parts[-1][1] == lattice.rows for parts in shares)


def test_rows_at_an_edge_cost_less_and_are_more_in_a_share(monkeypatch):
    monkeypatch.setattr(smoothing, "core_count", lambda: 4)
    shares = smoothing._share_rows(Lattice(100, 100), list(range(-99, 100)), 10)
    assert shares == [(0, 25), (25, 50), (50, 75), (75, 100)]  # every row reaches all others
    shares = smoothing._share_rows(Lattice(100, 100), list(range(-50, 51)), 10)
    lengths = [b - a for a, b in shares]
    assert lengths[0] > lengths[1]
    assert lengths[3] > lengths[2]


def test_endless_support_is_none(rng):
    lattice, values = Lattice(4, 5), rng.normal(size=(20, 2))
    endless = smooth(values, lattice, Neighborhood(support=math.inf), 1.0)
    np.testing.assert_allclose(endless, smooth(values, lattice, Neighborhood(), 1.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("neighborhood", KERNELS, ids=str)
def test_weights_never_leave_their_range(neighborhood):
    squared = np.array([0.0, 1e-300, 1.0, 3.0, 1e5])
    for radius in (5e-324, 1e-160, 1e-3, 0.99, 1e3, 1e200):
        weights = neighborhood.weights(squared, radius)
        assert (weights <= 1).all()
        assert (weights >= (-2 * math.exp(-1.5) - 1e-15 if neighborhood.inhibits else 0)).all()  # least at d^2 = 3
        values = smooth(np.ones((12, 1)), Lattice(3, 4), neighborhood, radius)
        assert np.isfinite(values).all()


@pytest.mark.parametrize("kernel", ["cut_gaussian", "epanechnikov", "triangle"])
def test_a_compact_kernel_reaches_no_farther_than_sigma(kernel):
    lattice, values = Lattice(9, 9, "rectangular"), np.zeros((81, 1))
    values[40] = 1.0
    reached = smooth(values, lattice, Neighborhood(kernel), 3.0)[:, 0] != 0
    squared = lattice.squared_distances(40, np.arange(81))
    np.testing.assert_array_equal(reached, squared <= 9 if kernel == "cut_gaussian" else squared < 9)


def plain_sums(sums, weights, lattice, radius):
    """Numerators and denominators under a mexican hat, by two dense matrices."""
    hat, exciting = dense_matrix(lattice, HAT, radius), dense_matrix(lattice, EXCITATION, radius)
    inhibiting = exciting - hat
    above, below = np.zeros_like(sums), np.zeros_like(weights)
    for node in range(lattice.n_nodes):
        for j in range(sums.shape[1]):
            k = min(j, weights.shape[1] - 1)
            excitation, inhibition = exciting[node] @ weights[:, k], inhibiting[node] @ weights[:, k]
            share = min(1.0, INHIBITION * excitation / inhibition) if inhibition > 0 else 1.0
            if excitation > 0:
                above[node, j] = exciting[node] @ sums[:, j] - share * (inhibiting[node] @ sums[:, j])
                below[node, k] = excitation - share * inhibition
    return above, below


@pytest.mark.parametrize("per_feature", [False, True])
@pytest.mark.parametrize("radius", [0.4, 1.0, 1.3, 2.5, 30.0])
@pytest.mark.parametrize("lattice", every_lattice([(1, 1), (1, 6), (5, 4), (6, 6)]), ids=name_of)
def test_inhibition_is_limited_node_by_node(lattice, radius, per_feature, rng):
    weights = rng.integers(0, 9, (lattice.n_nodes, 3 if per_feature else 1)) * 0.75
    sums = rng.normal(size=(lattice.n_nodes, 3)) * weights
    found, expected = smooth_sums(sums, weights, lattice, HAT, radius), plain_sums(sums, weights, lattice, radius)
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f[e != 0], e[e != 0], rtol=0, atol=1e-11)
    assert (found[1] >= 0).all()


@given(radius=st.floats(0.3, 40.0), seed=st.integers(0, 2**32 - 1), boundary=st.sampled_from(BOUNDARIES))
def test_a_mexican_hat_leaves_the_range_of_the_data_by_a_nineteenth_at_most(radius, seed, boundary):
    rng, lattice = np.random.default_rng(seed), Lattice(6, 7, boundary=boundary)
    weights = rng.integers(0, 4, (42, 1)) * rng.integers(1, 1000, (42, 1)) / 8
    sums = weights * rng.choice([-1.0, 1.0], (42, 2))  # all at the two ends of the range
    above, below = smooth_sums(sums, weights, lattice, HAT, radius)
    reached = below[:, 0] > 0
    assert reached[weights[:, 0] > 0].all()  # a node that is hit excites itself
    assert np.abs(above[reached] / below[reached]).max(initial=0) <= 1 + 2 * INHIBITION / (1 - INHIBITION) + 1e-6


def test_a_node_that_nothing_excites_has_no_denominator():
    lattice, weights = Lattice(1, 9, "rectangular"), np.zeros((9, 1))
    weights[0] = 5.0
    _, below = smooth_sums(weights, weights, lattice, HAT, 3.0)
    np.testing.assert_array_equal(below[:, 0] > 0, [True] * 3 + [False] * 6)  # on the rim, at 3, nothing arrives


@pytest.mark.parametrize("neighborhood", [n for n in KERNELS if not n.inhibits], ids=str)
def test_sums_of_other_kernels_are_smoothed_and_no_more(neighborhood, rng):
    lattice, both = Lattice(4, 5), rng.random((20, 4))
    found = np.hstack(smooth_sums(both[:, :3], both[:, 3:], lattice, neighborhood, 1.5))
    np.testing.assert_array_equal(found, smooth(both, lattice, neighborhood, 1.5))
