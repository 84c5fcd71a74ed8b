"""Write the labels of one block to its region of a store, with a note that it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from som_dask.analysis.labels import NEIGHBOR, Column, label_block
from som_dask.engine.block import Block
from som_dask.engine.codebook import SharedCodebook
from som_dask.errors import DataError
from som_dask.io.digest import values_digest
from som_dask.io.files import make_durable, write_bytes
from som_dask.passes.summary import summarize_block

__all__ = ["Region", "fingerprint_of_part", "write_block", "write_labels"]


@dataclass(frozen=True)
class Region:
    """The part of a store that holds the labels of one block.

    Attributes
    ----------
    index : int
        Index of the block.
    start : int
        First row of the block in the table.
    dims : tuple of str
        Sample dimensions.
    offsets, shape : tuple of int
        Start and size of the region along each of them.
    place : tuple of int
        Index of the block along each of them, which is that of its chunk.
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
        """Return the path of the block's chunk, in a local store, of a variable on some of the dimensions."""
        index_of = dict(zip(self.dims, self.place, strict=True))
        place = [str(index_of.get(dim, 0)) for dim in dims]  # other dimensions have a single chunk
        return f"{store}/{name}/c/{'/'.join(place)}"

    def __str__(self) -> str:
        (dim, *others), slices = self.dims, self.slices
        if not others:
            return f"block {self.index} (rows {slices[dim].start} to {slices[dim].stop - 1})"
        return f"block {self.index} ({', '.join(f'{d} {s.start} to {s.stop - 1}' for d, s in slices.items())})"


def write_block(
    block: np.ndarray,
    shared: SharedCodebook,
    how: tuple[Callable[[np.ndarray, SharedCodebook], np.ndarray] | None, dict[str, Column]],
    coords: dict[str, np.ndarray],
    coord_dims: dict[str, tuple[str, ...]],
    region: Region,
    target: Any,
    note: str,
) -> None:
    """Label one block, write its region of the store, and only then note that it is done.

    Parameters
    ----------
    block : (n, D) array
    shared : SharedCodebook
    how : (callable or None, dict of str to Column)
        What makes the table of labels of a block (None for `label_block`), and the variables in this table.
    coords : dict of str to array
        Parts of coordinates that this block writes.
    coord_dims : dict of str to tuple of str
        Dimensions of these coordinates.
    region : Region
    target : path or zarr Store
        The store.
    note : str
        Path or URL of the note.

    Raises
    ------
    DataError
        If a value is infinite, or NaN although none may be missing; the message names the block.
    """
    columns, record = write_labels(block, shared, how, coords, coord_dims, region, target)
    if isinstance(target, str):
        make_durable(region.chunk(target, name, dims) for name, dims in columns.items())
    write_bytes(note, json.dumps(record).encode())


def write_labels(
    block: np.ndarray,
    shared: SharedCodebook,
    how: tuple[Callable[[np.ndarray, SharedCodebook], np.ndarray] | None, dict[str, Column]],
    coords: dict[str, np.ndarray],
    coord_dims: dict[str, tuple[str, ...]],
    region: Region,
    target: Any,
) -> tuple[dict[str, tuple[str, ...]], dict[str, Any]]:
    """Label one block and write its region of the store; the parameters are those of `write_block`.

    Returns
    -------
    columns : dict of str to tuple of str
        Names of the variables that were written, and their dimensions.
    record : dict
        Numbers of samples and of labels, sum of the distances, and fingerprint of the block, as JSON values.
    """
    make, wanted = how
    try:
        labels = (make or label_block)(block, shared)
    except DataError as error:
        raise DataError(f"{region}: {error}") from error
    columns: dict[str, Any] = {}
    for name, column in wanted.items():
        values = column.of(labels, shared.space.missing)
        dims = region.dims if column.width is None else (*region.dims, NEIGHBOR)
        columns[name] = (dims, values.reshape(*region.shape, *values.shape[1:]))
    columns |= {name: (coord_dims[name], values) for name, values in coords.items()}
    xr.Dataset(columns).to_zarr(target, group=region.group, region=region.slices, consolidated=False)
    distance = labels[:, wanted["distance"].first]
    known = ~np.isnan(distance)
    record = {
        "samples": len(labels),
        "labeled": int(np.count_nonzero(known)),
        "distance": float(distance[known].sum()),
        "fingerprint": fingerprint_of_part(block, region.start, coords),
    }
    return {name: dims for name, (dims, _) in columns.items()}, record


def fingerprint_of_part(block: np.ndarray, first_row: int, coords: dict[str, np.ndarray]) -> str:
    """Return the fingerprint of a block, (n, D), and of the parts of coordinates that it writes.

    Parameters
    ----------
    block : (n, D) array
    first_row : int
        Row of the table at which it begins.
    coords : dict of str to array

    Returns
    -------
    str
        16 hexadecimal digits, and 64 more if there are coordinates.
    """
    own = f"{summarize_block(Block.of(block, numbers=first_row)).fingerprint:016x}"
    return f"{own}-{values_digest(coords)}" if coords else own
