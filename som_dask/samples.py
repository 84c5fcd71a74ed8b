"""Samples: any supported input as blocks of (sample, feature) rows, read when they are needed."""

from __future__ import annotations

import functools
import math
import os
import warnings
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr
from dask.delayed import Delayed
from dask.utils import parse_bytes

from som_dask.backend import Device
from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.storage import open_zarr_node
from som_dask.stored import PIECE_BYTES, StoredRows

__all__ = ["DEFAULT_BLOCK_SIZE", "Samples", "open_samples"]

DEFAULT_BLOCK_SIZE = "64 MiB"
# Small data are still cut, so that every core has work; how finely must not depend on the machine, because
# the last bits of a codebook made with fast sums depend on the blocks.
USUAL_BLOCKS, MIN_BLOCK_ROWS = 32, 4096


@dataclass(frozen=True)
class Samples:
    """Samples as a lazy table; made by `open_samples`.

    Attributes
    ----------
    array : dask array (n, D)
        One block across the features.
    features : tuple of str, or None
        Names of the features where the input has any.
    sample_dim, feature_dim : str
        The input's own names of the dimensions.
    coords : dict of str to xarray.DataArray
        Coordinates along the sample dimension, for the labels.
    description : str
        Where the samples come from.
    stored : StoredRows, optional
        The same rows straight from their store, for as long as `array` is what `open_samples` made.
    device : {"cpu", "gpu"}
        In whose memory the blocks are when they are computed.
    """

    array: Any
    features: tuple[str, ...] | None
    sample_dim: str = "sample"
    feature_dim: str = "feature"
    coords: dict[str, xr.DataArray] = field(default_factory=dict)
    description: str = ""
    stored: StoredRows | None = None
    device: Device = "cpu"
    weights: Any = None
    feature_weights: np.ndarray | None = None

    def weight_blocks(self) -> list[Delayed] | None:
        """Weights of the samples of each block, delayed (rows,) arrays; None where there are none."""
        return None if self.weights is None else self.weights.to_delayed().ravel().tolist()

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.array.shape[0]

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.array.shape[1]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features' names; ``feature_0``, ``feature_1`` ... where the input has none."""
        return self.features or tuple(f"feature_{i}" for i in range(self.n_features))

    @property
    def block_rows(self) -> tuple[int, ...]:
        """Number of rows of each block."""
        return self.array.chunks[0]

    @property
    def block_starts(self) -> list[int]:
        """First row of each block."""
        return np.cumsum([0, *self.block_rows[:-1]]).tolist()

    def blocks(self) -> list[Any]:
        """The blocks in order, each a delayed (rows, D) array, or a `StoredRows` that reads ahead."""
        if self.stored is not None and self.stored.name == self.array.name:
            edges = zip(self.block_starts, self.block_rows, strict=True)
            return [replace(self.stored, start=start, stop=start + rows) for start, rows in edges]
        return self.delayed_blocks()

    def delayed_blocks(self) -> list[Delayed]:
        """The blocks in order, each a delayed (rows, D) array."""
        return list(self._delayed)

    @functools.cached_property
    def _delayed(self) -> list[Delayed]:
        # Once: it takes a good part of a short epoch.
        return self.array.to_delayed().ravel().tolist()


