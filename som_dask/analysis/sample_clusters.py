"""The cluster of each sample, from its best matching unit."""

from __future__ import annotations

from typing import Any

import dask.array
import numpy as np
import xarray as xr
from dask.delayed import delayed

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.by_node import bmus_of
from som_dask.analysis.node_counts import flatten_nodes
from som_dask.errors import DataError
from som_dask.io.attributes import make_plain

__all__ = ["sample_clusters"]


def sample_clusters(labels: xr.Dataset, clusters: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Find the cluster of each sample from its best matching unit; lazily if the labels are lazy.

    Parameters
    ----------
    labels : xarray.Dataset
        Result of `som_dask.infer`: ``bmu_row`` and ``bmu_col`` on any dimensions.
    clusters : xarray.Dataset or DataArray
        Result of `som_dask.clusters`, or your own cluster numbers ``(row, col)``.

    Returns
    -------
    xarray.DataArray
        "cluster", on the dimensions and coordinates of the labels: int32, with -1 where a row or column is negative,
        or float64, with NaN for samples without a label, if the labels are float.

    Raises
    ------
    DataError
        If the labels have no best matching units; when computed, if they hold nodes that the map does not have.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> rng = np.random.default_rng(0)
    >>> samples = np.concatenate([rng.normal(0, 0.1, (3, 2)), rng.normal(9, 0.1, (2, 2))])
    >>> model = som.train(samples, som.Lattice(2, 3), som.MapConfig(epochs=10))
    >>> found = som.sample_clusters(som.infer(samples, model), som.clusters(model, n_clusters=2)).values
    >>> (found == found[0]).tolist()
    [True, True, True, False, False]
    """
    table = clusters["cluster"] if isinstance(clusters, xr.Dataset) else clusters
    values = np.asarray(table.transpose("row", "col").values)
    if values.dtype.kind not in "iu":
        raise DataError(f"clusters must be whole numbers, got dtype {values.dtype}")
    row, col = bmus_of(labels)
    dtype = np.float64 if "f" in (row.dtype.kind, col.dtype.kind) else np.int32
    data: Any
    if row.chunks or col.chunks:
        dims = tuple(range(row.ndim))
        arrays = [dask.array.asarray(array.data) for array in (row, col)]
        _, arrays = dask.array.core.unify_chunks(arrays[0], dims, arrays[1], dims)
        shared = delayed(values, pure=True)
        meta = np.empty((0,) * row.ndim, dtype=dtype)
        data = dask.array.map_blocks(_look_up_clusters, *arrays, shared, dtype, dtype=dtype, meta=meta)
    else:
        data = _look_up_clusters(row.values, col.values, values, dtype)
    words = {"long_name": "cluster of the best matching unit", "units": "1"}
    return make_plain(xr.DataArray(data, coords=row.coords, dims=row.dims, name="cluster", attrs=words))


def _look_up_clusters(row: np.ndarray, col: np.ndarray, table: np.ndarray, dtype: Any) -> np.ndarray:
    rows, cols = table.shape
    nodes = flatten_nodes(row, col, Lattice(rows, cols))
    missing = np.nan if np.dtype(dtype).kind == "f" else -1
    return np.where(nodes >= 0, table.ravel()[nodes], missing).astype(dtype)
