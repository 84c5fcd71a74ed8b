"""Groups of blocks on a cluster: kept blocks are added up where they lie, and the bits stay the same."""

import threading
from collections import Counter
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from dask.utils import key_split
from distributed import Client, LocalCluster, SchedulerPlugin, wait

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.engines import engine_for
from som_dask.passes import groups
from som_dask.passes.draw import draw_samples
from som_dask.passes.epoch import epoch_sums
from som_dask.passes.groups import Share, share_out
from som_dask.passes.residency import keep_samples
from som_dask.passes.summary import summarize
from som_dask.samples.table import Samples

LATTICE, BLOCKS = Lattice(3, 4), 40


def shares_of(holders, threads, joins=True, rows=10):
    samples = Samples(da.zeros((rows * len(holders), 2), chunks=(rows, -1)), None)
    return groups._by_holder(samples, holders, threads, joins=joins)


def test_as_many_tasks_as_threads_on_each_worker():
    found = shares_of([["a"], ["b"], ["a"], ["b"], ["b"], ["a"], ["b"], ["a"]], {"a": 2, "b": 1, "c": 0})
    assert found == [Share([0, 2], "a"), Share([1, 3, 4, 6], "b"), Share([5, 7], "a")]


def test_blocks_that_nobody_holds_yet_are_alone():
    found = shares_of([["a"], [], ["gone"], ["a"]], {"a": 1})
    assert found == [Share([0, 3], "a"), Share((1,)), Share((2,))]


def test_of_several_holders_the_one_with_less_to_do_is_chosen():
    found = shares_of([["a"], ["a", "b"], ["a"], ["b", "a"]], {"a": 1, "b": 1})
    assert found == [Share([0, 2], "a"), Share([1, 3], "b")]


def planned(n_groups, threads, rows=10):
    samples = Samples(da.zeros((rows * n_groups, 2), chunks=(rows, -1)), None)
    shares = groups._spread([(i,) for i in range(n_groups)], samples, threads)
    assert [share.blocks for share in shares] == [(i,) for i in range(n_groups)]
    return [share.worker for share in shares]


def test_neighbors_are_planned_for_one_worker_by_its_threads():
    assert planned(8, {"b": 1, "a": 3}) == ["a"] * 6 + ["b"] * 2
    assert planned(3, {"a": 1, "b": 1, "c": 1, "d": 1}) == ["a", "c", "d"]
    assert planned(2, {"a": 0, "b": 2, "c": 0}) == ["b", "b"]
    assert planned(2, {}) == [None, None]


def test_idle_workers_may_take_over_tasks_of_one_that_holds_too_much():
    found = shares_of([["a"]] * 20, {"a": 1, "b": 1})
    assert [share.worker for share in found] == ["a"] * groups.GROUPS_A_THREAD
    assert [i for share in found for i in share.blocks] == list(range(20))


def test_results_that_depend_on_the_grouping_get_a_task_a_block():
    found = shares_of([["a"], ["b"], ["a"]], {"a": 1, "b": 1}, joins=False)
    assert found == [Share([0], "a"), Share([1], "b"), Share([2], "a")]


class Ran(SchedulerPlugin):
    """Notes which tasks end, and where."""

    def __init__(self):
        self.tasks = []

    def transition(self, key, start, finish, *args, worker=None, **kwargs):
        if (start, finish) == ("processing", "memory"):
            self.tasks.append((key_split(key), worker))

    def count(self, name):
        return sum(each == name for each, _ in self.tasks)


@pytest.fixture
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=False, memory_limit=0, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


@pytest.fixture
def lazy(rng):
    return Samples(da.from_array(rng.normal(size=(BLOCKS * 5, 2)), chunks=(5, -1)), None)


def epoch(samples, summary, precision="exact"):
    codebook = np.linspace(-1, 1, 24).reshape(12, 2)
    return epoch_sums(samples, codebook, LATTICE, summary, engine=engine_for("cpu", precision))


def assert_same(found, wanted):
    np.testing.assert_array_equal(found.numerator, wanted.numerator)
    np.testing.assert_array_equal(found.hits, wanted.hits)
    assert found.distance == wanted.distance


def fetched(cluster):
    """How often workers have fetched what from each other, by name."""
    logs = [each for worker in cluster.workers.values() for each in worker.transfer_incoming_log]
    return Counter(key_split(key) for each in logs for key in each["keys"])


