"""What a cluster moves in an epoch: a codebook in rounds, one sum of each worker, and no blocks."""

import math
from collections import Counter
from dataclasses import replace
from functools import partial

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from dask.sizeof import sizeof
from dask.utils import key_split
from distributed import Client, LocalCluster, SchedulerPlugin, wait

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.cpu import CpuExact
from som_dask.engine.engines import engine_for
from som_dask.engine.partial import ExactPartial
from som_dask.passes import relay
from som_dask.passes.epoch import epoch_sums
from som_dask.passes.relay import FAN_OUT, RELAY_BYTES, plan_relay
from som_dask.passes.residency import keep_samples
from som_dask.passes.summary import summarize
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples

WORKERS, BLOCKS, ROWS = 8, 48, 5
LATTICE = Lattice(6, 8)


@pytest.mark.parametrize("n", [6, 7, 8, 16, 64, 300])
def test_no_worker_serves_many_others_and_all_are_served_in_few_rounds(n):
    workers = [f"tcp://{i:03}" for i in range(n)]
    servers = plan_relay(workers, RELAY_BYTES)
    assert sorted(servers) == workers
    rounds = {}
    for worker, server in servers.items():
        rounds[worker] = 0 if server is None else rounds[server] + 1  # its server comes before it
    assert list(rounds.values()).count(0) == 1
    assert max(Counter(servers.values()).values()) <= FAN_OUT <= math.log2(n) + 1.5
    assert max(rounds.values()) <= math.ceil(math.log(n, FAN_OUT))


def test_most_copies_stay_within_a_machine():
    workers = [f"tcp://machine{i:02}:{port}" for i in range(8) for port in range(40000, 40016)]
    hosts = [(a.rpartition(":")[0], b.rpartition(":")[0]) for a, b in plan_relay(workers, RELAY_BYTES).items() if b]
    between = sum(a != b for a, b in hosts)
    assert between <= 2 * 8  # of 127


@pytest.mark.parametrize(("n", "size"), [(0, 2**30), (1, 2**30), (FAN_OUT + 1, 2**30), (64, RELAY_BYTES - 1)])
def test_few_workers_and_small_things_need_no_relay(n, size):
    assert plan_relay([str(i) for i in range(n)], size) == {}


