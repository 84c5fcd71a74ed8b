"""Zarr stores that are given as objects, not as paths: what they are called, and what they hold."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from typing import Any, TypeGuard

import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore, StorePath, ZipStore

from som_dask.errors import StorageError
from som_dask.io.files import PathOrUrl
from som_dask.io.redaction import redact

__all__ = [
    "Place",
    "StoreObject",
    "check_can_travel",
    "describe_place",
    "is_icechunk",
    "is_stored",
    "open_object",
    "resolve_place",
    "store_and_path_of",
]

StoreObject = Store | StorePath | zarr.Group | zarr.Array
Place = PathOrUrl | StoreObject


def is_stored(source: Any) -> TypeGuard[Place]:
    """Whether something is a path or URL, a Zarr store, or a group or array in one."""
    return isinstance(source, (str, os.PathLike, Store, StorePath, zarr.Group, zarr.Array))


def resolve_place(place: Place) -> Place:
    """Return the path of a place where it is on the local disk, and anything else as it is."""
    if isinstance(place, (str, os.PathLike)):
        return place
    store, path = store_and_path_of(place)
    return str(store.root / path) if isinstance(store, LocalStore) and not store.read_only else place


def store_and_path_of(place: StoreObject) -> tuple[Store, str]:
    """Return the store of a place, and the path of the group or array in it, empty for the root."""
    if isinstance(place, Store):
        return place, ""
    where = place if isinstance(place, StorePath) else place.store_path
    return where.store, where.path


def describe_place(place: Place) -> str:
    """Return what a place is called in messages and attributes: a path or URL, or words for a store; no secrets."""
    if isinstance(place, (str, os.PathLike)):
        return os.fspath(place)
    store, path = store_and_path_of(place)
    inside = f"/{path}" if path else ""
    if is_icechunk(store) and store.session.has_uncommitted_changes:  # type: ignore[attr-defined]
        inside += " with uncommitted changes"
    return redact(_describe_store(store) + inside)


def _describe_store(store: Any) -> str:
    if isinstance(store, LocalStore):
        return str(store.root)
    if isinstance(store, ZipStore):
        return str(store.path)
    if isinstance(store, FsspecStore):
        protocol = store.fs.protocol if isinstance(store.fs.protocol, str) else store.fs.protocol[0]
        return f"{protocol}://{store.path if protocol in ('file', 'local') else store.path.lstrip('/')}"
    if is_icechunk(store):
        return f"icechunk snapshot {store.session.snapshot_id}"
    inner = getattr(store, "store", None)  # of obstore, whose text holds no keys
    if inner is not None:
        return f"obstore {re.sub('<.*>', type(inner).__name__, str(inner))}"
    return type(store).__name__


def is_icechunk(store: Store) -> bool:
    """Whether a store is that of an icechunk session; the package need not be installed."""
    return type(store).__module__.partition(".")[0] == "icechunk"


def check_can_travel(node: zarr.Group | zarr.Array) -> None:
    """Check that a store can be sent to the workers of a Dask client, if there is one.

    Raises
    ------
    StorageError
        If it can't: it is in the memory of this process, or it is that of an icechunk session with changes.
    """
    import distributed  # which takes long, and is needed only here

    try:
        distributed.get_client()
    except ValueError:
        return
    try:
        pickle.dumps(node)
    except Exception as error:
        remedy = "give a read-only session (repo.readonly_session)" if is_icechunk(node.store) else "give its path"
        raise StorageError(f"{describe_place(node)} can't be sent to the Dask workers; {remedy}") from error


def open_object(place: StoreObject) -> Any:
    """Open the Zarr group or array in a store, to read it; a group is opened anew, for it may have changed.

    Raises
    ------
    StorageError
        If there is none.
    """
    if isinstance(place, zarr.Array):
        return place
    store, path = store_and_path_of(place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return zarr.open(store, path=path, mode="r")
    except Exception as error:  # each kind of store raises errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(f"can't open {describe_place(place)} as a Zarr store: {redact(reason)}") from error
