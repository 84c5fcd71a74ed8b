"""Stack arrays with any sample dimensions into a table of rows, and unstack it: block by block, without a shuffle."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from som_dask.engine.block import refuse_mask
from som_dask.engine.row_numbers import Grid

__all__ = [
    "Stack",
    "choose_grid",
    "cut_grid",
    "even_out_grid",
    "regrid_table",
    "spread_values",
    "stack_variables",
    "stored_chunks_of",
    "take_columns",
    "unstack_column",
]

ONE_STEP = 10**12  # a threshold of dask.array.rechunk; with it, a block depends only on the chunks that it overlaps


def choose_grid(variables: Sequence[xr.DataArray], sample_dims: Sequence[str], rows: int) -> Grid:
    """Choose the sizes of the blocks along each sample dimension.

    Neighboring chunks are merged, along the last dimensions first, so that the rows of a block follow each other if
    possible. A chunk of a store is never cut; a chunk of a dask array is cut if it has more than `rows`.

    Parameters
    ----------
    variables : sequence of DataArray
        With their dimensions in stored order.
    sample_dims : sequence of str
    rows : int
        Maximum number of rows of a block, if the chunks allow it.

    Returns
    -------
    tuple of tuple of int
        For each sample dimension, the sizes of the blocks.
    """
    lazy = [v for v in variables if v.chunks is not None]
    if lazy:
        common = [_find_common_chunks([v.chunksizes[dim] for v in lazy]) for dim in sample_dims]
        return _merge_grid(common, rows)
    sizes = [variables[0].sizes[dim] for dim in sample_dims]
    steps = [min(size, _find_step(variables, dim)) for size, dim in zip(sizes, sample_dims, strict=True)]
    for d in reversed(range(len(sizes))):
        steps[d] = min(sizes[d], steps[d] * max(1, rows // math.prod(steps)))
    return tuple(_split_evenly(size, step) for size, step in zip(sizes, steps, strict=True))


def _find_step(variables: Sequence[xr.DataArray], dim: str) -> int:
    """Find the smallest size of blocks that cuts no stored chunk, if the chunks of the variables fit each other."""
    steps = [stored_chunks_of(v).get(dim, 1) for v in variables]
    common = math.lcm(*steps)
    return common if common <= 2 * max(steps) else max(steps)


def stored_chunks_of(variable: xr.DataArray) -> dict[str, int]:
    """Return the sizes of the chunks (or shards, if any) that a variable is stored in; nothing for a dask array."""
    stored = variable.encoding.get("shards") or variable.encoding.get("chunks") or ()
    if variable.chunks is not None or len(stored) != variable.ndim:
        return {}
    return {str(dim): size for dim, size in zip(variable.dims, stored, strict=True)}


def _split_evenly(size: int, step: int) -> tuple[int, ...]:
    count, rest = divmod(size, step)
    return (step,) * count + ((rest,) if rest else ())


def _find_common_chunks(chunks: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the sizes of the chunks whose edges are chunk edges of all variables."""
    edges = set.intersection(*({0, *accumulate(sizes)} for sizes in chunks))
    return tuple(b - a for a, b in pairwise(sorted(edges)))


