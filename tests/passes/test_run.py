"""Reduction: a tree by order, one codebook for all tasks, and errors of the cluster made clear."""

import dataclasses
from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from dask.callbacks import Callback
from dask.delayed import delayed
from dask.utils import key_split
from distributed import Client, KilledWorker, LocalCluster, SchedulerPlugin
from distributed.scheduler import NoWorkerError

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.engines import engine_for
from som_dask.errors import ClusterError, DataError, MemoryLimitError, StorageError
from som_dask.passes import residency, run
from som_dask.passes.compute import compute, guard
from som_dask.passes.epoch import epoch_sums
from som_dask.passes.groups import GROUP_BYTES, GROUPS_A_THREAD, group_neighbors
from som_dask.passes.residency import keep_samples
from som_dask.passes.run import FAN_IN, add_tree, run_over_arrays
from som_dask.passes.summary import summarize
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples
from tests.reference.twins import sums_of

LATTICE = Lattice(3, 4)


class Live:
    """An array that is read when a block is computed, as from a store."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.ndim = values, values.shape, values.dtype, 2

    def __getitem__(self, key):
        return self.values[key].copy()


@pytest.fixture
def values(rng):
    return rng.normal(size=(1000, 2))


def samples(values, rows=100):
    return Samples(da.from_array(Live(values), chunks=(rows, -1)), None)


@pytest.mark.parametrize("n", [1, 2, FAN_IN, FAN_IN + 1, FAN_IN**2 + 5])
def test_the_tree_keeps_the_order(n):
    layer = {("part", i): (tuple, [i]) for i in range(n)}
    root = add_tree(layer, "tree", list(layer))
    assert dask.get(layer, root) == tuple(range(n))
    added = [key for key in layer if key[0] == "add_up-tree"]
    level, count = n, 0
    while level > 1:
        # A part left alone goes up as it is.
        groups = -(-level // FAN_IN)
        count += groups - (level % FAN_IN == 1)
        level = groups
    assert len(added) == count


def test_no_parts_are_an_error():
    with pytest.raises(DataError):
        add_tree({}, "tree", [])


def test_an_epoch_is_the_sums_of_everything(values):
    codebook = values[:12]
    summary = summarize(samples(values))
    for precision, tolerance in (("exact", 0), ("fast", 1e-12)):
        found = epoch_sums(samples(values), codebook, LATTICE, summary, engine=engine_for("cpu", precision))
        wanted = sums_of(values, codebook, LATTICE, precision=precision)
        np.testing.assert_allclose(found.numerator, wanted.numerator, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(found.hits, wanted.hits)
        assert found.distance == pytest.approx(wanted.distance, rel=tolerance, abs=0)
        assert (found.topographic_misses, found.samples) == (wanted.topographic_misses, 1000)


def test_the_codebook_is_in_the_graph_once(values, monkeypatch):
    graphs = []

    def look(*values, **options):
        graphs.append(dict(values[0].__dask_graph__()))
        return dask.compute(*values, **options)

    monkeypatch.setattr(run, "compute", look)
    codebook, summary = values[:12], summarize(samples(values))
    graphs.clear()
    with dask.config.set(scheduler="threads", num_workers=10):
        epoch_sums(samples(values), codebook, LATTICE, summary)
    (graph,) = graphs
    names = [key_split(key) for key in graph]
    assert names.count("broadcast") == 1
    assert len([key for key in graph if key_split(key) == "epoch_sums" and key[1] == 0]) == 10


def test_a_count_that_does_not_add_up_is_an_error(values):
    good = samples(values)

    class Longer(Samples):
        n_samples = 1001

    with pytest.raises(ClusterError, match="counted 1000 samples of 1001"):
        epoch_sums(Longer(good.array, None), values[:12], LATTICE, summarize(good))


@pytest.mark.parametrize("row", [0, 420, 999])
def test_a_block_that_changed_is_named(values, row):
    data = samples(values)
    summary = summarize(data)
    values[row, 1] = np.nextafter(values[row, 1], 0)  # by its last bit
    first = row // 100 * 100
    with pytest.raises(DataError, match=rf"block {row // 100} \(rows {first} to {first + 99}\) of .* has changed"):
        epoch_sums(data, values[:12], LATTICE, summary)


def test_other_blocks_than_the_first_pass_had_are_told_from_other_data(values):
    summary = summarize(samples(values, 100))
    codebook = values[:12].copy()
    found, wanted = (epoch_sums(samples(values, rows), codebook, LATTICE, summary) for rows in (37, 100))
    np.testing.assert_array_equal(found.numerator, wanted.numerator)
    values[3] = values[4]
    with pytest.raises(DataError, match="other samples than the first pass"):
        epoch_sums(samples(values, 37), codebook, LATTICE, summary)


@pytest.mark.parametrize("threads", [1, 3])
def test_neighboring_blocks_are_added_up_in_groups(values, threads, monkeypatch):
    graphs = []

    def look(*values, **options):
        graphs.append(dict(values[0].__dask_graph__()))
        return dask.compute(*values, **options)

    monkeypatch.setattr(run, "compute", look)
    lattice = Lattice(30, 40)
    data, codebook = samples(values, 50), np.tile(values, (2, 1))[:1200]
    summary = summarize(data)
    wanted = sums_of(values, codebook, lattice)
    graphs.clear()
    with dask.config.set(scheduler="threads", num_workers=threads):
        found = epoch_sums(data, codebook, lattice, summary)
    np.testing.assert_array_equal(found.numerator, wanted.numerator)
    assert found.distance == wanted.distance
    (graph,) = graphs
    assert (
        len([key for key in graph if key_split(key) == "epoch_sums" and key[1] == 0]) == threads
    )  # 1000 samples on 1200 nodes
    groups = group_neighbors(data, 12, threads)
    assert len(groups) == min(GROUPS_A_THREAD * threads, 20)
    assert [i for group in groups for i in group] == list(range(20))
    values[733, 0] += 1
    with pytest.raises(DataError, match=r"block 14 \(rows 700 to 749\) of .* has changed"):
        epoch_sums(data, codebook, lattice, summary)


@pytest.mark.parametrize("changed", [1e6, np.nan])
def test_a_block_with_values_beyond_the_range_is_named(changed, values):
    data, codebook = samples(values, 50), values[:12].copy()
    summary = summarize(data)
    values[733, 0] = changed
    with (
        dask.config.set(scheduler="threads", num_workers=1),
        pytest.raises(DataError, match=r"block 14 \(rows 700 to 749\) of .* has changed"),
    ):
        epoch_sums(data, codebook, LATTICE, summary)


@pytest.mark.parametrize("weighted", [False, True])
def test_groups_of_blocks_do_not_grow_with_the_number_of_samples(weighted):
    sizes = []
    for n in (10**7, 10**8):
        array = da.zeros((n, 8), chunks=(2**15, -1))  # 2 MiB, computed before their group begins
        weights = da.ones(n, chunks=2**15) if weighted else None
        some = Samples(array, None, weights=weights)
        groups = group_neighbors(some, 100, 2)
        kept_groups = group_neighbors(dataclasses.replace(some, in_memory=True), 100, 2)
        assert [i for group in groups for i in group] == list(range(array.numblocks[0]))
        sizes.append(max(map(len, groups)) * 2**15 * (80 if weighted else 64))
        assert len(kept_groups) == 2 * GROUPS_A_THREAD  # what is in memory may be added up at once
    assert sizes[0] == sizes[1] <= GROUP_BYTES


def test_a_block_counted_twice_is_an_error(values, monkeypatch):
    good = samples(values)

    def twice(layer, name, parts, *branch):
        return add_tree(layer, name, [*parts[:-1], parts[0]] if branch == () else parts, *branch)

    summary = summarize(good)
    monkeypatch.setattr(run, "add_tree", twice)
    with (
        dask.config.set(scheduler="threads", num_workers=10),
        pytest.raises(DataError, match="other samples than the first pass"),
    ):
        epoch_sums(good, values[:12], LATTICE, summary)


def test_kept_in_memory_if_they_fit(values, monkeypatch):
    read = []

    def load(block):
        read.append(len(block))
        return block

    lazy = Samples(
        da.from_array(values, chunks=(100, -1)).map_blocks(load, dtype=values.dtype, meta=values[:0]), None
    )
    for keep, memory, reads in [("memory", 0, 10), ("stream", 1e12, 20), ("auto", 1e12, 10), ("auto", 1000, 20)]:
        monkeypatch.setattr(residency, "memory_available", lambda memory=memory: memory)
        read.clear()
        held = keep_samples(lazy, keep)
        for _ in range(2):
            summarize(held)
        assert len(read) == reads, (keep, memory)


def test_the_summary_is_that_of_the_data(values):
    summary = summarize(samples(values))
    assert summary.samples == 1000
    np.testing.assert_array_equal(summary.minimum, values.min(axis=0))
    np.testing.assert_array_equal(summary.maximum, values.max(axis=0))
    assert summary.fingerprint == summarize(samples(values, 333)).fingerprint


def test_blocks_with_nan_are_named(values):
    values[[250, 251, 990], 1] = np.nan
    with pytest.raises(DataError, match=r"3 NaN or infinite values, in block 2 \(rows 200 to 299\), 9 \(rows 900"):
        summarize(samples(values))


@pytest.mark.parametrize(
    ("raised", "wanted"),
    [
        (KilledWorker("add_up_block-1", None, 3), MemoryLimitError),
        (MemoryError(), MemoryLimitError),
        (NoWorkerError("x", 1.0), ClusterError),
        (TimeoutError("late"), ClusterError),
        (OSError(5, "Input/output error"), StorageError),
        (DataError("mine"), DataError),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_are_made_clear(raised, wanted):
    with pytest.raises(wanted), guard():
        raise raised


def test_blas_has_one_thread_while_computing():
    from threadpoolctl import threadpool_info

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    np.ones((2, 2)) @ np.ones((2, 2))
    (found,) = compute(delayed(threads)())
    assert found
    assert set(found) == {1}


class Ran(SchedulerPlugin):
    """Counts the groups by worker."""

    def __init__(self):
        self.done = Counter()

    def transition(self, key, start, finish, *args, worker=None, **kwargs):
        self.done[worker] += finish == "memory" and key_split(key) == "epoch_sums"


@pytest.mark.cluster
def test_tasks_that_read_are_shared_out_among_workers(tmp_path):
    # By themselves they would heap up on the worker that holds the codebook.
    stored = zarr.create_array(str(tmp_path / "x.zarr"), shape=(640, 2), chunks=(10, 2), dtype="f8")
    stored[:] = np.random.default_rng(0).normal(size=(640, 2))
    found = open_samples(str(tmp_path / "x.zarr"), block_size="160 B")
    codebook, summary, ran = np.zeros((12, 2)), summarize(found), Ran()
    with (
        dask.config.set({"distributed.scheduler.work-stealing": False}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
    ):
        cluster.scheduler.add_plugin(ran)
        with Client(cluster):
            epoch_sums(found, codebook, LATTICE, summary)
    # Of 64 blocks: neighbors are read ahead by one task.
    assert sorted(n for n in ran.done.values() if n) == [GROUPS_A_THREAD, GROUPS_A_THREAD]


def test_the_steps_that_make_a_block_are_one_task(values):
    lazy = da.from_array(Live(values), chunks=(100, -1))
    for _ in range(4):
        lazy = lazy * 2
    weights = da.ones(1000, chunks=100) * 2 * 2
    ran = []
    with Callback(posttask=lambda key, *_: ran.append(key)), dask.config.set(scheduler="sync"):
        summarize(Samples(lazy, None, weights=weights))
        assert len(ran) < 5 * 10
        ran.clear()
        total = run_over_arrays("sum", lambda x, w: float(x.sum() + w.sum()), [lazy[:, 0], weights])
        assert len(ran) < 5 * 10
    assert total == pytest.approx(16 * values[:, 0].sum() + 4000)


def test_a_value_that_goes_missing_shows_in_fast_sums(values):
    data = samples(values)
    summary = summarize(data)
    values[5, 1] = np.nan
    found = epoch_sums(data, values[10:22], LATTICE, summary, engine=engine_for("cpu", "fast"))
    assert np.isnan(found.distance)
