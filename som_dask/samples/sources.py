"""Sources of samples: stores and arrays of any kind, opened as variables that are read lazily."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import xarray as xr
import zarr

from som_dask.errors import DataError, ParameterError
from som_dask.io.store_objects import Place, check_can_travel, describe_place, is_stored
from som_dask.io.stores import open_dataset, open_zarr_node
from som_dask.samples.absent import AbsentChunks, find_absent
from som_dask.samples.cells import is_cells, open_cells
from som_dask.samples.frames import as_array, convert_frame, name_dims
from som_dask.samples.gaps import Number, fill_masked, make_missing

__all__ = ["Source", "open_source", "variable_names_of"]


@dataclass(frozen=True)
class Source:
    """Variables to take samples from.

    Attributes
    ----------
    variables : tuple of DataArray
        Read lazily if they are in a store.
    description : str
        Where they come from, for messages.
    others : mapping of str to DataArray
        All variables of the same store or Dataset, by name.
    node : zarr.Group, optional
        The group of the store.
    stored : tuple of (zarr.Array, str)
        The arrays of the variables in the store, each with a description for messages.
    nodata : tuple of numbers
        Numbers that stand for missing values, which the variables hold no more.
    """

    variables: tuple[xr.DataArray, ...]
    description: str
    others: Mapping[Hashable, xr.DataArray] = field(default_factory=dict)
    node: zarr.Group | None = None
    stored: tuple[tuple[zarr.Array, str], ...] = ()
    nodata: tuple[Number, ...] = ()

    def keep(self, variables: Sequence[xr.DataArray]) -> Source:
        """Return the same source with these of its variables alone."""
        names = {v.name for v in variables}
        stored = tuple(
            each for v, each in zip(self.variables, self.stored, strict=bool(self.stored)) if v.name in names
        )
        return replace(self, variables=tuple(variables), stored=stored)

    def find_other(self, name: str) -> xr.DataArray:
        """Return another variable of the same store or Dataset.

        Raises
        ------
        ParameterError
            If there is no variable of that name.
        """
        if name not in self.others:
            raise ParameterError(f"{self.description} has no variable {name!r} beside it for the weights")
        return fill_masked(self.others[name])

    def find_absent(self, other: str | None = None) -> tuple[AbsentChunks, ...]:
        """Return the chunks that the store lacks of the variables, and perhaps of another variable."""
        found = [
            each
            for array, where in self.stored
            for each in find_absent(array, where, decoded=self.node is not None, nodata=self.nodata)
        ]
        if other is not None and self.node is not None:
            found += find_absent(self.node[other], other, decoded=True)  # type: ignore[arg-type]
        return tuple(found)

    def without(self, nodata: Sequence[Number]) -> Source:
        """Return the same source with these numbers missing from its variables.

        Raises
        ------
        ParameterError
            If no variable can hold one of the numbers.
        """
        if not nodata:
            return self
        variables = make_missing(self.variables, nodata, self.description)
        return replace(self, variables=variables, nodata=tuple(nodata))


def open_source(source: Any, names: Sequence[str] | None, features: Sequence[str] | None = None) -> Source:
    """Open any supported input as variables that are read lazily.

    Parameters
    ----------
    source : as for `som_dask.samples.open.open_samples`
    names : sequence of str, optional
        The variables to take from a group or Dataset; needed if it has several.
    features : sequence of str, optional
        The columns to take from a DataFrame or an FCS file: all others need not be of numbers.

    Returns
    -------
    Source

    Raises
    ------
    StorageError
        If a store can't be opened.
    ParameterError
        If a variable does not exist.
    DataError
        If variables of a group don't fit together, or an array has blocks of unknown size.
    """
    if is_cells(source):
        variables, where, stored = open_cells(source, names, features)
        return Source(variables, where, stored=stored)
    if is_stored(source):
        return _open_zarr(source, names)
    if isinstance(source, xr.Dataset):
        chosen = _choose_names(source, names, "the Dataset")
        return Source(_take_variables(source, chosen), _describe_names(chosen), _take_everything(source))
    if names is not None:
        raise ParameterError(f"variable {names[0]!r} was asked for, but the input is a single array")
    if isinstance(source, xr.DataArray):
        _refuse_unknown(source, str(source.name or "the DataArray"))
        return Source((fill_masked(source),), f"variable {source.name}" if source.name else "the DataArray")
    if isinstance(source, pd.DataFrame):
        return Source((convert_frame(source, features),), "the DataFrame")
    array, kind = as_array(source)
    _refuse_unknown(array, kind)
    return Source((xr.DataArray(array, dims=name_dims(array.ndim)),), kind)


def variable_names_of(source: Any) -> tuple[str, ...]:
    """Return the names of the variables in a Dataset or a group; none if the source is a single array.

    Raises
    ------
    StorageError, DataError
        As for `open_source`.
    """
    if is_stored(source):
        source = None if isinstance(open_zarr_node(source), zarr.Array) else open_dataset(source, decode_times=False)
    return tuple(str(name) for name in source.data_vars) if isinstance(source, xr.Dataset) else ()


def _refuse_unknown(array: Any, kind: str) -> None:
    if any(math.isnan(size) for size in array.shape):
        raise DataError(f"{kind} has blocks of unknown size; call compute_chunk_sizes() on it first")


def _take_variables(dataset: xr.Dataset, names: Sequence[str]) -> tuple[xr.DataArray, ...]:
    return tuple(fill_masked(dataset[name]) for name in names)


def _take_everything(dataset: xr.Dataset) -> dict[Hashable, xr.DataArray]:
    return {name: dataset[name] for name in dataset.variables}


def _describe_names(names: Sequence[str]) -> str:
    return f"variable {names[0]}" if len(names) == 1 else f"variables {', '.join(names)}"


def _choose_names(dataset: xr.Dataset, names: Sequence[str] | None, where: str) -> tuple[str, ...]:
    known = [str(name) for name in dataset.data_vars]
    if names is None:
        # One without dimensions, such as ``spatial_ref``, describes the others.
        known = [name for name in known if dataset[name].ndim] or known
        if len(known) == 1:
            return (known[0],)
        remedy = "choose one with `variable`, or several as features with `variables`" if known else "it needs one"
        raise ParameterError(f"{where} has {len(known)} variables {known}; {remedy}")
    for name in names:
        if name not in dataset.variables:
            raise ParameterError(f"{where} has no variable {name!r}, only {known}")
    return tuple(names)


def _open_zarr(place: Place, names: Sequence[str] | None) -> Source:
    node, where = open_zarr_node(place), describe_place(place)
    if not isinstance(place, (str, os.PathLike)):
        check_can_travel(node)
    if isinstance(node, zarr.Array):
        if names is not None:
            raise ParameterError(f"variable {names[0]!r} was asked for, but {where} is a single array")
        return Source((_wrap_array(node),), where, stored=((node, where),))
    dataset = _open_group(place)
    chosen = _choose_names(dataset, names, where)
    description = f"{where}:{','.join(chosen)}"
    stored = tuple((node[name], f"{where}:{name}") for name in chosen)
    return Source(_take_variables(dataset, chosen), description, _take_everything(dataset), node, stored)


def _open_group(place: Place) -> xr.Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)  # about dates; warned of below if it matters
            return open_dataset(place)
    except ValueError as error:
        reason = str(error).split(". ")[0]
    try:
        dataset = open_dataset(place, decode_times=False)
    except ValueError as error:
        raise DataError(f"the variables of {describe_place(place)} don't make a Dataset: {error}") from error
    # Samples need no dates; the labels get the same numbers with their units.
    warnings.warn(f"times of {describe_place(place)} stay numbers: {reason}", stacklevel=2)
    return dataset


def _wrap_array(node: zarr.Array) -> xr.DataArray:
    """Wrap a bare Zarr array as a DataArray that is read lazily, in the same way as a variable of a group."""
    names = getattr(node.metadata, "dimension_names", None)
    if not (names and all(names)):
        names = name_dims(node.ndim)
    lazy = xr.core.indexing.LazilyIndexedArray(_ZarrBackendArray(node))
    array = xr.DataArray(xr.Variable(names, lazy))
    array.encoding["chunks"] = node.shards or node.chunks
    return array


class _ZarrBackendArray(xr.backends.BackendArray):
    """A Zarr array as xarray indexes it: read when a block is computed, not before."""

    def __init__(self, node: zarr.Array) -> None:
        self.node, self.shape, self.dtype = node, node.shape, node.dtype

    def __getitem__(self, key: Any) -> Any:
        support = xr.core.indexing.IndexingSupport.BASIC
        return xr.core.indexing.explicit_indexing_adapter(key, self.shape, support, self.node.__getitem__)
