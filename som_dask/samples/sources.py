"""Where samples come from: stores and arrays of any kind as variables that are read lazily."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr
import zarr

from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.io.files import open_dataset, open_zarr_node

__all__ = ["Source", "open_source", "variable_names"]


@dataclass(frozen=True)
class Source:
    """Variables to take samples from.

    Attributes
    ----------
    variables : tuple of DataArray
        Lazily read where they are stored.
    description : str
        Where they come from, for messages.
    others : mapping of str to DataArray
        The variables of the same store or Dataset, by name.
    node : zarr.Group, optional
        The store's group.
    """

    variables: tuple[xr.DataArray, ...]
    description: str
    others: Mapping[Hashable, xr.DataArray] = field(default_factory=dict)
    node: zarr.Group | None = None

    def other(self, name: str, allow_missing: bool) -> xr.DataArray:
        """Another variable of the same store or Dataset.

        Raises
        ------
        ParameterError
            If there is none of that name.
        StorageError
            If it has chunks missing.
        """
        if name not in self.others:
            raise ParameterError(f"{self.description} has no variable {name!r} beside it for the weights")
        if self.node is not None and not allow_missing:
            _refuse_missing(self.node[name], name)  # type: ignore[arg-type]
        return self.others[name]


def open_source(source: Any, names: Sequence[str] | None, allow_missing: bool) -> Source:
    """Any supported input as lazily read variables.

    Parameters
    ----------
    source : as of `som_dask.samples.table.open_samples`
    names : sequence of str, optional
        The variables to take of a group or Dataset; needed where it has several.
    allow_missing : bool
        Whether chunks that are not stored are read as the fill value.

    Raises
    ------
    StorageError
        If a store can't be opened or has chunks missing.
    ParameterError
        If a variable is not there.
    DataError
        If variables of a group don't fit together, or an array has blocks of unknown size.
    """
    if isinstance(source, (str, os.PathLike)):
        return _from_zarr(source, names, allow_missing)
    if isinstance(source, xr.Dataset):
        chosen = _chosen(source, names, "the Dataset")
        return Source(_of(source, chosen), _called(chosen), _all_of(source))
    if names is not None:
        raise ParameterError(f"variable {names[0]!r} was asked for, but the input is a single array")
    if isinstance(source, xr.DataArray):
        _refuse_unknown(source, str(source.name or "the DataArray"))
        return Source((source,), f"variable {source.name}" if source.name else "the DataArray")
    if isinstance(source, pd.DataFrame):
        return Source((_table(source),), "the DataFrame")
    if not isinstance(source, dask.array.Array):
        source = np.asarray(source)
    kind = "the NumPy array" if isinstance(source, np.ndarray) else "the dask array"
    _refuse_unknown(source, kind)
    return Source((xr.DataArray(source, dims=_usual_dims(source.ndim)),), kind)


def variable_names(source: Any) -> tuple[str, ...]:
    """The variables to choose from: of a Dataset or a group; none where the source is a single array.

    Raises
    ------
    StorageError, DataError
        As of `open_source`.
    """
    if isinstance(source, (str, os.PathLike)):
        source = None if isinstance(open_zarr_node(source), zarr.Array) else open_dataset(source, decode_times=False)
    return tuple(str(name) for name in source.data_vars) if isinstance(source, xr.Dataset) else ()


def _table(frame: pd.DataFrame) -> xr.DataArray:
    """A DataFrame as samples by features; its columns name these, and its index the samples if it says anything."""
    coords: dict[str, Any] = {"feature": np.array([str(name) for name in frame.columns], dtype=object)}
    if not isinstance(frame.index, (pd.RangeIndex, pd.MultiIndex)):
        coords["sample"] = frame.index
    return xr.DataArray(frame.to_numpy(), dims=_usual_dims(2), coords=coords)


def _usual_dims(ndim: int) -> tuple[str, ...]:
    return ("sample", "feature") if ndim == 2 else tuple(f"dim_{i}" for i in range(ndim))


def _refuse_unknown(array: Any, kind: str) -> None:
    if any(math.isnan(size) for size in array.shape):
        raise DataError(f"{kind} has blocks of unknown size; call compute_chunk_sizes() on it first")


def _of(dataset: xr.Dataset, names: Sequence[str]) -> tuple[xr.DataArray, ...]:
    return tuple(dataset[name] for name in names)


def _all_of(dataset: xr.Dataset) -> dict[Hashable, xr.DataArray]:
    return {name: dataset[name] for name in dataset.variables}


def _called(names: Sequence[str]) -> str:
    return f"variable {names[0]}" if len(names) == 1 else f"variables {', '.join(names)}"


def _chosen(dataset: xr.Dataset, names: Sequence[str] | None, where: str) -> tuple[str, ...]:
    known = [str(name) for name in dataset.data_vars]
    if names is None:
        if len(known) == 1:
            return (known[0],)
        remedy = "choose one with --variable, or several as features with --variables" if known else "it needs one"
        raise ParameterError(f"{where} has {len(known)} variables {known}; {remedy}")
    for name in names:
        if name not in dataset.variables:
            raise ParameterError(f"{where} has no variable {name!r}, only {known}")
    return tuple(names)


def _from_zarr(place: str | os.PathLike[str], names: Sequence[str] | None, allow_missing: bool) -> Source:
    node = open_zarr_node(place)
    if isinstance(node, zarr.Array):
        if names is not None:
            raise ParameterError(f"variable {names[0]!r} was asked for, but {place} is a single array")
        if not allow_missing:
            _refuse_missing(node, f"{place}")
        return Source((_lazy_array(node),), f"{place}")
    dataset = _dataset_at(place)
    chosen = _chosen(dataset, names, str(place))
    description = f"{place}:{','.join(chosen)}"
    if not allow_missing:
        for name in chosen:
            _refuse_missing(node[name], f"{place}:{name}")
    return Source(_of(dataset, chosen), description, _all_of(dataset), node)


def _dataset_at(place: str | os.PathLike[str]) -> xr.Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)  # of dates: told below if it matters
            return open_dataset(place)
    except ValueError as error:
        reason = str(error).split(". ")[0]
    try:
        dataset = open_dataset(place, decode_times=False)
    except ValueError as error:
        raise DataError(f"the variables of {place} don't make a Dataset: {error}") from error
    # Samples need no dates; the labels get the same numbers and their units.
    warnings.warn(f"times of {place} stay numbers: {reason}", stacklevel=2)
    return dataset


def _refuse_missing(stored: zarr.Array, description: str) -> None:
    missing = _missing_chunks(stored) if stored.ndim else 0
    if missing > 0:
        raise StorageError(
            f"{description} lacks {missing} of its chunks; restore them, or read them as the fill value "
            f"{stored.fill_value} with --allow-missing-chunks"
        )


def _missing_chunks(stored: zarr.Array) -> int:
    """How many of an array's chunks (shards, where it has them) are not in the store."""
    pieces = stored.shards or stored.chunks
    # zarr counts a shard as all the chunks it could hold, those beyond the array's edge too.
    in_each = math.prod(pieces) // math.prod(stored.chunks)
    wanted = math.prod(-(-size // piece) for size, piece in zip(stored.shape, pieces, strict=True))
    return wanted - stored.nchunks_initialized // in_each


def _lazy_array(node: zarr.Array) -> xr.DataArray:
    """A bare Zarr array as a DataArray that is read lazily, by the same path as a variable of a group."""
    names = getattr(node.metadata, "dimension_names", None)
    if not (names and all(names)):
        names = _usual_dims(node.ndim)
    lazy = xr.core.indexing.LazilyIndexedArray(_ZarrBackendArray(node))
    array = xr.DataArray(xr.Variable(names, lazy))
    array.encoding["chunks"] = node.shards or node.chunks
    return array


class _ZarrBackendArray(xr.backends.BackendArray):
    """What xarray needs to index a Zarr array when a block is computed, not before."""

    def __init__(self, node: zarr.Array) -> None:
        self.node, self.shape, self.dtype = node, node.shape, node.dtype

    def __getitem__(self, key: Any) -> Any:
        support = xr.core.indexing.IndexingSupport.BASIC
        return xr.core.indexing.explicit_indexing_adapter(key, self.shape, support, self.node.__getitem__)
