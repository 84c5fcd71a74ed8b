"""Compiled code that the processes of a machine share: each function is compiled once, by one of them.

Numba keeps compiled code in files, but workers that start together find none, and then all of them compile the same.
Two that save two variants of one function at the same time may even leave an index that gives one for the other.
Here a process that finds no code waits for the one that is compiling it.

Code is kept where numba keeps it: in ``NUMBA_CACHE_DIR``, beside the package, or in the user's own cache. If that is
not beside the package, because this may not be written, code that lies there is used as well: an image brings it
along. Whoever sets ``NUMBA_CACHE_DIR`` gets only what is there. If nothing may be written, functions that are not
there are compiled in each process.
"""

# mypy: disable-error-code="no-untyped-def, misc, attr-defined"
from __future__ import annotations

import contextlib
import functools
import os
import time
import zlib

from numba.core import caching, config, dispatcher

try:
    import fcntl
except ImportError:  # not on Windows, where each process compiles for itself
    fcntl = None  # type: ignore[assignment]

if not hasattr(caching, "InTreeCacheLocator"):
    raise ImportError("this numba looks for compiled code in another way")

__all__ = ["OnceCache", "install"]

PACKAGE = __name__.partition(".")[0] + "."
LOCK_FILE = "som_dask.lock"
PATIENCE = 120.0  # seconds; whoever compiles for longer than that is not waited for
# Seconds between looks at a lock: the longer the wait, the longer the pauses, for many workers may share one server.
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0


class _BesidePackage(caching.InTreeCacheLocator):
    """The place beside the package, whether or not it may be written."""

    @classmethod
    def from_function(cls, py_func, py_file):
        return cls(py_func, py_file)


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [*caching.CompileResultCacheImpl._locator_classes, _BesidePackage]  # noqa: RUF012


class OnceCache(caching.FunctionCache):
    """The compiled code of one function, in files that processes write one after the other."""

    _impl_class = _Implementation

    def __init__(self, py_func):
        super().__init__(py_func)
        beside = _BesidePackage(py_func, py_func.__code__.co_filename)
        self._shipped = None
        if not config.CACHE_DIR and beside.get_cache_path() != self._cache_path:
            self._shipped = caching.IndexDataCacheFile(
                cache_path=beside.get_cache_path(),
                filename_base=self._impl.filename_base,
                source_stamp=beside.get_source_stamp(),
            )
        self._writes = not isinstance(self._impl.locator, _BesidePackage)
        # Its name stands for the function in the lock of the folder.
        self._place, self._locks = zlib.crc32(self._impl.filename_base.encode()), 0

    def load_overload(self, sig, target_context):
        """Load the code for a signature; if there is none, return None when it is this process's turn to compile."""
        found = super().load_overload(sig, target_context)
        if found is None and self._shipped is not None:
            data = self._shipped.load(self._index_key(sig, target_context.codegen()))
            found = None if data is None else self._impl.rebuild(target_context, data)
        if found is None and self._writes:
            if not self._locks and _lock(self._cache_path, self._place):
                found = super().load_overload(sig, target_context)  # another process may have saved it meanwhile
            self._locks += 1
            if found is not None:
                self._unlock()
        return found

    def save_overload(self, sig, data):
        """Save the code for a signature, and let other processes go on."""
        try:
            if self._writes:
                super().save_overload(sig, data)
        finally:
            self._unlock()

    def _unlock(self):
        self._locks = max(0, self._locks - 1)
        if not self._locks and self._writes:
            _unlock(self._cache_path, self._place)


@functools.lru_cache(maxsize=256)
def _lock_file(folder: str, process: int) -> int | None:
    """Open the lock of a folder for this process, which keeps it: to close it anywhere would give up all locks."""
    with contextlib.suppress(OSError):
        os.makedirs(folder, exist_ok=True)
        return os.open(os.path.join(folder, LOCK_FILE), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    return None


def _lock(folder: str, place: int) -> bool:
    """Wait until no other process holds one byte of the lock of a folder, and take it; False if it is not to be had.

    A process that ends gives up its locks, however it ends.
    """
    file = None if fcntl is None else _lock_file(folder, os.getpid())
    if file is None:
        return False
    end, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            return True
        except (BlockingIOError, PermissionError):
            if time.monotonic() > end:
                return False
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        except OSError:  # the file system has no locks
            return False


def _unlock(folder: str, place: int) -> None:
    file = None if fcntl is None else _lock_file(folder, os.getpid())
    if file is not None:
        with contextlib.suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_UN, 1, place)


def install() -> None:
    """Let numba keep the compiled functions of this package in an `OnceCache`, and those of others as before."""
    others = dispatcher.FunctionCache
    if getattr(others, "of_som_dask", False):
        return

    def choose(py_func):
        own = py_func.__module__.startswith(PACKAGE)
        return (OnceCache if own else others)(py_func)

    choose.of_som_dask = True
    dispatcher.FunctionCache = choose
