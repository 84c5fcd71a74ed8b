"""The tables of a report, as text."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import xarray as xr

from som_dask.io.models import lattice_of
from som_dask.plotting.planes import MOST_PLANES
from som_dask.plotting.report_page import Table, format_attribute, format_number
from som_dask.plotting.texts import make_caption

__all__ = ["list_attributes", "list_epochs", "list_facts", "list_features", "list_measures", "list_provenance"]

PROVENANCE = (
    "input",
    "samples",
    "sample_dtype",
    "features_named",
    "features_chosen",
    "data_fingerprint",
    "codebook_sha256",
    "started",
    "finished",
    "format",
    "som_dask_version",
)
HISTORY = ("quantization_error", "topographic_error", "radius", "learning_rate")


def list_facts(model: xr.Dataset) -> list[str]:
    """List what a reader wants to know first: the lattice, the features, the samples and the empty nodes."""
    lattice = lattice_of(model)
    facts = [
        f"{lattice.rows} rows x {lattice.cols} columns, {lattice.topology} lattice, {lattice.boundary}",
        f"{model.sizes['feature']:,} features",
    ]
    if model.attrs.get("samples") is not None:
        facts.append(f"{int(model.attrs['samples']):,} samples")
    facts.append(f"{int((model['hits'] == 0).sum()):,} of {lattice.n_nodes:,} nodes without samples")
    return facts


def list_measures(model: xr.Dataset, others: Mapping[str, xr.Dataset | None]) -> Table:
    """List the errors at the end of the training, and the variables without dimensions of other Datasets.

    Parameters
    ----------
    model : xarray.Dataset
    others : mapping of str to Dataset or None
        What else there is, by the name of its origin.
    """
    rows = []
    for name in ("quantization_error", "topographic_error"):
        known = model[name].values[~np.isnan(model[name].values)]
        if known.size:
            rows.append((_to_words(name), format_number(known[-1]), "training", make_caption(model[name])))
    for origin, dataset in others.items():
        for variable in () if dataset is None else dataset.data_vars.values():
            if variable.ndim == 0:
                value = variable.values[()]
                text = format_number(value) if np.issubdtype(variable.dtype, np.number) else str(value)
                rows.append((_to_words(str(variable.name)), text, origin, make_caption(variable)))
    heads = ("measure", "value", "from", "what it is")
    return Table(caption="Measures of the finished map", heads=heads, rows=rows)


def list_epochs(model: xr.Dataset) -> Table:
    """List the errors and the radius for each epoch, and its phase if there are two."""
    names = [name for name in HISTORY if name in model]
    columns = [[format_number(value) for value in model[name].values] for name in names]
    if "phase" in model.coords:
        names.insert(0, "phase")
        columns.insert(0, [str(phase) for phase in model["phase"].values])
    return Table(
        caption="Errors of the map after so many epochs, and the radius that followed",
        heads=["epochs done", *map(_to_words, names)],
        rows=[[str(epoch), *cells] for epoch, *cells in zip(model["epoch"].values, *columns, strict=True)],
        numeric=True,
        summary="All epochs as a table",
    )


def list_features(model: xr.Dataset) -> Table:
    """List for each feature the range of its weights over the nodes, its scaling and its missing values."""
    weights = model["codebook"].transpose("row", "col", "feature").values.reshape(-1, model.sizes["feature"])
    weights = np.where(np.isfinite(weights), weights, np.nan).astype(np.float64)
    heads = ["feature", "least", "mean", "greatest"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a feature that no node knows
        columns = [np.nanmin(weights, axis=0), np.nanmean(weights, axis=0), np.nanmax(weights, axis=0)]
    optional = {
        "center": "feature_center",
        "scale": "feature_scale",
        "weight": "feature_weight",
        "samples without": "missing_values",
    }
    for head, variable in optional.items():
        if variable in model:
            heads.append(head)
            columns.append(model[variable].values)
    names = [str(name) for name in model["feature"].values]
    return Table(
        caption="Weights of the nodes, in the data's units",
        heads=heads,
        rows=[[name, *map(format_number, values)] for name, *values in zip(names, *columns, strict=True)],
        numeric=True,
        summary="" if len(names) <= MOST_PLANES else f"All {len(names):,} features",
    )


def list_attributes(model: xr.Dataset) -> Table | None:
    """List the parameters that the model was trained with; None if there are none."""
    return _make_attribute_table(model, [str(name) for name in model.attrs if name not in PROVENANCE])


def list_provenance(model: xr.Dataset) -> Table | None:
    """List what the model was made of, when and by which version; None if nothing is known."""
    return _make_attribute_table(model, [name for name in PROVENANCE if name in model.attrs])


def _make_attribute_table(model: xr.Dataset, names: list[str]) -> Table | None:
    rows = [(_to_words(name), format_attribute(model.attrs[name])) for name in names]
    return Table(caption="As kept in the model", heads=("name", "value"), rows=rows) if rows else None


def _to_words(name: str) -> str:
    return name.replace("_", " ")
