"""From arrays over any sample dimensions to a table of rows and back: block by block, without a shuffle."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from som_dask.engine.row_numbers import Grid

__all__ = ["block_grid", "even_table", "spread", "stacked", "unstacked"]

ONE_STEP = 10**12  # a threshold of dask.array.rechunk: with it a block depends on the chunks it overlaps, no more


def block_grid(variables: Sequence[xr.DataArray], sample_dims: Sequence[str], rows: int) -> Grid:
    """Sizes of the blocks along each sample dimension.

    Neighboring chunks are merged, along the last dimensions first, so that rows of a block follow each other where
    that is possible. A chunk of a store is never cut; one of a dask array is where it has more than `rows`.

    Parameters
    ----------
    variables : sequence of DataArray
        With their dimensions as they are stored.
    sample_dims : sequence of str
    rows : int
        Most rows of a block, where chunks allow it.
    """
    lazy = [v for v in variables if v.chunks is not None]
    if lazy:
        common = [_common_chunks([v.chunksizes[dim] for v in lazy]) for dim in sample_dims]
        return _merged_grid(common, rows)
    sizes = [variables[0].sizes[dim] for dim in sample_dims]
    steps = [min(size, _stored_step(variables, dim)) for size, dim in zip(sizes, sample_dims, strict=True)]
    for d in reversed(range(len(sizes))):
        steps[d] = min(sizes[d], steps[d] * max(1, rows // math.prod(steps)))
    return tuple(_even(size, step) for size, step in zip(sizes, steps, strict=True))


def _stored_step(variables: Sequence[xr.DataArray], dim: str) -> int:
    """The least size of blocks that cuts no stored chunk, if the variables' chunks fit each other."""
    steps = [stored_chunks(v).get(dim, 1) for v in variables]
    common = math.lcm(*steps)
    return common if common <= 2 * max(steps) else max(steps)


def stored_chunks(variable: xr.DataArray) -> dict[str, int]:
    """Sizes of the chunks (shards, where there are some) that a variable is stored in; nothing for dask arrays."""
    stored = variable.encoding.get("shards") or variable.encoding.get("chunks") or ()
    if variable.chunks is not None or len(stored) != variable.ndim:
        return {}
    return {str(dim): size for dim, size in zip(variable.dims, stored, strict=True)}


def _even(size: int, step: int) -> tuple[int, ...]:
    whole, rest = divmod(size, step)
    return (step,) * whole + ((rest,) if rest else ())


