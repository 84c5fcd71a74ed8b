"""Pictures of a map: its nodes as hexagons or squares, in the colors of their values."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.files import is_url, write_bytes
from som_dask.io.leftovers import remove_leftovers
from som_dask.io.models import lattice_of
from som_dask.io.outputs import check_apart
from som_dask.plotting.canvas import EMPTY, GROUND, SEQUENTIAL, add_colorbar, draw_nodes
from som_dask.plotting.figures import create_map_axes, outline_nodes
from som_dask.plotting.texts import clean_text, make_caption
from som_dask.plotting.values import select_node_values, takes_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "outline_nodes",
    "plot_colors",
    "plot_hits",
    "plot_u_matrix",
    "plot_values",
    "save_color_image",
    "save_figure",
    "write_picture",
]

DEFAULT_FORMAT = "png"
PIXELS = 400  # along the longer side of an image, at least about so many


@takes_epochs
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
    """Draw each node in the color of one value; nodes whose value is NaN are light gray.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    values : str, DataArray or array
        The name of a variable of the model, values with dimensions ``row`` and ``col``, or an array (rows, cols).
    title : str, optional
        By default the name of the variable.
    label : str, optional
        Label of the colorbar; by default the ``long_name`` and ``units`` of the variable.
    cmap : str or matplotlib Colormap
    limits : (float, float), optional
        The values at the ends of the colormap; by default the least and the greatest.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If there is not one value for each node, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.maps import plot_values
    >>> plot_values(model, "u_matrix", cmap="magma", title="gaps").get_title()
    'gaps'
    """
    array = select_node_values(model, values)
    lattice = lattice_of(model)
    ax = create_map_axes(lattice) if ax is None else ax
    nodes = draw_nodes(ax, lattice, array=array.values.ravel(), cmap=cmap, clim=limits)
    if array.notnull().any():
        add_colorbar(ax, nodes, lattice, make_caption(array) if label is None else label)
    ax.set_title(clean_text(str(array.name or "").replace("_", " ") if title is None else title, 80))
    return ax


@takes_epochs
def plot_u_matrix(model: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw the U-matrix: the mean distance of each node to its neighbors (Ultsch and Siemon, 1990).

    Dark valleys are clusters, bright ridges lie between them.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.maps import plot_u_matrix
    >>> plot_u_matrix(model).get_title()
    'U-matrix'
    """
    return plot_values(model, "u_matrix", title="U-matrix", label="mean distance to neighbors", ax=ax)


@takes_epochs
def plot_hits(model: xr.Dataset, *, style: Literal["color", "size"] = "color", ax: Axes | None = None) -> Axes:
    """Draw the hits: the number of samples that each node is the best matching unit of.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    style : {"color", "size"}
        Show the number as the color of the node, light gray if there are no samples, or as the area of a filled node
        within its outline.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        For an unknown style, or if matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.maps import plot_hits
    >>> plot_hits(model).get_title()
    'hits'
    """
    hits = select_node_values(model, "hits").astype(np.float64)
    most = float(hits.max())
    if style == "color":
        return plot_values(model, hits.where(hits > 0), title="hits", label="samples per node", ax=ax)
    if style != "size":
        raise ParameterError(f"style must be 'color' or 'size', got {style!r}")
    lattice = lattice_of(model)
    ax = create_map_axes(lattice, beside=0.4) if ax is None else ax
    draw_nodes(ax, lattice, facecolors=GROUND, edgecolors=EMPTY)
    sizes = np.sqrt(hits.values.ravel() / max(most, 1.0))
    draw_nodes(ax, lattice, sizes=sizes, facecolors="#31688e", linewidths=0)
    ax.set_title(f"hits: the fullest node has {most:,.6g} samples")
    return ax


