"""Passes over samples that lie in the memory of this process as one block: run at once, without a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from dask.task_spec import DataNode

from som_dask.passes.blas import single_threaded_blas
from som_dask.passes.compute import active_client, clear_errors
from som_dask.samples.table import Samples

__all__ = ["Held", "held_here", "run_here"]


USUAL: Any = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


class Held(NamedTuple):
    """The only block of some samples, and its weights.

    Attributes
    ----------
    rows : (n, D) array
    weights : (n,) array, or None
    """

    rows: Any
    weights: Any


def held_here(samples: Samples) -> Held | None:
    """Return the only block of samples, if there is no more and it needs no work to be had in this process.

    A graph of one task does the same work, but Dask takes more time for it than a small map does. On a cluster
    the block travels, and it counts where it is computed: there is always a graph.

    Returns
    -------
    Held or None
        None if there is a client, if there are several blocks, or if the block is still to be read or computed.
    """
    if len(samples.block_rows) != 1 or samples.reads_pieces:
        return None
    rows = _value_of(samples.array)
    weights = None if samples.weights is None else _value_of(samples.weights)
    if rows is None or (samples.weights is not None and weights is None) or active_client() is not None:
        return None
    return Held(rows, weights)


def run_here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function as Dask would: with one BLAS thread, clear errors, and NumPy's usual arithmetic errors."""
    with clear_errors(), single_threaded_blas(), np.errstate(**USUAL):
        return function(*arguments)


def _value_of(array: Any) -> np.ndarray | None:
    """Return the only block of a dask array; None if it is still to be computed."""
    layer = array.__dask_graph__().layers.get(array.name, {})
    task = layer.get((array.name, *(0 for _ in array.chunks)))
    value = task.value if isinstance(task, DataNode) else task
    return value if isinstance(value, np.ndarray) else None
