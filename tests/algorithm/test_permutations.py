"""Permutations of days: what stays together, and counts against a plain loop."""

import numpy as np
import pytest

from som_dask.algorithm.permutations import count_as_large, shuffle_days


@pytest.mark.parametrize("length", [1, 4, 7])
def test_blocks_stay_together_and_no_day_is_lost(length):
    days = np.arange(30)
    orders = np.array(list(shuffle_days(days, 50, length, 3)))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(days, (50, 1)))
    follows = np.mean((np.diff(orders, axis=1) == 1) | (np.diff(orders, axis=1) == -29))
    assert follows > (length - 1) / length * 0.9 if length > 1 else follows < 0.1
    np.testing.assert_array_equal(orders, list(shuffle_days(days, 50, length, 3)))
    assert (orders != list(shuffle_days(days, 50, length, 4))).any()
    assert len(np.unique(orders[:, 0])) > 10  # blocks begin anywhere


@pytest.mark.parametrize("gaps", [False, True])
def test_counts_are_those_of_a_plain_loop(gaps, rng):
    nodes, days = rng.integers(0, 3, 40), rng.normal(size=(40, 5)) + 100
    days[nodes == 1, 0] += 1
    if gaps:
        days[rng.random(days.shape) < 0.2] = np.nan
    how = {"permutations": 60, "block_length": 3, "seed": 5}
    places, sizes = count_as_large(nodes, days, 4, **how)
    weights = np.array([1.0, 0.0, 2.0, 0.5, 3.0])
    same, weighted = count_as_large(nodes, days, 4, weights, **how)
    np.testing.assert_array_equal(same, places)
    mean, deviation = np.nanmean(days, axis=0), np.nanstd(days, axis=0)

    def differences(order):
        mine = [days[order == node] for node in range(3)]
        numbers = np.array([(~np.isnan(some)).sum(axis=0) for some in mine])
        sums = np.array([np.nansum(some, axis=0) for some in mine])
        return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan) - mean

    true = differences(nodes)
    wanted, squares = np.zeros((3, 5), dtype=int), [(true / deviation) ** 2]
    for order in shuffle_days(nodes, 60, 3, 5):
        found = differences(order)
        wanted += (np.abs(found) >= np.abs(true) - 1e-12) | np.isnan(found)
        squares.append((found / deviation) ** 2)
    np.testing.assert_array_equal(places[:3], wanted)
    np.testing.assert_allclose(sizes[:, :3], np.nansum(squares, axis=2), rtol=1e-9)
    np.testing.assert_allclose(weighted[:, :3], np.nansum(squares * weights, axis=2), rtol=1e-9)
    assert places[:3].min() < places[:3].max() < 60


def test_what_never_varies_is_as_large_in_every_order():
    places, sizes = count_as_large(
        np.arange(10) % 2, np.full((10, 2), 0.1), 2, permutations=9, block_length=1, seed=0
    )
    assert (places == 9).all()
    assert (sizes == 0).all()
