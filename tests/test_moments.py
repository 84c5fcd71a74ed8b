"""Exact moments: against rational arithmetic, in any order, for numbers of any size."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.moments import ExactMoments


def moments_of(values, weights=None):
    moments = ExactMoments.zero(values.shape[1])
    moments.add(values, weights)
    return moments


def plain(values, weights):
    """Mean and deviation of one feature in rationals."""
    known = [(Fraction(float(x)), Fraction(float(w))) for x, w in zip(values, weights, strict=True) if x == x]
    total = sum(w for _, w in known)
    mean = sum(w * x for x, w in known) / total
    variance = sum(w * (x - mean) ** 2 for x, w in known) / total
    return float(mean), math.sqrt(variance)


@pytest.mark.parametrize("offset", [0.0, 1e5, 1e12])
@pytest.mark.parametrize("weighted", [False, True])
def test_mean_and_deviation_are_the_rational_ones(offset, weighted, rng):
    values = offset + rng.normal(size=(300, 3)) * [1.0, 1e-3, 50.0]
    values[rng.random(values.shape) < 0.2] = np.nan
    weights = rng.random(300) + 0.01 if weighted else np.ones(300)
    mean, deviation = moments_of(values, weights if weighted else None).mean_and_deviation()
    for j in range(3):
        expected = plain(values[:, j], weights)
        assert mean[j] == pytest.approx(expected[0], rel=1e-15)
        assert deviation[j] == pytest.approx(expected[1], rel=1e-12)


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_any_order_gives_the_same_words(seed, cuts):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(200, 2)) * 10.0 ** rng.integers(-150, 150, (200, 2))
    weights = rng.random(200)
    whole = moments_of(values, weights).carried()
    order = rng.permutation(200)
    total = ExactMoments.zero(2)
    for some in np.split(order, sorted(cuts)):
        total = total + moments_of(values[some], weights[some])
    np.testing.assert_array_equal(total.words, whole.words)
    np.testing.assert_array_equal(total.number, [200, 200])


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1.0, 1e150])
def test_numbers_of_any_size(size):
    mean, deviation = moments_of(np.array([[size], [-size], [3 * size], [size]])).mean_and_deviation()
    assert mean[0] == size
    if size > 1e-150:  # smaller squares vanish
        assert deviation[0] == pytest.approx(size * math.sqrt(2), rel=1e-15)


def test_a_constant_has_no_deviation_and_nothing_no_mean():
    mean, deviation = moments_of(np.array([[0.1, np.nan]] * 1000)).mean_and_deviation()
    assert mean[0] == 0.1
    assert deviation[0] == 0
    assert np.isnan([mean[1], deviation[1]]).all()
