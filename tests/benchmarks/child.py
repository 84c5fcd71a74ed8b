"""One streamed training in its own process: ``python -m tests.benchmarks.child JSON`` prints its peak memory."""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

import dask
import psutil

from som_dask.algorithm.lattice import Lattice
from som_dask.passes.cluster import connect
from som_dask.samples.open import open_samples
from som_dask.training.config import Execution, MapConfig
from som_dask.training.train import train
from tests.benchmarks.data import manifold

__all__ = ["main", "peak_memory"]


def peak_memory() -> int:
    """Most bytes that this process has had in memory.

    From /proc where there is one: `ru_maxrss` of a new process starts at what its parent had.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Train on `job["store"]` and tell the peak memory of the process, or of the hungriest worker.

    Returns
    -------
    dict
        ``before`` and ``peak`` in bytes: after a training on little data, and after all.
    """
    lattice = Lattice(job["side"], job["side"])
    config, execution = MapConfig(epochs=job["epochs"], **job["options"]), Execution(keep="stream")
    workers = {"workers": job["workers"], "threads_per_worker": job["threads"]} if job["workers"] else {}
    settings = {} if job["workers"] else {"scheduler": "threads", "num_workers": job["threads"]}
    with connect(**workers) as client, dask.config.set(settings):

        def most(measure: Any) -> int:
            return max(client.run(measure).values()) if client else measure()

        train(manifold(4096, job["features"]), lattice, config, execution)
        before = most(lambda: psutil.Process().memory_info().rss)
        sample_weights = job["sample_weights"]  # the name of a variable, or None
        samples = open_samples(
            job["store"], variable="samples", block_size=job["block_size"], sample_weights=sample_weights
        )
        train(samples, lattice, config, execution)
        return {"before": before, "peak": most(peak_memory)}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