@takes_epochs
def plot_colors(
    model: xr.Dataset,
    features: Sequence[str] | None = None,
    *,
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw each node in the color whose red, green and blue are its weights of three features.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    features : sequence of str, optional
        Three names; by default the first three features.
    limits : (float, float), optional
        The weights shown as dark and as full, such as (0, 255); by default the range of each feature on the map.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If these are not three features of the model, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.maps import plot_colors
    >>> ax = plot_colors(model, limits=(0, 1))
    """
    names = [str(name) for name in model["feature"].values]
    chosen = list(features) if features is not None else names[:3]
    unknown = [name for name in chosen if name not in names]
    if len(chosen) != 3 or unknown:
        raise ParameterError(f"a color picture needs three of the features {names}, got {chosen}")
    lattice = lattice_of(model)
    codebook = model["codebook"].transpose("row", "col", "feature")
    weights = codebook.isel(feature=[names.index(name) for name in chosen]).values.reshape(-1, 3)
    low, high = (weights.min(axis=0), weights.max(axis=0)) if limits is None else np.array(limits)[:, None]
    span = np.where(high > low, high - low, 1.0)
    ax = create_map_axes(lattice, beside=0.4) if ax is None else ax
    known = ~np.isnan(weights).any(axis=1)
    colors = np.where(known[:, None], np.clip((weights - low) / span, 0, 1), 0.85)
    draw_nodes(ax, lattice, facecolors=colors)
    are_colors = chosen == ["red", "green", "blue"]
    title = "codebook" if are_colors else f"codebook: {', '.join(chosen)} as red, green, blue"
    ax.set_title("\n".join(textwrap.wrap(clean_text(title, 120), 50)))
    return ax


def save_figure(ax: Axes, path: str | os.PathLike[str]) -> None:
    """Save the figure of some axes.

    Parameters
    ----------
    ax : matplotlib Axes
    path : path or fsspec URL
        Its ending chooses the format: PNG, PDF, SVG or another that matplotlib knows. Without one, ``.png`` is added.

    Raises
    ------
    StorageError
        If the file can't be written, or lies in a Zarr store.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.maps import plot_hits, save_figure
    >>> save_figure(plot_hits(model), "hits.png")
    """
    figure: Any = ax.figure
    ending = os.path.splitext(path)[1]
    data = BytesIO()
    figure.savefig(data, format=ending[1:] or DEFAULT_FORMAT, dpi=150, bbox_inches="tight")
    write_picture(path if ending else f"{os.fspath(path)}.{DEFAULT_FORMAT}", data.getvalue())


def write_picture(path: str | os.PathLike[str], data: bytes) -> None:
    """Write the bytes of a picture whole or not at all, and never into a Zarr store.

    Raises
    ------
    StorageError
        If the file can't be written, or lies in a Zarr store.

    Examples
    --------
    >>> from som_dask.plotting.maps import write_picture
    >>> write_picture("dot.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    """
    check_apart(path, kind="picture")
    if not is_url(path):
        remove_leftovers(path)
    write_bytes(path, data)


def save_color_image(codebook: np.ndarray, path: str | os.PathLike[str]) -> None:
    """Save a map of colors as an image with a pixel for each node, or a square of pixels if the map is small.

    This suits maps of very many nodes, which `plot_colors` would draw one by one. The rows of a hexagonal lattice are
    not shifted.

    Parameters
    ----------
    codebook : (rows, cols, 3) float64
        Red, green and blue of each node from 0 to 1; other values are clipped.
    path : path or fsspec URL
        The PNG file to write.

    Raises
    ------
    StorageError
        If the file can't be written, or lies in a Zarr store.
    ParameterError
        If matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.maps import save_color_image
    >>> save_color_image(model["codebook"].values, "colors.png")
    """
    try:
        from matplotlib.image import imsave
    except ImportError as error:
        raise ParameterError("pictures need matplotlib: pip install 'som_dask[plot]'") from error
    times = max(1, PIXELS // max(codebook.shape[:2]))
    data = BytesIO()
    imsave(data, np.clip(codebook, 0, 1).repeat(times, axis=0).repeat(times, axis=1), format="png")
    write_picture(path, data.getvalue())
