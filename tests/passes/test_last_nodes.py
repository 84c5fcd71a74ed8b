"""Epochs over kept blocks begin at the nodes of the last epoch, and give the same bits as without."""

import dask
import dask.array as da
import numpy as np
import pytest

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.engine import cpu
from som_dask.engine.block import Block
from som_dask.passes import last_nodes
from som_dask.passes.epoch import epoch_sums
from som_dask.passes.last_nodes import LastNodes
from som_dask.passes.residency import keep_samples
from som_dask.passes.summary import summarize
from som_dask.samples.table import Samples
from tests.engine.test_pruned_search import smooth_codebook

LATTICE = Lattice(24, 24)


@pytest.fixture
def recalled(monkeypatch):
    """Samples that were searched from old nodes; old nodes are kept of any number of samples, and always pay."""
    rows = []

    class Counted(cpu.RecalledSearch):
        def __call__(self, values, last):
            rows.append(np.count_nonzero(last >= 0))
            self.recall.pays = True
            return super().__call__(values, last)

    monkeypatch.setattr(cpu, "RecalledSearch", Counted)
    monkeypatch.setattr(last_nodes, "ROWS_A_NODE", 0)
    return rows


@pytest.mark.parametrize("kind", ["plain", "weighted", "gaps"])
def test_epochs_are_the_same_bits(kind, recalled, rng):
    codebook = smooth_codebook(LATTICE, 4, rng)
    values = codebook[rng.integers(0, LATTICE.n_nodes, 3000)] + 0.02 * rng.normal(size=(3000, 4))
    if kind == "gaps":
        values[rng.random(values.shape) < 0.02] = np.nan
    weights = da.from_array(rng.random(3000), chunks=700) if kind == "weighted" else None
    data = Samples(da.from_array(values, chunks=(700, 4)), weights)
    complete = int((~np.isnan(values)).all(axis=1).sum())
    with dask.config.set(scheduler="threads", num_workers=2):
        summary = summarize(data, missing="mask" if kind == "gaps" else "error")
        plain = FeatureSpace.plain(4)
        space = FeatureSpace(
            plain.center, plain.scale, plain.feature_weights, plain.used, "mask" if kind == "gaps" else "error",
            weighted=kind == "weighted", gaps=kind == "gaps",
        )  # fmt: skip
        kept = keep_samples(data, "memory")
        for turn, shift in enumerate((0.0, 0.01, 0.5)):
            moved = codebook + shift * rng.normal(size=codebook.shape)
            recalled.clear()
            found = epoch_sums(kept, moved, LATTICE, summary, space)
            assert sum(recalled) == (complete if turn else 0)
            recalled.clear()
            wanted = epoch_sums(data, moved, LATTICE, summary, space)  # streamed: nothing is known
            assert not recalled
            np.testing.assert_array_equal(found.numerator, wanted.numerator)
            np.testing.assert_array_equal(found.hits, wanted.hits)
            np.testing.assert_array_equal(found.denominator, wanted.denominator)
            assert (found.distance, found.topographic_misses) == (wanted.distance, wanted.topographic_misses)


def test_few_samples_have_no_old_nodes(rng):
    rows, known = rng.normal(size=(5, 2)), LastNodes()
    block = Block.of(rows)
    assert known.begin(block, [block], 64).last is None


@pytest.mark.parametrize(("n_nodes", "dtype"), [(64, np.int16), (40_000, np.int32)])
def test_nodes_are_known_by_the_arrays_of_their_samples(n_nodes, dtype, rng, monkeypatch):
    monkeypatch.setattr(last_nodes, "ROWS_A_NODE", 0)
    arrays, known = [rng.normal(size=(n, 2)) for n in (5, 3)], LastNodes()
    blocks = [Block.of(array) for array in arrays]
    joined = known.begin(Block.joined(blocks), blocks, n_nodes)
    np.testing.assert_array_equal(joined.last, np.full(8, -1))
    joined.last[:] = np.arange(8)
    known.enter(joined, blocks, n_nodes)
    blocks = [Block.of(array) for array in arrays[::-1]]
    np.testing.assert_array_equal(known.begin(Block.joined(blocks), blocks, n_nodes).last, [5, 6, 7, 0, 1, 2, 3, 4])
    assert {nodes.dtype for _, nodes in known.found.values()} == {np.dtype(dtype)}
    again = Block.of(arrays[0].copy())
    assert known.begin(again, [again], n_nodes).last.max() == -1  # made again
    del arrays, again
    blocks = joined = None
    assert not known.found  # nothing is kept alive