def _common_chunks(chunks: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Chunks whose edges are edges of all."""
    edges = set.intersection(*({0, *accumulate(sizes)} for sizes in chunks))
    return tuple(b - a for a, b in pairwise(sorted(edges)))


def _merged_grid(chunks: Sequence[tuple[int, ...]], rows: int) -> Grid:
    limits = [max(sizes) for sizes in chunks]
    for d, size in enumerate(limits):
        limits[d] = min(size, max(1, rows // (math.prod(limits[:d]) * math.prod(limits[d + 1 :]))))
    grid = list(chunks)
    for d in reversed(range(len(chunks))):
        others = math.prod(limits[:d]) * math.prod(limits[d + 1 :])
        grid[d] = _merged(chunks[d], max(limits[d], rows // others))
        limits[d] = max(grid[d])
    return tuple(grid)


def _merged(chunks: tuple[int, ...], rows: int) -> tuple[int, ...]:
    """Chunk sizes with neighbors joined while they stay within `rows`; a chunk larger than that is cut.

    Of chunks of one size, but the last, come such chunks again, so that a store can hold labels of that shape.
    """
    if len(set(chunks[:-1])) <= 1 and 0 < chunks[-1] <= chunks[0]:
        size = chunks[0]
        step = size * (rows // size) if size <= rows else -(-size // -(-size // rows))
        return _even(sum(chunks), min(step, sum(chunks)))
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


def _in_blocks(variable: xr.DataArray, sample_dims: Sequence[str], grid: Grid) -> Any:
    """A variable, sample dimensions first, as a dask array in blocks of the grid, each with all features."""
    wanted = (*grid, *((size,) for size in variable.shape[len(sample_dims) :]))
    if variable.chunks is not None:
        return variable.data.rechunk(wanted, method="tasks", threshold=ONE_STEP)
    if not variable.ndim:  # which xarray does not chunk
        return dask.array.from_array(variable.values)
    return variable.chunk(dict(zip(variable.dims, wanted, strict=True))).data


def stacked(variables: Sequence[xr.DataArray], sample_dims: Sequence[str], grid: Grid) -> Any:
    """Variables as a table: a row for each sample, the features of all variables beside each other.

    Parameters
    ----------
    variables : sequence of DataArray
        The sample dimensions first, in their order.
    sample_dims : sequence of str
    grid : tuple of tuple of int
        Sizes of the blocks along the sample dimensions.

    Returns
    -------
    dask array (n, D)
        The rows of one block after those of the other, blocks and the rows of each in C order.
    """
    parts = [_in_blocks(variable, sample_dims, grid) for variable in variables]
    return _table(parts, grid)


def _table(parts: Sequence[Any], grid: Grid) -> Any:
    n_dims = len(grid)
    if len(parts) == 1 and n_dims == 1 and parts[0].ndim == 2:
        return parts[0]
    dtype = np.result_type(*(part.dtype for part in parts))
    name = f"samples-{tokenize([part.name for part in parts], grid)}"
    stack = functools.partial(_stack_block, n_dims, dtype)
    graph = {}
    for i, place in enumerate(np.ndindex(*(len(sizes) for sizes in grid))):
        keys = [(part.name, *place, *([0] * (part.ndim - n_dims))) for part in parts]
        graph[(name, i, 0)] = (stack, *keys)
    columns = sum(math.prod(part.shape[n_dims:]) for part in parts)
    return _array(name, graph, parts, (rows_of_blocks(grid), (columns,)), dtype)


def rows_of_blocks(grid: Grid) -> tuple[int, ...]:
    """Number of rows of each block."""
    return tuple(math.prod(shape) for shape in _shapes(grid))


def _shapes(grid: Grid) -> list[tuple[int, ...]]:
    places = np.ndindex(*(len(sizes) for sizes in grid))
    return [tuple(sizes[i] for sizes, i in zip(grid, place, strict=True)) for place in places]


def _array(name: str, graph: dict[Any, Any], parents: Sequence[Any], chunks: Any, dtype: Any) -> Any:
    layers = HighLevelGraph.from_collections(name, graph, dependencies=list(parents))
    return dask.array.Array(layers, name, chunks=chunks, dtype=dtype)


def _stack_block(n_dims: int, dtype: Any, *blocks: np.ndarray) -> np.ndarray:
    rows = math.prod(blocks[0].shape[:n_dims])
    tables = [block.reshape(rows, math.prod(block.shape[n_dims:])) for block in blocks]
    if len(tables) == 1:
        return tables[0]
    return np.concatenate(tables, axis=1, dtype=dtype)


def unstacked(column: Any, grid: Grid) -> Any:
    """A column of the table on the sample dimensions again, block for block.

    Parameters
    ----------
    column : dask array (n,) or (n, k)
        In the table's blocks.
    grid : tuple of tuple of int

    Returns
    -------
    dask array over the sample dimensions, and one more of size k
    """
    inner = column.shape[1:]
    wanted = (rows_of_blocks(grid), *((size,) for size in inner))
    column = column.rechunk(wanted, method="tasks", threshold=ONE_STEP)
    name = f"unstacked-{tokenize(column.name, grid)}"
    graph = {}
    places = np.ndindex(*(len(sizes) for sizes in grid))
    for i, (place, shape) in enumerate(zip(places, _shapes(grid), strict=True)):
        graph[(name, *place, *(0 for _ in inner))] = (
            functools.partial(np.reshape, shape=(*shape, *inner)),
            (column.name, i, *(0 for _ in inner)),
        )
    return _array(name, graph, [column], (*grid, *((size,) for size in inner)), column.dtype)


def even_table(table: Any, grid: Grid) -> tuple[Any, Grid]:
    """The table in blocks of one size along each sample dimension, but the last, and their grid."""
    even = tuple(_even(sum(sizes), max(sizes)) for sizes in grid)
    if even == grid:
        return table, grid
    spread_out = unstacked(table, grid).rechunk((*even, (table.shape[1],)), method="tasks", threshold=ONE_STEP)
    return _table([spread_out], even), even


def spread(values: xr.DataArray, sample_dims: Sequence[str], grid: Grid) -> Any:
    """Numbers on some of the sample dimensions, as a column of the table.

    Parameters
    ----------
    values : DataArray
        Its dimensions are sample dimensions, any of them, in any order.
    sample_dims : sequence of str
    grid : tuple of tuple of int

    Returns
    -------
    dask array (n,) float64, in the table's blocks
        Each is made of the block's own part of the values.
    """
    own = [d for d, dim in enumerate(sample_dims) if dim in values.dims]
    values = values.transpose(*(sample_dims[d] for d in own))
    part = _in_blocks(values, [sample_dims[d] for d in own], tuple(grid[d] for d in own))
    name = f"spread-{tokenize(part.name, own, grid)}"
    graph = {}
    places = np.ndindex(*(len(sizes) for sizes in grid))
    for i, (place, shape) in enumerate(zip(places, _shapes(grid), strict=True)):
        graph[(name, i)] = (functools.partial(_spread_block, own, shape), (part.name, *(place[d] for d in own)))
    return _array(name, graph, [part], (rows_of_blocks(grid),), np.dtype(np.float64))


def _spread_block(own: Sequence[int], shape: tuple[int, ...], part: np.ndarray) -> np.ndarray:
    inner = [size if d in own else 1 for d, size in enumerate(shape)]
    return np.broadcast_to(np.asarray(part, dtype=np.float64).reshape(inner), shape).reshape(-1).copy()
