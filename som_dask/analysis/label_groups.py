"""Groups of neighboring blocks that one task labels: each is one chunk of the store of labels.

Chunks are larger than blocks then. They are not shards of small chunks, because labels are small: whole chunks of a
few MiB are what readers like, and every reader of Zarr knows them, whatever its software.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np

from som_dask.analysis.label_coordinates import coordinates_of_group, cut_coordinates, make_all_storable
from som_dask.analysis.label_region import (
    Region,
    RegionPlan,
    fingerprint_block,
    fingerprint_region,
    label_part,
    write_region,
)
from som_dask.analysis.labels import LabelTask
from som_dask.engine.row_numbers import Grid
from som_dask.passes.split import Job, Value
from som_dask.samples.table import tasks_of

__all__ = ["Groups", "choose_factors"]

SHARED, TARGET = "label-codebook", "label-target"  # keys of what all tasks share

# How large groups may be, all of it constant, so that a store has the same chunks wherever it is written.
LEAST_GROUPS, MOST_BLOCKS = 64, 64  # so that many threads have work, and that a kill loses little
SAMPLES_BYTES = 64 * 2**20  # read by one task, block by block
LABELS_BYTES = 4 * 2**20  # which are in memory together


def choose_factors(grid: Grid, sample_bytes: int, label_bytes: int) -> tuple[int, ...]:
    """Choose how many neighboring blocks are grouped along each sample dimension.

    Parameters
    ----------
    grid : tuple of tuple of int
        Sizes of the blocks along each sample dimension, the same for all but the last.
    sample_bytes, label_bytes : int
        Size of a sample, and of its labels.

    Returns
    -------
    tuple of int
        Blocks are grouped along the last dimensions first, in groups of about the same size.
    """
    rows = math.prod(sizes[0] for sizes in grid)
    n_blocks = math.prod(len(sizes) for sizes in grid)
    most = min(
        MOST_BLOCKS,
        n_blocks // LEAST_GROUPS,
        SAMPLES_BYTES // (rows * sample_bytes),
        LABELS_BYTES // (rows * label_bytes),
    )
    factors: list[int] = []
    for sizes in reversed(grid):
        factor = min(len(sizes), max(1, most // math.prod(factors)))
        factors.append(-(-len(sizes) // -(-len(sizes) // factor)))
    return tuple(reversed(factors))


class Groups:
    """The blocks of samples in groups, and the jobs that label each group.

    Blocks are cut where they would take much memory with their labels, and have one size along each sample dimension,
    except the last, so that each group is one complete chunk of a store.

    Parameters
    ----------
    task : LabelTask

    Attributes
    ----------
    task : LabelTask
        With samples in these blocks, and coordinates that a store can hold.
    chunks : dict of str to int
        Size of a group along each sample dimension.
    """

    def __init__(self, task: LabelTask) -> None:
        samples = task.in_small_blocks().samples.even_out()
        samples = replace(samples, coords=make_all_storable(samples.coords))
        self.task, self.samples = replace(task, samples=samples), samples
        grid, row_bytes = samples.sample_chunks, samples.row_bytes
        self.factors = choose_factors(grid, row_bytes, 8 * task.width)
        self.sizes = [sizes[0] for sizes in grid]
        edges = zip(self.factors, self.sizes, samples.sample_shape, strict=True)
        chunks = (min(factor * size, n) for factor, size, n in edges)
        self.chunks = dict(zip(samples.sample_dims, chunks, strict=True))
        counts = (-(-len(sizes) // factor) for sizes, factor in zip(grid, self.factors, strict=True))
        self.places = list(np.ndindex(*counts))

    def __len__(self) -> int:
        return len(self.places)

    @functools.cached_property
    def _starts(self) -> list[int]:
        return self.samples.block_starts

    @functools.cached_property
    def _keys(self) -> list[Any]:
        """Keys of the blocks in `sources`."""
        futures = self.samples.futures
        return self.samples.keys() if futures is None else [("label-held", i) for i in range(len(futures))]

    @functools.cached_property
    def _coordinates(self) -> dict[str, Any]:
        return cut_coordinates(self.samples, self.chunks)

    @functools.cached_property
    def _own_sources(self) -> dict[Any, Any]:
        held = {} if self.samples.futures is None else dict(zip(self._keys, self.samples.futures, strict=True))
        return self.samples.tasks() | tasks_of(list(self._coordinates.values())) | held

    def sources(self, target: Any = None) -> dict[Any, Any]:
        """Return the tasks that jobs depend on, by key.

        Parameters
        ----------
        target : path or zarr Store
            The store that `labels_of` writes to.
        """
        return self._own_sources | {SHARED: (Value(self.task.share_codebook()),), TARGET: (Value(target),)}

    def labels_of(self, group: int, store_group: str | None = None, write: Any = write_region) -> Job:
        """Return the job that labels a group and writes its region; its result is that of `write`.

        Parameters
        ----------
        group : int
        store_group : str, optional
            Path of the labels in the store; by default its root.
        write : callable
            See `write_region`.
        """
        parts = self._parts_of(group)
        tasks: dict[Any, Any] = {
            ("label-part", part.index): (
                functools.partial(label_part, self.task.make, part),
                self._keys[part.index],
                SHARED,
            )
            for part in parts
        }
        keys, dims = self._coordinates_of(group)
        region = replace(self.region(group), group=store_group)
        plan = RegionPlan(region, parts, self.task.columns, self.task.missing, dims)
        tasks["label-region"] = (functools.partial(write, plan), list(tasks), keys, TARGET)
        return Job(tasks, "label-region")

    def fingerprint_of(self, group: int) -> Job:
        """Return the job that computes the fingerprint of a group, as `write_region` notes it."""
        tasks: dict[Any, Any] = {
            ("label-print", part.index): (
                functools.partial(fingerprint_block, part.start),
                self._keys[part.index],
            )
            for part in self._parts_of(group)
        }
        keys, dims = self._coordinates_of(group)
        tasks["label-print"] = (functools.partial(fingerprint_region, list(dims)), list(tasks), keys)
        return Job(tasks, "label-print")

    def _coordinates_of(self, group: int) -> tuple[list[Any], dict[str, tuple[str, ...]]]:
        return coordinates_of_group(self.samples, self.places[group], self._coordinates)

    def region(self, group: int) -> Region:
        """Return the region of a group; its index is that of the group."""
        parts = self._parts_of(group)
        first, last = parts[0], parts[-1]
        shape = tuple(b + n - a for a, b, n in zip(first.offsets, last.offsets, last.shape, strict=True))
        return Region(group, first.start, first.dims, first.offsets, shape, self.places[group])

    def _parts_of(self, group: int) -> list[Region]:
        """Return the regions of the blocks of a group, in C order; their indices are those of the blocks."""
        grid, parts = self.samples.sample_chunks, []
        sides = (
            range(place * factor, min((place + 1) * factor, len(sizes)))
            for place, factor, sizes in zip(self.places[group], self.factors, grid, strict=True)
        )
        for place in itertools.product(*sides):
            index = 0
            for i, sizes in zip(place, grid, strict=True):
                index = index * len(sizes) + i
            offsets = tuple(i * size for i, size in zip(place, self.sizes, strict=True))
            shape = tuple(sizes[i] for i, sizes in zip(place, grid, strict=True))
            parts.append(Region(index, self._starts[index], self.samples.sample_dims, offsets, shape, place))
        return parts
