"""Summary: what the first pass learns is the same for any chunking, and differs where the data differ."""

import dataclasses
import functools
import itertools
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.summary import TILE_ROWS, DataSummary, PlaneMoments, block_moments, block_summary


def summary_in_parts(data, cuts):
    """Summaries of the blocks between the cuts, in order."""
    edges = [0, *cuts, len(data)]
    return [block_summary(data[a:b], i, a) for i, (a, b) in enumerate(itertools.pairwise(edges))]


def fields(summary):
    """The summary as a comparable tuple."""
    values = dataclasses.astuple(summary)
    return tuple(v.tolist() if isinstance(v, np.ndarray) else v for v in values)


@given(cuts=st.lists(st.integers(0, 60), max_size=6), seed=st.integers(0, 2**32 - 1))
def test_any_chunking_and_order_sum_to_the_same(cuts, seed):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(60, 3))
    data[rng.integers(60), 1] = np.nan
    parts = summary_in_parts(data, sorted(cuts))
    rng.shuffle(parts)
    total = functools.reduce(operator.add, parts)
    # The indices of bad blocks are those of the chunking; all else is of the data.
    whole = block_summary(data, 0, 0)
    assert fields(dataclasses.replace(total, bad_blocks=(), blocks=())) == fields(
        dataclasses.replace(whole, bad_blocks=(), blocks=())
    )
    assert len(total.bad_blocks) == 1


def test_tiles_of_a_block_do_not_show(rng):
    data = rng.normal(size=(2 * TILE_ROWS + 5, 2))
    data[TILE_ROWS + 3, 0] = np.inf
    whole = block_summary(data, 4, 0)
    total = functools.reduce(operator.add, summary_in_parts(data, [1, TILE_ROWS - 1, TILE_ROWS + 2]))
    assert fields(whole)[:4] == fields(total)[:4]
    assert whole.fingerprint == total.fingerprint
    assert whole.bad_blocks == (4,)


def test_addition_is_associative_and_commutative(rng):
    data = rng.normal(size=(90, 2))
    data[::11] = np.nan
    a, b, c = summary_in_parts(data, [30, 60])
    assert fields((a + b) + c) == fields(a + (b + c)) == fields(c + b + a)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8", ">f4"])
def test_the_range_is_that_of_the_data(dtype, rng):
    data = rng.integers(0, 200, (100, 3)).astype(dtype)
    summary = block_summary(data, 0, 0)
    np.testing.assert_array_equal(summary.minimum, data.min(axis=0))
    np.testing.assert_array_equal(summary.maximum, data.max(axis=0))
    assert summary.minimum.dtype == summary.maximum.dtype == np.float64
    assert (summary.samples, summary.nonfinite, summary.bad_blocks) == (100, 0, ())


def test_values_that_are_not_finite_are_counted_and_left_out():
    data = np.array([[1.0, np.nan, np.nan], [-np.inf, 5.0, np.nan], [3.0, np.inf, np.nan]])
    summary = block_summary(data, 9, 0)
    np.testing.assert_array_equal(summary.minimum, [1.0, 5.0, np.inf])
    np.testing.assert_array_equal(summary.maximum, [3.0, 5.0, -np.inf])
    assert (summary.nonfinite, summary.bad_blocks) == (6, (9,))


def test_the_lowest_few_bad_blocks_are_named():
    blocks = [block_summary(np.array([[np.nan]]), index, index) for index in (8, 3, 9, 1, 7, 5, 2)]
    assert functools.reduce(operator.add, blocks).bad_blocks == (1, 2, 3, 5, 7)


def test_a_block_without_rows_adds_nothing(rng):
    some, none = block_summary(rng.normal(size=(5, 2)), 0, 0), block_summary(np.empty((0, 2)), 1, 5)
    assert fields(some + none) == fields(some)


def fingerprint(data, first_row=0):
    return block_summary(data, 0, first_row).fingerprint


def test_every_single_bit_shows_in_the_fingerprint(rng):
    data = rng.normal(size=(3, 2))
    seen = {fingerprint(data)}
    for place in range(6):
        for bit in range(64):
            bits = data.copy().view(np.uint64)
            bits.flat[place] ^= np.uint64(1) << np.uint64(bit)
            seen.add(fingerprint(bits.view(np.float64)))
    assert len(seen) == 1 + 6 * 64


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16"])
def test_other_orders_show_in_the_fingerprint(dtype):
    data = np.arange(12).reshape(4, 3).astype(dtype)
    others = [
        data,
        data[[1, 0, 2, 3]],  # two rows swapped
        data[:, [1, 0, 2]],  # two features swapped
        data[:3],
        np.concatenate([data, data[:1]]),
        np.where(np.arange(12).reshape(4, 3) == 7, data + 1, data).astype(dtype),  # one value
    ]
    swapped = data.copy()
    swapped[0, 0], swapped[3, 2] = data[3, 2], data[0, 0]
    prints = [fingerprint(other) for other in [*others, swapped]] + [fingerprint(data, first_row=1)]
    assert len(set(prints)) == len(prints)
    assert all(0 <= value < 2**64 for value in prints)


