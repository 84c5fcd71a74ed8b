"""`memory`: peak memory of streamed training while the data grow and the chunks don't."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.stores import write_store
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options

__all__ = ["run"]

ROOT = Path(__file__).parents[2]
FEATURES, SIDE, EPOCHS, GROWTH = 16, 20, 2, (1, 4, 16)


def measure(store: Path, block_bytes: int, threads: int, workers: int, gaps: bool) -> dict[str, Any]:
    """Peak memory, in a fresh process."""
    job = {
        "store": str(store),
        "block_size": block_bytes,
        "features": FEATURES,
        "side": SIDE,
        "epochs": EPOCHS,
        "threads": threads,
        "workers": workers,
        "options": {"missing": "mask", "scaling": "zscore"} if gaps else {},
        "sample_weights": "weights" if gaps else None,
    }
    command = [sys.executable, "-m", "tests.benchmarks.child", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the child failed with status {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def run(options: Options) -> list[dict[str, Any]]:
    """Measure one process with threads, then two workers, and print the table."""
    chunk_rows = (1 if options.quick else 4) * 2**20 // (4 * FEATURES)
    block_bytes, first = 4 * FEATURES * chunk_rows, 16
    half = max(options.threads // 2, 1)
    ways = {
        f"1 process x {options.threads} threads": (options.threads, 0, False),
        f"2 workers x {half} threads": (half, 2, False),
        f"1 process x {options.threads} threads, masked and weighted": (options.threads, 0, True),
        f"2 workers x {half} threads, masked and weighted": (half, 2, True),
    }
    peaks: dict[str, dict[int, dict[str, Any]]] = {way: {} for way in ways}
    with tempfile.TemporaryDirectory(prefix="som_dask_memory_") as folder:
        for growth in GROWTH:
            options.say(f"memory: {growth * first} chunks of {block_bytes / 2**20:g} MiB")
            for gaps in (False, True):
                store = Path(folder) / f"{growth}-{gaps}.zarr"
                write_store(store, growth * first, chunk_rows, FEATURES, gaps=gaps)
                for way, (threads, workers, with_gaps) in ways.items():
                    if with_gaps == gaps:
                        peaks[way][growth] = measure(store, block_bytes, threads, workers, gaps)
    results = [
        {
            "way": way,
            "block_bytes": block_bytes,
            "data_bytes": {growth: growth * first * block_bytes for growth in GROWTH},
            "before": found[1]["before"],
            "peak": {growth: found[growth]["peak"] for growth in GROWTH},
            "ratio": found[GROWTH[-1]]["peak"] / found[1]["peak"],
        }
        for way, found in peaks.items()
    ]
    show(
        "memory: peak resident memory of streamed training (of the hungriest worker), MiB",
        [
            "way",
            "chunk MiB",
            "before",
            *(f"{g}x ({g * first * block_bytes / 2**20:g} MiB)" for g in GROWTH),
            "16x / 1x",
        ],
        [
            [
                row["way"],
                block_bytes / 2**20,
                row["before"] / 2**20,
                *(row["peak"][growth] / 2**20 for growth in GROWTH),
                row["ratio"],
            ]
            for row in results
        ],
        [
            f"{SIDE} x {SIDE} map, D={FEATURES}, {EPOCHS} epochs and the passes before and after; one chunk a block",
            "before: after a training on 4096 samples in memory",
            "masked and weighted: a tenth of the values missing, weights in the store, features scaled by zscore",
        ],
    )
    return results
