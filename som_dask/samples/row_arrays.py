"""Tables in files that xarray does not open: rows are read when a block is computed, not before."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
import zarr

from som_dask.errors import ParameterError, StorageError
from som_dask.io.stores import open_zarr_node

__all__ = ["RowArray", "StoredSparse", "StoredTable", "arrays_of", "is_hdf5", "open_group", "wrap_rows"]

STEP_ROWS = 1024  # blocks begin at multiples of it, where the file itself has no chunks


class RowArray(xr.backends.BackendArray):
    """A table (n, D) as xarray indexes it, by runs of rows.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
    step : int
        Rows that are best read together.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    step = STEP_ROWS

    def read(self, start: int, stop: int, columns: slice) -> np.ndarray:
        """Read some columns of the rows from `start` to before `stop`."""
        raise NotImplementedError

    def __getitem__(self, key: Any) -> Any:
        support = xr.core.indexing.IndexingSupport.BASIC
        return xr.core.indexing.explicit_indexing_adapter(key, self.shape, support, self._take)

    def _take(self, key: tuple[Any, ...]) -> np.ndarray:
        rows, columns = (slice(k, k + 1) if isinstance(k, (int, np.integer)) else k for k in key)
        start, stop, step = rows.indices(self.shape[0])
        values = self.read(start, max(start, stop), columns)[::step]
        return values[tuple(0 if isinstance(k, (int, np.integer)) else slice(None) for k in key)]


def wrap_rows(rows: RowArray, name: str, coords: Mapping[str, Any]) -> xr.DataArray:
    """Wrap a table as a variable that is read lazily, and that says by how many rows."""
    lazy = xr.core.indexing.LazilyIndexedArray(rows)
    array = xr.DataArray(xr.Variable(("sample", "feature"), lazy), coords=coords, name=name)
    array.encoding["chunks"] = (max(1, min(rows.step, rows.shape[0])), rows.shape[1])
    return array


@contextlib.contextmanager
def open_group(path: str) -> Iterator[Any]:
    """Open the root of an HDF5 file or of a Zarr store for reading, within a ``with`` block.

    Raises
    ------
    StorageError
        If there is none.
    """
    if not is_hdf5(path):
        yield open_zarr_node(path)
        return
    try:
        import h5py
    except ImportError as error:
        raise ParameterError("AnnData stores need the package anndata: pip install 'som_dask[cells]'") from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise StorageError(f"can't open {path} as an HDF5 file: {reason}") from error
    with file:
        yield file


def is_hdf5(path: str) -> bool:
    """Whether a path is that of an HDF5 file of AnnData, by its ending."""
    return path.lower().endswith((".h5ad", ".h5"))


class StoredTable(RowArray):
    """A dense table in an HDF5 file or a Zarr store.

    Parameters
    ----------
    path : str
        The file or store, which is opened anew for each block, so that workers need only its name.
    name : str
        Path of the table in it.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name
        with open_group(path) as root:
            table = root[name]
            self.shape, self.dtype = tuple(table.shape), np.dtype(table.dtype)
            whole = getattr(table, "shards", None) or table.chunks
            self.step = whole[0] if whole else STEP_ROWS

    def read(self, start: int, stop: int, columns: slice) -> np.ndarray:
        with open_group(self.path) as root:
            return np.asarray(root[self.name][start:stop, columns])


class StoredSparse(RowArray):
    """A table in compressed rows (CSR) in an HDF5 file or a Zarr store: blocks are made dense one by one.

    Parameters
    ----------
    path, name : str
        As for `StoredTable`; the group holds ``data``, ``indices`` and ``indptr``.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name
        with open_group(path) as root:
            group = root[name]
            self.shape = tuple(int(size) for size in group.attrs["shape"])
            self.dtype = np.dtype(group["data"].dtype)

    def read(self, start: int, stop: int, columns: slice) -> np.ndarray:
        with open_group(self.path) as root:
            group = root[self.name]
            ends = np.asarray(group["indptr"][start : stop + 1], dtype=np.int64)
            first, last = (int(ends[0]), int(ends[-1])) if len(ends) else (0, 0)
            data, indices = np.asarray(group["data"][first:last]), np.asarray(group["indices"][first:last])
        return make_dense(data, indices, ends - first, self.shape[1])[:, columns]


def make_dense(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, n_columns: int) -> np.ndarray:
    """Make compressed rows dense; values given twice add up, as scipy does."""
    from scipy.sparse import csr_array

    return csr_array((data, indices, indptr), shape=(len(indptr) - 1, n_columns)).toarray()


def arrays_of(path: str, name: str) -> list[zarr.Array]:
    """Return the Zarr arrays that hold a table, the one of its values first; none for an HDF5 file."""
    if is_hdf5(path):
        return []
    node = open_zarr_node(path)[name]
    return [node] if isinstance(node, zarr.Array) else [node[part] for part in ("data", "indices", "indptr")]
