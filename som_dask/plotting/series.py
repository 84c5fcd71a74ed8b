"""Pictures of nodes in time: their frequencies, the trends of these, and the transitions between nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import GROUND, SEQUENTIAL, draw_nodes
from som_dask.plotting.fields import DIVERGING
from som_dask.plotting.figures import create_map_axes
from som_dask.plotting.maps import plot_values
from som_dask.plotting.profiles import LONGEST, MOST_BARS, NODE_INCHES, draw_bars, draw_lines, measure_box
from som_dask.plotting.texts import clean_text
from som_dask.plotting.values import select_node_values, takes_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_frequencies", "plot_transitions", "plot_trends"]

ROOM = 0.3  # lattice units between the middle of a node and an arrow
MOST_ARROWS = 600
WIDEST = 7.0  # points, of an arrow of probability 1


@takes_epochs
def plot_frequencies(model: xr.Dataset, frequencies: Any, *, ax: Axes | None = None) -> Axes:
    """Draw in each node its share of the samples of each period.

    Up to 12 periods are drawn as bars with a legend, more as a line from the first period on the left to the last.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    frequencies : Dataset or DataArray
        Result of `som_dask.frequencies`, of which ``share (row, col, period)`` is drawn.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If there are not shares for each node, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(2, 3), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.series import plot_frequencies
    >>> years = np.repeat([2001, 2002], 20)
    >>> ax = plot_frequencies(model, som.frequencies(som.infer(colors, model), years, model))
    """
    lattice = lattice_of(model)
    share = _select(frequencies, "share", ("row", "col", "period"), lattice.shape)
    values = share.values.astype(np.float64).reshape(lattice.n_nodes, -1)
    names = [str(name) for name in (share["period"].values if "period" in share.coords else range(values.shape[1]))]
    if share["period"].dtype.kind == "M":
        names = [name[:10] for name in names]
    if ax is None:
        inches = min(max(6.0, NODE_INCHES * max(lattice.shape)), LONGEST)
        ax = create_map_axes(lattice, inches=inches, beside=2.0 if len(names) <= MOST_BARS else 0.4, below=0.5)
    draw_nodes(ax, lattice, facecolors=GROUND, edgecolors="white")
    half_width, half_height = measure_box(lattice)
    most = float(np.max(values, initial=0.0, where=np.isfinite(values)))
    centers = lattice.positions()
    y = centers[:, 1, None] + half_height * (1 - 2 * values / (most or 1.0))  # y grows downwards
    if len(names) <= MOST_BARS:
        draw_bars(ax, names, centers, y, half_width, half_height, _color_periods(share["period"]))
        note = f"each bar from 0 to {most:.1%} of the samples of its period"
    else:
        draw_lines(ax, centers, y, half_width)
        first, last = clean_text(names[0], 24), clean_text(names[-1], 24)
        note = (
            f"{len(names)} periods from {first} (left) to {last} (right),\neach from 0 to {most:.1%} of its samples"
        )
    ax.set_title("frequencies of the nodes")
    ax.annotate(note, (0.5, 0), (0, -4), "axes fraction", "offset points", ha="center", va="top", fontsize=9)
    return ax


def _color_periods(periods: xr.DataArray) -> np.ndarray | None:
    """Return colors from dark to light for numbers and dates; None for periods without such an order."""
    from matplotlib import colormaps

    if periods.dtype.kind not in "iufM":
        return None
    return np.asarray(colormaps[SEQUENTIAL](np.linspace(0.0, 0.92, len(periods))))


@takes_epochs
def plot_trends(model: xr.Dataset, trends: xr.Dataset, *, level: float = 0.05, ax: Axes | None = None) -> Axes:
    """Draw each node in the color of the slope of its share, with a dot where the trend is significant.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    trends : Dataset
        Result of `som_dask.trends`: ``slope`` and ``p_value`` (row, col).
    level : float
        A trend is significant if p is at most so large.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If there is not one slope and one p for each node, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(2, 3), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.series import plot_trends
    >>> by_year = som.frequencies(som.infer(colors, model), np.repeat([2001, 2002, 2003, 2004], 10), model)
    >>> plot_trends(model, som.trends(by_year)).get_title()
    'trends of the frequencies'
    """
    lattice = lattice_of(model)
    slope, p_value = (select_node_values(model, trends, name) for name in ("slope", "p_value"))
    most = float(np.nanmax(np.abs(slope.values), initial=0.0)) or 1.0
    units = str(slope.attrs.get("units", "per unit of time"))
    ax = plot_values(
        model,
        slope,
        title="trends of the frequencies",
        label=f"slope of the share [{units}]",
        cmap=DIVERGING,
        limits=(-most, most),
        ax=ax,
    )
    draw_nodes(ax, lattice, facecolors="none", edgecolors="white")
    x, y = lattice.positions()[p_value.values.ravel() <= level].T
    ax.scatter(x, y, s=28, color="black", edgecolors="white", linewidths=0.8)
    note = f"dots: p of no trend is {level:g} or less"
    ax.annotate(note, (0.0, 0), (0, -4), "axes fraction", "offset points", ha="left", va="top", fontsize=9)
    return ax


@takes_epochs
def plot_transitions(
    model: xr.Dataset, transitions: xr.Dataset, *, least: float = 0.1, ax: Axes | None = None
) -> Axes:
    """Draw which nodes follow each node, as arrows, and how long it lasts, as its color.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    transitions : Dataset
        Result of `som_dask.transitions`.
    least : float
        The least probability of a transition that has an arrow. The width of the arrow is in proportion. Of very
        many the 600 most probable are drawn.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If these are no transitions of this map, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> import xarray as xr
    >>> values = xr.DataArray(np.random.default_rng(0).random((40, 3)), dims=("time", "feature"))
    >>> days = som.open_samples(values, sample_dims="time")
    >>> model = som.train(days, som.Lattice(2, 3), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.series import plot_transitions
    >>> plot_transitions(model, som.transitions(som.infer(days, model), model)).get_title()
    'transitions and persistence'
    """
    lattice = lattice_of(model)
    dims = ("row", "col", "next_row", "next_col")
    probability = _select(transitions, "transition_probability", dims, lattice.shape * 2)
    table = np.nan_to_num(probability.values.reshape(lattice.n_nodes, -1))
    stays = select_node_values(model, transitions, "persistence")
    ax = plot_values(
        model, stays, title="transitions and persistence", label="probability to stay", cmap="Blues", ax=ax
    )
    draw_nodes(ax, lattice, facecolors="none", edgecolors="white")
    np.fill_diagonal(table, 0.0)
    limit = max(least, float(np.sort(table, axis=None)[-min(MOST_ARROWS, table.size)]))
    pairs = np.argwhere((table >= limit) & (table > 0))[:MOST_ARROWS]
    _draw_arrows(ax, lattice.positions(), pairs, table[tuple(pairs.T)])
    note = f"arrows: probability {limit:.2g} or more of the next node, wider if larger"
    ax.annotate(note, (0.0, 0), (0, -4), "axes fraction", "offset points", ha="left", va="top", fontsize=9)
    return ax


def _draw_arrows(ax: Axes, positions: np.ndarray, pairs: np.ndarray, probabilities: np.ndarray) -> None:
    from matplotlib.patches import FancyArrowPatch

    for (node, other), probability in zip(pairs, probabilities, strict=True):
        along = positions[other] - positions[node]
        away = ROOM * along / np.linalg.norm(along)
        # Bent to one side, so that the two arrows between a pair do not cover each other.
        arrow = FancyArrowPatch(
            *(tuple(positions[node] + away), tuple(positions[other] - away)),
            connectionstyle="arc3,rad=0.18",
            arrowstyle="-|>",
            mutation_scale=6 + 10 * float(probability),
            linewidth=max(0.5, WIDEST * float(probability)),
            color="#d55e00",
            alpha=0.85,
            shrinkA=0,
            shrinkB=0,
        )
        ax.add_patch(arrow)


def _select(values: Any, name: str, dims: tuple[str, ...], shape: tuple[int, ...]) -> xr.DataArray:
    """Select a variable with some dimensions, the first of which have the sizes of the map."""
    if isinstance(values, xr.Dataset):
        if name not in values:
            raise ParameterError(f"there is no variable {name} to draw, only {', '.join(map(str, values))}")
        values = values[name]
    if not isinstance(values, xr.DataArray) or set(values.dims) != set(dims):
        raise ParameterError(f"{name} to draw is a DataArray of dimensions {', '.join(dims)}")
    values = values.transpose(*dims)
    if values.shape[: len(shape)] != shape:
        raise ParameterError(f"{name} of shape {values.shape} does not fit the {shape[0]} x {shape[1]} map")
    return values
