"""Progress of training: phase, epoch, radius, errors and time left of each epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from som_dask.passes.progress import Bar
from som_dask.training.run import Epoch

__all__ = ["TimeLeft", "TrainingBar", "describe_epoch", "describe_numbers", "describe_seconds"]


class TimeLeft:
    """The time until the last epoch, at the speed of the epochs since the first that was told."""

    def __init__(self) -> None:
        self._begun: tuple[int, float] | None = None  # epochs done when the first was told, and when that was

    def after(self, epoch: Epoch, epochs: int | None) -> float | None:
        """Return the seconds left after an epoch of so many.

        Returns
        -------
        float or None
            None after the last, and in a rough phase: the epochs that follow take far longer.
        """
        done, now = epoch.index + 1, time.monotonic()
        if epochs is None or done >= epochs or epoch.phase == "rough":
            return None
        if self._begun is None:
            self._begun = (done, now)
            return (epochs - done) * epoch.seconds
        first, begun = self._begun
        return (epochs - done) * (now - begun) / max(done - first, 1)


class TrainingBar:
    """A bar over the epochs of a training, which is called with each `Epoch`.

    Parameters
    ----------
    epochs : int, optional
        How many are expected; what an epoch tells of it goes before.
    shown : bool
    then : callable, optional
        Called with each epoch after it is shown.
    """

    def __init__(
        self, epochs: int | None = None, *, shown: bool, then: Callable[[Epoch], None] | None = None
    ) -> None:
        self.epochs, self._then, self._left, self._shown = epochs, then, TimeLeft(), shown
        self._bar = Bar("training", epochs, shown=shown)
        self._bar.tell(0, note="first pass over the data")
        self._bar.refresh()

    def __call__(self, epoch: Epoch) -> None:
        """Show an epoch."""
        if self._shown:
            self._show(epoch)
        if self._then is not None:
            self._then(epoch)

    def _show(self, epoch: Epoch) -> None:
        self.epochs, done = epoch.planned or self.epochs, epoch.index + 1
        told = describe_numbers(epoch)
        left = self._left.after(epoch, self.epochs)
        if left is not None:
            told = f"{told}, {describe_seconds(left)} left"
        elif done == self.epochs:
            told = f"{told}, last pass"
        self._bar.tell(done, total=self.epochs, label=epoch.phase or "training", note=told)

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()


def describe_numbers(epoch: Epoch) -> str:
    """Tell the radius and the errors of an epoch in a few letters."""
    told = [f"radius {epoch.radius:.3g}", f"QE {epoch.quantization_error:.4g}"]
    if epoch.topographic_error is not None:
        told.append(f"TE {epoch.topographic_error:.3g}")
    return ", ".join(told)


def describe_epoch(time_left: TimeLeft, epoch: Epoch) -> str:
    """Tell an epoch in one line: how many are done, its phase, radius and errors, and the time left."""
    of = "" if epoch.planned is None else f" of {epoch.planned}"
    phase = "" if epoch.phase is None else f"{epoch.phase} "
    left = time_left.after(epoch, epoch.planned)
    rest = "" if left is None else f", {describe_seconds(left)} left"
    return f"{phase}epoch {epoch.index + 1}{of}, {describe_numbers(epoch)}{rest}"


def describe_seconds(seconds: float) -> str:
    """Return a duration in words of two units at most, such as ``2 min 5 s``."""
    whole = round(seconds)
    hours, minutes = divmod(round(whole / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
