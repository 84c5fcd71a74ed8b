"""Places on disk or at a URL: open, write beside, publish by one rename, lock."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import threading
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import xarray as xr
import zarr

from som_dask.errors import StorageError

__all__ = [
    "beside",
    "check_free",
    "create",
    "exists",
    "is_url",
    "lock",
    "make_durable",
    "names_in",
    "open_dataset",
    "open_zarr_node",
    "publish",
    "read_bytes",
    "remove",
    "write_bytes",
]

Location = str | os.PathLike[str]
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # Linux, renameat2(2)
_creating = threading.Lock()


def is_url(place: Location) -> bool:
    """Whether `place` is an fsspec URL such as ``s3://bucket/key``, not a local path."""
    return "://" in os.fspath(place)


def beside(place: Location, suffix: str) -> str:
    """A hidden name in the folder of `place`: ``a/b.zarr`` -> ``a/.b.zarr.SUFFIX``."""
    head, slash, name = os.fspath(place).rstrip("/").rpartition("/")
    return f"{head}{slash}.{name}.{suffix}"


def exists(place: Location) -> bool:
    """Whether there is a file or folder at `place`."""
    if not is_url(place):
        return os.path.lexists(place)
    filesystem, path = fsspec.core.url_to_fs(os.fspath(place))
    return bool(filesystem.exists(path))


def _holds(place: Location, other: Location) -> bool:
    """Whether `other` is `place` or lies in it."""
    if is_url(place) or is_url(other):
        place, other = os.fspath(place).rstrip("/"), os.fspath(other).rstrip("/")
    else:
        place, other = os.path.realpath(place), os.path.realpath(other)
    return other == place or other.startswith(f"{place}/")


def remove(place: Location) -> None:
    """Remove the file or folder at `place`, if there is one."""
    if not exists(place):
        return
    if is_url(place):
        filesystem, path = fsspec.core.url_to_fs(os.fspath(place))
        filesystem.rm(path, recursive=True)
    elif os.path.isdir(place) and not os.path.islink(place):
        shutil.rmtree(place)
    else:
        os.unlink(place)


def check_free(place: Location, *, overwrite: bool, inputs: Iterable[Any] = ()) -> None:
    """See before any work that an output can be written to `place`.

    Parameters
    ----------
    place : path or URL
    overwrite : bool
        Whether a Zarr store there may be replaced; nothing else ever is.
    inputs : iterable
        What the run reads: none of its paths may be the output or lie in it.

    Raises
    ------
    StorageError
        If it exists and may not be overwritten, is no place or an input, or its folder is missing or can't be
        written to.
    """
    if os.path.basename(os.fspath(place).rstrip("/")) in ("", ".", ".."):
        raise StorageError(f"{os.fspath(place)!r} is no name for an output; give a path such as model.zarr")
    try:
        present = exists(place)
    except (ValueError, ImportError) as error:
        raise StorageError(f"can't use the output {place}: {error}") from error
    for source in inputs:
        if isinstance(source, (str, os.PathLike)) and _holds(place, source):
            raise StorageError(f"the output {place} would replace the input {source}; choose another output")
    if present and not overwrite:
        raise StorageError(f"{place} exists already; choose another output or allow it with --overwrite")
    if present and not {"zarr.json", ".zgroup", ".zarray"} & set(names_in(place)):
        raise StorageError(f"{place} is not a Zarr store and is never overwritten; choose another output")
    if is_url(place):
        return
    folder = Path(place).absolute().parent
    if not folder.is_dir():
        raise StorageError(f"the folder {folder} for the output does not exist; create it first")
    probe = folder / f".{Path(place).name}.{os.getpid()}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(f"can't write to {folder}: {error.strerror}; choose another output") from error


