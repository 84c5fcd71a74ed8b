"""Pictures of what the nodes stand for: classes of the samples, and clusters of the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import EMPTY, GROUND, add_legend, distinct_colors, draw_nodes, map_figure, node_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["cluster_borders", "cluster_numbers", "plot_clusters", "plot_label_pies", "plot_majority"]

MOST_CLASSES = 20  # colors that can be told apart; rarer classes share one
ARC = np.pi / 24  # longest side of a polygon that stands for a circle
LEAST_PIE = 0.5  # radius of the pie of one sample, of that of the fullest node
OTHER = "#7f7f7f"


def plot_label_pies(model: xr.Dataset, class_count: Any, *, ax: Axes | None = None) -> Axes:
    """Draw in each node a pie of the classes of its samples, the larger the more samples it has.

    Parameters
    ----------
    model : xarray.Dataset
    class_count : DataArray or Dataset
        ``class_count (row, col, class)``, samples of each class; 0 or NaN where there are none. Beyond 20 classes
        the rarest are drawn as one.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If these are not counts for each node and class, or matplotlib is missing.
    """
    from matplotlib.collections import PolyCollection

    counts, names = _class_counts(model, class_count)
    lattice = lattice_of(model)
    ax = map_figure(lattice, beside=2.0) if ax is None else ax
    total = counts.sum(axis=1)
    ground = np.where(total[:, None] > 0, _color(GROUND), _color(EMPTY))
    draw_nodes(ax, lattice, facecolors=ground, edgecolors="white")
    shares = np.divide(counts, total[:, None], out=np.zeros_like(counts), where=total[:, None] > 0)
    fullness = np.sqrt(total / max(total.max(), 1e-300))
    radii = 0.46 * np.where(total > 0, LEAST_PIE + (1 - LEAST_PIE) * fullness, 0.0)
    wedges, kinds = _wedges(lattice, shares, radii)
    colors = distinct_colors(len(names))
    # Edges of the wedges' own color, as in `draw_nodes`.
    ax.add_collection(PolyCollection(wedges, facecolors=colors[kinds], edgecolors="face", linewidths=0.2))
    _class_legend(ax, colors, names)
    ax.set_title("classes per node")
    return ax


def plot_majority(model: xr.Dataset, class_count: Any, *, ax: Axes | None = None) -> Axes:
    """Draw each node in the color of its most frequent class, the paler the less of its samples are of it.

    Parameters
    ----------
    model : xarray.Dataset
    class_count : DataArray or Dataset
        ``class_count (row, col, class)``, as for `plot_label_pies`.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If these are not counts for each node and class, or matplotlib is missing.
    """
    counts, names = _class_counts(model, class_count)
    lattice = lattice_of(model)
    ax = map_figure(lattice, beside=2.0) if ax is None else ax
    total, majority = counts.sum(axis=1), counts.argmax(axis=1)
    purity = np.divide(counts.max(axis=1), total, out=np.zeros(len(total)), where=total > 0)
    colors = distinct_colors(len(names))
    strength = (0.15 + 0.85 * purity)[:, None]
    faces = strength * colors[majority] + (1 - strength)
    draw_nodes(ax, lattice, facecolors=np.where(total[:, None] > 0, faces, _color(EMPTY)))
    _class_legend(ax, colors, names)
    ax.set_title("most frequent class, paler where others mix in")
    return ax


def plot_clusters(model: xr.Dataset, clusters: Any, *, ax: Axes | None = None) -> Axes:
    """Draw each node in the color of its cluster, with the clusters' numbers and the borders between them.

    Parameters
    ----------
    model : xarray.Dataset
    clusters : DataArray, Dataset or array
        ``cluster (row, col)``, whole numbers; negative or NaN for nodes of no cluster, which are light gray.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If the clusters are not one for each node, or matplotlib is missing.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.patheffects import withStroke

    numbers = cluster_numbers(node_values(model, clusters, "cluster"))
    lattice = lattice_of(model)
    ax = map_figure(lattice, beside=0.4) if ax is None else ax
    found = np.unique(numbers[numbers >= 0])
    colors = np.vstack([distinct_colors(len(found)), _color(EMPTY)])
    index = np.where(numbers >= 0, np.searchsorted(found, numbers), len(found))
    draw_nodes(ax, lattice, facecolors=0.75 * colors[index] + 0.25)
    ax.add_collection(LineCollection(list(cluster_borders(lattice, numbers)), colors="black", linewidths=1.6))
    positions = lattice.positions()
    for number in found:
        # On the member nearest to the middle: the middle of a bent cluster may lie in another.
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


