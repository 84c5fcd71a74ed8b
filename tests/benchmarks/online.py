"""`online`: vector updates a second by Kohonen's rule, 40 RGB vectors on 400 x 400."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import Any

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig, OnlineRun, draw_codebook
from tests.benchmarks import data
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Contestant, Options, Skipped, Spread, interleaved, ratio

__all__ = ["measure", "run"]

NOTEBOOK = "NumPy loop"


def numpy_loop(vectors: np.ndarray, side: int, config: OnlineConfig, updates: int) -> None:
    """The rule as one writes it in a notebook: a few whole-map NumPy operations for each vector.

    Does the first `updates` of the run; each takes the same time, whatever the radius.
    """
    lattice = Lattice(side, side, "rectangular")
    weights = draw_codebook(lattice, vectors.shape[1], config.seed).reshape(side, side, -1)
    row, col = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    for radius, rate in zip(config.radii(lattice), config.learning_rates(lattice), strict=True):
        for vector in vectors:
            if updates == 0:
                return
            updates -= 1
            distances = np.linalg.norm(vector - weights, axis=2)
            bmu = np.unravel_index(np.argmin(distances), distances.shape)
            grid_distances = np.sqrt((row - bmu[0]) ** 2 + (col - bmu[1]) ** 2)
            theta = np.exp(-(grid_distances**2) / (2 * radius**2))
            weights += rate * theta[:, :, None] * (vector - weights)


def minisom(vectors: np.ndarray, side: int, config: OnlineConfig, updates: int) -> Contestant:
    """MiniSom's `train`, in the vectors' order, on its default rectangular lattice."""
    try:
        from minisom import MiniSom
    except ImportError as error:
        raise Skipped(f"MiniSom: {error}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        som = MiniSom(side, side, vectors.shape[1], sigma=side / 2, learning_rate=config.learning_rate)
    return Contestant(lambda: som.train(vectors, updates), warm=False)


def measure(side: int, config: OnlineConfig, updates: int, options: Options) -> dict[str, Any]:
    """Vector updates a second of each contestant, and ratios to the NumPy loop.

    The run is whole for ours, from the start to the end of the radius; the others do some updates of it.
    """
    vectors = data.colors()
    total = len(vectors) * config.epochs
    contestants, skipped = {}, []
    for topology in ("rectangular", "hexagonal"):
        lattice = Lattice(side, side, topology)
        contestants[f"ours, {topology}"] = Contestant(
            lambda lattice=lattice: list(OnlineRun(vectors, lattice, config))
        )
    contestants[NOTEBOOK] = Contestant(lambda: numpy_loop(vectors, side, config, updates), warm=False)
    try:
        contestants["MiniSom"] = minisom(vectors, side, config, updates)
    except Skipped as reason:
        skipped.append(f"skipped {reason}")
    times = interleaved(contestants, options)
    each = {
        name: [seconds / (total if name.startswith("ours") else updates) for seconds in values]
        for name, values in times.items()
    }
    return {
        "side": side,
        "epochs": config.epochs,
        "updates_per_second": {name: Spread.of([1 / s for s in values]) for name, values in each.items()},
        "times_numpy_loop": {name: ratio(each[NOTEBOOK], values) for name, values in each.items()},
        "skipped": skipped,
    }


def run(options: Options) -> list[dict[str, Any]]:
    """Measure and print the table."""
    options.say("online: 40 vectors on 400 x 400")
    result = measure(400, OnlineConfig(), 10 if options.quick else 60, options)
    rates, ratios = result["updates_per_second"], result["times_numpy_loop"]
    show(
        "online: 40 RGB vectors x 100 epochs on a 400 x 400 map by the online rule",
        ["", "vector updates/s", "times the NumPy loop"],
        [[name, rates[name], ratios[name]] for name in rates],
        [
            f"medians [min, max] of up to {options.rounds} rounds, interleaved; ours on one thread, float64",
            *result["skipped"],
        ],
    )
    result["updates_per_second"] = {name: asdict(value) for name, value in rates.items()}
    result["times_numpy_loop"] = {name: asdict(value) for name, value in ratios.items()}
    return [result]
