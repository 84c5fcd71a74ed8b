"""Infer labels of all samples into a Zarr store object, block by block, in a transaction that the caller ends."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from dask.delayed import delayed
from zarr.abc.store import Store
from zarr.storage import StorePath

from som_dask.analysis.label_coordinates import coordinates_of_block, cut_coordinates, make_all_storable
from som_dask.analysis.label_region import Region, write_labels
from som_dask.analysis.label_store import BLOCKS_AT_ONCE, LabelSummary
from som_dask.analysis.labels import LabelTask, empty_labels
from som_dask.engine.codebook import SharedCodebook
from som_dask.io.store_objects import StoreObject, is_icechunk, store_and_path_of
from som_dask.io.transactions import check_shared, check_writable, create_in
from som_dask.passes.compute import active_client, compute

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
    # Blocks of one size, so that each is one complete chunk of the store of labels.
    samples = task.in_small_blocks().samples.even_out()
    run = _Transaction(replace(task, samples=replace(samples, coords=make_all_storable(samples.coords))), store, path)
    run.create(overwrite=overwrite)
    report = on_progress or (lambda done, blocks: None)
    records: list[dict[str, Any]] = []
    forks = []
    report(0, run.n_blocks)
    for some in run.write(forked=session is not None):
        records += [record for record, _ in some]
        forks += [fork for _, fork in some]
        report(len(records), run.n_blocks)
    if session is not None:
        session.merge(*forks)
    labeled = sum(record["labeled"] for record in records)
    mean = sum(record["distance"] for record in records) / labeled if labeled else float("nan")
    counted = sum(record["samples"] for record in records)
    return LabelSummary(counted, run.n_blocks, 0, mean, counted - labeled)


class _Transaction:
    """Labels that are being written to a group of a store."""

    def __init__(self, task: LabelTask, store: Store, path: str) -> None:
        self.task, self.samples, self.store, self.path = task, task.samples, store, path
        self.n_blocks = len(self.samples.block_rows)
        chunks = zip(self.samples.sample_dims, self.samples.sample_chunks, strict=True)
        self.chunks = {dim: sizes[0] for dim, sizes in chunks}

    def create(self, *, overwrite: bool) -> None:
        """Write everything but the labels and the coordinates that blocks write."""
        empty, encoding = empty_labels(self.task, self.chunks)
        create_in(StorePath(self.store, self.path), empty, encoding, overwrite=overwrite, compute=False)

    def write(self, *, forked: bool) -> Iterator[list[tuple[dict[str, Any], Any]]]:
        """Write the blocks; yield, after each batch, the records of its blocks and the forks that hold them."""
        blocks, coords = self.samples.delayed_blocks(), cut_coordinates(self.samples, self.chunks)
        places = list(np.ndindex(*(len(sizes) for sizes in self.samples.sample_chunks)))
        starts, how = self.samples.block_starts, (self.task.make, self.task.columns)
        task = delayed(_write_block, pure=False)
        for first in range(0, self.n_blocks, BLOCKS_AT_ONCE):
            shared, store = (delayed(each, pure=False) for each in (self.task.share_codebook(), self.store))
            todo = []
            for i in range(first, min(first + BLOCKS_AT_ONCE, self.n_blocks)):
                rows = self.samples.box_of(i)
                region = Region(
                    i, starts[i], self.samples.sample_dims, rows.offsets, rows.shape, places[i], self.path or None
                )
                part = coordinates_of_block(self.samples, places[i], coords)
                todo.append(task(blocks[i], shared, how, *part, region, store, forked))
            yield list(compute(*todo))


def _write_block(
    block: np.ndarray,
    shared: SharedCodebook,
    how: Any,
    coords: dict[str, np.ndarray],
    coord_dims: dict[str, tuple[str, ...]],
    region: Region,
    store: Any,
    forked: bool,
) -> tuple[dict[str, Any], Any]:
    """Label one block and write its region; return its record, and the fork of a session that holds the region."""
    if forked:
        store = pickle.loads(pickle.dumps(store))  # tasks of one process may share it, and each must return its own
    _, record = write_labels(block, shared, how, coords, coord_dims, region, store)
    return record, store.session if forked else None
