"""`epoch`: one epoch against one blocked SGEMM of the same size, over features and map sizes."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from som_dask.algorithm.lattice import Lattice
from tests.benchmarks.contestants import floor, ours, precisions
from tests.benchmarks.data import codebooks, manifold, rows_for
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options, Spread, interleaved, ratio

__all__ = ["measure", "run"]

FEATURES, NODES = (3, 20, 50, 300), (400, 2500, 10_000)


def measure(n: int, d: int, nodes: int, options: Options) -> dict[str, Any]:
    """Times of the floor and of ours, each precision, for n samples on a noisy surface in d dimensions."""
    lattice = Lattice(math.isqrt(nodes), math.isqrt(nodes))
    data = manifold(n, d)
    middle = next(phase for phase in codebooks(data, lattice, options.threads) if phase.name == "middle")
    contestants = {"floor": floor(data, middle.codebook, options.threads)}
    for precision in precisions():
        contestants[precision or "ours"] = ours(data, lattice, middle, options.threads, precision)
    times = interleaved(contestants, options)
    spreads = {f"{name}_seconds": Spread.of(values) for name, values in times.items()}
    ratios = {f"{name}_ratio": ratio(values, times["floor"]) for name, values in times.items() if name != "floor"}
    return {"samples": n, "features": d, "nodes": lattice.n_nodes, **spreads, **ratios}


def run(options: Options) -> list[dict[str, Any]]:
    """Measure all sizes and print the table."""
    work = 1e10 if options.quick else 1e11
    results = []
    for d in FEATURES:
        for nodes in NODES:
            n = rows_for(work, nodes, d, least=8192 * max(options.threads, 4))
            options.say(f"epoch: D={d} M={nodes} N={n}")
            results.append(measure(n, d, nodes, options))
    names = [precision or "ours" for precision in precisions()]
    show(
        "epoch: a middle epoch on a noisy 2-D surface in D dimensions; ratio to one blocked SGEMM N x D x M",
        ["D", "M", "N", "SGEMM s", *(f"{name} s" for name in names), *(f"{name} / SGEMM" for name in names)],
        [
            [
                row["features"],
                row["nodes"],
                row["samples"],
                row["floor_seconds"],
                *(row[f"{name}_seconds"] for name in names),
                *(row[f"{name}_ratio"] for name in names),
            ]
            for row in results
        ],
        [f"medians [min, max] of {options.rounds} rounds, interleaved; ratios are taken within a round"],
    )
    return [{name: asdict(v) if isinstance(v, Spread) else v for name, v in row.items()} for row in results]
