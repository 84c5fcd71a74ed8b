"""AnnData objects and stores (``.h5ad`` files, Zarr groups) as input: cells are samples, variables are features."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr
import zarr

from som_dask.errors import DataError, ParameterError, SomError, StorageError
from som_dask.io.files import exists, is_url, local_path, read_bytes
from som_dask.samples.absent import find_absent
from som_dask.samples.row_arrays import StoredSparse, StoredTable, arrays_of, is_hdf5, open_group, wrap_rows
from som_dask.samples.sparse import is_sparse, make_blocks_dense

__all__ = ["anndata_layers", "is_anndata", "is_anndata_store", "open_anndata"]

TYPE = "encoding-type"  # the attribute that says what anndata has stored
MAIN = "X"  # the name of the table that is no layer
MOST_NAMES = 2**21  # names of cells that are taken along as a coordinate; more would fill the memory of the client
Found = tuple[tuple[xr.DataArray, ...], str, tuple[tuple[zarr.Array, str], ...]]


def is_anndata(source: Any) -> bool:
    """Whether something is an AnnData object; the package need not be installed."""
    module = sys.modules.get("anndata")
    return module is not None and isinstance(source, module.AnnData)


def is_anndata_store(source: Any) -> bool:
    """Whether a path is that of an ``.h5ad`` file, or of a Zarr group in which AnnData stores itself."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    path = local_path(source)
    if path.lower().endswith(".h5ad"):
        return True
    return (is_url(path) or os.path.isdir(path)) and _says_anndata(path.rstrip("/"))


def _says_anndata(path: str) -> bool:
    """Whether the attributes of a Zarr group, of either format, say so: they are read, and nothing is opened."""
    for name in ("zarr.json", ".zattrs"):
        try:
            document = json.loads(read_bytes(f"{path}/{name}"))
        except (SomError, OSError, ValueError):  # said where it is opened
            continue
        attributes = document.get("attributes") if name == "zarr.json" and isinstance(document, dict) else document
        return isinstance(attributes, dict) and attributes.get(TYPE) == "anndata"  # what is damaged is said later
    return False


def anndata_layers(source: Any) -> tuple[str, ...]:
    """Return the names of the tables of an AnnData object or store: "X" first, unless there is none, then layers."""
    if is_anndata(source):
        is_there = MAIN in anndata_layers(source.filename) if source.isbacked else source.X is not None
        return (*([MAIN] if is_there else []), *(name for name in source.layers if name is not None))
    with _opened(source) as root:
        return (*([MAIN] if _is_table(root.get(MAIN)) else []), *root.get("layers", ()))


def _is_table(node: Any) -> bool:
    return node is not None and node.attrs.get(TYPE) != "null"


def _opened(source: Any) -> Any:
    path = os.fspath(source)
    if is_hdf5(path):
        if is_url(path):
            raise StorageError(f"{path} can't be read over the network; copy it here, or write it by write_zarr()")
        if not exists(path):
            raise StorageError(f"{path} does not exist; check the path")
    return open_group(local_path(path))


def open_anndata(source: Any, names: Sequence[str] | None) -> Found:
    """Open tables of an AnnData object or store.

    Parameters
    ----------
    source : AnnData, or path
    names : sequence of str, optional
        "X" or names of layers; by default "X".

    Returns
    -------
    variables : tuple of DataArray
        On "sample" and "feature", lazy if they are in a store. The names of the cells are the coordinate "sample",
        unless they are plain numbers from 0 or there are more than 2 million in a store.
    description : str
    stored : tuple of (zarr.Array, str)
        The arrays that hold the values in a Zarr store, each with a description.

    Raises
    ------
    ParameterError
        If there is no such layer, or the package that is needed is not installed.
    DataError
        If a table is not one of rows.
    StorageError
        If the store can't be opened, or lacks chunks of a sparse table.
    """
    where = "the AnnData object" if is_anndata(source) else os.fspath(source)
    if is_anndata(source) and source.isbacked:
        _refuse_part_of_file(source)
    known = anndata_layers(source)
    chosen = tuple(names) if names else (MAIN,)
    for name in chosen:
        if name not in known:
            raise ParameterError(f"{where} has no layer {name!r}, only {list(known)}; choose one with `variable`")
    description = where if chosen == (MAIN,) else f"{where}:{','.join(chosen)}"
    if not is_anndata(source):
        path = os.path.abspath(local_path(source)) if not is_url(source) else os.fspath(source)
        return _open_store(path, chosen, where, description)
    if source.isbacked and MAIN in chosen:
        path = os.path.abspath(source.filename)
        (table,), _, _ = _open_store(path, (MAIN,), where, description, coords=_coords_of_object(source))
        rest = {name: _take_table(source, name, where) for name in chosen if name != MAIN}
        return tuple(table if name == MAIN else rest[name] for name in chosen), description, ()
    return tuple(_take_table(source, name, where) for name in chosen), description, ()


