"""`colors`: 40 RGB vectors on a map of 400 x 400, where nodes outnumber samples and the update is the work."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.partial import Partial
from som_dask.training.config import MapConfig
from tests.benchmarks import data
from tests.benchmarks.contestants import ours, precisions, xpysom
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Contestant, Options, Skipped, Spread, interleaved
from tests.reference.twins import add_up_block, next_codebook, shared_codebook

__all__ = ["measure", "run"]


def measure(side: int, options: Options) -> tuple[list[dict[str, Any]], list[str]]:
    """Times of an epoch and of its two parts, at three radii, and the reasons of those who can't take part."""
    samples, lattice, neighborhood = data.colors(), Lattice(side, side), MapConfig().kernel()
    results, skipped = [], []
    for phase in data.codebooks(samples, lattice, options.threads):
        contestants = {
            f"epoch {precision or ''}".strip(): ours(samples, lattice, phase, options.threads, precision)
            for precision in precisions()
        }
        shared = shared_codebook(samples, phase.codebook, lattice)
        sums = add_up_block(samples, shared).rounded(shared.scales)
        contestants["sums alone"] = Contestant(lambda shared=shared: _sums_alone(samples, shared))
        contestants["update alone"] = Contestant(
            lambda phase=phase, sums=sums: next_codebook(sums, phase.codebook, lattice, neighborhood, phase.radius)
        )
        try:
            contestants["XPySom"] = xpysom(samples, lattice, phase, options.threads)
        except Skipped as reason:
            skipped.append(f"skipped {reason}")
        times = interleaved(contestants, options)
        seconds = {name: Spread.of(values) for name, values in times.items()}
        results.append({"side": side, "phase": phase.name, "radius": phase.radius, "seconds": seconds})
    return results, skipped


def _sums_alone(samples: np.ndarray, shared: SharedCodebook) -> Partial:
    fresh = replace(shared)  # without the patches made before
    return add_up_block(samples, fresh).rounded(fresh.scales)


def run(options: Options) -> list[dict[str, Any]]:
    """Measure and print the table."""
    options = replace(options, rounds=5 if options.quick else 15)
    options.say("colors: 40 vectors on 400 x 400")
    results, skipped = measure(400, options)
    names = list(results[0]["seconds"])
    show(
        "colors: 40 RGB vectors on a 400 x 400 map by the batch rule, milliseconds",
        ["epoch", "radius", *(f"{name} ms" for name in names)],
        [[row["phase"], row["radius"], *(_ms(row["seconds"][name]) for name in names)] for row in results],
        [f"medians [min, max] of {options.rounds} rounds, interleaved", *dict.fromkeys(skipped)],
    )
    return [{**row, "seconds": {name: asdict(v) for name, v in row["seconds"].items()}} for row in results]


def _ms(spread: Spread) -> Spread:
    return Spread(1e3 * spread.median, 1e3 * spread.low, 1e3 * spread.high, spread.rounds)
