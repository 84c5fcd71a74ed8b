"""Pictures of what the nodes stand for: the classes of their samples, and the clusters of the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import EMPTY, GROUND, add_legend, choose_colors, draw_nodes
from som_dask.plotting.figures import create_map_axes
from som_dask.plotting.values import select_class_counts, select_cluster_numbers, takes_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["find_cluster_borders", "plot_clusters", "plot_label_pies", "plot_majority"]

ARC = np.pi / 24  # angle of the longest side of a polygon that stands for a circle, in radians
PIE_RADIUS = 0.46  # of the fullest node, in lattice units
LEAST_PIE = 0.5  # radius of the smallest pie, relative to that of the fullest node


@takes_epochs
def plot_label_pies(model: xr.Dataset, class_count: Any, *, ax: Axes | None = None) -> Axes:
    """Draw in each node a pie of the classes of its samples; larger pies have more samples.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    class_count : DataArray or Dataset
        ``class_count (row, col, class)``: the number of samples of each class, 0 or NaN where there are none. Of more
        than 20 classes the rarest are drawn as one.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If these are not counts for each node and class, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.classes import plot_label_pies
    >>> shades = np.where(colors.mean(axis=1) > 0.5, "light", "dark")
    >>> counts = som.summarize_labels(som.infer(colors, model), shades, model)
    >>> ax = plot_label_pies(model, counts)
    """
    from matplotlib.collections import PolyCollection

    counts, names = select_class_counts(model, class_count)
    lattice = lattice_of(model)
    ax = create_map_axes(lattice, beside=2.0) if ax is None else ax
    total = counts.sum(axis=1)
    ground = np.where(total[:, None] > 0, _to_rgba(GROUND), _to_rgba(EMPTY))
    draw_nodes(ax, lattice, facecolors=ground, edgecolors="white")
    shares = np.divide(counts, total[:, None], out=np.zeros_like(counts), where=total[:, None] > 0)
    fullness = np.sqrt(total / max(total.max(), 1e-300))
    radii = PIE_RADIUS * np.where(total > 0, LEAST_PIE + (1 - LEAST_PIE) * fullness, 0.0)
    wedges, kinds = _make_wedges(lattice, shares, radii)
    colors = choose_colors(len(names))
    # Edges of the wedges' own color, as in `draw_nodes`.
    ax.add_collection(PolyCollection(wedges, facecolors=colors[kinds], edgecolors="face", linewidths=0.2))
    _add_class_legend(ax, colors, names)
    ax.set_title("classes per node")
    return ax


@takes_epochs
def plot_majority(model: xr.Dataset, class_count: Any, *, ax: Axes | None = None) -> Axes:
    """Draw each node in the color of its most frequent class; paler nodes have more samples of other classes.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    class_count : DataArray or Dataset
        ``class_count (row, col, class)``, as for `plot_label_pies`.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If these are not counts for each node and class, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.classes import plot_majority
    >>> shades = np.where(colors.mean(axis=1) > 0.5, "light", "dark")
    >>> counts = som.summarize_labels(som.infer(colors, model), shades, model)
    >>> ax = plot_majority(model, counts)
    """
    counts, names = select_class_counts(model, class_count)
    lattice = lattice_of(model)
    ax = create_map_axes(lattice, beside=2.0) if ax is None else ax
    total, majority = counts.sum(axis=1), counts.argmax(axis=1)
    purity = np.divide(counts.max(axis=1), total, out=np.zeros(len(total)), where=total > 0)
    colors = choose_colors(len(names))
    strength = (0.15 + 0.85 * purity)[:, None]
    faces = strength * colors[majority] + (1 - strength)
    draw_nodes(ax, lattice, facecolors=np.where(total[:, None] > 0, faces, _to_rgba(EMPTY)))
    _add_class_legend(ax, colors, names)
    ax.set_title("most frequent class, paler where others mix in")
    return ax


@takes_epochs
def plot_clusters(model: xr.Dataset, clusters: Any, *, ax: Axes | None = None) -> Axes:
    """Draw each node in the color of its cluster, with the numbers of the clusters and the borders between them.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    clusters : DataArray, Dataset or array
        ``cluster (row, col)``, whole numbers; negative or NaN for nodes of no cluster, which are light gray.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

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
    >>> from som_dask.plotting.classes import plot_clusters
    >>> plot_clusters(model, som.clusters(model, 2)).get_title()
    '2 clusters of the nodes'
    """
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke

    numbers = select_cluster_numbers(model, clusters)
    lattice = lattice_of(model)
    ax = create_map_axes(lattice, beside=0.4) if ax is None else ax
    found = np.unique(numbers[numbers >= 0])
    colors = np.vstack([choose_colors(len(found)), _to_rgba(EMPTY)])
    index = np.where(numbers >= 0, np.searchsorted(found, numbers), len(found))
    draw_nodes(ax, lattice, facecolors=0.75 * colors[index] + 0.25)
    ax.add_collection(LineCollection(list(find_cluster_borders(lattice, numbers)), colors="black", linewidths=1.6))
    positions = lattice.positions()
    for number in found:
        # The number stands on the node nearest to the middle, as the middle of a bent cluster may lie in another.
        members = positions[numbers == number]
        x, y = members[np.argmin(np.sum((members - members.mean(axis=0)) ** 2, axis=1))]
        ax.text(
            x,
            y,
            str(number),
            ha="center",
            va="center_baseline",
            fontsize=11,
            fontweight="bold",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )
    ax.set_title(f"{len(found)} cluster{'s' * (len(found) != 1)} of the nodes")
    return ax


def find_cluster_borders(lattice: Lattice, numbers: np.ndarray) -> np.ndarray:
    """Find the sides between neighboring nodes of different clusters.

    Parameters
    ----------
    lattice : Lattice
        A lattice that wraps is cut open to a sheet.
    numbers : (M,) int64
        The cluster of each node.

    Returns
    -------
    (n, 2, 2) float64
        x and y of both ends of each side, in lattice units.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> from som_dask.plotting.classes import find_cluster_borders
    >>> find_cluster_borders(som.Lattice(1, 2), np.array([0, 1])).round(3).tolist()
    [[[0.5, -0.289], [0.5, 0.289]]]
    """
    sheet = Lattice(lattice.rows, lattice.cols, lattice.topology)
    first, second = sheet.neighbor_pairs()
    positions = sheet.positions()
    between = positions[second] - positions[first]
    straight = np.sum(between**2, axis=1) < 1.1  # diagonal neighbors on a rectangular lattice share no side
    keep = (first < second) & straight & (numbers[first] != numbers[second])
    middle = (positions[first] + positions[second])[keep] / 2
    half = 0.5 / np.sqrt(3.0) if lattice.topology == "hexagonal" else 0.5
    along = half * between[keep][:, ::-1] * np.array([-1.0, 1.0])
    return np.stack([middle - along, middle + along], axis=1)


def _to_rgba(name: str) -> np.ndarray:
    from matplotlib.colors import to_rgba

    return np.array(to_rgba(name))


def _add_class_legend(ax: Axes, colors: np.ndarray, names: list[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=tuple(color)) for color in (*colors, _to_rgba(EMPTY))]
    add_legend(ax, handles, [*names, "no samples"])


def _make_wedges(lattice: Lattice, shares: np.ndarray, radii: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Make the wedges of the pies, clockwise from the top, and the index of the class of each."""
    stops = np.cumsum(shares, axis=1)
    wedges, kinds = [], []
    centers = lattice.positions()
    for node, kind in np.argwhere(shares > 0):
        start, stop = 2 * np.pi * (stops[node, kind] - shares[node, kind]), 2 * np.pi * stops[node, kind]
        angle = np.linspace(start, stop, max(int(np.ceil((stop - start) / ARC)), 1) + 1)
        arc = centers[node] + radii[node] * np.stack([np.sin(angle), -np.cos(angle)], axis=1)  # y grows downwards
        is_full = shares[node, kind] > 1 - 1e-12
        wedges.append(arc if is_full else np.vstack([centers[node], arc]))
        kinds.append(kind)
    return wedges, np.array(kinds, dtype=np.int64)