def open_samples(
    source: Any,
    *,
    variable: str | None = None,
    feature_dim: str | None = None,
    dtype: Any = None,
    block_size: str | int = DEFAULT_BLOCK_SIZE,
    allow_missing_chunks: bool = False,
    weights: Any = None,
    feature_weights: Any = None,
) -> Samples:
    """Take any supported input as samples.

    Parameters
    ----------
    source : path or URL of a Zarr store (v2 or v3, group or array), xarray Dataset or DataArray, dask or NumPy
        array, or Samples (returned as they are)
        Two-dimensional: samples and features.
    variable : str, optional
        The variable of a group or Dataset; needed only where it has several.
    feature_dim : str, optional
        The dimension of the features: by default the one called "feature", else the last.
    dtype : optional
        Convert the samples to this dtype as they are read.
    block_size : str or int
        Most bytes of one block, such as ``"64 MiB"``. Neighboring chunks are merged up to it; a store's chunk
        is never cut.
    allow_missing_chunks : bool
        A Zarr chunk that is not in the store is read as the fill value. Unless allowed that is an error,
        because a lost chunk looks the same as one that was never written.

    Returns
    -------
    Samples

    Raises
    ------
    StorageError
        If a store can't be opened or has chunks missing.
    DataError
        If the input has the wrong dimensions, no rows, no features or no numbers.
    ParameterError
        If an option names something that is not there.
    """
    if isinstance(source, Samples):
        return source
    try:
        block_bytes = parse_bytes(block_size)
    except ValueError as error:
        raise ParameterError(f"block size {block_size!r} is not a number of bytes like '64 MiB'") from error
    if block_bytes < 1:
        raise ParameterError(f"block size must be positive, got {block_size!r}")
    array, description = _as_data_array(source, variable, allow_missing_chunks)
    stored = array.encoding.get("shards") or array.encoding.get("chunks") or ()
    stored_chunks = dict(zip(array.dims, stored, strict=False)) if array.chunks is None else {}
    if array.ndim != 2:
        raise DataError(f"{description} has dimensions {array.dims}; two are needed, samples and features")
    if feature_dim is None:
        feature_dim = "feature" if "feature" in array.dims else str(array.dims[-1])
    if feature_dim not in array.dims:
        raise ParameterError(f"{description} has no dimension {feature_dim!r}, only {array.dims}")
    (sample_dim,) = (dim for dim in array.dims if dim != feature_dim)
    array = array.transpose(sample_dim, feature_dim)
    if array.dtype.kind not in "iufb":
        raise DataError(f"{description} has dtype {array.dtype}; real numbers are needed")
    for dim in array.dims:
        if not array.sizes[dim]:
            raise DataError(f"{description} has no {'samples' if dim == sample_dim else 'features'}")
    features = None
    if feature_dim in array.coords:
        features = tuple(str(name) for name in array[feature_dim].values)
        if len(set(features)) < len(features):
            raise DataError(f"{description} has two features of the same name; rename one")
    coords = {str(name): c for name, c in array.coords.items() if c.dims == (sample_dim,)}
    stored_rows = stored_chunks.get(sample_dim, 1)
    table = _as_blocks(array, stored_rows, block_bytes)
    if dtype is not None:
        try:
            wanted = np.dtype(dtype)
        except TypeError as error:
            raise ParameterError(f"dtype {dtype!r} is unknown; use float32 or float64") from error
        if wanted.kind not in "iuf":
            raise ParameterError(f"dtype {dtype!r} is not of real numbers; use float32 or float64")
        table = table.astype(wanted)
    if weights is not None:
        weights = dask.array.from_array(np.asarray(weights, dtype=np.float64), chunks=(table.chunks[0],))
    if feature_weights is not None:
        feature_weights = np.asarray(feature_weights, dtype=np.float64)
    straight = None
    if stored_chunks:
        pieces = max(1, PIECE_BYTES // max(stored_rows * array.shape[1] * array.dtype.itemsize, 1))
        straight = StoredRows(array.variable, table.dtype, pieces * stored_rows, table.name)
    return Samples(
        table,
        features,
        str(sample_dim),
        feature_dim,
        coords,
        description,
        straight,
        weights=weights,
        feature_weights=feature_weights,
    )


def _as_data_array(source: Any, variable: str | None, allow_missing: bool) -> tuple[xr.DataArray, str]:
    """`source` as a DataArray that is read lazily, with a description for messages."""
    if isinstance(source, (str, os.PathLike)):
        return _from_zarr(source, variable, allow_missing)
    if isinstance(source, xr.Dataset):
        name = _the_variable(source, variable, "the Dataset")
        return source[name], f"variable {name}"
    if variable is not None:
        raise ParameterError(f"variable {variable!r} was asked for, but the input is a single array")
    if isinstance(source, xr.DataArray):
        return source, f"variable {source.name}" if source.name else "the DataArray"
    if not isinstance(source, dask.array.Array):
        source = np.asarray(source)
    kind = "the NumPy array" if isinstance(source, np.ndarray) else "the dask array"
    if source.ndim != 2:
        raise DataError(f"{kind} has shape {source.shape}; two dimensions are needed, samples and features")
    if any(math.isnan(size) for size in source.shape):
        raise DataError(f"{kind} has blocks of unknown size; call compute_chunk_sizes() on it first")
    return xr.DataArray(source, dims=("sample", "feature")), kind


def _the_variable(dataset: xr.Dataset, variable: str | None, where: str) -> str:
    names = [str(name) for name in dataset.data_vars]
    if variable is None:
        if len(names) == 1:
            return names[0]
        remedy = "choose one with --variable" if names else "it needs one"
        raise ParameterError(f"{where} has {len(names)} variables {names}; {remedy}")
    if variable not in dataset.variables:
        raise ParameterError(f"{where} has no variable {variable!r}, only {names}")
    return variable


def _from_zarr(place: str | os.PathLike[str], variable: str | None, allow_missing: bool) -> tuple[xr.DataArray, str]:
    node = open_zarr_node(place)
    if isinstance(node, zarr.Array):
        if variable is not None:
            raise ParameterError(f"variable {variable!r} was asked for, but {place} is a single array")
        array, stored, description = _lazy_array(node), node, f"{place}"
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata that is not consolidated
            dataset = xr.open_zarr(os.fspath(place), chunks=None)
        name = _the_variable(dataset, variable, str(place))
        array, stored, description = dataset[name], node[name], f"{place}:{name}"
    if not allow_missing and stored.ndim:
        missing = _missing_chunks(stored)
        if missing > 0:
            raise StorageError(
                f"{description} lacks {missing} of its chunks; restore them, or read them as the fill value "
                f"{stored.fill_value} with --allow-missing-chunks"
            )
    return array, description


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
        names = ("sample", "feature") if node.ndim == 2 else tuple(f"dim_{i}" for i in range(node.ndim))
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


def _block_rows(n_samples: int, row_bytes: int, block_bytes: int, chunk_rows: int = 1) -> int:
    """Rows of a block: enough blocks for every core, none above the size asked for, whole stored chunks."""
    rows = max(MIN_BLOCK_ROWS, -(-n_samples // USUAL_BLOCKS))
    rows = min(rows, block_bytes // max(row_bytes, 1))
    return max(1, rows // chunk_rows) * chunk_rows


def _as_blocks(array: xr.DataArray, stored_rows: int, block_bytes: int) -> Any:
    """The DataArray's data as a dask array with blocks of a good size, one across the features."""
    row_bytes = array.shape[1] * array.dtype.itemsize
    rows = _block_rows(array.shape[0], row_bytes, block_bytes, stored_rows)
    if array.chunks is not None:
        return array.data.rechunk((_merged(array.chunks[0], rows), -1))
    return array.chunk({array.dims[0]: rows, array.dims[1]: -1}).data


def _merged(chunks: tuple[int, ...], rows: int) -> tuple[int, ...]:
    """Chunk sizes with neighbors joined while they stay within `rows`; a chunk larger than that is cut."""
    merged: list[int] = []
    for size in chunks:
        if merged and merged[-1] + size <= rows:
            merged[-1] += size
        elif size > rows:
            pieces = -(-size // rows)
            edges = [size * i // pieces for i in range(pieces + 1)]
            merged += [b - a for a, b in pairwise(edges)]
        else:
            merged.append(size)
    return tuple(merged)
