"""Soft assignment: the k nearest nodes of every sample and how much it belongs to each, lazily."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from som_dask.algorithm.feature_space import Missing
from som_dask.analysis.labels import Column, LabelTask, refuse_unusable
from som_dask.engine.batch import SharedCodebook
from som_dask.engine.nearest_k import FUZZIFIER, Membership, entropies, memberships, nearest_nodes
from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of, preparation_of
from som_dask.passes.compute import single_threaded_blas

__all__ = ["SoftTask", "assign_soft", "block_soft_labels"]


def block_soft_labels(block: np.ndarray, shared: SharedCodebook, k: int, options: Mapping[str, Any]) -> np.ndarray:
    """Nodes, distances and memberships of each sample, side by side.

    Parameters
    ----------
    block : (n, D) array of real numbers
        NaN where a value is missing, if the preparation allows it. Features that it does not use may be anything.
    shared : SharedCodebook
    k : int
    options : mapping
        Of `som_dask.engine.nearest_k.memberships`.

    Returns
    -------
    (n, 4 k + 2) float64, or 4 k + 1 for k = 1
        k rows, k columns, k distances, k memberships, entropy and ambiguity, which is left out for k = 1; NaN for
        samples left out.

    Raises
    ------
    DataError
        If a value is infinite, or NaN where none may be missing.
    """
    refuse_unusable(block, shared.preparation)
    with single_threaded_blas():
        nodes, distance = nearest_nodes(block, shared, k)
    out = nodes[:, :1] < 0
    row, col = np.divmod(nodes, shared.lattice.cols)
    # On the sphere the squared distance is twice (1 - cosine).
    straight = np.sqrt(2 * distance) if shared.preparation.metric == "cosine" else distance
    membership = memberships(straight, **options)
    parts = [np.where(out, np.nan, row), np.where(out, np.nan, col), distance, membership]
    parts.append(entropies(membership)[:, None])
    if k > 1:
        ambiguity = np.where(out[:, 0], np.nan, 1.0)
        np.divide(distance[:, 0], distance[:, 1], out=ambiguity, where=distance[:, 1] > 0)
        parts.append(ambiguity[:, None])
    return np.hstack(parts)


@dataclass(frozen=True)
class SoftTask(LabelTask):
    """What is labelled softly with what, and how; see `assign_soft`."""

    k: int = 3
    membership: Membership = "fuzzy"
    fuzzifier: float = FUZZIFIER
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        k, n_nodes = self.k, lattice_of(self.model).n_nodes
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k <= n_nodes:
            raise ParameterError(f"k must be a whole number from 1 to the map's {n_nodes} nodes, got {k!r}")
        # Refuses what can't be before anything is read.
        memberships(np.ones((1, 1)), **self._options())

    def _options(self) -> dict[str, Any]:
        bandwidth = self.bandwidth
        if self.membership == "gaussian" and bandwidth is None:
            error = float(self.model["quantization_error"].values[-1])
            bandwidth = float(np.sqrt(2 * error)) if preparation_of(self.model).metric == "cosine" else error
        return {"kind": self.membership, "fuzzifier": self.fuzzifier, "bandwidth": bandwidth}

    @property
    def columns(self) -> dict[str, Column]:
        """The variables of the labels."""
        k = int(self.k)
        found = {
            "node_row": Column(0, k, "row of the node", place=True),
            "node_col": Column(k, k, "column of the node", place=True),
            "distance": Column(2 * k, k, "Euclidean distance to the node, in the data's units"),
            "membership": Column(3 * k, k, "how much the sample belongs to the node"),
            "entropy": Column(4 * k, None, "entropy of the memberships: 0 one node alone, 1 all alike"),
        }
        if k > 1:
            long_name = "distance to the nearest node over that to the second nearest"
            found["ambiguity"] = Column(4 * k + 1, None, long_name)
        return found

    @property
    def make(self) -> Callable[[np.ndarray, SharedCodebook], np.ndarray]:
        """What makes the table of a block of samples."""
        return functools.partial(block_soft_labels, k=int(self.k), options=self._options())

    @property
    def kind(self) -> dict[str, Any]:
        """What the labels are besides the best matching unit."""
        options = self._options()
        parameter = "fuzzifier" if self.membership == "fuzzy" else "bandwidth"
        return {"membership_kind": self.membership, f"membership_{parameter}": options[parameter], "k": int(self.k)}

    @property
    def _what(self) -> str:
        return "node"


def assign_soft(
    data: Any,
    model: Any,
    k: int = 3,
    *,
    kind: Membership = "fuzzy",
    fuzzifier: float = FUZZIFIER,
    bandwidth: float | None = None,
    missing: Missing | None = None,
) -> xr.Dataset:
    """The k nearest nodes of every sample and how much it belongs to each, lazily.

    Parameters
    ----------
    data : anything that `som_dask.samples.table.open_samples` takes
    model : xarray.Dataset, or path or URL of a saved model
    k : int
        Number of nodes, from 1 to all; all memberships are among these.
    kind : {"fuzzy", "gaussian"}
        See `som_dask.engine.nearest_k.memberships`.
    fuzzifier : float
        m of "fuzzy".
    bandwidth : float, optional
        s of "gaussian", a Euclidean distance in the map's space; by default the model's final quantization error,
        with the metric "cosine" the distance on the unit sphere that belongs to it.
    missing : {"error", "drop", "mask"}, optional
        What becomes of samples with missing values; by default what became of them in training.

    Returns
    -------
    xarray.Dataset
        On the samples' own dimensions and coordinates: ``node_row``, ``node_col`` (int32, or float64 with NaN where
        samples may be left out), ``distance`` (float64, in the map's space; 1 less the cosine with that metric) and
        ``membership`` (float64, sums to 1) with the dimension ``neighbor``, nearest first; ``entropy`` of the
        memberships over log k, from 0 to 1; and for k > 1 ``ambiguity``, the nearest distance over the second,
        from 0, clear, to 1.

    Raises
    ------
    SchemaError
        If the features are not the model's.
    ParameterError
        For k, kind, fuzzifier or bandwidth out of range.
    DataError
        When computed, if a value is infinite, or NaN where none may be missing.
    """
    options: dict[str, Any] = {"k": k, "membership": kind, "fuzzifier": fuzzifier, "bandwidth": bandwidth}
    task = SoftTask.of(data, model, missing, "cpu", **options)
    return task.labels(task.table())
