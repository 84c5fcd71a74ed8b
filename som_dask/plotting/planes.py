"""Component planes: a picture of the weights for each feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import add_colorbar, brief_names, draw_nodes, extent, panels_of, plain_text, value_range
from som_dask.plotting.maps import plot_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_plane", "plot_planes"]

MOST_PLANES = 60
SMALL, SMALLER = 9, 7  # points
TITLE = 26  # letters


def feature_names(model: xr.Dataset) -> list[str]:
    """Names of the features, as text."""
    return [str(name) for name in model["feature"].values]


def plot_plane(
    model: xr.Dataset, feature: str, *, limits: tuple[float, float] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a component plane: each node in the color of its weight of one feature, in the data's units.

    Parameters
    ----------
    model : xarray.Dataset
    feature : str
    limits : (float, float), optional
        Values at the ends of the colormap; by default the least and the greatest.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If the model does not know the feature, or matplotlib is missing.
    """
    (index,) = _indices(model, [feature])
    units = str(model["codebook"].attrs.get("units", ""))
    weights = model["codebook"].isel(feature=index)
    return plot_values(model, weights, title=str(feature), label=units, limits=limits, ax=ax)


def plot_planes(
    model: xr.Dataset,
    features: Sequence[str] | None = None,
    *,
    most: int = MOST_PLANES,
    columns: int | None = None,
    shared_limits: bool = False,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw the component planes of all features: where two look alike, the features go together.

    Parameters
    ----------
    model : xarray.Dataset
    features : sequence of str, optional
        By default all.
    most : int
        Draw only so many of them; the figure says so.
    columns : int, optional
        Panels side by side.
    shared_limits : bool
        One range of colors for all planes, for features of the same units; else each has its own.
    axes : matplotlib Axes, optional
        One for each plane; by default those of a new figure.

    Returns
    -------
    (planes,) array of matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If the model does not know a feature, there are too few axes, or matplotlib is missing.
    """
    names = feature_names(model)
    wanted = names if features is None else list(features)
    indices = (list(range(len(names))) if features is None else _indices(model, wanted))[: max(most, 1)]
    lattice = lattice_of(model)
    left, right, top, bottom = extent(lattice)
    tall = (bottom - top) / (right - left)
    titles, parts = brief_names([names[index] for index in indices], TITLE)
    few = len(indices) < len(wanted)
    note = f"component planes: the first {len(indices)} of {len(wanted)} features" if few else ""
    note += (", by " if few else "component planes by ") + plain_text(parts, 60) if parts else ""
    panels = panels_of(len(indices), columns, tall, note, axes, beside=0.6, what="planes")
    codebook = model["codebook"].transpose("row", "col", "feature").values.reshape(lattice.n_nodes, -1)[:, indices]
    limits = value_range(codebook) if shared_limits else None
    for ax, title, weights in zip(panels, titles, codebook.T, strict=True):
        nodes = draw_nodes(ax, lattice, array=weights, linewidths=0.3, clim=limits)
        if np.isfinite(weights).any():
            add_colorbar(ax, nodes, lattice, font_size=SMALLER)
        ax.set_title(plain_text(title, TITLE), fontsize=SMALL)
    return panels


def _indices(model: xr.Dataset, features: Sequence[str]) -> list[int]:
    names = feature_names(model)
    unknown = [str(name) for name in features if str(name) not in names]
    if unknown or not features:
        raise ParameterError(f"the model has no feature {', '.join(unknown)!r}; it knows {', '.join(names[:8])} ...")
    return [names.index(str(name)) for name in features]
