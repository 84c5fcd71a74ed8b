"""The pictures of a report, each with a description and a caption."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from som_dask.plotting.classes import plot_clusters, plot_label_pies, plot_majority
from som_dask.plotting.fields import plot_fields
from som_dask.plotting.history import plot_training
from som_dask.plotting.maps import plot_hits, plot_u_matrix, plot_values
from som_dask.plotting.planes import MOST_PLANES, plot_planes
from som_dask.plotting.profiles import plot_cluster_profiles, plot_profiles
from som_dask.plotting.report_page import Picture, draw_picture
from som_dask.plotting.texts import make_caption

__all__ = [
    "draw_clusters_and_classes",
    "draw_component_planes",
    "draw_evaluation",
    "draw_fields",
    "draw_map",
    "draw_profiles",
    "draw_training",
    "explain_missing_fields",
    "explain_missing_profiles",
]

MOST_PROFILES, MOST_IN_PROFILE = 900, 200  # nodes, features: more can't be told apart
MOST_FIELDS = 8
MOST_TOLD = 3  # of the least stable clusters


def draw_training(model: xr.Dataset) -> list[Picture]:
    """Draw the curves of the training."""
    known = model["quantization_error"].values[~np.isnan(model["quantization_error"].values)]
    course = f", quantization error from {known[0]:.4g} to {known[-1]:.4g}" if known.size else ""
    alt = f"Curves of the errors and the radius over the epochs{course}"
    return [draw_picture(lambda: plot_training(model), alt, vector=True)]


def draw_map(model: xr.Dataset) -> list[Picture]:
    """Draw the U-matrix and the hits."""
    u_matrix, hits = model["u_matrix"].values, model["hits"].values
    low, high = np.nanmin(u_matrix), np.nanmax(u_matrix)
    return [
        draw_picture(
            lambda: plot_u_matrix(model),
            f"U-matrix: mean distances of nodes to their neighbors, {low:.4g} to {high:.4g}",
            "U-matrix: dark valleys are clusters, bright ridges lie between them.",
        ),
        draw_picture(
            lambda: plot_hits(model),
            f"Map of the hits, up to {hits.max():,} samples per node, {int((hits == 0).sum()):,} nodes without",
            "Hits: of how many samples each node is the best matching unit; light gray nodes have none.",
        ),
    ]


def draw_clusters_and_classes(
    model: xr.Dataset, clusters: xr.Dataset | None, labels: xr.Dataset | None
) -> list[Picture]:
    """Draw the clusters of the nodes and the classes of their samples, as far as they are known."""
    pictures = []
    if clusters is not None:
        numbers = clusters["cluster"].values
        n_clusters = len(np.unique(numbers[np.isfinite(numbers) & (numbers >= 0)]))
        pictures.append(
            draw_picture(
                lambda: plot_clusters(model, clusters),
                f"Map of the {n_clusters} clusters of the nodes and the borders between them",
                f"Clusters of the nodes, by number.{_tell_stability(clusters)}",
            )
        )
    if labels is not None:
        n_classes = labels.sizes["class"]
        pictures += [
            draw_picture(
                lambda: plot_label_pies(model, labels),
                f"Pies of the {n_classes} classes in each node",
                "Classes of the samples of each node; larger pies have more samples.",
            ),
            draw_picture(
                lambda: plot_majority(model, labels),
                f"Map of the most frequent of the {n_classes} classes in each node",
                "The most frequent class of each node, paler where others mix in.",
            ),
        ]
    return pictures


def _tell_stability(clusters: xr.Dataset) -> str:
    """Tell how stable the clusters are, the least stable ones first, as far as it is known."""
    if "cluster_stability" not in clusters:
        return ""
    values = clusters["cluster_stability"].values
    least = np.argsort(values, kind="stable")[:MOST_TOLD]
    return f" Least stable: {', '.join(f'{i} ({values[i]:.2f})' for i in least)}."


def draw_evaluation(model: xr.Dataset, evaluation: xr.Dataset | None) -> list[Picture]:
    """Draw each measure that an evaluation has for each node."""
    pictures = []
    for variable in () if evaluation is None else evaluation.data_vars.values():
        if set(variable.dims) != {"row", "col"} or not np.issubdtype(variable.dtype, np.number):
            continue
        values = variable
        if variable.name == "hits":
            if np.array_equal(variable.transpose("row", "col"), model["hits"]):
                continue  # hits of the same samples are among the pictures of the map
            values = variable.where(variable > 0)
        caption = make_caption(variable)
        pictures.append(draw_picture(partial(plot_values, model, values), f"Map of {caption}", caption))
    return pictures


def draw_fields(model: xr.Dataset, choices: Sequence[dict[str, Any]]) -> list[Picture]:
    """Draw the weights as fields over longitude and latitude, and their differences from the mean of all nodes.

    Parameters
    ----------
    model : xarray.Dataset
    choices : sequence of dict
        The fields, as `som_dask.plotting.fields.list_fields` finds them; only the first 8 are drawn.
    """
    pictures = []
    for select in choices[:MOST_FIELDS]:
        of = ", ".join(f"{name} {value}" for name, value in select.items())
        of = f" of {of}" if of else ""
        pictures += [
            draw_picture(
                partial(plot_fields, model, select=select),
                f"Fields{of} over longitude and latitude, one for each node",
                f"The weights of nodes as fields{of} over longitude and latitude; above each its row and column.",
                broad=True,
            ),
            draw_picture(
                partial(plot_fields, model, select=select, anomaly=True),
                f"Fields{of} over longitude and latitude, less the mean of all nodes",
                f"The same fields{of} less the mean of all nodes: what tells the nodes apart.",
                broad=True,
            ),
        ]
    return pictures


def explain_missing_fields(choices: Sequence[dict[str, Any]]) -> str:
    """Say how many fields are drawn, if it is not all."""
    return f"The first {MOST_FIELDS} of {len(choices)} fields." if len(choices) > MOST_FIELDS else ""


def draw_component_planes(model: xr.Dataset) -> list[Picture]:
    """Draw the component planes, in one picture."""
    n_features = model.sizes["feature"]
    n_planes = min(n_features, MOST_PLANES)
    note = f"The first {n_planes} of {n_features:,} features. " if n_planes < n_features else ""
    return [
        draw_picture(
            lambda: plot_planes(model),
            f"Component planes of {n_planes} features, a small map each",
            f"{note}Each map shows the weights of one feature, in the data's units; features whose maps look "
            "alike go together.",
            broad=n_features > 4,
        )
    ]


def draw_profiles(model: xr.Dataset, clusters: xr.Dataset | None) -> list[Picture]:
    """Draw the profiles of the clusters, if they are known, and of the nodes, if they are few enough."""
    pictures = []
    if clusters is not None:
        pictures.append(
            draw_picture(
                lambda: plot_cluster_profiles(model, clusters),
                "Curves of the mean weights of each cluster over the features",
                "Mean of the nodes of each cluster.",
                broad=True,
            )
        )
    if _has_clear_profiles(model):
        pictures.append(
            draw_picture(
                lambda: plot_profiles(model),
                f"Profiles of the {model.sizes['feature']} weights in each node",
                "The weights of each node, each relative to the range of its feature on the map.",
                broad=True,
            )
        )
    return pictures


def explain_missing_profiles(model: xr.Dataset) -> str:
    """Say why there are no profiles of single nodes, if there are none."""
    if _has_clear_profiles(model):
        return ""
    limits = f"up to {MOST_PROFILES} nodes and {MOST_IN_PROFILE} features"
    return f"Profiles of single nodes are drawn for maps of {limits}."


def _has_clear_profiles(model: xr.Dataset) -> bool:
    return model["hits"].size <= MOST_PROFILES and model.sizes["feature"] <= MOST_IN_PROFILE
