"""`scale`: what an epoch costs client, scheduler and workers, by the number of workers and of blocks.

``python -m tests.benchmarks.scale --workers 16 64 --blocks 1024 --maps 20x20x20 --epochs 200`` chooses other sizes.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dask
import psutil
from distributed import Client

from tests.benchmarks.scale_cluster import simulated_cluster
from tests.benchmarks.scale_meter import KINDS, Costs, Meter
from tests.benchmarks.scale_ways import ROWS, Shape, Way, real_sums_on_threads, ways_on
from tests.benchmarks.tables import environment, environment_line, show
from tests.benchmarks.timing import Options, Spread, cores

__all__ = ["WAYS", "Plan", "run"]

WAYS = ("threads real", "kept no-op", "kept real", "streamed no-op", "streamed real", "one task a block no-op")
MOST_COSTLY = 10  # epochs of a way that takes seconds
TURNS = 2
MIB = 2**20
NOTES = [
    f"blocks of {ROWS} samples; one-thread workers, without profilers and monitors, in a few processes of this "
    "machine, which all share its cores",
    "kept: blocks lie on the workers; streamed: read again each epoch; no-op: tasks give sums of the map's size "
    "at once; one task a block: as in earlier days, anywhere",
    "CPU: all threads of all processes, a mean epoch with the release of its tasks; overhead: time of an epoch "
    "without what the busiest worker computed",
    "alone: CPU of the client, the scheduler and one worker: an epoch where each has a core and they take turns",
    "MiB from worker to worker: as Dask sizes it; one codebook and one sum travel through the scheduler besides",
    "copies, rounds: of the codebook in one epoch, served by one worker and in a row",
]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure.

    Attributes
    ----------
    workers, blocks : sequence of int
    maps : sequence of (int, int)
        Nodes along each side, and features.
    epochs : int
        Of each way; fewer where the patience, seconds, ends.
    processes : int
        Of the workers.
    ways : sequence of str
    """

    workers: Sequence[int] = (64,)
    blocks: Sequence[int] = (64, 1024, 30_000)
    maps: Sequence[tuple[int, int]] = ((20, 20),)
    epochs: int = 50
    processes: int = 4
    ways: Sequence[str] = field(default=WAYS)
    patience: float = 30.0


def run(options: Options, plan: Plan | None = None) -> list[dict[str, Any]]:
    """Measure epochs on threads and on simulated clusters, and print the tables."""
    plan = plan or (Plan(workers=(16,), blocks=(64, 1024), epochs=10, patience=5.0) if options.quick else Plan())
    results = []
    try:
        for row in _measure(options, plan):
            results.append(row)
            options.say(f"scale: {row['way']}, {row['blocks']} blocks: {1e3 * row['seconds']['median']:.0f} ms")
    finally:  # an interrupted run shows what it has
        _show_costs(results)
        _show_memory([row for row in results if row["workers"]])
    return results


def _measure(options: Options, plan: Plan) -> Iterator[dict[str, Any]]:
    shapes = [Shape(blocks, side, features) for side, features in plan.maps for blocks in plan.blocks]
    if "threads real" in plan.ways:
        for shape in shapes:
            yield _measure_threads(shape, options, plan)
    with tempfile.TemporaryDirectory(prefix="som_dask_scale_") as folder:
        for workers in plan.workers:
            with simulated_cluster(workers, min(plan.processes, workers)) as (client, processes):
                meter = Meter(client, processes)
                for shape in shapes:
                    options.say(f"scale: {workers} workers, {shape.blocks} blocks, M={shape.side**2}")
                    yield from _measure_cluster(client, meter, shape, workers, plan, Path(folder))


def _measure_threads(shape: Shape, options: Options, plan: Plan) -> dict[str, Any]:
    epoch, walls, process = real_sums_on_threads(shape), list[float](), psutil.Process()
    with dask.config.set(scheduler="threads", num_workers=options.threads):
        epoch()
        clock, began, first = time.process_time(), time.perf_counter(), process.memory_info().rss
        while len(walls) < plan.epochs and (not walls or time.perf_counter() - began < plan.patience):
            wall = time.perf_counter()
            epoch()
            walls.append(time.perf_counter() - wall)
    return {
        **_describe("threads real", shape, None),
        "epochs": len(walls),
        "seconds": asdict(Spread.of(walls)),
        "cpu": {"client": (time.process_time() - clock) / len(walls)},
        "memory": {"client": {"first": first, "last": process.memory_info().rss}},
    }