@pytest.fixture(scope="module")
def client():
    # Nothing is taken over by idle workers, so that counts are the same on a busy machine.
    with (
        dask.config.set({"distributed.scheduler.work-stealing": False}),
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=False,
            protocol="tcp://",
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def values(rng):
    return rng.normal(size=(BLOCKS * ROWS, 20))


def lazy(values, _=None):
    return Samples(da.from_array(values, chunks=(ROWS, -1)).map_blocks(np.multiply, 1.0, dtype="f8"), None)


def kept(values, _):
    samples = keep_samples(lazy(values), "memory")
    wait([samples.array])
    return samples


def derived(values, folder):
    """Features chosen of kept samples, which workers hold."""
    wider = np.concatenate([values, values[:, :3]], axis=1)
    return kept(wider, folder).choose_features(np.arange(values.shape[1]))


def stored(values, folder, weighted=False):
    path = str(folder / "x.zarr")
    zarr.create_array(path, shape=values.shape, chunks=(ROWS, values.shape[1]), dtype="f8")[:] = values
    samples = open_samples(path, block_size=f"{8 * values.shape[1] * ROWS} B")
    assert samples.reads_pieces
    return replace(samples, weights=da.ones(len(values), chunks=ROWS) * 2 if weighted else None)


KINDS = {
    "kept": kept,
    "derived": derived,
    "lazy": lazy,
    "stored": stored,
    "weighted": partial(stored, weighted=True),
}


def epoch(samples, summary, precision="exact"):
    codebook = np.random.default_rng(1).normal(size=(LATTICE.n_nodes, samples.n_features))
    return epoch_sums(samples, codebook, LATTICE, summary, engine=engine_for("cpu", precision))


class Moved:
    """What workers have fetched from each other since this was made, by name: how often, and bytes."""

    def __init__(self, client):
        self.workers = list(client.cluster.workers.values())
        for worker in self.workers:
            worker.transfer_incoming_log.clear()
            worker.transfer_outgoing_log.clear()

    def fetched(self):
        return [
            item for worker in self.workers for log in worker.transfer_incoming_log for item in log["keys"].items()
        ]

    @property
    def names(self):
        return Counter(key_split(key) for key, _ in self.fetched())

    def bytes_of(self, *names):
        return sum(n_bytes for key, n_bytes in self.fetched() if key_split(key) in names)

    def most_served(self, *names):
        served = [[key for log in w.transfer_outgoing_log for key in log["keys"]] for w in self.workers]
        return max(sum(key_split(key) in names for key in keys) for keys in served)


class Ran(SchedulerPlugin):
    """Notes which tasks end, and where."""

    def __init__(self, client):
        self.tasks = []
        client.cluster.scheduler.add_plugin(self, name=f"ran-{id(self)}")

    def transition(self, key, start, finish, *args, worker=None, **kwargs):
        if (start, finish) == ("processing", "memory"):
            self.tasks.append((key_split(key), worker))

    def where(self, name):
        return Counter(worker for each, worker in self.tasks if each == name)


@pytest.mark.cluster
@pytest.mark.parametrize("kind", KINDS)
def test_what_moves_in_an_epoch(client, values, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(relay, "RELAY_BYTES", 0)
    with client.as_current():
        samples = KINDS[kind](values, tmp_path)
        summary = summarize(samples)
        moved, ran = Moved(client), Ran(client)
        found = epoch(samples, summary)
    plain = samples if kind == "weighted" else lazy(values)
    np.testing.assert_array_equal(found.numerator, epoch(plain, summarize(plain)).numerator)
    # Neither blocks nor weights are made by a task of their own.
    assert {name for name, _ in ran.tasks} <= {"broadcast", "relay", "epoch_sums", "add_up"}
    assert set(moved.names) <= {"broadcast", "relay", "epoch_sums", "add_up"}
    assert len(ran.where("epoch_sums")) == WORKERS
    assert moved.names["broadcast"] + moved.names["relay"] == WORKERS - 1
    assert moved.most_served("broadcast", "relay") <= FAN_OUT
    size = sizeof(ExactPartial.zero(LATTICE.n_nodes, samples.n_features, 2, weighted=kind == "weighted"))
    assert 0 < moved.bytes_of("epoch_sums", "add_up") <= 1.1 * WORKERS * size


@pytest.mark.cluster
def test_few_samples_are_read_by_all_workers_and_not_by_the_first_alone(client, values, tmp_path):
    samples = stored(values, tmp_path)
    summary = summarize(samples)
    with client.as_current():
        for _ in range(2):  # the scheduler knows only then that the tasks are short
            ran = Ran(client)
            epoch(samples, summary)
            assert list(ran.where("epoch_sums").values()) == [1] * WORKERS
            assert "relay" not in dict(ran.tasks)  # of a small codebook


@pytest.mark.cluster
@pytest.mark.parametrize("kind", ["lazy", "stored"])
def test_sums_in_an_order_are_the_same_bits_where_all_is_planned(client, values, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(relay, "RELAY_BYTES", 0)
    samples = KINDS[kind](values, tmp_path)
    summary = summarize(samples)
    wanted = epoch(samples, summary, "fast")
    with client.as_current():
        moved = Moved(client)
        found = epoch(samples, summary, "fast")
    np.testing.assert_array_equal(found.numerator, wanted.numerator)
    assert found.distance == wanted.distance
    assert moved.names["epoch_sums"] + moved.names["add_up"] < BLOCKS / 2
    assert moved.most_served("broadcast", "relay") <= FAN_OUT


@pytest.mark.cluster
def test_a_codebook_is_prepared_once_a_process(client, values, monkeypatch):
    monkeypatch.setattr(relay, "RELAY_BYTES", 0)
    prepared, prepare = [], CpuExact.prepare
    monkeypatch.setattr(CpuExact, "prepare", lambda *args: prepared.append(args) or prepare(*args))
    samples = lazy(values)
    summary = summarize(samples)
    with client.as_current():
        epoch(samples, summary)
        assert len(prepared) == 1  # of all workers, which are threads here
        epoch(samples, summary)
        assert len(prepared) == 2  # another codebook, for all that is known


class Kill(SchedulerPlugin):
    """Closes the first worker that has got a codebook by relay from another, with all that it holds."""

    def __init__(self, cluster):
        self.cluster, self.killed = cluster, None
        cluster.scheduler.add_plugin(self)

    def transition(self, key, start, finish, *args, worker=None, **kwargs):
        if self.killed is None and finish == "memory" and key_split(key) == "relay":
            self.killed = worker
            by_address = {each.address: each for each in self.cluster.workers.values()}
            self.cluster.loop.add_callback(by_address[worker].close)


@pytest.mark.cluster
@pytest.mark.parametrize("kind", ["kept", "stored"])
def test_a_relay_that_is_lost_is_made_again(values, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(relay, "RELAY_BYTES", 0)
    summary = summarize(lazy(values))
    wanted = epoch(lazy(values), summary)
    with (
        LocalCluster(n_workers=7, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
    ):
        samples = KINDS[kind](values, tmp_path)
        kill = Kill(cluster)
        np.testing.assert_array_equal(epoch(samples, summary).numerator, wanted.numerator)
        assert kill.killed is not None
        np.testing.assert_array_equal(epoch(samples, summary).numerator, wanted.numerator)
