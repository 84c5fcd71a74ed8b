"""A report of a map: one HTML page with all pictures, parameters and measures, that stands alone."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from som_dask.errors import SchemaError, StorageError
from som_dask.io.files import exists, is_url, lock, read_bytes, write_bytes
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import caption_of
from som_dask.plotting.classes import plot_clusters, plot_label_pies, plot_majority
from som_dask.plotting.fields import field_choices, plot_fields
from som_dask.plotting.history import plot_training
from som_dask.plotting.maps import plot_hits, plot_u_matrix, plot_values
from som_dask.plotting.planes import MOST_PLANES, plot_planes
from som_dask.plotting.profiles import plot_cluster_profiles, plot_profiles
from som_dask.plotting.report_page import START, details, number, page, picture, pictures, shown, table

__all__ = ["check_page", "report_html", "write_report"]

MOST_PROFILES, MOST_IN_PROFILE = 900, 200  # nodes, features: more can't be told apart
MOST_FIELDS = 8
PROVENANCE = (
    "input",
    "samples",
    "sample_dtype",
    "features_named",
    "data_fingerprint",
    "codebook_sha256",
    "started",
    "finished",
    "format",
    "som_dask_version",
)
MAKERS = {
    "evaluation": "what som-dask evaluate or evaluate makes",
    "clusters": "what som-dask clusters or cluster_codebook makes",
    "labels": "what summarize_labels makes of labels and classes",
}
HISTORY = ("quantization_error", "topographic_error", "radius", "learning_rate")


def report_html(
    model: xr.Dataset,
    *,
    title: str | None = None,
    evaluation: xr.Dataset | None = None,
    clusters: xr.Dataset | None = None,
    labels: xr.Dataset | None = None,
) -> str:
    """A report of a model as one HTML page, with its pictures in it: it makes no request and needs no script.

    Parameters
    ----------
    model : xarray.Dataset
    title : str, optional
    evaluation : xarray.Dataset, optional
        Measures of the model on some data: variables without dimensions go into the table of quality, variables
        ``(row, col)`` are drawn as maps, each named by its ``long_name``.
    clusters : xarray.Dataset, optional
        ``cluster (row, col)``: the cluster of each node, negative for none. Variables without dimensions go into the
        table of quality, of `labels` too.
    labels : xarray.Dataset, optional
        ``class_count (row, col, class)``: samples of each class.

    Returns
    -------
    str

    Raises
    ------
    ParameterError
        If matplotlib is missing.
    SchemaError
        If one of the Datasets is not of this map.
    """
    shape = lattice_of(model).shape
    _check(evaluation, "evaluation", shape, None)
    _check(clusters, "clusters", shape, "cluster")
    _check(labels, "labels", shape, "class_count")
    name = title or f"Self-organizing map of {shape[0]} x {shape[1]} nodes"
    sections = [
        ("quality", "Quality", _quality(model, {"evaluation": evaluation, "clusters": clusters, "labels": labels})),
        ("training", "Training", _training(model)),
        ("map", "The map", _map_pictures(model)),
        ("reading", "Clusters and classes", _reading_pictures(model, clusters, labels)),
        ("evaluation", "Measures of the nodes", _evaluation_pictures(model, evaluation)),
        ("fields", "Fields", _field_pictures(model)),
        ("planes", "Component planes", _plane_pictures(model)),
        ("profiles", "Profiles", _profile_pictures(model, clusters)),
        ("features", "Features", _features(model)),
        ("parameters", "Parameters", _attributes(model, [str(a) for a in model.attrs if a not in PROVENANCE])),
        ("provenance", "Provenance", _attributes(model, [a for a in PROVENANCE if a in model.attrs])),
    ]
    return page(name, _facts(model), sections)


def write_report(
    model: xr.Dataset, place: str | os.PathLike[str], *, overwrite: bool = False, **options: Any
) -> None:
    """Write the report of a model to an HTML file, whole or not at all.

    Parameters
    ----------
    model : xarray.Dataset
    place : path or fsspec URL
    overwrite : bool
        Replace an HTML page that is there.
    **options
        Of `report_html`.

    Raises
    ------
    StorageError
        If there is something already that may not be replaced, or it can't be written.
    ParameterError, SchemaError
        See `report_html`.
    """
    check_page(place, overwrite=overwrite)
    text = report_html(model, **options).encode("utf-8")
    if not is_url(place):
        folder = os.path.dirname(os.path.abspath(place))
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"can't make the folder {folder} for the report: {error.strerror}; choose another"
            ) from error
    with lock(place):
        check_page(place, overwrite=overwrite)
        write_bytes(place, text)


def check_page(place: str | os.PathLike[str], *, overwrite: bool) -> None:
    """See before any work that a page can be written to `place`.

    Raises
    ------
    StorageError
        If there is something, and it may not be replaced or is no HTML page.
    """
    if not exists(place):
        return
    if not overwrite:
        raise StorageError(f"{place} exists already; choose another output or allow it with --overwrite")
    known = not (not is_url(place) and os.path.isdir(place))
    if not known or not read_bytes(place).lstrip()[: len(START)].lower().startswith(START.encode()):
        raise StorageError(f"{place} is not an HTML page and is never overwritten; choose another output")


def _check(dataset: xr.Dataset | None, what: str, shape: tuple[int, int], needed: str | None) -> None:
    if dataset is None:
        return
    if needed is not None and needed not in dataset:
        raise SchemaError(
            f"the {what} have no variable {needed}, only {', '.join(map(str, dataset)) or 'none'}"
            f"; give {MAKERS[what]}"
        )
    found = tuple(dataset.sizes.get(dim) for dim in ("row", "col"))
    if found not in (shape, (None, None)) or (needed is not None and found != shape):
        raise SchemaError(
            f"what is given as {what} is of a map of {found[0]} x {found[1]} nodes, "
            f"this one has {shape[0]} x {shape[1]}"
        )


def _facts(model: xr.Dataset) -> str:
    lattice = lattice_of(model)
    facts = [
        f"{lattice.rows} rows x {lattice.cols} columns, {lattice.topology} lattice, {lattice.boundary}",
        f"{model.sizes['feature']:,} features",
    ]
    if model.attrs.get("samples") is not None:
        facts.append(f"{int(model.attrs['samples']):,} samples")
    facts.append(f"{int((model['hits'] == 0).sum()):,} of {lattice.n_nodes:,} nodes without samples")
    return " · ".join(facts)


def _quality(model: xr.Dataset, others: dict[str, xr.Dataset | None]) -> str:
    rows = []
    for name in ("quantization_error", "topographic_error"):
        known = model[name].values[~np.isnan(model[name].values)]
        if known.size:
            rows.append((name.replace("_", " "), number(known[-1]), "training", caption_of(model[name])))
    for source, dataset in others.items():
        for variable in () if dataset is None else dataset.data_vars.values():
            if variable.ndim == 0:
                value = variable.values[()]
                told = number(value) if np.issubdtype(variable.dtype, np.number) else str(value)
                rows.append((str(variable.name).replace("_", " "), told, source, caption_of(variable)))
    return table("Measures of the finished map", ("measure", "value", "from", "what it is"), rows)


def _attributes(model: xr.Dataset, names: list[str]) -> str:
    rows = [(name.replace("_", " "), shown(model.attrs[name])) for name in names]
    return table("As kept in the model", ("name", "value"), rows) if rows else ""


def _features(model: xr.Dataset) -> str:
    weights = model["codebook"].transpose("row", "col", "feature").values.reshape(-1, model.sizes["feature"])
    heads = ["feature", "least", "mean", "greatest"]
    weights = np.where(np.isfinite(weights), weights, np.nan).astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a feature that is nowhere known
        columns = [np.nanmin(weights, axis=0), np.nanmean(weights, axis=0), np.nanmax(weights, axis=0)]
    for name in ("center", "scale", "weight"):
        if f"feature_{name}" in model:
            heads.append(name)
            columns.append(model[f"feature_{name}"].values)
    if "missing_values" in model:
        heads.append("samples without")
        columns.append(model["missing_values"].values)
    names = [str(name) for name in model["feature"].values]
    rows = ([name, *map(number, values)] for name, *values in zip(names, *columns, strict=True))
    listed = table("Weights of the nodes, in the data's units", heads, rows, numbers=True)
    return listed if len(names) <= MOST_PLANES else details(f"All {len(names):,} features", listed)


def _history(model: xr.Dataset) -> str:
    names = [name for name in HISTORY if name in model]
    rows = (
        [str(epoch), *(number(model[name].values[i]) for name in names)]
        for i, epoch in enumerate(model["epoch"].values)
    )
    heads = ["epochs done", *(name.replace("_", " ") for name in names)]
    listed = table("Errors of the map after so many epochs, and the radius that followed", heads, rows, numbers=True)
    return details("All epochs as a table", listed)


def _training(model: xr.Dataset) -> str:
    known = model["quantization_error"].values[~np.isnan(model["quantization_error"].values)]
    course = f", quantization error from {known[0]:.4g} to {known[-1]:.4g}" if known.size else ""
    alt = f"Curves of the errors and the radius over the epochs{course}"
    return pictures([picture(lambda: plot_training(model), alt, vector=True)]) + _history(model)


def _map_pictures(model: xr.Dataset) -> str:
    u, hits = model["u_matrix"].values, model["hits"].values
    return pictures(
        [
            picture(
                lambda: plot_u_matrix(model),
                f"U-matrix: mean distances of nodes to their neighbors, {np.nanmin(u):.4g} to {np.nanmax(u):.4g}",
                "U-matrix: dark valleys are clusters, bright ridges lie between them.",
            ),
            picture(
                lambda: plot_hits(model),
                f"Map of the hits, up to {hits.max():,} samples per node, {int((hits == 0).sum()):,} nodes without",
                "Hits: of how many samples each node is the best matching unit; light gray nodes have none.",
            ),
        ]
    )


def _reading_pictures(model: xr.Dataset, clusters: xr.Dataset | None, labels: xr.Dataset | None) -> str:
    def drawn() -> Iterator[str]:
        if clusters is not None:
            numbers = clusters["cluster"].values
            n = len(np.unique(numbers[np.isfinite(numbers) & (numbers >= 0)]))
            yield picture(
                lambda: plot_clusters(model, clusters),
                f"Map of the {n} clusters of the nodes and the borders between them",
                "Clusters of the nodes, by number.",
            )
        if labels is not None:
            n = labels.sizes["class"]
            yield picture(
                lambda: plot_label_pies(model, labels),
                f"Pies of the {n} classes in each node",
                "Classes of the samples of each node; larger pies have more samples.",
            )
            yield picture(
                lambda: plot_majority(model, labels),
                f"Map of the most frequent of the {n} classes in each node",
                "The most frequent class of each node, paler where others mix in.",
            )

    return pictures(drawn())


def _evaluation_pictures(model: xr.Dataset, evaluation: xr.Dataset | None) -> str:
    if evaluation is None:
        return ""
    maps = [
        variable
        for variable in evaluation.data_vars.values()
        if set(variable.dims) == {"row", "col"} and np.issubdtype(variable.dtype, np.number)
    ]
    # Hits of the same samples are among the pictures of the map already.
    maps = [m for m in maps if m.name != "hits" or not np.array_equal(m.transpose("row", "col"), model["hits"])]
    return pictures(
        picture(
            lambda values=variable: plot_values(model, values.where(values > 0) if values.name == "hits" else values),  # type: ignore[misc]
            f"Map of {caption_of(variable)}",
            caption_of(variable),
        )
        for variable in maps
    )


def _plane_pictures(model: xr.Dataset) -> str:
    n = model.sizes["feature"]
    shown = min(n, MOST_PLANES)
    note = f"The first {shown} of {n:,} features. " if shown < n else ""
    return pictures(
        [
            picture(
                lambda: plot_planes(model),
                f"Component planes of {shown} features, a small map each",
                f"{note}Each map shows the weights of one feature, in the data's units; features whose maps look "
                "alike go together.",
                broad=n > 4,
            )
        ]
    )


def _field_pictures(model: xr.Dataset) -> str:
    choices = field_choices(model)

    def drawn() -> Iterator[str]:
        for select in choices[:MOST_FIELDS]:
            of = ", ".join(f"{name} {value}" for name, value in select.items())
            of = f" of {of}" if of else ""
            yield picture(
                lambda select=select: plot_fields(model, select=select),  # type: ignore[misc]
                f"Fields{of} over longitude and latitude, one for each node",
                f"The weights of nodes as fields{of} over longitude and latitude; above each its row and column.",
                broad=True,
            )
            yield picture(
                lambda select=select: plot_fields(model, select=select, anomaly=True),  # type: ignore[misc]
                f"Fields{of} over longitude and latitude, less the mean of all nodes",
                f"The same fields{of} less the mean of all nodes: what tells the nodes apart.",
                broad=True,
            )

    note = f"<p>The first {MOST_FIELDS} of {len(choices)} fields.</p>" if len(choices) > MOST_FIELDS else ""
    return note + pictures(drawn())


def _profile_pictures(model: xr.Dataset, clusters: xr.Dataset | None) -> str:
    n_nodes, n_features = model["hits"].size, model.sizes["feature"]
    few = n_nodes <= MOST_PROFILES and n_features <= MOST_IN_PROFILE

    def drawn() -> Iterator[str]:
        if clusters is not None:
            yield picture(
                lambda: plot_cluster_profiles(model, clusters),
                "Curves of the mean weights of each cluster over the features",
                "Mean weights of the nodes of each cluster.",
                broad=True,
            )
        if few:
            yield picture(
                lambda: plot_profiles(model),
                f"Profiles of the {n_features} weights in each node",
                "The weights of each node, each relative to the range of its feature on the map.",
                broad=True,
            )

    limits = f"up to {MOST_PROFILES} nodes and {MOST_IN_PROFILE} features"
    return pictures(drawn()) + ("" if few else f"<p>Profiles of single nodes are drawn for maps of {limits}.</p>")
