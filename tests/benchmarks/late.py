"""`late`: the last five epochs of a training, with and without the nodes of the epoch before, against one SGEMM.

All run on one thread, taking turns, and the least processor time of each counts. Timed is what a worker does in an
epoch: it prepares the codebook, searches and adds up. Both ways are checked to give the same sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dask
import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.block import Block
from som_dask.engine.codebook import SharedCodebook
from som_dask.passes.epoch import share_codebook
from som_dask.passes.summary import summarize
from som_dask.samples.open import open_samples
from som_dask.training.batch import batch_epochs
from som_dask.training.config import MapConfig
from tests.benchmarks.contestants import floor
from tests.benchmarks.data import blobs, manifold, photograph
from tests.benchmarks.guard import processor_seconds
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Contestant, Options, Skipped

__all__ = ["measure", "run"]

LAST_EPOCHS = 5
DATA: dict[str, Callable[[int], np.ndarray]] = {
    "surface D=50": lambda n: manifold(n, 50),
    "photograph D=3": photograph,
    "30 blobs D=20": lambda n: blobs(n, 20),
}


def measure(data: np.ndarray, side: int, options: Options, epochs: int = 20) -> dict[str, Any]:
    """Nanoseconds a sample and epoch of one SGEMM and of both ways, and the share of samples that change node."""
    lattice, n = Lattice(side, side), len(data)
    config = MapConfig(epochs=epochs, phases="one")
    with dask.config.set(scheduler="threads", num_workers=options.threads):
        entering = [epoch.codebook.reshape(side * side, -1) for epoch in batch_epochs(data, lattice, config)][:-1]
        summary = summarize(open_samples(data))
    space = FeatureSpace.plain(data.shape[1])
    block = replace(Block.of(data), fingerprint=0)

    def shared(codebook: np.ndarray) -> SharedCodebook:
        return share_codebook(codebook, lattice, summary, space)

    seconds, moved = np.zeros(3), []
    for before, now in zip(entering[-LAST_EPOCHS - 1 : -1], entering[-LAST_EPOCHS:], strict=True):
        old, new = (shared(codebook).find(block).bmu.astype(np.int32) for codebook in (before, now))
        moved.append(np.mean(old != new))

        def plain(codebook: np.ndarray = now) -> Any:
            return shared(codebook).add_up(block)

        def recalled(codebook: np.ndarray = now, old: np.ndarray = old) -> Any:
            return shared(codebook).add_up(replace(block, last=old.copy()))

        found, wanted = recalled(), plain()
        if (found.numerator != wanted.numerator).any() or found.distance != wanted.distance:
            raise AssertionError("both ways must give the same sums")
        contestants = floor(data, now, 1), Contestant(plain), Contestant(recalled)
        times = [[processor_seconds(contestant) for contestant in contestants] for _ in range(options.rounds)]
        seconds += np.min(times, axis=0)
    sgemm, without, with_nodes = (seconds / len(moved) / n * 1e9).tolist()
    return {"samples": n, "moved": float(np.mean(moved)), "sgemm": sgemm, "plain": without, "recalled": with_nodes}


def run(options: Options) -> list[dict[str, Any]]:
    """Measure all data on 50 x 50 nodes and print the table."""
    results = []
    for name, make in DATA.items():
        for n in (130_000,) if options.quick else (130_000, 500_000):
            try:
                data = make(n)
            except Skipped as reason:
                options.say(str(reason))
                continue
            options.say(f"late: {name} N={len(data)}")
            results.append({"data": name, **measure(data, 50, options)})
    show(
        "late: the last five of 20 epochs, 50 x 50 nodes, without and with the nodes of the epoch before",
        ["data", "N", "change node", "SGEMM ns", "without ns", "with ns", "without / SGEMM", "with / SGEMM", "ratio"],
        [
            [row["data"], row["samples"], row["moved"], row["sgemm"], row["plain"], row["recalled"],
             row["plain"] / row["sgemm"], row["recalled"] / row["sgemm"], row["plain"] / row["recalled"]]
            for row in results
        ],
        ["processor time of one thread for a sample and epoch, least of all rounds in turns; means of five epochs"],
    )  # fmt: skip
    return results
