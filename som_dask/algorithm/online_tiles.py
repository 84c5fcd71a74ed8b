"""Tiles of a map for online training: squares of 16 x 16 nodes that fit into the first cache of a core.

A tile is (D, 16, 16) float64, so the weights of 16 nodes in a row lie side by side and fill two vectors. The
innermost loops use LLVM's vector types, because with plain numba loops training takes three times as long. No
operation is fused or reordered, so the results are the same bits on every machine.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from som_dask.numerics.simd import DOUBLE, INDEX, Vectors

__all__ = ["SIDE", "catch_up", "cut_tiles", "fit_box", "join_tiles", "search_tile"]

SIDE = 16  # of a tile, in nodes; a tile of three features takes 6 KiB
DOUBLES = Vectors(DOUBLE, 8)
HALVES = SIDE // DOUBLES.width


def cut_tiles(grid: np.ndarray, row_tiles: int, col_tiles: int) -> np.ndarray:
    """Cut weights (rows, cols, D) into tiles (T, D, 16, 16). Tiles at the edge are filled up with zeros."""
    rows, cols, n_features = grid.shape
    padded = np.zeros((row_tiles * SIDE, col_tiles * SIDE, n_features))
    padded[:rows, :cols] = grid
    parts = padded.reshape(row_tiles, SIDE, col_tiles, SIDE, n_features).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(parts).reshape(row_tiles * col_tiles, n_features, SIDE, SIDE)


def join_tiles(tiles: np.ndarray, rows: int, cols: int, col_tiles: int) -> np.ndarray:
    """Join tiles into weights (rows, cols, D), a copy: the inverse of `cut_tiles`."""
    n_features = tiles.shape[1]
    parts = tiles.reshape(-1, col_tiles, n_features, SIDE, SIDE).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(parts.reshape(-1, col_tiles * SIDE, n_features)[:rows, :cols])


@intrinsic
def _move_row(typing_context, weights, n_features, vector, factors, factor):
    """Compute ``w[j, l] += (factor * factors[l]) * (vector[j] - w[j, l])`` for 16 nodes l and all features j.

    `n_features` is an int and `factor` a float; the other arguments are addresses. Features of a tile lie 256 doubles
    apart.
    """
    signature = types.void(types.intp, types.intp, types.intp, types.intp, types.float64)

    def codegen(context, builder, signature, arguments):
        weights, n_features, vector, factors, factor = arguments
        weights, factors = DOUBLES.point(builder, weights), DOUBLES.point(builder, factors)
        vector, factor = builder.inttoptr(vector, DOUBLE.as_pointer()), DOUBLES.repeat(builder, factor)
        shares = [builder.fmul(factor, DOUBLES.load(builder, factors, half)) for half in range(HALVES)]
        with cgutils.for_range(builder, n_features) as feature:
            value = DOUBLES.repeat(builder, builder.load(builder.gep(vector, [feature.index])))
            first = builder.mul(feature.index, ir.Constant(INDEX, SIDE * HALVES))
            for half, share in enumerate(shares):
                place = builder.add(first, ir.Constant(INDEX, half))
                weight = DOUBLES.load(builder, weights, place)
                step = builder.fmul(share, builder.fsub(value, weight))
                DOUBLES.store(builder, builder.fadd(weight, step), weights, place)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _square_row(typing_context, weights, n_features, vector, squared, least):
    """Compute ``squared[l] = sum_j (vector[j] - w[j, l])^2`` for 16 nodes l, and lower ``least[l]`` to it.

    `n_features` is an int; the other arguments are addresses.
    """
    signature = types.void(*[types.intp] * 5)

    def codegen(context, builder, signature, arguments):
        weights, n_features, vector, squared, least = arguments
        weights, squared, least = (DOUBLES.point(builder, address) for address in (weights, squared, least))
        vector = builder.inttoptr(vector, DOUBLE.as_pointer())
        # LLVM turns these variables into registers.
        sums = [cgutils.alloca_once_value(builder, DOUBLES.constant(0.0)) for _ in range(HALVES)]
        with cgutils.for_range(builder, n_features) as feature:
            value = DOUBLES.repeat(builder, builder.load(builder.gep(vector, [feature.index])))
            first = builder.mul(feature.index, ir.Constant(INDEX, SIDE * HALVES))
            for half, total in enumerate(sums):
                weight = DOUBLES.load(builder, weights, builder.add(first, ir.Constant(INDEX, half)))
                difference = builder.fsub(value, weight)
                builder.store(builder.fadd(builder.load(total), builder.fmul(difference, difference)), total)
        for half, total in enumerate(sums):
            result = builder.load(total)
            DOUBLES.store(builder, result, squared, half)
            lower = DOUBLES.lower(builder, result, DOUBLES.load(builder, least, half))
            DOUBLES.store(builder, lower, least, half)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _column_ranges(typing_context, weights, height, least, most):
    """Find the least and the greatest weight in each of 16 columns over the first rows of a tile, for one feature.

    `height` is the number of rows; the other arguments are addresses.
    """
    signature = types.void(*[types.intp] * 4)

    def codegen(context, builder, signature, arguments):
        weights, height, least, most = arguments
        weights, least, most = (DOUBLES.point(builder, address) for address in (weights, least, most))
        firsts = [DOUBLES.load(builder, weights, half) for half in range(HALVES)]
        lows = [cgutils.alloca_once_value(builder, first) for first in firsts]
        highs = [cgutils.alloca_once_value(builder, first) for first in firsts]
        with cgutils.for_range(builder, height) as row:
            start = builder.mul(row.index, ir.Constant(INDEX, HALVES))
            for half, (low, high) in enumerate(zip(lows, highs, strict=True)):
                value = DOUBLES.load(builder, weights, builder.add(start, ir.Constant(INDEX, half)))
                builder.store(DOUBLES.lower(builder, value, builder.load(low)), low)
                builder.store(DOUBLES.higher(builder, value, builder.load(high)), high)
        for half, (low, high) in enumerate(zip(lows, highs, strict=True)):
            DOUBLES.store(builder, builder.load(low), least, half)
            DOUBLES.store(builder, builder.load(high), most, half)
        return context.get_dummy_value()

    return signature, codegen


@numba.njit(nogil=True, cache=True)
def fit_box(tile, tiles, rows, cols, col_tiles, low, high):
    """Make the box of a tile, ``low[:, tile]`` to ``high[:, tile]``, as narrow as its weights allow.

    Parameters
    ----------
    tile : int
    tiles : (T, D, 16, 16) float64
    rows, cols : int
        Size of the map, in nodes.
    col_tiles : int
        Number of tiles side by side.
    low, high : (D, T) float64
        Changed in place.
    """
    height = min(SIDE, rows - tile // col_tiles * SIDE)
    width = min(SIDE, cols - tile % col_tiles * SIDE)
    lanes = np.empty((2, SIDE))
    start, lane_bytes = lanes.ctypes.data, SIDE * 8
    for j in range(tiles.shape[1]):
        weights = tiles.ctypes.data + (tile * tiles.shape[1] + j) * SIDE * SIDE * 8
        _column_ranges(weights, height, start, start + lane_bytes)
        a, b = lanes[0, 0], lanes[1, 0]
        for col in range(1, width):
            a = lanes[0, col] if lanes[0, col] < a else a
            b = lanes[1, col] if lanes[1, col] > b else b
        low[j, tile], high[j, tile] = a, b


@numba.njit(nogil=True, cache=True)
def catch_up(tile, vectors, tiles, pending, counts, by_row, by_col, rows, cols, col_tiles, bmu):
    """Apply the pending updates of a tile, in order.

    Parameters
    ----------
    tile : int
    vectors : (n, D) float64
    tiles : (T, D, 16, 16) float64
        Changed in place.
    pending : (T, n) int64
        Indices of the vectors whose updates a tile has not taken yet.
    counts : (T,) int64
        How many these are; that of the tile becomes 0.
    by_row, by_col : (rows - 1 + padded rows,), (3, cols - 1 + padded cols) float64
        The factors of ``alpha theta``; see `som_dask.algorithm.online_updates.update_factors`.
    rows, cols : int
        Size of the map, in nodes.
    col_tiles : int
        Number of tiles side by side.
    bmu : (n,) int64
        Flat indices of the vectors' best matching units.
    """
    top, left = tile // col_tiles * SIDE, tile % col_tiles * SIDE
    n_features = vectors.shape[1]
    weights = tiles.ctypes.data + tile * n_features * SIDE * SIDE * 8
    for i in range(counts[tile]):
        k = pending[tile, i]
        bmu_row, bmu_col = bmu[k] // cols, bmu[k] % cols
        vector = vectors.ctypes.data + k * n_features * 8
        first = by_col.ctypes.data + (left - bmu_col + cols - 1) * 8
        line_bytes = by_col.shape[1] * 8
        for row in range(SIDE):
            line = first + ((top + row) % 2 - bmu_row % 2 + 1) * line_bytes
            factor = by_row[top + row - bmu_row + rows - 1]
            _move_row(weights + row * SIDE * 8, n_features, vector, line, factor)
    counts[tile] = 0


@numba.njit(nogil=True, cache=True)
def search_tile(tile, vector, tiles, rows, cols, col_tiles, best, node, squared, least):
    """Search a tile for a node that is nearer to a vector than the best node so far.

    Parameters
    ----------
    tile : int
    vector : (D,) float64
    tiles : (T, D, 16, 16) float64
    rows, cols : int
        Size of the map, in nodes.
    col_tiles : int
        Number of tiles side by side.
    best : float
        Squared distance of the best node so far.
    node : int
        Its flat index.
    squared, least : (16, 16), (16,) float64
        Working memory.

    Returns
    -------
    best : float
    node : int
        The best node, including those of the tile; the lowest index on ties.
    """
    top, left = tile // col_tiles * SIDE, tile % col_tiles * SIDE
    height, width = min(SIDE, rows - top), min(SIDE, cols - left)
    weights = tiles.ctypes.data + tile * len(vector) * SIDE * SIDE * 8
    for col in range(SIDE):
        least[col] = np.inf
    for row in range(height):
        place = row * SIDE * 8
        _square_row(weights + place, len(vector), vector.ctypes.data, squared.ctypes.data + place, least.ctypes.data)
    lowest = np.inf
    for col in range(width):
        lowest = least[col] if least[col] < lowest else lowest
    if lowest <= best:
        for row in range(height):
            for col in range(width):
                index = (top + row) * cols + left + col
                if squared[row, col] < best or (squared[row, col] == best and index < node):
                    best, node = squared[row, col], index
    return best, node
