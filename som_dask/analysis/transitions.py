"""Transitions: which node follows which in time, and how long a node lasts."""

from __future__ import annotations

from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.spells import NodeSeries
from som_dask.analysis.by_node import NODES, bmus_of, lattice_from
from som_dask.analysis.node_counts import flatten_nodes
from som_dask.errors import DataError, ParameterError
from som_dask.io.attributes import make_plain
from som_dask.io.models import positions_of
from som_dask.passes.run import run_over_arrays

__all__ = ["transitions"]

NEXT = ("next_row", "next_col")
MOST_NODES = 4096  # whose counts take 128 MiB
LEAP = 1.5  # median steps; months of 28 to 31 days follow each other, days with one between them do not


def transitions(labels: xr.Dataset, model: Any, *, dim: str = "time", longest_step: Any = None) -> xr.Dataset:
    r"""Count which node follows which in time, and how long the series stays at a node.

    A sample follows the one before it if both have a node and no more than `longest_step` lies between them. Places
    and other dimensions of the labels are series of their own, whose counts are added up; each whole series is in one
    task.

    Parameters
    ----------
    labels : xarray.Dataset
        Result of `som_dask.infer`: ``bmu_row`` and ``bmu_col``, missing for samples left out.
    model : xarray.Dataset, path or URL of a saved model, or Lattice
        Of up to 4096 nodes.
    dim : str
        The dimension of time. Its coordinate, if there is one, must ascend.
    longest_step : number, timedelta64 or timedelta, optional
        By default one and a half times the median step, so that a missing day breaks a series of days, and winters
        do not follow each other.

    Returns
    -------
    xarray.Dataset
        On (row, col, next_row, next_col): ``transition_count`` (int64), ``transition_probability``, the share of the
        transitions from the node (NaN if there are none), and ``expected_count``, by chance if the next node did not
        depend on the node, for the same totals of both. On (row, col): ``persistence``, the probability to stay;
        ``days`` (int64), the number of samples; ``spells`` (int64), the number of runs without a break;
        ``mean_spell`` and ``longest_spell`` in samples (NaN and 0 without samples). A run that a gap or the end of
        the series cuts off counts as it is. The attributes hold the number of breaks in time and the longest step.

    Raises
    ------
    ParameterError
        If the labels have no such dimension, the step is not positive, or the map has too many nodes.
    DataError
        If times do not ascend or are missing, or the labels are not of this map.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> import xarray as xr
    >>> labels = xr.Dataset({"bmu_row": ("time", [0, 0, 0, 0, 0]), "bmu_col": ("time", [0, 0, 1, 1, 1])})
    >>> found = som.transitions(labels, som.Lattice(1, 2))
    >>> found["transition_count"].squeeze().values.tolist(), found["longest_spell"].values.tolist()
    ([[1, 1], [0, 2]], [[2, 3]])
    """
    lattice = lattice_from(model)
    if lattice.n_nodes > MOST_NODES:
        raise ParameterError(
            f"transitions between {lattice.n_nodes:,} nodes take too much memory; up to {MOST_NODES:,} can be counted"
        )
    row, col = bmus_of(labels)
    if dim not in row.dims:
        raise ParameterError(
            f"the labels have no dimension {dim!r}, only {', '.join(map(str, row.dims))}; give `dim`"
        )
    row, col = (variable.transpose(dim, ...) for variable in (row, col))
    follows, step = _find_breaks(row, dim, longest_step)
    counts = _count(row, col, follows, lattice)
    return _describe(counts, lattice, {"breaks": int(np.count_nonzero(~follows[1:])), "longest_step": str(step)})


