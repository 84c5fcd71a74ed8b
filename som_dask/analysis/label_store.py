"""Inference: labels of all samples, block by block into a store, which goes on after a kill."""

from __future__ import annotations

import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dask.array
import fsspec
import numpy as np
import pandas as pd
import xarray as xr
from dask.delayed import Delayed, delayed

from som_dask._version import __version__
from som_dask.algorithm.feature_space import Missing
from som_dask.analysis.labels import NEIGHBOR, Column, LabelTask, assign, block_labels
from som_dask.analysis.soft_labels import SoftTask
from som_dask.engine.batch import SharedCodebook
from som_dask.engine.device import Device
from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.io.files import (
    beside,
    check_free,
    exists,
    is_url,
    lock,
    make_durable,
    names_in,
    open_zarr_node,
    publish,
    remove,
    write_bytes,
)
from som_dask.io.models import model_digest, store_encoding
from som_dask.passes.compute import compute
from som_dask.passes.summary import block_summary

__all__ = ["LabelSummary", "assign", "block_labels", "label_store"]

BLOCKS_COMPARED = 10  # of those that an earlier run finished, at most
BLOCKS_AT_ONCE = 64  # handed to the scheduler together; progress is told and a stop obeyed in between


@dataclass(frozen=True)
class LabelSummary:
    """What a labelling run did.

    Attributes
    ----------
    samples : int
        In the whole store.
    blocks, blocks_before : int
        Blocks in the store, and how many of them an earlier run had finished.
    quantization_error : float
        Mean distance over all samples labelled; NaN if there are none.
    left_out : int
        Samples without a label, for the values that they lack.
    """

    samples: int
    blocks: int
    blocks_before: int
    quantization_error: float
    left_out: int = 0


