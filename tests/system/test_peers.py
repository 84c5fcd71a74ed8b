"""The same map as other packages make from the same initial codebook, to the precision of theirs."""

import numpy as np
import pytest
from minisom import MiniSom
from xpysom import XPySom

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.algorithm.quality import quantization_error, topographic_error, u_matrix
from tests.reference.array_search import find_bmus, prepare
from tests.reference.twins import next_codebook, sums_of

FEATURES = 4


@pytest.fixture
def samples(rng):
    """(600, 4) samples of five overlapping groups."""
    return rng.normal(size=(600, FEATURES)) + 2 * rng.normal(size=(5, FEATURES))[rng.integers(0, 5, 600)]


def train(samples, codebook, lattice, radii, kernel="gaussian"):
    for radius in radii:
        sums = sums_of(samples, codebook, lattice)
        codebook = next_codebook(sums, codebook, lattice, Neighborhood(kernel), radius)
    return codebook


def minisom_after(samples, weights, sigma, topology, kernel="gaussian"):
    """MiniSom after one offline batch epoch; in the first of one epoch it has not decayed anything yet."""
    peer = MiniSom(*weights.shape, sigma=sigma, learning_rate=1.0, topology=topology, neighborhood_function=kernel)
    peer._weights = weights.copy()
    peer.train_batch_offline(samples, 1)
    return peer


def test_minisom_on_a_rectangular_map(samples):
    lattice, weights = Lattice(6, 7, "rectangular"), samples[:42].reshape(6, 7, FEATURES)
    ours = samples[:42]
    for sigma in (3.0, 2.0, 1.5, 1.0, 0.7):
        peer = minisom_after(samples, weights, sigma, "rectangular")
        weights, ours = peer.get_weights(), train(samples, ours, lattice, [sigma])
        np.testing.assert_allclose(ours, weights.reshape(42, FEATURES), rtol=0, atol=1e-10)
    found = find_bmus(samples, prepare(ours))
    assert quantization_error(found.distance) == pytest.approx(peer.quantization_error(samples), rel=1e-10)
    misses = topographic_error(found.bmu, found.second, lattice)
    assert misses == pytest.approx(peer.topographic_error(samples), abs=1e-12)
    assert 0 < misses < 1
    means = u_matrix(ours, lattice)
    np.testing.assert_allclose(means / means.max(), peer.distance_map(scaling="mean"), rtol=1e-9)


def test_minisom_on_a_hexagonal_map(samples):
    # MiniSom's first axis runs along our rows. It shifts every other of them, counted from the last, to the left:
    # with an odd number of rows that is our lattice, moved by half a node.
    lattice = Lattice(7, 6, "hexagonal")
    ours = samples[:42]
    weights = ours.reshape(7, 6, FEATURES).transpose(1, 0, 2)
    for sigma in (3.0, 1.5, 1.0, 0.7):
        peer = minisom_after(samples, weights, sigma, "hexagonal")
        weights, ours = peer.get_weights(), train(samples, ours, lattice, [sigma])
        expected = weights.transpose(1, 0, 2).reshape(42, FEATURES)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)
    found = find_bmus(samples, prepare(ours))
    misses = topographic_error(found.bmu, found.second, lattice)
    assert misses == pytest.approx(peer.topographic_error(samples), abs=1e-12)
    assert 0 < misses < 1


@pytest.mark.parametrize("kernel", ["gaussian", "mexican_hat"])
def test_minisoms_neighborhood_functions(kernel):
    for topology in ("rectangular", "hexagonal"):
        peer = MiniSom(6, 7, FEATURES, neighborhood_function=kernel, topology=topology)
        # The middle of 7 rows (hexagonal: the peer's second axis), from which both lattices look the same.
        lattice = Lattice(7, 6, topology)
        node = np.ravel_multi_index((3, 2), lattice.shape)
        for sigma in (0.7, 1.0, 2.5, 9.0):
            ours = Neighborhood(kernel).weights(lattice.squared_distances(node, np.arange(42)), sigma)
            np.testing.assert_allclose(ours.reshape(7, 6).T, peer.neighborhood((2, 3), sigma), rtol=0, atol=1e-12)


def test_minisom_with_a_mexican_hat_that_inhibits_nothing(samples):
    # With sigma as long as the map there are no negative weights, and nothing to limit.
    lattice, weights = Lattice(6, 7, "rectangular"), samples[:42].reshape(6, 7, FEATURES)
    peer = minisom_after(samples, weights, 8.0, "rectangular", "mexican_hat")
    ours = train(samples, samples[:42], lattice, [8.0], "mexican_hat")
    np.testing.assert_allclose(ours, peer.get_weights().reshape(42, FEATURES), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("kernel", "sigma", "radius"), [("triangle", 3.0, 3.0), ("bubble", 3.0, 2.5)])
def test_minisom_on_a_map_of_one_row(kernel, sigma, radius, samples):
    # Its triangle is a pyramid and its bubble an open square: along a line they are ours.
    lattice, weights = Lattice(1, 12, "rectangular"), samples[:12].reshape(1, 12, FEATURES)
    ours = samples[:12]
    for _ in range(3):
        peer = minisom_after(samples, weights, sigma, "rectangular", kernel)
        weights, ours = peer.get_weights(), train(samples, ours, lattice, [radius], kernel)
        np.testing.assert_allclose(ours, weights.reshape(12, FEATURES), rtol=0, atol=1e-10)


@pytest.mark.parametrize("std_coeff", [0.5, 1.0])
def test_xpysom_on_a_rectangular_map(std_coeff, samples):
    # Its sigma is ours divided by std_coeff; radii fall linearly to sigmaN in the last epoch; it works in float32.
    epochs, first, last = 5, 4.0, 1.0
    peer = XPySom(
        6,
        7,
        FEATURES,
        sigma=first,
        sigmaN=last,
        decay_function="linear",
        neighborhood_function="gaussian",
        std_coeff=std_coeff,
        compact_support=False,
        xp=np,
    )
    peer._weights = samples[:42].reshape(6, 7, FEATURES)
    peer.train(samples, epochs)
    radii = std_coeff * np.linspace(first, last, epochs)
    ours = train(samples, samples[:42], Lattice(6, 7, "rectangular"), radii)
    np.testing.assert_allclose(peer.get_weights().reshape(42, FEATURES), ours, rtol=0, atol=1e-5)
    found = find_bmus(samples, prepare(ours))
    assert quantization_error(found.distance) == pytest.approx(peer.quantization_error(samples), rel=1e-5)
