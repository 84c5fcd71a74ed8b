"""Kept blocks are hashed once a process, and blocks made again are hashed again."""

import dask
import dask.array as da
import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.engine import block as blocks
from som_dask.engine.block import Block
from som_dask.errors import DataError
from som_dask.passes.checked import CheckedBlocks
from som_dask.passes.epoch import epoch_sums
from som_dask.passes.residency import keep_samples
from som_dask.passes.summary import summarize
from som_dask.samples.table import Samples

LATTICE = Lattice(3, 4)


@pytest.fixture
def hashed(monkeypatch):
    """Rows that are hashed."""
    rows, plain = [], blocks.fingerprint_of

    def look(values, weights, numbers):
        rows.append(len(values))
        return plain(values, weights, numbers)

    monkeypatch.setattr(blocks, "fingerprint_of", look)
    return rows


@pytest.mark.parametrize("weighted", [False, True])
def test_kept_blocks_are_hashed_in_the_first_epoch_alone(weighted, hashed, rng):
    values = rng.normal(size=(600, 3))
    weights = da.from_array(rng.random(600), chunks=100) if weighted else None
    data = Samples(da.from_array(values, chunks=(100, 3)), weights)
    summary, codebook = summarize(data), values[:12].copy()
    with dask.config.set(scheduler="threads", num_workers=2):
        wanted = epoch_sums(data, codebook, LATTICE, summary)
        kept = keep_samples(data, "memory")
        for rows in (600, 0, 0):
            hashed.clear()
            found = epoch_sums(kept, codebook, LATTICE, summary)
            assert sum(hashed) == rows
            np.testing.assert_array_equal(found.numerator, wanted.numerator)
        hashed.clear()
        epoch_sums(data, codebook, LATTICE, summary)
        assert sum(hashed) == 600  # not kept: each time


def test_blocks_that_are_made_again_are_checked_again(rng):
    values = rng.normal(size=(600, 3))
    data = Samples(da.from_array(values, chunks=(100, 3)), None)
    summary, codebook = summarize(data), values[:12].copy()
    epoch_sums(keep_samples(data, "memory"), codebook, LATTICE, summary)
    values[420, 1] = np.nextafter(values[420, 1], 0)
    again = Samples(da.from_array(values.copy(), chunks=(100, 3)), None)
    with pytest.raises(DataError, match=r"block 4 \(rows 400 to 499\) of .* has changed"):
        epoch_sums(keep_samples(again, "memory"), codebook, LATTICE, summary)


def test_a_block_is_known_by_its_arrays_and_its_fingerprint(rng):
    rows, weights, known = rng.normal(size=(5, 2)), rng.random(5), CheckedBlocks()
    known.enter(Block.of(rows, weights), 17)
    assert known.knows(Block.of(rows, weights), 17)
    assert not known.knows(Block.of(rows, weights), 18)  # such as with other row numbers
    assert not known.knows(Block.of(rows, weights.copy()), 17)
    assert not known.knows(Block.of(rows), 17)
    assert not known.knows(Block.of(rows.copy(), weights), 17)
    del rows
    assert not known.found  # nothing is kept alive
