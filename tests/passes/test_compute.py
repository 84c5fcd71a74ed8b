"""Computations on a client that can't work end in clear words, and not in waiting."""

import asyncio
import threading

import dask
import pytest
from distributed import Client

from som_dask.errors import ClusterError, MemoryLimitError
from som_dask.passes.cluster import connect
from som_dask.passes.compute import compute, guard


def test_an_asynchronous_client_is_refused():
    async def work():
        async with Client(processes=False, n_workers=1, asynchronous=True, dashboard_address=":0"):
            compute(dask.delayed(1))

    with pytest.raises(ClusterError, match="asynchronous=False"):
        asyncio.run(work())


def test_a_client_without_workers_is_not_waited_for_for_ever():
    with (
        dask.config.set({"som-dask.workers-timeout": "300ms"}),
        Client(processes=False, n_workers=0, dashboard_address=":0"),
        pytest.raises(ClusterError, match=r"has no workers.* within 0.3 seconds.*som-dask.workers-timeout"),
    ):
        compute(dask.delayed(1))


def test_an_adaptive_cluster_without_workers_starts_one():
    with Client(processes=False, n_workers=0, threads_per_worker=1, dashboard_address=":0") as client:
        client.cluster.adapt(minimum=0, maximum=1, interval="20 ms")
        assert compute(dask.delayed(abs)(-1)) == (1,)


def test_what_is_known_of_all_workers_is_not_asked_for_before_every_pass(monkeypatch):
    with Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
        scheduler, asked = client.cluster.scheduler, []
        identity = scheduler.handlers["identity"]
        monkeypatch.setitem(scheduler.handlers, "identity", lambda **given: asked.append(given) or identity(**given))
        assert compute(dask.delayed(abs)(-1)) == (1,)
        assert not asked


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(12, "Cannot allocate"), RuntimeError("can't start new thread")]
)
def test_a_lack_of_memory_has_one_name(error, monkeypatch):
    def fail(**_):
        raise error

    with pytest.raises(MemoryLimitError), guard():
        raise error
    monkeypatch.setattr("som_dask.passes.cluster.LocalCluster", fail)
    with pytest.raises(MemoryError), connect(workers=2):
        pass


SHARED = {}


def go_away():
    """A task that ends its own worker."""
    SHARED["cluster"].scale(0)
    SHARED["done"].wait()


def test_workers_that_go_and_never_come_back_are_not_waited_for_for_ever():
    """As when a notebook is interrupted: the signal reaches the workers too."""
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        mine = client.submit(abs, -1, pure=False)
        assert mine.result() == 1
        SHARED.update(cluster=client.cluster, done=threading.Event())
        with (
            dask.config.set({"distributed.scheduler.no-workers-timeout": "200ms"}),
            pytest.raises(ClusterError, match=r"has lost its workers.*no-workers-timeout"),
        ):
            compute(dask.delayed(go_away)())
        assert not mine.cancelled()  # what is another's is let alone
        SHARED.pop("done").set()
        SHARED.clear()
