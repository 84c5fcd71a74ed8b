"""Pictures of a map: its nodes as hexagons or squares, in the colors of their values. Needs the extra ``plot``."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import (
    EMPTY,
    GROUND,
    SEQUENTIAL,
    add_colorbar,
    caption_of,
    draw_nodes,
    map_figure,
    node_polygons,
    node_values,
    plain_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "node_polygons",
    "plot_colors",
    "plot_hits",
    "plot_u_matrix",
    "plot_values",
    "save_color_image",
    "save_figure",
]

PIXELS = 400  # at least about this many along the longer side of an image


def plot_values(
    model: xr.Dataset,
    values: Any,
    *,
    title: str | None = None,
    label: str | None = None,
    cmap: Any = SEQUENTIAL,
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw one value of each node as its color; nodes whose value is NaN are light gray.

    Parameters
    ----------
    model : xarray.Dataset
    values : str, DataArray or array
        Name of a variable of the model, values with dimensions ``row`` and ``col``, or an array (rows, cols).
    title : str, optional
        By default the variable's name.
    label : str, optional
        Of the colorbar; by default the variable's ``long_name`` and ``units``.
    cmap : str or matplotlib Colormap
    limits : (float, float), optional
        Values at the ends of the colormap; by default the least and the greatest.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If the values are not one for each node, or matplotlib is missing.
    """
    array = node_values(model, values)
    lattice = lattice_of(model)
    ax = map_figure(lattice) if ax is None else ax
    nodes = draw_nodes(ax, lattice, array=array.values.ravel(), cmap=cmap, clim=limits)
    if array.notnull().any():
        add_colorbar(ax, nodes, lattice, caption_of(array) if label is None else label)
    ax.set_title(plain_text(str(array.name or "").replace("_", " ") if title is None else title, 80))
    return ax


def plot_u_matrix(model: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw the U-matrix: dark valleys are clusters, bright ridges lie between them (Ultsch and Siemon, 1990).

    Parameters
    ----------
    model : xarray.Dataset
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    return plot_values(model, "u_matrix", title="U-matrix", label="mean distance to neighbors", ax=ax)


def plot_hits(model: xr.Dataset, *, style: Literal["color", "size"] = "color", ax: Axes | None = None) -> Axes:
    """Draw how many samples each node is the best matching unit of.

    Parameters
    ----------
    model : xarray.Dataset
    style : {"color", "size"}
        The number as the node's color, light gray where there is none; or as the area of a filled node within its
        outline.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For an unknown style, or if matplotlib is missing.
    """
    hits = node_values(model, "hits").astype(np.float64)
    most = float(hits.max())
    if style == "color":
        return plot_values(model, hits.where(hits > 0), title="hits", label="samples per node", ax=ax)
    if style != "size":
        raise ParameterError(f"style must be 'color' or 'size', got {style!r}")
    lattice = lattice_of(model)
    ax = map_figure(lattice, beside=0.4) if ax is None else ax
    draw_nodes(ax, lattice, facecolors=GROUND, edgecolors=EMPTY)
    sizes = np.sqrt(hits.values.ravel() / max(most, 1.0))
    draw_nodes(ax, lattice, sizes=sizes, facecolors="#31688e", linewidths=0)
    ax.set_title(f"hits: the fullest node has {most:,.6g} samples")
    return ax


def plot_colors(
    model: xr.Dataset,
    features: Sequence[str] | None = None,
    *,
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the nodes in the colors of three features taken as red, green and blue.

    Parameters
    ----------
    model : xarray.Dataset
    features : three names, optional
        By default the first three.
    limits : (float, float), optional
        Values shown as dark and as full, such as (0, 255); by default each feature's own range.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If there are not three features, or matplotlib is missing.
    """
    names = [str(name) for name in model["feature"].values]
    chosen = list(features) if features is not None else names[:3]
    unknown = [name for name in chosen if name not in names]
    if len(chosen) != 3 or unknown:
        raise ParameterError(f"a color picture needs three of the features {names}, got {chosen}")
    lattice = lattice_of(model)
    values = model["codebook"].isel(feature=[names.index(name) for name in chosen]).values.reshape(-1, 3)
    low, high = (values.min(axis=0), values.max(axis=0)) if limits is None else np.array(limits)[:, None]
    span = np.where(high > low, high - low, 1.0)
    ax = map_figure(lattice, beside=0.4) if ax is None else ax
    known = ~np.isnan(values).any(axis=1)
    colors = np.where(known[:, None], np.clip((values - low) / span, 0, 1), 0.85)
    draw_nodes(ax, lattice, facecolors=colors)
    named = chosen == ["red", "green", "blue"]
    title = "codebook" if named else f"codebook: {', '.join(chosen)} as red, green, blue"
    ax.set_title("\n".join(textwrap.wrap(plain_text(title, 120), 50)))
    return ax


def save_figure(ax: Axes, path: str | os.PathLike[str]) -> None:
    """Save the figure that `ax` belongs to: PNG, PDF, SVG by the ending of `path`."""
    figure: Any = ax.figure
    figure.savefig(path, dpi=150, bbox_inches="tight")


def save_color_image(codebook: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Save the map as an image, one pixel a node, or a square of pixels where the map is small.

    It is the picture for maps of very many nodes, which `plot_colors` would draw one by one. Rows of a hexagonal
    lattice are not shifted in it.

    Parameters
    ----------
    codebook : (rows, cols, 3) float64
        Red, green and blue from 0 to 1.
    path : path
        A PNG file.

    Raises
    ------
    ParameterError
        If matplotlib is missing.
    """
    try:
        from matplotlib.image import imsave
    except ImportError as error:
        raise ParameterError("pictures need matplotlib: pip install 'som_dask[plot]'") from error
    times = max(1, PIXELS // max(codebook.shape[:2]))
    imsave(path, np.clip(codebook, 0, 1).repeat(times, axis=0).repeat(times, axis=1))
