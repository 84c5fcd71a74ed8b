"""Pictures of composites: other fields on the days of each node, stippled where they differ from the other days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import EMPTY
from som_dask.plotting.fields import DIVERGING, LATITUDES, LONGITUDES, SMALL, add_shared_colorbar, choose_nodes
from som_dask.plotting.figures import create_panels
from som_dask.plotting.texts import clean_text, make_caption
from som_dask.plotting.values import find_range, takes_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_composites"]

MOST_DOTS = 36  # along a side; of a finer field every second, third ... place is stippled


@takes_epochs
def plot_composites(
    model: xr.Dataset,
    composites: xr.Dataset,
    nodes: Sequence[tuple[int, int]] | None = None,
    *,
    select: dict[str, Any] | None = None,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw the composite of each node as a field, with dots where it is significant.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    composites : xarray.Dataset
        Result of `som_dask.composites`: ``composite`` and ``significant`` on (row, col) and two other dimensions.
    nodes : sequence of (row, col), optional
        The nodes to draw. By default all nodes of a map of up to 48, arranged as on the lattice; of a larger map
        evenly spaced ones.
    select : dict, optional
        Values of further dimensions, such as ``{"level": 500}``, that choose one of several fields.
    axes : sequence of matplotlib Axes, optional
        Axes for each node; by default those of a new figure.

    Returns
    -------
    (nodes,) array of matplotlib.axes.Axes
        The colors have the same range on all of them, and white is no difference from the mean of all days.

    Raises
    ------
    ParameterError
        If these are no composites of this map with two dimensions, there is no such node, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> import xarray as xr
    >>> heights = xr.DataArray(np.random.default_rng(0).normal(size=(90, 3, 4)), dims=("time", "lat", "lon"))
    >>> days = som.open_samples(heights, sample_dims="time")
    >>> model = som.train(days, som.Lattice(2, 2), som.MapConfig(epochs=3))
    >>> found = som.composites(som.infer(days, model), heights, model, test="permutation", permutations=19)
    >>> from som_dask.plotting.composites import plot_composites
    >>> len(plot_composites(model, found))
    4
    """
    shape = lattice_of(model).shape
    values, significant = _select_fields(composites, shape, select or {})
    nodes, columns = choose_nodes(shape, nodes)
    y, x = (_places_of(values, str(dim)) for dim in values.dims[2:])
    low, high = find_range(np.stack([values.values[row, col] for row, col in nodes]))
    most = max(-low, high) or 1.0
    colors: dict[str, Any] = {"cmap": DIVERGING, "vmin": -most, "vmax": most}
    tall = float(np.clip(np.ptp(y) / max(np.ptp(x), 1e-9), 0.3, 1.5))
    panels = create_panels(len(nodes), columns, tall, "", axes, beside=0.0, what="composites")
    every = max(-(-len(y) // MOST_DOTS), -(-len(x) // MOST_DOTS))
    for ax, (row, col) in zip(panels, nodes, strict=True):
        field = np.ma.masked_invalid(values.values[row, col])
        mesh = ax.pcolormesh(x, y, field, shading="nearest", rasterized=True, **colors)
        at_y, at_x = np.nonzero(significant.values[row, col][::every, ::every])
        ax.scatter(x[::every][at_x], y[::every][at_y], s=1.6, color="black", linewidths=0)
        ax.set_facecolor(EMPTY)
        ax.set_title(f"{row}, {col}", fontsize=SMALL, pad=2)
        ax.set_xticks([])
        ax.set_yticks([])
    bar = add_shared_colorbar(panels, mesh, is_own_figure=axes is None)
    bar.set_label(clean_text(make_caption(values), 80))
    return panels


def _select_fields(
    composites: xr.Dataset, shape: tuple[int, int], select: dict[str, Any]
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return composites and their significance, (row, col, y, x)."""
    if not isinstance(composites, xr.Dataset) or not {"composite", "significant"} <= set(composites):
        raise ParameterError(
            "composites to draw are a Dataset with composite and significant, as som_dask.composites"
        )
    try:
        chosen = composites[["composite", "significant"]].sel(select)
    except (KeyError, ValueError) as error:
        raise ParameterError(f"the composites have nothing at {select}") from error
    values = chosen["composite"]
    others = [str(dim) for dim in values.dims if dim not in ("row", "col")]
    if len(others) != 2:
        raise ParameterError(f"composites to draw have two dimensions beside row and col, got {others}; use select")
    if tuple(values.sizes[dim] for dim in ("row", "col")) != shape:
        raise ParameterError(f"the composites are not of a {shape[0]} x {shape[1]} map; give the model of the labels")
    if others[0].lower() in LONGITUDES or others[1].lower() in LATITUDES:
        others.reverse()
    chosen = chosen.transpose("row", "col", *others).compute()
    return chosen["composite"], chosen["significant"]


def _places_of(values: xr.DataArray, dim: str) -> np.ndarray:
    """Return where the values lie along a dimension: its coordinate if that is of numbers, or else 0, 1, 2 ..."""
    numbers = dim in values.coords and values[dim].dtype.kind in "iuf"
    return np.asarray(values[dim].values if numbers else np.arange(values.sizes[dim]), dtype=np.float64)
