"""Moments by node, Welch's test and false discoveries, against plain loops and SciPy."""

import numpy as np
import pytest

from som_dask.algorithm.node_fields import (
    control_false_discoveries,
    measure_days,
    merge_moments,
    moments_of_others,
    welch_statistic,
)

stats = pytest.importorskip("scipy.stats")


@pytest.fixture
def days(rng):
    values = rng.normal(size=(80, 6)) * [1, 2, 3, 1e-3, 1, 1] + [0, 1e6, -5, 0, 0, 0]
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, 5] = 3.0
    return values


@pytest.mark.parametrize("cuts", [[], [17, 18, 50], list(range(1, 80))])
def test_welch_of_merged_blocks_is_that_of_scipy(cuts, days, rng):
    nodes = rng.integers(-1, 3, 80)
    parts = zip(np.split(nodes, cuts), np.split(days, cuts), strict=True)
    moments = merge_moments(np.stack([measure_days(*part, 5) for part in parts]))
    others, every = moments_of_others(moments)
    t, freedom = welch_statistic(moments, others)
    np.testing.assert_allclose(every[1], np.nanmean(days[nodes >= 0], axis=0), rtol=1e-13)
    for node in range(3):
        mine, rest = days[nodes == node], days[(nodes >= 0) & (nodes != node)]
        np.testing.assert_array_equal(moments[0, node], (~np.isnan(mine)).sum(axis=0))
        wanted = stats.ttest_ind(mine[:, :5], rest[:, :5], equal_var=False, nan_policy="omit")
        np.testing.assert_allclose(t[node, :5], wanted.statistic, rtol=1e-7)
        np.testing.assert_allclose(freedom[node, :5], wanted.df, rtol=1e-7)
    assert np.isnan(t[:, 5]).all()  # never varies
    assert np.isnan(t[3:]).all()  # no days
    assert (moments[0, 3:] == 0).all()


def test_false_discoveries_are_those_of_scipy(rng):
    p_values = np.concatenate([rng.random((3, 50)), rng.random((3, 20)) / 200], axis=1)
    p_values[2] = rng.random(70) / 2 + 0.5
    found = control_false_discoveries(p_values, 0.05)
    wanted = [stats.false_discovery_control(row) <= 0.05 for row in p_values]
    np.testing.assert_array_equal(found, wanted)
    assert 0 < found[0].sum() < 70
    assert not found[2].any()
    gaps = np.insert(p_values, 3, np.nan, axis=1)
    np.testing.assert_array_equal(np.delete(control_false_discoveries(gaps, 0.05), 3, axis=1), found)
    assert not control_false_discoveries(np.full((1, 4), np.nan), 0.05).any()
