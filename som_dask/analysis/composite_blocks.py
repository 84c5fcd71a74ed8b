"""The tests of composites, block by block: fields cut so that a task holds its part with its sums."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import dask.array
import numpy as np
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.node_fields import measure_days, merge_moments, moments_of_others, welch_statistic
from som_dask.algorithm.permutations import TIE, count_as_large
from som_dask.analysis.node_counts import flatten_nodes
from som_dask.errors import DataError, ParameterError

__all__ = ["CompositePlan", "SignificanceTest", "compare_by_welch", "cut_field", "import_stats", "permute_days"]

SignificanceTest = Literal["welch", "permutation"]
BLOCK_BYTES = 64 * 2**20  # of what a task holds of the field and of its sums
DAYS_PER_NODE = 4  # in a block at least, so that sums by node are not larger than the days
FAN_IN = 8


@dataclass(frozen=True)
class CompositePlan:
    """What is to be computed; see `som_dask.composites`."""

    lattice: Lattice
    test: SignificanceTest
    level: float
    permutations: int
    block_length: int
    seed: int


def import_stats() -> Any:
    """Import SciPy's statistics, which are needed only here."""
    try:
        import scipy.stats
    except ImportError as error:
        raise ParameterError("Welch's test needs SciPy: pip install 'som_dask[analysis]'") from error
    return scipy.stats


