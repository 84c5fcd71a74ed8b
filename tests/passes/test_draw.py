"""Samples picked where most are left out: the lowest keys, whatever the blocks, in little memory."""

from dataclasses import replace
from itertools import pairwise

import dask.array as da
import numpy as np
import pytest

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.block import Block
from som_dask.passes.draw import SLACK, Draw, Drawn, draw_from_block
from som_dask.passes.summary import summarize, summarize_block
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.prepared import MOST_DRAWS, PreparedData, prepare_data

MASK = replace(FeatureSpace.plain(2), missing="mask", gaps=True)


@pytest.fixture
def values(rng):
    table = np.full((5000, 2), np.nan)
    table[rng.choice(5000, 40, replace=False), 0] = np.arange(40.0)
    return table


@pytest.mark.parametrize("most", [1, 7, 100])
def test_any_blocks_give_the_same(most, values, rng):
    whole = draw_from_block(Block.of(values), MASK, most, 3)
    edges = [0, *sorted(rng.choice(np.arange(1, 5000), 6, replace=False)), 5000]
    parts = [draw_from_block(Block.of(values[a:b], None, int(a)), MASK, most, 3) for a, b in pairwise(edges)]
    total = parts[2]
    for part in (*parts[:2], *parts[3:]):
        total = part + total
    assert isinstance(total, Drawn)
    np.testing.assert_array_equal(total.points, whole.points)
    assert len(whole.numbers) == min(most, 40)
    np.testing.assert_array_equal(values[whole.numbers], whole.points)
    other = draw_from_block(Block.of(values), MASK, most, 4).numbers
    assert not np.array_equal(whole.numbers, other)


def test_each_sample_is_as_likely(values):
    taken = np.flatnonzero(~np.isnan(values[:, 0]))
    found = [draw_from_block(Block.of(values), MASK, 10, seed).numbers for seed in range(200)]
    share = np.bincount(np.searchsorted(taken, np.concatenate(found)), minlength=40) / 200
    assert abs(share.mean() - 0.25) < 1e-12
    assert (share > 0.1).all()
    assert (share < 0.42).all()  # five deviations


@pytest.mark.parametrize("rows", [500, 1234, 5000])
def test_few_rows_are_read_for_initial_weights(rows, values, monkeypatch):
    lattice, read = Lattice(3, 4), []
    real = PreparedData._take_rows
    monkeypatch.setattr(PreparedData, "_take_rows", lambda self, some: read.append(len(some)) or real(self, some))
    config = MapConfig(initialization="sample", missing="mask", seed=5)
    data = prepare_data(da.from_array(values, chunks=(rows, -1)), config)
    points = data.make_initial_codebook(lattice, config)
    expected = draw_from_block(Block.of(values), data.space, 12, 5).points
    np.testing.assert_array_equal(points, expected)
    assert max(read) <= MOST_DRAWS * 12


def test_the_first_pass_draws_too_and_hands_on_few(values, rng):
    full = rng.normal(size=(5000, 2)).astype(np.float32)
    samples = open_samples(full, sample_weights=np.arange(5000.0))
    draw = Draw.from_samples(samples, 60, 3)
    drawn = summarize(samples, draw=draw).drawn
    wanted = draw_from_block(Block.of(full[1:], None, 1), FeatureSpace.plain(2), 60, 3)  # the first weighs nothing
    np.testing.assert_array_equal(drawn.numbers, wanted.numbers)
    np.testing.assert_array_equal(drawn.points, full[wanted.numbers])
    np.testing.assert_array_equal(drawn.weights, wanted.numbers)
    assert drawn.points.dtype == np.float32
    few = summarize_block(Block.of(full[:500]), draw=replace(draw, most=5000)).drawn
    assert 0 < len(few) < 500 * 60 * SLACK / 5000 * 2
    # Where nearly all are left out, what is handed on may not be enough, and all must be looked at.
    draw = Draw.from_samples(open_samples(values), 30, 3)
    assert len(summarize_block(Block.of(values), missing="mask", draw=draw).drawn) < 30
    everyone = summarize_block(Block.of(values), missing="mask", draw=draw.from_all()).drawn
    np.testing.assert_array_equal(everyone.numbers, draw_from_block(Block.of(values), MASK, 30, 3).numbers)
