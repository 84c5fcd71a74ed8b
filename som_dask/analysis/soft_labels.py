"""Infer soft labels: the k nearest nodes of each sample, and its membership in each of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from som_dask.algorithm.feature_space import Missing
from som_dask.algorithm.memberships import FUZZIFIER, Membership, entropies, memberships
from som_dask.analysis.labels import Column, LabelTask, number_nodes, refuse_unusable, runs_of
from som_dask.engine.block import Block
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.nearest_k import check_k, check_metric, nearest_nodes
from som_dask.errors import ParameterError
from som_dask.io.models import feature_space_of, lattice_of
from som_dask.passes.blas import single_threaded_blas

__all__ = ["SoftTask", "infer_soft", "label_block_softly"]


def label_block_softly(block: np.ndarray, shared: SharedCodebook, k: int, options: Mapping[str, Any]) -> np.ndarray:
    """Find nodes, distances and memberships of each sample in a block.

    Parameters
    ----------
    block : (n, D) array of real numbers
        NaN where a value is missing, if the space allows it. Features that the space does not use are ignored.
    shared : SharedCodebook
    k : int
        Number of nodes.
    options : mapping
        Arguments of `som_dask.algorithm.memberships.memberships`.

    Returns
    -------
    (n, 4 k + 2) float64, or 4 k + 1 for k = 1
        Side by side: k rows, k columns, k distances, k memberships, entropy and, unless k = 1, ambiguity. NaN for
        samples that are left out.

    Raises
    ------
    DataError
        If a value is infinite, or NaN although none may be missing.
    """
    refuse_unusable(block, shared.space)
    table = np.empty((len(block), 4 * k + 1 + (k > 1)))
    with single_threaded_blas():
        for some in runs_of(block):
            table[some] = _label_rows(block[some], shared, k, options)
    return table


def _label_rows(block: np.ndarray, shared: SharedCodebook, k: int, options: Mapping[str, Any]) -> np.ndarray:
    """Label a few rows."""
    nodes, distance = nearest_nodes(Block.of(block), shared, k)
    out = nodes[:, :1] < 0
    row, col = np.divmod(nodes, shared.lattice.cols)
    membership = memberships(shared.space.rule.to_euclidean(distance), **options)
    parts = [np.where(out, np.nan, row), np.where(out, np.nan, col), distance, membership]
    parts.append(entropies(membership)[:, None])
    if k > 1:
        ambiguity = np.where(out[:, 0], np.nan, 1.0)
        np.divide(distance[:, 0], distance[:, 1], out=ambiguity, where=distance[:, 1] > 0)
        parts.append(ambiguity[:, None])
    return np.hstack(parts)


@dataclass(frozen=True)
class SoftTask(LabelTask):
    """A task that infers soft labels; see `infer_soft` for its attributes."""

    k: int = 3
    membership: Membership = "fuzzy"
    fuzzifier: float = FUZZIFIER
    bandwidth: float | None = None

    def __post_init__(self) -> None:
        check_k(self.k, lattice_of(self.model).n_nodes)
        check_metric(feature_space_of(self.model))
        self.samples.refuse_errors("infer_soft")
        if self.device != "cpu":
            raise ParameterError("soft labels are not computed on a GPU yet; use device 'cpu'")
        # Raises for options that can't be used, before anything is read.
        memberships(np.ones((1, 1)), **self._options())

    def _options(self) -> dict[str, Any]:
        bandwidth = self.bandwidth
        if self.membership == "gaussian" and bandwidth is None:
            error = float(self.model["quantization_error"].values[-1])
            bandwidth = float(feature_space_of(self.model).rule.to_euclidean(error))
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
        found["node"] = number_nodes(0, k, lattice_of(self.model).cols, "node")
        return found

    @property
    def make(self) -> Callable[[np.ndarray, SharedCodebook], np.ndarray]:
        """The function that makes the table of a block."""
        return functools.partial(label_block_softly, k=int(self.k), options=self._options())

    @property
    def kind(self) -> dict[str, Any]:
        """Attributes of the labels that say how memberships are computed, as JSON values."""
        options = self._options()
        parameter = "fuzzifier" if self.membership == "fuzzy" else "bandwidth"
        return {"membership_kind": self.membership, f"membership_{parameter}": options[parameter], "k": int(self.k)}

    @property
    def _target(self) -> str:
        return "node"


def infer_soft(
    data: Any,
    model: Any,
    k: int = 3,
    *,
    kind: Membership = "fuzzy",
    fuzzifier: float = FUZZIFIER,
    bandwidth: float | None = None,
    missing: Missing | None = None,
) -> xr.Dataset:
    """Infer the k nearest nodes of each sample, and its membership in each of them, lazily.

    Parameters
    ----------
    data : anything that `som_dask.samples.open.open_samples` takes
    model : xarray.Dataset, or path or URL of a saved model
    k : int
        Number of nodes, from 1 to that of the map. Memberships are divided among these nodes.
    kind : {"fuzzy", "gaussian"}
        See `som_dask.algorithm.memberships.memberships`.
    fuzzifier : float
        Exponent m of "fuzzy".
    bandwidth : float, optional
        Bandwidth s of "gaussian", a Euclidean distance in the map's space. By default the final quantization error of
        the model; with the metrics "cosine" and "correlation", the corresponding Euclidean distance on the unit
        sphere.
    missing : {"error", "drop", "mask"}, optional
        How samples with missing values are treated; by default as in training.

    Returns
    -------
    xarray.Dataset
        On the dimensions and coordinates of the samples, in blocks like those of `som_dask.infer`. With the dimension
        ``neighbor``, nearest node first: ``node_row`` and ``node_col`` (int32, or float64 with NaN if samples may be
        left out), ``distance`` (float64, in the map's space; with "cosine" or "correlation" 1 minus that),
        ``membership`` (float64, with sum 1) and ``node``, the number of the node, as ``bmu`` of `som_dask.infer`. For
        each sample: ``entropy`` of the memberships divided by log k, from 0 to 1, and for k > 1 ``ambiguity``, the
        nearest distance divided by the second nearest, from 0 (clear) to 1.

    Raises
    ------
    SchemaError
        If the features are not those of the model.
    ParameterError
        If k, kind, fuzzifier or bandwidth can't be used.
    DataError
        When computed, if a value is infinite, or NaN although none may be missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> soft = som.infer_soft(colors, model, k=2).compute()
    >>> dict(soft["membership"].sizes)
    {'sample': 40, 'neighbor': 2}
    >>> bool(np.allclose(soft["membership"].sum("neighbor"), 1))
    True
    """
    options: dict[str, Any] = {"k": k, "membership": kind, "fuzzifier": fuzzifier, "bandwidth": bandwidth}
    task = SoftTask.of(data, model, missing, "cpu", **options).in_small_blocks()
    return task.make_labels(task.make_table())
