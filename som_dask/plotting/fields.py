"""Pictures of nodes as fields over longitude and latitude, for features that are places on the globe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of
from som_dask.io.units import FEATURE_UNITS
from som_dask.plotting.canvas import EMPTY, SEQUENTIAL
from som_dask.plotting.figures import create_panels
from som_dask.plotting.texts import clean_text
from som_dask.plotting.values import find_range, takes_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["list_fields", "plot_fields"]

MOST_NODES = 48  # drawn by default
SMALL = 9  # points
DIVERGING = "RdBu_r"
LATITUDES, LONGITUDES = ("lat", "latitude"), ("lon", "longitude")


@takes_epochs
def plot_fields(
    model: xr.Dataset,
    nodes: Sequence[tuple[int, int]] | None = None,
    *,
    anomaly: bool = False,
    select: dict[str, Any] | None = None,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw the weights of nodes as fields over longitude and latitude, for features that are places on the globe.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
        Its codebook has coordinates ``lat`` and ``lon`` (or ``latitude`` and ``longitude``) along ``feature``.
    nodes : sequence of (row, col), optional
        The nodes to draw. By default all nodes of a map of up to 48, arranged as on the lattice; of a larger map
        evenly spaced ones.
    anomaly : bool
        Draw the differences from the mean of all nodes.
    select : dict, optional
        Values of further coordinates along ``feature``, such as ``{"variable": "z", "level": 500}``, that choose one
        of several fields.
    axes : sequence of matplotlib Axes, optional
        Axes for each node; by default those of a new figure.

    Returns
    -------
    (nodes,) array of matplotlib.axes.Axes
        The colors have the same range on all of them.

    Raises
    ------
    ParameterError
        If the features have no such coordinates, several features lie at one place, there is no such node, or
        matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> import xarray as xr
    >>> coords = {"lat": [40.0, 50.0, 60.0], "lon": [0.0, 10.0, 20.0, 30.0]}
    >>> heights = np.random.default_rng(0).random((50, 3, 4))
    >>> days = xr.DataArray(heights, dims=("time", "lat", "lon"), coords=coords)
    >>> model = som.train(som.open_samples(days, sample_dims="time"), som.Lattice(2, 2), som.MapConfig(epochs=3))
    >>> from som_dask.plotting.fields import plot_fields
    >>> len(plot_fields(model))
    4
    """
    codebook = model["codebook"].transpose("row", "col", "feature")
    fields, lat, lon = _arrange_fields(codebook, select or {})
    nodes, columns = choose_nodes(lattice_of(model).shape, nodes)
    if anomaly:
        fields = fields - fields.mean(axis=(0, 1))
    chosen = np.stack([fields[row, col] for row, col in nodes])
    low, high = find_range(chosen)
    if anomaly:
        low, high = -max(-low, high), max(-low, high)
    colors = {"cmap": DIVERGING if anomaly else SEQUENTIAL, "vmin": low, "vmax": high}
    tall = float(np.clip(np.ptp(lat) / max(np.ptp(lon), 1e-9), 0.3, 1.5))
    panels = create_panels(len(nodes), columns, tall, "", axes, beside=0.0, what="fields")
    for ax, (row, col), field in zip(panels, nodes, chosen, strict=True):
        mesh = ax.pcolormesh(lon, lat, np.ma.masked_invalid(field), shading="nearest", rasterized=True, **colors)
        ax.set_facecolor(EMPTY)
        ax.set_title(f"{row}, {col}", fontsize=SMALL, pad=2)
        ax.set_xticks([])
        ax.set_yticks([])
    bar = add_shared_colorbar(panels, mesh, is_own_figure=axes is None)
    units = str(codebook.attrs.get("units", ""))
    label = "difference from the mean of all nodes" if anomaly else "weight"
    bar.set_label(clean_text(f"{label} [{units}]" if units else label, 80))
    return panels


