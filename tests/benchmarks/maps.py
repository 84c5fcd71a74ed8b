"""Maps of small data sets by us, MiniSom and XPySom, and how good each is by one and the same measure."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from som_dask.algorithm.lattice import Lattice, Topology
from som_dask.training.batch import batch_epochs
from som_dask.training.config import MapConfig
from tests.benchmarks.timing import Skipped

__all__ = ["MEASURES", "Maker", "Map", "errors", "minisom", "ours", "somoclu", "xpysom"]

MEASURES = ("QE train", "QE holdout", "TE train", "TE holdout")
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Map:
    """Weights (M, D) float64, and which nodes are neighbors on the maker's own lattice, (M, M) bool."""

    codebook: np.ndarray
    adjacent: np.ndarray


# Called with samples (n, D), rows, topology, epochs and seed.
Maker = Callable[[np.ndarray, int, Topology, int, int], Map]


def errors(samples: np.ndarray, made: Map) -> tuple[float, float]:
    """Quantization error and topographic error of some samples on a map, both by differences in float64."""
    from scipy.spatial.distance import cdist

    nearest, missed = [], []
    for start in range(0, len(samples), ROWS_AT_ONCE):
        distances = cdist(samples[start : start + ROWS_AT_ONCE], made.codebook)
        row, first = np.arange(len(distances)), distances.argmin(axis=1)
        nearest.append(distances[row, first])
        distances[row, first] = np.inf
        missed.append(~made.adjacent[first, distances.argmin(axis=1)])
    return float(np.concatenate(nearest).mean()), float(np.concatenate(missed).mean())


def ours(start: float | None = None, **settings: object) -> Maker:
    """Our batch rule: `MapConfig()` with the epochs and the seed given, and other settings where they are named.

    Parameters
    ----------
    start : float, optional
        Initial radius as a part of the map's longer side; never below the final one.
    **settings
        Of `MapConfig`.
    """
    base = MapConfig(**settings)  # type: ignore[arg-type]

    def make(samples: np.ndarray, side: int, topology: Topology, epochs: int, seed: int) -> Map:
        lattice, config = Lattice(side, side, topology), replace(base, epochs=epochs, seed=seed)
        if start is not None:
            config = replace(config, initial_radius=max(start * side, config.final_radius))
        for epoch in batch_epochs(samples, lattice, config):
            codebook = epoch.codebook
        node = np.arange(lattice.n_nodes)
        return Map(codebook.reshape(lattice.n_nodes, -1), lattice.adjacent(node[:, None], node[None, :]))

    return make


def _on_plane(x: np.ndarray, y: np.ndarray, weights: np.ndarray, topology: Topology) -> Map:
    """A map whose nodes lie at x, y, both (rows, cols): the six or the eight nearest are neighbors.

    MiniSom's hexagonal lattice is ours, mirrored; XPySom's has its rows a whole unit apart, so that four of the six
    neighbors are at distance 1.118. The next ones are 1.73 and 1.80 away.
    """
    place = np.stack([x.ravel(), y.ravel()], axis=1)
    distances = np.linalg.norm(place[:, None] - place[None, :], axis=2)
    within = 1.25 if topology == "hexagonal" else 1.5
    return Map(np.asarray(weights, dtype=np.float64).reshape(len(place), -1), distances < within)


def minisom(samples: np.ndarray, side: int, topology: Topology, epochs: int, seed: int) -> Map:
    """MiniSom with its defaults: `train` with epochs x n updates, the samples in turn.

    Its sigma goes from 1 to 1/3 and its learning rate from 0.5 to 1/6, both as 1 / (1 + 2 t / T).
    """
    try:
        from minisom import MiniSom
    except ImportError as error:
        raise Skipped(f"MiniSom: {error}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        som = MiniSom(side, side, samples.shape[1], topology=topology, random_seed=seed)
    som.train(samples, epochs * len(samples))
    return _on_plane(*som.get_euclidean_coordinates(), som.get_weights(), topology)


def xpysom(samples: np.ndarray, side: int, topology: Topology, epochs: int, seed: int) -> Map:
    """XPySom with its defaults on NumPy: batch epochs, sigma from a quarter of the side to about 0.5 in our units.

    (Its own sigma falls exponentially from half the side towards 1, and stands for twice the standard deviation.)
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from xpysom import XPySom
    except ImportError as error:
        raise Skipped(f"XPySom: {error}") from error
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # it divides by zero where no sample is near
        warnings.simplefilter("ignore")
        som = XPySom(side, side, samples.shape[1], topology=topology, random_seed=seed, xp=np)
        som.train(samples, epochs)
    return _on_plane(*som.get_euclidean_coordinates(), som.get_weights(), topology)


def somoclu(samples: np.ndarray, side: int, topology: Topology, epochs: int, seed: int) -> Map:
    """Somoclu with its defaults: batch epochs, sigma from a quarter of the side to 0.5 in our units, linearly.

    (Its own radius falls from half the side to 1, and stands for twice the standard deviation; nodes beyond it are
    not moved.) It draws its first codebook by itself, whatever the seed. Its hexagonal lattice is meant to be ours,
    but it rounds the half steps between rows down to whole ones.
    """
    try:
        import somoclu as package
    except ImportError as error:
        raise Skipped(f"Somoclu: {error}") from error
    som = package.Somoclu(side, side, gridtype=topology)
    som.train(np.ascontiguousarray(samples, dtype=np.float32), epochs=epochs)
    lattice, node = Lattice(side, side, topology), np.arange(side * side)
    codebook = np.asarray(som.codebook, dtype=np.float64).reshape(side * side, -1)
    return Map(codebook, lattice.adjacent(node[:, None], node[None, :]))
