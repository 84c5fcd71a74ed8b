"""Component planes: pictures of the weights of one feature in all nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of
from som_dask.plotting.canvas import add_colorbar, draw_nodes
from som_dask.plotting.figures import create_panels, measure_extent
from som_dask.plotting.maps import plot_values
from som_dask.plotting.texts import clean_text, shorten_names
from som_dask.plotting.values import find_range, list_feature_names, takes_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_plane", "plot_planes"]

MOST_PLANES = 60
SMALL, SMALLER = 9, 7  # points
TITLE = 26  # letters


@takes_epochs
def plot_plane(
    model: xr.Dataset, feature: str, *, limits: tuple[float, float] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw a component plane: each node in the color of its weight of one feature.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    feature : str
    limits : (float, float), optional
        The weights at the ends of the colormap, in the data's units; by default the least and the greatest.
    ax : matplotlib Axes, optional
        By default those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If the model does not have the feature, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.planes import plot_plane
    >>> plot_plane(model, "feature_1").get_title()
    'feature_1'
    """
    (index,) = _find_features(model, [feature])
    units = str(model["codebook"].attrs.get("units", ""))
    weights = model["codebook"].isel(feature=index)
    return plot_values(model, weights, title=str(feature), label=units, limits=limits, ax=ax)


@takes_epochs
def plot_planes(
    model: xr.Dataset,
    features: Sequence[str] | None = None,
    *,
    most: int = MOST_PLANES,
    columns: int | None = None,
    shared_limits: bool = False,
    axes: Sequence[Axes] | np.ndarray | None = None,
) -> np.ndarray:
    """Draw the component planes of all features or some; features whose planes look alike go together.

    Parameters
    ----------
    model : xarray.Dataset or Epoch
    features : sequence of str, optional
        Names of the features to draw; by default all.
    most : int
        The number of planes that are drawn at most. The figure says if features are left out.
    columns : int, optional
        Planes side by side; by default it depends on their number and shape.
    shared_limits : bool
        Whether all planes have the same range of colors, which suits features of the same units; otherwise each has
        its own.
    axes : sequence of matplotlib Axes, optional
        Axes for each plane; by default those of a new figure.

    Returns
    -------
    (planes,) array of matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If the model does not have a feature, there are too few axes, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.planes import plot_planes
    >>> len(plot_planes(model, columns=3))
    3
    """
    names = list_feature_names(model)
    wanted = names if features is None else list(features)
    indices = (list(range(len(names))) if features is None else _find_features(model, wanted))[: max(most, 1)]
    lattice = lattice_of(model)
    left, right, top, bottom = measure_extent(lattice)
    tall = (bottom - top) / (right - left)
    titles, parts = shorten_names([names[index] for index in indices], TITLE)
    is_cut = len(indices) < len(wanted)
    note = f"component planes: the first {len(indices)} of {len(wanted)} features" if is_cut else ""
    note += (", by " if is_cut else "component planes by ") + clean_text(parts, 60) if parts else ""
    panels = create_panels(len(indices), columns, tall, note, axes, beside=0.6, what="planes")
    codebook = model["codebook"].transpose("row", "col", "feature").values.reshape(lattice.n_nodes, -1)[:, indices]
    limits = find_range(codebook) if shared_limits else None
    for ax, title, weights in zip(panels, titles, codebook.T, strict=True):
        nodes = draw_nodes(ax, lattice, array=weights, linewidths=0.3, clim=limits)
        if np.isfinite(weights).any():
            add_colorbar(ax, nodes, lattice, font_size=SMALLER)
        ax.set_title(clean_text(title, TITLE), fontsize=SMALL)
    return panels


def _find_features(model: xr.Dataset, features: Sequence[str]) -> list[int]:
    """Find the index of each feature; one or more must be given."""
    names = list_feature_names(model)
    unknown = [str(name) for name in features if str(name) not in names]
    if unknown or not features:
        raise ParameterError(f"the model has no feature {', '.join(unknown)!r}; it knows {', '.join(names[:8])} ...")
    return [names.index(str(name)) for name in features]
