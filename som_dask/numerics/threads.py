"""The threads of this process that share the arithmetic of one large step."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["core_count", "run_in_threads"]


def core_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_threads(function: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> None:
    """Call a function with each of some arguments, on all cores, and wait for the end of all calls.

    The function must not call this one, whose threads would then wait for themselves.
    """
    if len(parts) > 1:
        pool = _pool(os.getpid())
        running = [pool.submit(function, *part) for part in parts[1:]]
        function(*parts[0])
        for call in running:
            call.result()
    else:
        for part in parts:
            function(*part)


@functools.lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the threads.

    They are kept, because starting them takes longer than many steps do. `process` is the process's id: threads do
    not survive a fork, so a new process needs threads of its own.
    """
    return ThreadPoolExecutor(core_count(), thread_name_prefix="arithmetic")
