"""A limit of BLAS to one thread that costs next to nothing, however often it is set."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["single_threaded_blas"]


class _Limit:
    """The limit of this process: set by the first that asks for it, and lifted by the last that no longer needs it.

    Without this count, of two threads that overlap the second would take the limit of the first for the state to go
    back to, and leave it behind for good.
    """

    def __init__(self) -> None:
        # Reentrant, because a finalizer that runs while it is held may compute something too.
        self.lock = threading.RLock()
        self.users, self.modules = 0, -1
        self.libraries, self.before = list[Any](), list[tuple[Any, int]]()

    def set(self) -> None:
        """Count one more user; limit the BLAS libraries that are not limited yet."""
        with self.lock:
            # A look at the loaded libraries takes milliseconds. New ones come with new modules.
            if len(sys.modules) != self.modules:
                loaded, self.modules = ThreadpoolController().lib_controllers, len(sys.modules)
                self.libraries = [library for library in loaded if library.user_api == "blas"]
            for library in self.libraries:
                threads = library.get_num_threads()
                if threads is not None and threads > 1:
                    library.set_num_threads(1)
                    self.before.append((library, threads))
            self.users += 1

    def lift(self) -> None:
        """Count one user less; after the last, every library has as many threads as before."""
        with self.lock:
            self.users -= 1
            while not self.users and self.before:
                library, threads = self.before.pop()
                library.set_num_threads(threads)


_limit = _Limit()
if hasattr(os, "register_at_fork"):
    # A child must not be born with a lock that another thread of its parent holds.
    os.register_at_fork(
        before=_limit.lock.acquire, after_in_parent=_limit.lock.release, after_in_child=_limit.lock.release
    )


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS in this process to one thread: tasks fill the cores, and results don't depend on their number.

    It may be nested, and used by several threads at once: then the limit lasts as long as any of them needs it.
    Libraries are looked for once, and again where modules were imported since.
    """
    _limit.set()
    try:
        yield
    finally:
        _limit.lift()
