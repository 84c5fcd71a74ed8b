"""Requests to stop: SIGTERM and Ctrl-C end a command in order, and none is lost."""

from __future__ import annotations

import signal
from typing import Any

__all__ = ["catch_signals", "is_stopping", "stop_if_asked"]

_asked: list[int] = []  # the signals that have come


def catch_signals() -> None:
    """Let SIGTERM and SIGINT raise KeyboardInterrupt in the main thread, and be remembered."""
    _asked.clear()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _remember)


def _remember(number: int, _: Any) -> None:
    _asked.append(number)
    raise KeyboardInterrupt


def is_stopping() -> bool:
    """Return whether a signal has come, even if its KeyboardInterrupt became another error on its way."""
    return bool(_asked)


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt if a signal has come, for code that is reached all the same.

    An exception that is raised within a destructor or a callback of compiled code goes nowhere.
    """
    if _asked:
        raise KeyboardInterrupt
