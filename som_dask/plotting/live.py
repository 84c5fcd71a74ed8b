"""A picture of a map that is redrawn while the map is trained."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of
from som_dask.plotting.curves import CURVES, draw_curve
from som_dask.plotting.figures import create_figure, is_wide, measure_extent
from som_dask.plotting.maps import plot_hits, plot_u_matrix
from som_dask.plotting.planes import plot_plane
from som_dask.plotting.texts import clean_text
from som_dask.plotting.values import as_dataset, list_feature_names

__all__ = ["LivePicture", "View", "check_view", "draw_training_picture", "show_in_cell"]

View = Literal["u_matrix", "hits", "planes"]
SHARE = 0.2  # of the time, at most, that drawing takes
PAUSE = 1.0  # seconds between two pictures, at least
MOST_PLANES = 6
ERRORS = ("quantization_error", "topographic_error")
HIGH, WIDE, WIDE_OF_PLANES, CURVE = 4.2, 5.2, 6.0, 3.4  # inches: of the map or planes at most, and of the curves
DOTS = 90  # an inch


def check_view(view: View) -> None:
    """Refuse a view that there is not."""
    if view not in get_args(View):
        raise ParameterError(f"what must be one of {', '.join(get_args(View))}, got {view!r}")


class LivePicture:
    """The map and its errors as one picture, drawn again after an epoch if enough time has passed.

    So much time passes between two pictures that drawing takes no more than a fifth of it; the last one is always
    drawn.

    Parameters
    ----------
    view : {"u_matrix", "hits", "planes"}
        What is drawn of the map. Of many features, the planes of the first six are drawn.
    show : callable
        Called with each picture, the bytes of a PNG.
    describe : callable
        Called with an epoch; returns what is written above the picture.
    then : callable, optional
        Called with each epoch, after it is drawn.

    Raises
    ------
    ParameterError
        For an unknown view, or if matplotlib is missing.
    """

    def __init__(
        self,
        view: View,
        show: Callable[[bytes], None],
        describe: Callable[[Any], str],
        then: Callable[[Any], None] | None = None,
    ) -> None:
        check_view(view)
        create_figure(1, 1)  # finds out whether there is matplotlib before hours of training
        self._view, self._show, self._describe, self._then = view, show, describe, then
        self._epochs: list[tuple[int, float, float, bool]] = []
        self._next = time.monotonic() + PAUSE

    def __call__(self, epoch: Any) -> None:
        """Draw an epoch, unless the last picture was drawn a short while ago."""
        misses = epoch.topographic_error
        errors = epoch.quantization_error, np.nan if misses is None else misses
        # They are those of the codebook that entered the epoch.
        self._epochs.append((epoch.index, *errors, epoch.phase == "rough"))
        caption = self._describe(epoch)  # of each: the time left is known by the epochs before
        if time.monotonic() >= self._next:
            self._draw(epoch, caption)
        if self._then is not None:
            self._then(epoch)

    def finish(self, model: Any, caption: str) -> None:
        """Draw the trained map.

        Parameters
        ----------
        model : xarray.Dataset
        caption : str
        """
        self._draw(model, caption)

    def _draw(self, model: Any, caption: str) -> None:
        begun = time.monotonic()
        try:
            self._show(self._render(model, caption))
        except Exception as error:  # a picture is not worth the training
            warnings.warn(f"the map can't be drawn while it is trained: {error}", stacklevel=2)
            self._next = np.inf
            return
        ended = time.monotonic()
        self._next = ended + max(PAUSE, (ended - begun) * (1 - SHARE) / SHARE)

    def _render(self, model: Any, caption: str) -> bytes:
        """Return a picture of a model or an epoch as the bytes of a PNG."""
        model = as_dataset(model)
        known = list(self._epochs)
        if "quantization_error" in model:  # of the finished map, measured after the last epoch
            last = [float(model[name].values[-1]) for name in ERRORS]
            known.append((model.sizes["epoch"] - 1, last[0], last[1], False))
        figure = draw_training_picture(model, self._view, np.array(known, dtype=np.float64).reshape(-1, 4), caption)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=DOTS)
        return data.getvalue()


def draw_training_picture(model: xr.Dataset, view: View, errors: np.ndarray, caption: str) -> Any:
    """Draw a map beside the curves of its errors.

    Parameters
    ----------
    model : xarray.Dataset
        A model, or an epoch as a dataset.
    view : {"u_matrix", "hits", "planes"}
    errors : (n, 4) float64
        Epochs done, quantization error, topographic error, and whether they are of a rough phase.
    caption : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    names, lattice = list_feature_names(model)[:MOST_PLANES], lattice_of(model)
    across, down, widest = 1, 1, WIDE
    if view == "planes":
        across = min(len(names), 3 if len(names) in (3, 5, 6) else 2)
        down, widest = -(-len(names) // across), WIDE_OF_PLANES
    left, right, top, bottom = measure_extent(lattice)
    size = min(widest / across / (right - left), HIGH / down / (bottom - top))
    room = 0.5 if is_wide(lattice) else 0.0  # below each map, for its colorbar
    wide, high = max(size * (right - left), 1.0) + 1.15, size * (bottom - top) + 0.35 + room
    height = max(down * high, 3.0) + 0.55
    width = across * wide + 0.2 + CURVE
    figure = create_figure(width, height)
    figure.text(0.15 / width, 1 - 0.14 / height, clean_text(caption, 140), va="top", fontsize=9.5)
    axes = []
    for place in range(across * down if view != "planes" else len(names)):
        row, col = divmod(place, across)
        bottom_inches = height - 0.55 - (row + 1) * high + room + 0.05
        box = (0.15 + col * wide, bottom_inches, wide - 1.15, high - 0.35 - room)
        axes.append(figure.add_axes(tuple(np.array(box) / (width, height, width, height))))
    if view == "planes":
        for ax, name in zip(axes, names, strict=True):
            plot_plane(model, name, ax=ax)
            ax.set_title(clean_text(name, 24))
    else:
        {"u_matrix": plot_u_matrix, "hits": plot_hits}[view](model, ax=axes[0])
    for ax in axes:
        ax.title.set_fontsize(9)
        for inner in ax.child_axes:
            inner.tick_params(labelsize=8)
            inner.yaxis.label.set_fontsize(8)
            inner.xaxis.label.set_fontsize(8)
    _draw_errors(figure, errors, across * wide, width, height)
    return figure


def _draw_errors(figure: Any, errors: np.ndarray, start: float, width: float, height: float) -> None:
    """Draw the curves of the errors one above the other, from so many inches on."""
    shown = [i for i in range(len(ERRORS)) if np.isfinite(errors[:, 1 + i]).any()]
    each = (height - 1.05) / max(len(shown), 1)
    for place, i in enumerate(shown):
        name = ERRORS[i]
        box = (start + 0.65, height - 0.55 - (place + 1) * each + 0.05, CURVE - 0.6, each - 0.35)
        ax = figure.add_axes(tuple(np.array(box) / (width, height, width, height)))
        title, color = CURVES[name]
        draw_curve(ax, errors[:, 0], errors[:, 1 + i], errors[:, 3] > 0, color)
        ax.set_title(title, loc="left", fontsize=9)
        ax.tick_params(labelsize=8)
        if place == len(shown) - 1:
            ax.set_xlabel("epochs done", fontsize=8)
        else:
            ax.tick_params(labelbottom=False)


def show_in_cell() -> Callable[[bytes], None]:
    """Return what shows pictures in the cell of a notebook, each in place of the one before."""
    from IPython.display import Image, display

    handle: Any = None

    def show(picture: bytes) -> None:
        nonlocal handle
        if handle is None:
            handle = display(Image(picture), display_id=True)
        else:
            handle.update(Image(picture))

    return show
