"""Vector operations on rows: each does what its plain loop does."""

import numba
import numpy as np
import pytest

from som_dask.engine.row_vectors import NEIGHBORS, add_whole_numbers, is_among


@numba.njit
def add(values, factors, limit, limbs):
    return add_whole_numbers(values.ctypes.data, len(values), factors.ctypes.data, limit, limbs.ctypes.data)


@numba.njit
def among(number, numbers):
    return is_among(number, numbers.ctypes.data)


@pytest.mark.parametrize("count", [*range(1, 18), 50])
def test_whole_numbers_are_those_of_the_plain_loop(count, rng):
    values = rng.normal(size=count) * 10.0 ** rng.uniform(-12, 2, count)
    factors = np.stack([np.full(count, 2.0**20), np.exp2(rng.integers(0, 9, count))])
    limbs = rng.integers(-1000, 1000, (2, count))
    wanted, before = limbs.copy(), limbs.copy()
    for j in range(count):
        scaled = values[j] * factors[0, j] * factors[1, j]
        wanted[0, j] += int(scaled)
        wanted[1, j] += int((scaled - int(scaled)) * 2**40)
    assert add(values, factors, 2.0**50, limbs) == 0
    np.testing.assert_array_equal(limbs, wanted)
    size = np.abs(values * factors[0] * factors[1])
    limit = float(np.median(size))
    assert add(values, factors, limit, before) == np.count_nonzero(size >= limit)


def test_what_is_no_number_is_beyond_every_limit():
    for place in range(11):
        values = np.ones(11)
        values[place] = np.nan
        assert add(values, np.ones((2, 11)), 2.0, np.zeros((2, 11), dtype=np.int64)) == 1


def test_a_number_is_among_eight_or_not():
    row = np.arange(10, 10 + NEIGHBORS)
    assert [number for number in range(30) if among(number, row)] == row.tolist()
