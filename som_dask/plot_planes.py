"""Pictures of the codebook, a panel for each of many: component planes, and fields on a map of the world."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.drawing import EMPTY, SEQUENTIAL, WIDE, add_colorbar, draw_nodes, extent, new_figure, plain_text
from som_dask.errors import ParameterError
from som_dask.plot import plot_values
from som_dask.schema import lattice_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_fields", "plot_plane", "plot_planes"]

MOST_PLANES = 60
MOST_FIELDS = 48
PANEL_INCHES = 2.3
SMALL, SMALLER = 9, 7  # points
DIVERGING = "RdBu_r"


def feature_names(model: xr.Dataset) -> list[str]:
    """Names of the features, as text."""
    return [str(name) for name in model["feature"].values]


def plot_plane(
    model: xr.Dataset, feature: str, *, limits: tuple[float, float] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a component plane: each node in the color of its weight of one feature, in the data's units.

    Parameters
    ----------
    model : xarray.Dataset
    feature : str
    limits : (float, float), optional
        Values at the ends of the colormap; by default the least and the greatest.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If the model does not know the feature, or matplotlib is missing.
    """
    (index,) = _indices(model, [feature])
    units = str(model["codebook"].attrs.get("units", ""))
    weights = model["codebook"].isel(feature=index)
    return plot_values(model, weights, title=str(feature), label=units, limits=limits, ax=ax)


