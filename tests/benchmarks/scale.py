"""`scale`: what an epoch costs the client and the scheduler, by the number of kept blocks."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client

from som_dask.algorithm.lattice import Lattice
from som_dask.passes.epoch import epoch_sums
from som_dask.passes.summary import DataSummary, summarize
from som_dask.samples.table import Samples
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options, Spread

__all__ = ["run"]

SIDE, FEATURES, ROWS, WORKERS = 3, 2, 4, 2
# In a process of its own, so that the clock of this process counts the client alone.
CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(int(sys.argv[1]), threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def run(options: Options) -> list[dict[str, Any]]:
    """Measure epochs of tiny blocks on threads and on a cluster, and print the table."""
    results = []
    with ExitStack() as stack:
        client = stack.enter_context(_cluster())
        for count in (64, 1024) if options.quick else (64, 1024, 30_000):
            options.say(f"scale: {count} blocks")
            values = np.random.default_rng(0).normal(size=(count * ROWS, FEATURES))
            with dask.config.set(scheduler="threads", num_workers=options.threads):
                kept = Samples(da.from_array(values, chunks=(ROWS, -1)).persist(), None, in_memory=True)
                summary = summarize(kept)
                results.append(measure("threads", kept, summary, options))
            with client.as_current():
                results.append(measure("cluster", _scatter(values, client), summary, options, client))
    show(
        f"scale: an epoch of kept blocks of {ROWS} samples, D={FEATURES}, M={SIDE * SIDE}",
        ["way", "blocks", "client CPU s", "scheduler CPU s", "epoch s", "tasks", "blocks moved"],
        [
            [
                row["way"], row["blocks"], row["client_seconds"], row["scheduler_seconds"], row["seconds"],
                row["tasks"], row["moved"],
            ]
            for row in results
        ],
        [
            f"medians [min, max] of {options.rounds} epochs; a cluster of {WORKERS} processes of one thread",
            "client CPU: of all threads of the process, on threads with the work itself",
            "blocks moved: transfers between workers of blocks of samples, in all epochs",
        ],
    )  # fmt: skip
    return [{name: asdict(v) if isinstance(v, Spread) else v for name, v in row.items()} for row in results]


@contextmanager
def _cluster() -> Iterator[Client]:
    """Yield a client that is not current, of a cluster in another process."""
    command = [sys.executable, "-c", CLUSTER, str(WORKERS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with Client(process.stdout.readline().strip(), set_as_default=False) as client:
            yield client
        process.communicate()


def _scatter(values: np.ndarray, client: Client) -> Samples:
    """Place blocks on the workers of a cluster: without a task for each, which would take minutes."""
    futures = client.scatter(np.split(values, len(values) // ROWS), hash=False)
    name = f"blocks-{uuid.uuid4().hex}"
    graph = {(name, i, 0): future for i, future in enumerate(futures)}
    chunks = ((ROWS,) * len(futures), (FEATURES,))
    return Samples(da.Array(graph, name, chunks, dtype=values.dtype), None, in_memory=True)


def measure(
    way: str, samples: Samples, summary: DataSummary, options: Options, client: Client | None = None
) -> dict[str, Any]:
    """Measure epochs of kept samples."""
    lattice, count = Lattice(SIDE, SIDE), len(samples.block_rows)
    codebook = np.zeros((lattice.n_nodes, FEATURES))
    seconds: dict[str, list[float]] = {"client_seconds": [], "scheduler_seconds": [], "seconds": []}
    before = _look(client)
    for _ in range(options.rounds):
        theirs, clock, wall = _look(client)["cpu"], time.process_time(), time.perf_counter()
        epoch_sums(samples, codebook, lattice, summary)
        seconds["client_seconds"].append(time.process_time() - clock)
        seconds["seconds"].append(time.perf_counter() - wall)
        seconds["scheduler_seconds"].append(_look(client)["cpu"] - theirs)
    after = _look(client)
    rounds = len(seconds["seconds"])
    found = {name: Spread.of(each) for name, each in seconds.items()}
    return {
        "way": way,
        "blocks": count,
        **found,
        "tasks": (after["tasks"] - before["tasks"]) // rounds if client else None,
        "moved": after["moved"] - before["moved"] if client else None,
    }


def _look(client: Client | None) -> dict[str, Any]:
    """Return the CPU seconds of the scheduler, the tasks that it finished, and the blocks that workers fetched."""
    if client is None:
        return {"cpu": 0.0, "tasks": 0, "moved": 0}
    found = client.run_on_scheduler(_look_at_scheduler)
    return {**found, "moved": sum(client.run(_count_fetched).values())}


def _look_at_scheduler(dask_scheduler: Any) -> dict[str, Any]:
    finished = sum(prefix.state_counts["memory"] for prefix in dask_scheduler.task_prefixes.values())
    return {"cpu": time.process_time(), "tasks": finished}


def _count_fetched(dask_worker: Any) -> int:
    log = dask_worker.transfer_incoming_log
    return sum(str(key).startswith("ndarray") for each in log for key in each["keys"])