def _find_breaks(row: xr.DataArray, dim: str, longest_step: Any) -> tuple[np.ndarray, Any]:
    """Return which samples follow those before them, (T,) bool, and the longest step."""
    follows = np.ones(row.sizes[dim], dtype=bool)
    follows[:1] = False
    if dim not in row.coords:
        if longest_step is not None:
            raise ParameterError(f"`longest_step` needs a coordinate {dim!r}, which the labels lack; leave it out")
        return follows, "none"
    steps = _steps_of(row[dim].values, dim)
    if not len(steps):
        return follows, "none"
    longest: Any = np.median(steps) * LEAP
    unit: Any = None
    if isinstance(steps[0], np.timedelta64) or steps.dtype.kind == "m":
        unit = np.timedelta64(1, "ns")
        longest = np.timedelta64(int(np.median(steps.astype("m8[ns]").astype(np.int64)) * LEAP), "ns")
    if longest_step is not None:
        try:
            longest = longest_step if unit is None else pd.Timedelta(longest_step).to_timedelta64()
            positive = bool(longest > 0 * (unit or 1))
        except (TypeError, ValueError) as error:
            raise ParameterError(f"`longest_step` {longest_step!r} is no step of {dim!r}") from error
        if not positive:
            raise ParameterError(f"`longest_step` must be positive, got {longest_step!r}")
    follows[1:] = steps <= longest
    return follows, longest if unit is None else pd.Timedelta(longest)


def _steps_of(times: np.ndarray, dim: str) -> np.ndarray:
    """Return the steps between times: numbers or timedelta64[ns]."""
    try:
        steps = np.diff(times)
        if steps.dtype == object:  # dates of another calendar
            steps = np.array([pd.Timedelta(step).to_timedelta64() for step in steps], dtype="m8[ns]")
        ascending = bool((steps > 0 * steps[:1]).all()) if len(steps) else True
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the coordinate {dim!r} holds no times or numbers; drop it, or give another `dim`"
        ) from error
    if not ascending:
        raise DataError(f"the times along {dim!r} do not ascend, or some are missing; sort the labels by them")
    return steps


def _count(row: xr.DataArray, col: xr.DataArray, follows: np.ndarray, lattice: Lattice) -> NodeSeries:
    if row.chunks is None and col.chunks is None:
        return _count_block(row.values, col.values, follows, lattice)
    whole = {0: -1, **dict.fromkeys(range(1, row.ndim), "auto")}
    parts = [v.data if v.chunks is not None else dask.array.from_array(v.values, chunks=-1) for v in (row, col)]
    counts: NodeSeries = run_over_arrays(
        "transitions", _count_block, [part.rechunk(whole) for part in parts], follows, lattice
    )
    return counts


def _count_block(row: np.ndarray, col: np.ndarray, follows: np.ndarray, lattice: Lattice) -> NodeSeries:
    nodes = flatten_nodes(row, col, lattice).reshape(len(follows), -1)
    return NodeSeries.of(nodes, follows, lattice.n_nodes)


def _describe(counts: NodeSeries, lattice: Lattice, attrs: dict[str, Any]) -> xr.Dataset:
    table = counts.transitions
    left, entered, total = table.sum(axis=1), table.sum(axis=0), table.sum()
    probability = np.where(left[:, None] > 0, table / np.maximum(left, 1)[:, None], np.nan)
    expected = left[:, None] * (entered / max(total, 1))
    spells = counts.spells
    mean = np.where(spells > 0, counts.days / np.maximum(spells, 1), np.nan)
    pairs = {
        "transition_count": (table, "number of transitions to the next node"),
        "transition_probability": (probability, "share of the transitions from the node"),
        "expected_count": (expected, "number of transitions expected by chance"),
    }
    nodes = {
        "persistence": (np.diagonal(probability), "probability that the next sample has the same node"),
        "days": (counts.days, "samples of the node"),
        "spells": (spells, "runs of samples of the node"),
        "mean_spell": (mean, "mean length of a run, in samples"),
        "longest_spell": (counts.longest, "length of the longest run, in samples"),
    }
    shape = lattice.shape
    variables: dict[str, Any] = {
        name: ((*NODES, *NEXT), values.reshape(*shape, *shape), {"long_name": words, "units": "1"})
        for name, (values, words) in pairs.items()
    }
    variables |= {
        name: (NODES, values.reshape(shape), {"long_name": words, "units": "1"})
        for name, (values, words) in nodes.items()
    }
    return make_plain(xr.Dataset(variables, positions_of(lattice), {**attrs, "som_dask_version": __version__}))