def _merge_grid(chunks: Sequence[tuple[int, ...]], rows: int) -> Grid:
    limits = [max(sizes) for sizes in chunks]
    for d, size in enumerate(limits):
        limits[d] = min(size, max(1, rows // (math.prod(limits[:d]) * math.prod(limits[d + 1 :]))))
    grid = list(chunks)
    for d in reversed(range(len(chunks))):
        others = math.prod(limits[:d]) * math.prod(limits[d + 1 :])
        grid[d] = _merge_chunks(chunks[d], max(limits[d], rows // others))
        limits[d] = max(grid[d])
    return tuple(grid)


def _merge_chunks(chunks: tuple[int, ...], rows: int) -> tuple[int, ...]:
    """Merge neighboring chunk sizes up to `rows`; a chunk larger than that is cut.

    If all chunks but the last have one size, so do the merged ones, so that a store can hold labels in these chunks.
    """
    if len(set(chunks[:-1])) <= 1 and 0 < chunks[-1] <= chunks[0]:
        size = chunks[0]
        step = size * (rows // size) if size <= rows else -(-size // -(-size // rows))
        return _split_evenly(sum(chunks), min(step, sum(chunks)))
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


def _cut_into_blocks(variable: xr.DataArray, sample_dims: Sequence[str], grid: Grid) -> Any:
    """Cut a variable, sample dimensions first, into the blocks of the grid, each with all features."""
    wanted = (*grid, *((size,) for size in variable.shape[len(sample_dims) :]))
    if variable.chunks is not None:
        return variable.data.rechunk(wanted, method="tasks", threshold=ONE_STEP)
    if not variable.ndim:  # xarray does not chunk these
        return dask.array.from_array(variable.values)
    return variable.chunk(dict(zip(variable.dims, wanted, strict=True))).data


def stack_variables(variables: Sequence[xr.DataArray], sample_dims: Sequence[str], grid: Grid) -> Any:
    """Stack variables into a table: a row for each sample, with the features of all variables side by side.

    Parameters
    ----------
    variables : sequence of DataArray
        With the sample dimensions first, in the order of `sample_dims`.
    sample_dims : sequence of str
    grid : tuple of tuple of int
        Sizes of the blocks along the sample dimensions.

    Returns
    -------
    dask array (n, D)
        The rows of the blocks, one block after the other; the blocks, and the rows of each block, are in C order.
    """
    parts = [_cut_into_blocks(variable, sample_dims, grid) for variable in variables]
    return _build_table(parts, grid)


@dataclass(frozen=True, eq=False)
class Stack:
    """The variables that a table is made of, to make it again in other blocks, which are read apart.

    Attributes
    ----------
    variables : tuple of DataArray
        With their dimensions in stored order.
    ordered : tuple of DataArray
        With the sample dimensions first.
    sample_dims : tuple of str
    dtype : numpy.dtype, optional
        What the table is converted to.
    columns : (d,) int, optional
        The columns of the table that are taken, if they are not all of them in order.
    name : str
        Name of the dask array that is the table now.
    """

    variables: tuple[xr.DataArray, ...]
    ordered: tuple[xr.DataArray, ...]
    sample_dims: tuple[str, ...]
    dtype: np.dtype | None
    columns: np.ndarray | None = None
    name: str = ""

    def grid(self, rows: int) -> Grid:
        """Choose the blocks as `choose_grid` does."""
        return choose_grid(self.variables, self.sample_dims, rows)

    def table(self, grid: Grid) -> Any:
        """Make the table in these blocks: a dask array (n, D)."""
        table = stack_variables(self.ordered, self.sample_dims, grid)
        if self.columns is not None:
            table = take_columns(table, self.columns)
        return table if self.dtype is None else table.astype(self.dtype)

    def choose(self, columns: np.ndarray, name: str) -> Stack:
        """Return what makes a table, of this name, of some columns of this one."""
        return replace(self, columns=columns if self.columns is None else self.columns[columns], name=name)


def _build_table(parts: Sequence[Any], grid: Grid) -> Any:
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
    return _build_array(name, graph, parts, (rows_of_blocks(grid), (columns,)), dtype)


def take_columns(table: Any, columns: np.ndarray) -> Any:
    """Take some columns of a table, in the given order, from each of its blocks.

    Parameters
    ----------
    table : dask array (n, D)
    columns : (d,) int

    Returns
    -------
    dask array (n, d)
    """
    chunks = (table.chunks[0], (len(columns),))
    return table.map_blocks(_take_block_columns, columns, chunks=chunks, dtype=table.dtype)


def _take_block_columns(block: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return refuse_mask(block)[:, columns]


def rows_of_blocks(grid: Grid) -> tuple[int, ...]:
    """Return the number of rows of each block."""
    return tuple(math.prod(shape) for shape in _block_shapes_of(grid))


def _block_shapes_of(grid: Grid) -> list[tuple[int, ...]]:
    places = np.ndindex(*(len(sizes) for sizes in grid))
    return [tuple(sizes[i] for sizes, i in zip(grid, place, strict=True)) for place in places]


def _build_array(name: str, graph: dict[Any, Any], parents: Sequence[Any], chunks: Any, dtype: Any) -> Any:
    layers = HighLevelGraph.from_collections(name, graph, dependencies=list(parents))
    return dask.array.Array(layers, name, chunks=chunks, dtype=dtype)


def _stack_block(n_dims: int, dtype: Any, *blocks: np.ndarray) -> np.ndarray:
    rows = math.prod(blocks[0].shape[:n_dims])
    tables = [refuse_mask(block).reshape(rows, math.prod(block.shape[n_dims:])) for block in blocks]
    if len(tables) == 1:
        return tables[0]
    return np.concatenate(tables, axis=1, dtype=dtype)


def unstack_column(column: Any, grid: Grid) -> Any:
    """Put a column of the table back on the sample dimensions, block by block.

    Parameters
    ----------
    column : dask array (n,) or (n, k)
        In the blocks of the table.
    grid : tuple of tuple of int
        Sizes of the blocks along the sample dimensions.

    Returns
    -------
    dask array over the sample dimensions, and a last dimension of size k if there are k columns
    """
    inner = column.shape[1:]
    wanted = (rows_of_blocks(grid), *((size,) for size in inner))
    column = column.rechunk(wanted, method="tasks", threshold=ONE_STEP)
    name = f"unstacked-{tokenize(column.name, grid)}"
    graph = {}
    places = np.ndindex(*(len(sizes) for sizes in grid))
    for i, (place, shape) in enumerate(zip(places, _block_shapes_of(grid), strict=True)):
        graph[(name, *place, *(0 for _ in inner))] = (
            functools.partial(np.reshape, shape=(*shape, *inner)),
            (column.name, i, *(0 for _ in inner)),
        )
    return _build_array(name, graph, [column], (*grid, *((size,) for size in inner)), column.dtype)


def even_out_grid(grid: Grid) -> Grid:
    """Return sizes of blocks that are the same along each sample dimension, except the last."""
    return tuple(_split_evenly(sum(sizes), max(sizes)) for sizes in grid)


def cut_grid(grid: Grid, rows: int) -> Grid:
    """Return sizes of blocks of at most `rows` rows: blocks are cut along the first dimensions first."""
    found = list(grid)
    for d, sizes in enumerate(grid):
        others = math.prod(max(each) for each in (*found[:d], *found[d + 1 :]))
        if max(sizes) * others > rows:
            found[d] = _merge_chunks(sizes, max(1, rows // others))
    return tuple(found)


def regrid_table(table: Any, grid: Grid, wanted: Grid) -> Any:
    """Rechunk a table, dask array (n, D), from some sizes of blocks along the sample dimensions to others."""
    if wanted == grid:
        return table
    spread_out = unstack_column(table, grid).rechunk((*wanted, (table.shape[1],)), method="tasks", threshold=ONE_STEP)
    return _build_table([spread_out], wanted)


def spread_values(values: xr.DataArray, sample_dims: Sequence[str], grid: Grid) -> Any:
    """Spread numbers on some of the sample dimensions over a column of the table.

    Parameters
    ----------
    values : DataArray
        On any of the sample dimensions, in any order.
    sample_dims : sequence of str
    grid : tuple of tuple of int
        Sizes of the blocks along the sample dimensions.

    Returns
    -------
    dask array (n,) float64, in the blocks of the table
        Each block depends only on its own part of the values.
    """
    own = [d for d, dim in enumerate(sample_dims) if dim in values.dims]
    values = values.transpose(*(sample_dims[d] for d in own))
    part = _cut_into_blocks(values, [sample_dims[d] for d in own], tuple(grid[d] for d in own))
    name = f"spread-{tokenize(part.name, own, grid)}"
    graph = {}
    places = np.ndindex(*(len(sizes) for sizes in grid))
    for i, (place, shape) in enumerate(zip(places, _block_shapes_of(grid), strict=True)):
        graph[(name, i)] = (functools.partial(_spread_block, own, shape), (part.name, *(place[d] for d in own)))
    return _build_array(name, graph, [part], (rows_of_blocks(grid),), np.dtype(np.float64))


def _spread_block(own: Sequence[int], shape: tuple[int, ...], part: np.ndarray) -> np.ndarray:
    inner = [size if d in own else 1 for d, size in enumerate(shape)]
    return np.broadcast_to(np.asarray(refuse_mask(part), dtype=np.float64).reshape(inner), shape).reshape(-1).copy()
