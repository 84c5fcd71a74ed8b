"""Sparse matrices as tables of rows: each block becomes dense in the task that uses it, never the whole matrix."""

from __future__ import annotations

from typing import Any

import dask.array
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from dask.utils import parse_bytes

from som_dask.errors import DataError
from som_dask.samples.block_rows import DEFAULT_BLOCK_SIZE, choose_block_rows

__all__ = ["is_sparse", "make_blocks_dense"]


def is_sparse(values: Any) -> bool:
    """Return whether values are a sparse array or matrix, of scipy or another package."""
    return hasattr(values, "nnz") and (hasattr(values, "toarray") or hasattr(values, "todense"))


def make_blocks_dense(source: Any) -> Any:
    """Return sparse rows as a dask array whose blocks become dense when they are computed.

    Parameters
    ----------
    source : (n, D) sparse matrix or array, or dask array of sparse blocks
        What it does not hold is 0. Blocks of a dask array may also be dense.

    Returns
    -------
    dask array (n, D)

    Raises
    ------
    DataError
        If it is no matrix, or can't be cut into rows.
    """
    if isinstance(source, dask.array.Array):
        meta: Any = np.empty((0,) * source.ndim, source.dtype)
        return dask.array.map_blocks(_make_dense, source, dtype=source.dtype, meta=meta)
    kind = type(source).__name__
    if len(source.shape) != 2:
        raise DataError(f"the sparse {kind} has {len(source.shape)} dimensions; give a matrix, samples x features")
    if not hasattr(source, "tocsr"):
        raise DataError(f"the sparse {kind} can't be cut into rows; give a scipy.sparse.csr_array of it")
    rows = source.tocsr()
    n, columns = rows.shape
    step = choose_block_rows(n, columns * rows.dtype.itemsize, parse_bytes(DEFAULT_BLOCK_SIZE))
    starts = range(0, max(n, 1), step)
    name = f"sparse-{tokenize(rows, step)}"
    # Each block holds its own rows alone: of what all blocks share, every worker would get a copy.
    graph: dict[Any, Any] = {
        (name, i, 0): (_make_dense, _take_rows(rows, first, step)) for i, first in enumerate(starts)
    }
    chunks = (tuple(min(step, n - first) for first in starts), (columns,))
    return dask.array.Array(HighLevelGraph({name: graph}, {name: set()}), name, chunks=chunks, dtype=rows.dtype)


def _take_rows(rows: Any, first: int, step: int) -> Any:
    """Return some rows of a matrix of compressed rows, which share its memory."""
    edges = rows.indptr[first : first + step + 1]
    own = slice(int(edges[0]), int(edges[-1]))
    part = type(rows)((len(edges) - 1, rows.shape[1]), dtype=rows.dtype)
    # Set afterwards, because the class copies what it is made of.
    part.data, part.indices, part.indptr = rows.data[own], rows.indices[own], edges - edges[0]
    return part


def _make_dense(block: Any) -> np.ndarray:
    if not is_sparse(block):
        return np.asarray(block)
    return np.asarray(block.toarray() if hasattr(block, "toarray") else block.todense())
