"""Inference: every sample's best matching unit and its distance, lazily or block by block into a store."""

from __future__ import annotations

import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import dask.array
import fsspec
import numpy as np
import xarray as xr
from dask.delayed import Delayed, delayed

import som_dask
from som_dask.backend import Device
from som_dask.batch import SharedCodebook, nearest
from som_dask.errors import DataError, StorageError
from som_dask.reduction import compute
from som_dask.samples import Samples, open_samples
from som_dask.schema import check_features, codebook_of, lattice_of, model_digest, open_model, store_encoding
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
    "bmu_row": {"long_name": "row of the best matching unit"},
    "bmu_col": {"long_name": "column of the best matching unit"},
    "distance": {"long_name": "Euclidean distance to the best matching unit, in the data's units"},
}
DTYPES = {"bmu_row": np.int32, "bmu_col": np.int32, "distance": np.float64}


def block_labels(block: np.ndarray, shared: SharedCodebook) -> np.ndarray:
    """Row, column and distance of each sample's best matching unit.

    Parameters
    ----------
    block : (n, D) array of real numbers
    shared : SharedCodebook

    Returns
    -------
    (n, 3) float64
        ``row, col, distance``; the integers are exact.

    Raises
    ------
    DataError
        If a value is NaN or infinite.
    """
    finite = np.isfinite(block)
    if not finite.all():
        bad = finite.size - np.count_nonzero(finite)
        raise DataError(f"there are {bad} NaN or infinite values among the samples; remove or fill them")
    labels = np.empty((len(block), 3))
    bmu, labels[:, 2] = nearest(block, shared)
    labels[:, 0], labels[:, 1] = np.divmod(bmu, shared.lattice.cols)
    return labels


def _checked(data: Any, model: Any) -> tuple[Samples, xr.Dataset]:
    samples, model = open_samples(data), open_model(model)
    check_features(model, samples.features, samples.n_features, samples.array.dtype, samples.description)
    return samples, model


def assign(data: Any, model: Any, *, device: Device = "cpu") -> xr.Dataset:
    """Label samples with a trained map, lazily: nothing is read until the result is computed.

    Parameters
    ----------
    data : anything that `som_dask.samples.open_samples` takes
    model : xarray.Dataset, or path or URL of a saved model
    device : {"cpu", "gpu"}

    Returns
    -------
    xarray.Dataset
        ``bmu_row``, ``bmu_col`` (int32) and ``distance`` (float64, Euclidean, in the data's units) on the
        samples' own dimension and coordinates, one dask block for each block of samples.

    Raises
    ------
    SchemaError
        If the features are not the model's.
    DataError
        When computed, if a value is NaN or infinite.
    """
    samples, model = _checked(data, model)
    shared = delayed(SharedCodebook(codebook_of(model), lattice_of(model), device), pure=False)
    table = samples.array.map_blocks(
        block_labels,
        shared,
        dtype=np.float64,
        chunks=(samples.block_rows, (3,)),
        meta=np.empty((0, 3)),
    )
    columns = {name: table[:, i].astype(DTYPES[name]) for i, name in enumerate(LABELS)}
    return _labelled(columns, samples, model)


