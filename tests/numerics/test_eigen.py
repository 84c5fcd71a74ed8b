"""Principal components: those of LAPACK, for spectra of any kind."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.numerics.eigen import principal_components


def with_spectrum(variances, rng):
    """A covariance with these variances along random directions."""
    axes = np.linalg.qr(rng.normal(size=(len(variances), len(variances))))[0]
    covariance = (axes * variances) @ axes.T
    return (covariance + covariance.T) / 2


def assert_principal(covariance, tolerance=1e-12):
    deviations, directions = principal_components(covariance)
    count = min(len(covariance), 2)
    assert deviations.shape == (count,)
    assert directions.shape == (count, len(covariance))
    expected = np.linalg.eigvalsh(covariance)[::-1][:count]
    np.testing.assert_allclose(deviations**2, expected, rtol=0, atol=tolerance * expected[0])
    np.testing.assert_allclose(directions @ directions.T, np.eye(count), rtol=0, atol=1e-12)
    wrong = covariance @ directions.T - directions.T * deviations**2
    np.testing.assert_allclose(wrong, 0, atol=tolerance * expected[0])
    for direction in directions:
        assert direction[np.abs(direction).argmax()] > 0


SPECTRA = {
    "geometric": lambda d: 0.8 ** np.arange(d),
    "steep": lambda d: 1e-3 ** np.arange(d, dtype=float),
    "even": lambda d: np.linspace(1.0, 2.0, d),
    "equal": np.ones,
    "two equal": lambda d: np.concatenate([np.full(min(d, 2), 5.0), 0.5 ** np.arange(d - min(d, 2))]),
    "three nearly equal": lambda d: np.concatenate([3.0 - 1e-9 * np.arange(min(d, 3)), np.ones(d - min(d, 3))]),
    "half equal": lambda d: np.where(np.arange(d) < d // 2, 4.0, 1.0),
    "rank one": lambda d: np.where(np.arange(d) == 0, 7.0, 0.0),
    "rank two": lambda d: np.where(np.arange(d) < 2, 7.0 - np.arange(d), 0.0),
}


@pytest.mark.parametrize("n_features", [1, 2, 3, 10, 64, 65, 200])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_components_of_every_spectrum(spectrum, n_features, rng):
    assert_principal(with_spectrum(SPECTRA[spectrum](n_features), rng))


@pytest.mark.parametrize("n_features", [3, 65, 200])
def test_directions_are_those_of_lapack(n_features, rng):
    covariance = with_spectrum(0.8 ** np.arange(n_features), rng)
    _, directions = principal_components(covariance)
    expected = np.linalg.eigh(covariance)[1][:, :-3:-1].T
    np.testing.assert_allclose(np.abs(np.sum(directions * expected, axis=1)), 1.0, rtol=1e-12)


@given(
    n_features=st.integers(1, 90),
    n_samples=st.integers(1, 120),
    spread=st.sampled_from([0, 2, 20]),
    seed=st.integers(0, 2**32 - 1),
)
def test_components_of_any_samples(n_features, n_samples, spread, seed):
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(n_samples, n_features)) * 2.0 ** rng.integers(-spread, spread + 1, size=n_features)
    assert_principal(samples.T @ samples / n_samples)


@pytest.mark.parametrize("exponent", [-1040, -600, 600, 1020])
@pytest.mark.parametrize("n_features", [4, 70])
def test_variances_of_any_size(n_features, exponent, rng):
    covariance = with_spectrum(0.5 ** np.arange(n_features), rng)
    near_one, far = (principal_components(np.ldexp(covariance, e)) for e in (0, exponent))
    tolerance = max(1e-15, 2.0 ** (-1074 - exponent))  # what rounding to subnormals leaves
    np.testing.assert_allclose(np.ldexp(far[0], -exponent // 2), near_one[0], rtol=100 * tolerance)
    np.testing.assert_allclose(far[1], near_one[1], atol=100 * n_features * tolerance)


@pytest.mark.parametrize("n_features", [64, 65, 300])
def test_features_without_correlation(n_features):
    covariance = np.diag(np.where(np.arange(n_features) == 40, 9.0, np.where(np.arange(n_features) == 7, 4.0, 0.25)))
    deviations, directions = principal_components(covariance)
    np.testing.assert_allclose(deviations, [3.0, 2.0], rtol=1e-13)
    np.testing.assert_allclose(directions, np.eye(n_features)[[40, 7]], atol=1e-12)


def test_the_first_of_equal_coefficients_is_positive():
    _, directions = principal_components(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    np.testing.assert_allclose(directions, np.array([[1.0, -1.0], [1.0, 1.0]]) * math.sqrt(0.5), rtol=1e-15)


@pytest.mark.parametrize("n_features", [2, 70])
def test_no_variance(n_features):
    deviations, directions = principal_components(np.zeros((n_features, n_features)))
    np.testing.assert_array_equal(deviations, [0.0, 0.0])
    assert np.isfinite(directions).all()


def test_the_covariance_is_left_alone(rng):
    covariance = with_spectrum(np.arange(1.0, 6.0), rng)
    covariance.setflags(write=False)
    assert_principal(covariance)
