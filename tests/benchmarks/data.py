"""Samples to train on, and codebooks as they are in the course of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import dask
import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.training.batch import batch_epochs
from som_dask.training.config import MapConfig
from tests.benchmarks.timing import Skipped

__all__ = [
    "Phase",
    "blobs",
    "codebooks",
    "colors",
    "digits",
    "manifold",
    "noise",
    "photograph",
    "rows_for",
    "with_gaps",
]

GAPS = 0.1  # share of the values that are missing, where some are
TRAINING_ROWS = 20_000  # enough for a codebook that looks like one of that phase


def manifold(n: int, d: int, seed: int = 0) -> np.ndarray:
    """A smooth surface in D dimensions with noise, (n, d) float32; every seed has the same surface."""
    shape, rng = np.random.default_rng(d), np.random.default_rng(seed)
    waves, phases = shape.normal(scale=3.0, size=(2, d)), shape.uniform(0, 2 * np.pi, d)
    places = rng.random((n, 2))
    surface = np.sin(places @ waves + phases)
    return (surface + 0.05 * rng.standard_normal((n, d))).astype(np.float32)


def with_gaps(data: np.ndarray, rows: float, share: float = GAPS) -> np.ndarray:
    """The data with a share of the values of some of the rows replaced by NaN."""
    rng = np.random.default_rng(1)
    holes = rng.random(data.shape, dtype=np.float32) < share
    holes &= (rng.random(len(data)) < rows)[:, None]
    return np.where(holes, np.float32(np.nan), data)


def blobs(n: int, d: int, count: int = 30) -> np.ndarray:
    """Normal clusters of unit width, their centers 5 apart and more, (n, d) float32."""
    rng = np.random.default_rng(0)
    centers = rng.normal(scale=5.0, size=(count, d))
    return (centers[rng.integers(count, size=n)] + rng.standard_normal((n, d))).astype(np.float32)


def noise(n: int, d: int) -> np.ndarray:
    """Normal noise without any structure, (n, d) float32."""
    return np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)


def photograph(n: int) -> np.ndarray:
    """Pixels of scikit-learn's flower.jpg picked at random, 0 to 1, (at most n, 3) float32."""
    try:
        from sklearn.datasets import load_sample_image

        image = load_sample_image("flower.jpg")
    except ImportError as error:
        raise Skipped(f"photograph: {error}") from error
    pixels = image.reshape(-1, 3).astype(np.float32) / 255
    return pixels[np.random.default_rng(0).permutation(len(pixels))[:n]]


def digits(n: int) -> np.ndarray:
    """scikit-learn's digits, repeated with noise of one grey level, 0 to 1, (n, 64) float32."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise Skipped(f"digits: {error}") from error
    rng = np.random.default_rng(0)
    images = load_digits().data / 16
    return (images[rng.integers(len(images), size=n)] + rng.normal(scale=1 / 16, size=(n, 64))).astype(np.float32)


def colors() -> np.ndarray:
    """40 RGB vectors, 0 to 1, (40, 3) float64."""
    return np.random.default_rng(0).random((40, 3))


def rows_for(work: float, nodes: int, features: int, *, least: int, most: int = 2_000_000) -> int:
    """Number of samples so that samples x nodes x (features + 16) is about `work`."""
    return int(min(max(work / (nodes * (features + 16)), least), most))


@dataclass(frozen=True)
class Phase:
    """A moment of training: the codebook that enters an epoch, (M, D) float64, and the radius of that epoch."""

    name: str
    codebook: np.ndarray
    radius: float


def codebooks(data: np.ndarray, lattice: Lattice, threads: int, epochs: int = 9) -> Sequence[Phase]:
    """An early, a middle and a late epoch of a short training run on some of the data."""
    config = MapConfig(epochs=epochs)
    schedule = config.schedule(lattice)
    with dask.config.set(scheduler="threads", num_workers=threads):
        after = [epoch.codebook for epoch in batch_epochs(data[:TRAINING_ROWS], lattice, config)]
    entering = {"early": 1, "middle": math.ceil(epochs / 2), "late": epochs - 1}
    return [
        Phase(name, after[index - 1].reshape(lattice.n_nodes, -1), float(schedule[index]))
        for name, index in entering.items()
    ]