def _labelled(columns: dict[str, Any], samples: Samples, model: xr.Dataset) -> xr.Dataset:
    dim = samples.sample_dim
    return xr.Dataset(
        {name: (dim, values, LABELS[name]) for name, values in columns.items()},
        coords=samples.coords,
        attrs={
            "model_codebook_sha256": model.attrs["codebook_sha256"],
            "input": samples.description,
            "som_dask_version": som_dask.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


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
        Mean distance over all samples.
    """

    samples: int
    blocks: int
    blocks_before: int
    quantization_error: float


def label_store(
    data: Any,
    model: Any,
    place: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    device: Device = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelSummary:
    """Label samples into a Zarr store, region by region.

    Blocks are written to a hidden store beside `place`, each noted when it is whole; the store gets its name
    when all are. A run that was killed is started again by the same call and does only what is missing, after
    it has read up to ten of the finished blocks again to see that the samples are still the same.

    Parameters
    ----------
    data, model, device
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
        If a value is NaN or infinite; the blocks before it stay done.
    """
    read = [data, model]
    samples, model = _checked(data, model)
    check_free(place, overwrite=overwrite, inputs=read)
    with lock(place):
        run = _Labelling(_even(samples), model, os.fspath(place), device)
        run.open(overwrite=overwrite)
        for done in run.write():
            if on_progress is not None:
                on_progress(done, run.n_blocks)
        return run.finish(overwrite=overwrite)


def _even(samples: Samples) -> Samples:
    """Samples in blocks of one size, so that each fills whole chunks of the store of labels."""
    rows = max(samples.block_rows)
    return replace(samples, array=samples.array.rechunk({0: rows}))


class _Labelling:
    """One store of labels in the making."""

    def __init__(self, samples: Samples, model: xr.Dataset, place: str, device: Device) -> None:
        self.samples, self.model, self.device = samples, model, device
        # Absolute, for workers that run in another folder.
        self.place = place if is_url(place) else os.path.abspath(place)
        self.work = beside(self.place, "partial")
        self.run_id = uuid.uuid4().hex
        self.store = f"{self.work}/labels.zarr"
        self.n_blocks = len(samples.block_rows)
        self.starts = np.concatenate([[0], np.cumsum(samples.block_rows)]).tolist()
        self.before: list[int] = []

    @property
    def plan(self) -> dict[str, Any]:
        """What must be the same for a run to continue another."""
        return {
            "model": model_digest(self.model),
            "input": self.samples.description,
            "samples": self.samples.n_samples,
            "block_rows": self.samples.block_rows[0],
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
            if differing and not overwrite:
                raise StorageError(
                    f"{self.work} holds the unfinished labels of another run (other {', '.join(differing)}); "
                    f"finish that one, or discard it with --overwrite"
                )
        remove(self.work)
        n = self.samples.n_samples
        empty = _labelled(
            {
                name: dask.array.zeros(n, chunks=self.samples.block_rows[0], dtype=dtype)
                for name, dtype in DTYPES.items()
            },
            self.samples,
            self.model,
        ).chunk({self.samples.sample_dim: self.samples.block_rows[0]})
        empty.attrs["run_id"] = self.run_id
        encoding = store_encoding(empty)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                empty.to_zarr(self.store, mode="w-", compute=False, zarr_format=3, encoding=encoding)
        except OSError as error:
            raise StorageError(f"can't write {self.work}: {error}; choose another output") from error
        write_bytes(plan_file, json.dumps({**self.plan, "run_id": self.run_id}).encode())

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
        blocks = self.samples.delayed_blocks()
        lazy = {
            n: c.chunk({self.samples.sample_dim: self.samples.block_rows[0]}).data.to_delayed()
            for n, c in self.samples.coords.items()
            if n != self.samples.sample_dim
        }
        task = delayed(_write_block, pure=False)
        for some in _batches(missing, BLOCKS_AT_ONCE):
            shared = delayed(SharedCodebook(codebook_of(self.model), lattice_of(self.model), self.device), pure=False)
            compute(*(self._task(task, i, blocks[i], shared, {n: d[i] for n, d in lazy.items()}) for i in some))
            done += len(some)
            yield done

    def _task(self, task: Any, i: int, block: Delayed, shared: Delayed, coords: dict[str, Delayed]) -> Delayed:
        start, stop = self.starts[i], self.starts[i + 1]
        where = (self.store, self._note(i), self.samples.sample_dim, i, start, stop)
        return task(block, shared, coords, where)

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
        mean = sum(note["distance"] for note in notes) / counted
        return LabelSummary(counted, self.n_blocks, len(self.before), mean)


def _write_block(
    block: np.ndarray,
    shared: SharedCodebook,
    coords: dict[str, np.ndarray],
    where: tuple,
) -> None:
    """Label one block, write its region, and only then note that it is done."""
    store, note, dim, index, start, stop = where
    try:
        labels = block_labels(block, shared)
    except DataError as error:
        raise DataError(f"block {index} (rows {start} to {stop - 1}): {error}") from error
    columns = {name: (dim, labels[:, i].astype(DTYPES[name])) for i, name in enumerate(LABELS)}
    columns |= {name: (dim, values) for name, values in coords.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xr.Dataset(columns).to_zarr(store, region={dim: slice(start, stop)}, consolidated=False)
    make_durable(f"{store}/{name}/c/{index}" for name in columns)
    record = {
        "samples": stop - start,
        "distance": float(labels[:, 2].sum()),
        "fingerprint": _fingerprint(block, start),
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
