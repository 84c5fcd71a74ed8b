"""What the pictures of a map are made of: figures, nodes as polygons, colors, colorbars, legends."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "EMPTY",
    "GROUND",
    "SEQUENTIAL",
    "add_colorbar",
    "add_legend",
    "brief_names",
    "caption_of",
    "distinct_colors",
    "draw_nodes",
    "extent",
    "is_wide",
    "map_figure",
    "new_figure",
    "node_polygons",
    "node_values",
    "panels_of",
    "plain_text",
    "value_range",
]

INCHES, NODE_INCHES = 6.0, 1.2  # longest side of a map, and of a node
PANEL_INCHES = 2.3  # width of one of several
WIDE = 2.5  # a map so many times as wide as high has its colorbar below
EMPTY = "#d9d9d9"  # a node without a value
GROUND = "#f2f2f2"  # a node that something is drawn on
SEQUENTIAL = "viridis"
# Okabe and Ito's colors, which the color-blind can tell apart, without black and yellow.
FEW_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7f6000")


def node_polygons(lattice: Lattice, sizes: np.ndarray | float = 1.0) -> np.ndarray:
    """Outline of each node: (M, 6, 2) hexagons or (M, 4, 2) squares that fill the plane, in lattice units.

    Parameters
    ----------
    lattice : Lattice
        One that wraps is drawn as the sheet that it is cut open to.
    sizes : float or (M,) float64
        How long the sides are, 1 where the nodes touch.
    """
    if lattice.topology == "hexagonal":
        angle = np.deg2rad(np.arange(30, 390, 60))
        outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) / np.sqrt(3.0)
    else:
        outline = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    return lattice.positions()[:, None, :] + np.broadcast_to(sizes, lattice.n_nodes)[:, None, None] * outline


def node_values(model: xr.Dataset, values: Any, name: str | None = None) -> xr.DataArray:
    """One value for each node of a model, as ``(row, col)``.

    Parameters
    ----------
    model : xarray.Dataset
    values : str, DataArray, Dataset or array
        Name of a variable of the model, or values of dimensions ``row`` and ``col`` in any order, or an array of
        shape (rows, cols).
    name : str, optional
        Of the variable to take where `values` is a Dataset.

    Raises
    ------
    ParameterError
        If there is no such variable or it is not of one value a node.
    """
    shape = lattice_of(model).shape
    if isinstance(values, str):
        name, values = values, model
    if isinstance(values, xr.Dataset):
        if name is None or name not in values:
            raise ParameterError(f"there is no variable {name!r} to draw, only {', '.join(map(str, values))}")
        values = values[name]
    if not isinstance(values, xr.DataArray):
        values = np.asarray(values)
        if values.shape != shape:
            raise ParameterError(f"the values have shape {values.shape}, the map has {shape[0]} x {shape[1]} nodes")
        values = xr.DataArray(values, dims=("row", "col"))
    if set(values.dims) != {"row", "col"}:
        raise ParameterError(f"values to draw need the dimensions row and col, got {values.dims}; select or reduce")
    values = values.transpose("row", "col")
    if values.shape != shape:
        raise ParameterError(f"the values have shape {values.shape}, the map has {shape[0]} x {shape[1]} nodes")
    return values


def plain_text(text: object, most: int = 40) -> str:
    """A text as matplotlib shows it letter by letter: on one line, cut, its dollars no mathematics."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return (line if len(line) <= most else f"{line[: most - 3]}...").replace("$", r"\$")


def brief_names(names: Sequence[str], most: int) -> tuple[list[str], str]:
    """Names that can be told apart when each has room for `most` letters.

    Parameters
    ----------
    names : sequence of str
    most : int

    Returns
    -------
    names : list of str
        Of ``latitude=20.0 longitude=5.0`` only ``20.0, 5.0`` where the whole is too long and all names are made so;
        what all have in common is left out. Others are as they were.
    parts : str
        What the numbers are, ``latitude, longitude``, and in brackets what all have in common; empty where names are
        as they were.
    """
    if all(len(name) <= most for name in names):
        return list(names), ""
    table = [[part.rpartition("=") for part in name.split(" ")] for name in names]
    kinds = {tuple(key for key, _, _ in row) for row in table}
    if len(kinds) > 1:
        return list(names), ""
    keys = kinds.pop()
    told = [i for i, key in enumerate(keys) if not key or len({row[i][2] for row in table}) > 1]
    if not any(keys[i] for i in told):
        return list(names), ""
    return [", ".join(row[i][2] for i in told) for row in table], _parts(keys, told, names[0].split(" "))


def _parts(keys: tuple[str, ...], told: list[int], one: list[str]) -> str:
    common = ", ".join(part for i, part in enumerate(one) if i not in told)
    return ", ".join(keys[i] or "name" for i in told) + (f" ({common})" if common else "")


def caption_of(values: xr.DataArray, default: str | None = None) -> str:
    """What a variable is: its ``long_name`` or else its name, and its units in brackets."""
    text = str(values.attrs.get("long_name") or default or values.name or "")
    units = str(values.attrs.get("units", ""))
    return f"{text} [{units}]" if units and units != "1" and text else text


