"""Infer labels of all samples into a store, block by block; a run that was killed can be continued."""

from __future__ import annotations

import functools
import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from som_dask._version import __version__
from som_dask.algorithm.feature_space import Missing
from som_dask.analysis.label_coordinates import digest_coordinates
from som_dask.analysis.label_groups import Groups
from som_dask.analysis.label_region import write_durably
from som_dask.analysis.labels import LabelTask, empty_labels
from som_dask.analysis.soft_labels import SoftTask
from som_dask.errors import ParameterError, StorageError
from som_dask.io.digest import json_digest
from som_dask.io.draft import Draft, LocalDraft, ObjectDraft
from som_dask.io.files import exists, is_url, local_path, read_bytes, write_bytes
from som_dask.io.models import label_digest
from som_dask.io.notes import Notes
from som_dask.io.outputs import check_free, lock, work_folder
from som_dask.io.store_objects import Place, resolve_place
from som_dask.io.store_state import store_state
from som_dask.passes.progress import is_shown, showing_blocks
from som_dask.passes.window import count_threads, run_window
from som_dask.samples.table import Samples

__all__ = ["LabelStore", "LabelSummary", "infer_to_store", "name_part", "state_of_input", "summarize"]

OF_ONE_RUN = {"state", "run_id"}  # entries of the file of a plan that are not the plan's
LAYOUT = 3  # of the unfinished store and its notes; one of another layout is not continued


@dataclass(frozen=True)
class LabelSummary:
    """The result of a run that labels samples.

    Attributes
    ----------
    samples : int
        Number of samples in the store, including those of earlier runs.
    blocks, blocks_before : int
        Number of blocks of the store, each of which is a chunk of it, and how many of them earlier runs had finished.
    quantization_error : float
        Mean distance of all labeled samples to their best matching units, or with `soft` to their nearest nodes; NaN
        if there are none.
    left_out : int
        Number of samples without a label, because they lack values.
    parts_missing : tuple of int
        With `part`, the parts that are not finished; if there are none, the store is published. All of the above is
        of the run's own part then, and of the whole store for the run that publishes it. A run that finds the
        store published already reads no labels: its error is NaN, and it does not count those left out.
    """

    samples: int
    blocks: int
    blocks_before: int
    quantization_error: float
    left_out: int = 0
    parts_missing: tuple[int, ...] = ()


def infer_to_store(
    data: Any,
    model: Any,
    place: Place,
    *,
    overwrite: bool = False,
    missing: Missing | None = None,
    device: str = "cpu",
    value_errors: Any = None,
    soft: Mapping[str, Any] | None = None,
    part: tuple[int, int] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    progress: bool | None = None,
) -> LabelSummary:
    """Infer labels of samples into a Zarr store, block by block.

    Blocks are written to a store that nobody can open yet, and noted when they are complete; when all are, the store
    appears at `place` (see `som_dask.io.draft`). Neighboring blocks of samples whose labels are small are one block
    of the store (see `som_dask.analysis.label_groups`). The same call continues a run that was killed, and writes
    only the missing blocks, among them the last few for each thread, which were not noted yet. Before that, it checks
    that samples and coordinates of the finished blocks are still the same: by the times and versions of all files or
    objects of a stored input, and if one has changed, or if the input is not a store, by reading these blocks again.

    Parameters
    ----------
    data, model, missing, device, value_errors
        As for `som_dask.infer`.
    place : path, fsspec URL or Zarr store
        A store is written to directly, without a hidden store beside it: publishing the labels, as by the commit of
        an icechunk session, is left to the caller, and a run that was killed begins anew.
    soft : mapping, optional
        Infer the k nearest nodes and memberships instead of the best matching unit: "k" and the other options of
        `som_dask.infer_soft`, with its `kind` as "membership".
    part : (int, int), optional
        Infer the labels of part k of n only, k from 1 to n: n runs with the same other arguments, on machines that
        know nothing of each other, share the work. See `som_dask.analysis.label_parts`.
    overwrite : bool
        Replace a finished store at `place`, and discard an unfinished store of another run.
    on_progress : callable, optional
        Called with the number of blocks that are noted as finished and the number of all blocks, from time to time;
        it may raise an error to stop the run, and finished blocks stay finished.
    progress : bool, optional
        Whether a bar shows these numbers. By default it does where standard error is a terminal, and in notebooks.

    Returns
    -------
    LabelSummary

    Raises
    ------
    ParameterError
        If there is no such part, or if a store object is to be written in parts.
    SchemaError
        If the features are not those of the model; nothing is written.
    StorageError
        If `place` exists, can't be written, or is being written by another run.
    DataError
        If a value is infinite, or NaN although none may be missing; finished blocks stay finished.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> summary = som.infer_to_store(colors, model, "labels.zarr")
    >>> summary.samples, summary.left_out
    (40, 0)
    """
    if part is not None:
        _check_part(part, place)
    read = [data, model]
    task: LabelTask = LabelTask.of(data, model, missing, device, value_errors)
    if soft is not None:
        task = SoftTask(task.samples, task.model, task.missing, device, **soft)
    place = resolve_place(place)
    with showing_blocks("labeling", on_progress, shown=is_shown(progress)) as told:
        if not isinstance(place, (str, os.PathLike)):
            from som_dask.analysis.label_transaction import infer_into_object

            return infer_into_object(task, place, overwrite=overwrite, inputs=read, on_progress=told)
        if part is not None:
            from som_dask.analysis.label_parts import infer_part

            return infer_part(task, place, part, overwrite=overwrite, inputs=read, on_progress=told)
        check_free(place, overwrite=overwrite, inputs=read)
        with lock(place):
            run = LabelStore(Groups(task), os.fspath(place))
            run.open(overwrite=overwrite)
            run.write(told)
            return run.finish(overwrite=overwrite)


