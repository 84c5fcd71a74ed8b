"""Outputs of a run: check that they can be written, let one run at a time write them, publish them by one rename."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import posixpath
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from som_dask.errors import StorageError
from som_dask.io.claims import PlaceTakenError, claim
from som_dask.io.files import (
    PathOrUrl,
    beside,
    exists,
    is_url,
    local_path,
    make_durable,
    name_me,
    names_in,
    remove,
)
from som_dask.io.leftovers import find_leftovers

__all__ = ["ROOTS", "check_apart", "check_free", "lock", "publish", "work_folder"]

ROOTS = {"zarr.json", ".zgroup", ".zarray"}  # one of them is in the folder of every Zarr store
TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # errors of a rename to a path where something is
PROBE, REPLACED = "probe", "replaced"  # suffixes: a file that tries a folder, an old store that is moved aside
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of renameat2(2) on Linux


def work_folder(path: PathOrUrl) -> str:
    """Return the hidden folder beside `path` that says, as long as it is there, that `path` is being written."""
    return beside(path, "partial")


def check_free(path: PathOrUrl, *, overwrite: bool, inputs: Iterable[Any] = ()) -> None:
    """Check, before any work is done, that an output can be written to `path`.

    Parameters
    ----------
    path : str or path-like
        A local path or a URL.
    overwrite : bool
        Whether a Zarr store at `path` may be replaced. Nothing but a Zarr store is ever replaced.
    inputs : iterable
        What the run reads, as for `check_apart`.

    Raises
    ------
    StorageError
        If `path` exists and may not be replaced, if it can't be the name of an output, if it would replace an
        input, or if its folder does not exist or is not writable.
    """
    if os.path.basename(local_path(path).rstrip("/")) in ("", ".", ".."):
        raise StorageError(f"{os.fspath(path)!r} is no name for an output; give a path such as model.zarr")
    _put_back(path)
    present = exists(path)
    check_apart(path, inputs)
    is_store = present and bool(ROOTS & set(names_in(path)))
    if present and not is_store and is_url(path) and exists(work_folder(path)):
        present = False  # what a run that was killed has written; see `som_dask.io.draft`
    if present and not overwrite:
        raise StorageError(f"{path} exists already; choose another output or allow it with `overwrite=True`")
    if present and not is_store:
        raise StorageError(f"{path} is not a Zarr store and is never overwritten; choose another output")
    if not is_url(path):
        _check_writable(Path(local_path(path)))


def _put_back(path: PathOrUrl) -> None:
    """Put back the store that a process which was killed just then had moved aside, to publish a new one."""
    for place in [] if is_url(path) else find_leftovers(path, REPLACED):
        if exists(path):  # the new one was published
            remove(place)
        else:
            _try_rename(place, local_path(path), *TAKEN, errno.ENOENT)


def check_apart(path: PathOrUrl, inputs: Iterable[Any] = (), *, kind: str = "output") -> None:
    """Check that writing to `path` changes nothing that is read, and no Zarr store.

    Parameters
    ----------
    path : str or path-like
        A local path or a URL.
    inputs : iterable
        What is read. No path among them may be `path`, lie in it or contain it, in whatever way they are spelled;
        other objects are ignored.
    kind : str
        What is written, for messages.

    Raises
    ------
    StorageError
        If it would.
    """
    place = _canonical(path)
    for source in inputs:
        if not isinstance(source, (str, os.PathLike)):
            continue
        other = _canonical(source)
        if _contains(place, other):
            raise StorageError(f"the {kind} {path} would replace the input {source}; choose another {kind}")
        if _contains(other, place):
            raise StorageError(f"the {kind} {path} lies in the input {source}; choose a place outside of it")
    for folder in _parents(place):
        if any(_is_there(f"{folder}/{name}") for name in ROOTS):
            raise StorageError(f"the {kind} {path} lies in the Zarr store {folder}; choose a place outside of it")


def _parents(place: str) -> list[str]:
    """Return the folders that a path or URL lies in, up to the root or the bucket."""
    if not is_url(place):
        return [str(folder) for folder in Path(place).parents]
    protocol, _, rest = place.partition("://")
    return [f"{protocol}://{folder}" for folder in map(str, PurePosixPath(rest).parents) if folder not in (".", "/")]


def _is_there(path: str) -> bool:
    try:
        return exists(path)
    except StorageError:  # object stores hide folders from those who may not list them
        return False


def _canonical(path: PathOrUrl) -> str:
    """Return the one spelling of a place: a path without links, or a URL without needless slashes."""
    if not is_url(path):
        return os.path.realpath(local_path(path))
    protocol, _, rest = os.fspath(path).partition("://")
    return f"{protocol}://{posixpath.normpath(rest)}"


def _contains(folder: str, path: str) -> bool:
    """Whether a place is another or lies in it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _check_writable(path: Path) -> None:
    """Check that a file can be made in the folder of `path`."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise StorageError(f"the folder {folder} for the output does not exist; create it first")
    for left in find_leftovers(path, PROBE):
        remove(left)
    probe = Path(beside(path, f"{name_me()}.{PROBE}"))
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(f"can't write to {folder}: {error.strerror}; choose another output") from error


def publish(temporary: PathOrUrl, path: PathOrUrl, *, overwrite: bool) -> None:
    """Rename a finished store to its final path, so that readers never see an incomplete one.

    The files are first made durable. An old store is swapped with the new one in one step where the system can do
    that (Linux); elsewhere it is moved aside just before. It is removed afterwards.

    Parameters
    ----------
    temporary : str or path-like
        The finished store, on the same filesystem as `path`.
    path : str or path-like
        The final path. Object stores can't rename; see `som_dask.io.draft`.
    overwrite : bool
        Whether an old store at `path` may be replaced.

    Raises
    ------
    StorageError
        If `path` exists and may not be replaced, or if the rename fails; then nothing has changed.
    """
    temporary, path = local_path(temporary), local_path(path).rstrip("/")
    if exists(path) and not overwrite:
        raise StorageError(f"{path} has appeared in the meantime; the result is kept at {temporary}")
    try:
        for folder, _, files in os.walk(temporary):
            make_durable([*(os.path.join(folder, name) for name in files), folder])
        old = _rename(temporary, path, overwrite=overwrite)
    except FileExistsError as error:
        raise StorageError(f"{path} has appeared in the meantime; the result is kept at {temporary}") from error
    except OSError as error:
        raise StorageError(
            f"can't publish {path}: {error.strerror or error}; the result is kept at {temporary}"
        ) from error
    make_durable([os.path.dirname(os.path.abspath(path))])
    if old is not None:
        remove(old)


def _rename(temporary: str, path: str, *, overwrite: bool) -> str | None:
    """Rename a local file or folder; return where that is now which was at `path` before, or None."""
    while True:
        if not os.path.lexists(path):
            if _try_rename(temporary, path, *TAKEN):
                return None
        elif not overwrite:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        elif _exchange(temporary, path):
            return temporary
        elif _try_rename(path, old := beside(path, f"{name_me()}.{REPLACED}"), errno.ENOENT):
            try:
                done = _try_rename(temporary, path, *TAKEN)
            except OSError:
                os.rename(old, path)
                raise
            if done:
                return old
            remove(old)


def _try_rename(source: str, target: str, *errors: int) -> bool:
    """Rename; return False after one of some errors, by which another process shows that it was faster."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno in errors:
            return False
        raise
    return True


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
    `path`, which is removed when the block ends. At URLs it is a claim; see `som_dask.io.claims.claim`.

    Parameters
    ----------
    path : str or path-like
        A local path or a URL.

    Raises
    ------
    PlaceTakenError
        If another run holds the lock.
    StorageError
        If the folder of `path` is not writable.
    """
    if is_url(path):
        with claim(path):
            yield
        return
    path = local_path(path)
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
                raise PlaceTakenError(
                    f"another run is writing {path}; wait for it or choose another output"
                ) from error
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
