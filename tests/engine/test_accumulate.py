"""Accumulation: sums of tiles against plain loops."""

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.accumulate import (
    add_numbers_rounded,
    add_points_rounded,
    add_weighted_points_rounded,
    count_misses,
    weigh_misses_rounded,
)
from tests.reference.twins import plain_bmus

ONE = np.ones(1)


def test_tiles_are_added_in_place(rng):
    lattice = Lattice(5, 6)
    tile, codebook = rng.normal(size=(50, 3)), rng.normal(size=(30, 3))
    bmu, second, nearest = plain_bmus(tile, codebook)
    numerator, hits = np.ones((30, 3)), np.ones(30, dtype=np.int64)
    add_points_rounded(tile, bmu, numerator, hits)
    wanted = np.ones((30, 3))
    for sample, node in zip(tile, bmu, strict=True):
        wanted[node] += sample
    np.testing.assert_array_equal(numerator, wanted)
    np.testing.assert_array_equal(hits, 1 + np.bincount(bmu, minlength=30))
    assert add_numbers_rounded(nearest, ONE) == pytest.approx(nearest.sum(), rel=1e-12)
    misses = count_misses(bmu, second, lattice.neighbor_table())
    assert misses == np.count_nonzero(~lattice.adjacent(bmu, second))
    assert weigh_misses_rounded(bmu, second, lattice.neighbor_table(), 2 * ONE) == 2 * misses


def test_weights_are_kept_apart_by_what_samples_know(rng):
    tile, weights, bmu = rng.normal(size=(40, 3)), rng.random(40), rng.integers(0, 4, 40)
    tile[::3, 1] = tile[::6, 2] = np.nan
    numerator, hits = np.zeros((4, 3)), np.zeros(4, dtype=np.int64)
    complete, incomplete, known = np.zeros((4, 1)), np.zeros((4, 1)), np.zeros((4, 3))
    add_weighted_points_rounded(tile, weights, bmu, numerator, hits, complete, incomplete, known)
    lacking = np.isnan(tile).any(axis=1)
    for node in range(4):
        mine = bmu == node
        expected = np.nansum(tile[mine] * weights[mine, None], axis=0)
        np.testing.assert_allclose(numerator[node], expected, rtol=1e-12, atol=1e-12)
        assert complete[node, 0] == pytest.approx(weights[mine & ~lacking].sum(), rel=1e-12)
        assert incomplete[node, 0] == pytest.approx(weights[mine & lacking].sum(), rel=1e-12)
        there = ~np.isnan(tile[mine & lacking])
        np.testing.assert_allclose(known[node], (weights[mine & lacking, None] * there).sum(axis=0), rtol=1e-12)