def _check_part(part: tuple[int, int], place: Place) -> None:
    whole = isinstance(part, (tuple, list)) and len(part) == 2 and all(isinstance(number, int) for number in part)
    if not whole or not 1 <= part[0] <= part[1]:
        raise ParameterError(f"there is no part {part!r}; give (k, n), k from 1 to n")
    if not isinstance(resolve_place(place), (str, os.PathLike)):
        raise ParameterError("a store object can't be written in parts by several runs; give a path or URL")


def name_part(place: str, k: int, n: int) -> str:
    """Return what is locked by the run that labels part k of n, as if that were an output of its own."""
    return f"{place.rstrip('/')} part {k} of {n}"


def state_of_input(samples: Samples) -> str | None:
    """Return the state of the stored input that samples and coordinates come from; None if there is none."""
    names = [*samples.variables, *samples.error_variables, *samples.coords] if samples.variables else []
    return None if samples.place is None else store_state(samples.place, names)


class LabelStore:
    """A store of labels that is being written.

    Parameters
    ----------
    groups : Groups
    place : path or URL
        It must be locked.
    """

    def __init__(self, groups: Groups, place: str) -> None:
        self.groups, self.task, self.samples = groups, groups.task, groups.task.samples
        # An absolute path, for workers that run in another folder.
        self.place = place if is_url(place) else os.path.abspath(local_path(place))
        self.work = work_folder(self.place)
        self.plan_file = f"{self.work}/plan.json"
        self.run_id = uuid.uuid4().hex
        self.draft: Draft = (
            ObjectDraft(place) if is_url(place) else LocalDraft(self.place, f"{self.work}/labels.zarr", self.work)
        )
        self.notes = Notes(f"{self.work}/done")
        self.n_blocks, self.n_before = len(groups), 0
        self.blocks = range(self.n_blocks)  # that this run writes
        self.done: dict[int, dict[str, Any]] = {}  # the record of each finished block

    @functools.cached_property
    def plan(self) -> dict[str, Any]:
        """What must be the same for a run to continue an earlier one, as JSON values."""
        samples = self.samples
        read: list[Any] = [
            samples.features,
            samples.sample_dims,
            samples.feature_dims,
            str(samples.array.dtype),
            samples.nodata,
        ]
        if samples.value_errors:
            read.append([True, samples.error_variables])
        return {
            "layout": LAYOUT,
            "model": label_digest(self.task.model),
            "input": samples.description,
            "options of reading": json_digest(read),
            "samples": dict(zip(samples.sample_dims, samples.sample_shape, strict=True)),
            "coordinates": digest_coordinates(samples),
            "block_rows": self.groups.sizes,
            "chunks": list(self.groups.chunks.values()),
            "missing": self.task.missing,
            **self.task.kind,
            "som_dask_version": __version__,
        }

    def open(self, *, overwrite: bool) -> None:
        """Continue the unfinished store of the same run, or begin a new one."""
        found = self._read_plan()
        if found is not None:
            names = (self.plan.keys() | found.keys()) - OF_ONE_RUN
            differing = sorted(name for name in names if found.get(name) != self.plan.get(name))
            # With another run id it is the old store, replaced by a run that was killed before it had removed it.
            if not differing and self.draft.run_id == found["run_id"]:
                if self._go_on(found):
                    return
                differing = ["samples or coordinates"]
            if differing:
                self._check_discardable(found, differing, overwrite=overwrite)
        self._begin()

    def _go_on(self, found: Mapping[str, Any]) -> bool:
        """Continue the run that wrote a plan; return False if samples or coordinates are not the same."""
        done = {record["block"]: record for record in self.notes.read(join=True)}
        is_unchanged = self.state is not None and self.state == found["state"]
        if not self._has_same_samples(list(done.values())[-1:] if is_unchanged else list(done.values())):
            return False
        self.done, self.n_before, self.run_id = done, len(done), found["run_id"]
        self.draft.take_up()
        self._write_plan()
        return True

    def _check_discardable(self, found: Mapping[str, Any], differing: Sequence[str], *, overwrite: bool) -> None:
        """Check that the unfinished store of another run may be removed, and that nobody writes a part of it."""
        if not overwrite and Notes(f"{self.work}/done").exist():
            raise StorageError(
                f"{self.work} holds the unfinished labels of another run (other {', '.join(differing)}); "
                f"finish that one, or discard it with `overwrite=True`"
            )
        n = found.get("parts", 0)
        for k in range(1, n + 1):
            with lock(name_part(self.place, k, n)):
                pass

    def _begin(self) -> None:
        empty, encoding = empty_labels(self.task, self.groups.chunks)
        empty = empty.assign_attrs(run_id=self.run_id)
        try:
            self.draft.write(empty, encoding, compute=False)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"can't write {self.work}: {error}; choose another output") from error
        self._write_plan()

    @functools.cached_property
    def state(self) -> str | None:
        """See `state_of_input`."""
        return state_of_input(self.samples)

    def _read_plan(self) -> dict[str, Any] | None:
        return json.loads(read_bytes(self.plan_file)) if exists(self.plan_file) else None

    def _write_plan(self) -> None:
        write_bytes(self.plan_file, json.dumps({**self.plan, "state": self.state, "run_id": self.run_id}).encode())

    def _has_same_samples(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether samples and coordinates are still those of finished blocks, by reading these again."""

        def compare(i: int, fingerprint: str) -> None:
            if fingerprint != records[i]["fingerprint"]:
                raise _HasChanged

        jobs = [self.groups.fingerprint_of(record["block"]) for record in records]
        try:
            run_window("fingerprint", jobs, self.groups.sources() if jobs else {}, compare)
        except _HasChanged:
            return False
        return True

    def write(self, on_progress: Callable[[int, int], None]) -> None:
        """Write the missing blocks, and tell how many are noted as finished."""
        told = noted = len(self.done)
        on_progress(noted, len(self.blocks))
        missing = [block for block in self.blocks if block not in self.done]
        threads = count_threads() if missing else 0

        def note(_: int, record: dict[str, Any]) -> None:
            nonlocal noted
            self.done[record["block"]] = record
            if self.notes.add(record, threads):
                noted = len(self.done)

        def tell() -> None:
            nonlocal told
            if noted > told:
                told = noted
                on_progress(noted, len(self.blocks))

        jobs = [self.groups.labels_of(block, write=write_durably) for block in missing]
        try:
            run_window("label", jobs, self.groups.sources(self.draft.target) if jobs else {}, note, tell)
        finally:
            self.notes.flush()
        noted = len(self.done)
        tell()

    def finish(self, *, overwrite: bool) -> LabelSummary:
        """Check that every block is written, and publish the store."""
        records = [self.done[block] for block in range(self.n_blocks)]
        counted = sum(record["samples"] for record in records)
        if counted != self.samples.n_samples:
            raise StorageError(
                f"{self.work} holds {counted} labels of {self.samples.n_samples}; remove it, run again"
            )
        self.draft.publish(overwrite=overwrite)
        return summarize(records, self.n_before)


class _HasChanged(Exception):
    """The samples are not those that were labeled."""


def summarize(records: Sequence[Mapping[str, Any]], blocks_before: int) -> LabelSummary:
    """Summarize the records of all blocks, in the order of the blocks, as `write_region` returns them."""
    counted, labeled = (sum(record[name] for record in records) for name in ("samples", "labeled"))
    mean = sum(record["distance"] for record in records) / labeled if labeled else float("nan")
    return LabelSummary(counted, len(records), blocks_before, mean, counted - labeled)
