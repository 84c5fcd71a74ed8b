"""`gpu`: ten epochs on samples that stay in GPU memory, what each kernel takes of one, and the floor: an SGEMM."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.block import Block
from som_dask.engine.device import to_device
from som_dask.engine.engines import engine_for
from som_dask.engine.gpu import CodebookOnDevice
from som_dask.errors import ParameterError
from som_dask.passes.epoch import share_codebook
from som_dask.passes.summary import DataSummary, summarize
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples
from som_dask.training.config import Execution, MapConfig
from som_dask.training.prepared import PreparedData
from som_dask.training.train import epochs
from tests.benchmarks.contestants import ours
from tests.benchmarks.data import codebooks, manifold
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Contestant, Options, Skipped, Spread, interleaved

__all__ = ["run"]

FEATURES, SIDES, EPOCHS = 50, (32, 100), 10
PART_ROWS = 10**6  # samples are made in parts: their places and noise are float64
FLOOR_ROWS = 2**17  # of the product that the floor writes and throws away
CPU_ROWS = 200_000


def device() -> Any:
    """CuPy; `Skipped` where it or the GPU is missing."""
    try:
        to_device(np.zeros(1), "gpu").get()
    except ParameterError as error:
        raise Skipped(f"gpu: {error}") from error
    import cupy

    return cupy


class Watched(CodebookOnDevice):
    """Waits for each kernel, and notes its time and how many samples had to be settled."""

    def __init__(self, cupy: Any, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.wait = cupy.cuda.Device().synchronize
        self.seconds: Counter[str] = Counter()
        self.settled = 0

    def _run(self, name: str, *arguments: Any) -> None:
        self.wait()
        clock = time.perf_counter()
        super()._run(name, *arguments)
        self.wait()
        self.seconds[name] += time.perf_counter() - clock

    def _search(self, tile: Any, **settings: Any) -> None:
        super()._search(tile, **settings)
        self.settled += int(tile.memory["counters"][self.n_nodes])


def floor(cupy: Any, data: Any, codebook: np.ndarray) -> Contestant:
    """One SGEMM by cuBLAS, N x D times D x M, in tiles of rows; the result is thrown away."""
    weights = cupy.asarray(np.ascontiguousarray(codebook.T, dtype=np.float32))
    scores = cupy.empty((min(FLOOR_ROWS, len(data)), weights.shape[1]), dtype=cupy.float32)

    def product() -> None:
        for start in range(0, len(data), FLOOR_ROWS):
            rows = data[start : start + FLOOR_ROWS]
            cupy.matmul(rows, weights, out=scores[: len(rows)])
        cupy.cuda.Device().synchronize()

    return Contestant(product)


def resident(
    samples: Samples, summary: DataSummary, codebook: np.ndarray, lattice: Lattice, options: Options
) -> Spread:
    """Seconds of ten epochs by `epochs`, in each round; the epoch before them uploads the samples."""
    config = MapConfig(epochs=1 + EPOCHS)
    space, seconds = FeatureSpace.plain(samples.n_features), []
    with dask.config.set(scheduler="threads", num_workers=min(options.threads, 4)):
        for _ in range(options.rounds):
            data = PreparedData(samples, summary, space, Execution(device="gpu"))
            _, *timed = epochs(data, lattice, config, codebook=codebook)
            seconds.append(sum(epoch.seconds for epoch in timed))
    return Spread.of(seconds)


def measure(
    cupy: Any, samples: Samples, summary: DataSummary, data: np.ndarray, side: int, options: Options
) -> SimpleNamespace:
    """Times for one map."""
    lattice = Lattice(side, side)
    middle = codebooks(data, lattice, options.threads)[1]
    space = FeatureSpace.plain(samples.n_features)
    shared = share_codebook(middle.codebook, lattice, summary, space, engine_for("gpu"))
    there = cupy.asarray(data)
    block = Block.of(there)
    watched = Watched(cupy, shared)
    watched.add_up(block, certify=True)  # compiles
    watched.seconds.clear()
    watched.settled = 0
    watched.add_up(block, certify=True)
    times = interleaved(
        {
            "floor": floor(cupy, there, middle.codebook),
            "block": Contestant(lambda: shared.add_up(block)),
            "cpu": ours(data[:CPU_ROWS], lattice, middle, options.threads),
        },
        options,
    )
    return SimpleNamespace(
        side=side,
        epochs=resident(samples, summary, middle.codebook, lattice, options),
        block=Spread.of(times["block"]),
        floor=Spread.of(times["floor"]),
        cpu=Spread.of([seconds * len(data) / min(CPU_ROWS, len(data)) for seconds in times["cpu"]]),
        kernels=dict(watched.seconds),
        settled=watched.settled / len(data),
    )


def run(options: Options) -> list[dict[str, Any]]:
    """Measure both maps and print the tables; nothing where there is no GPU."""
    try:
        cupy = device()
    except Skipped as reason:
        print(f"skipped {reason}")
        return []
    name = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    parts = 1 if options.quick else 10
    data = np.concatenate([manifold(PART_ROWS, FEATURES, seed) for seed in range(parts)])
    samples = open_samples(data)
    summary = summarize(samples)
    results = []
    for side in SIDES:
        options.say(f"gpu: {side} x {side}, {len(data)} samples")
        results.append(measure(cupy, samples, summary, data, side, options))
    show(
        f"gpu: {len(data)} samples, D={FEATURES}, float32, on {name}",
        [
            *("map", f"{EPOCHS} epochs s", "one block s", "SGEMM s", "block / SGEMM", "CPU epoch s"),
            *("CPU / GPU epoch", "settled %"),
        ],
        [
            [
                f"{row.side} x {row.side}",
                *(row.epochs, row.block, row.floor, row.block.median / row.floor.median, row.cpu),
                *(row.cpu.median * EPOCHS / row.epochs.median, 100 * row.settled),
            ]
            for row in results
        ],
        [
            f"{EPOCHS} epochs: graph and update included; one block: the sums of all samples at once",
            f"SGEMM: cuBLAS, float32, in tiles; CPU: {options.threads} threads, {CPU_ROWS} samples, scaled up",
        ],
    )
    names = sorted({kernel for row in results for kernel in row.kernels})
    show(
        "gpu: milliseconds of each kernel in one block",
        ["map", *names],
        [[f"{row.side} x {row.side}", *(1e3 * row.kernels.get(kernel, 0.0) for kernel in names)] for row in results],
    )
    return [
        {"gpu": name, "samples": len(data), "features": FEATURES}
        | {key: asdict(value) if isinstance(value, Spread) else value for key, value in vars(row).items()}
        for row in results
    ]
