"""`gaps`: an epoch on samples with weights, scaled features and missing values, beside the same without."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import dask
import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.training.config import Execution, MapConfig
from som_dask.training.prepared import prepare_data
from som_dask.training.train import epochs
from tests.benchmarks.data import GAPS, codebooks, manifold, rows_for, with_gaps
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Contestant, Options, Spread, interleaved, ratio

__all__ = ["measure", "run"]

CASES = ((5, 20), (20, 50), (50, 50), (50, 100))  # features, side of the map


@dataclass(frozen=True)
class Kind:
    """A kind of samples: how they are trained on."""

    options: dict[str, str]
    weighted: bool = False
    gaps: float = 0.0  # share of the rows that lack values


KINDS = {
    "plain": Kind({}),
    "zscore": Kind({"scaling": "zscore"}),
    "weighted": Kind({}, weighted=True),
    "1 % of rows masked": Kind({"missing": "mask"}, gaps=0.01),
    "masked": Kind({"missing": "mask"}, gaps=1.0),
    "masked, weighted, zscore": Kind({"missing": "mask", "scaling": "zscore"}, weighted=True, gaps=1.0),
}


def measure(n: int, d: int, side: int, options: Options) -> dict[str, Any]:
    """Seconds of a middle epoch of each kind on n samples, and how many times a plain one."""
    lattice, data = Lattice(side, side), manifold(n, d)
    middle = next(phase for phase in codebooks(data, lattice, options.threads) if phase.name == "middle")
    sample_weights = np.random.default_rng(2).random(n) + 0.5
    settings = {"scheduler": "threads", "num_workers": options.threads}

    def contestant(kind: Kind) -> Contestant:
        config = MapConfig(epochs=1, radii=(middle.radius,), **kind.options)  # type: ignore[arg-type]
        some = with_gaps(data, kind.gaps) if kind.gaps else data
        with dask.config.set(settings):
            opened = prepare_data(
                some, config, Execution(keep="stream"), sample_weights=sample_weights if kind.weighted else None
            )
        return Contestant(
            lambda: next(epochs(opened, lattice, config, codebook=middle.codebook)), lambda: dask.config.set(settings)
        )

    times = interleaved({name: contestant(kind) for name, kind in KINDS.items()}, options)
    return {
        "samples": n,
        "features": d,
        "nodes": lattice.n_nodes,
        "seconds": {name: Spread.of(values) for name, values in times.items()},
        "ratios": {name: ratio(values, times["plain"]) for name, values in times.items() if name != "plain"},
    }


def run(options: Options) -> list[dict[str, Any]]:
    """Measure all sizes and print the table."""
    results = []
    for d, side in CASES:
        n = rows_for(3e9 if options.quick else 3e10, side * side, d, least=8192 * max(options.threads, 4))
        options.say(f"gaps: D={d} M={side * side} N={n}")
        results.append(measure(n, d, side, options))
    kinds = [name for name in KINDS if name != "plain"]
    show(
        "gaps: a middle epoch on a noisy 2-D surface; ratio to the epoch on the same samples as they are",
        ["D", "M", "N", "plain s", *kinds],
        [
            [
                row["features"],
                row["nodes"],
                row["samples"],
                row["seconds"]["plain"],
                *(row["ratios"][name] for name in kinds),
            ]
            for row in results
        ],
        [
            f"medians [min, max] of {options.rounds} rounds, interleaved; ratios are taken within a round",
            f"masked: {GAPS:.0%} of the values are missing, so that most rows lack some; or in 1 % of the rows only",
        ],
    )
    return [
        {
            **row,
            "seconds": {name: asdict(spread) for name, spread in row["seconds"].items()},
            "ratios": {name: asdict(spread) for name, spread in row["ratios"].items()},
        }
        for row in results
    ]
