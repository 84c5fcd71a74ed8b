"""`guard`: epochs of small and middle maps against one SGEMM; it fails when one has become a third slower.

``python -m tests.benchmarks guard`` compares with the ratios recorded in ``results/guard.json``, in about 2 minutes;
``python -m tests.benchmarks.guard`` records those of this machine. Both contestants run on one thread, taking turns,
and the least processor time of each counts, so that neither another machine nor other work on it fails the guard.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from som_dask.algorithm.lattice import Lattice
from tests.benchmarks.contestants import floor, ours
from tests.benchmarks.data import blobs, codebooks, manifold, noise
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Contestant, Options

__all__ = ["fallen", "measure", "run"]

RECORDED = Path(__file__).with_name("results") / "guard.json"
LEAST_SHARE = 0.75  # of a recorded ratio
TRIES = 3  # of a case that seems slower: other work on the machine passes
ROUNDS, ROWS = 7, 300_000

CASES: dict[str, tuple[int, Callable[[int], np.ndarray]]] = {
    "surface D=18, 10 x 10": (10, lambda n: manifold(n, 18)),
    "surface D=3, 10 x 10": (10, lambda n: manifold(n, 3)),
    "surface D=50, 10 x 10": (10, lambda n: manifold(n, 50)),
    "noise D=10, 20 x 20": (20, lambda n: noise(n, 10)),
    "surface D=18, 32 x 32": (32, lambda n: manifold(n, 18)),
    "30 blobs D=20, 50 x 50": (50, lambda n: blobs(n, 20)),
}


def processor_seconds(contestant: Contestant) -> float:
    """Processor time of one run, of all threads."""
    with contestant.around():
        clock = time.process_time()
        contestant.run()
        return time.process_time() - clock


def measure(case: str) -> float:
    """How many times an epoch goes into one SGEMM of the same size: the higher, the faster."""
    side, make = CASES[case]
    data, lattice = make(ROWS), Lattice(side, side)
    phase = codebooks(data, lattice, 1, epochs=5)[1]
    contestants = floor(data, phase.codebook, 1), ours(data, lattice, phase, 1, "exact", keep=True)
    for contestant in contestants:
        contestant.seconds()  # compiled, and hashed
    times = [[processor_seconds(contestant) for contestant in contestants] for _ in range(ROUNDS)]
    sgemm, epoch = np.min(times, axis=0)
    return float(sgemm / epoch)


def fallen(found: float, recorded: float) -> bool:
    """Whether a ratio has fallen by more than a quarter."""
    return found < LEAST_SHARE * recorded


def run(options: Options) -> list[dict[str, Any]]:
    """Measure all cases and compare them with what is recorded.

    Raises
    ------
    SystemExit
        If a ratio has fallen by more than a quarter, in each of three tries.
    """
    options = replace(options, threads=1)
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    results = []
    for case in CASES:
        options.say(f"guard: {case}")
        found = measure(case)
        for _ in range(TRIES - 1):
            if fallen(found, recorded[case]):
                found = max(found, measure(case))
        results.append({"case": case, "recorded": recorded[case], "found": found})
    slower = [row["case"] for row in results if fallen(row["found"], row["recorded"])]
    show(
        "guard: SGEMM N x D x M over one epoch, processor time of one thread; higher is faster",
        ["case", "recorded", "found", "found / recorded"],
        [[row["case"], row["recorded"], row["found"], row["found"] / row["recorded"]] for row in results],
        [f"slower than {LEAST_SHARE} of what is recorded: {', '.join(slower) or 'none'}"],
    )
    if slower:
        raise SystemExit(1)
    return results


if __name__ == "__main__":
    ratios = {case: round(measure(case), 3) for case in CASES}
    RECORDED.write_text(json.dumps(ratios, indent=2) + "\n", encoding="utf-8")
    print(RECORDED.read_text(encoding="utf-8"), end="")
