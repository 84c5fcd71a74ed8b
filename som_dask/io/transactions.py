"""Write into Zarr stores given as objects: there is no rename, so publishing them is left to the caller."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.storage import FsspecStore

from som_dask.errors import StorageError
from som_dask.io.store_objects import StoreObject, describe_place, is_icechunk, store_and_path_of

__all__ = ["check_shared", "check_writable", "create_in"]


def check_writable(place: StoreObject, *, overwrite: bool, inputs: Iterable[Any] = ()) -> None:
    """Check that a result can be written to a store.

    Parameters
    ----------
    place : Zarr store, or group in one
    overwrite : bool
        Whether what is there may be replaced.
    inputs : iterable
        What is read; anything but store objects is ignored.

    Raises
    ------
    StorageError
        If the store is read-only, if `place` is an array, if something is there and may not be overwritten, or if an
        input is there.
    """
    store, path = store_and_path_of(place)
    name = describe_place(place)
    if isinstance(place, zarr.Array):
        raise StorageError(f"{name} is an array; give a store or a group to write to")
    if store.read_only:
        raise StorageError(f"{name} is read-only; open it for writing (icechunk: repo.writable_session)")
    for source in inputs:
        if isinstance(source, StoreObject) and _contains(store, path, *store_and_path_of(source)):
            raise StorageError(f"the output {name} would replace the input; choose another group, as by StorePath")
    try:
        taken = _holds_something(store, path)
    except ValueError as error:  # as of a zip file
        raise StorageError(f"{name} can't be read while it is written; write to a path, and pack that") from error
    if taken and not overwrite:
        raise StorageError(f"{name} holds something already; choose another place, or allow it with `overwrite=True`")


def _contains(store: Store, path: str, other: Store, inner: str) -> bool:
    return store == other and f"{inner}/".startswith(f"{path}/" if path else "")


def _holds_something(store: Any, path: str) -> bool:
    """Whether there is an array, or a group that is not empty or has attributes."""
    try:
        node = zarr.open(store, path=path, mode="r")
    except FileNotFoundError:
        return False
    return isinstance(node, zarr.Array) or bool(node.nmembers() or dict(node.attrs))


def create_in(
    place: StoreObject, dataset: xr.Dataset, encoding: Mapping[Any, Any], *, overwrite: bool, compute: bool = True
) -> None:
    """Write a Dataset to a store.

    Parameters
    ----------
    place : Zarr store, or a group in one
    dataset : xarray.Dataset
    encoding : mapping
        As for `xarray.Dataset.to_zarr`.
    overwrite : bool
        Remove what is there first.
    compute : bool
        Whether the values of lazy variables are written, too.

    Raises
    ------
    StorageError
        If the store can't hold it.
    """
    store, path = store_and_path_of(place)
    options: dict[str, Any] = {
        "mode": "w" if overwrite else "a",
        "zarr_format": 3,
        "consolidated": False,
        "compute": compute,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.to_zarr(store, group=path or None, encoding=encoding, **options)
    except Exception as error:  # what xarray and the store can't hold they refuse by errors of many kinds
        reason = " ".join(str(error).split())
        raise StorageError(f"can't write {describe_place(place)}: {reason}; choose another store") from error


def check_shared(place: StoreObject) -> None:
    """Check that the workers of a Dask client can write to a store so that this process sees it.

    Raises
    ------
    StorageError
        If the store is in the memory of a process, or if it is that of an icechunk session with changes.
    """
    store, _ = store_and_path_of(place)
    if is_icechunk(store):
        if store.session.has_uncommitted_changes:  # type: ignore[attr-defined]
            raise StorageError(
                f"{describe_place(place)} can't be sent to the Dask workers; commit them, and give a new session"
            )
        return
    in_files = isinstance(store, FsspecStore) and "memory" not in store.fs.protocol
    of_objects = type(getattr(store, "store", None)).__module__.startswith("obstore") and not _is_memory(store)
    if not (in_files or of_objects):
        raise StorageError(
            f"the Dask workers can't write to {describe_place(place)}, each would write to a copy; "
            f"give a path, a URL or an icechunk session, or close the client"
        )


def _is_memory(store: Any) -> bool:
    return type(store.store).__name__ == "MemoryStore"
