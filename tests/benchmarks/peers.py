"""`peers`: one epoch of ours and of other packages, as ratios to one blocked SGEMM."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from som_dask.algorithm.lattice import Lattice
from tests.benchmarks.contestants import PEERS, floor, ours, precisions
from tests.benchmarks.data import blobs, codebooks, digits, manifold, noise, photograph, rows_for
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options, Skipped, Spread, interleaved, ratio

__all__ = ["run"]

ALL_SIDES = (10, 20, 50, 100)
# Features, sides of the maps, and the samples.
DATA = {
    "photograph D=3": (3, ALL_SIDES, photograph),
    "digits D=64": (64, ALL_SIDES[1:], digits),
    "30 blobs D=20": (20, ALL_SIDES[1:], lambda n: blobs(n, 20)),
    "surface D=18": (18, (10, 20, 32), lambda n: manifold(n, 18)),
    "surface D=50": (50, (10, 20, 32, 50, 100), lambda n: manifold(n, 50)),
    "noise D=10": (10, ALL_SIDES[1:], lambda n: noise(n, 10)),
}


def measure(name: str, data: np.ndarray, side: int, options: Options) -> tuple[dict[str, Any], list[str]]:
    """Times and ratios of all who can take part, and the reasons of those who can't."""
    lattice, threads = Lattice(side, side), options.threads
    phases = codebooks(data, lattice, threads, epochs=5 if options.quick else 9)
    middle = phases[1]
    contestants, skipped = {"SGEMM": floor(data, middle.codebook, threads)}, []
    for precision in precisions():
        for phase in phases:
            label = " ".join(filter(None, ["ours", precision, phase.name]))
            contestants[label] = ours(data, lattice, phase, threads, precision, keep=True)
    for peer, make in PEERS.items():
        try:
            contestants[peer] = make(data, lattice, middle, threads)
        except Skipped as reason:
            skipped.append(f"skipped {reason}")
    times = interleaved(contestants, options)
    return {
        "data": name,
        "side": side,
        "samples": len(data),
        "features": data.shape[1],
        "seconds": {label: Spread.of(values) for label, values in times.items()},
        "ratio": {label: ratio(values, times["SGEMM"]) for label, values in times.items() if label != "SGEMM"},
        "scaled_up": {label: c.scale for label, c in contestants.items() if c.scale != 1},
    }, skipped


def run(options: Options) -> list[dict[str, Any]]:
    """Measure all data on all maps and print the table."""
    options = replace(options, rounds=min(options.rounds, 3), patience=0.4 if options.quick else 4.0)
    work, least = (2e9, 4096) if options.quick else (6e10, 8192)
    results, reasons = [], []
    for name, (features, sides, make) in DATA.items():
        for side in sides:
            try:
                data = make(
                    rows_for(work, side * side, features, most=500_000, least=least * max(options.threads, 4))
                )
            except Skipped as reason:
                reasons.append(f"skipped {reason}")
                continue
            options.say(f"peers: {name} {side} x {side} N={len(data)}")
            result, skipped = measure(name, data, side, options)
            results.append(result)
            reasons += skipped
    labels = list(dict.fromkeys(label for row in results for label in row["ratio"]))
    show(
        "peers: one epoch as a ratio to one blocked SGEMM N x D x M",
        ["data", "map", "N", "SGEMM s", *labels],
        [
            [
                row["data"],
                f"{row['side']} x {row['side']}",
                row["samples"],
                row["seconds"]["SGEMM"].median,
                *(row["ratio"].get(label) for label in labels),
            ]
            for row in results
        ],
        [
            f"medians [min, max] of up to {options.rounds} rounds, interleaved; one number: too slow for more",
            "ours: samples are in memory, as the others have them",
            "early, middle, late: radius large, in between, final; the other packages run the middle epoch",
            "XPySom: a batch epoch (NumPy, rectangular); MiniSom: a batch epoch on a few samples, scaled up linearly",
            "fastersom: a batch epoch (PyTorch on the CPU, rectangular), one of several, without the final labels",
            "faiss: IndexFlatL2, k=1, the fastest of three ways to use threads; no sums, no update",
            "KMeans: scikit-learn, one Lloyd step; no neighborhood, but it moves empty clusters",
            *dict.fromkeys(reasons),
        ],
    )
    for row in results:
        for kind in ("seconds", "ratio"):
            row[kind] = {label: asdict(value) for label, value in row[kind].items()}
    return results
