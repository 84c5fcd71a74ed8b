"""Distances of samples to all nodes of a map, where so many numbers are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from som_dask.algorithm.feature_space import Missing
from som_dask.analysis.labels import Column, LabelTask, refuse_unusable
from som_dask.engine.codebook import SharedCodebook
from som_dask.io.models import lattice_of

__all__ = ["DistanceTask", "distances_to_nodes", "measure_distances"]

ROWS_AT_ONCE = 1024  # so that the points stay in a core's cache while they are compared with one node after the other


def measure_distances(block: np.ndarray, shared: SharedCodebook) -> np.ndarray:
    """Measure the distances of each sample in a block to all nodes, by the metric of the map.

    Parameters
    ----------
    block : (n, D) array of real numbers
    shared : SharedCodebook

    Returns
    -------
    (n, M) float64
        NaN for samples that are left out. The least of a row is, to the bit, the distance to the best matching unit.

    Raises
    ------
    DataError
        If a value is infinite, or NaN although none may be missing.
    """
    refuse_unusable(block, shared.space)
    distances = np.full((len(block), len(shared.codebook)), np.nan)
    for start in range(0, len(block), ROWS_AT_ONCE):
        tile = np.array(block[start : start + ROWS_AT_ONCE], dtype=np.float64, order="C")
        for part in shared.space.parts(tile):
            rows, nodes = part.rows_from(start), np.zeros(len(part.values), dtype=np.int64)
            for node in range(len(shared.codebook)):
                nodes[:] = node
                distances[rows, node] = shared.space.rule.distances(part.values, nodes, shared.codebook)
    return distances


@dataclass(frozen=True)
class DistanceTask(LabelTask):
    """A task that measures the distances to all nodes."""

    @property
    def columns(self) -> dict[str, Column]:
        """The variable with a value for each node."""
        return {"distance": Column(0, lattice_of(self.model).n_nodes, "distance to the node")}

    @property
    def make(self) -> Callable[[np.ndarray, SharedCodebook], np.ndarray]:
        """The function that makes the table of a block."""
        return measure_distances


def distances_to_nodes(data: Any, model: Any, *, missing: Missing | None = None) -> Any:
    """Measure the distances of samples to all nodes, lazily.

    Parameters
    ----------
    data : anything that `som_dask.samples.open.open_samples` takes
    model : xarray.Dataset, or path or URL of a saved model
    missing : {"error", "drop", "mask"}, optional
        By default as in training.

    Returns
    -------
    dask array (n, M) float64
        In the order of the rows of the table, nodes row by row; in the map's own space. NaN for samples left out.

    Raises
    ------
    SchemaError
        If the features are not those of the model.
    DataError
        When computed, if a value is infinite, or NaN although none may be missing.
    """
    task = DistanceTask.of(data, model, missing, "cpu").in_small_blocks()
    task.samples.refuse_errors("the distances to all nodes")
    return task.make_table()
