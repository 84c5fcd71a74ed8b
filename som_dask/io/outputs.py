"""Outputs of a run: check that they can be written, lock them, publish them by one rename."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from som_dask.errors import StorageError
from som_dask.io.files import PathOrUrl, beside, exists, is_url, make_durable, names_in, remove, resolve_url

__all__ = ["check_free", "lock", "publish"]

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of renameat2(2) on Linux


def check_free(path: PathOrUrl, *, overwrite: bool, inputs: Iterable[Any] = ()) -> None:
    """Check, before any work is done, that an output can be written to `path`.

    Parameters
    ----------
    path : str or path-like
        A local path or a URL.
    overwrite : bool
        Whether a Zarr store at `path` may be replaced. Nothing but a Zarr store is ever replaced.
    inputs : iterable
        What the run reads. No path among them may be the output or lie in it; other objects are ignored.

    Raises
    ------
    StorageError
        If `path` exists and may not be replaced, if it can't be the name of an output, if it would replace an
        input, or if its folder does not exist or is not writable.
    """
    if os.path.basename(os.fspath(path).rstrip("/")) in ("", ".", ".."):
        raise StorageError(f"{os.fspath(path)!r} is no name for an output; give a path such as model.zarr")
    try:
        present = exists(path)
    except (ValueError, ImportError) as error:
        raise StorageError(f"can't use the output {path}: {error}") from error
    for source in inputs:
        if isinstance(source, (str, os.PathLike)) and _contains(path, source):
            raise StorageError(f"the output {path} would replace the input {source}; choose another output")
    if present and not overwrite:
        raise StorageError(f"{path} exists already; choose another output or allow it with --overwrite")
    if present and not {"zarr.json", ".zgroup", ".zarray"} & set(names_in(path)):
        raise StorageError(f"{path} is not a Zarr store and is never overwritten; choose another output")
    if not is_url(path):
        _check_writable(Path(path))


def _contains(folder: PathOrUrl, path: PathOrUrl) -> bool:
    """Whether `path` is `folder` or lies in it."""
    if is_url(folder) or is_url(path):
        folder, path = os.fspath(folder).rstrip("/"), os.fspath(path).rstrip("/")
    else:
        folder, path = os.path.realpath(folder), os.path.realpath(path)
    return path == folder or path.startswith(f"{folder}/")


def _check_writable(path: Path) -> None:
    """Check that a file can be made in the folder of `path`."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise StorageError(f"the folder {folder} for the output does not exist; create it first")
    probe = folder / f".{path.name}.{os.getpid()}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(f"can't write to {folder}: {error.strerror}; choose another output") from error


def publish(temporary: PathOrUrl, path: PathOrUrl, *, overwrite: bool) -> None:
    """Rename a finished store to its final path, so that readers never see an incomplete one.

    The files of a local store are first made durable. An old store is swapped with the new one in one step where
    the system can do that (Linux); elsewhere it is moved aside just before. It is removed afterwards. Object stores
    can't rename, so there the files are copied to `path` and then removed from `temporary`.

    Parameters
    ----------
    temporary : str or path-like
        The finished store, on the same filesystem as `path`.
    path : str or path-like
        The final path or URL.
    overwrite : bool
        Whether an old store at `path` may be replaced.

    Raises
    ------
    StorageError
        If `path` exists and may not be replaced, or if the rename fails; then nothing has changed.
    """
    temporary, path = os.fspath(temporary), os.fspath(path)
    if exists(path) and not overwrite:
        raise StorageError(f"{path} has appeared in the meantime; the result is kept at {temporary}")
    if is_url(path):
        filesystem, inner = resolve_url(path)
        remove(path)
        filesystem.mv(resolve_url(temporary)[1], inner, recursive=True)
        return
    for folder, _, files in os.walk(temporary):
        make_durable([*(os.path.join(folder, name) for name in files), folder])
    try:
        _rename(temporary, path)
    except OSError as error:
        raise StorageError(f"can't publish {path}: {error.strerror}; the result is kept at {temporary}") from error
    make_durable([os.path.dirname(os.path.abspath(path))])


def _rename(temporary: str, path: str) -> None:
    """Rename a local file or folder; remove what was at `path` before."""
    if not os.path.lexists(path):
        os.rename(temporary, path)
    elif _exchange(temporary, path):
        remove(temporary)
    else:
        old = beside(path, "old")
        remove(old)
        os.rename(path, old)
        try:
            os.rename(temporary, path)
        except OSError:
            os.rename(old, path)
            raise
        remove(old)


def _exchange(one: str, other: str) -> bool:
    """Swap two paths in one step; return False where the system can't."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


@contextlib.contextmanager
def lock(path: PathOrUrl) -> Iterator[None]:
    """Hold the exclusive right to write `path` within a ``with`` block.

    The system releases the lock when the process ends, even if it is killed. The lock is a hidden file beside
    `path`, which is removed when the block ends. URLs are not locked, because object stores have no locks: two runs
    that write to the same URL do not notice each other.

    Parameters
    ----------
    path : str or path-like
        A local path or a URL.

    Raises
    ------
    StorageError
        If another run holds the lock, or if the folder of `path` is not writable.
    """
    if is_url(path):
        yield
        return
    # Not the package filelock: its version 4 does not remove the lock file, and with versions up to 3.20 two runs
    # can both hold a lock whose file is removed, because they don't check that the locked file still has its name.
    import fcntl

    name = beside(path, "lock")
    while True:
        try:
            file = open(name, "w")  # noqa: SIM115 - stays open as long as the lock is held
        except OSError as error:
            raise StorageError(f"can't write beside {path}: {error.strerror}; choose another output") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StorageError(f"another run is writing {path}; wait for it or choose another output") from error
            if not _has_name(file, name):
                continue  # an earlier holder removed the file after it was opened here, so this lock protects nothing
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(name)
            return


def _has_name(file: IO[Any], path: str) -> bool:
    """Whether `path` still names the open file: it has been neither removed nor replaced."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
