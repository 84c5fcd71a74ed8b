"""Small jobs: a fit, labels and measures of iris in one process, and how soon two workers begin."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import zarr

from som_dask import KohonenMap
from tests.benchmarks.small_data import SMALL_DATA
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options, Skipped, Spread

__all__ = ["measure", "run", "seconds_to_first_epoch"]


def measure(data: Any, options: Options, *, epochs: int = 20) -> dict[str, dict[str, Spread]]:
    """Measure wall time and processor time in milliseconds of jobs on some samples, interleaved."""
    untrained = KohonenMap(10, 10)
    trained = untrained.train(data, epochs=epochs)
    jobs: dict[str, Callable[[], Any]] = {
        "train": lambda: untrained.train(data, epochs=epochs),
        "epochs": lambda: list(untrained.epochs(data, epochs=epochs)),
        "infer": lambda: trained.infer(data).compute(),
        "evaluate": lambda: trained.evaluate(data),
    }
    for job in jobs.values():
        job()
    times = {name: {"wall": list[float](), "processor": list[float]()} for name in jobs}
    for _ in range(options.rounds):
        for name, job in jobs.items():
            wall, processor = time.perf_counter(), time.process_time()
            job()
            times[name]["wall"].append(1e3 * (time.perf_counter() - wall))
            times[name]["processor"].append(1e3 * (time.process_time() - processor))
    return {name: {kind: Spread.of(values) for kind, values in each.items()} for name, each in times.items()}


def seconds_to_first_epoch(data: Any, *, workers: int = 2) -> float:
    """Measure the seconds from the start of ``som-dask train --workers`` to the line of its first epoch."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "data.zarr"
        zarr.create_array(str(store), data=data)
        words = ["train", str(store), "--output", str(Path(folder) / "map.zarr"), "--rows", "10", "--cols", "10"]
        clock = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "som_dask.cli.main", *words, "--epochs", "3", "--workers", str(workers)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child:
            told = []
            for line in child.stdout or ():
                told.append(line)
                if line.startswith("epoch 1 "):
                    seconds = time.perf_counter() - clock
                    child.communicate()
                    return seconds
    raise Skipped(f"training told of no epoch: {''.join(told)}")


def run(options: Options) -> dict[str, Any]:
    """Measure all and print the tables."""
    data = SMALL_DATA["iris"]().values
    found = measure(data, options)
    show(
        "small: a 10 x 10 map of iris, 20 epochs, in milliseconds",
        ["job", "wall", "processor"],
        [[name, each["wall"], each["processor"]] for name, each in found.items()],
        [f"medians [min, max] of {options.rounds} rounds, interleaved, after one that does not count"],
    )
    starts = Spread.of([seconds_to_first_epoch(data) for _ in range(2 if options.quick else 3)])
    show("small: start of --workers 2", ["to the first epoch, s"], [[starts]], ["the first may compile"])
    jobs = {name: {kind: asdict(spread) for kind, spread in each.items()} for name, each in found.items()}
    return {"milliseconds": jobs, "seconds_to_first_epoch": asdict(starts)}
