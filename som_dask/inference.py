"""Inference: every sample's best matching unit and its distance, lazily or block by block into a store."""

from __future__ import annotations

import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, get_args

import dask.array
import fsspec
import numpy as np
import xarray as xr
from dask.delayed import Delayed, delayed

import som_dask
from som_dask.backend import Device
from som_dask.batch import SharedCodebook, nearest
from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.preparation import Missing
from som_dask.reduction import compute
from som_dask.samples import Samples, open_samples
from som_dask.schema import (
    check_features,
    codebook_of,
    lattice_of,
    model_digest,
    open_model,
    preparation_of,
    store_encoding,
)
from som_dask.storage import (
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
from som_dask.summary import block_summary

__all__ = ["LabelSummary", "assign", "block_labels", "label_store"]

BLOCKS_COMPARED = 10  # of those that an earlier run finished, at most
BLOCKS_AT_ONCE = 64  # handed to the scheduler together; progress is told and a stop obeyed in between
LABELS = {
    "bmu_row": {"long_name": "row of the best matching unit", "units": "1"},
    "bmu_col": {"long_name": "column of the best matching unit", "units": "1"},
    "distance": {"long_name": "Euclidean distance to the best matching unit, in the data's units"},
}
DTYPES = {"bmu_row": np.int32, "bmu_col": np.int32, "distance": np.float64}
NO_UNIT = np.int32(-1)  # in a store, for samples that are left out


def block_labels(block: np.ndarray, shared: SharedCodebook) -> np.ndarray:
    """Row, column and distance of each sample's best matching unit.

    Parameters
    ----------
    block : (n, D) array of real numbers
    shared : SharedCodebook
        Its preparation tells what becomes of missing values; features that it does not use are ignored.

    Returns
    -------
    (n, 3) float64
        ``row, col, distance``; the integers are exact, NaN for samples left out.

    Raises
    ------
    DataError
        If a value is infinite, or NaN where none may be missing.
    """
    preparation = shared.preparation
    values = block if preparation.columns is None else block[:, preparation.columns]
    strict = preparation.missing == "error"
    good = np.isfinite(values) if strict else ~np.isinf(values)
    if not good.all():
        bad = good.size - np.count_nonzero(good)
        kind, remedy = ("NaN or infinite", ", or leave them out with --missing") if strict else ("infinite", "")
        raise DataError(f"there are {bad} {kind} values among the samples; remove or fill them{remedy}")
    labels = np.empty((len(block), 3))
    bmu, labels[:, 2] = nearest(block, shared)
    labels[:, 0], labels[:, 1] = np.divmod(bmu, shared.lattice.cols)
    labels[bmu < 0] = np.nan
    return labels


@dataclass(frozen=True)
class _Task:
    """What is labelled with what, and how."""

    samples: Samples
    model: xr.Dataset
    missing: Missing
    device: Device

    @classmethod
    def of(cls, data: Any, model: Any, missing: Missing | None, device: Device) -> _Task:
        samples, model = open_samples(data), open_model(model)
        check_features(model, samples.features, samples.n_features, samples.array.dtype, samples.description)
        missing = missing or model.attrs.get("missing", "error")
        if missing not in get_args(Missing):
            raise ParameterError(f"missing must be one of {get_args(Missing)}, got {missing!r}")
        return cls(samples, model, missing, device)

    def shared(self) -> SharedCodebook:
        """The codebook for the workers."""
        preparation = preparation_of(self.model).for_inference(self.missing)
        return SharedCodebook(codebook_of(self.model), lattice_of(self.model), self.device, preparation=preparation)

    def labels(self, table: Any) -> xr.Dataset:
        """A table (n, 3) of rows, columns and distances as labels on the samples' own dimensions."""
        kinds = DTYPES if self.missing == "error" else dict.fromkeys(DTYPES, np.float64)
        labels = self.samples.labelled({name: table[:, i].astype(kinds[name]) for i, name in enumerate(LABELS)})
        for name, attrs in LABELS.items():
            labels[name].attrs.update(attrs)
        if self.missing != "error":
            for name in ("bmu_row", "bmu_col"):
                # As integers in a store, which xarray decodes to these very numbers.
                labels[name].encoding.update(dtype=np.dtype(np.int32), _FillValue=NO_UNIT)
        labels["distance"].attrs.update(self._distance_attrs())
        labels.attrs.update(
            model_codebook_sha256=self.model.attrs["codebook_sha256"],
            input=self.samples.description,
            missing=self.missing,
            som_dask_version=som_dask.__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return labels

    def _distance_attrs(self) -> dict[str, str]:
        preparation = preparation_of(self.model)
        if preparation.metric == "cosine":
            return {"long_name": "1 less the cosine of the angle to the best matching unit", "units": "1"}
        if preparation.changes_values:
            return {"long_name": "Euclidean distance to the best matching unit, features scaled and weighted"}
        return {} if self.samples.units is None else {"units": self.samples.units}


def assign(data: Any, model: Any, *, missing: Missing | None = None, device: Device = "cpu") -> xr.Dataset:
    """Label samples with a trained map, lazily: nothing is read until the result is computed.

    Parameters
    ----------
    data : anything that `som_dask.samples.open_samples` takes
    model : xarray.Dataset, or path or URL of a saved model
    missing : {"error", "drop", "mask"}, optional
        What becomes of samples that lack features, by NaN: an error; left out; compared by the features that they
        have, left out only if they have none. By default as in training.
    device : {"cpu", "gpu"}

    Returns
    -------
    xarray.Dataset
        ``bmu_row``, ``bmu_col`` (int32) and ``distance`` (float64, Euclidean, in the data's units unless the map
        scales them) on the samples' own dimensions and coordinates, one dask block for each block of samples.
        With `missing` other than "error" rows and columns are float64, NaN for samples left out; in a store
        they are int32 with the fill value -1.

    Raises
    ------
    SchemaError
        If the features are not the model's.
    DataError
        When computed, if a value is infinite, or NaN where none may be missing.
    """
    task = _Task.of(data, model, missing, device)
    shared = delayed(task.shared(), pure=False)
    table = task.samples.array.map_blocks(
        block_labels,
        shared,
        dtype=np.float64,
        chunks=(task.samples.block_rows, (3,)),
        meta=np.empty((0, 3)),
    )
    return task.labels(table)


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
    task = _Task.of(data, model, missing, device)
    check_free(place, overwrite=overwrite, inputs=read)
    with lock(place):
        # Even blocks, so that each fills whole chunks of the store of labels.
        run = _Labelling(replace(task, samples=task.samples.even()), os.fspath(place))
        run.open(overwrite=overwrite)
        for done in run.write():
            if on_progress is not None:
                on_progress(done, run.n_blocks)
        return run.finish(overwrite=overwrite)


class _Labelling:
    """One store of labels in the making."""

    def __init__(self, task: _Task, place: str) -> None:
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
            "som_dask_version": som_dask.__version__,
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
            name: {**empty[name].encoding, **codecs} if name in LABELS else codecs
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
        rows = self.samples.block_rows
        empty = self.task.labels(dask.array.zeros((sum(rows), 3), chunks=(rows, 3))).chunk(self.chunks)
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
            compute(
                *(task(blocks[i], shared, *self._coords_of(i, coords), self._region(i), self._note(i)) for i in some)
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
        place = [str(index) for dim, index in zip(self.dims, self.place, strict=True) if dim in dims]
        return f"{self.store}/{name}/c/{'/'.join(place)}"

    def __str__(self) -> str:
        (dim, *others), slices = self.dims, self.slices
        if not others:
            return f"block {self.index} (rows {slices[dim].start} to {slices[dim].stop - 1})"
        return f"block {self.index} ({', '.join(f'{d} {s.start} to {s.stop - 1}' for d, s in slices.items())})"


def _write_block(
    block: np.ndarray,
    shared: SharedCodebook,
    coords: dict[str, np.ndarray],
    coord_dims: dict[str, tuple[str, ...]],
    region: _Region,
    note: str,
) -> None:
    """Label one block, write its region, and only then note that it is done."""
    try:
        labels = block_labels(block, shared)
    except DataError as error:
        raise DataError(f"{region}: {error}") from error
    strict = shared.preparation.missing == "error"
    columns: dict[str, Any] = {}
    for i, name in enumerate(LABELS):
        column = labels[:, i].astype(DTYPES[name] if strict else np.float64)
        columns[name] = (region.dims, column.reshape(region.shape))
    columns |= {name: (coord_dims[name], values) for name, values in coords.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xr.Dataset(columns).to_zarr(region.store, region=region.slices, consolidated=False)
    make_durable(region.chunk(name, dims) for name, (dims, _) in columns.items())
    known = ~np.isnan(labels[:, 2])
    record = {
        "samples": len(labels),
        "labelled": int(np.count_nonzero(known)),
        "distance": float(labels[known, 2].sum()),
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
