"""Requests to stop: SIGTERM and Ctrl-C end a command in order, and none is lost."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

from som_dask.errors import MemoryLimitError

__all__ = ["catch_signals", "hold_interrupts", "is_stopping", "stop_if_asked"]

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


@contextlib.contextmanager
def hold_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back within a ``with`` block, in which libraries are loaded, and let it come at the end.

    OpenBLAS sends its own process the same signal if it can't start its threads.

    Raises
    ------
    MemoryLimitError
        At the end, if it did.
    """
    if not hasattr(signal, "sigtimedwait"):  # as on macOS
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        found = signal.sigtimedwait({signal.SIGINT}, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if found is not None and found.si_pid == os.getpid():
            raise MemoryLimitError("out of memory for threads; set OPENBLAS_NUM_THREADS=1, or allow more memory")
        if found is not None:
            signal.raise_signal(signal.SIGINT)
