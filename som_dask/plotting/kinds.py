"""Every kind of picture of a map, by its name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any, Literal

import xarray as xr

from som_dask.errors import ParameterError
from som_dask.plotting.classes import plot_clusters, plot_label_pies, plot_majority
from som_dask.plotting.composites import plot_composites
from som_dask.plotting.fields import plot_fields
from som_dask.plotting.history import plot_training
from som_dask.plotting.maps import plot_colors, plot_hits, plot_u_matrix, save_figure
from som_dask.plotting.planes import plot_plane, plot_planes
from som_dask.plotting.profiles import plot_cluster_profiles, plot_profiles
from som_dask.plotting.sammon import plot_sammon
from som_dask.plotting.series import plot_frequencies, plot_transitions, plot_trends

__all__ = ["PictureKind", "draw_picture_of_kind", "save_picture_of_kind"]

PictureKind = Literal[
    "colors",
    "u_matrix",
    "hits",
    "plane",
    "planes",
    "profiles",
    "training",
    "clusters",
    "cluster_profiles",
    "label_pies",
    "majority",
    "fields",
    "composites",
    "frequencies",
    "trends",
    "transitions",
    "sammon",
]
PICTURES: dict[str, Callable[..., Any]] = {
    "colors": plot_colors,
    "u_matrix": plot_u_matrix,
    "hits": plot_hits,
    "plane": plot_plane,
    "planes": plot_planes,
    "profiles": plot_profiles,
    "training": plot_training,
    "clusters": plot_clusters,
    "cluster_profiles": plot_cluster_profiles,
    "label_pies": plot_label_pies,
    "majority": plot_majority,
    "fields": plot_fields,
    "composites": plot_composites,
    "frequencies": plot_frequencies,
    "trends": plot_trends,
    "transitions": plot_transitions,
    "sammon": plot_sammon,
}
PANELS = ("planes", "training", "fields", "composites")  # kinds of several axes


def draw_picture_of_kind(model: xr.Dataset, kind: PictureKind, ax: Any = None, **options: Any) -> Any:
    """Draw a model; see `som_dask.KohonenMap.plot`.

    Parameters
    ----------
    model : xarray.Dataset
    kind : str
    ax : matplotlib Axes, or a sequence of them for kinds of several panels, optional
    **options
        Of the function of that kind.

    Returns
    -------
    matplotlib.axes.Axes, or array of them

    Raises
    ------
    ParameterError
        If matplotlib is missing, or there is no such kind or option.
    """
    if kind not in PICTURES:
        raise ParameterError(f"kind must be one of {', '.join(PICTURES)}, got {kind!r}")
    draw = PICTURES[kind]
    given = options if ax is None else {"axes" if kind in PANELS else "ax": ax, **options}
    try:
        inspect.signature(draw).bind(model, **given)
    except TypeError as error:
        raise ParameterError(f"can't draw {kind}: {error}") from error
    return draw(model, **given)


def save_picture_of_kind(model: xr.Dataset, path: str | os.PathLike[str], kind: PictureKind, **options: Any) -> None:
    """Save a picture of a model, as `draw_picture_of_kind` draws it: PNG, PDF or SVG by the ending of `path`."""
    axes = draw_picture_of_kind(model, kind, **options)
    save_figure(axes[0] if kind in PANELS else axes, path)
