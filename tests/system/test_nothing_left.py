"""After an epoch nobody on a cluster holds more than before, and at the end nothing: neither results nor names."""

import gc
import time

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from distributed import Client, LocalCluster

from som_dask.algorithm.lattice import Lattice
from som_dask.passes.compute import safe_settings
from som_dask.passes.epoch import epoch_sums
from som_dask.passes.residency import keep_samples
from som_dask.passes.summary import summarize
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples

KEPT_MESSAGES = safe_settings()["distributed.admin.low-level-log-length"]


@pytest.fixture
def cluster():
    local = {"processes": False, "memory_limit": 0, "dashboard_address": "127.0.0.1:0"}
    with dask.config.set(safe_settings()), LocalCluster(n_workers=3, threads_per_worker=1, **local) as cluster:
        yield cluster


def make_samples(kind, folder, values):
    if kind == "kept":
        return keep_samples(Samples(da.from_array(values, chunks=(5, -1)), None), "memory")
    zarr.create_array(str(folder / "x.zarr"), shape=values.shape, chunks=(5, 2), dtype="f8")[:] = values
    return open_samples(str(folder / "x.zarr"), block_size="80 B")


def held(client, cluster):
    """What client, scheduler and workers hold, as keys."""
    workers, scheduler = cluster.workers.values(), cluster.scheduler
    return {
        "client": set(client.futures),
        "wanted": {task.key for each in scheduler.clients.values() for task in each.wants_what},
        "tasks": set(scheduler.tasks),
        "groups": set(scheduler.task_groups),
        "states": {key for worker in workers for key in worker.state.tasks},
        "data": {key for worker in workers for key in worker.data},
    }


def wait_until(condition, client):
    """Wait until a condition is true, at most ten seconds, and say whether it is."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        client.run(int)  # everyone gets a turn
    return condition()


@pytest.mark.cluster
@pytest.mark.parametrize("kind", ["kept", "streamed"])
def test_epochs_leave_nothing_behind(kind, cluster, rng, tmp_path):
    lattice, codebook = Lattice(3, 4), np.linspace(-1, 1, 24).reshape(12, 2)
    with Client(cluster) as client:
        samples = make_samples(kind, tmp_path, rng.normal(size=(200, 2)))
        summary = summarize(samples)
        epoch_sums(samples, codebook, lattice, summary)
        kept = {future.key for future in samples.futures or ()}
        only_blocks = dict.fromkeys(("client", "wanted", "tasks", "states", "data"), kept)
        names = set(cluster.scheduler.task_prefixes)
        assert {"summary", "epoch_sums", "add_up"} <= names
        spans = set(cluster.scheduler.extensions["spans"].spans)  # workers keep statistics of each
        for _ in range(3):
            epoch_sums(samples, codebook, lattice, summary)
            assert wait_until(lambda: only_blocks.items() <= held(client, cluster).items(), client)
        found = held(client, cluster)
        assert len(found["groups"]) == (kind == "kept")
        assert set(cluster.scheduler.task_prefixes) == names
        assert set(cluster.scheduler.extensions["spans"].spans) == spans
        del samples
        gc.collect()
        assert wait_until(lambda: not any(held(client, cluster).values()), client), held(client, cluster)


@pytest.mark.cluster
def test_codebooks_of_long_ago_are_not_remembered_as_messages(cluster):
    with Client(cluster) as client:
        for i in range(3 * KEPT_MESSAGES):
            client.submit(abs, i, workers=list(cluster.scheduler.workers)[:1], pure=False).result()
        streams = list(cluster.scheduler.stream_comms.values())
        assert max(stream.batch_count for stream in streams) > 2 * KEPT_MESSAGES
        assert max(len(stream.recent_message_log) for stream in streams) == KEPT_MESSAGES
