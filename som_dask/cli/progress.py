"""Progress of a run on the terminal."""

from __future__ import annotations

import sys
from typing import Any

import click

from som_dask.cli.signals import stop_if_asked
from som_dask.io.event_log import EventLog
from som_dask.training.run import Epoch

__all__ = ["EpochBar", "is_watched"]


def is_watched(log: EventLog | None) -> bool:
    """Return whether somebody watches the terminal, and the log leaves it to the progress bar."""
    return sys.stderr.isatty() and not (log and log.stderr)


class EpochBar:
    """A progress bar of training: epoch, radius, errors, time left. It is hidden where nobody watches."""

    def __init__(self, epochs: int, log: EventLog | None = None) -> None:
        self.log = log
        self.bar = click.progressbar(
            length=epochs,
            label="training",
            item_show_func=self._show,
            file=sys.stderr,
            hidden=not is_watched(log),
        )
        self.done = 0

    @staticmethod
    def _show(epoch: Epoch | None) -> str | None:
        if epoch is None:
            return None
        told = f"epoch {epoch.index + 1}  radius {epoch.radius:.3g}  QE {epoch.quantization_error:.4g}"
        return told if epoch.topographic_error is None else f"{told}  TE {epoch.topographic_error:.3g}"

    def __enter__(self) -> EpochBar:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)

    def __call__(self, epoch: Epoch) -> None:
        if self.log is not None:
            self.log.epoch(epoch)
        self.bar.update(epoch.index + 1 - self.bar.pos, epoch)
        self.done = epoch.index + 1
        stop_if_asked()
