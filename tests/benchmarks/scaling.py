"""`scaling`: epoch time over threads and processes, by size of blocks, and what the scheduler alone costs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import dask
import dask.array
from dask.delayed import Delayed, delayed

from som_dask.algorithm.lattice import Lattice
from som_dask.passes.cluster import connect
from som_dask.passes.summary import summarize
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples
from tests.benchmarks.contestants import floor, ours
from tests.benchmarks.data import codebooks, manifold
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Contestant, Options, Spread, cores, interleaved, ratio

__all__ = ["run"]

FEATURES, SIDE, BLOCKS, FAN_IN = 20, 50, 32, 8


def run(options: Options) -> list[dict[str, Any]]:
    """Measure all ways to share out the work, with small and with large blocks, and print the table."""
    options = replace(options, rounds=3 if options.quick else 7)
    results = [row for rows in (4096, 16_384 if options.quick else 32_768) for row in measure(rows, options)]
    show(
        f"scaling: an epoch of {BLOCKS} blocks in memory, D={FEATURES}, M={SIDE * SIDE}",
        [
            "way",
            "count",
            "block rows",
            "epoch s",
            "speedup",
            "efficiency",
            "SGEMM speedup",
            "no-op epoch s",
            "no-op share",
        ],
        [
            [
                row["way"],
                row["count"],
                row["block_rows"],
                row["seconds"],
                row["speedup"],
                row["efficiency"],
                row["floor_speedup"],
                row["no_operation_seconds"],
                row["no_operation_seconds"].median / row["seconds"].median,
            ]
            for row in results
        ],
        [
            f"medians [min, max] of {options.rounds} rounds, interleaved; processes have one thread each",
            "SGEMM speedup: of a blocked SGEMM of the same size and threads: what the machine can give now",
            f"no-op: as many tasks that do nothing, {BLOCKS} and a tree of fan-in {FAN_IN} over them",
        ],
    )
    return [{name: asdict(v) if isinstance(v, Spread) else v for name, v in row.items()} for row in results]


def measure(rows: int, options: Options) -> list[dict[str, Any]]:
    """Epoch times on threads and on processes, for blocks of so many rows."""
    lattice = Lattice(SIDE, SIDE)
    phase = codebooks(manifold(20_000, FEATURES), lattice, options.threads)[1]
    samples, whole = _in_memory(rows, {"scheduler": "threads"}), manifold(BLOCKS * rows, FEATURES)
    contestants, ways = {}, {}
    with contextlib.ExitStack() as stack:
        for count in sorted({*(2**k for k in range(10) if 2**k <= cores()), cores()}):
            ways[f"{count} threads"] = ("threads", count)
            settings = {"scheduler": "threads", "num_workers": count}
            contestants[f"{count} threads"] = ours(samples, lattice, phase, count)
            contestants[f"{count} floor"] = floor(whole, phase.codebook, count)
            contestants[f"{count} threads, no-op"] = Contestant(
                _no_operation(), lambda settings=settings: dask.config.set(settings)
            )
        for count in [count for count in (1, 2, 4) if count <= cores()]:
            options.say(f"scaling: starting {count} worker processes")
            client = stack.enter_context(connect(workers=count, threads_per_worker=1))
            with client.as_current():
                theirs = _in_memory(rows, {})
                contestant = ours(theirs, lattice, phase, None, summary=summarize(theirs))
            ways[f"{count} processes"] = ("processes", count)
            contestants[f"{count} processes"] = replace(contestant, around=client.as_current)
            contestants[f"{count} processes, no-op"] = Contestant(_no_operation(), client.as_current)
        options.say(f"scaling: {BLOCKS} blocks of {rows} samples, D={FEATURES}, M={lattice.n_nodes}")
        times = interleaved(contestants, options)
    results = []
    for name, (kind, count) in ways.items():
        speedup = ratio(times[f"1 {kind}"], times[name])
        results.append(
            {
                "way": kind,
                "count": count,
                "block_rows": rows,
                "samples": BLOCKS * rows,
                "seconds": Spread.of(times[name]),
                "speedup": speedup,
                "efficiency": speedup.median / count,
                "floor_speedup": ratio(times["1 floor"], times[f"{count} floor"]),
                "no_operation_seconds": Spread.of(times[f"{name}, no-op"]),
            }
        )
    return results


def _in_memory(rows: int, settings: dict[str, Any]) -> Samples:
    """Samples made where they will be used, and kept there."""
    block = delayed(manifold, pure=False)
    parts = [
        dask.array.from_delayed(block(rows, FEATURES, seed), (rows, FEATURES), "float32") for seed in range(BLOCKS)
    ]
    samples = open_samples(dask.array.concatenate(parts), block_size=rows * FEATURES * 4)
    with dask.config.set(settings):
        return replace(samples, array=samples.array.persist())


def _nothing(*_: Any) -> None:
    pass


def _no_operation() -> Callable[[], Any]:
    """A function that computes a graph of the same shape as an epoch's, of tasks that do nothing."""

    def tasks() -> list[Delayed]:
        level = [delayed(_nothing, pure=False)(i) for i in range(BLOCKS)]
        while len(level) > 1:
            level = [delayed(_nothing, pure=False)(*level[i : i + FAN_IN]) for i in range(0, len(level), FAN_IN)]
        return level

    return lambda: dask.compute(*tasks())
