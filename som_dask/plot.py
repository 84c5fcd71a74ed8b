"""Pictures of a map. Needs the extra ``plot``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.lattice import Lattice
from som_dask.schema import lattice_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["node_polygons", "plot_colors", "plot_u_matrix", "save_color_image", "save_figure"]

INCHES = 6.0  # longer side of a map
PIXELS = 400  # at least about this many along the longer side of an image


def node_polygons(lattice: Lattice) -> np.ndarray:
    """Outline of each node: (M, 6, 2) hexagons or (M, 4, 2) squares that fill the plane, in lattice units."""
    if lattice.topology == "hexagonal":
        angle = np.deg2rad(np.arange(30, 390, 60))
        outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) / np.sqrt(3.0)
    else:
        outline = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return lattice.positions()[:, None, :] + outline


def _figure(lattice: Lattice) -> tuple[Figure, Axes]:
    """A figure of the map's proportions, without pyplot: no global state, and it works in any thread."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ParameterError("pictures need matplotlib: pip install 'som_dask[plot]'") from error
    width, height = lattice.cols + 0.5, lattice.rows * lattice.row_height + 0.5
    size = INCHES / max(width, height)
    figure = Figure(figsize=(max(width * size, 2.5) + 0.8, max(height * size, 1.5) + 0.6), layout="constrained")
    return figure, figure.subplots()


def _draw(ax: Axes, lattice: Lattice, **properties: Any) -> Any:
    from matplotlib.collections import PolyCollection

    polygons = node_polygons(lattice)
    # Edges of the nodes' own color close the hairlines that antialiasing leaves between neighbors.
    collection = PolyCollection(list(polygons), edgecolors="face", linewidths=0.6, **properties)
    ax.add_collection(collection)
    low, high = polygons.min(axis=(0, 1)), polygons.max(axis=(0, 1))
    ax.set_xlim(low[0], high[0])
    ax.set_ylim(high[1], low[1])  # row 0 on top, as in the codebook's printout
    ax.set_aspect("equal")
    ax.set_axis_off()
    return collection


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
    values = model["codebook"].sel(feature=chosen).values.reshape(-1, 3)
    low, high = (values.min(axis=0), values.max(axis=0)) if limits is None else np.array(limits)[:, None]
    span = np.where(high > low, high - low, 1.0)
    if ax is None:
        _, ax = _figure(lattice)
    _draw(ax, lattice, facecolors=np.clip((values - low) / span, 0, 1))
    named = chosen == ["red", "green", "blue"]
    ax.set_title("codebook" if named else f"codebook: {', '.join(chosen)} as red, green, blue")
    return ax


def plot_u_matrix(model: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw the U-matrix: dark valleys are clusters, bright ridges lie between them.

    Parameters
    ----------
    model : xarray.Dataset
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    lattice = lattice_of(model)
    if ax is None:
        _, ax = _figure(lattice)
    nodes = _draw(ax, lattice, array=model["u_matrix"].values.ravel(), cmap="viridis")
    ax.figure.colorbar(nodes, ax=ax, label="mean distance to neighbors", shrink=0.8)
    ax.set_title("U-matrix")
    return ax


def save_figure(ax: Axes, path: str | os.PathLike[str]) -> None:
    """Save the figure that `ax` belongs to: PNG, PDF, SVG by the ending of `path`."""
    figure: Any = ax.figure
    figure.savefig(path, dpi=150)


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
