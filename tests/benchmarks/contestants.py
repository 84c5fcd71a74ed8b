"""Ours, the floor that it is measured by, and other packages: each one epoch, or the part of it that they have."""

from __future__ import annotations

import contextlib
import io
import threading
import typing
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import cache
from typing import Any

import dask
import numpy as np
from threadpoolctl import threadpool_limits

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.passes.epoch import LAST
from som_dask.passes.residency import keep_samples
from som_dask.passes.summary import summarize
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples
from som_dask.training.config import Execution, MapConfig
from som_dask.training.prepared import PreparedData
from som_dask.training.train import epochs
from tests.benchmarks.data import Phase
from tests.benchmarks.timing import Contestant, Skipped

__all__ = ["PEERS", "floor", "ours", "precisions"]

FLOOR_ROWS = 1024
FASTERSOM_EPOCHS = 4  # in one run, so that what it does once a run does not count much


def floor(data: np.ndarray, codebook: np.ndarray, threads: int) -> Contestant:
    """One blocked SGEMM, N x D times D x M, in tiles of rows on threads; the result is thrown away."""
    samples, weights = (
        np.ascontiguousarray(data, dtype=np.float32),
        np.ascontiguousarray(codebook.T, dtype=np.float32),
    )
    tiles = [samples[i : i + FLOOR_ROWS] for i in range(0, len(samples), FLOOR_ROWS)]
    own = threading.local()
    pool: list[ThreadPoolExecutor] = []

    def tile(rows: np.ndarray) -> None:
        if not hasattr(own, "scores"):
            own.scores = np.empty((FLOOR_ROWS, weights.shape[1]), dtype=np.float32)
        np.matmul(rows, weights, out=own.scores[: len(rows)])

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        with threadpool_limits(1), ThreadPoolExecutor(threads) as executor:
            pool[:] = [executor]
            # Every thread has its memory before the clock starts, so that pages are not counted.
            barrier = threading.Barrier(threads)
            list(executor.map(lambda _: (barrier.wait(), tile(samples[:FLOOR_ROWS])), range(threads)))
            yield

    return Contestant(lambda: list(pool[0].map(tile, tiles)), around)


@cache
def precisions() -> tuple[str | None, ...]:
    """The values of `MapConfig.precision`, the default first; (None,) if there is no such field."""
    known = {field.name: field.default for field in fields(MapConfig)}
    if "precision" not in known:
        return (None,)
    values = typing.get_args(typing.get_type_hints(MapConfig)["precision"]) or (known["precision"],)
    return tuple(sorted(values, key=lambda value: value != known["precision"]))


def ours(
    data: Any,
    lattice: Lattice,
    phase: Phase,
    threads: int | None,
    precision: str | None = None,
    summary: Any = None,
    *,
    keep: bool = False,
) -> Contestant:
    """One whole epoch by `epochs`: the graph, the sums of all blocks, the update.

    Parameters
    ----------
    data : anything that `open_samples` takes; unless it is kept, a store is read in the epoch
    threads : int, optional
        None if a client is active and is to be used.
    precision : str, optional
        Of `MapConfig`.
    summary : optional
        Of the data, where it has been made already.
    keep : bool
        Whether to keep the samples in memory before the clock starts, as training does where they fit.
    """
    chosen = {} if precision is None else {"precision": precision}
    config = MapConfig(epochs=1, radii=(phase.radius,), **chosen)
    settings = {} if threads is None else {"scheduler": "threads", "num_workers": threads}
    with dask.config.set(settings):
        samples: Samples = open_samples(data)
        summary = summary or summarize(samples)
        samples = keep_samples(samples, "memory" if keep else "stream")

    def epoch() -> None:
        space, execution = FeatureSpace.plain(samples.n_features), Execution(keep="stream")
        data = PreparedData(samples, summary, space, execution)
        next(epochs(data, lattice, config, codebook=phase.codebook))

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        LAST.found.clear()  # the nodes of an earlier run, which are those of this one
        with dask.config.set(settings):
            yield

    return Contestant(epoch, around)