def cluster_numbers(clusters: xr.DataArray) -> np.ndarray:
    """The number of each node's cluster, (M,) int64, -1 for none.

    Raises
    ------
    ParameterError
        If they are no whole numbers.
    """
    values = np.asarray(clusters.values)
    if values.dtype.kind not in "iuf":
        raise ParameterError(f"clusters are whole numbers, got {values.dtype}")
    values = values.astype(np.float64).ravel()
    known = np.isfinite(values) & (values >= 0)
    if np.any(values[known] != np.round(values[known])):
        raise ParameterError("clusters are whole numbers, got fractions")
    return np.where(known, values, -1).astype(np.int64)


def cluster_borders(lattice: Lattice, numbers: np.ndarray) -> np.ndarray:
    """The sides between neighboring nodes of different clusters, on the lattice cut open to a sheet.

    Parameters
    ----------
    lattice : Lattice
    numbers : (M,) int64

    Returns
    -------
    (n, 2, 2) float64
        Ends of each side, x and y in lattice units.
    """
    sheet = Lattice(lattice.rows, lattice.cols, lattice.topology)
    first, second = sheet.neighbor_pairs()
    positions = sheet.positions()
    between = positions[second] - positions[first]
    straight = np.sum(between**2, axis=1) < 1.1  # on a square lattice diagonal neighbors share no side
    keep = (first < second) & straight & (numbers[first] != numbers[second])
    middle = (positions[first] + positions[second])[keep] / 2
    half = 0.5 / np.sqrt(3.0) if lattice.topology == "hexagonal" else 0.5
    along = half * between[keep][:, ::-1] * np.array([-1.0, 1.0])
    return np.stack([middle - along, middle + along], axis=1)


def _class_counts(model: xr.Dataset, class_count: Any) -> tuple[np.ndarray, list[str]]:
    """Counts as (M, classes) float64 with 0 for NaN, and the names; the rarest of too many classes joined."""
    if isinstance(class_count, xr.Dataset):
        if "class_count" not in class_count:
            raise ParameterError(f"there is no variable class_count, only {', '.join(map(str, class_count))}")
        class_count = class_count["class_count"]
    dims = ("row", "col", "class")
    if not isinstance(class_count, xr.DataArray) or set(class_count.dims) != set(dims):
        raise ParameterError(f"class counts are a DataArray of dimensions {', '.join(dims)}")
    lattice = lattice_of(model)
    array = class_count.transpose(*dims)
    if array.shape[:2] != lattice.shape or not array.shape[2]:
        raise ParameterError(
            f"class counts of shape {array.shape} do not fit the {lattice.rows} x {lattice.cols} map"
        )
    counts = np.nan_to_num(array.values.astype(np.float64)).reshape(lattice.n_nodes, -1)
    if np.any(counts < 0):
        raise ParameterError("class counts must not be negative")
    known = "class" in array.coords
    names = [str(name) for name in (array["class"].values if known else range(array.shape[2]))]
    if len(names) > MOST_CLASSES:
        order = np.argsort(-counts.sum(axis=0), kind="stable")
        kept, rest = np.sort(order[: MOST_CLASSES - 1]), order[MOST_CLASSES - 1 :]
        counts = np.column_stack([counts[:, kept], counts[:, rest].sum(axis=1)])
        names = [names[i] for i in kept] + [f"{len(rest)} rarer classes"]
    return counts, names


def _color(name: str) -> np.ndarray:
    from matplotlib.colors import to_rgba

    return np.array(to_rgba(name))


def _class_legend(ax: Axes, colors: np.ndarray, names: list[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=tuple(color)) for color in (*colors, _color(EMPTY))]
    add_legend(ax, handles, [*names, "no samples"])


def _wedges(lattice: Lattice, shares: np.ndarray, radii: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """The wedges of the pies, clockwise from the top, and the class of each."""
    stops = np.cumsum(shares, axis=1)
    wedges, kinds = [], []
    centers = lattice.positions()
    for node, kind in np.argwhere(shares > 0):
        start, stop = 2 * np.pi * (stops[node, kind] - shares[node, kind]), 2 * np.pi * stops[node, kind]
        angle = np.linspace(start, stop, max(int(np.ceil((stop - start) / ARC)), 1) + 1)
        arc = centers[node] + radii[node] * np.stack([np.sin(angle), -np.cos(angle)], axis=1)  # y grows downwards
        whole = shares[node, kind] > 1 - 1e-12
        wedges.append(arc if whole else np.vstack([centers[node], arc]))
        kinds.append(kind)
    return wedges, np.array(kinds, dtype=np.int64)