@pytest.mark.cluster
def test_kept_blocks_are_added_up_where_they_lie(cluster, lazy):
    wanted = epoch(lazy, summarize(lazy))
    with Client(cluster):
        kept = keep_samples(lazy, "memory")
        wait(kept.array)
        summary = summarize(kept)
        before, ran = fetched(cluster), Ran()
        cluster.scheduler.add_plugin(ran)
        assert_same(epoch(kept, summary), wanted)
        assert ran.count("epoch_sums") == 4  # of 40 blocks: one a thread
        moved = fetched(cluster) - before
        assert not moved - Counter(broadcast=1, add_up=1)  # one sum of a worker, and no blocks
        # What must not be grouped does not move either.
        for _ in range(2):
            exact = epoch(kept, summary, "fast")
        assert ran.count("epoch_sums") == 4 + 2 * BLOCKS
        assert fetched(cluster)["array"] == before["array"]
        np.testing.assert_array_equal(exact.numerator, epoch(lazy, summary, "fast").numerator)


@pytest.mark.cluster
def test_blocks_are_made_by_the_task_that_uses_them(cluster, lazy):
    made = replace(lazy, array=lazy.array.map_blocks(np.multiply, 2.0, dtype="f8", name="double"))
    summary = summarize(made)
    wanted = epoch(made, summary)
    with Client(cluster):
        ran = Ran()
        cluster.scheduler.add_plugin(ran)
        assert_same(epoch(made, summary), wanted)
        assert ran.count("epoch_sums") == BLOCKS
        assert set(fetched(cluster)) <= {"broadcast", "epoch_sums", "add_up"}
        assert not {name for name, _ in ran.tasks} & {"double", "array", "array-double"}


@pytest.mark.cluster
def test_the_bits_are_the_same_while_workers_come_and_go(cluster, lazy):
    summary = summarize(lazy)
    wanted, drawn = epoch(lazy, summary), draw_samples(lazy, FeatureSpace.plain(2), 20, 3)
    with Client(cluster) as client:
        kept = keep_samples(lazy, "memory")
        assert_same(epoch(kept, summary), wanted)  # while blocks are still being computed
        cluster.scale(3)
        client.wait_for_workers(3)
        assert_same(epoch(kept, summary), wanted)
        first = next(iter(cluster.workers.values()))
        client.sync(first.close)  # and what it held is lost
        assert_same(epoch(kept, summary), wanted)
        np.testing.assert_array_equal(draw_samples(kept, FeatureSpace.plain(2), 20, 3), drawn)


class Sizes(SchedulerPlugin):
    """Tells when a cluster of one worker has grown, and when it has shrunk again."""

    grown, shrunk = threading.Event(), threading.Event()

    def add_worker(self, scheduler, worker):
        if len(scheduler.workers) > 1:
            self.grown.set()

    def remove_worker(self, scheduler, worker, **kwargs):
        if len(scheduler.workers) == 1:
            self.shrunk.set()


def wait_for_sizes(block, block_id):
    """Return a block: the first one when the cluster has grown, and the last one when it has shrunk again."""
    for index, event in ((0, Sizes.grown), (BLOCKS - 1, Sizes.shrunk)):
        if block_id[0] == index:
            event.wait(60)
    return block


@pytest.mark.cluster
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_the_bits_are_the_same_while_a_cluster_adapts(lazy, precision):
    summary = summarize(lazy)
    wanted = epoch(lazy, summary, precision)
    slow = replace(lazy, array=lazy.array.map_blocks(wait_for_sizes, dtype="f8", meta=np.empty((0, 2))))
    for event in (Sizes.grown, Sizes.shrunk):
        event.clear()
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, memory_limit="4 GiB", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster),
    ):
        cluster.scheduler.add_plugin(Sizes())
        cluster.adapt(minimum=1, maximum=3, interval="20 ms", wait_count=1, target_duration="5 s")
        assert_same(epoch(slow, summary, precision), wanted)
        assert Sizes.grown.is_set()
        assert Sizes.shrunk.is_set()
        assert_same(epoch(keep_samples(lazy, "memory"), summary, precision), wanted)


@pytest.mark.cluster
def test_a_worker_that_is_lost_between_the_plan_and_the_work_is_replaced(cluster, lazy, monkeypatch):
    summary = summarize(lazy)
    wanted = epoch(lazy, summary)
    with Client(cluster) as client:
        kept = keep_samples(lazy, "memory")
        wait(kept.array)
        shares = share_out(kept, 12, joins=True, device="cpu")
        assert {share.worker for share in shares} == {worker.address for worker in cluster.workers.values()}
        first = next(iter(cluster.workers.values()))
        client.sync(first.close)
        monkeypatch.setattr("som_dask.passes.run.share_out", lambda *args, **kwargs: shares)
        assert_same(epoch(kept, summary), wanted)
