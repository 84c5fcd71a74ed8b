"""Soft assignment: the k nearest nodes of every sample and how much it belongs to each, lazily."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np
import xarray as xr
from dask.delayed import delayed

import som_dask
from som_dask.batch import SharedCodebook
from som_dask.errors import DataError, ParameterError
from som_dask.labels import samples_for
from som_dask.nearest_k import FUZZIFIER, Membership, entropies, memberships, nearest_nodes
from som_dask.preparation import Missing
from som_dask.reduction import single_threaded_blas
from som_dask.schema import check_features, codebook_of, lattice_of, open_model, preparation_of

__all__ = ["assign_soft", "block_soft_labels"]

NEIGHBOR = "neighbor"
VARIABLES: dict[str, tuple[bool, str]] = {  # whether it is of each neighbor, and what it is
    "node_row": (True, "row of the node"),
    "node_col": (True, "column of the node"),
    "distance": (True, "distance to the node, in the map's space"),
    "membership": (True, "how much the sample belongs to the node"),
    "entropy": (False, "entropy of the memberships: 0 one node alone, 1 all alike"),
    "ambiguity": (False, "distance to the nearest node over that to the second nearest"),
}


def block_soft_labels(block: np.ndarray, shared: SharedCodebook, k: int, options: Mapping[str, Any]) -> np.ndarray:
    """Nodes, distances and memberships of each sample, side by side.

    Parameters
    ----------
    block : (n, D) array of real numbers
        NaN where a value is missing, if the preparation allows it. Features that it does not use may be anything.
    shared : SharedCodebook
    k : int
    options : mapping
        Of `som_dask.nearest_k.memberships`.

    Returns
    -------
    (n, 4 k + 2) float64
        k rows, k columns, k distances, k memberships, entropy and ambiguity; NaN for samples left out.

    Raises
    ------
    DataError
        If a value is infinite, or NaN where none may be missing.
    """
    strict, used = shared.preparation.missing == "error", shared.preparation.columns
    values = block if used is None else block[:, used]
    bad = np.count_nonzero(~np.isfinite(values) if strict else np.isinf(values))
    if bad:
        what = "NaN or infinite" if strict else "infinite"
        raise DataError(f"there are {bad} {what} values among the samples; remove or fill them")
    with single_threaded_blas():
        nodes, distance = nearest_nodes(block, shared, k)
    out = nodes[:, :1] < 0
    row, col = np.divmod(nodes, shared.lattice.cols)
    # On the sphere the squared distance is twice (1 - cosine).
    straight = np.sqrt(2 * distance) if shared.preparation.metric == "cosine" else distance
    membership = memberships(straight, **options)
    ambiguity = np.where(out[:, 0], np.nan, 1.0)
    if k > 1:
        np.divide(distance[:, 0], distance[:, 1], out=ambiguity, where=distance[:, 1] > 0)
    else:
        ambiguity[:] = np.nan
    parts = (np.where(out, np.nan, row), np.where(out, np.nan, col), distance, membership)
    return np.hstack([*parts, entropies(membership)[:, None], ambiguity[:, None]])


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
    data : anything that `som_dask.samples.open_samples` takes
    model : xarray.Dataset, or path or URL of a saved model
    k : int
        Number of nodes, from 1 to all; all memberships are among these.
    kind : {"fuzzy", "gaussian"}
        See `som_dask.nearest_k.memberships`.
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
    model = open_model(model)
    samples = samples_for(model, data)
    check_features(model, samples.features, samples.n_features, samples.array.dtype, samples.description)
    preparation, lattice = preparation_of(model), lattice_of(model)
    missing = missing or preparation.missing
    if missing not in get_args(Missing):
        raise ParameterError(f"missing must be one of {get_args(Missing)}, got {missing!r}")
    preparation = preparation.for_inference(missing)
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k <= lattice.n_nodes:
        raise ParameterError(f"k must be a whole number from 1 to the map's {lattice.n_nodes} nodes, got {k!r}")
    if kind == "gaussian" and bandwidth is None:
        error = float(model["quantization_error"].values[-1])
        bandwidth = float(np.sqrt(2 * error)) if preparation.metric == "cosine" else error
    options = {"kind": kind, "fuzzifier": fuzzifier, "bandwidth": bandwidth}
    memberships(np.ones((1, 1)), **options)  # type: ignore[arg-type]  # refuses what can't be before anything is read
    shared = delayed(SharedCodebook(codebook_of(model), lattice, preparation=preparation), pure=False)
    table = samples.array.map_blocks(
        block_soft_labels,
        shared,
        int(k),
        options,
        dtype=np.float64,
        chunks=(samples.block_rows, (4 * int(k) + 2,)),
        meta=np.empty((0, 0)),
    )
    columns, place = {}, 0
    for name, (each, _) in VARIABLES.items():
        width = int(k) if each else 1
        values = table[:, place : place + width] if each else table[:, place]
        if name.startswith("node_") and preparation.missing == "error":
            values = values.astype(np.int32)
        if k > 1 or name != "ambiguity":
            columns[name] = values
        place += width
    soft = samples.labelled(columns, {name: NEIGHBOR for name, (each, _) in VARIABLES.items() if each})
    if preparation.missing != "error":
        for name in ("node_row", "node_col"):  # in a store as integers, as labels are
            soft[name].encoding.update(dtype=np.dtype(np.int32), _FillValue=np.int32(-1))
    for name in columns:
        words = {"long_name": VARIABLES[name][1]}
        soft[name].attrs = words if name == "distance" else {**words, "units": "1"}
    parameter = "fuzzifier" if kind == "fuzzy" else "bandwidth"
    return soft.assign_attrs(
        {
            "model_codebook_sha256": model.attrs["codebook_sha256"],
            "input": samples.description,
            "som_dask_version": som_dask.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "membership_kind": kind,
            f"membership_{parameter}": options[parameter],
        }
    )
