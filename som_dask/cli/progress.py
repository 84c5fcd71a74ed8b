"""Progress of a run on the terminal, or in plain lines where there is none."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from som_dask.cli.signals import stop_if_asked
from som_dask.cli.terminal import echo
from som_dask.io.event_log import EventLog
from som_dask.training.run import Epoch

__all__ = ["EpochBar", "is_watched"]


def is_watched(log: EventLog | None) -> bool:
    """Return whether somebody watches the terminal, and the log leaves it to the progress bar."""
    return sys.stderr.isatty() and not (log and log.stderr)


class EpochBar:
    """Progress of training: epoch, radius, errors, time left.

    It is a bar on a terminal, a line for each epoch in a file or a batch job's output, and nothing where the log's
    events go to standard error.
    """

    def __init__(self, epochs: int, log: EventLog | None = None) -> None:
        self.log, self.epochs = log, epochs
        self.bar = click.progressbar(
            length=epochs,
            label="training",
            item_show_func=self._show,
            file=sys.stderr,
            hidden=not is_watched(log),
        )
        self.told_in_lines = not is_watched(log) and not (log and log.stderr)
        self.done = 0
        self._begun: tuple[int, float] | None = None  # epochs done when the first was told, and when that was

    @staticmethod
    def _show(epoch: Epoch | None) -> str | None:
        if epoch is None:
            return None
        told = f"epoch {epoch.index + 1}  radius {epoch.radius:.3g}  QE {epoch.quantization_error:.4g}"
        if epoch.phase is not None:
            told = f"{epoch.phase} {told}"
        return told if epoch.topographic_error is None else f"{told}  TE {epoch.topographic_error:.3g}"

    def __enter__(self) -> EpochBar:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)

    def __call__(self, epoch: Epoch) -> None:
        if self.log is not None:
            self.log.epoch(epoch)
        if epoch.planned is not None:  # only now it is known whether there is a rough phase
            self.bar.length = self.epochs = epoch.planned
        self.bar.update(epoch.index + 1 - self.bar.pos, epoch)
        self.done = epoch.index + 1
        if self.told_in_lines:
            echo(self._describe(epoch), err=True)
        stop_if_asked()

    def _describe(self, epoch: Epoch) -> str:
        told = [f"quantization error {epoch.quantization_error:.4g}"]
        if epoch.topographic_error is not None:
            told.append(f"topographic error {epoch.topographic_error:.3g}")
        told.append(f"radius {epoch.radius:.3g}")
        if self.done < self.epochs and epoch.phase != "rough":  # later epochs take far longer than rough ones
            told.append(f"{describe_seconds(self._seconds_left(epoch))} left")
        kind = "" if epoch.phase is None else f"{epoch.phase} "
        return f"{kind}epoch {self.done} of {self.epochs}: {', '.join(told)}"

    def _seconds_left(self, epoch: Epoch) -> float:
        """Return the time until the last epoch, at the speed of the epochs since the first that was told."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = (self.done, now)
            return (self.epochs - self.done) * epoch.seconds
        first, begun = self._begun
        return (self.epochs - self.done) * (now - begun) / (self.done - first)


def describe_seconds(seconds: float) -> str:
    """Return a duration in words of two units at most, such as ``2 min 5 s``."""
    whole = round(seconds)
    hours, minutes = divmod(round(whole / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
