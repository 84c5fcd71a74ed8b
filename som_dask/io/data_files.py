"""Files of data other than Zarr stores: of which kind a path is, and which files it stands for."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from typing import Literal

from som_dask.errors import StorageError
from som_dask.io.files import PathOrUrl, describe_tree, exists, is_file, is_url, local_path, resolve_url

__all__ = ["KindOfFile", "find_files", "has_wildcards", "kind_of_file"]

KindOfFile = Literal["netcdf", "parquet", "csv"]
ENDINGS: dict[KindOfFile, tuple[str, ...]] = {
    "netcdf": (".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".he5"),
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
}
OF_STORES = {"zarr.json", ".zgroup", ".zarray"}
HIDDEN = ("_", ".")  # begin the names of files that hold no rows, in a folder that Spark and others wrote


def kind_of_file(path: PathOrUrl) -> KindOfFile | None:
    """Return the kind of the files that a path stands for, by its ending; None if it is to be a Zarr store.

    Parameters
    ----------
    path : path or fsspec URL
        A file, a folder of files of one kind (by the ending of the folder, or of what is in it) or a pattern with
        wildcards, such as ``part-*.parquet``.
    """
    text = local_path(path).rstrip("/")
    kind = _kind_of_name(text)
    if is_url(path):
        # No listing: over HTTP that of a file is the file.
        is_store = kind and not has_wildcards(path) and any(is_file(f"{text}/{name}") for name in OF_STORES)
        return None if is_store else kind
    if not os.path.isdir(text):
        return kind
    names = set(os.listdir(text))
    if names & OF_STORES:
        return None
    return kind or next(filter(None, map(_kind_of_name, sorted(n for n in names if not n.startswith(HIDDEN)))), None)


def _kind_of_name(name: str) -> KindOfFile | None:
    return next((kind for kind, endings in ENDINGS.items() if name.lower().endswith(endings)), None)


def has_wildcards(path: PathOrUrl) -> bool:
    """Whether a path is a pattern, and not the name of something that is there."""
    return glob.has_magic(local_path(path)) and (is_url(path) or not os.path.lexists(local_path(path)))


def find_files(path: PathOrUrl, kind: KindOfFile | None = None) -> list[str]:
    """Return the files that a path stands for, in the order of their names: absolute paths, or URLs.

    Parameters
    ----------
    path : path or fsspec URL
    kind : {"netcdf", "parquet", "csv"}, optional
        That of the files which are taken from a folder; by default it is found out as by `kind_of_file`.

    Raises
    ------
    StorageError
        If there are none.
    """
    kind = kind or kind_of_file(path)
    found = _find_objects(os.fspath(path)) if is_url(path) else _find_local(os.path.abspath(local_path(path)))
    if kind is not None and found != [_as_given(path)]:
        found = [name for name in found if name.lower().endswith(ENDINGS[kind]) and not _is_hidden(name)]
    if found:
        return sorted(found)
    if has_wildcards(path):
        raise StorageError(f"there is no file {os.fspath(path)}; check the pattern")
    what = f"holds no {kind} files" if exists(path) else "does not exist"
    raise StorageError(f"{os.fspath(path)} {what}; check the path")


def _as_given(path: PathOrUrl) -> str:
    return os.fspath(path) if is_url(path) else os.path.abspath(local_path(path))


def _is_hidden(name: str) -> bool:
    return os.path.basename(name).startswith(HIDDEN)


def _find_local(path: str) -> list[str]:
    if has_wildcards(path):
        return [name for each in glob.glob(path, recursive=True) for name in _find_local(each)]
    if not os.path.isdir(path):
        return [path] if os.path.exists(path) else []
    return [os.path.join(parent, name) for parent, _, names in os.walk(path, followlinks=True) for name in names]


def _find_objects(url: str) -> list[str]:
    if has_wildcards(url):
        filesystem, inner = resolve_url(url)
        return _with_protocol(filesystem, filesystem.glob(inner))
    return [url] if is_file(url) else [f"{url.rstrip('/')}/{key}" for key in describe_tree(url)]


def _with_protocol(filesystem: object, names: Sequence[str]) -> list[str]:
    return [filesystem.unstrip_protocol(name) for name in names]  # type: ignore[attr-defined]
