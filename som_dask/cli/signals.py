"""Requests to stop: SIGTERM and Ctrl-C end a command in order, and none is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from som_dask.errors import MemoryLimitError

__all__ = [
    "INTERRUPTED",
    "catch_signals",
    "finish_first",
    "hold_interrupts",
    "is_stopping",
    "let_go",
    "remind_soon",
    "stop_if_asked",
]

INTERRUPTED = "interrupted; nothing was left half-written"
REQUESTS = (signal.SIGTERM, signal.SIGINT)
AGAIN = 0.5  # seconds until an interrupt that nobody handles is raised again
AT_ONCE = 0.001  # the same, of one that is known to have gone nowhere

_asked: list[int] = []  # the signals that have come
_before: dict[int, Any] = {}  # the handlers that were there before
_finishing: list[bool] = []  # not empty after `finish_first`


def catch_signals() -> None:
    """Let SIGTERM and SIGINT raise KeyboardInterrupt in the main thread, and be remembered, until `let_go`.

    An exception that is raised within a destructor or a callback of compiled code goes nowhere, and libraries may
    drop one too. So a timer raises it again for as long as it is not being handled.
    """
    if _before:
        return
    for number in REQUESTS:
        _before[number] = signal.signal(number, _remember)
    if hasattr(signal, "setitimer"):  # not on Windows
        _before[signal.SIGALRM] = signal.signal(signal.SIGALRM, _remind)


def let_go(status: int | None = None) -> None:
    """Catch signals no longer: the command has ended.

    Parameters
    ----------
    status : int, optional
        If the process ends with the command, its exit status. A signal then ends it at once with that: there is
        nothing left to save. By default the handlers that were there before come back.
    """
    handlers = dict(_before)
    _before.clear()  # nothing is raised after this
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in handlers.items():
        signal.signal(number, handler if status is None else lambda *_: os._exit(status))
    _asked.clear()
    _finishing.clear()


def _remember(number: int, _: Any) -> None:
    impatient = number == signal.SIGINT and number in _asked
    _asked.append(number)
    if not _finishing or impatient:
        _remind()


def _remind(*_: Any) -> None:
    """Raise KeyboardInterrupt, unless one is being handled."""
    if not _before:
        return
    remind_soon(AGAIN)
    if not _comes_from_interrupt(sys.exception()):
        raise KeyboardInterrupt


def remind_soon(seconds: float = AT_ONCE) -> None:
    """Let an interrupt that has gone nowhere be raised again soon."""
    if _asked and _before and hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _comes_from_interrupt(error: BaseException | None) -> bool:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_stopping() -> bool:
    """Return whether a signal has come, even if its KeyboardInterrupt became another error on its way."""
    return bool(_asked)


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt if a signal has come, for code that is reached all the same."""
    if _asked:
        raise KeyboardInterrupt


def finish_first() -> None:
    """Stop if a signal has come, and else let signals wait from here on for the command's end, which is near.

    The exit status is then that of the work. A second Ctrl-C does not wait.
    """
    _finishing.append(True)
    stop_if_asked()


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
