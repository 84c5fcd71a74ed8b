"""Files and folders, local or at a URL: look for them, read them, write them whole, remove them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import fsspec

from som_dask.errors import SomError, StorageError

__all__ = [
    "beside",
    "beside_for_me",
    "create",
    "describe_object",
    "describe_tree",
    "exists",
    "is_file",
    "is_url",
    "list_tree",
    "local_path",
    "make_durable",
    "name_me",
    "names_in",
    "read_bytes",
    "remove",
    "remove_all",
    "resolve_url",
    "write_bytes",
]

PathOrUrl = str | os.PathLike[str]
LOCAL = ("file://", "local://")  # fsspec's spellings of local paths
_creating = threading.Lock()
REMOVALS = 10  # tries to remove a folder that others remove from, or still write to


def is_url(path: PathOrUrl) -> bool:
    """Whether `path` is an fsspec URL such as ``s3://bucket/key`` and not a local path, however that is spelled."""
    path = os.fspath(path)
    return "://" in path and not path.startswith(LOCAL)


def local_path(path: PathOrUrl) -> str:
    """Return `path` as the system spells it: ``file:///a`` and ``local:///a`` are ``/a``. Other URLs stay."""
    path = os.fspath(path)
    for start in LOCAL:
        path = path.removeprefix(start)
    return path


@contextlib.contextmanager
def _reaching(path: PathOrUrl, verb: str, remedy: str) -> Iterator[None]:
    """Turn the errors of a storage, each of which has its own kinds, into one kind that names the path."""
    try:
        yield
    except (SomError, MemoryError):
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise StorageError(f"can't {verb} {path}: {reason}; {remedy}") from error


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
    head, slash, name = local_path(path).rstrip("/").rpartition("/")
    return f"{head}{slash}.{name}.{suffix}"


def beside_for_me(path: PathOrUrl) -> str:
    """Return a hidden path in the same folder that no other process or thread uses, to write to before a rename.

    It names the machine and the process, so that `remove_leftovers` can tell what a killed process left.
    """
    return beside(path, f"{name_me()}.partial")


def name_me() -> str:
    """Return a name that no other process or thread uses, and by which `has_ended` knows this process."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def exists(path: PathOrUrl) -> bool:
    """Whether there is a file or folder at `path`, or at an object store anything whose key begins with ``PATH/``.

    Raises
    ------
    StorageError
        If the storage at a URL can't be reached.
    """
    if not is_url(path):
        # With a slash at its end a file is not found.
        return os.path.lexists(local_path(path).rstrip("/") or "/")
    with _reaching(path, "reach", "check the address, and that the credentials are set"):
        filesystem, inner = _resolve_anew(path)
        return bool(filesystem.exists(inner))


def is_file(url: PathOrUrl) -> bool:
    """Whether there is a single file or object at a URL.

    Raises
    ------
    StorageError
        If the storage can't be reached.
    """
    with _reaching(url, "reach", "check the address, and that the credentials are set"):
        filesystem, inner = _resolve_anew(url)
        return bool(filesystem.isfile(inner))


def _resolve_anew(url: PathOrUrl) -> tuple[Any, str]:
    """Return the filesystem of a URL without what it remembers of the place, which others may have changed."""
    filesystem, inner = resolve_url(url)
    filesystem.invalidate_cache(inner)
    return filesystem, inner


def remove(path: PathOrUrl) -> None:
    """Remove the file or folder at `path`; do nothing if there is none.

    Raises
    ------
    StorageError
        If it can't be removed.
    """
    if is_url(path):
        with _reaching(path, "remove", "check that you may"), contextlib.suppress(FileNotFoundError):
            filesystem, inner = _resolve_anew(path)
            if filesystem.exists(inner):
                filesystem.rm(inner, recursive=True)
        return
    path = local_path(path)
    try:
        for _ in range(REMOVALS):
            if not os.path.lexists(path) or _remove_once(path):
                return
    except OSError as error:
        raise StorageError(f"can't remove {path}: {error.strerror}; remove it yourself") from error
    raise StorageError(f"can't remove {path}: something is being written there; remove it yourself")


def _remove_once(path: PathOrUrl) -> bool:
    """Remove a local file or folder; return False if others remove it as well, or threads still write to it."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTEMPTY):
            return False
        raise
    return True


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
        with _reaching(path, "write", "check the address, and that you may write there"):
            filesystem, inner = _make_parent(path)
            filesystem.pipe_file(inner, data)  # object stores show an object only when it is complete
        return
    path = local_path(path)
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
    with _reaching(path, "write", "choose another place"):
        return _create_object(path, data) if is_url(path) else _create_file(local_path(path), data)


