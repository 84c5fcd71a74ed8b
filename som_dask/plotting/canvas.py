"""What the pictures of a map are drawn with: nodes, colors, colorbars and legends."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.plotting.figures import is_wide, measure_extent, outline_nodes
from som_dask.plotting.texts import clean_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "EMPTY",
    "GROUND",
    "SEQUENTIAL",
    "add_colorbar",
    "add_legend",
    "choose_colors",
    "draw_nodes",
]

EMPTY = "#d9d9d9"  # a node without a value
GROUND = "#f2f2f2"  # a node that something is drawn on
SEQUENTIAL = "viridis"
# Okabe and Ito's colors, which the color-blind can tell apart, without black and yellow.
FEW_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f6000")


def draw_nodes(ax: Axes, lattice: Lattice, *, sizes: np.ndarray | float = 1.0, **properties: Any) -> Any:
    """Draw the nodes and fit the axes to the map.

    Parameters
    ----------
    ax : matplotlib Axes
    lattice : Lattice
    sizes : float or (M,) float64
        The length of the nodes' sides; see `outline_nodes`.
    **properties
        Properties of the collection, such as ``facecolors``, ``cmap``, or ``array``, an (M,) array with the value of
        each node. Nodes whose value is NaN are light gray.

    Returns
    -------
    matplotlib.collections.PolyCollection
    """
    from matplotlib import colormaps
    from matplotlib.collections import PolyCollection

    if "array" in properties:
        values = np.ma.masked_invalid(np.asarray(properties.pop("array"), dtype=np.float64))
        cmap = properties.pop("cmap", SEQUENTIAL)
        cmap = colormaps[cmap] if isinstance(cmap, str) else cmap
        properties = {"array": values, "cmap": cmap.with_extremes(bad=EMPTY), **properties}
    # Edges of the nodes' own color close the hairlines that antialiasing leaves between neighbors.
    properties = {"edgecolors": "face", "linewidths": 0.6, **properties}
    collection = PolyCollection(list(outline_nodes(lattice, sizes)), **properties)
    ax.add_collection(collection)
    left, right, top, bottom = measure_extent(lattice)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)  # row 0 on top, as in the codebook's printout
    ax.set_aspect("equal")
    ax.set_axis_off()
    return collection


def add_colorbar(ax: Axes, nodes: Any, lattice: Lattice, label: str = "", *, font_size: float | None = None) -> None:
    """Add a colorbar: beside the map and as long as the map is high, or below a wide map.

    The map keeps its size.

    Parameters
    ----------
    ax : matplotlib Axes
        The axes of the map.
    nodes : matplotlib collection
        What `draw_nodes` returned for values of the nodes.
    lattice : Lattice
    label : str
    font_size : float, optional
        Points, of the numbers and the label.
    """
    from matplotlib.ticker import MaxNLocator

    left, right, top, bottom = measure_extent(lattice)
    width, height = right - left, bottom - top
    below = is_wide(lattice)
    longer = max(width, height)
    thick, gap = 0.035 * longer, 0.03 * longer
    bounds = (0.1, -(gap + thick) / height, 0.8, thick / height) if below else (1 + gap / width, 0, thick / width, 1)
    orientation = "horizontal" if below else "vertical"
    bar = ax.figure.colorbar(nodes, cax=ax.inset_axes(bounds), orientation=orientation)
    values = np.ma.masked_invalid(nodes.get_array())
    integers = values.count() > 0 and bool(np.all(values == np.round(values)))
    bar.locator = MaxNLocator(5, integer=integers, steps=[1, 2, 2.5, 5, 10])
    bar.update_ticks()
    bar.ax.tick_params(labelsize=font_size)
    bar.outline.set_linewidth(0.5)
    if label:
        bar.set_label("\n".join(textwrap.wrap(clean_text(label, 120), 40)), fontsize=font_size)


def add_legend(ax: Axes, handles: list[Any], names: list[str]) -> None:
    """Add a legend on the right of the axes, with a name for each handle."""
    labels = [clean_text(name, 28) for name in names]
    # Matplotlib leaves out labels that begin with an underscore.
    labels = [f" {label}" if label.startswith("_") else label for label in labels]
    columns = 1 if len(labels) <= 12 else 2
    ax.legend(
        handles, labels, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9, ncols=columns
    )


def choose_colors(n: int) -> np.ndarray:
    """Choose colors that can be told apart.

    Parameters
    ----------
    n : int
        The number of colors; more than 20 repeat.

    Returns
    -------
    (n, 4) float64
        Red, green, blue and opacity from 0 to 1.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba_array

    if n <= len(FEW_COLORS):
        return to_rgba_array(FEW_COLORS[:n]).reshape(n, 4)
    table = np.array(colormaps["tab10" if n <= 10 else "tab20"].colors)  # type: ignore[attr-defined]
    return to_rgba_array(table[np.arange(n) % len(table)])
