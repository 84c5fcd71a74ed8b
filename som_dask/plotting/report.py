"""A report of a map: one HTML page with all pictures, parameters and measures, that stands alone."""

from __future__ import annotations

import os
from typing import Any

import xarray as xr

from som_dask.errors import SchemaError, StorageError
from som_dask.io.files import exists, is_url, read_bytes, write_bytes
from som_dask.io.leftovers import remove_leftovers
from som_dask.io.models import lattice_of, model_digest
from som_dask.io.outputs import check_apart, lock
from som_dask.plotting.fields import list_fields
from som_dask.plotting.report_page import START, Section, render_page
from som_dask.plotting.report_pictures import (
    draw_clusters_and_classes,
    draw_component_planes,
    draw_evaluation,
    draw_fields,
    draw_map,
    draw_profiles,
    draw_training,
    explain_missing_fields,
    explain_missing_profiles,
)
from som_dask.plotting.report_tables import (
    list_attributes,
    list_epochs,
    list_facts,
    list_features,
    list_measures,
    list_provenance,
)

__all__ = ["check_page", "report_html", "write_report"]

MAKERS = {
    "evaluation": "the result of evaluate or som-dask evaluate",
    "clusters": "the result of clusters or som-dask clusters",
    "labels": "the result of summarize_labels for labels and classes",
}


def report_html(
    model: xr.Dataset,
    *,
    title: str | None = None,
    evaluation: xr.Dataset | None = None,
    clusters: xr.Dataset | None = None,
    labels: xr.Dataset | None = None,
) -> str:
    """Make a report of a model as one HTML page that contains its pictures, makes no request and needs no script.

    Parameters
    ----------
    model : xarray.Dataset
    title : str, optional
        Heading of the page; by default it names the size of the map.
    evaluation : xarray.Dataset, optional
        Measures of the model on some data. Variables without dimensions go into the table of quality; numeric
        variables ``(row, col)`` are drawn as maps, each named by its ``long_name``.
    clusters : xarray.Dataset, optional
        ``cluster (row, col)``: the cluster of each node, negative for none. Variables without dimensions go into the
        table of quality.
    labels : xarray.Dataset, optional
        ``class_count (row, col, class)``: the number of samples of each class. Variables without dimensions go into
        the table of quality.

    Returns
    -------
    str
        The page, the same for the same model except for the time of writing and identifiers within the SVG picture.

    Raises
    ------
    ParameterError
        If matplotlib is missing.
    SchemaError
        If one of the Datasets does not belong to this map.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> page = som.report_html(model, title="Forty colors")
    >>> "<title>Forty colors</title>" in page, "http://" in page
    (True, False)
    """
    shape = lattice_of(model).shape
    _check_dataset(evaluation, "evaluation", model, None)
    _check_dataset(clusters, "clusters", model, "cluster")
    _check_dataset(labels, "labels", model, "class_count")
    return render_page(
        title or f"Self-organizing map of {shape[0]} x {shape[1]} nodes",
        list_facts(model),
        _make_sections(model, evaluation=evaluation, clusters=clusters, labels=labels),
    )


def write_report(model: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False, **options: Any) -> None:
    """Write the report of a model to an HTML file, as a whole or not at all.

    Parameters
    ----------
    model : xarray.Dataset
    path : path or fsspec URL
        Folders that do not exist are created.
    overwrite : bool
        Replace an HTML page that exists at `path`.
    **options
        Keyword arguments of `report_html`.

    Raises
    ------
    StorageError
        If something exists at `path` that may not be replaced, or the file can't be written.
    ParameterError, SchemaError
        As in `report_html`.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> som.report(model, "report.html", title="Forty colors")
    """
    check_page(path, overwrite=overwrite)
    text = report_html(model, **options).encode("utf-8")
    if not is_url(path):
        folder = os.path.dirname(os.path.abspath(path))
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"can't make the folder {folder} for the report: {error.strerror}; choose another"
            ) from error
    with lock(path):
        check_page(path, overwrite=overwrite)  # another process may have written it since
        if not is_url(path):
            remove_leftovers(path)
        write_bytes(path, text)


def check_page(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Check, before any work is done, that a page can be written to `path`.

    Parameters
    ----------
    path : path or fsspec URL
    overwrite : bool
        Whether an HTML page that exists there may be replaced.

    Raises
    ------
    StorageError
        If something exists there, and it may not be replaced or is not an HTML page.
    """
    check_apart(path, kind="report")
    if not exists(path):
        return
    if not overwrite:
        raise StorageError(f"{path} exists already; choose another output or allow it with `overwrite=True`")
    is_folder = not is_url(path) and os.path.isdir(path)
    if is_folder or not read_bytes(path).lstrip()[: len(START)].lower().startswith(START.encode()):
        raise StorageError(f"{path} is not an HTML page and is never overwritten; choose another output")


def _check_dataset(dataset: xr.Dataset | None, what: str, model: xr.Dataset, needed: str | None) -> None:
    """Refuse a Dataset that lacks the variable `needed`, or is of another map as its size or its digest tells."""
    if dataset is None:
        return
    shape = lattice_of(model).shape
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
    digest = dataset.attrs.get("model_codebook_sha256")
    if digest is not None and digest != model_digest(model):
        raise SchemaError(f"what is given as {what} is of another map; give {MAKERS[what]} for this one")


def _make_sections(
    model: xr.Dataset, *, evaluation: xr.Dataset | None, clusters: xr.Dataset | None, labels: xr.Dataset | None
) -> list[Section]:
    """Make all sections of the page, in its order; those with nothing to show are empty."""
    others = {"evaluation": evaluation, "clusters": clusters, "labels": labels}
    choices = list_fields(model)
    return [
        Section(key="quality", heading="Quality", table=list_measures(model, others)),
        Section(key="training", heading="Training", pictures=draw_training(model), table=list_epochs(model)),
        Section(key="map", heading="The map", pictures=draw_map(model)),
        Section(
            key="reading",
            heading="Clusters and classes",
            pictures=draw_clusters_and_classes(model, clusters, labels),
        ),
        Section(key="evaluation", heading="Measures of the nodes", pictures=draw_evaluation(model, evaluation)),
        Section(
            key="fields",
            heading="Fields",
            note=explain_missing_fields(choices),
            pictures=draw_fields(model, choices),
        ),
        Section(key="planes", heading="Component planes", pictures=draw_component_planes(model)),
        Section(
            key="profiles",
            heading="Profiles",
            note=explain_missing_profiles(model),
            pictures=draw_profiles(model, clusters),
        ),
        Section(key="features", heading="Features", table=list_features(model)),
        Section(key="parameters", heading="Parameters", table=list_attributes(model)),
        Section(key="provenance", heading="Provenance", table=list_provenance(model)),
    ]
