"""Profiles: pictures of the weights of all features, of each node or of each cluster of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import GROUND, add_legend, choose_colors, draw_nodes
from som_dask.plotting.figures import create_figure, create_map_axes
from som_dask.plotting.texts import clean_text, shorten_names
from som_dask.plotting.values import (
    compute_relative_weights,
    list_feature_names,
    select_cluster_numbers,
    takes_epochs,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_cluster_profiles", "plot_profiles"]

MOST_BARS = 12  # more features are drawn as a line, not as a bar each
MOST_TICKS = 60
MOST_BANDS = 4  # more clusters are drawn as lines without bands
NODE_INCHES, LONGEST = 0.55, 14.0  # inches: a node, unless the longer side of the picture is then too long


@takes_epochs
def plot_profiles(model: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw in each node its weights of all features, relative to the range of each feature on the map.

    Up to 12 features are drawn as bars with a legend, more as a line from the first feature on the left to the last.

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
    >>> from som_dask.plotting.profiles import plot_profiles
    >>> ax = plot_profiles(model)
    """
    lattice = lattice_of(model)
    names, weights = list_feature_names(model), compute_relative_weights(model)
    if ax is None:
        inches = min(max(6.0, NODE_INCHES * max(lattice.shape)), LONGEST)
        ax = create_map_axes(lattice, inches=inches, beside=2.0 if len(names) <= MOST_BARS else 0.4, below=0.5)
    draw_nodes(ax, lattice, facecolors=GROUND, edgecolors="white")
    half_width, half_height = measure_box(lattice)
    centers = lattice.positions()
    y = centers[:, 1, None] + half_height * (1 - 2 * weights)  # y grows downwards
    if len(names) <= MOST_BARS:
        draw_bars(ax, names, centers, y, half_width, half_height)
        note = "each bar from the least to the greatest weight of its feature on the map"
    else:
        draw_lines(ax, centers, y, half_width)
        first, last = clean_text(names[0], 24), clean_text(names[-1], 24)
        note = f"{len(names)} features from {first} (left) to {last} (right),\neach from its least to its greatest"
    ax.set_title("codebook profiles")
    ax.annotate(note, (0.5, 0), (0, -4), "axes fraction", "offset points", ha="center", va="top", fontsize=9)
    return ax


def measure_box(lattice: Lattice) -> tuple[float, float]:
    """Return half the width and half the height of a box that fits into a node, in lattice units."""
    return (0.38, 0.34) if lattice.topology == "hexagonal" else (0.4, 0.4)


def draw_bars(
    ax: Axes,
    names: list[str],
    centers: np.ndarray,
    y: np.ndarray,
    half_width: float,
    half_height: float,
    colors: np.ndarray | None = None,
) -> None:
    """Draw bars up to y (M, n) from the bottom of a box around each center, with a legend of their names."""
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Patch

    width = 2 * half_width / len(names)
    left = centers[:, 0, None] - half_width + width * np.arange(len(names))
    bottom = np.broadcast_to(centers[:, 1, None] + half_height, y.shape)
    top = np.minimum(y, bottom - 0.02)  # the bar of the least weight can be seen too
    corners = [(left, bottom), (left, top), (left + 0.9 * width, top), (left + 0.9 * width, bottom)]
    bars = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=-2)
    colors = choose_colors(len(names)) if colors is None else colors
    known = np.isfinite(y)
    kinds = np.broadcast_to(np.arange(len(names)), y.shape)[known]
    ax.add_collection(PolyCollection(list(bars[known]), facecolors=colors[kinds], edgecolors="none"))
    handles = [Patch(color=tuple(color)) for color in colors]
    add_legend(ax, handles, names)


def draw_lines(ax: Axes, centers: np.ndarray, y: np.ndarray, half_width: float) -> None:
    """Draw a line through y (M, n) across a box around each center."""
    from matplotlib.collections import LineCollection

    x = centers[:, 0, None] + half_width * np.linspace(-1, 1, y.shape[1])
    lines = np.stack([x, y], axis=-1)
    ax.add_collection(LineCollection(list(lines), colors="#31688e", linewidths=0.9))


@takes_epochs
def plot_cluster_profiles(model: xr.Dataset, clusters: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the mean weights of each cluster of nodes, relative to the range of each feature on the map.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    clusters : DataArray, Dataset or array
        ``cluster (row, col)``, whole numbers; negative or NaN for nodes of no cluster.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        They have a line for each cluster. If there are up to 4, each also has a band from the least to the greatest
        weight of its nodes.

    Raises
    ------
    ParameterError
        If there is not one whole number for each node, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.profiles import plot_cluster_profiles
    >>> len(plot_cluster_profiles(model, som.clusters(model, 2)).lines)
    2
    """
    numbers = select_cluster_numbers(model, clusters)
    names, weights = list_feature_names(model), compute_relative_weights(model)
    if ax is None:
        width = min(max(6.0, 0.28 * len(names) + 2.0), LONGEST)
        ax = create_figure(width, 4.4, "constrained").subplots()
    at = np.arange(len(names))
    found = [int(number) for number in np.unique(numbers) if number >= 0]
    handles = []
    for number, color in zip(found, choose_colors(len(found)), strict=True):
        members = weights[numbers == number]
        (line,) = ax.plot(at, members.mean(axis=0), color=tuple(color), marker="o", markersize=3)
        if len(found) <= MOST_BANDS:
            ax.fill_between(at, members.min(axis=0), members.max(axis=0), color=tuple(color), alpha=0.1, linewidth=0)
        handles.append(line)
    _name_features(ax, names)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("weight, 0 the least and 1 the greatest\nof its feature on the map", fontsize=9)
    ax.set_title("profiles of the clusters")
    ax.grid(color="#e5e5e5", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if handles:
        add_legend(ax, handles, [f"cluster {number}" for number in found])
    return ax


def _name_features(ax: Axes, names: list[str]) -> None:
    """Name the features on the x axis, or evenly spaced ones if there is no room for all."""
    at = np.arange(0, len(names), -(-len(names) // MOST_TICKS))
    style: dict[str, Any] = {"rotation": 90, "fontsize": 9 if len(at) <= 30 else 7}
    if len(at) <= MOST_BARS:
        style = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    ticks, parts = shorten_names([names[i] for i in at], 20)
    ax.set_xticks(at, [clean_text(tick, 20) for tick in ticks], **style)
    ax.set_xlabel(clean_text(parts, 80))
    ax.set_xlim(-0.5, len(names) - 0.5)
