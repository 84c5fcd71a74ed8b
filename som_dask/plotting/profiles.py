"""Pictures of the codebook as profiles: all features of a node, or of a cluster of nodes, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import (
    GROUND,
    add_legend,
    brief_names,
    distinct_colors,
    draw_nodes,
    map_figure,
    new_figure,
    node_values,
    plain_text,
)
from som_dask.plotting.classes import cluster_numbers
from som_dask.plotting.planes import feature_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_cluster_profiles", "plot_profiles", "relative_weights"]

MOST_BARS = 12  # features drawn as bars, in a color each; more are drawn as a line
MOST_TICKS = 60
MOST_BANDS = 4  # more clusters are lines only
NODE_INCHES, LONGEST = 0.55, 14.0


def relative_weights(model: xr.Dataset) -> np.ndarray:
    """The weights with each feature from 0, its least over the map, to 1, its greatest.

    Returns
    -------
    (M, D) float64
        0.5 where a feature is the same at all nodes, NaN where it is not known.
    """
    weights = model["codebook"].transpose("row", "col", "feature").values.astype(np.float64)
    weights = weights.reshape(-1, weights.shape[-1])
    low = np.min(weights, axis=0, initial=np.inf, where=np.isfinite(weights))
    high = np.max(weights, axis=0, initial=-np.inf, where=np.isfinite(weights))
    varies = high > low
    low, span = np.where(varies, low, 0.0), np.where(varies, high - low, 1.0)
    return np.where(varies, (weights - low) / span, np.where(np.isfinite(weights), 0.5, np.nan))


def plot_profiles(model: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw in each node its weights of all features, each relative to the feature's range over the map.

    Up to 12 features are bars with a legend; more are a line, from the first feature on the left to the last.

    Parameters
    ----------
    model : xarray.Dataset
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If matplotlib is missing.
    """
    lattice = lattice_of(model)
    names, weights = feature_names(model), relative_weights(model)
    if ax is None:
        inches = min(max(6.0, NODE_INCHES * max(lattice.shape)), LONGEST)
        ax = map_figure(lattice, inches=inches, beside=2.0 if len(names) <= MOST_BARS else 0.4, below=0.5)
    draw_nodes(ax, lattice, facecolors=GROUND, edgecolors="white")
    # Half the width and height of a box that fits into a node.
    half_width, half_height = (0.38, 0.34) if lattice.topology == "hexagonal" else (0.4, 0.4)
    centers = lattice.positions()
    y = centers[:, 1, None] + half_height * (1 - 2 * weights)  # y grows downwards
    if len(names) <= MOST_BARS:
        _bars(ax, names, centers, y, half_width, half_height)
        note = "each bar from the least to the greatest weight of its feature on the map"
    else:
        _lines(ax, centers, y, half_width)
        first, last = plain_text(names[0], 24), plain_text(names[-1], 24)
        note = f"{len(names)} features from {first} (left) to {last} (right),\neach from its least to its greatest"
    ax.set_title("codebook profiles")
    ax.annotate(note, (0.5, 0), (0, -4), "axes fraction", "offset points", ha="center", va="top", fontsize=9)
    return ax


def _bars(ax: Axes, names: list[str], centers: np.ndarray, y: np.ndarray, half_width: float, half: float) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Patch

    width = 2 * half_width / len(names)
    left = centers[:, 0, None] - half_width + width * np.arange(len(names))
    bottom = np.broadcast_to(centers[:, 1, None] + half, y.shape)
    top = np.minimum(y, bottom - 0.02)  # the least weight is still to be seen
    corners = [(left, bottom), (left, top), (left + 0.9 * width, top), (left + 0.9 * width, bottom)]
    bars = np.stack([np.stack(corner, axis=-1) for corner in corners], axis=-2)
    colors = distinct_colors(len(names))
    known = np.isfinite(y)
    kinds = np.broadcast_to(np.arange(len(names)), y.shape)[known]
    ax.add_collection(PolyCollection(list(bars[known]), facecolors=colors[kinds], edgecolors="none"))
    handles = [Patch(color=tuple(color)) for color in colors]
    add_legend(ax, handles, names)


def _lines(ax: Axes, centers: np.ndarray, y: np.ndarray, half_width: float) -> None:
    from matplotlib.collections import LineCollection

    x = centers[:, 0, None] + half_width * np.linspace(-1, 1, y.shape[1])
    lines = np.stack([x, y], axis=-1)
    ax.add_collection(LineCollection(list(lines), colors="#31688e", linewidths=0.9))


def plot_cluster_profiles(model: xr.Dataset, clusters: Any, *, ax: Axes | None = None) -> Axes:
    """Draw for each cluster of nodes the mean weight of each feature, relative to the feature's range over the map.

    Parameters
    ----------
    model : xarray.Dataset
    clusters : DataArray, Dataset or array
        ``cluster (row, col)``, whole numbers; negative or NaN for nodes of no cluster.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        A line for each cluster and, of up to 4, a band from the least to the greatest of its nodes.

    Raises
    ------
    ParameterError
        If the clusters are not one for each node, or matplotlib is missing.
    """
    numbers = cluster_numbers(node_values(model, clusters, "cluster"))
    names, weights = feature_names(model), relative_weights(model)
    if ax is None:
        width = min(max(6.0, 0.28 * len(names) + 2.0), LONGEST)
        ax = new_figure(width, 4.4, "constrained").subplots()
    at = np.arange(len(names))
    found = [int(number) for number in np.unique(numbers) if number >= 0]
    handles = []
    for number, color in zip(found, distinct_colors(len(found)), strict=True):
        members = weights[numbers == number]
        (line,) = ax.plot(at, members.mean(axis=0), color=tuple(color), marker="o", markersize=3)
        if len(found) <= MOST_BANDS:
            ax.fill_between(at, members.min(axis=0), members.max(axis=0), color=tuple(color), alpha=0.1, linewidth=0)
        handles.append(line)
    step = -(-len(names) // MOST_TICKS)
    shown = at[::step]
    turned: dict[str, Any] = {"rotation": 90, "fontsize": 9 if len(shown) <= 30 else 7}
    if len(shown) <= MOST_BARS:
        turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    ticks, parts = brief_names([names[i] for i in shown], 20)
    ax.set_xticks(shown, [plain_text(tick, 20) for tick in ticks], **turned)
    ax.set_xlabel(plain_text(parts, 80))
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel("weight, 0 the least and 1 the greatest\nof its feature on the map", fontsize=9)
    ax.set_title("profiles of the clusters")
    ax.grid(color="#e5e5e5", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if handles:
        add_legend(ax, handles, [f"cluster {number}" for number in found])
    return ax