def new_figure(width: float, height: float, layout: str | None = None) -> Figure:
    """A figure of a size in inches, without pyplot: no global state, and it works in any thread.

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


def extent(lattice: Lattice) -> tuple[float, float, float, float]:
    """What the axes of a map show, ``left, right, top, bottom`` in lattice units: its nodes and a narrow margin."""
    polygons = node_polygons(lattice)
    low, high = polygons.min(axis=(0, 1)), polygons.max(axis=(0, 1))
    margin = 0.01 * (high - low).max()
    (left, top), (right, bottom) = low - margin, high + margin
    return float(left), float(right), float(top), float(bottom)


def map_figure(lattice: Lattice, *, inches: float = INCHES, beside: float = 1.2, below: float = 0.1) -> Axes:
    """Axes of a new figure of the map's proportions.

    Parameters
    ----------
    lattice : Lattice
    inches : float
        Longer side of the map; less where it has few nodes.
    beside, below : float
        Room for colorbar, legend or text, in inches.
    """
    left, right, top, bottom = extent(lattice)
    inches = min(inches, max(NODE_INCHES * max(right - left, bottom - top), 2.5))
    size = inches / max(right - left, bottom - top)
    wide, high = size * (right - left), size * (bottom - top)
    below = max(below, 0.9) if is_wide(lattice) else below
    middle = max(wide, 2.6)  # for the title
    width, height = middle + beside + 0.1, high + below + 0.45
    # A layout engine would cut labels off: it reckons with the axes before their aspect makes them smaller.
    figure = new_figure(width, height)
    return figure.add_axes((((middle - wide) / 2 + 0.1) / width, below / height, wide / width, high / height))


def is_wide(lattice: Lattice) -> bool:
    """Whether the colorbar belongs below the map."""
    left, right, top, bottom = extent(lattice)
    return right - left > WIDE * (bottom - top)


def draw_nodes(ax: Axes, lattice: Lattice, *, sizes: np.ndarray | float = 1.0, **properties: Any) -> Any:
    """Draw the nodes and fit the axes to the map.

    Parameters
    ----------
    ax : matplotlib Axes
    lattice : Lattice
    sizes : float or (M,) float64
        See `node_polygons`.
    **properties
        Of the collection: ``array``, (M,) with NaN where a node has no value, ``facecolors``, ``cmap`` ...

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
    collection = PolyCollection(list(node_polygons(lattice, sizes)), **properties)
    ax.add_collection(collection)
    left, right, top, bottom = extent(lattice)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)  # row 0 on top, as in the codebook's printout
    ax.set_aspect("equal")
    ax.set_axis_off()
    return collection


def add_colorbar(ax: Axes, nodes: Any, lattice: Lattice, label: str = "", *, font_size: float | None = None) -> None:
    """A colorbar as long as the map is high, or below a wide map; the map keeps its size where there is room."""
    from matplotlib.ticker import MaxNLocator

    left, right, top, bottom = extent(lattice)
    width, height = right - left, bottom - top
    below = is_wide(lattice)
    longer = max(width, height)
    thick, gap = 0.035 * longer, 0.03 * longer
    place = (0.1, -(gap + thick) / height, 0.8, thick / height) if below else (1 + gap / width, 0, thick / width, 1)
    orientation = "horizontal" if below else "vertical"
    bar = ax.figure.colorbar(nodes, cax=ax.inset_axes(place), orientation=orientation)
    whole = np.ma.masked_invalid(nodes.get_array())
    integers = whole.count() > 0 and bool(np.all(whole == np.round(whole)))
    bar.locator = MaxNLocator(5, integer=integers, steps=[1, 2, 2.5, 5, 10])
    bar.update_ticks()
    bar.ax.tick_params(labelsize=font_size)
    bar.outline.set_linewidth(0.5)
    if label:
        bar.set_label("\n".join(textwrap.wrap(plain_text(label, 120), 40)), fontsize=font_size)


def add_legend(ax: Axes, handles: list[Any], names: list[str]) -> None:
    """A legend on the right of the axes."""
    # A label that begins with an underscore is left out by matplotlib.
    labels = [plain_text(name, 28) for name in names]
    labels = [f" {label}" if label.startswith("_") else label for label in labels]
    columns = 1 if len(labels) <= 12 else 2
    ax.legend(
        handles, labels, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9, ncols=columns
    )


def distinct_colors(n: int) -> np.ndarray:
    """So many colors that can be told apart, (n, 4) float64 in [0, 1]; beyond 20 they come again."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba_array

    if n <= len(FEW_COLORS):
        return to_rgba_array(FEW_COLORS[:n]).reshape(n, 4)
    table = np.array(colormaps["tab10" if n <= 10 else "tab20"].colors)  # type: ignore[attr-defined]
    return to_rgba_array(table[np.arange(n) % len(table)])


def panels_of(
    n: int, columns: int | None, tall: float, note: str, axes: Any, *, beside: float, what: str
) -> np.ndarray:
    """So many axes: those given, or of a new figure with panels `tall` times as high as wide."""
    if axes is not None:
        given = np.ravel(np.asarray(axes, dtype=object))
        if len(given) < n:
            raise ParameterError(f"{n} {what} need {n} axes, got {len(given)}; give more or choose fewer")
        return given[:n]
    if columns is None:
        usual = n if n <= 3 else 2 if n == 4 else 3 if n <= 9 else 4 if n <= 16 else 5
        columns = min(n, 8) if tall > 2.5 else usual
    rows = math.ceil(n / columns)
    width = PANEL_INCHES if columns <= 5 else max(12 / columns, 0.8)
    high = min(max(width * tall, 0.3), 4.5)
    width = min(width, high / tall)
    # Between panels, in inches: colorbars and titles.
    across = max(beside, 1.6 - width) if beside else 0.12
    down = 0.7 if beside and tall < 1 / WIDE else 0.35
    above = 0.65 if note else 0.35
    below = down - 0.2
    total = columns * (width + across) + 0.1, rows * (high + down) - down + above + below
    figure = new_figure(*total)
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


def value_range(values: np.ndarray) -> tuple[float, float]:
    """The least and the greatest of the values that are known; 0 and 1 if none is."""
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
