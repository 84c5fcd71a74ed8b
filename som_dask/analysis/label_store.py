"""Infer labels of all samples into a store, block by block; a run that was killed can be continued."""

from __future__ import annotations

import functools
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dask.delayed import delayed

from som_dask._version import __version__
from som_dask.algorithm.feature_space import Missing
from som_dask.analysis.label_coordinates import (
    coordinates_of_block,
    cut_coordinates,
    digest_coordinates,
    make_all_storable,
)
from som_dask.analysis.label_region import Region, fingerprint_of_part, write_block
from som_dask.analysis.labels import LabelTask, empty_labels
from som_dask.analysis.soft_labels import SoftTask
from som_dask.errors import StorageError
from som_dask.io.digest import json_digest
from som_dask.io.draft import Draft, LocalDraft, ObjectDraft
from som_dask.io.files import exists, is_url, local_path, names_in, read_bytes, write_bytes
from som_dask.io.models import label_digest
from som_dask.io.outputs import check_free, lock, work_folder
from som_dask.io.store_objects import Place, resolve_place
from som_dask.io.store_state import store_state
from som_dask.passes.compute import compute

__all__ = ["LabelSummary", "infer_to_store"]

BLOCKS_AT_ONCE = 64  # blocks submitted together; progress is reported and a stop obeyed in between


@dataclass(frozen=True)
class LabelSummary:
    """The result of a run that labels samples.

    Attributes
    ----------
    samples : int
        Number of samples in the store, including those of earlier runs.
    blocks, blocks_before : int
        Number of blocks in the store, and how many of them earlier runs had finished.
    quantization_error : float
        Mean distance of all labeled samples to their best matching units, or with `soft` to their nearest nodes; NaN
        if there are none.
    left_out : int
        Number of samples without a label, because they lack values.
    """

    samples: int
    blocks: int
    blocks_before: int
    quantization_error: float
    left_out: int = 0