def xpysom(data: np.ndarray, lattice: Lattice, phase: Phase, threads: int) -> Contestant:
    """One batch epoch of XPySom with NumPy, on a rectangular lattice, which is its fast case."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from xpysom import XPySom
    except ImportError as error:
        raise Skipped(f"XPySom: {error}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        som = XPySom(*lattice.shape, data.shape[1], sigma=2 * phase.radius, sigmaN=1, xp=np)
    weights = phase.codebook.reshape(*lattice.shape, -1).astype(np.float32)

    def epoch() -> None:
        som._weights = weights
        with np.errstate(all="ignore"):  # it divides by zero where no sample is near
            som.train(data, 2, iter_beg=0, iter_end=1)

    return Contestant(epoch, lambda: threadpool_limits(threads), warm=False)


def fastersom(data: np.ndarray, lattice: Lattice, phase: Phase, threads: int) -> Contestant:
    """Epochs of fastersom on PyTorch's CPU kernels; without the labels that `fit` finds after the last of them."""
    try:
        import torch
        from fastersom import SOM
    except ImportError as error:
        raise Skipped(f"fastersom: {error}; pip install som_dask[bench]") from error
    rows, cols = lattice.shape
    start, nothing = torch.from_numpy(phase.codebook.astype(np.float32)), torch.zeros(0, dtype=torch.long)
    som = SOM(
        rows, cols, n_epochs=FASTERSOM_EPOCHS, sigma_initial=phase.radius, sigma_final=phase.radius, init=start,
        device="cpu",
    )  # fmt: skip
    som._bmus = lambda *given, **options: (nothing,)

    @contextlib.contextmanager
    def around() -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        yield
        torch.set_num_threads(before)

    return Contestant(lambda: som.fit(data), around, scale=1 / FASTERSOM_EPOCHS)


def minisom(data: np.ndarray, lattice: Lattice, phase: Phase, threads: int) -> Contestant:
    """One epoch of MiniSom's `train_batch_offline`, on the first few samples: its time grows as their number."""
    try:
        from minisom import MiniSom
    except ImportError as error:
        raise Skipped(f"MiniSom: {error}") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        som = MiniSom(*lattice.shape, data.shape[1], sigma=phase.radius)
    rows = data[: min(max(int(3e7 / (lattice.n_nodes * data.shape[1] + 10_000)), 20), len(data))].astype(np.float64)

    def epoch() -> None:
        som._weights = phase.codebook.reshape(*lattice.shape, -1).copy()
        som.train_batch_offline(rows, 1)

    return Contestant(epoch, lambda: threadpool_limits(threads), scale=len(data) / len(rows), warm=False)


def faiss(data: np.ndarray, lattice: Lattice, phase: Phase, threads: int) -> Contestant:
    """Best matching units by faiss's exact index; no sums, no update.

    Its own threads can make it several times slower, or faster, than one thread, by the size; so it is tried with all
    of them, with one, and in tiles on Python threads, and the fastest way takes part.
    """
    try:
        import faiss as library
    except ImportError as error:
        raise Skipped(f"faiss: {error}; pip install faiss-cpu") from error
    codebook = phase.codebook.astype(np.float32)

    def made() -> Any:
        index = library.IndexFlatL2(codebook.shape[1])
        index.add(codebook)
        return index

    def tiled() -> None:
        index, tiles = made(), [data[i : i + FLOOR_ROWS] for i in range(0, len(data), FLOOR_ROWS)]
        with ThreadPoolExecutor(threads, initializer=lambda: library.omp_set_num_threads(1)) as pool:
            list(pool.map(lambda tile: index.search(tile, 1), tiles))

    @contextlib.contextmanager
    def around(count: int) -> Iterator[None]:
        before = library.omp_get_max_threads()
        with threadpool_limits(count, user_api="blas"):
            library.omp_set_num_threads(count)
            yield
            library.omp_set_num_threads(before)

    ways = [
        Contestant(lambda: made().search(data, 1), lambda: around(threads)),
        Contestant(lambda: made().search(data, 1), lambda: around(1)),
        Contestant(tiled, lambda: around(1)),
    ]
    return min(ways, key=lambda way: min(way.seconds() for _ in range(2)))


def kmeans(data: np.ndarray, lattice: Lattice, phase: Phase, threads: int) -> Contestant:
    """One Lloyd step of scikit-learn's KMeans, with the codebook as centers.

    `KMeans(max_iter=1).fit` searches twice, so the step is called as `fit` calls it; where that is no longer
    possible, `fit` is timed and counts as two.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise Skipped(f"KMeans: {error}") from error
    centers = phase.codebook.astype(np.float32)
    try:
        from sklearn.cluster._k_means_lloyd import lloyd_iter_chunked_dense

        ones, labels = np.ones(len(data), np.float32), np.zeros(len(data), np.int32)
        found, weight, shift = (
            np.zeros_like(centers),
            np.zeros(len(centers), np.float32),
            np.zeros_like(centers[:, 0]),
        )

        def step() -> None:
            lloyd_iter_chunked_dense(data, ones, centers, found, weight, labels, shift, threads)

        step()
    except ValueError as error:  # more centers without samples than there are samples to move them to
        raise Skipped(f"KMeans with {len(centers)} centers and {len(data)} samples: {error}") from error
    except (ImportError, TypeError):

        def step() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                KMeans(len(centers), init=centers, n_init=1, max_iter=1).fit(data)

        return Contestant(step, lambda: threadpool_limits(threads), scale=0.5)
    return Contestant(step, lambda: threadpool_limits(1, user_api="blas"))


PEERS = {"XPySom": xpysom, "fastersom": fastersom, "MiniSom": minisom, "faiss (BMU)": faiss, "KMeans": kmeans}