def choose_nodes(
    shape: tuple[int, int], nodes: Sequence[tuple[int, int]] | None
) -> tuple[Sequence[tuple[int, int]], int | None]:
    """Check the nodes that are given, or choose evenly spaced ones.

    Returns
    -------
    nodes : sequence of (row, col)
    columns : int or None
        The number of panels side by side; None if the nodes were given, as these need not lie on a grid.
    """
    rows, cols = shape
    if nodes is None:
        step = next(s for s in range(1, max(rows, cols) + 1) if -(-rows // s) * -(-cols // s) <= MOST_NODES)
        return [(row, col) for row in range(0, rows, step) for col in range(0, cols, step)], -(-cols // step)
    if not nodes or any(not (0 <= row < rows and 0 <= col < cols) for row, col in nodes):
        raise ParameterError(f"nodes are (row, col) within {rows} x {cols}, got {list(nodes)}")
    return nodes, None


def add_shared_colorbar(panels: np.ndarray, mesh: Any, *, is_own_figure: bool) -> Any:
    """Add one colorbar for all panels; a figure of our own grows by it, so that its panels keep their size."""
    figure = panels[0].figure
    if not is_own_figure:
        return figure.colorbar(mesh, ax=list(panels), shrink=0.6)
    width, height = figure.get_size_inches()
    total = height + 0.8  # inches
    figure.set_size_inches(width, total)
    for side in ("top", "bottom"):
        inches_from_top = (1 - getattr(figure.subplotpars, side)) * height
        figure.subplots_adjust(**{side: 1 - inches_from_top / total})
    return figure.colorbar(mesh, cax=figure.add_axes((0.2, 0.5 / total, 0.6, 0.12 / total)), orientation="horizontal")


def list_fields(model: xr.Dataset) -> list[dict[str, Any]]:
    """List the fields of a model.

    Parameters
    ----------
    model : xarray.Dataset or Epoch

    Returns
    -------
    list of dict
        For each field the argument `select` of `plot_fields`: ``[{}]`` if there is only one field, empty if there
        are none.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> import xarray as xr
    >>> coords = {"lat": [40.0, 50.0, 60.0], "lon": [0.0, 10.0, 20.0, 30.0]}
    >>> heights = np.random.default_rng(0).random((50, 3, 4))
    >>> days = xr.DataArray(heights, dims=("time", "lat", "lon"), coords=coords)
    >>> model = som.train(som.open_samples(days, sample_dims="time"), som.Lattice(2, 2), som.MapConfig(epochs=3))
    >>> from som_dask.plotting.fields import list_fields
    >>> list_fields(model)
    [{}]
    """
    codebook = model["codebook"].transpose("row", "col", "feature")
    if _find_coordinate(codebook, LATITUDES) is None or _find_coordinate(codebook, LONGITUDES) is None:
        return []
    further = {
        str(name): coordinate.values
        for name, coordinate in codebook.coords.items()
        if coordinate.dims == ("feature",)
        and name not in ("feature", FEATURE_UNITS)
        and str(name).lower() not in (*LATITUDES, *LONGITUDES)
        and _tells_fields_apart(coordinate.values)
    }
    table = zip(*(values.tolist() for values in further.values()), strict=True) if further else [()]
    rows = (tuple(pair for pair in zip(further, values, strict=True) if _is_known(pair[1])) for values in table)
    return [choice for choice in map(dict, dict.fromkeys(rows)) if _is_field(codebook, choice)]


def _is_known(value: Any) -> bool:
    return value is not None and value == value and value != ""


def _tells_fields_apart(values: np.ndarray) -> bool:
    """Whether a coordinate tells fields apart: it has several values, of four features or more each on average."""
    known = {value for value in values.tolist() if _is_known(value)}
    return 1 < len(known) <= len(values) // 4


def _is_field(codebook: xr.DataArray, choice: dict[str, Any]) -> bool:
    try:
        _place_features(codebook, choice)
    except ParameterError:
        return False
    return True


def _find_coordinate(codebook: xr.DataArray, names: tuple[str, ...]) -> np.ndarray | None:
    """Find the first coordinate along ``feature`` with one of some names; None if there is none."""
    for name, coordinate in codebook.coords.items():
        if str(name).lower() in names and coordinate.dims == ("feature",):
            return np.asarray(coordinate.values, dtype=np.float64)
    return None


def _place_features(
    codebook: xr.DataArray, select: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Place the features of one field on a grid.

    Returns
    -------
    kept : (D,) bool
        Whether a feature belongs to the field.
    index : (n,) int64
        The flat index on the grid of each of these n features.
    lat, lon : float64
        The latitudes and the longitudes of the grid, ascending.
    """
    places = [_find_coordinate(codebook, names) for names in (LATITUDES, LONGITUDES)]
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
    index = at_lat * len(lon) + at_lon
    if len(np.unique(index)) < len(index):
        raise ParameterError("several features lie at one place; choose one field of them by select")
    if min(len(lat), len(lon)) < 2:
        raise ParameterError(f"fields need a grid of two or more lat and lon, got {len(lat)} x {len(lon)}")
    return kept, index, lat, lon


def _arrange_fields(codebook: xr.DataArray, select: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrange the weights as (rows, cols, lat, lon), NaN where no feature lies; and the latitudes and longitudes."""
    kept, index, lat, lon = _place_features(codebook, select)
    weights = codebook.values
    fields = np.full((*weights.shape[:2], len(lat) * len(lon)), np.nan)
    fields[:, :, index] = weights[:, :, kept]
    return fields.reshape(*weights.shape[:2], len(lat), len(lon)), lat, lon