def write_bytes(place: Location, data: bytes) -> None:
    """Write a file so that it is either whole or not there: beside, to the disk, then renamed."""
    if is_url(place):
        filesystem, path = fsspec.core.url_to_fs(os.fspath(place))
        filesystem.makedirs(filesystem._parent(path), exist_ok=True)
        filesystem.pipe_file(path, data)  # object stores show an object only when it is whole
        return
    temporary = beside(place, f"{os.getpid()}.tmp")
    try:
        os.makedirs(os.path.dirname(os.path.abspath(place)), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    except BaseException as error:  # an interrupt must not leave the temporary file either
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise StorageError(f"can't write {place}: {error.strerror}; free some space or move it") from error
        raise
    _sync(os.path.dirname(os.path.abspath(place)))


def create(place: Location, data: bytes) -> bool:
    """Write a new file; of several writers of one place exactly one succeeds.

    The system decides on local disks, a conditional write on object stores that have one (S3, Google, Azure).
    Elsewhere it is looked first and written then, which only threads of one process can't come between.

    Parameters
    ----------
    place : path or URL
    data : bytes

    Returns
    -------
    bool
        False if there is something already; it is left as it is.

    Raises
    ------
    StorageError
        If it can't be written.
    """
    try:
        if not is_url(place):
            os.makedirs(os.path.dirname(os.path.abspath(place)), exist_ok=True)
            return _create_file(place, data)
        filesystem, path = fsspec.core.url_to_fs(os.fspath(place))
        with _creating:
            filesystem.makedirs(filesystem._parent(path), exist_ok=True)
            if filesystem.exists(path):
                return False
            try:
                filesystem.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except (NotImplementedError, TypeError, ValueError):  # no such mode
                filesystem.pipe_file(path, data)
    except OSError as error:
        raise StorageError(f"can't write {place}: {error.strerror or error}; choose another place") from error
    return True


def _create_file(path: Location, data: bytes) -> bool:
    try:
        file = open(path, "xb")  # noqa: SIM115 - its own errors are told from those of writing
    except FileExistsError:
        return False
    with file:
        file.write(data)
    return True


def read_bytes(place: Location) -> bytes:
    """The contents of a file.

    Raises
    ------
    StorageError
        If it is not there or can't be read.
    """
    try:
        with fsspec.open(os.fspath(place), "rb") as file:
            return file.read()
    except OSError as error:
        raise StorageError(f"can't read {place}: {error.strerror or error}; check the path") from error


def _sync(path: Location) -> None:
    """Make a file or a folder's entries survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def names_in(folder: Location) -> list[str]:
    """Names of the entries of a folder; none where there is no folder."""
    if not is_url(folder):
        return os.listdir(folder) if os.path.isdir(folder) else []
    if not exists(folder):
        return []
    filesystem, path = fsspec.core.url_to_fs(os.fspath(folder))
    return [os.path.basename(entry) for entry in filesystem.ls(path, detail=False)]


def make_durable(files: Iterable[Location]) -> None:
    """Make local files survive a power failure; those that are not there are passed over."""
    for file in files:
        if not is_url(file) and os.path.exists(file):
            _sync(file)


def publish(temporary: Location, place: Location, *, overwrite: bool) -> None:
    """Give a finished store its name by one rename.

    On a local disk the store's files are first made durable; an old store is exchanged for the new one in the
    same instant where the system can (Linux), else moved aside just before, and removed after. Object stores
    have no rename: there the files are copied to their place and then removed from `temporary`.

    Raises
    ------
    StorageError
        If `place` exists and may not be overwritten, or the rename fails; then nothing has changed.
    """
    temporary, place = os.fspath(temporary), os.fspath(place)
    if exists(place) and not overwrite:
        raise StorageError(f"{place} has appeared in the meantime; the result is kept at {temporary}")
    if is_url(place):
        filesystem, target = fsspec.core.url_to_fs(place)
        remove(place)
        filesystem.mv(fsspec.core.url_to_fs(temporary)[1], target, recursive=True)
        return
    for folder, _, files in os.walk(temporary):
        for name in files:
            _sync(os.path.join(folder, name))
        _sync(folder)
    try:
        if not os.path.lexists(place):
            os.rename(temporary, place)
        elif _exchange(temporary, place):
            remove(temporary)
        else:
            old = beside(place, "old")
            remove(old)
            os.rename(place, old)
            try:
                os.rename(temporary, place)
            except OSError:
                os.rename(old, place)
                raise
            remove(old)
    except OSError as error:
        raise StorageError(f"can't publish {place}: {error.strerror}; the result is kept at {temporary}") from error
    _sync(os.path.dirname(os.path.abspath(place)))


def _exchange(one: str, other: str) -> bool:
    """Swap two names atomically; False where the system can't."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


@contextlib.contextmanager
def lock(place: Location) -> Iterator[None]:
    """Hold the right to write `place`; the system gives it back when the process ends, however it ends.

    Local places only: object stores have no locks, and there two runs into one output are not noticed.

    Raises
    ------
    StorageError
        If another run holds it.
    """
    if is_url(place):
        yield
        return
    import fcntl

    name = beside(place, "lock")
    while True:
        try:
            file = open(name, "w")  # noqa: SIM115 - held open as long as the lock
        except OSError as error:
            raise StorageError(f"can't write beside {place}: {error.strerror}; choose another output") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StorageError(f"another run is writing {place}; wait for it or choose another output") from error
            if not os.path.exists(name) or not os.path.samestat(os.fstat(file.fileno()), os.stat(name)):
                continue  # a holder let go, and removed the file, after it was opened here: it locks nothing now
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(name)
            return


def open_zarr_node(place: Location) -> Any:
    """The Zarr group or array at `place`, read-only.

    Raises
    ------
    StorageError
        If there is nothing there, or it is no Zarr store.
    """
    if not is_url(place) and not os.path.exists(place):
        raise StorageError(f"{place} does not exist; check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return zarr.open(os.fspath(place), mode="r")
    except Exception as error:  # zarr, fsspec and its backends each raise errors of their own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(f"can't open {place} as a Zarr store: {reason}") from error


def open_dataset(place: Location, *, decode_times: bool | None = None) -> xr.Dataset:
    """The Zarr group at `place` as a Dataset that is read lazily, without dask.

    Parameters
    ----------
    place : path or URL
    decode_times : bool, optional
        As of `xarray.open_zarr`.

    Raises
    ------
    StorageError
        If there is nothing there, or it is no Zarr store.
    """
    node = open_zarr_node(place)
    # Said explicitly, for xarray would try, and warn where there is none.
    consolidated = getattr(node.metadata, "consolidated_metadata", None) is not None
    return xr.open_zarr(os.fspath(place), chunks=None, consolidated=consolidated, decode_times=decode_times)