def _measure_cluster(
    client: Client, meter: Meter, shape: Shape, workers: int, plan: Plan, folder: Path
) -> list[dict[str, Any]]:
    """Measure the ways in turns."""
    with client.as_current():
        ways = ways_on(client, shape, folder, [name for name in plan.ways if name != "threads real"])
        costs = {way.name: Costs() for way in ways}
        for way in ways:
            _warm(way, plan)
        for _ in range(TURNS):
            for way in ways:
                gc.collect()
                most = min(plan.epochs, MOST_COSTLY) if way.costly else plan.epochs
                meter.measure(way.epoch, -(-most // TURNS), plan.patience / TURNS, costs[way.name])
    return [_describe(way.name, shape, workers) | _as_json(costs[way.name].to_row(workers)) for way in ways]


def _warm(way: Way, plan: Plan) -> None:
    """Run a way until it has compiled, opened and connected what it needs."""
    for _ in range(1 if way.costly else 3):
        way.epoch()


def _describe(way: str, shape: Shape, workers: int | None) -> dict[str, Any]:
    return {
        "way": way,
        "workers": workers,
        "blocks": shape.blocks,
        "nodes": shape.side**2,
        "features": shape.features,
    }


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {name: asdict(value) if isinstance(value, Spread) else value for name, value in row.items()}


def _place(row: dict[str, Any]) -> list[Any]:
    return [row["way"], row["workers"], row["blocks"], row["nodes"], row["features"], row["epochs"]]


PLACE = ["way", "workers", "blocks", "M", "D", "epochs"]


def _ms(value: Any) -> Any:
    """Seconds, or a spread of seconds, in milliseconds."""
    if isinstance(value, dict):
        low, median, high = (1e3 * value[name] for name in ("low", "median", "high"))
        return Spread(median, low, high, value["rounds"])
    return None if value is None else 1e3 * value


def _show_costs(results: Sequence[dict[str, Any]]) -> None:
    show(
        "scale: an epoch",
        [
            *PLACE, "client CPU ms", "scheduler CPU ms", "workers CPU ms",
            "epoch ms", "overhead ms", "alone ms", "tasks", *(f"{kind} MiB" for kind in KINDS),
            "copies", "rounds",
        ],
        [
            [
                *_place(row),
                *(_ms(row["cpu"].get(role)) for role in ("client", "scheduler", "workers")),
                _ms(row["seconds"]),
                _ms(row.get("overhead")),
                _ms(row.get("alone")),
                row.get("tasks"),
                *(row["moved"][kind] / MIB if "moved" in row else None for kind in KINDS),
                row.get("codebook_copies"),
                row.get("codebook_rounds"),
            ]
            for row in results
        ],
        NOTES,
    )  # fmt: skip


def _show_memory(results: Sequence[dict[str, Any]]) -> None:
    roles = ("client", "scheduler", "workers")
    show(
        "scale: resident memory after the first and the last epoch, MiB; and how it grew, KiB an epoch",
        [*PLACE, *(f"{role}{what}" for role in roles for what in ("", " grew"))],
        [
            [
                *_place(row),
                *(
                    cell
                    for role in roles
                    for cell in (
                        "{first:.0f}, {last:.0f}".format(
                            **{name: row["memory"][role][name] / MIB for name in ("first", "last")}
                        ),
                        f"{row['memory'][role]['slope'] / 1024:.1f}",
                    )
                ),
            ]
            for row in results
        ],
        ["grew: least squares over the second half of the epochs; workers: all processes together"],
    )
    changed = {name for row in results for name in row["states"][0]}
    names = [name for name in results[0]["states"][0] if name in changed] if results else []
    show(
        "scale: what is remembered, before the first epoch and after the last",
        [*PLACE, *names],
        [[*_place(row), *(f"{row['states'][0][n]}, {row['states'][1][n]}" for n in names)] for row in results],
        ["kept blocks are tasks and data of their own; logs are cut at a length that Dask sets"],
    )


def _sizes(text: str) -> tuple[int, int]:
    rows, columns, features = (int(part) for part in text.split("x"))
    if rows != columns:
        raise ValueError("maps are square here")
    return rows, features


def main() -> None:
    """Measure the sizes that are given."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    plan = Plan()
    parser.add_argument("--workers", type=int, nargs="+", default=plan.workers)
    parser.add_argument("--blocks", type=int, nargs="+", default=plan.blocks)
    parser.add_argument("--maps", type=_sizes, nargs="+", default=plan.maps, metavar="ROWSxCOLUMNSxFEATURES")
    parser.add_argument("--epochs", type=int, default=plan.epochs)
    parser.add_argument("--processes", type=int, default=plan.processes)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=plan.ways)
    parser.add_argument("--patience", type=float, default=plan.patience, help="seconds a way, default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    given = vars(parser.parse_args())
    file, options = given.pop("json"), Options(threads=cores())
    found = environment(options)
    print(environment_line(found))
    results = run(options, Plan(**given))
    if file:
        file.write_text(json.dumps({"environment": found, "results": {"scale": results}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
