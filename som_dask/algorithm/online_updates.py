"""The work of online training: find the best matching unit of each vector, and move the map.

The online rule asks for a search of the whole map and an update of the whole map for each vector. Both are cut short
here without changing a bit of the result. The map is cut into tiles that fit into the first cache of a core. Each
tile has a box in the space of the weights that is certain to hold all its weights. An update moves only the boxes at
once; the weights follow when they are needed. A search looks only into tiles whose box may hold the best matching
unit, and applies the pending updates to these tiles first. So most tiles take the updates of many vectors in one go,
while they lie in the cache.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numba
import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_tiles import SIDE, catch_up, fit_box, search_tile

__all__ = ["STRETCH", "present", "update_factors"]

STRETCH = 64  # vectors after which all pending updates are applied, because boxes grow wider than their weights

# exp(x) = 2^k exp(r) with |r| <= ln(2) / 2. ln(2) is the sum of two parts; the first has few bits, so k times it is
# exact.
LOG2_HIGH, LOG2_LOW = 0.6931471803691238, 1.9082149292705877e-10
POWERS = np.ldexp(1.0, np.arange(-1022, 1))
TERMS = np.array([1 / math.factorial(i) for i in range(14, -1, -1)])
LEAST_EXPONENT = -700.0  # exp of less counts as 0: a factor of 1e-304 changes no weight by a bit that matters
# To cover rounding errors, each step widens a box by this share of its numbers, and bounds of distances are lowered.
WIDEN, LOWER, LEAST_SQUARE = 2.0**-50, 1 - 1e-9, 1e-280
# Adding less than half a unit in the last place changes nothing, and that half is at least 2^-54 of the number.
NOTHING = 2.0**-55


def update_factors(
    lattice: Lattice, radius: float, rate: float, padded_rows: int, padded_cols: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the two factors of ``alpha theta`` for every offset from the best matching unit.

    Parameters
    ----------
    lattice : Lattice
    radius : float
        sigma, in lattice units.
    rate : float
        alpha.
    padded_rows, padded_cols : int
        Size of the map with whole tiles, in nodes.

    Returns
    -------
    by_row : (rows - 1 + padded_rows,) float64
        alpha times the factor of the rows. The one for row r is at index ``r - r_bmu + rows - 1``. For rows beyond
        the edge of the map the values have no meaning; they are used only for nodes that fill up a tile.
    by_col : (3, cols - 1 + padded_cols) float64
        The factor of the columns, in the same way. On a hexagonal lattice it depends on the difference of
        ``row mod 2`` to that of the best matching unit, -1, 0 or 1, which has one line each.
    """
    period_x, period_y = lattice.periods
    y = np.abs(np.arange(1 - lattice.rows, padded_rows)) * lattice.row_height
    shift = 0.5 if lattice.topology == "hexagonal" else 0.0
    x = np.abs(np.arange(1 - lattice.cols, padded_cols) + shift * np.arange(-1, 2)[:, None])
    y, x = np.minimum(y, np.abs(period_y - y)), np.minimum(x, np.abs(period_x - x))
    return rate * _gaussian(y, radius), _gaussian(x.ravel(), radius).reshape(x.shape)


@numba.njit(nogil=True, cache=True)
def _gaussian(distances, radius):
    """Compute exp(-d^2 / (2 sigma^2)) by plain arithmetic, because math libraries differ in the last bit.

    `som_dask.numerics.decimals.exp` would take longer than the epoch that the factors are for.
    """
    result = np.zeros(len(distances))
    for i in range(len(distances)):
        exponent = -(distances[i] * distances[i]) / (2.0 * radius * radius)
        if exponent > LEAST_EXPONENT:
            power = np.int64(math.floor(exponent / LOG2_HIGH + 0.5))
            rest = (exponent - power * LOG2_HIGH) - power * LOG2_LOW
            value = TERMS[0]
            for term in range(1, len(TERMS)):
                value = value * rest + TERMS[term]
            result[i] = value * POWERS[power + 1022]
    return result


@numba.njit(nogil=True, cache=True)
def _bound_tiles(vector, low, high, bounds):
    """Bound the distances from a vector to the nodes of each tile from below, and return the nearest tile.

    Parameters
    ----------
    vector : (D,) float64
    low, high : (D, T) float64
        Boxes of the tiles.
    bounds : (T,) float64
        Filled with lower bounds of squared distances.

    Returns
    -------
    nearest : int
        The tile with the least bound, except for rounding.
    """
    for tile in range(len(bounds)):
        bounds[tile] = 0.0
    for j in range(len(vector)):
        value = vector[j]
        for tile in range(len(bounds)):
            below, above = low[j, tile] - value, value - high[j, tile]
            gap = below if below > above else above
            gap = gap if gap > 0.0 else 0.0
            bounds[tile] += gap * gap
    nearest = 0
    for tile in range(len(bounds)):
        if bounds[tile] < bounds[nearest]:
            nearest = tile
        bounds[tile] = bounds[tile] * LOWER - LEAST_SQUARE
    return nearest


