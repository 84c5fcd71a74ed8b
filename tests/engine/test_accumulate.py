"""Accumulation: distances and sums of a tile, against plain loops."""

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.accumulate import add_rounded, distances, ranges
from tests.reference.twins import plain_bmus


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e160, 1e300])
def test_distances_neither_overflow_nor_vanish(size):
    codebook = np.array([[0.0, 0.0], [size, size]])
    tile = np.array([[3 * size, 4 * size], [size, size], [size, 2 * size]])
    found = distances(tile, np.array([0, 1, 1]), codebook)
    np.testing.assert_allclose(found, [5 * size, 0.0, size], rtol=1e-15)


def test_tiles_are_added_in_place(rng):
    lattice = Lattice(5, 6)
    tile, codebook = rng.normal(size=(50, 3)), rng.normal(size=(30, 3))
    bmu, second, nearest = plain_bmus(tile, codebook)
    sums, counts = np.ones((30, 3)), np.ones(30, dtype=np.int64)
    distance, misses = add_rounded(tile, bmu, second, codebook, lattice.neighbor_table(), sums, counts)
    wanted = np.ones((30, 3))
    for sample, node in zip(tile, bmu, strict=True):
        wanted[node] += sample
    np.testing.assert_array_equal(sums, wanted)
    np.testing.assert_array_equal(counts, 1 + np.bincount(bmu, minlength=30))
    assert distance == pytest.approx(nearest.sum(), rel=1e-12)
    assert misses == np.count_nonzero(~lattice.adjacent(bmu, second))


@pytest.mark.parametrize("n", [1, 2, 77])
def test_ranges_of_columns(n, rng):
    table = rng.normal(size=(n, 4))
    least, most = ranges(table)
    np.testing.assert_array_equal(least, table.min(axis=0))
    np.testing.assert_array_equal(most, table.max(axis=0))
