"""Progress of a run on the terminal, or in plain lines where there is none."""

from __future__ import annotations

from typing import Any

from som_dask.cli.signals import stop_if_asked
from som_dask.cli.terminal import echo
from som_dask.io.event_log import EventLog
from som_dask.passes.progress import is_shown
from som_dask.training.progress import TimeLeft, TrainingBar, describe_seconds
from som_dask.training.run import Epoch

__all__ = ["EpochBar", "is_watched"]


def is_watched(log: EventLog | None) -> bool:
    """Return whether progress is shown by itself, and the log leaves standard error to it."""
    return is_shown(None) and not (log and log.stderr)


class EpochBar:
    """Progress of training: epoch, radius, errors, time left.

    It is a bar on a terminal, a line for each epoch in a file or a batch job's output, and nothing where the log's
    events go to standard error.
    """

    def __init__(self, epochs: int, log: EventLog | None = None) -> None:
        self.log, self.epochs, self.done = log, epochs, 0
        self.told_in_lines = not is_watched(log) and not (log and log.stderr)
        self._bar, self._left = TrainingBar(epochs, shown=is_watched(log)), TimeLeft()

    def __enter__(self) -> EpochBar:
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def __call__(self, epoch: Epoch) -> None:
        if self.log is not None:
            self.log.epoch(epoch)
        if epoch.planned is not None:  # only now it is known whether there is a rough phase
            self.epochs = epoch.planned
        self._bar(epoch)
        self.done = epoch.index + 1
        if self.told_in_lines:
            echo(self._describe(epoch), err=True)
        stop_if_asked()

    def _describe(self, epoch: Epoch) -> str:
        told = [f"quantization error {epoch.quantization_error:.4g}"]
        if epoch.topographic_error is not None:
            told.append(f"topographic error {epoch.topographic_error:.3g}")
        told.append(f"radius {epoch.radius:.3g}")
        left = self._left.after(epoch, self.epochs)
        if left is not None:
            told.append(f"{describe_seconds(left)} left")
        kind = "" if epoch.phase is None else f"{epoch.phase} "
        return f"{kind}epoch {self.done} of {self.epochs}: {', '.join(told)}"