def infer_to_store(
    data: Any,
    model: Any,
    place: Place,
    *,
    overwrite: bool = False,
    missing: Missing | None = None,
    device: str = "cpu",
    soft: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelSummary:
    """Infer labels of samples into a Zarr store, block by block.

    Blocks are written to a store that nobody can open yet, and each is noted when it is complete; when all are, the
    store appears at `place` (see `som_dask.io.draft`). The same call continues a run that was killed, and writes only
    the missing blocks. Before that, it checks that samples and coordinates of the finished blocks are still the
    same: by the times and versions of all files or objects of a stored input, and if one has changed, or if the input
    is not a store, by reading these blocks again.

    Parameters
    ----------
    data, model, missing, device
        As for `som_dask.infer`.
    place : path, fsspec URL or Zarr store
        A store is written to directly, without a hidden store beside it: publishing the labels, as by the commit of
        an icechunk session, is left to the caller, and a run that was killed begins anew.
    soft : mapping, optional
        Infer the k nearest nodes and memberships instead of the best matching unit: "k" and the other options of
        `som_dask.infer_soft`, with its `kind` as "membership".
    overwrite : bool
        Replace a finished store at `place`, and discard an unfinished store of another run.
    on_progress : callable, optional
        Called with the number of finished blocks and the number of all blocks.

    Returns
    -------
    LabelSummary

    Raises
    ------
    SchemaError
        If the features are not those of the model; nothing is written.
    StorageError
        If `place` exists, can't be written, or is being written by another run.
    DataError
        If a value is infinite, or NaN although none may be missing; finished blocks stay finished.
    """
    read = [data, model]
    task: LabelTask = LabelTask.of(data, model, missing, device)
    if soft is not None:
        task = SoftTask(task.samples, task.model, task.missing, device, **soft)
    place = resolve_place(place)
    if not isinstance(place, (str, os.PathLike)):
        from som_dask.analysis.label_transaction import infer_into_object

        return infer_into_object(task, place, overwrite=overwrite, inputs=read, on_progress=on_progress)
    check_free(place, overwrite=overwrite, inputs=read)
    with lock(place):
        # Blocks of one size, so that each is one complete chunk of the store of labels.
        samples = task.in_small_blocks().samples.even_out()
        samples = replace(samples, coords=make_all_storable(samples.coords))
        run = _LabelStore(replace(task, samples=samples), os.fspath(place))
        run.open(overwrite=overwrite)
        for done in run.write():
            if on_progress is not None:
                on_progress(done, run.n_blocks)
        return run.finish(overwrite=overwrite)


class _LabelStore:
    """A store of labels that is being written."""

    def __init__(self, task: LabelTask, place: str) -> None:
        self.task, self.samples = task, task.samples
        # An absolute path, for workers that run in another folder.
        self.place = place if is_url(place) else os.path.abspath(local_path(place))
        self.work = work_folder(self.place)
        self.plan_file = f"{self.work}/plan.json"
        self.run_id = uuid.uuid4().hex
        self.draft: Draft = (
            ObjectDraft(place) if is_url(place) else LocalDraft(self.place, f"{self.work}/labels.zarr", self.work)
        )
        self.n_blocks = len(self.samples.block_rows)
        self.starts = self.samples.block_starts
        self.chunks = {
            dim: sizes[0] for dim, sizes in zip(self.samples.sample_dims, self.samples.sample_chunks, strict=True)
        }
        self.places = list(np.ndindex(*(len(sizes) for sizes in self.samples.sample_chunks)))
        self.before: list[int] = []

    @functools.cached_property
    def plan(self) -> dict[str, Any]:
        """What must be the same for a run to continue an earlier one, as JSON values."""
        samples = self.samples
        read = [samples.features, samples.sample_dims, samples.feature_dims, str(samples.array.dtype), samples.nodata]
        return {
            "model": label_digest(self.task.model),
            "input": samples.description,
            "options of reading": json_digest(read),
            "samples": dict(zip(samples.sample_dims, samples.sample_shape, strict=True)),
            "coordinates": digest_coordinates(samples),
            "block_rows": list(self.chunks.values()),
            "missing": self.task.missing,
            **self.task.kind,
            "som_dask_version": __version__,
        }

    def open(self, *, overwrite: bool) -> None:
        """Continue the unfinished store of the same run, or begin a new one."""
        state = self._state_of_input()
        if exists(self.plan_file):
            found, done = json.loads(read_bytes(self.plan_file)), self._find_done()
            differing = [name for name in self.plan if found.get(name) != self.plan[name]]
            # With another run id it is the old store, replaced by a run that was killed before it had removed it.
            if not differing and self.draft.run_id == found["run_id"]:
                is_unchanged = state is not None and state == found["state"]
                if self._has_same_samples(done[-1:] if is_unchanged else done):
                    self.before, self.run_id = done, found["run_id"]
                    self.draft.take_up()
                    self._write_plan(state)
                    return
                differing = ["samples or coordinates"]
            if differing and not overwrite and done:
                raise StorageError(
                    f"{self.work} holds the unfinished labels of another run (other {', '.join(differing)}); "
                    f"finish that one, or discard it with `overwrite=True`"
                )
        empty, encoding = empty_labels(self.task, self.chunks)
        empty = empty.assign_attrs(run_id=self.run_id)
        try:
            self.draft.write(empty, encoding, compute=False)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"can't write {self.work}: {error}; choose another output") from error
        self._write_plan(state)

    def _state_of_input(self) -> str | None:
        """Return the state of the stored input that samples and coordinates come from; None if there is none."""
        names = [*self.samples.variables, *self.samples.coords] if self.samples.variables else []
        return None if self.samples.place is None else store_state(self.samples.place, names)

    def _write_plan(self, state: str | None) -> None:
        write_bytes(self.plan_file, json.dumps({**self.plan, "state": state, "run_id": self.run_id}).encode())

    def _has_same_samples(self, done: list[int]) -> bool:
        """Return whether samples and coordinates are still those of the finished blocks, by reading these again."""
        blocks, coords = self.samples.delayed_blocks(), cut_coordinates(self.samples, self.chunks)
        task = delayed(fingerprint_of_part, pure=False)
        for some in _split_into_batches(done, BLOCKS_AT_ONCE):
            parts = (coordinates_of_block(self.samples, self.places[i], coords)[0] for i in some)
            found = compute(*(task(blocks[i], self.starts[i], own) for i, own in zip(some, parts, strict=True)))
            if list(found) != [json.loads(read_bytes(self._note_path(i)))["fingerprint"] for i in some]:
                return False
        return True

    def _note_path(self, block: int) -> str:
        return f"{self.work}/done/{block:09d}.json"

    def _find_done(self) -> list[int]:
        found = set(names_in(f"{self.work}/done"))
        return [block for block in range(self.n_blocks) if os.path.basename(self._note_path(block)) in found]

    def write(self) -> Iterator[int]:
        """Write the missing blocks; yield the number of finished blocks after each batch."""
        before = set(self.before)
        missing = [block for block in range(self.n_blocks) if block not in before]
        done = len(before)
        yield done
        blocks, coords = self.samples.delayed_blocks(), cut_coordinates(self.samples, self.chunks)
        task, target = delayed(write_block, pure=False), delayed(self.draft.target, pure=False)
        for some in _split_into_batches(missing, BLOCKS_AT_ONCE):
            shared = delayed(self.task.share_codebook(), pure=False)
            how = (self.task.make, self.task.columns)
            parts = {i: coordinates_of_block(self.samples, self.places[i], coords) for i in some}
            notes = {i: self._note_path(i) for i in some}
            compute(*(task(blocks[i], shared, how, *parts[i], self._region_of(i), target, notes[i]) for i in some))
            done += len(some)
            yield done

    def _region_of(self, i: int) -> Region:
        rows = self.samples.box_of(i)
        return Region(i, self.starts[i], self.samples.sample_dims, rows.offsets, rows.shape, self.places[i])

    def finish(self, *, overwrite: bool) -> LabelSummary:
        """Check that every block is written, and publish the store."""
        notes = [json.loads(read_bytes(self._note_path(block))) for block in range(self.n_blocks)]
        counted = sum(note["samples"] for note in notes)
        if counted != self.samples.n_samples:
            raise StorageError(
                f"{self.work} holds {counted} labels of {self.samples.n_samples}; remove it, run again"
            )
        self.draft.publish(overwrite=overwrite)
        labeled = sum(note["labeled"] for note in notes)
        mean = sum(note["distance"] for note in notes) / labeled if labeled else float("nan")
        return LabelSummary(counted, self.n_blocks, len(self.before), mean, counted - labeled)


def _split_into_batches(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