def _refuse_part_of_file(adata: Any) -> None:
    if adata.is_view:
        raise DataError(
            "the AnnData object is a part of one that is backed by a file; give its to_memory(), or write it to a "
            "file of its own by copy(filename)"
        )


def _coords_of_object(adata: Any) -> dict[str, Any]:
    return _make_coords(adata.obs_names, adata.var_names)


def _make_coords(cells: Any, features: Any) -> dict[str, Any]:
    coords: dict[str, Any] = {"feature": np.array([str(name) for name in features], dtype=object)}
    if cells is not None:
        values = np.array([str(name) for name in cells], dtype=object)
        if not np.array_equal(values, np.arange(len(values)).astype(str).astype(object)):
            coords["sample"] = pd.Index(values, dtype=object)
    return coords


def _take_table(adata: Any, name: str, where: str) -> xr.DataArray:
    values: Any = adata.X if name == MAIN else adata.layers[name]
    if isinstance(values, dask.array.Array) or is_sparse(values):
        values = make_blocks_dense(values)
    elif isinstance(values, pd.DataFrame):
        values = values.to_numpy()
    elif hasattr(values, "__array_namespace__") and not isinstance(values, np.ndarray):
        raise DataError(f"{name} of {where} is a {type(values).__name__}; make it a NumPy array first")
    return xr.DataArray(values, dims=("sample", "feature"), coords=_coords_of_object(adata), name=name)


def _open_store(
    path: str, names: Sequence[str], where: str, description: str, coords: dict[str, Any] | None = None
) -> Found:
    with _opened(path) as root:
        if coords is None:
            coords = _read_coords(root)
        places = {name: name if name == MAIN else f"layers/{name}" for name in names}
        kinds = {name: root[place].attrs.get(TYPE, "array") for name, place in places.items()}
    variables, stored = [], []
    for name, place in places.items():
        if kinds[name] == "csc_matrix":
            raise DataError(f"{name} of {where} is stored by columns (CSC); store it by rows, as its tocsr()")
        if kinds[name] not in ("array", "csr_matrix"):
            raise DataError(f"{name} of {where} is stored as a {kinds[name]}; store a dense or a CSR matrix")
        rows = StoredSparse(path, place) if kinds[name] == "csr_matrix" else StoredTable(path, place)
        if len(rows.shape) != 2:
            raise DataError(f"{name} of {where} has {len(rows.shape)} dimensions; 2 are needed")
        arrays = arrays_of(path, place)
        for array in arrays[1:]:
            _refuse_absent_index(array, f"{where}:{name}")
        stored += [(array, f"{where}:{name}") for array in arrays[:1]]
        variables.append(wrap_rows(rows, name, coords))
    return tuple(variables), description, tuple(stored)


def _refuse_absent_index(array: zarr.Array, where: str) -> None:
    """Refuse to read places of values that a store has lost: they would all be 0."""
    if find_absent(array, where, decoded=False):
        raise StorageError(f"{where} lacks chunks of {array.basename}; restore them")


def _read_coords(root: Any) -> dict[str, Any]:
    try:
        from anndata.io import read_elem
    except ImportError as error:
        raise ParameterError("AnnData stores need the package anndata: pip install 'som_dask[cells]'") from error
    n = _count_cells(root["obs"])
    cells = None if n > MOST_NAMES else read_elem(root["obs"][root["obs"].attrs["_index"]])
    return _make_coords(cells, read_elem(root["var"][root["var"].attrs["_index"]]))


def _count_cells(frame: Any) -> int:
    index = frame[frame.attrs["_index"]]
    return int((index if hasattr(index, "shape") else index["values"]).shape[0])
