"""Sources of samples: stores and arrays of any kind, opened as variables that are read lazily."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import xarray as xr
import zarr

from som_dask.errors import DataError, ParameterError
from som_dask.io.data_files import KindOfFile, kind_of_file
from som_dask.io.files import PathOrUrl
from som_dask.io.netcdf import open_netcdf
from som_dask.io.store_objects import Place, check_can_travel, describe_place, is_stored
from som_dask.io.stores import open_dataset, open_zarr_node
from som_dask.samples.absent import AbsentChunks, find_absent
from som_dask.samples.cells import is_cells, open_cells
from som_dask.samples.dask_frames import FrameTable, TextTable, is_dask_frame, text_columns
from som_dask.samples.frames import as_array, convert_frame, name_dims
from som_dask.samples.gaps import Number, fill_masked, make_missing
from som_dask.samples.parquet import ParquetTable, parquet_columns
from som_dask.samples.tables import Table, convert_table

__all__ = ["Source", "column_names_of", "open_source", "variable_names_of"]


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

    def find_other(self, name: str, what: str = "the weights") -> xr.DataArray:
        """Return another variable of the same store or Dataset; `what` it is for, in words.

        Raises
        ------
        ParameterError
            If there is no variable of that name.
        """
        if name not in self.others:
            raise ParameterError(f"{self.description} has no variable {name!r} beside it for {what}")
        return fill_masked(self.others[name])

    def find_absent(self, others: Sequence[str] = ()) -> tuple[AbsentChunks, ...]:
        """Return the chunks that the store lacks of the variables, and of some others."""
        found = [
            each
            for array, where in self.stored
            for each in find_absent(array, where, decoded=self.node is not None, nodata=self.nodata)
        ]
        for other in others if self.node is not None else ():
            found += find_absent(self.node[other], other, decoded=True)  # type: ignore[arg-type,index]
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


def open_source(
    source: Any, names: Sequence[str] | None, features: Sequence[str] | None = None, beside: str | None = None
) -> Source:
    """Open any supported input as variables that are read lazily.

    Parameters
    ----------
    source : as for `som_dask.samples.open.open_samples`
    names : sequence of str, optional
        The variables to take from a group or Dataset; needed if it has several.
    features : sequence of str, optional
        The columns to take from a table or an FCS file: all others need not be of numbers.
    beside : str, optional
        A column of a table that holds the weights of the samples, and is no feature unless it is named as one.

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
    kind = _kind_of(source)
    if kind == "netcdf":
        return _open_netcdf(source, names)
    if kind is not None or is_dask_frame(source):
        return _open_table(source, kind, names, features, beside)
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
        return _beside_rows(*convert_frame(source, features, beside), "the DataFrame")
    array, where = as_array(source)
    _refuse_unknown(array, where)
    return Source((xr.DataArray(array, dims=name_dims(array.ndim)),), where)


def variable_names_of(source: Any) -> tuple[str, ...]:
    """Return the names of the variables in a Dataset, group or file; none if it is a single array or a table.

    Raises
    ------
    StorageError, DataError
        As for `open_source`.
    """
    kind = _kind_of(source)
    if kind is not None:
        source = open_netcdf(source, decode_times=False) if kind == "netcdf" else None
    elif is_stored(source):
        source = None if isinstance(open_zarr_node(source), zarr.Array) else open_dataset(source, decode_times=False)
    return tuple(str(name) for name in source.data_vars) if isinstance(source, xr.Dataset) else ()


def column_names_of(source: Any) -> tuple[str, ...] | None:
    """Return the names of the columns of a table; None if the source is no table.

    Raises
    ------
    StorageError
        As for `open_source`.
    """
    kind = _kind_of(source)
    if kind in ("parquet", "csv"):
        return parquet_columns(source) if kind == "parquet" else text_columns(source)
    if isinstance(source, pd.DataFrame) or is_dask_frame(source):
        return tuple(str(name) for name in source.columns)
    return None


def _kind_of(source: Any) -> KindOfFile | None:
    return kind_of_file(source) if isinstance(source, (str, os.PathLike)) else None


def _beside_rows(rows: xr.DataArray, weights: xr.DataArray | None, where: str) -> Source:
    """Return the rows of a table as a source, and a column of weights beside them."""
    return Source((rows,), where, {} if weights is None else {weights.name: weights})


def _open_table(
    source: Any,
    kind: KindOfFile | None,
    names: Sequence[str] | None,
    features: Sequence[str] | None,
    beside: str | None,
) -> Source:
    if names is not None:
        where = "the dask DataFrame" if kind is None else describe_place(source)
        raise ParameterError(
            f"variable {names[0]!r} was asked for, but {where} is a table; choose columns by `features`"
        )
    table: Table
    if kind == "parquet":
        table = ParquetTable(source)
    else:
        columns = features if features is None or beside is None else [*features, beside]
        table = TextTable(source, columns) if kind == "csv" else FrameTable(source, "the dask DataFrame")
    return _beside_rows(*convert_table(table, features, beside), table.where)


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
    dataset = _open_group(place, open_dataset)
    chosen = _choose_names(dataset, names, where)
    description = f"{where}:{','.join(chosen)}"
    stored = tuple((node[name], f"{where}:{name}") for name in chosen)
    return Source(_take_variables(dataset, chosen), description, _take_everything(dataset), node, stored)


def _open_netcdf(path: PathOrUrl, names: Sequence[str] | None) -> Source:
    dataset, where = _open_group(path, open_netcdf), describe_place(path)
    chosen = _choose_names(dataset, names, where)
    return Source(_take_variables(dataset, chosen), f"{where}:{','.join(chosen)}", _take_everything(dataset))


def _open_group(place: Any, open_it: Callable[..., xr.Dataset]) -> xr.Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)  # about dates; warned of below if it matters
            return open_it(place)
    except ValueError as error:
        reason = str(error).split(". ")[0]
    try:
        dataset = open_it(place, decode_times=False)
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