def plot_planes(
    model: xr.Dataset,
    features: Sequence[str] | None = None,
    *,
    most: int = MOST_PLANES,
    columns: int | None = None,
    shared_limits: bool = False,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw the component planes of all features: where two look alike, the features go together.

    Parameters
    ----------
    model : xarray.Dataset
    features : sequence of str, optional
        By default all.
    most : int
        Draw only so many of them; the figure says so.
    columns : int, optional
        Panels side by side.
    shared_limits : bool
        One range of colors for all planes, for features of the same units; else each has its own.
    axes : matplotlib Axes, optional
        One for each plane; by default those of a new figure.

    Returns
    -------
    (planes,) array of matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If the model does not know a feature, there are too few axes, or matplotlib is missing.
    """
    names = feature_names(model)
    wanted = names if features is None else list(features)
    indices = (list(range(len(names))) if features is None else _indices(model, wanted))[: max(most, 1)]
    lattice = lattice_of(model)
    left, right, top, bottom = extent(lattice)
    tall = (bottom - top) / (right - left)
    note = (
        f"component planes: the first {len(indices)} of {len(wanted)} features" if len(indices) < len(wanted) else ""
    )
    panels = _panels(len(indices), columns, tall, note, axes, beside=0.6, what="planes")
    codebook = model["codebook"].transpose("row", "col", "feature").values.reshape(lattice.n_nodes, -1)[:, indices]
    limits = _range(codebook) if shared_limits else None
    for ax, index, weights in zip(panels, indices, codebook.T, strict=True):
        nodes = draw_nodes(ax, lattice, array=weights, linewidths=0.3, clim=limits)
        add_colorbar(ax, nodes, lattice, font_size=SMALLER)
        ax.set_title(plain_text(names[index], 26), fontsize=SMALL)
    return panels


def plot_fields(
    model: xr.Dataset,
    nodes: Sequence[tuple[int, int]] | None = None,
    *,
    anomaly: bool = False,
    select: dict[str, Any] | None = None,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw the weights of nodes as fields over longitude and latitude, where the features are places on the globe.

    Parameters
    ----------
    model : xarray.Dataset
        Its codebook has coordinates ``lat`` and ``lon`` along ``feature``.
    nodes : sequence of (row, col), optional
        By default all, row by row and as they lie on the lattice, up to 48; of larger maps every so many.
    anomaly : bool
        Draw differences from the mean of all nodes.
    select : dict, optional
        Values of further coordinates along ``feature``, such as ``{"variable": "z", "level": 500}``, that choose one
        field of several.
    axes : matplotlib Axes, optional
        One for each node; by default those of a new figure.

    Returns
    -------
    (nodes,) array of matplotlib.axes.Axes
        All share one range of colors.

    Raises
    ------
    ParameterError
        If the features have no such coordinates, several features lie at one place, there is no such node, or
        matplotlib is missing.
    """
    codebook = model["codebook"].transpose("row", "col", "feature")
    rows, cols = lattice_of(model).shape
    fields, lat, lon = _fields(codebook, select or {})
    if nodes is None:
        step = next(s for s in range(1, max(rows, cols) + 1) if -(-rows // s) * -(-cols // s) <= MOST_FIELDS)
        nodes = [(row, col) for row in range(0, rows, step) for col in range(0, cols, step)]
        columns: int | None = -(-cols // step)
    else:
        columns = None
    if not nodes or any(not (0 <= row < rows and 0 <= col < cols) for row, col in nodes):
        raise ParameterError(f"nodes are (row, col) within {rows} x {cols}, got {list(nodes)}")
    if anomaly:
        fields = fields - fields.mean(axis=(0, 1))
    chosen = np.stack([fields[row, col] for row, col in nodes])
    low, high = _range(chosen)
    if anomaly:
        low, high = -max(-low, high), max(-low, high)
    tall = float(np.clip(np.ptp(lat) / max(np.ptp(lon), 1e-9), 0.3, 1.5))
    panels = _panels(len(nodes), columns, tall, "", axes, beside=0.0, what="fields")
    mesh: Any = None
    for ax, (row, col), field in zip(panels, nodes, chosen, strict=True):
        colors = {"cmap": DIVERGING if anomaly else SEQUENTIAL, "vmin": low, "vmax": high}
        ax.set_facecolor(EMPTY)
        mesh = ax.pcolormesh(lon, lat, np.ma.masked_invalid(field), shading="nearest", rasterized=True, **colors)
        ax.set_title(f"{row}, {col}", fontsize=SMALL, pad=2)
        ax.set_xticks([])
        ax.set_yticks([])
    units = str(codebook.attrs.get("units", ""))
    label = ("difference from the mean of all nodes" if anomaly else "weight") + (f" [{units}]" if units else "")
    if axes is None:
        figure = panels[0].figure
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.8)
        # The panels keep their inches; the colorbar is below them.
        share = height / (height + 0.8)
        for side in ("top", "bottom"):
            value = 1 - (1 - getattr(figure.subplotpars, side)) * share
            figure.subplots_adjust(**{side: value})
        place = figure.add_axes((0.2, 0.5 / (height + 0.8), 0.6, 0.12 / (height + 0.8)))
        bar = figure.colorbar(mesh, cax=place, orientation="horizontal")
    else:
        bar = panels[0].figure.colorbar(mesh, ax=list(panels), shrink=0.6)
    bar.set_label(plain_text(label, 80))
    return panels


def has_fields(model: xr.Dataset) -> bool:
    """Whether `plot_fields` can draw the model as it is: each feature a place of its own on a grid."""
    try:
        _fields(model["codebook"].transpose("row", "col", "feature"), {})
    except ParameterError:
        return False
    return True


def _fields(codebook: xr.DataArray, select: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weights as (rows, cols, lat, lon) with NaN where no feature lies, and the sorted latitudes, longitudes."""
    for name in ("lat", "lon", *select):
        if name not in codebook.coords or codebook[name].dims != ("feature",):
            raise ParameterError(f"fields need a coordinate {name} along feature; the codebook has none")
    kept = np.ones(codebook.sizes["feature"], dtype=bool)
    for name, value in select.items():
        kept &= codebook[name].values == value
    if not kept.any():
        raise ParameterError(f"no feature has {select}")
    lat, at_lat = np.unique(codebook["lat"].values[kept], return_inverse=True)
    lon, at_lon = np.unique(codebook["lon"].values[kept], return_inverse=True)
    place = at_lat * len(lon) + at_lon
    if len(np.unique(place)) < len(place):
        raise ParameterError("several features lie at one place; choose one field of them by select")
    if min(len(lat), len(lon)) < 2:
        raise ParameterError(f"fields need a grid of two or more lat and lon, got {len(lat)} x {len(lon)}")
    values = codebook.values
    fields = np.full((*values.shape[:2], len(lat) * len(lon)), np.nan)
    fields[:, :, place] = values[:, :, kept]
    return fields.reshape(*values.shape[:2], len(lat), len(lon)), lat, lon


def _indices(model: xr.Dataset, features: Sequence[str]) -> list[int]:
    names = feature_names(model)
    unknown = [str(name) for name in features if str(name) not in names]
    if unknown or not features:
        raise ParameterError(f"the model has no feature {', '.join(unknown)!r}; it knows {', '.join(names[:8])} ...")
    return [names.index(str(name)) for name in features]


def _range(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def _panels(
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
        figure.suptitle(note, fontsize=SMALL + 2, y=1 - 0.1 / total[1], va="top")
    return grid[:n]
