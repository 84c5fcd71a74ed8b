"""Pictures of the course of the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.plotting.curves import CURVES, draw_curve
from som_dask.plotting.figures import create_figure
from som_dask.plotting.values import takes_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_training"]


@takes_epochs
def plot_training(model: xr.Dataset, *, axes: Sequence[Axes] | np.ndarray | None = None) -> np.ndarray:
    """Draw the errors and the radius of the neighborhood over the epochs; those of a rough phase are gray.

    Parameters
    ----------
    model : xarray.Dataset
        NaN leaves a gap. The last radius is always NaN, since no update follows.
    axes : sequence of matplotlib Axes, optional
        Axes for the quantization error, the topographic error, the radius, and the learning rate if there is one; by
        default those of a new figure.

    Returns
    -------
    (3,) or (4,) array of matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If there are too few axes, or matplotlib is missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.plotting.history import plot_training
    >>> [ax.get_title(loc="left") for ax in plot_training(model)]
    ['quantization error', 'topographic error', 'neighborhood radius [lattice units]']
    """
    names = [name for name in CURVES if name in model and model[name].dims == ("epoch",)]
    if not names:
        raise ParameterError("an epoch has no history to draw; draw the trained model")
    if axes is None:
        figure = create_figure(6.5, 1.6 * len(names) + 0.4, "constrained")
        panels = np.ravel(figure.subplots(len(names), 1, sharex=True, squeeze=False))
    else:
        panels = np.ravel(np.asarray(axes, dtype=object))
        if len(panels) < len(names):
            raise ParameterError(f"training curves need {len(names)} axes, got {len(panels)}")
        panels = panels[: len(names)]
    epoch = model["epoch"].values
    rough = model["phase"].values == "rough" if "phase" in model else np.zeros(len(epoch), dtype=bool)
    for ax, name in zip(panels, names, strict=True):
        title, color = CURVES[name]
        draw_curve(ax, epoch, model[name].values, rough, color)
        ax.set_title(title, loc="left", fontsize=10)
        known = model[name].values[np.isfinite(model[name].values)]
        low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
        if abs(high) > 0 and high - low < 1e-6 * abs(high):  # nothing but rounding, which must not fill the panel
            ax.set_ylim(low - 0.05 * abs(low), high + 0.05 * abs(high))
        if name != "quantization_error":  # which is far from 0: its curve would be flat
            ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]) if name == "learning_rate" else 0.0)
    panels[-1].set_xlabel("epochs done")
    return panels
