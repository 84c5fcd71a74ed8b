"""Epochs of no-op and real kernels over blocks that are kept or read each time; and those of earlier days."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import zarr
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from distributed import Client

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.partial import ExactPartial
from som_dask.passes.epoch import epoch_sums, share_codebook
from som_dask.passes.run import FAN_IN, Group, Pass, run_pass
from som_dask.passes.summary import DataSummary, summarize
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples

__all__ = ["ROWS", "Shape", "Way", "real_sums_on_threads", "ways_on"]

ROWS = 4  # samples of a block: an epoch of few samples is all overhead


@dataclass(frozen=True)
class Shape:
    """How many blocks, nodes along each side of the map, and features."""

    blocks: int
    side: int
    features: int

    @functools.cached_property
    def values(self) -> np.ndarray:
        """The samples, (n, D) float64."""
        return np.random.default_rng(0).normal(size=(self.blocks * ROWS, self.features))

    @functools.cached_property
    def summary(self) -> DataSummary:
        """The first pass over the samples."""
        return summarize(_kept_on_threads(self))

    @property
    def lattice(self) -> Lattice:
        """The map."""
        return Lattice(self.side, self.side)

    @functools.cached_property
    def codebook(self) -> np.ndarray:
        """The codebook, (M, D) float64."""
        return np.random.default_rng(1).normal(size=(self.side**2, self.features))


@dataclass(frozen=True)
class Way:
    """A way to run an epoch.

    Attributes
    ----------
    name : str
    epoch : callable
        Runs one epoch on the current client.
    costly : bool
        Whether it takes so long with many blocks that few epochs must do.
    """

    name: str
    epoch: Callable[[], Any]
    costly: bool = False


def ways_on(client: Client, shape: Shape, folder: Path, names: Sequence[str]) -> list[Way]:
    """Return the ways of those names on a cluster: kept blocks lie on its workers, streamed ones in a store."""
    found = []
    kept = None if all(name.startswith("streamed") for name in names) else _scatter(shape, client)
    for name in names:
        samples = _store(shape, folder) if name.startswith("streamed") else kept
        assert samples is not None
        if name.startswith("one task a block"):
            found.append(Way(name, functools.partial(_one_task_a_block, samples, shape), costly=True))
        elif name.endswith("no-op"):
            found.append(Way(name, functools.partial(_no_op_sums, samples, shape)))
        else:
            found.append(Way(name, functools.partial(_real_sums, samples, shape)))
    return found


def _kept_on_threads(shape: Shape) -> Samples:
    """Return the samples in the memory of this process."""
    with dask.config.set(scheduler="threads"):
        return Samples(da.from_array(shape.values, chunks=(ROWS, -1)).persist(), None, in_memory=True)


def _scatter(shape: Shape, client: Client) -> Samples:
    """Place blocks on the workers of a cluster: without a task for each, which would take minutes."""
    futures = client.scatter(np.split(shape.values, shape.blocks), hash=False)
    name = f"blocks-{uuid.uuid4().hex}"
    graph = {(name, i, 0): future for i, future in enumerate(futures)}
    chunks = ((ROWS,) * len(futures), (shape.features,))
    return Samples(da.Array(graph, name, chunks, dtype=shape.values.dtype), None, in_memory=True)


def _store(shape: Shape, folder: Path) -> Samples:
    """Write the samples to a store, one chunk a block, unless it is there."""
    path = folder / f"{shape.blocks}-{shape.features}.zarr"
    if not path.exists():
        stored = zarr.create_array(str(path), shape=shape.values.shape, chunks=(ROWS, shape.features), dtype="f8")
        stored[:] = shape.values
    return open_samples(str(path), block_size=f"{ROWS * shape.features * 8} B")


def real_sums_on_threads(shape: Shape) -> Callable[[], None]:
    """Return what runs an epoch in this process."""
    return functools.partial(_real_sums, _kept_on_threads(shape), shape)


def _real_sums(samples: Samples, shape: Shape) -> None:
    epoch_sums(samples, shape.codebook, shape.lattice, shape.summary)


def _no_op_sums(samples: Samples, shape: Shape) -> None:
    """Run an epoch whose tasks look at no sample."""
    shared = _share(shape)
    look = Pass(name="no_op", of_group=_sums_of_group, joins=True, nodes=len(shape.codebook))
    _check(run_pass(look, samples, shared), shape)


def _one_task_a_block(samples: Samples, shape: Shape) -> None:
    """Run such an epoch as in earlier days: a task for each block, which runs anywhere, and a tree over all."""
    name = f"one_task-{uuid.uuid4().hex}"
    shared = f"broadcast-{name}"
    graph: dict[Any, Any] = {shared: (functools.partial(_same, _share(shape)),)}
    level: list[Any] = [(name, i) for i in range(shape.blocks)]
    for key, block in zip(level, samples.keys(), strict=True):
        graph[key] = (_sums_of_block, block, shared)
    depth = 0
    while len(level) > 1:
        depth += 1
        some = [level[i : i + FAN_IN] for i in range(0, len(level), FAN_IN)]
        level = [(f"add_up-{name}", depth, i) for i in range(len(some))]
        graph |= {key: (_add_up, *parts) for key, parts in zip(level, some, strict=True)}
    layers = HighLevelGraph({"all": MaterializedLayer(graph)}, {"all": set()})
    (sums,) = dask.compute(Delayed(level[0], layers, layer="all"), optimize_graph=False)
    _check(sums, shape)


def _share(shape: Shape) -> SharedCodebook:
    """Return the codebook as tasks get it, with all that comes with it."""
    return share_codebook(shape.codebook, shape.lattice, shape.summary, FeatureSpace.plain(shape.features))


def _check(sums: ExactPartial, shape: Shape) -> None:
    if sums.samples != shape.blocks * ROWS:
        raise RuntimeError(f"an epoch counted {sums.samples} samples of {shape.blocks * ROWS}")


def _same(value: Any) -> Any:
    return value


def _add_up(*parts: ExactPartial) -> ExactPartial:
    total = parts[0] + parts[1] if len(parts) > 1 else parts[0]
    for part in parts[2:]:
        total += part
    return total


def _sums_of_group(group: Group, shared: SharedCodebook) -> ExactPartial:
    return _sums(sum(len(block) for block in group.blocks), shared)


def _sums_of_block(block: np.ndarray, shared: SharedCodebook) -> ExactPartial:
    return _sums(len(block), shared)


def _sums(samples: int, shared: SharedCodebook) -> ExactPartial:
    """Return sums of the right size, at once."""
    assert shared.scales is not None
    return replace(_ones(*shared.codebook.shape, shared.scales.limbs), samples=samples)


@functools.cache
def _ones(n_nodes: int, n_features: int, n_limbs: int) -> ExactPartial:
    zero = ExactPartial.zero(n_nodes, n_features, n_limbs)
    return replace(zero, numerator=zero.numerator + 1, hits=zero.hits + 1)
