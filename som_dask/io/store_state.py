"""The state of a stored input: whether anything was written there since, found out without reading it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from som_dask.errors import StorageError
from som_dask.io.data_files import find_files, kind_of_file
from som_dask.io.files import PathOrUrl, describe_object, describe_tree, is_url, local_path

__all__ = ["store_state"]

# What fsspec's filesystems tell of an object that changes when it is written again: S3, Google, Azure, others.
TELLING = (
    "ETag",
    "etag",
    "generation",
    "content_md5",
    "md5Hash",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
)


def store_state(place: PathOrUrl, names: Iterable[str] = ()) -> str | None:
    """Compute a digest of sizes, times and versions of all files or objects of a Zarr store, or of files of data.

    It costs a listing, and no reading. If it is the same as before, the store holds the same; if it is another, the
    store may hold the same nevertheless.

    Parameters
    ----------
    place : path or fsspec URL
        A group or an array; or a file, a folder of files or a pattern, as `find_files` takes them.
    names : iterable of str
        Arrays of a group; the digest is of these alone. By default it is of everything.

    Returns
    -------
    str or None
        64 hexadecimal digits; None if the storage tells nothing that changes with every write, or has no such folder.
    """
    digest, is_there = hashlib.sha256(), False
    try:
        kind = kind_of_file(place)
        folders = find_files(place, kind) if kind else _arrays_of(place, names)
        tell = _facts_of_file if kind else _facts_of_tree
        for folder in folders:
            for key, facts in sorted(tell(folder)):
                if not facts:
                    return None
                digest.update(json.dumps([folder, key, facts]).encode())
                is_there = True
    except (OSError, StorageError):
        return None
    return digest.hexdigest() if is_there else None


def _arrays_of(place: PathOrUrl, names: Iterable[str]) -> list[str]:
    store = os.fspath(place).rstrip("/")
    return [f"{store}/{name}" for name in sorted(set(names))] or [store]


def _facts_of_tree(folder: PathOrUrl) -> Iterator[tuple[str, list[Any]]]:
    return _facts_of_url(folder) if is_url(folder) else _facts_of_folder(folder)


def _facts_of_file(file: PathOrUrl) -> Iterator[tuple[str, list[Any]]]:
    if is_url(file):
        told = describe_object(file)
        yield "", _facts_of_object(told)
    else:
        yield "", _facts_of_path(local_path(file))


def _facts_of_folder(folder: PathOrUrl) -> Iterator[tuple[str, list[Any]]]:
    """Yield the files of a folder, with their sizes and the times at which they and their entries were changed."""
    folder = local_path(folder)
    for parent, _, files in os.walk(folder, followlinks=True):
        for name in files:
            path = os.path.join(parent, name)
            yield os.path.relpath(path, folder), _facts_of_path(path)


def _facts_of_path(path: str) -> list[Any]:
    found = os.stat(path)
    # The second time can't be set, as copying programs set the first one.
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _facts_of_url(url: PathOrUrl) -> Iterator[tuple[str, list[Any]]]:
    for key, told in describe_tree(url).items():
        yield key, _facts_of_object(told)


def _facts_of_object(told: Mapping[str, Any]) -> list[Any]:
    facts = [f"{name} {told[name]}" for name in TELLING if told.get(name) is not None]
    return [told.get("size"), *facts] if facts else []
