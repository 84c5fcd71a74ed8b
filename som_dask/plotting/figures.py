"""Figures and axes in the proportions of a map, and its nodes as polygons."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "create_figure",
    "create_map_axes",
    "create_panels",
    "is_wide",
    "measure_extent",
    "outline_nodes",
]

INCHES, NODE_INCHES = 6.0, 1.2  # the longer side of a map, and of a node, at most
PANEL_INCHES = 2.3  # width of one panel of several
WIDE = 2.5  # a map more than so many times as wide as high has its colorbar below
TALL = 2.5  # panels more than so many times as high as wide stand side by side


def outline_nodes(lattice: Lattice, sizes: np.ndarray | float = 1.0) -> np.ndarray:
    """Outline the nodes by hexagons or squares, which fill the plane.

    Parameters
    ----------
    lattice : Lattice
        A lattice that wraps is cut open to a sheet.
    sizes : float or (M,) float64
        The length of the sides relative to nodes that touch each other.

    Returns
    -------
    (M, 6, 2) or (M, 4, 2) float64
        x and y of the corners of each node in lattice units: six on a hexagonal lattice, four on a rectangular one.

    Examples
    --------
    >>> import som_dask as som
    >>> from som_dask.plotting.maps import outline_nodes
    >>> outline_nodes(som.Lattice(4, 5)).shape
    (20, 6, 2)
    """
    if lattice.topology == "hexagonal":
        angle = np.deg2rad(np.arange(30, 390, 60))
        outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) / np.sqrt(3.0)
    else:
        outline = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return lattice.positions()[:, None, :] + np.broadcast_to(sizes, lattice.n_nodes)[:, None, None] * outline


def create_figure(width: float, height: float, layout: str | None = None) -> Figure:
    """Create a figure without pyplot, which leaves no global state and works in any thread.

    Parameters
    ----------
    width, height : float
        Inches.
    layout : str, optional
        Layout engine of matplotlib; by default none.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ParameterError
        If matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ParameterError("pictures need matplotlib: pip install 'som_dask[plot]'") from error
    return Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]


def measure_extent(lattice: Lattice) -> tuple[float, float, float, float]:
    """Measure what the axes of a map show: its nodes and a narrow margin.

    Returns
    -------
    left, right, top, bottom : float
        In lattice units; y grows downwards, so that ``top < bottom``.
    """
    polygons = outline_nodes(lattice)
    low, high = polygons.min(axis=(0, 1)), polygons.max(axis=(0, 1))
    margin = 0.01 * (high - low).max()
    (left, top), (right, bottom) = low - margin, high + margin
    return float(left), float(right), float(top), float(bottom)


def create_map_axes(lattice: Lattice, *, inches: float = INCHES, beside: float = 1.2, below: float = 0.1) -> Axes:
    """Create a figure with axes in the proportions of the map.

    Parameters
    ----------
    lattice : Lattice
    inches : float
        The longer side of the map at most; it is shorter if there are few nodes.
    beside, below : float
        Room for a colorbar, legend or text, in inches. There is always room below for the colorbar of a wide map.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If matplotlib is missing.
    """
    left, right, top, bottom = measure_extent(lattice)
    inches = min(inches, max(NODE_INCHES * max(right - left, bottom - top), 2.5))
    size = inches / max(right - left, bottom - top)
    wide, high = size * (right - left), size * (bottom - top)
    below = max(below, 0.9) if is_wide(lattice) else below
    middle = max(wide, 2.6)  # the title needs so much
    width, height = middle + beside + 0.1, high + below + 0.45
    # No layout engine: it would cut labels off, as it measures the axes before their aspect makes them smaller.
    figure = create_figure(width, height)
    return figure.add_axes((((middle - wide) / 2 + 0.1) / width, below / height, wide / width, high / height))


def is_wide(lattice: Lattice) -> bool:
    """Whether the map is so wide that its colorbar belongs below it."""
    left, right, top, bottom = measure_extent(lattice)
    return right - left > WIDE * (bottom - top)


def create_panels(
    n: int, columns: int | None, tall: float, note: str, axes: Any, *, beside: float, what: str
) -> np.ndarray:
    """Create a figure with panels of the same size, or take the axes that are given.

    Parameters
    ----------
    n : int
        The number of panels.
    columns : int, optional
        Panels side by side; by default it depends on their number and shape.
    tall : float
        The height of a panel relative to its width.
    note : str
        Text above all panels; none if empty.
    axes : matplotlib Axes, optional
        Axes to draw on instead of a new figure, in any nesting; those beyond `n` are left alone.
    beside : float
        Room for a colorbar beside each panel, in inches.
    what : str
        What the panels show, in the plural, for the error message.

    Returns
    -------
    (n,) array of matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If there are too few axes, or matplotlib is missing.
    """
    if axes is not None:
        given = np.ravel(np.asarray(axes, dtype=object))
        if len(given) < n:
            raise ParameterError(f"{n} {what} need {n} axes, got {len(given)}; give more or choose fewer")
        return given[:n]
    if columns is None:
        usual = n if n <= 3 else 2 if n == 4 else 3 if n <= 9 else 4 if n <= 16 else 5
        columns = min(n, 8) if tall > TALL else usual
    rows = math.ceil(n / columns)
    width = PANEL_INCHES if columns <= 5 else max(12 / columns, 0.8)
    high = min(max(width * tall, 0.3), 4.5)
    width = min(width, high / tall)
    # Inches between the panels, for colorbars and titles.
    across = max(beside, 1.6 - width) if beside else 0.12
    down = 0.7 if beside and tall < 1 / WIDE else 0.35
    above = 0.65 if note else 0.35
    below = down - 0.2
    total = columns * (width + across) + 0.1, rows * (high + down) - down + above + below
    figure = create_figure(*total)
    grid = np.ravel(figure.subplots(rows, columns, squeeze=False))
    figure.subplots_adjust(
        left=0.1 / total[0],
        right=1 - across / total[0],
        top=1 - above / total[1],
        bottom=below / total[1],
        wspace=across / width,
        hspace=down / high,
    )
    for ax in grid[n:]:
        ax.remove()
    if note:
        figure.suptitle(note, fontsize=11, y=1 - 0.1 / total[1], va="top")
    return grid[:n]
