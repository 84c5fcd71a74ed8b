"""Pictures of reference samples on the map: where they lie, how a value is distributed there, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import EMPTY, GROUND, add_colorbar, add_legend, draw_nodes
from som_dask.plotting.figures import create_figure, create_map_axes, is_wide
from som_dask.plotting.texts import clean_text, make_caption
from som_dask.plotting.values import select_node_values, takes_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_coverage", "plot_distribution", "plot_histograms"]

UNCOVERED, ALONE = "#d55e00", "#ffffff"
NODE_INCHES, LONGEST = 0.55, 14.0  # inches: a node, unless the longer side of the picture is then too long


@takes_epochs
def plot_coverage(model: xr.Dataset, coverage: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw which nodes with target samples have reference samples, in the color of the target count.

    Nodes with target but without reference samples are orange, nodes with reference samples only are white, and nodes
    without any sample are light gray.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    coverage : xarray.Dataset
        Result of `som_dask.coverage`.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If these are not counts for each node, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.calibration import plot_coverage
    >>> found = som.coverage(som.infer(colors[:9], model), som.infer(colors, model), model)
    >>> ax = plot_coverage(model, found)
    """
    from matplotlib.patches import Patch

    reference, target = (
        select_node_values(model, coverage, name).values.ravel() for name in ("reference_count", "target_count")
    )
    lattice = lattice_of(model)
    ax = create_map_axes(lattice, beside=2.0 if is_wide(lattice) else 1.2, below=0.9) if ax is None else ax
    both, ground = (reference > 0) & (target > 0), np.full(lattice.n_nodes, EMPTY, dtype=object)
    ground[(reference > 0) & (target == 0)] = ALONE
    ground[(reference == 0) & (target > 0)] = UNCOVERED
    draw_nodes(ax, lattice, facecolors=list(ground), edgecolors=EMPTY)
    if both.any():
        nodes = draw_nodes(ax, lattice, array=np.where(both, target, np.nan))
        nodes.set_cmap(nodes.get_cmap().with_extremes(bad="none"))  # the ground shows
        add_colorbar(ax, nodes, lattice, make_caption(coverage["target_count"]))
    handles = [Patch(facecolor=color, edgecolor="#808080") for color in (UNCOVERED, ALONE, EMPTY)]
    names = ["target, no reference", "reference, no target", "no samples"]
    if is_wide(lattice):  # the colorbar is below
        add_legend(ax, handles, names)
    else:
        ax.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0), frameon=False, fontsize=9, ncols=1)
    total = float(target.sum())
    share = float(target[reference > 0].sum()) / total if total > 0 else 0.0
    ax.set_title(f"{share:.1%} of the target lies on covered nodes")
    return ax


@takes_epochs
def plot_histograms(model: xr.Dataset, histograms: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draw in each node the histogram of its values, from the first bin on the left to the last.

    The bars are as high as the density in the bin, relative to the highest of the node. Nodes without values in the
    bins are gray.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    histograms : xarray.Dataset
        Result of `som_dask.summarize_histograms`.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If these are not histograms of each node, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.calibration import plot_histograms
    >>> ax = plot_histograms(model, som.summarize_histograms(som.infer(colors, model), colors[:, 0], model))
    """
    from matplotlib.collections import PolyCollection

    counts, edges = _select_bins(histograms, ("row", "col", "bin"))
    lattice = lattice_of(model)
    if counts.shape[:2] != lattice.shape:
        raise ParameterError(
            f"histograms of {counts.shape[0]} x {counts.shape[1]} nodes do not fit the {lattice.rows} x "
            f"{lattice.cols} map"
        )
    if ax is None:
        inches = min(max(6.0, NODE_INCHES * max(lattice.shape)), LONGEST)
        ax = create_map_axes(lattice, inches=inches, beside=0.4, below=0.5)
    heights = counts.reshape(lattice.n_nodes, -1) / np.diff(edges)
    highest = heights.max(axis=1)
    some = highest > 0
    draw_nodes(ax, lattice, facecolors=[GROUND if each else EMPTY for each in some], edgecolors="white")
    # Half the width and height of a box that fits into a node.
    half_width, half_height = (0.38, 0.34) if lattice.topology == "hexagonal" else (0.4, 0.4)
    at = half_width * (2 * (edges - edges[0]) / (edges[-1] - edges[0]) - 1)
    steps = np.concatenate([at[:1], np.repeat(at, 2)[1:-1], at[-1:]])
    shapes = []
    for center, height in zip(lattice.positions()[some], heights[some] / highest[some, None], strict=True):
        tops = np.concatenate([[0.0], np.repeat(height, 2), [0.0]])
        # y grows downwards
        shapes.append(np.stack([center[0] + steps, center[1] + half_height * (1 - 2 * tops)], axis=1))
    ax.add_collection(PolyCollection(shapes, facecolors="#31688e", edgecolors="none"))
    name = clean_text(make_caption(histograms["bin"]), 60)
    note = f"{name} from {edges[0]:.4g} (left) to {edges[-1]:.4g} (right)"
    ax.annotate(note, (0.5, 0), (0, -4), "axes fraction", "offset points", ha="center", va="top", fontsize=9)
    ax.set_title("histogram of each node")
    return ax


def plot_distribution(calibrated: xr.Dataset, reference: xr.Dataset | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw the density of a value over the target samples, beside that over the reference samples.

    Parameters
    ----------
    calibrated : xarray.Dataset
        Result of `som_dask.calibrate_histogram`.
    reference : xarray.Dataset, optional
        Result of `som_dask.summarize_histograms`: the histograms of all nodes are added up, and drawn as a density.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If these are no histograms, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.calibration import plot_distribution
    >>> known = som.summarize_histograms(som.infer(colors[:20], model), colors[:20, 0], model, bins=5)
    >>> ax = plot_distribution(som.calibrate_histogram(known, model["hits"]), known)
    """
    counts, edges = _select_bins(calibrated, ("bin",))
    ax = create_figure(6.4, 4.2, "constrained").subplots() if ax is None else ax
    if reference is not None:
        sums, own = _select_bins(reference, ("row", "col", "bin"))
        total = sum(float(reference[name].sum()) for name in ("histogram", "below", "above"))
        density = sums.sum(axis=(0, 1)) / np.diff(own) / max(total, 1e-300)
        ax.stairs(density, own, color="#808080", label="reference samples")
    total = float(calibrated["covered_count"])
    ax.stairs(counts / np.diff(edges) / total, edges, color="#0072b2", linewidth=1.8, label="target, calibrated")
    ax.set_xlabel(clean_text(make_caption(calibrated["bin"]), 80))
    ax.set_ylabel("density")
    ax.set_ylim(bottom=0)
    ax.set_title(f"{float(calibrated['covered_share']):.1%} of the target is covered", loc="left", fontsize=10)
    ax.grid(color="#e5e5e5", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=9)
    return ax


def _select_bins(histograms: xr.Dataset, dims: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Select the counts of a histogram, float64, and the edges of its bins, (B + 1,)."""
    names = ("histogram", "bin_left", "bin_right")
    if not isinstance(histograms, xr.Dataset) or any(name not in histograms for name in names):
        raise ParameterError("histograms to draw are what summarize_histograms or calibrate_histogram makes")
    if set(histograms["histogram"].dims) != set(dims):
        raise ParameterError(
            f"a histogram to draw here has the dimensions {', '.join(dims)}, got {histograms['histogram'].dims}"
        )
    edges = np.append(histograms["bin_left"].values, histograms["bin_right"].values[-1])
    return histograms["histogram"].transpose(*dims).values.astype(np.float64), edges
