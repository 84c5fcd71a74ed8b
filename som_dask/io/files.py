"""Files and folders, local or at a URL: look for them, read them, write them whole, remove them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Iterable
from typing import Any

import fsspec
import psutil

from som_dask.errors import StorageError

__all__ = [
    "beside",
    "beside_for_me",
    "create",
    "exists",
    "is_url",
    "make_durable",
    "names_in",
    "read_bytes",
    "remove",
    "remove_leftovers",
    "resolve_url",
    "write_bytes",
]

PathOrUrl = str | os.PathLike[str]
_creating = threading.Lock()


def is_url(path: PathOrUrl) -> bool:
    """Whether `path` is an fsspec URL such as ``s3://bucket/key`` and not a local path."""
    return "://" in os.fspath(path)


def resolve_url(url: PathOrUrl) -> tuple[Any, str]:
    """Return the fsspec filesystem of a URL, and the path within it.

    Parameters
    ----------
    url : str

    Returns
    -------
    filesystem : fsspec.AbstractFileSystem
    path : str

    Raises
    ------
    StorageError
        If the protocol is unknown, or the package for it is not installed; the message names the package.
    """
    try:
        return fsspec.core.url_to_fs(os.fspath(url))
    except (ValueError, ImportError) as error:
        reason = str(error).strip().rstrip(".")
        raise StorageError(f"can't use {url}: {reason}; check the URL, or install the package for it") from error


def beside(path: PathOrUrl, suffix: str) -> str:
    """Return a hidden path in the same folder: ``a/b.zarr`` -> ``a/.b.zarr.SUFFIX``."""
    head, slash, name = os.fspath(path).rstrip("/").rpartition("/")
    return f"{head}{slash}.{name}.{suffix}"


def beside_for_me(path: PathOrUrl) -> str:
    """Return a hidden path in the same folder that no other process or thread uses, to write to before a rename.

    It names the machine and the process, so that `remove_leftovers` can tell what a killed process left.
    """
    return beside(path, f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}.partial")


def remove_leftovers(path: PathOrUrl) -> None:
    """Remove what processes of this machine that have ended left at paths made by `beside_for_me`."""
    folder = os.path.dirname(os.fspath(path).rstrip("/")) or "."
    hidden, here = os.path.basename(beside(path, "")), f"{socket.gethostname()}-"
    for name in names_in(folder):
        middle = name.removeprefix(hidden).removesuffix(".partial")
        if f"{hidden}{middle}.partial" != name or not middle.startswith(here):
            continue
        process = middle.removeprefix(here).partition("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            with contextlib.suppress(FileNotFoundError):  # another process removes it as well
                remove(f"{folder}/{name}")


def exists(path: PathOrUrl) -> bool:
    """Whether there is a file or folder at `path`."""
    if not is_url(path):
        return os.path.lexists(os.fspath(path).rstrip("/") or path)  # with a slash at its end a file is not found
    filesystem, inner = resolve_url(path)
    return bool(filesystem.exists(inner))


def remove(path: PathOrUrl) -> None:
    """Remove the file or folder at `path`; do nothing if there is none."""
    if not exists(path):
        return
    if is_url(path):
        filesystem, inner = resolve_url(path)
        filesystem.rm(inner, recursive=True)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def write_bytes(path: PathOrUrl, data: bytes) -> None:
    """Write a file that is either complete or does not exist, and that survives a power failure.

    A local file is written under a hidden name, flushed to the disk, and then renamed.

    Parameters
    ----------
    path : str or path-like
        A local path or a URL. Its folder is made if it does not exist; an old file is replaced.
    data : bytes

    Raises
    ------
    StorageError
        If the file can't be written; an old file is then left as it was.
    """
    if is_url(path):
        filesystem, inner = resolve_url(path)
        filesystem.makedirs(filesystem._parent(inner), exist_ok=True)
        filesystem.pipe_file(inner, data)  # object stores show an object only when it is complete
        return
    temporary = beside_for_me(path)
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:  # an interrupt must not leave the temporary file either
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise StorageError(f"can't write {path}: {error.strerror}; free some space or move it") from error
        raise
    _sync(os.path.dirname(os.path.abspath(path)))


def create(path: PathOrUrl, data: bytes) -> bool:
    """Create a new file; of several writers of the same file, exactly one succeeds.

    Local disks guarantee this, and so do object stores with conditional writes (S3, Google, Azure). On other
    filesystems the file is looked for before it is written, so only the threads of one process exclude each other.

    Parameters
    ----------
    path : str or path-like
        A local path or a URL. Its folder is made if it does not exist.
    data : bytes

    Returns
    -------
    bool
        False if the file existed already; it is then left as it was.

    Raises
    ------
    StorageError
        If the file can't be written.
    """
    try:
        return _create_object(path, data) if is_url(path) else _create_file(path, data)
    except OSError as error:
        raise StorageError(f"can't write {path}: {error.strerror or error}; choose another place") from error


def _create_object(url: PathOrUrl, data: bytes) -> bool:
    filesystem, inner = resolve_url(url)
    with _creating:
        filesystem.makedirs(filesystem._parent(inner), exist_ok=True)
        if filesystem.exists(inner):
            return False
        try:
            filesystem.pipe_file(inner, data, mode="create")
        except FileExistsError:
            return False
        except (NotImplementedError, TypeError, ValueError):  # the filesystem does not know this mode
            filesystem.pipe_file(inner, data)
    return True


def _create_file(path: PathOrUrl, data: bytes) -> bool:
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    try:
        file = open(path, "xb")  # noqa: SIM115 - apart from writing, whose errors mean something else
    except FileExistsError:
        return False
    with file:
        file.write(data)
    return True


def read_bytes(path: PathOrUrl) -> bytes:
    """Read a file.

    Parameters
    ----------
    path : str or path-like
        A local path or a URL.

    Returns
    -------
    bytes

    Raises
    ------
    StorageError
        If the file does not exist or can't be read.
    """
    try:
        with fsspec.open(os.fspath(path), "rb") as file:
            return file.read()
    except OSError as error:
        raise StorageError(f"can't read {path}: {error.strerror or error}; check the path") from error


def _sync(path: PathOrUrl) -> None:
    """Make a file, or the entries of a folder, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def names_in(folder: PathOrUrl) -> list[str]:
    """List the names of the files and folders in a folder; the list is empty if there is no such folder."""
    if not is_url(folder):
        return os.listdir(folder) if os.path.isdir(folder) else []
    if not exists(folder):
        return []
    filesystem, inner = resolve_url(folder)
    return [os.path.basename(entry) for entry in filesystem.ls(inner, detail=False)]


def make_durable(paths: Iterable[PathOrUrl]) -> None:
    """Make local files survive a power failure; URLs and files that do not exist are skipped."""
    for path in paths:
        if not is_url(path) and os.path.exists(path):
            _sync(path)
