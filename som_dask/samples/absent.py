"""Chunks that a Zarr store lacks: lost ones, or values that were never written because they are the fill value."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr

from som_dask.algorithm.feature_space import Missing
from som_dask.errors import StorageError
from som_dask.samples.gaps import Number, is_missing

__all__ = ["AbsentChunks", "find_absent", "refuse_absent"]


@dataclass(frozen=True)
class AbsentChunks:
    """The chunks of one variable that are not in its store.

    Attributes
    ----------
    count : int
        Number of chunks, or of shards if there are any.
    where : str
        The variable and its store, for messages.
    fill_value : object
        What the store returns in their place.
    missing : bool
        Whether that is read as a missing value.
    """

    count: int
    where: str
    fill_value: Any
    missing: bool


def find_absent(
    node: zarr.Array, where: str, *, decoded: bool, nodata: Sequence[Number] = ()
) -> tuple[AbsentChunks, ...]:
    """Look for absent chunks of an array; only the names of the chunks in the store are read.

    Parameters
    ----------
    node : zarr.Array
    where : str
        Description of the array, for messages.
    decoded : bool
        Whether the array is read as a variable that its attributes decode, or as it is.
    nodata : sequence of numbers
        Numbers that stand for missing values.

    Returns
    -------
    tuple of AbsentChunks
        Empty if no chunk is absent.
    """
    count = _count_absent(node) if node.ndim else 0
    if count <= 0:
        return ()
    return (AbsentChunks(count, where, node.fill_value, is_missing(_read_absent(node, decoded), nodata)),)


def refuse_absent(absent: Sequence[AbsentChunks], missing: Missing | None) -> None:
    """Refuse absent chunks, unless they are read as missing values and such values are allowed.

    Parameters
    ----------
    absent : sequence of AbsentChunks
    missing : {"error", "drop", "mask"}, optional
        How missing values are treated; None if that is not known yet, so that they are not refused now.

    Raises
    ------
    StorageError
        The message says how to go on.
    """
    for each in absent:
        if each.missing and missing != "error":
            continue
        mask = 'let them count as missing values with `missing="mask"`, ' if each.missing else ""
        raise StorageError(
            f"{each.where} lacks {each.count} of its chunks; restore them, {mask}or read them as the fill value "
            f"{each.fill_value} with `allow_missing_chunks=True`"
        )


def _count_absent(node: zarr.Array) -> int:
    """Count the chunks of an array (or its shards, if it has any) that are not in the store."""
    pieces = node.shards or node.chunks
    # zarr counts a shard as all the chunks that it could hold, including those beyond the edge of the array.
    in_each = math.prod(pieces) // math.prod(node.chunks)
    wanted = math.prod(-(-size // piece) for size, piece in zip(node.shape, pieces, strict=True))
    return wanted - node.nchunks_initialized // in_each


def _read_absent(node: zarr.Array, decoded: bool) -> np.ndarray:
    """Read a value of an absent chunk, from an array of one value that has the same description and no chunk."""
    store, one = zarr.storage.MemoryStore(), (1,) * node.ndim
    names = getattr(node.metadata, "dimension_names", None)
    zarr.create_group(store, zarr_format=node.metadata.zarr_format).create_array(
        "value",
        shape=one,
        chunks=one,
        dtype=node.dtype,
        fill_value=node.fill_value,
        attributes={name: value for name, value in node.attrs.asdict().items() if name != "coordinates"},
        **({} if names is None else {"dimension_names": names}),
    )
    if not decoded:
        return np.asarray(zarr.open_array(store, path="value", mode="r")[...]).reshape(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about attributes, as when the variable itself is opened
        dataset = xr.open_zarr(store, chunks=None, consolidated=False, decode_times=False)
    return dataset["value"].values.reshape(1)