def cut_field(field: xr.DataArray, row: xr.DataArray, col: xr.DataArray, lattice: Lattice, *, whole: bool) -> Any:
    """Cut the field into blocks that a task can hold with its sums, and the nodes of the days likewise."""
    data = field.data if field.chunks is not None else dask.array.from_array(field.values, chunks=-1, name=False)
    n = row.ndim
    shape = [max(sizes) for sizes in data.chunks]
    if whole:
        shape[:n] = data.shape[:n]
    else:
        for i in range(n):
            wanted = -(-DAYS_PER_NODE * lattice.n_nodes // max(math.prod(shape[:n]), 1))
            shape[i] = min(shape[i] * wanted, data.shape[i])
    place_bytes = 8 * (math.prod(shape[:n]) + 3 * lattice.n_nodes)
    while place_bytes * math.prod(shape[n:]) > BLOCK_BYTES and math.prod(shape[n:]) > 1:
        longest = max(range(n, len(shape)), key=lambda i: shape[i])
        shape[longest] = -(-shape[longest] // 2)
    data = data.rechunk(tuple(shape))
    parts = (
        part.data if part.chunks is not None else dask.array.from_array(part.values, chunks=-1) for part in (row, col)
    )
    rows, cols = (part.rechunk(data.chunks[:n]) for part in parts)
    return data, dask.array.map_blocks(flatten_nodes, rows, cols, lattice=lattice, dtype=np.int64)


def _values_of(block: np.ndarray, n_dims: int) -> np.ndarray:
    """Return the days of a block as rows, (T, G)."""
    days = block.reshape(math.prod(block.shape[:n_dims]), -1)
    if days.dtype.kind == "f" and np.isinf(days).any():
        raise DataError("the field holds infinities; make them missing (NaN) first")
    return days


def compare_by_welch(nodes: Any, field: Any, how: CompositePlan) -> Any:
    """Return composite, p and days, (3, row, col, ...)."""
    n, size = nodes.ndim, field.ndim
    own, others = tuple(range(n)), tuple(range(n, size))
    kind, node, row, col = range(size, size + 4)
    parts = dask.array.blockwise(
        partial(_measure_block, n_nodes=how.lattice.n_nodes),
        (*own, kind, node, *others),
        *(nodes, own, field, (*own, *others)),
        new_axes={kind: 3, node: how.lattice.n_nodes},
        adjust_chunks=dict.fromkeys(own, 1),
        concatenate=True,
        dtype=np.float64,
        meta=np.empty((0,) * (size + 2)),
    )
    moments = dask.array.reduction(
        parts,
        *(_merge_blocks, _merge_blocks),
        combine=_merge_blocks,
        axis=own,
        split_every=FAN_IN,
        concatenate=True,
        dtype=np.float64,
        meta=np.empty((0,) * (2 + len(others))),
    )
    return dask.array.blockwise(
        partial(_finish_welch, shape=how.lattice.shape),
        (kind, row, col, *others),
        *(moments, (kind, node, *others)),
        new_axes={row: how.lattice.rows, col: how.lattice.cols},
        concatenate=True,
        dtype=np.float64,
        meta=np.empty((0,) * (3 + len(others))),
    )


def _measure_block(nodes: np.ndarray, block: np.ndarray, *, n_nodes: int) -> np.ndarray:
    moments = measure_days(nodes.ravel(), _values_of(block, nodes.ndim), n_nodes)
    return moments.reshape(*[1] * nodes.ndim, 3, n_nodes, *block.shape[nodes.ndim :])


def _merge_blocks(parts: np.ndarray, axis: tuple[int, ...], keepdims: bool) -> np.ndarray:
    rest = parts.shape[len(axis) :]
    merged = merge_moments(parts.reshape(-1, *rest))
    return merged.reshape(*[1] * len(axis), *rest) if keepdims else merged


def _finish_welch(moments: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    flat = moments.reshape(*moments.shape[:2], -1)
    others, every = moments_of_others(flat)
    t, freedom = welch_statistic(flat, others)
    p_value = 2 * import_stats().t.sf(np.abs(t), freedom)
    composite = np.where(flat[0] > 0, flat[1] - every[1], np.nan)
    return np.stack([composite, p_value, flat[0]]).reshape(3, *shape, *moments.shape[2:])


def permute_days(nodes: Any, field: Any, weights: np.ndarray, how: CompositePlan) -> tuple[Any, Any]:
    """Return composite, p and days, (3, row, col, ...), and p of the field as a whole, (row, col)."""
    n, size = nodes.ndim, field.ndim
    own, others = tuple(range(n)), tuple(range(n, size))
    kind, row, col = range(size, size + 3)
    rows, cols = how.lattice.shape
    # Each block is a pair of arrays, from which two arrays are made.
    pairs = dask.array.blockwise(
        partial(_permute_block, how=how),
        (kind, row, col, *others),
        *(nodes, own, field, (*own, *others)),
        *(dask.array.from_array(weights, chunks=field.chunks[n:]), others),
        new_axes={kind: 3, row: rows, col: cols},
        concatenate=True,
        dtype=np.float64,
        meta=np.empty((0,) * (3 + len(others))),
    )
    found = pairs.map_blocks(_take_places, dtype=np.float64, meta=np.empty((0,) * pairs.ndim))
    chunks = ((how.permutations + 1,), (rows,), (cols,), *((1,) * len(sizes) for sizes in pairs.chunks[3:]))
    sizes = pairs.map_blocks(_take_sizes, dtype=np.float64, chunks=chunks, meta=np.empty((0,) * pairs.ndim))
    total = sizes.sum(axis=tuple(range(3, sizes.ndim))) if others else sizes
    as_large = (total[1:] >= total[0] * (1 - TIE)).sum(axis=0)
    p_value = dask.array.where(dask.array.isnan(total[0]), np.nan, (as_large + 1) / (how.permutations + 1))
    return found, p_value


def _permute_block(
    nodes: np.ndarray, block: np.ndarray, weights: np.ndarray, *, how: CompositePlan
) -> tuple[np.ndarray, np.ndarray]:
    n_nodes, flat = how.lattice.n_nodes, nodes.ravel()
    taken = flat >= 0
    days, flat = _values_of(block, nodes.ndim)[taken].astype(np.float64), flat[taken]
    moments = measure_days(flat, days, n_nodes)
    _, every = moments_of_others(moments)
    options = {"permutations": how.permutations, "block_length": how.block_length, "seed": how.seed}
    places, sizes = count_as_large(flat, days, n_nodes, np.asarray(weights).ravel(), **options)
    tested = (moments[0] > 0) & (moments[0] < every[0])
    p_value = np.where(tested, (places + 1) / (how.permutations + 1), np.nan)
    composite = np.where(moments[0] > 0, moments[1] - every[1], np.nan)
    share = np.bincount(flat, minlength=n_nodes)
    sizes = np.where((share > 0) & (share < len(flat)), sizes, np.nan)
    others, grid = block.shape[nodes.ndim :], how.lattice.shape
    found = np.stack([composite, p_value, moments[0]]).reshape(3, *grid, *others)
    return found, sizes.reshape(-1, *grid, *[1] * len(others))


def _take_places(pair: Any) -> Any:
    return pair[0] if isinstance(pair, tuple) else pair


def _take_sizes(pair: Any) -> Any:
    return pair[1] if isinstance(pair, tuple) else pair
