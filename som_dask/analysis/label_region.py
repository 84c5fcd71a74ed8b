"""Label blocks, and write the labels of a group of blocks to its region of a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from som_dask.algorithm.feature_space import Missing
from som_dask.analysis.labels import NEIGHBOR, Column, label_block
from som_dask.engine.block import Block
from som_dask.engine.codebook import SharedCodebook
from som_dask.errors import DataError
from som_dask.io.digest import values_digest
from som_dask.io.files import make_durable
from som_dask.passes.summary import summarize_block

__all__ = [
    "LabeledPart",
    "Region",
    "RegionPlan",
    "fingerprint_block",
    "fingerprint_region",
    "label_part",
    "write_durably",
    "write_region",
]


@dataclass(frozen=True)
class Region:
    """The part of a store that holds the labels of one block, or of a group of blocks.

    Attributes
    ----------
    index : int
        Index of the block or group.
    start : int
        First row of the (first) block in the table.
    dims : tuple of str
        Sample dimensions.
    offsets, shape : tuple of int
        Start and size of the region along each of them.
    place : tuple of int
        Index of the block or group along each of them; that of a group is that of its chunk.
    group : str, optional
        Path of the labels in the store; by default its root.
    """

    index: int
    start: int
    dims: tuple[str, ...]
    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    place: tuple[int, ...]
    group: str | None = None

    @property
    def slices(self) -> dict[str, slice]:
        """The slice along each dimension."""
        return {d: slice(o, o + n) for d, o, n in zip(self.dims, self.offsets, self.shape, strict=True)}

    def chunk(self, store: str, name: str, dims: Sequence[str]) -> str:
        """Return the path of the group's chunk, in a local store, of a variable on some of the dimensions."""
        index_of = dict(zip(self.dims, self.place, strict=True))
        place = [str(index_of.get(dim, 0)) for dim in dims]  # other dimensions have a single chunk
        return f"{store}/{name}/c/{'/'.join(place)}"

    def __str__(self) -> str:
        (dim, *others), slices = self.dims, self.slices
        if not others:
            return f"block {self.index} (rows {slices[dim].start} to {slices[dim].stop - 1})"
        return f"block {self.index} ({', '.join(f'{d} {s.start} to {s.stop - 1}' for d, s in slices.items())})"


@dataclass(frozen=True)
class RegionPlan:
    """What is known of a region before the blocks are labeled.

    Attributes
    ----------
    region : Region
    parts : sequence of Region
        The blocks in it.
    columns : mapping of str to Column
        The variables in a table of labels.
    missing : {"error", "drop", "mask"}
    coord_dims : mapping of str to tuple of str
        The coordinates of which this region writes a part, with their dimensions.
    """

    region: Region
    parts: Sequence[Region]
    columns: Mapping[str, Column]
    missing: Missing
    coord_dims: Mapping[str, tuple[str, ...]]

    def dims_of(self, column: Column) -> tuple[str, ...]:
        """Return the dimensions of a variable of the labels."""
        return self.region.dims if column.width is None else (*self.region.dims, NEIGHBOR)


@dataclass(frozen=True)
class LabeledPart:
    """The labels of a block.

    Attributes
    ----------
    table : (n, columns) float64
    fingerprint : int
        See `fingerprint_block`.
    """

    table: np.ndarray
    fingerprint: int


def label_part(
    make: Callable[[np.ndarray, SharedCodebook], np.ndarray] | None,
    part: Region,
    block: np.ndarray,
    shared: SharedCodebook,
) -> LabeledPart:
    """Label one block.

    Parameters
    ----------
    make : callable, optional
        What makes the table of labels; None for `label_block`.
    part : Region
    block : (n, D) array
    shared : SharedCodebook

    Raises
    ------
    DataError
        If a value is infinite, or NaN although none may be missing; the message names the block.
    """
    try:
        table = (make or label_block)(block, shared)
    except DataError as error:
        raise DataError(f"{part}: {error}") from error
    return LabeledPart(table, fingerprint_block(part.start, block))


def write_region(
    plan: RegionPlan, parts: Sequence[LabeledPart], coords: Sequence[np.ndarray], target: Any
) -> dict[str, Any]:
    """Write the labels of a group of blocks to its region of a store.

    Parameters
    ----------
    plan : RegionPlan
    parts : sequence of LabeledPart
    coords : sequence of array
        The parts of coordinates that this region writes, in the order of `plan.coord_dims`.
    target : path or zarr Store
        The store.

    Returns
    -------
    dict
        JSON values: index of the group, as "block"; numbers of its samples and of those with labels; sum of their
        distances; and the fingerprint of samples and coordinates.
    """
    region = plan.region
    columns: dict[str, Any] = {}
    for name, column in plan.columns.items():
        columns[name] = (plan.dims_of(column), _join(plan, [column.of(part.table, plan.missing) for part in parts]))
    columns |= {name: (dims, part) for (name, dims), part in zip(plan.coord_dims.items(), coords, strict=True)}
    xr.Dataset(columns).to_zarr(target, group=region.group, region=region.slices, consolidated=False)
    distances = [part.table[:, plan.columns["distance"].first] for part in parts]
    known = [distance[~np.isnan(distance)] for distance in distances]
    prints = [part.fingerprint for part in parts]
    return {
        "block": region.index,
        "samples": sum(map(len, distances)),
        "labeled": sum(map(len, known)),
        "distance": float(sum(float(distance.sum()) for distance in known)),
        "fingerprint": fingerprint_region(list(plan.coord_dims), prints, coords),
    }


def _join(plan: RegionPlan, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Put the values of each block, (n,) or (n, k), at their place in the region."""
    shape, inner = plan.region.shape, parts[0].shape[1:]
    if len(parts) == 1:
        return parts[0].reshape(*shape, *inner)
    joined = np.empty((*shape, *inner), dtype=parts[0].dtype)
    for part, values in zip(plan.parts, parts, strict=True):
        starts = (o - first for o, first in zip(part.offsets, plan.region.offsets, strict=True))
        box = tuple(slice(start, start + n) for start, n in zip(starts, part.shape, strict=True))
        joined[box] = values.reshape(*part.shape, *inner)
    return joined


def write_durably(
    plan: RegionPlan, parts: Sequence[LabeledPart], coords: Sequence[np.ndarray], target: Any
) -> dict[str, Any]:
    """Write a region as `write_region` does, and return when it would survive a power failure."""
    record = write_region(plan, parts, coords, target)
    if isinstance(target, str):
        dims = {name: plan.dims_of(column) for name, column in plan.columns.items()} | dict(plan.coord_dims)
        make_durable(plan.region.chunk(target, name, own) for name, own in dims.items())
    return record


def fingerprint_block(first_row: int, block: np.ndarray) -> int:
    """Return the fingerprint of a block, (n, D), that begins at a row of the table: from 0 to 2^64 - 1."""
    return summarize_block(Block.of(block, numbers=first_row)).fingerprint


def fingerprint_region(names: Sequence[str], blocks: Sequence[int], coords: Sequence[np.ndarray]) -> str:
    """Return the fingerprint of a group of blocks, and of the parts of coordinates that it writes.

    Parameters
    ----------
    names : sequence of str
        Names of the coordinates.
    blocks : sequence of int
        The fingerprint of each block.
    coords : sequence of array

    Returns
    -------
    str
        16 hexadecimal digits, and 64 more if there are coordinates.
    """
    own = f"{sum(blocks) % 2**64:016x}"
    return f"{own}-{values_digest(dict(zip(names, coords, strict=True)))}" if names else own