def _make_parent(url: PathOrUrl) -> tuple[Any, str]:
    """Make the folder of a URL, where the storage has folders; return its filesystem and the path within it."""
    filesystem, inner = resolve_url(url)
    if not hasattr(filesystem, "split_path"):  # those of object stores have it; they would make a misspelled bucket
        filesystem.makedirs(filesystem._parent(inner), exist_ok=True)
    return filesystem, inner


def _create_object(url: PathOrUrl, data: bytes) -> bool:
    with _creating:
        filesystem, inner = _make_parent(url)
        filesystem.invalidate_cache(inner)
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
    with _reaching(path, "read", "check the path"):
        if not is_url(path):
            with open(local_path(path), "rb") as file:
                return file.read()
        filesystem, inner = _resolve_anew(path)  # which would remember the size of an older object
        return filesystem.cat_file(inner)


def _sync(path: PathOrUrl) -> None:
    """Make a file, or the entries of a folder, survive a power failure."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageError(f"can't make {path} durable: {error.strerror}; check the disk, run again") from error


def names_in(folder: PathOrUrl) -> list[str]:
    """List the names of the files and folders in a folder; the list is empty if there is no such folder."""
    if not is_url(folder):
        folder = local_path(folder)
        return os.listdir(folder) if os.path.isdir(folder) else []
    with _reaching(folder, "list", "check the address, and that the credentials are set"):
        filesystem, inner = _resolve_anew(folder)
        try:
            entries = filesystem.ls(inner, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        # Some storages list the folder itself among what is in it.
        names = (os.path.basename(entry.rstrip("/")) for entry in entries if entry.rstrip("/") != inner.rstrip("/"))
        return list(names)


def describe_tree(url: PathOrUrl) -> dict[str, dict[str, Any]]:
    """List all objects below a URL: by what follows ``URL/`` in their keys, what the storage tells of each."""
    with _reaching(url, "list", "check the address, and that the credentials are set"):
        filesystem, inner = _resolve_anew(url)
        start = f"{inner.rstrip('/')}/"
        found = filesystem.find(inner, detail=True).items()
        return {key.removeprefix(start): told for key, told in found if key.startswith(start)}


def describe_object(url: PathOrUrl) -> dict[str, Any]:
    """Return what the storage tells of one object."""
    with _reaching(url, "reach", "check the address, and that the credentials are set"):
        filesystem, inner = _resolve_anew(url)
        return dict(filesystem.info(inner))


def list_tree(url: PathOrUrl) -> list[str]:
    """List all objects below a URL, by what follows ``URL/`` in their keys."""
    return list(describe_tree(url))


def remove_all(urls: Iterable[PathOrUrl]) -> None:
    """Remove many objects of one storage; those that are not there do not matter."""
    urls = list(urls)
    if not urls:
        return
    with _reaching(urls[0], "remove", "check that you may"), contextlib.suppress(FileNotFoundError):
        resolve_url(urls[0])[0].rm([resolve_url(url)[1] for url in urls])


def make_durable(paths: Iterable[PathOrUrl]) -> None:
    """Make local files survive a power failure; URLs and files that do not exist are skipped."""
    for path in paths:
        if not is_url(path) and os.path.exists(path):
            _sync(path)