def test_equal_numbers_have_equal_fingerprints():
    data = np.array([[0.0, 1.5], [-2.0, 0.0]])
    same = [
        data.astype("float32"),
        data.astype(">f8"),
        np.asfortranarray(data),
        np.array([[-0.0, 1.5], [-2.0, -0.0]]),
    ]
    assert {fingerprint(other) for other in same} == {fingerprint(data)}


def moments_in_parts(data, cuts):
    low, high = data.min(axis=0), data.max(axis=0)
    edges = [0, *cuts, len(data)]
    return [block_moments(data[a:b], low, high) for a, b in itertools.pairwise(edges)]


@given(cuts=st.lists(st.integers(0, 50), max_size=5), seed=st.integers(0, 2**32 - 1))
def test_moments_are_the_same_integers_for_any_split(cuts, seed):
    rng = np.random.default_rng(seed)
    data = rng.lognormal(size=(50, 3)) * [1e-9, 1.0, 1e12]
    parts = moments_in_parts(data, sorted(cuts))
    rng.shuffle(parts)
    total = functools.reduce(operator.add, parts)
    (whole,) = moments_in_parts(data, [])
    assert total.samples == whole.samples == 50
    np.testing.assert_array_equal(total.first, whole.first)
    np.testing.assert_array_equal(total.second, whole.second)
    assert total.first.dtype == total.second.dtype == np.int64


def test_moments_of_many_tiles_are_exact(rng):
    data = rng.integers(-(2**15), 2**15 + 1, (3 * TILE_ROWS + 7, 2)).astype(np.float64)
    data[0], data[1] = -(2**15), 2**15  # so that the steps are the integers themselves
    (moments,) = moments_in_parts(data, [])
    integers = data.astype(np.int64)
    np.testing.assert_array_equal(moments.first, integers.sum(axis=0))
    np.testing.assert_array_equal(moments.second, integers.T @ integers)


@pytest.mark.parametrize(("center", "spread"), [(0.0, 1.0), (101325.0, 500.0), (1000.0, 0.01), (0.0, 1e-100)])
def test_mean_and_covariance_are_near_the_true_ones(center, spread, rng):
    data = center + spread * (rng.normal(size=(5000, 3)) @ rng.normal(size=(3, 3)))
    (moments,) = moments_in_parts(data, [])
    mean, covariance = moments.mean_and_covariance(data.min(axis=0), data.max(axis=0))
    np.testing.assert_allclose(mean, data.mean(axis=0), rtol=0, atol=1e-4 * spread)
    np.testing.assert_allclose(covariance, np.cov(data.T, bias=True), rtol=0, atol=1e-4 * spread**2)
    np.testing.assert_array_equal(covariance, covariance.T)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 1.7e308, 5e-324])
def test_constant_data_have_no_covariance(value):
    data = np.full((10, 2), value)
    (moments,) = moments_in_parts(data, [])
    mean, covariance = moments.mean_and_covariance(data[0], data[0])
    np.testing.assert_allclose(mean, data[0], rtol=1e-15, atol=5e-324)
    np.testing.assert_array_equal(covariance, np.zeros((2, 2)))


@pytest.mark.parametrize("largest", [1e150, 1e300, 1.7e308])
def test_extreme_ranges_do_not_overflow(largest):
    data = np.array([[-largest, 1.0], [largest, 2.0], [largest, 3.0]])
    (moments,) = moments_in_parts(data, [])
    half = 2**15
    np.testing.assert_array_equal(moments.first, [half, 0])
    np.testing.assert_array_equal(moments.second, [[3 * half**2, 2 * half**2], [2 * half**2, 2 * half**2]])


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_a_covariance_out_of_range_keeps_its_mean(size):
    # Variances of such data are no float64 numbers; the mean is one.
    data = size * np.array([[-1.0], [1.0], [1.0], [0.0]])
    (moments,) = moments_in_parts(data, [])
    mean, _ = moments.mean_and_covariance(data.min(axis=0), data.max(axis=0))
    np.testing.assert_allclose(mean, [0.25 * size], rtol=1e-4)


def test_summaries_and_moments_cannot_be_changed():
    for frozen in (block_summary(np.zeros((1, 1)), 0, 0), block_moments(np.zeros((1, 1)), np.zeros(1), np.ones(1))):
        assert isinstance(frozen, (DataSummary, PlaneMoments))
        with pytest.raises(dataclasses.FrozenInstanceError):
            frozen.samples = 7
