"""Tiles of a map for online training: squares of 16 x 16 nodes, small enough to stay in a core's first cache.

A tile is (D, 16, 16) float64, so that the nodes of a row lie side by side as the lanes of two vectors. The innermost
loops are written in LLVM's vector types through numba: with its plain loops training takes three times as long. No
operation is fused or reordered, so the results are the same bits on every machine.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["SIDE", "catch_up", "cut", "fit_box", "joined", "search_tile"]

SIDE = 16  # nodes; a tile of three features takes 6 KiB
WIDTH = 8  # of a vector of doubles: an AVX-512 register; LLVM splits it where registers are narrower
HALVES = SIDE // WIDTH
DOUBLE, INDEX, SHORT = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
VECTOR = ir.VectorType(DOUBLE, WIDTH)
UNDEFINED = ir.Constant(VECTOR, ir.Undefined)


def cut(grid: np.ndarray, row_tiles: int, col_tiles: int) -> np.ndarray:
    """Weights (rows, cols, D) as tiles (T, D, 16, 16), the last ones filled up with zeros."""
    rows, cols, n_features = grid.shape
    padded = np.zeros((row_tiles * SIDE, col_tiles * SIDE, n_features))
    padded[:rows, :cols] = grid
    parts = padded.reshape(row_tiles, SIDE, col_tiles, SIDE, n_features).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(parts).reshape(row_tiles * col_tiles, n_features, SIDE, SIDE)


def joined(tiles: np.ndarray, rows: int, cols: int, col_tiles: int) -> np.ndarray:
    """The reverse of `cut`: (rows, cols, D), a copy."""
    n_features = tiles.shape[1]
    parts = tiles.reshape(-1, col_tiles, n_features, SIDE, SIDE).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(parts.reshape(-1, col_tiles * SIDE, n_features)[:rows, :cols])


def _vectors(builder, address):
    """Pointer to the vectors at an address."""
    return builder.inttoptr(address, VECTOR.as_pointer())


def _load(builder, pointer, index):
    value = builder.load(builder.gep(pointer, [index]))
    value.align = 8
    return value


def _store(builder, value, pointer, index):
    builder.store(value, builder.gep(pointer, [index])).align = 8


def _same_in_all(builder, scalar):
    """A vector with `scalar` in every place."""
    vector = builder.insert_element(UNDEFINED, scalar, ir.Constant(SHORT, 0))
    return builder.shuffle_vector(vector, UNDEFINED, ir.Constant(ir.VectorType(SHORT, WIDTH), [0] * WIDTH))


@intrinsic
def _move_row(typing_context, weights, n_features, vector, factors, factor):
    """``w[j, l] += (factor * factors[l]) * (vector[j] - w[j, l])`` for 16 lanes l and all features j.

    Arguments but the number `n_features` and the float `factor` are addresses; a tile's features lie 256 doubles
    apart.
    """
    signature = types.void(types.intp, types.intp, types.intp, types.intp, types.float64)

    def codegen(context, builder, signature, arguments):
        weights, n_features, vector, factors, factor = arguments
        weights, factors = _vectors(builder, weights), _vectors(builder, factors)
        vector, factor = builder.inttoptr(vector, DOUBLE.as_pointer()), _same_in_all(builder, factor)
        shares = [builder.fmul(factor, _load(builder, factors, ir.Constant(INDEX, half))) for half in range(HALVES)]
        with cgutils.for_range(builder, n_features) as feature:
            value = _same_in_all(builder, builder.load(builder.gep(vector, [feature.index])))
            first = builder.mul(feature.index, ir.Constant(INDEX, SIDE * HALVES))
            for half, share in enumerate(shares):
                place = builder.add(first, ir.Constant(INDEX, half))
                weight = _load(builder, weights, place)
                step = builder.fmul(share, builder.fsub(value, weight))
                _store(builder, builder.fadd(weight, step), weights, place)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _square_row(typing_context, weights, n_features, vector, squared, least):
    """``squared[l] = sum_j (vector[j] - w[j, l])^2`` for 16 lanes; where it is less, ``least[l] = squared[l]``."""
    signature = types.void(*[types.intp] * 5)

    def codegen(context, builder, signature, arguments):
        weights, n_features, vector, squared, least = arguments
        weights, squared, least = (_vectors(builder, address) for address in (weights, squared, least))
        vector = builder.inttoptr(vector, DOUBLE.as_pointer())
        # LLVM turns these variables into registers.
        sums = [cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [0.0] * WIDTH)) for _ in range(HALVES)]
        with cgutils.for_range(builder, n_features) as feature:
            value = _same_in_all(builder, builder.load(builder.gep(vector, [feature.index])))
            first = builder.mul(feature.index, ir.Constant(INDEX, SIDE * HALVES))
            for half, total in enumerate(sums):
                weight = _load(builder, weights, builder.add(first, ir.Constant(INDEX, half)))
                difference = builder.fsub(value, weight)
                builder.store(builder.fadd(builder.load(total), builder.fmul(difference, difference)), total)
        for half, total in enumerate(sums):
            place, result = ir.Constant(INDEX, half), builder.load(total)
            _store(builder, result, squared, place)
            before = _load(builder, least, place)
            lower = builder.select(builder.fcmp_ordered("<", result, before), result, before)
            _store(builder, lower, least, place)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _column_ranges(typing_context, weights, height, least, most):
    """Least and most of each of 16 lanes over some rows of a tile: addresses, but for the number of rows."""
    signature = types.void(*[types.intp] * 4)

    def codegen(context, builder, signature, arguments):
        weights, height, least, most = arguments
        weights, least, most = (_vectors(builder, address) for address in (weights, least, most))
        firsts = [_load(builder, weights, ir.Constant(INDEX, half)) for half in range(HALVES)]
        lows = [cgutils.alloca_once_value(builder, first) for first in firsts]
        highs = [cgutils.alloca_once_value(builder, first) for first in firsts]
        with cgutils.for_range(builder, height) as row:
            start = builder.mul(row.index, ir.Constant(INDEX, HALVES))
            for half, (low, high) in enumerate(zip(lows, highs, strict=True)):
                value = _load(builder, weights, builder.add(start, ir.Constant(INDEX, half)))
                for sign, kept in (("<", low), (">", high)):
                    before = builder.load(kept)
                    builder.store(builder.select(builder.fcmp_ordered(sign, value, before), value, before), kept)
        for half, (low, high) in enumerate(zip(lows, highs, strict=True)):
            _store(builder, builder.load(low), least, ir.Constant(INDEX, half))
            _store(builder, builder.load(high), most, ir.Constant(INDEX, half))
        return context.get_dummy_value()

    return signature, codegen


@numba.njit(nogil=True, cache=True)
def fit_box(tile, tiles, rows, cols, col_tiles, low, high):
    """Make a tile's box, ``low[:, tile]`` to ``high[:, tile]``, as narrow as its weights."""
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
    """Do the updates of a tile that are pending, in order.

    Parameters
    ----------
    tile : int
    vectors : (n, D) float64
    tiles : (T, D, 16, 16) float64
        Changed in place.
    pending, counts : (T, n) int64, (T,) int64
        Numbers of the vectors whose updates a tile has yet to take, and how many; set to 0.
    by_row, by_col : (rows - 1 + padded rows,), (3, cols - 1 + padded cols) float64
        The factors of ``alpha theta``; see `som_dask.algorithm.online_rule`.
    rows, cols, col_tiles : int
        Of the map.
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
    """The best of a tile's nodes, if it is better than the best so far.

    Parameters
    ----------
    tile : int
    vector : (D,) float64
    tiles : (T, D, 16, 16) float64
    rows, cols, col_tiles : int
        Of the map.
    best, node : float, int
        Squared distance and flat index of the best node so far.
    squared, least : (16, 16), (16,) float64
        Overwritten.

    Returns
    -------
    best, node : float, int
        The lowest index on ties.
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
