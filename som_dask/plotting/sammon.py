"""The picture of a Sammon map: the nodes where their weights lie, with the lines of the lattice between them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import SEQUENTIAL
from som_dask.plotting.figures import create_figure
from som_dask.plotting.texts import clean_text, make_caption
from som_dask.plotting.values import select_node_values, takes_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_sammon"]

MOST_NAMES = 64  # nodes that are named by row and column
SIDES = 1.1  # lattice units; farther neighbors, across a corner, have no line


@takes_epochs
def plot_sammon(model: xr.Dataset, sammon: xr.Dataset, values: Any = "u_matrix", *, ax: Axes | None = None) -> Axes:
    """Draw the nodes at their places in a Sammon map, joined by the lines of the lattice.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    sammon : xarray.Dataset
        Result of `som_dask.sammon`.
    values : str, DataArray or array
        What the nodes are colored by: the name of a variable of the model, or values of each node (row, col).
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Up to 64 nodes are named by their row and column.

    Raises
    ------
    ParameterError
        If there is not one place or value for each node, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.sammon import plot_sammon
    >>> plot_sammon(model, som.sammon(model), "hits").get_title()
    'Sammon map'
    """
    from matplotlib.collections import LineCollection

    lattice = lattice_of(model)
    places = [select_node_values(model, sammon, name).values.ravel() for name in ("sammon_x", "sammon_y")]
    points, array = np.stack(places, axis=1), select_node_values(model, values)
    if ax is None:
        ax = create_figure(7.2, 5.6, "constrained").subplots()
    first, second = _join_neighbors(lattice)
    lines = np.stack([points[first], points[second]], axis=1)
    ax.add_collection(LineCollection(list(lines), colors="#8c8c8c", linewidths=0.9, zorder=1))
    size = np.clip(6000 / lattice.n_nodes, 8, 90)
    nodes = ax.scatter(
        points[:, 0],
        points[:, 1],
        c=array.values.ravel().astype(np.float64),
        s=size,
        cmap=SEQUENTIAL,
        zorder=2,
        plotnonfinite=True,
    )
    if lattice.n_nodes <= MOST_NAMES:
        for node, place in enumerate(points):
            row, col = divmod(node, lattice.cols)
            ax.annotate(f"{row},{col}", tuple(place), (5, 5), textcoords="offset points", fontsize=8)
    ax.set_aspect("equal")
    ax.margins(0.08)
    ax.invert_yaxis()  # row 0 on top, as in the other pictures
    ax.set_xticks([])
    ax.set_yticks([])
    bar = ax.figure.colorbar(nodes, ax=ax, shrink=0.7)
    bar.set_label("\n".join(textwrap.wrap(clean_text(make_caption(array), 120), 40)))
    ax.set_title("Sammon map")
    if "stress" in sammon:
        ax.set_xlabel(f"stress {float(sammon['stress']):.3g}", fontsize=9)
    return ax


def _join_neighbors(lattice: Lattice) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of neighbors that share a side, each once."""
    first, second = lattice.neighbor_pairs()
    keep = (first < second) & (lattice.squared_distances(first, second) < SIDES**2)
    return first[keep], second[keep]