@numba.njit(nogil=True, cache=True)
def _find_extremes(factors, first, length, parts):
    """Find the least and the greatest update factor for each tile along one side of the map.

    Parameters
    ----------
    factors : (lines, k) float64
    first : int
        Index of the factor for the first node.
    length : int
        Number of nodes.
    parts : (tiles, 2) float64
        Filled with the least and the greatest factor over all lines and the up to 16 nodes of each tile.
    """
    for part in range(len(parts)):
        start = part * SIDE
        least, most = np.inf, 0.0
        for line in range(factors.shape[0]):
            for i in range(start, min(start + SIDE, length)):
                least, most = min(least, factors[line, first + i]), max(most, factors[line, first + i])
        parts[part, 0], parts[part, 1] = least, most


@numba.njit(nogil=True, cache=True)
def _move_box(tile, vector, low, high, least, most):
    """Move the box of a tile by an update with factors from `least` to `most`; return False if no weight changes."""
    idle = True
    for j in range(len(vector)):
        a, b, value = low[j, tile], high[j, tile], vector[j]
        farthest = max(abs(value - a), abs(value - b))
        nearest_zero = a if a > 0.0 else (-b if b < 0.0 else 0.0)
        if most * farthest > nearest_zero * NOTHING:
            idle = False
            break
    if idle:
        return False
    for j in range(len(vector)):
        a, b, value = low[j, tile], high[j, tile], vector[j]
        slack = (abs(a) + abs(b) + abs(value)) * WIDEN
        down, up = value - a, value - b
        low[j, tile] = a + min(least * down, most * down) - slack
        high[j, tile] = b + max(least * up, most * up) + slack
    return True


@numba.njit(nogil=True, cache=True)
def present(vectors, tiles, low, high, pending, counts, by_row, by_col, rows, cols, col_tiles, bmu, squared):
    """Present up to `STRETCH` vectors, one after the other.

    Parameters
    ----------
    vectors : (n, D) float64
    tiles : (T, D, 16, 16) float64
        Weights, changed in place.
    low, high : (D, T) float64
        Boxes of the tiles, changed in place.
    pending, counts : (T, STRETCH) int64, (T,) int64
        Working memory; counts must be 0, and are left so.
    by_row, by_col : float64 arrays
        See `update_factors`.
    rows, cols : int
        Size of the map, in nodes.
    col_tiles : int
        Number of tiles side by side.
    bmu : (n,) int64
        Filled with the flat index of the best matching unit of each vector.
    squared : (n,) float64
        Filled with the squared distance to it.
    """
    n_tiles = len(tiles)
    row_tiles = n_tiles // col_tiles
    bounds = np.empty(n_tiles)
    y, x = np.empty((row_tiles, 2)), np.empty((col_tiles, 2))
    row_lines = by_row.reshape(1, -1)
    squared_tile, least = np.empty((SIDE, SIDE)), np.empty(SIDE)
    for k in range(len(vectors)):
        vector = vectors[k]
        nearest = _bound_tiles(vector, low, high, bounds)
        best, node = np.inf, rows * cols
        for turn in range(-1, n_tiles):
            tile = nearest if turn < 0 else turn
            if turn == nearest or bounds[tile] > best:
                continue
            if counts[tile]:
                catch_up(tile, vectors, tiles, pending, counts, by_row, by_col, rows, cols, col_tiles, bmu)
                fit_box(tile, tiles, rows, cols, col_tiles, low, high)
            best, node = search_tile(tile, vector, tiles, rows, cols, col_tiles, best, node, squared_tile, least)
        bmu[k], squared[k] = node, best
        _find_extremes(row_lines, rows - 1 - node // cols, rows, y)
        _find_extremes(by_col, cols - 1 - node % cols, cols, x)
        for tile in range(n_tiles):
            i, j = tile // col_tiles, tile % col_tiles
            # Rounding keeps the order of products, so the extreme factors give the extreme products.
            if _move_box(tile, vector, low, high, y[i, 0] * x[j, 0], y[i, 1] * x[j, 1]):
                pending[tile, counts[tile]] = k
                counts[tile] += 1
    for tile in range(n_tiles):
        if counts[tile]:
            catch_up(tile, vectors, tiles, pending, counts, by_row, by_col, rows, cols, col_tiles, bmu)
            fit_box(tile, tiles, rows, cols, col_tiles, low, high)
