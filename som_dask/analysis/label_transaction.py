"""Infer labels of all samples into a Zarr store object, block by block, in a transaction that the caller ends."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from zarr.storage import StorePath

from som_dask.analysis.label_groups import Groups
from som_dask.analysis.label_region import LabeledPart, RegionPlan, write_region
from som_dask.analysis.label_store import LabelSummary, summarize
from som_dask.analysis.labels import LabelTask, empty_labels
from som_dask.io.store_objects import StoreObject, is_icechunk, store_and_path_of
from som_dask.io.transactions import check_shared, check_writable, create_in
from som_dask.passes.compute import active_client
from som_dask.passes.window import run_window

__all__ = ["infer_into_object"]


def infer_into_object(
    task: LabelTask,
    place: StoreObject,
    *,
    overwrite: bool,
    inputs: Iterable[Any] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelSummary:
    """Infer labels into a store object; see `som_dask.analysis.label_store.infer_to_store`.

    Threads write to the store itself. The workers of a Dask client can't do so with an icechunk session: each block
    is written to a fork of the session, and all forks are merged into the session at the end.

    Parameters
    ----------
    task : LabelTask
    place : Zarr store, or group in one
    overwrite : bool
    inputs : iterable
        What is read, so that it is not overwritten.
    on_progress : callable, optional

    Returns
    -------
    LabelSummary

    Raises
    ------
    StorageError
        If the store holds something, is read-only, or can't be written by the workers.
    DataError
        If a value is infinite, or NaN although none may be missing.
    """
    check_writable(place, overwrite=overwrite, inputs=inputs)
    store, path = store_and_path_of(place)
    session = None
    if active_client() is not None:
        check_shared(place)
        if is_icechunk(store):
            session = store.session  # type: ignore[attr-defined]
            store = session.fork().store
    groups = Groups(task)
    empty, encoding = empty_labels(groups.task, groups.chunks)
    create_in(StorePath(store, path), empty, encoding, overwrite=overwrite, compute=False)
    report = on_progress or (lambda done, blocks: None)
    report(0, len(groups))
    records: dict[int, dict[str, Any]] = {}
    forks = []

    def keep(_: int, result: tuple[dict[str, Any], Any]) -> None:
        record, fork = result
        records[record["block"]] = record
        if fork is not None:
            forks.append(fork)

    write = functools.partial(_write_to_fork, session is not None)
    jobs = [groups.labels_of(i, path or None, write) for i in range(len(groups))]
    run_window("label", jobs, groups.sources(store), keep, lambda: report(len(records), len(groups)))
    if session is not None:
        session.merge(*forks)
    return summarize([records[i] for i in range(len(groups))], 0)


def _write_to_fork(
    forked: bool, plan: RegionPlan, parts: Sequence[LabeledPart], coords: Sequence[np.ndarray], target: Any
) -> tuple[dict[str, Any], Any]:
    """Write a region; return its record, and the fork of a session that holds the region."""
    if forked:
        target = pickle.loads(pickle.dumps(target))  # tasks of one process may share it, and each must return its own
    record = write_region(plan, parts, coords, target)
    return record, target.session if forked else None
