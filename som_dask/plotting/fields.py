"""Pictures of nodes as fields over longitude and latitude, where the features are places on the globe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import EMPTY, SEQUENTIAL, panels_of, plain_text, value_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["field_choices", "plot_fields"]

MOST_FIELDS = 48  # nodes
SMALL = 9  # points
DIVERGING = "RdBu_r"
LATITUDES, LONGITUDES = ("lat", "latitude"), ("lon", "longitude")


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
        Its codebook has coordinates ``lat`` and ``lon`` (or ``latitude`` and ``longitude``) along ``feature``.
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
    low, high = value_range(chosen)
    if anomaly:
        low, high = -max(-low, high), max(-low, high)
    tall = float(np.clip(np.ptp(lat) / max(np.ptp(lon), 1e-9), 0.3, 1.5))
    panels = panels_of(len(nodes), columns, tall, "", axes, beside=0.0, what="fields")
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


def field_choices(model: xr.Dataset) -> list[dict[str, Any]]:
    """What to give `plot_fields` as `select` for each field of a model: ``[{}]`` for only one, empty for none."""
    codebook = model["codebook"].transpose("row", "col", "feature")
    if _along(codebook, LATITUDES) is None or _along(codebook, LONGITUDES) is None:
        return []
    others = [str(n) for n, c in codebook.coords.items() if c.dims == ("feature",) and n != "feature"]
    others = [n for n in others if n.lower() not in (*LATITUDES, *LONGITUDES) and _few(codebook[n].values)]
    table = zip(*(codebook[n].values.tolist() for n in others), strict=True) if others else [()]
    rows = ([(n, v) for n, v in zip(others, values, strict=True) if _known(v)] for values in table)
    choices = [dict(row) for row in dict.fromkeys(map(tuple, rows))]
    return [choice for choice in choices if _is_field(codebook, choice)]


def _known(value: Any) -> bool:
    return value is not None and value == value and value != ""


def _few(values: np.ndarray) -> bool:
    """Whether a coordinate tells fields apart: it has several values, and does not number the features."""
    known = {value for value in values.tolist() if _known(value)}
    return 1 < len(known) <= len(values) // 4


def _is_field(codebook: xr.DataArray, choice: dict[str, Any]) -> bool:
    try:
        _fields(codebook, choice)
    except ParameterError:
        return False
    return True


def _along(codebook: xr.DataArray, names: tuple[str, ...]) -> np.ndarray | None:
    """The first coordinate along feature that has one of these names; None if there is none."""
    for name, coordinate in codebook.coords.items():
        if str(name).lower() in names and coordinate.dims == ("feature",):
            return np.asarray(coordinate.values, dtype=np.float64)
    return None


def _fields(codebook: xr.DataArray, select: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weights as (rows, cols, lat, lon) with NaN where no feature lies, and the sorted latitudes, longitudes."""
    places = [_along(codebook, names) for names in (LATITUDES, LONGITUDES)]
    for name, place in zip(("lat", "lon"), places, strict=True):
        if place is None:
            raise ParameterError(f"fields need a coordinate {name} along feature; the codebook has none")
    lats, lons = (np.asarray(place) for place in places)
    kept = np.isfinite(lats) & np.isfinite(lons)
    for name, value in select.items():
        if name not in codebook.coords or codebook[name].dims != ("feature",):
            raise ParameterError(f"fields need a coordinate {name} along feature; the codebook has none")
        kept &= codebook[name].values == value
    if not kept.any():
        raise ParameterError(f"no feature has a place and {select}")
    lat, at_lat = np.unique(lats[kept], return_inverse=True)
    lon, at_lon = np.unique(lons[kept], return_inverse=True)
    place = at_lat * len(lon) + at_lon
    if len(np.unique(place)) < len(place):
        raise ParameterError("several features lie at one place; choose one field of them by select")
    if min(len(lat), len(lon)) < 2:
        raise ParameterError(f"fields need a grid of two or more lat and lon, got {len(lat)} x {len(lon)}")
    values = codebook.values
    fields = np.full((*values.shape[:2], len(lat) * len(lon)), np.nan)
    fields[:, :, place] = values[:, :, kept]
    return fields.reshape(*values.shape[:2], len(lat), len(lon)), lat, lon
