"""The samples of the rough phase: drawn in the first pass over the data, and kept in the memory of this process."""

from __future__ import annotations

from dataclasses import dataclass, replace

import dask.array as da
import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.partial import Partial
from som_dask.engine.protocol import Precision
from som_dask.passes.compute import active_client, in_this_process
from som_dask.passes.draw import Drawn
from som_dask.passes.summary import summarize
from som_dask.samples.table import Samples
from som_dask.training.config import MapConfig
from som_dask.training.phases import PARTS, number_to_draw
from som_dask.training.prepared import PreparedData

__all__ = ["RoughData"]

BLOCK_ROWS = 4096  # whatever the machine, so that sums in "fast" precision have one order


@dataclass(frozen=True)
class RoughData:
    """Samples drawn at random, as data to train on: nothing of this runs on a cluster.

    Attributes
    ----------
    parts : tuple of PreparedData
        One for each of the `PARTS`.
    """

    parts: tuple[PreparedData, ...]

    @classmethod
    def draw(cls, data: PreparedData, lattice: Lattice, config: MapConfig) -> RoughData:
        """Take the samples that the first pass has drawn, or draw them in one more pass."""
        most = number_to_draw(config, lattice, data.summary.taken, data.samples.n_features)
        drawn = data.take_drawn(most, config)
        how = data.execution
        if active_client() is not None:  # the GPUs, if any, are those of its workers
            how = replace(how, device="cpu")
        data = replace(data, execution=how, drawn=None)
        with in_this_process():
            return cls(tuple(_prepare_part(drawn, most // part, data, config) for part in PARTS))

    def make_initial_codebook(self, lattice: Lattice, config: MapConfig) -> np.ndarray:
        """Compute the initial scaled codebook, (M, K) float64, from all that were drawn."""
        with in_this_process():
            return self.parts[-1].make_initial_codebook(lattice, config)

    def move_to_device(self) -> RoughData:
        """Move the samples to the memory of a GPU of this process, if it computes there."""
        with in_this_process():
            return RoughData(tuple(part.move_to_device() for part in self.parts))

    def add_up(self, part: int, points: np.ndarray, lattice: Lattice, precision: Precision, label: str) -> Partial:
        """Search and add up the samples of one of the parts for a scaled codebook, (M, K)."""
        data = self.parts[part]
        with in_this_process():
            return data.add_up(points, lattice, data.execution.engine(precision), label)


def _prepare_part(drawn: Drawn, n: int, data: PreparedData, config: MapConfig) -> PreparedData:
    """Prepare the first n samples drawn, but at least one; the order of their keys is random too."""
    n = max(n, 1)
    values, weights = drawn.points[:n], drawn.weights
    samples = Samples(
        array=da.from_array(values, chunks=(BLOCK_ROWS, -1), name=False),
        features=data.samples.features,
        weights=None if weights is None else da.from_array(weights[:n], chunks=BLOCK_ROWS, name=False),
        description=f"the samples drawn from {data.samples.description or 'the samples'}",
        in_memory=True,
        value_errors=data.samples.value_errors,
    )
    return replace(data, samples=samples, summary=summarize(samples, config.missing))
