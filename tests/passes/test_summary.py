"""Summary: what the first pass learns is the same for any chunking, and differs where the data differ."""

import dataclasses
import functools
import itertools
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.engine.block import MOST_TILE_ROWS as TILE_ROWS
from som_dask.engine.block import Block
from som_dask.passes.summary import summarize_block


def summary_in_parts(data, cuts):
    """Summaries of the blocks between the cuts, in order."""
    edges = [0, *cuts, len(data)]
    return [summarize_block(Block.of(data[a:b], None, a), i) for i, (a, b) in enumerate(itertools.pairwise(edges))]


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
    whole = summarize_block(Block.of(data))
    assert fields(dataclasses.replace(total, bad_blocks=(), blocks=())) == fields(
        dataclasses.replace(whole, bad_blocks=(), blocks=())
    )
    assert len(total.bad_blocks) == 1


def test_tiles_of_a_block_do_not_show(rng):
    data = rng.normal(size=(2 * TILE_ROWS + 5, 2))
    data[TILE_ROWS + 3, 0] = np.inf
    whole = summarize_block(Block.of(data), 4)
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
    summary = summarize_block(Block.of(data))
    np.testing.assert_array_equal(summary.minimum, data.min(axis=0))
    np.testing.assert_array_equal(summary.maximum, data.max(axis=0))
    assert summary.minimum.dtype == summary.maximum.dtype == np.float64
    assert (summary.samples, summary.nonfinite, summary.bad_blocks) == (100, 0, ())


def test_values_that_are_not_finite_are_counted_and_left_out():
    data = np.array([[1.0, np.nan, np.nan], [-np.inf, 5.0, np.nan], [3.0, np.inf, np.nan]])
    summary = summarize_block(Block.of(data), 9)
    np.testing.assert_array_equal(summary.minimum, [1.0, 5.0, np.inf])
    np.testing.assert_array_equal(summary.maximum, [3.0, 5.0, -np.inf])
    assert (summary.nonfinite, summary.bad_blocks) == (6, (9,))


def test_the_lowest_few_bad_blocks_are_named():
    blocks = [summarize_block(Block.of(np.array([[np.nan]]), None, index), index) for index in (8, 3, 9, 1, 7, 5, 2)]
    assert functools.reduce(operator.add, blocks).bad_blocks == (1, 2, 3, 5, 7)


def test_a_block_without_rows_adds_nothing(rng):
    some = summarize_block(Block.of(rng.normal(size=(5, 2))))
    none = summarize_block(Block.of(np.empty((0, 2)), None, 5), 1)
    assert fields(some + none) == fields(some)


def fingerprint(data, first_row=0):
    return summarize_block(Block.of(data, None, first_row)).fingerprint


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


def test_summaries_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        summarize_block(Block.of(np.zeros((1, 1)))).samples = 7


@pytest.mark.parametrize("missing", ["drop", "mask"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_weights_of_samples_that_are_left_out_do_not_matter(missing, bad, rng):
    data, weights = rng.normal(size=(40, 3)), rng.random(40)
    data[::7] = np.nan
    data[3, 1] = np.nan  # this sample lacks one feature only
    weights[5] = 0
    wanted = summarize_block(Block.of(data, weights), missing=missing)
    weights[::7] = bad
    found = summarize_block(Block.of(data, weights), missing=missing)
    assert (wanted.bad_weights, found.bad_weights) == (0, 0)
    assert (found.taken, found.weights, found.whole_weights) == (wanted.taken, wanted.weights, wanted.whole_weights)
    assert found.taken == 40 - 6 - 1 - (missing == "drop")
    if bad != -1:
        assert (found.dropped, found.weightless) == (wanted.dropped, wanted.weightless)
    weights[[3, 4]] = bad
    assert summarize_block(Block.of(data, weights), missing=missing).bad_weights == (1 if missing == "drop" else 2)
