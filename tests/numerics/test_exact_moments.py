"""Exact moments: against rational arithmetic, in any order, for numbers of any size."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.numerics.exact_moments import ExactMoments


def moments_of(values, weights=None):
    moments = ExactMoments.zero(values.shape[1])
    moments.add(values, weights)
    return moments


def sums_of(moments):
    """The three sums of each feature as whole numbers of 2^-1074: (3, D)."""
    places = [1 << (32 * k) for k in range(moments.start, moments.start + moments.words.shape[2])]
    return (moments.words.astype(object) * np.array(places, dtype=object)).sum(axis=2)


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
    whole = moments_of(values, weights).carry()
    order = rng.permutation(200)
    total = ExactMoments.zero(2)
    for some in np.split(order, sorted(cuts)):
        total = total + moments_of(values[some], weights[some])
    np.testing.assert_array_equal(sums_of(total), sums_of(whole))
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


@given(seed=st.integers(0, 2**32 - 1))
def test_sums_are_those_of_rationals_whatever_the_sizes(seed):
    rng = np.random.default_rng(seed)
    moments, sums = ExactMoments.zero(1), [Fraction(0)] * 3
    for _ in range(3):
        low, high = sorted(rng.integers(-90, 90, 2))
        values = rng.normal(size=(5, 1)) * 10.0 ** rng.integers(low, high + 1, (5, 1)) * (rng.random((5, 1)) < 0.8)
        weights = rng.random(5) * 10.0 ** rng.integers(-60, 60)
        part = moments_of(values, weights)
        moments = moments + part.carry() if rng.random() < 0.5 else part + moments
        for x, w in zip(values[:, 0].tolist(), weights.tolist(), strict=True):
            for power in range(3):
                sums[power] += Fraction(w) * Fraction(x) ** power
    assert [Fraction(int(total), 2**1074) for total in sums_of(moments)[:, 0]] == sums


def test_words_that_nothing_needs_are_not_kept(rng):
    moments = moments_of(rng.normal(size=(100, 5)) * 1e3)
    assert moments.carry().words.shape[2] < 15
    moments.add(np.full((1, 5), 1e-100))
    moments.add(np.full((1, 5), -1e100))
    assert moments.words.shape[2] > 20
    assert ExactMoments.zero(2).mean_and_deviation()[0].shape == (2,)
