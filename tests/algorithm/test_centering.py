"""Points without their mean over the features, against NumPy's weighted average."""

from fractions import Fraction

import numpy as np
import pytest

from som_dask.algorithm.centering import center_rows


@pytest.mark.parametrize("size", [1e-300, 1.0, 1e300])
def test_what_is_left_is_off_the_weighted_mean_of_what_is_known(size, rng):
    weights, samples = rng.random(9) + 0.1, rng.normal(size=(50, 9)) + 20
    samples[rng.random(samples.shape) < 0.2] = np.nan
    factors = np.sqrt(weights)
    found = center_rows(samples * size * factors, factors)
    for row, sample in zip(found, samples, strict=True):
        known = ~np.isnan(sample)
        wanted = (sample - np.average(sample[known], weights=weights[known])) * factors
        np.testing.assert_array_equal(np.isnan(row), ~known)
        ratio = row[known] / wanted[known]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
        assert ratio[0] > 0


def test_no_digit_is_lost_far_from_zero(rng):
    samples = rng.normal(size=(20, 500)) + 1e8
    found = center_rows(samples, np.ones(500)) * 2.0**27  # the power of two above the largest value
    exact = [[float(Fraction(x) - mean) for x in row] for row in samples for mean in [sum(map(Fraction, row)) / 500]]
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-13)


def test_the_same_everywhere_leaves_zeros_whatever_the_weights(rng):
    factors = np.sqrt(rng.random(1000))
    levels = np.array([0.1, 1e-300, -7e200, 0.0, np.pi])
    np.testing.assert_array_equal(center_rows(levels[:, None] * factors, factors), 0.0)
    nearly = np.pi * factors
    nearly[3] *= 1 + 1e-9
    assert center_rows(nearly[None], factors).any()
    gap = center_rows(np.array([[5.0, np.nan, 5.0]]), np.ones(3))
    np.testing.assert_array_equal(gap, [[0.0, np.nan, 0.0]])
