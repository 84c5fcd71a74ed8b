"""A cluster of many one-thread workers in few processes: ``python -m tests.benchmarks.scale_cluster ROLE ...``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dask
import psutil
from dask.utils import key_split
from distributed import Client, Scheduler, SchedulerPlugin, Worker, WorkerPlugin

from som_dask.passes.compute import safe_settings

__all__ = ["Computed", "Fetched", "simulated_cluster"]

ROOT, LOOPBACK = Path(__file__).parents[2], "127.0.0.1"
# Each worker looks after itself all the time, which takes a third of a core for 64 of them on one machine.
CALM = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "30s",
    "distributed.admin.tick.interval": "2s",
    "distributed.scheduler.worker-ttl": None,  # one that waits long for a core is not lost
}
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


class Computed(SchedulerPlugin):
    """Notes which worker computed from when to when, on the workers' clocks."""

    name = "computed"

    def __init__(self) -> None:
        self.spans: list[tuple[str, float, float]] = []

    def transition(self, key: Any, start: str, finish: str, *_: Any, **found: Any) -> None:
        """Called by the scheduler for each change of a task's state."""
        if (start, finish) == ("processing", "memory"):
            times = [
                (each["start"], each["stop"]) for each in found["startstops"] or () if each["action"] == "compute"
            ]
            self.spans += [(found["worker"], *each) for each in times]


class Fetched(WorkerPlugin):
    """Counts the bytes of what a worker fetched from others, by name: a log of transfers would be cut."""

    name = "fetched"

    def __init__(self) -> None:
        self.bytes, self.count = defaultdict[str, int](int), defaultdict[str, int](int)

    def setup(self, worker: Worker) -> None:
        """Called by the worker when it starts."""
        self.tasks = worker.state.tasks

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Called by the worker for each change of a task's state."""
        if (start, finish) == ("flight", "memory"):
            self.bytes[key_split(key)] += self.tasks[key].get_nbytes()
            self.count[key_split(key)] += 1


@contextmanager
def simulated_cluster(workers: int, processes: int) -> Iterator[tuple[Client, list[psutil.Process]]]:
    """Start a scheduler in a process of its own and one-thread workers in some others, all talking by TCP.

    Yields
    ------
    Client, list of psutil.Process
        A client that is not current; the process of the scheduler, followed by those of the workers.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="som_dask_scale_"))
        scheduler = stack.enter_context(_process("scheduler"))
        address = _line(scheduler)
        shares = [workers * (i + 1) // processes - workers * i // processes for i in range(processes)]
        some = [stack.enter_context(_process("workers", address, str(share), folder)) for share in shares]
        for process in some:
            _line(process)  # its workers are there
        client = stack.enter_context(Client(address, set_as_default=False))
        client.wait_for_workers(workers)
        yield client, [psutil.Process(process.pid) for process in (scheduler, *some)]


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", __spec__.name, *arguments]
    environment = os.environ | ONE_THREAD
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.communicate()  # it ends with its input


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError("a process of the simulated cluster did not start")
    return line


async def _until_input_ends() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _serve_scheduler() -> None:
    async with Scheduler(host=LOOPBACK, port=0, dashboard=False, dashboard_address=f"{LOOPBACK}:0") as scheduler:
        scheduler.add_plugin(Computed())
        print(scheduler.address, flush=True)
        await _until_input_ends()


async def _serve_workers(address: str, count: int, folder: str) -> None:
    workers = [
        Worker(
            address,
            nthreads=1,
            host=LOOPBACK,
            dashboard_address=f"{LOOPBACK}:0",
            memory_limit=0,
            local_directory=folder,
            plugins=[Fetched()],
        )
        for _ in range(count)
    ]
    await asyncio.gather(*workers)
    print("ready", flush=True)
    await _until_input_ends()
    await asyncio.gather(*(worker.close() for worker in workers))


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve as one process of the cluster until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    roles = parser.add_subparsers(dest="role", required=True)
    roles.add_parser("scheduler")
    some = roles.add_parser("workers")
    some.add_argument("address")
    some.add_argument("count", type=int)
    some.add_argument("folder")
    given = parser.parse_args(arguments)
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with dask.config.set(safe_settings() | CALM):
        work = (
            _serve_scheduler()
            if given.role == "scheduler"
            else _serve_workers(given.address, given.count, given.folder)
        )
        asyncio.run(work)


if __name__ == "__main__":
    main()
