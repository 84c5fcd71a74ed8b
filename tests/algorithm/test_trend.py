"""Trends against SciPy: Kendall's test, exact and by the normal distribution, and the slopes of Theil and Sen."""

import itertools

import numpy as np
import pytest

from som_dask.algorithm.trend import find_trend

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("n", [3, 8, 33, 34, 60])
@pytest.mark.parametrize("tied", [False, True])
def test_it_is_that_of_scipy(n, tied, rng):
    times = np.cumsum(rng.integers(1, 4, n)).astype(float)
    values = 0.02 * times + rng.normal(size=n)
    if tied:
        values = np.round(values)
    found = find_trend(values, times, 0.9)
    slope, _, low, high = stats.theilslopes(values, times, 0.9)
    np.testing.assert_allclose([found.slope, found.low, found.high], [slope, low, high], rtol=1e-12, atol=1e-15)
    wanted = stats.kendalltau(times, values)
    assert found.tau == pytest.approx(wanted.statistic, rel=1e-12)
    if not tied and n <= 33:
        assert found.p_value == pytest.approx(wanted.pvalue, rel=1e-9)
    else:  # which SciPy computes without the correction for continuity
        z = stats.norm.isf(stats.kendalltau(times, values, method="asymptotic").pvalue / 2)
        score = abs(np.sign(values[None] - values[:, None])[np.triu_indices(n, 1)].sum())
        less = z * (score - 1) / score if score else 0.0
        assert found.p_value == pytest.approx(min(2 * stats.norm.sf(less), 1.0), rel=1e-9)


def test_p_is_the_share_of_all_orders():
    scores = [
        sum(np.sign(b - a) for a, b in itertools.combinations(order, 2)) for order in itertools.permutations(range(6))
    ]
    times = np.arange(6.0)
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 4, 1, 2, 0], [2, 0, 1, 5, 3, 4], [3, 0, 5, 2, 1, 4]):
        mine = abs(sum(np.sign(b - a) for a, b in itertools.combinations(order, 2)))
        found = find_trend(np.array(order, dtype=float), times, 0.95)
        assert found.p_value == pytest.approx(np.mean(np.abs(scores) >= mine), rel=1e-12)


def test_gaps_few_values_and_no_change(rng):
    values, times = rng.normal(size=12), np.arange(12.0)
    values[[3, 7]] = np.nan
    known = ~np.isnan(values)
    assert find_trend(values, times, 0.95) == find_trend(values[known], times[known], 0.95)
    assert np.isnan(find_trend(np.array([1.0, np.nan, 2.0]), np.arange(3.0), 0.95)).all()
    flat = find_trend(np.full(9, 0.25), np.arange(9.0), 0.95)
    assert (flat.slope, flat.low, flat.high, flat.p_value) == (0, 0, 0, 1)
    assert np.isnan(flat.tau)