def label_store(
    data: Any,
    model: Any,
    place: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    missing: Missing | None = None,
    device: Device = "cpu",
    soft: Mapping[str, Any] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelSummary:
    """Label samples into a Zarr store, region by region.

    Blocks are written to a hidden store beside `place`, each noted when it is whole; the store gets its name
    when all are. A run that was killed is started again by the same call and does only what is missing, after
    it has read up to ten of the finished blocks again to see that the samples are still the same.

    Parameters
    ----------
    data, model, missing, device
        As for `assign`.
    place : path or fsspec URL
    soft : mapping, optional
        For the k nearest nodes and memberships in place of the best matching unit: "k", and what else
        `som_dask.analysis.soft_labels.assign_soft` takes, its "kind" as "membership".
    overwrite : bool
        Replace a finished store at `place`, and begin anew where an unfinished one of another run lies.
    on_progress : callable, optional
        Called with the number of blocks done and of all blocks.

    Returns
    -------
    LabelSummary

    Raises
    ------
    SchemaError
        If the features are not the model's; nothing is written.
    StorageError
        If `place` exists, can't be written, or another run is writing it.
    DataError
        If a value is infinite, or NaN where none may be missing; the blocks before it stay done.
    """
    read = [data, model]
    task: LabelTask = LabelTask.of(data, model, missing, device)
    if soft is not None:
        if device != "cpu":
            raise ParameterError("soft labels are not computed on a GPU yet; use device 'cpu'")
        task = SoftTask(task.samples, task.model, task.missing, device, **soft)
    check_free(place, overwrite=overwrite, inputs=read)
    with lock(place):
        # Even blocks, so that each fills whole chunks of the store of labels.
        samples = task.samples.even()
        samples = replace(samples, coords=_without_multi_index(samples.coords))
        run = _Labelling(replace(task, samples=samples), os.fspath(place))
        run.open(overwrite=overwrite)
        for done in run.write():
            if on_progress is not None:
                on_progress(done, run.n_blocks)
        return run.finish(overwrite=overwrite)


def _without_multi_index(coords: dict[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Coordinates that a store can hold: in place of an index of several levels only these, each by itself."""
    found = {}
    for name, c in coords.items():
        levels = [dim for dim in c.dims if isinstance(c.indexes.get(dim), pd.MultiIndex)]
        if name not in levels:
            found[name] = xr.DataArray(c.values, dims=c.dims, attrs=c.attrs, name=name) if levels else c
    return found


class _Labelling:
    """One store of labels in the making."""

    def __init__(self, task: LabelTask, place: str) -> None:
        self.task, self.samples = task, task.samples
        # Absolute, for workers that run in another folder.
        self.place = place if is_url(place) else os.path.abspath(place)
        self.work = beside(self.place, "partial")
        self.run_id = uuid.uuid4().hex
        self.store = f"{self.work}/labels.zarr"
        self.n_blocks = len(self.samples.block_rows)
        self.starts = self.samples.block_starts
        self.chunks = {
            dim: sizes[0] for dim, sizes in zip(self.samples.sample_dims, self.samples.sample_chunks, strict=True)
        }
        self.places = list(np.ndindex(*(len(sizes) for sizes in self.samples.sample_chunks)))
        self.before: list[int] = []

    @property
    def plan(self) -> dict[str, Any]:
        """What must be the same for a run to continue another."""
        return {
            "model": model_digest(self.task.model),
            "input": self.samples.description,
            "samples": dict(zip(self.samples.sample_dims, self.samples.sample_shape, strict=True)),
            "block_rows": list(self.chunks.values()),
            "missing": self.task.missing,
            **self.task.kind,
            "som_dask_version": __version__,
        }

    def open(self, *, overwrite: bool) -> None:
        """Continue the unfinished store of this very run, or begin one."""
        plan_file = f"{self.work}/plan.json"
        if exists(plan_file):
            found = json.loads(_read(plan_file))
            differing = [name for name in self.plan if found.get(name) != self.plan[name]]
            # A store of another run id is an old one, exchanged for the labels by a run killed while it cleaned up.
            if not differing and self._is_of(found["run_id"]):
                if self._same_samples(self._done()):
                    self.before = self._done()
                    return
                differing = ["samples"]
            if differing and not overwrite and self._done():
                raise StorageError(
                    f"{self.work} holds the unfinished labels of another run (other {', '.join(differing)}); "
                    f"finish that one, or discard it with --overwrite"
                )
        remove(self.work)
        empty = self._empty()
        encoding = {
            name: {**empty[name].encoding, **codecs} if name in self.task.columns else codecs
            for name, codecs in store_encoding(empty).items()
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                empty.to_zarr(self.store, mode="w-", compute=False, zarr_format=3, encoding=encoding)
        except OSError as error:
            raise StorageError(f"can't write {self.work}: {error}; choose another output") from error
        write_bytes(plan_file, json.dumps({**self.plan, "run_id": self.run_id}).encode())

    def _empty(self) -> xr.Dataset:
        """Labels without values, in the chunks of the store; coordinates that are written at once are in memory."""
        rows, width = self.samples.block_rows, sum(column.width or 1 for column in self.task.columns.values())
        empty = self.task.labels(dask.array.zeros((sum(rows), width), chunks=(rows, width))).chunk(self.chunks)
        scalars = {name: c.load() for name, c in self.samples.coords.items() if not c.dims}
        return empty.assign_coords(scalars).assign_attrs(run_id=self.run_id)

    def _is_of(self, run_id: str) -> bool:
        """Whether the unfinished store is the one that this run began."""
        try:
            return open_zarr_node(self.store).attrs.get("run_id") == run_id
        except StorageError:
            return False

    def _same_samples(self, done: list[int]) -> bool:
        """Whether the samples are those of the finished blocks: some of them are read again and compared."""
        chosen = done[:: -(-len(done) // BLOCKS_COMPARED) or 1]
        blocks = self.samples.delayed_blocks()
        found = compute(*(delayed(_fingerprint, pure=False)(blocks[i], self.starts[i]) for i in chosen))
        return list(found) == [json.loads(_read(self._note(i)))["fingerprint"] for i in chosen]

    def _note(self, block: int) -> str:
        return f"{self.work}/done/{block:09d}.json"

    def _done(self) -> list[int]:
        found = set(names_in(f"{self.work}/done"))
        return [block for block in range(self.n_blocks) if os.path.basename(self._note(block)) in found]

    def write(self) -> Iterator[int]:
        """Write the missing blocks; yields how many are done."""
        before = set(self.before)
        missing = [block for block in range(self.n_blocks) if block not in before]
        done = len(before)
        yield done
        blocks, coords = self.samples.delayed_blocks(), self._lazy_coords()
        task = delayed(_write_block, pure=False)
        for some in _batches(missing, BLOCKS_AT_ONCE):
            shared = delayed(self.task.shared(), pure=False)
            how = (self.task.make, self.task.columns)
            compute(
                *(
                    task(blocks[i], shared, how, *self._coords_of(i, coords), self._region(i), self._note(i))
                    for i in some
                )
            )
            done += len(some)
            yield done

    def _lazy_coords(self) -> dict[str, np.ndarray]:
        """Delayed parts of the coordinates that blocks write, on the grid of the blocks along their dimensions."""
        return {
            name: c.chunk({dim: self.chunks[str(dim)] for dim in c.dims}).data.to_delayed()
            for name, c in self.samples.coords.items()
            if c.dims and name not in self.samples.sample_dims
        }

    def _coords_of(self, i: int, lazy: dict[str, np.ndarray]) -> tuple[dict[str, Delayed], dict[str, tuple]]:
        """Parts of coordinates that block i is to write, with their dimensions: each part is one block's alone."""
        place = dict(zip(self.samples.sample_dims, self.places[i], strict=True))
        parts, dims = {}, {}
        for name, blocks in lazy.items():
            own = tuple(str(dim) for dim in self.samples.coords[name].dims)
            if all(index == 0 for dim, index in place.items() if dim not in own):
                parts[name], dims[name] = blocks[tuple(place[dim] for dim in own)], own
        return parts, dims

    def _region(self, i: int) -> _Region:
        rows = self.samples.rows_of(i)
        return _Region(
            self.store, i, self.starts[i], self.samples.sample_dims, rows.offsets, rows.shape, self.places[i]
        )

    def finish(self, *, overwrite: bool) -> LabelSummary:
        """See that every block is there, and publish."""
        notes = [json.loads(_read(self._note(block))) for block in range(self.n_blocks)]
        counted = sum(note["samples"] for note in notes)
        if counted != self.samples.n_samples:
            raise StorageError(
                f"{self.work} holds {counted} labels of {self.samples.n_samples}; remove it, run again"
            )
        publish(self.store, self.place, overwrite=overwrite)
        remove(self.work)
        labelled = sum(note["labelled"] for note in notes)
        mean = sum(note["distance"] for note in notes) / labelled if labelled else float("nan")
        return LabelSummary(counted, self.n_blocks, len(self.before), mean, counted - labelled)


@dataclass(frozen=True)
class _Region:
    """Where the labels of a block belong."""

    store: str
    index: int
    start: int
    dims: tuple[str, ...]
    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    place: tuple[int, ...]

    @property
    def slices(self) -> dict[str, slice]:
        """Along each dimension."""
        return {d: slice(o, o + n) for d, o, n in zip(self.dims, self.offsets, self.shape, strict=True)}

    def chunk(self, name: str, dims: Sequence[str]) -> str:
        """Where the block's chunk of a variable on some of the dimensions lies."""
        index_of = dict(zip(self.dims, self.place, strict=True))
        place = [str(index_of.get(dim, 0)) for dim in dims]  # a dimension of another kind has one chunk
        return f"{self.store}/{name}/c/{'/'.join(place)}"

    def __str__(self) -> str:
        (dim, *others), slices = self.dims, self.slices
        if not others:
            return f"block {self.index} (rows {slices[dim].start} to {slices[dim].stop - 1})"
        return f"block {self.index} ({', '.join(f'{d} {s.start} to {s.stop - 1}' for d, s in slices.items())})"


def _write_block(
    block: np.ndarray,
    shared: SharedCodebook,
    how: tuple[Callable[[np.ndarray, SharedCodebook], np.ndarray] | None, dict[str, Column]],
    coords: dict[str, np.ndarray],
    coord_dims: dict[str, tuple[str, ...]],
    region: _Region,
    note: str,
) -> None:
    """Label one block, write its region, and only then note that it is done."""
    make, wanted = how
    try:
        labels = (make or block_labels)(block, shared)
    except DataError as error:
        raise DataError(f"{region}: {error}") from error
    columns: dict[str, Any] = {}
    for name, column in wanted.items():
        values = column.of(labels, shared.preparation.missing)
        dims = region.dims if column.width is None else (*region.dims, NEIGHBOR)
        columns[name] = (dims, values.reshape(*region.shape, *values.shape[1:]))
    columns |= {name: (coord_dims[name], values) for name, values in coords.items()}
    xr.Dataset(columns).to_zarr(region.store, region=region.slices, consolidated=False)
    make_durable(region.chunk(name, dims) for name, (dims, _) in columns.items())
    distance = labels[:, wanted["distance"].first]
    known = ~np.isnan(distance)
    record = {
        "samples": len(labels),
        "labelled": int(np.count_nonzero(known)),
        "distance": float(distance[known].sum()),
        "fingerprint": _fingerprint(block, region.start),
    }
    write_bytes(note, json.dumps(record).encode())


def _fingerprint(block: np.ndarray, first_row: int) -> str:
    return f"{block_summary(block, 0, first_row).fingerprint:016x}"


def _read(place: str) -> bytes:
    with fsspec.open(place, "rb") as file:
        return file.read()


def _batches(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
