"""Whole trainings on rectangular maps, ours and of other packages: samples in, codebook out, on one thread."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy as np
from threadpoolctl import threadpool_limits

from som_dask.algorithm.lattice import Lattice
from som_dask.training.config import Execution, MapConfig
from som_dask.training.train import train
from tests.benchmarks.timing import Skipped

__all__ = ["TRAININGS", "Training", "count_reads", "errors_of", "lattice_of", "on_one_thread"]

Rounds = tuple[int, int]  # rough epochs, epochs


@dataclass(frozen=True)
class Training:
    """A way to train.

    Attributes
    ----------
    run : callable
        Called with samples (n, D) float32, the side of the map, epochs, and a seed; returns the codebook, (M, D).
    ladder : sequence of (int, int)
        Numbers of epochs, in ascending order: rough ones, on few of the samples, and those on all samples.
    extra : int, optional
        How often all samples are read besides once an epoch; None if it is counted.
    online : bool
        Whether the samples are taken one by one, so that large data take too long.
    """

    run: Callable[[Any, int, Rounds, int], np.ndarray]
    ladder: tuple[Rounds, ...]
    extra: int | None = None
    online: bool = False


@contextlib.contextmanager
def on_one_thread() -> Iterator[None]:
    """Let Dask, the BLAS libraries and PyTorch, where it is installed, compute on the calling thread alone."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            import torch

            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        stack.enter_context(threadpool_limits(1))
        stack.enter_context(dask.config.set(scheduler="synchronous"))
        yield


def lattice_of(side: int) -> Lattice:
    """Return the lattice of all: fastersom has no other."""
    return Lattice(side, side, "rectangular")


def errors_of(values: np.ndarray, side: int, codebook: np.ndarray) -> tuple[float, float]:
    """Return the exact quantization error and topographic error of a codebook, (M, D), on all samples."""
    model = train(values, lattice_of(side), MapConfig(epochs=0, phases="one"), codebook=codebook)
    return float(model["quantization_error"][-1]), float(model["topographic_error"][-1])


class _Counted:
    """An array that counts the rows that are read from it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.rows = values, 0
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, where: Any) -> np.ndarray:
        found = self.values[where]
        self.rows += len(found)
        return found


def count_reads(training: Training, values: np.ndarray, side: int, rounds: Rounds) -> float:
    """Return how often a training reads all samples if it does not keep them: ours counted, others' by their code."""
    if training.extra is not None:
        return float(rounds[1] + training.extra)
    counted = _Counted(values)
    samples = da.from_array(counted, chunks=(-(-len(values) // 4), -1), meta=values[:0], name=False)
    training.run(samples, side, rounds, 0)
    return counted.rows / len(values)


def _ours(samples: Any, side: int, rounds: Rounds, seed: int, **chosen: Any) -> np.ndarray:
    """Train by our batch rule, with the passes before the first epoch and the one that measures the map."""
    rough, epochs = rounds
    phases = {"phases": "two", "rough_epochs": rough} if rough else {"phases": "one"}
    keep = "auto" if isinstance(samples, np.ndarray) else "stream"
    config = MapConfig(epochs=epochs, seed=seed, **phases, **chosen)  # type: ignore[arg-type]
    model = train(samples, lattice_of(side), config, Execution(keep=keep))  # type: ignore[arg-type]
    return model["codebook"].values.reshape(side * side, -1)


def _ours_to_a_small_radius(samples: Any, side: int, rounds: Rounds, seed: int) -> np.ndarray:
    return _ours(samples, side, rounds, seed, final_radius=0.3)


def _xpysom(values: np.ndarray, side: int, rounds: Rounds, seed: int) -> np.ndarray:
    """Train by XPySom's defaults on NumPy: in our units, sigma falls from a quarter of the side towards 0.5."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from xpysom import XPySom
    except ImportError as error:
        raise Skipped(f"XPySom: {error}") from error
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # it divides by zero where no sample is near
        warnings.simplefilter("ignore")
        som = XPySom(side, side, values.shape[1], random_seed=seed, xp=np)
        som.train(values, rounds[1])
    return np.asarray(som.get_weights(), dtype=np.float64).reshape(side * side, -1)


def _minisom(values: np.ndarray, side: int, rounds: Rounds, seed: int, *, from_plane: bool = False) -> np.ndarray:
    """Train MiniSom online: by its defaults (sigma from 1 to 1/3), or from a plane and a quarter of the side."""
    try:
        from minisom import MiniSom
    except ImportError as error:
        raise Skipped(f"MiniSom: {error}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = {"sigma": side / 4} if from_plane else {}
        som = MiniSom(side, side, values.shape[1], random_seed=seed, **chosen)
        if from_plane:
            som.pca_weights_init(values)
        som.train(values, rounds[1] * len(values))
    return som.get_weights().reshape(side * side, -1)


def _minisom_from_plane(values: np.ndarray, side: int, rounds: Rounds, seed: int) -> np.ndarray:
    return _minisom(values, side, rounds, seed, from_plane=True)


def _fastersom(values: np.ndarray, side: int, rounds: Rounds, seed: int, **chosen: Any) -> np.ndarray:
    """Train by fastersom's defaults on PyTorch's CPU kernels, or with what is chosen."""
    try:
        from fastersom import SOM
    except ImportError as error:
        raise Skipped(f"fastersom: {error}; pip install som_dask[bench]") from error
    som = SOM(side, side, n_epochs=rounds[1], random_state=seed, device="cpu", **chosen).fit(values)
    return np.asarray(som.weights_, dtype=np.float64)


def _fastersom_at_our_radii(values: np.ndarray, side: int, rounds: Rounds, seed: int) -> np.ndarray:
    schedule = MapConfig(epochs=rounds[1]).schedule(lattice_of(side))
    radii = {"sigma_initial": float(schedule[0]), "sigma_final": float(schedule[-1])}
    return _fastersom(values, side, rounds, seed, init="sample", **radii)


def _on_all(*epochs: int) -> tuple[Rounds, ...]:
    return tuple((0, n) for n in epochs)


BATCH = _on_all(2, 5, 10, 20, 50)
TRAININGS: dict[str, Training] = {
    "ours, two phases": Training(_ours, ((15, 1), (30, 1), (60, 1), (60, 3), (60, 10))),
    "ours, one phase": Training(_ours, (*BATCH, (0, 100))),
    "ours, to radius 0.3": Training(_ours_to_a_small_radius, BATCH),
    "XPySom": Training(_xpysom, BATCH, extra=0),
    "fastersom": Training(_fastersom, BATCH, extra=1),
    "fastersom, our radii": Training(_fastersom_at_our_radii, BATCH, extra=1),
    "MiniSom": Training(_minisom, _on_all(1, 3, 10), extra=0, online=True),
    "MiniSom, plane": Training(_minisom_from_plane, _on_all(1, 3, 10), extra=1, online=True),
}
