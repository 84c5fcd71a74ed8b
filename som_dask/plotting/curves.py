"""One curve over the epochs, as pictures of a history and live pictures draw it."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["CURVES", "draw_curve"]

CURVES = {  # title and color of each variable
    "quantization_error": ("quantization error", "#31688e"),
    "topographic_error": ("topographic error", "#b5457a"),
    "radius": ("neighborhood radius [lattice units]", "#4d4d4d"),
    "learning_rate": ("learning rate", "#7a6a1f"),
}
ROUGH = "#b5b5b5"  # color of rough epochs: their errors are those of a few samples
FEW = 50  # up to so many epochs are drawn as points too


def draw_curve(ax: Any, epoch: np.ndarray, values: np.ndarray, rough: np.ndarray, color: str) -> None:
    """Draw what is known of the epochs as a curve, and of the rough ones as another.

    Parameters
    ----------
    ax : matplotlib Axes
    epoch, values : (n,) arrays
    rough : (n,) bool
        Which of the epochs are of a rough phase.
    color : str
        Color of the other epochs.
    """
    style = {"marker": "o" if len(epoch) <= FEW else "", "markersize": 3}
    if rough.any():
        ax.plot(epoch[rough], values[rough], color=ROUGH, label="rough", **style)
        ax.legend(fontsize=8, frameon=False)
    ax.plot(epoch[~rough], values[~rough], color=color, **style)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(color="#e5e5e5", linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
