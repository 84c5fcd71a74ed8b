"""Neighborhood functions: their formulas, their rims, and what is refused."""

import math

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.errors import ParameterError
from tests.reference.twins import EXCITATION, NEIGHBORHOODS

KERNELS = (*NEIGHBORHOODS, EXCITATION)


@pytest.mark.parametrize("neighborhood", KERNELS, ids=str)
@pytest.mark.parametrize("radius", [5e-324, 1e-170, 1e-3, 1.0, 1e3, 1e300])
def test_weight_at_no_distance_is_one(neighborhood, radius):
    assert neighborhood.weights(np.zeros(1), np.float64(radius)) == 1.0


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


@pytest.mark.parametrize("neighborhood", KERNELS, ids=str)
def test_weights_follow_the_formula(neighborhood):
    squared, radius = np.array([[0.0, 0.5, 1.0], [1.69, 3.0, 50.0]]), 1.3
    formulas = {
        "gaussian": lambda q: math.exp(-q / 2),
        "cut_gaussian": lambda q: math.exp(-q / 2) if q <= 1 else 0,
        "bubble": lambda q: q <= 1,
        "epanechnikov": lambda q: 1 - q if q < 1 else 0,
        "triangle": lambda q: 1 - math.sqrt(q) if q < 1 else 0,
        "mexican_hat": lambda q: (1 - q) * math.exp(-q / 2) if q < 1 or not neighborhood.positive else 0,
    }
    expected = np.array([[formulas[neighborhood.kernel](d / radius**2) for d in row] for row in squared])
    if neighborhood.support is not None:
        expected[squared > (neighborhood.support * radius) ** 2] = 0
    np.testing.assert_allclose(neighborhood.weights(squared, radius), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kernel", ["epanechnikov", "triangle", "mexican_hat"])
def test_what_falls_to_zero_is_zero_on_the_rim(kernel):
    neighborhood = Neighborhood(kernel).excitation
    for radius in (1.0, math.sqrt(3), 2.0, math.sqrt(7)):  # distances on a hexagonal lattice
        squared = Lattice(9, 9, "hexagonal").squared_distances(40, np.arange(81))
        weights = neighborhood.weights(squared, radius)
        inside = squared < radius**2 - 0.1
        assert (weights[inside] > 0.05).all()
        assert not weights[~inside].any()


def test_unusable_neighborhoods_are_refused():
    with pytest.raises(ParameterError, match="neighborhood must be one of"):
        Neighborhood("box")
    for support in (0.0, -1.0, math.nan):
        with pytest.raises(ParameterError, match="support must be positive"):
            Neighborhood(support=support)
    with pytest.raises(ParameterError, match="support belongs to the gaussian"):
        Neighborhood("bubble", support=2.0)
    with pytest.raises(ParameterError, match="support belongs to the gaussian"):
        Neighborhood("cut_gaussian", support=2.0)
    with pytest.raises(ParameterError, match="no part that is not positive"):
        Neighborhood(positive=True)
