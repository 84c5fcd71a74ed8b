"""Online training: Kohonen's rule, which moves the whole map a little towards each vector in turn.

The rule asks for two sweeps over the map a vector: a search and an update. Both are cut short here without
changing a bit of the result. The map is cut into tiles that fit a core's first cache. Each tile has a box, which its
weights lie in for certain; an update moves the boxes, and the weights only when they are needed. The search looks
into the tiles whose box may hold the best matching unit, and brings only these up to date. So most tiles take
the updates of many vectors at once, while they lie in the cache.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np

from som_dask.algorithm.decay import decay
from som_dask.algorithm.initial import given_codebook
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_tiles import SIDE, catch_up, cut, fit_box, joined, search_tile
from som_dask.errors import DataError, ParameterError

__all__ = ["Iteration", "OnlineConfig", "OnlineRun", "initial_weights"]

STRETCH = 64  # vectors after which every tile is brought up to date: boxes grow wider than their weights
# Squares of larger differences overflow; where everything is smaller, they vanish and all nodes tie.
LARGEST, SMALLEST = 1e150, 1e-140

# exp(x) = 2^k exp(r) with |r| <= ln(2) / 2. ln(2) in two parts: the high one has few bits, so k times it is exact.
LOG2_HIGH, LOG2_LOW = 0.6931471803691238, 1.9082149292705877e-10
POWERS = np.ldexp(1.0, np.arange(-1022, 1))
TERMS = np.array([1 / math.factorial(i) for i in range(14, -1, -1)])
LEAST_EXPONENT = -700.0  # exp of less is 0 here: 1e-304 moves no weight by a bit that counts
# A box is widened by this share of its numbers at each step, and a bound lowered, to cover their rounding.
WIDEN, LOWER, LEAST_SQUARE = 2.0**-50, 1 - 1e-9, 1e-280
# An addition of less than half the last place changes nothing, and that is at least 2^-54 of the number.
NOTHING = 2.0**-55


@dataclass(frozen=True, kw_only=True)
class OnlineConfig:
    r"""How to train online; every default is stated here and nowhere else.

    Parameters
    ----------
    iterations : int
        n, the number of times that all vectors are presented. 0 leaves the initial codebook.
    learning_rate : float
        alpha_0, above 0 and at most 1.
    seed : int
        Of the initial weights.

    Raises
    ------
    ParameterError
        If a value can't be used.
    """

    iterations: int = 100
    learning_rate: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "seed"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
                raise ParameterError(f"{name} must be a whole number, 0 or more, got {value!r}")
            object.__setattr__(self, name, int(value))
        rate = self.learning_rate
        if isinstance(rate, (bool, str)) or not 0 < rate <= 1:
            raise ParameterError(f"learning_rate must be a number above 0 and at most 1, got {rate!r}")
        object.__setattr__(self, "learning_rate", float(rate))

    def radii(self, lattice: Lattice) -> np.ndarray:
        """``sigma_t = sigma_0 exp(-t / lambda)``, (iterations,) float64, in lattice units.

        With ``sigma_0 = max(rows, cols) / 2`` and ``lambda = n / ln(sigma_0)``; a sigma_0 of 1 or less stays as it
        is.
        """
        start = max(lattice.shape) / 2
        return decay("exponential", start, min(start, 1.0), self.iterations, endpoint=False)

    def learning_rates(self, lattice: Lattice) -> np.ndarray:
        """``alpha_t = alpha_0 exp(-t / lambda)``, (iterations,) float64; lambda is n where sigma_0 is 1 or less."""
        start = max(lattice.shape) / 2
        end = self.learning_rate / (start if start > 1 else math.e)
        return decay("exponential", self.learning_rate, end, self.iterations, endpoint=False)


@dataclass(frozen=True)
class Iteration:
    """What one presentation of all vectors gives.

    Attributes
    ----------
    index : int
        t, 0 for the first.
    radius : float
        sigma_t, in lattice units.
    learning_rate : float
        alpha_t.
    quantization_error : float
        Mean Euclidean distance of the vectors to their best matching units, each at the moment it was presented.
    bmu : (n,) int64
        Flat indices of these units.
    seconds : float
        Wall time.
    """

    index: int
    radius: float
    learning_rate: float
    quantization_error: float
    bmu: np.ndarray
    seconds: float


def initial_weights(lattice: Lattice, n_features: int, seed: int) -> np.ndarray:
    """Weights drawn uniformly from [0, 1): (M, D) float64."""
    return np.random.default_rng(seed).random((lattice.n_nodes, n_features))


class OnlineRun:
    r"""Online training of a map; iterate over it, and it does one `Iteration` each time.

    For t = 0 .. n - 1, for each vector v in the given order, with c the best matching unit of v (least
    ``sum_j (v_j - w_ij)^2`` in float64, the lowest index on ties) and d_i the grid distance of node i to c,

    ``theta_i = exp(-d_i^2 / (2 sigma_t^2))``,  ``w_i += alpha_t theta_i (v - w_i)``  for every node i

    (Kohonen, *Self-Organizing Maps*, 3rd ed., 2001, section 3.1). On the grid theta is a product of one factor for
    the rows and one for the columns. All is plain arithmetic in a fixed order, on one thread, so the result is the
    same bits on every machine.

    Parameters
    ----------
    vectors : (n, D) array of real numbers, finite
        Presented in this order; kept in memory as float64.
    lattice : Lattice with M nodes
    config : OnlineConfig, optional
    codebook : (M, D) or (rows, cols, D) float64, optional
        The weights to start from; by default `initial_weights`.
    start : int
        The first iteration to do, to continue from the codebook that the one before left.

    Raises
    ------
    DataError
        If there are no vectors, or their values can't be used.
    ParameterError
        If the codebook has the wrong shape or values, or there is no iteration to start at.
    """

    def __init__(
        self,
        vectors: np.ndarray,
        lattice: Lattice,
        config: OnlineConfig | None = None,
        *,
        codebook: np.ndarray | None = None,
        start: int = 0,
    ) -> None:
        self.config = config or OnlineConfig()
        if not 0 <= start <= self.config.iterations:
            raise ParameterError(f"start must be from 0 to {self.config.iterations}, the iterations, got {start}")
        self.lattice, self.next = lattice, start
        self.vectors = _usable_vectors(vectors)
        n_features = self.vectors.shape[1]
        if codebook is None:
            weights = initial_weights(lattice, n_features, self.config.seed)
        else:
            weights = given_codebook(codebook, lattice, n_features)
        largest = max(float(np.abs(array).max()) for array in (self.vectors, weights))
        if largest and not SMALLEST < largest < LARGEST:
            raise DataError(
                f"the largest of the vectors and weights is {largest:.3g}, whose square float64 can't hold; "
                f"scale the data"
            )
        self._radii, self._rates = self.config.radii(lattice), self.config.learning_rates(lattice)
        self._row_tiles, self._col_tiles = (-(-size // SIDE) for size in lattice.shape)
        self._tiles = cut(weights.reshape(*lattice.shape, -1), self._row_tiles, self._col_tiles)
        n_tiles = len(self._tiles)
        self._low, self._high = np.empty((2, n_features, n_tiles))
        self._pending = np.zeros((n_tiles, STRETCH), dtype=np.int64)
        self._counts = np.zeros(n_tiles, dtype=np.int64)
        for tile in range(n_tiles):
            fit_box(tile, self._tiles, *lattice.shape, self._col_tiles, self._low, self._high)

    @property
    def codebook(self) -> np.ndarray:
        """The weights after the last iteration done: (rows, cols, D) float64, a copy.

        Where an interrupt has ended the run inside an iteration, they are of no use.
        """
        return joined(self._tiles, *self.lattice.shape, self._col_tiles)

    def __iter__(self) -> Iterator[Iteration]:
        while self.next < self.config.iterations:
            yield self._iterate()

    def _iterate(self) -> Iteration:
        clock = time.perf_counter()
        radius, rate = float(self._radii[self.next]), float(self._rates[self.next])
        by_row, by_col = _factors(self.lattice, radius, rate, self._row_tiles * SIDE, self._col_tiles * SIDE)
        n = len(self.vectors)
        bmu, squared = np.empty(n, dtype=np.int64), np.empty(n)
        for first in range(0, n, STRETCH):
            part = slice(first, first + STRETCH)
            _present(
                self.vectors[part],
                self._tiles,
                self._low,
                self._high,
                self._pending,
                self._counts,
                by_row,
                by_col,
                self.lattice.rows,
                self.lattice.cols,
                self._col_tiles,
                bmu[part],
                squared[part],
            )
        index, self.next = self.next, self.next + 1
        error = math.fsum(np.sqrt(squared)) / n
        return Iteration(index, radius, rate, error, bmu, time.perf_counter() - clock)


def _usable_vectors(vectors: np.ndarray) -> np.ndarray:
    array = np.asarray(vectors)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            f"the vectors have shape {array.shape} and dtype {array.dtype}; "
            f"a table of real numbers is needed, a row for each vector"
        )
    if not array.size:
        raise DataError(f"there are no vectors to train on: the table has shape {array.shape}; give at least one")
    array = np.array(array, dtype=np.float64, order="C")
    if not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        raise DataError(
            f"{len(bad)} of the vectors hold NaN or infinite values, the first is number {bad[0]}; "
            f"remove or fill them"
        )
    return array


def _factors(
    lattice: Lattice, radius: float, rate: float, padded_rows: int, padded_cols: int
) -> tuple[np.ndarray, np.ndarray]:
    """The two factors of ``alpha theta`` for every offset from the best matching unit.

    Returns
    -------
    by_row : (rows - 1 + padded_rows,) float64
        alpha times the factor of offset r - r_bmu at place r - r_bmu + rows - 1. Beyond the map's edge come
        numbers of no meaning, which only nodes beyond the edge take.
    by_col : (3, cols - 1 + padded_cols) float64
        Likewise; a line for each difference of the parities of the rows, -1, 0 and 1, which shift a hexagonal row
        by half a node.
    """
    period_x, period_y = lattice.periods
    y = np.abs(np.arange(1 - lattice.rows, padded_rows)) * lattice.row_height
    shift = 0.5 if lattice.topology == "hexagonal" else 0.0
    x = np.abs(np.arange(1 - lattice.cols, padded_cols) + shift * np.arange(-1, 2)[:, None])
    y, x = np.minimum(y, np.abs(period_y - y)), np.minimum(x, np.abs(period_x - x))
    return rate * _gaussian(y, radius), _gaussian(x.ravel(), radius).reshape(x.shape)


@numba.njit(nogil=True, cache=True)
def _gaussian(distances, radius):
    """exp(-d^2 / (2 sigma^2)) by plain arithmetic: math libraries differ in the last bit.

    The decimals of `som_dask.numerics.matmul.exp` would take longer than the iteration that the table is for.
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
def _bounds(vector, low, high, bounds):
    """What the squared distance of a vector to the nodes of each tile is at least; returns the nearest tile."""
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
def _extremes(factors, first, length, parts):
    """Least and most of the factors at `first` and after, for each part of 16 of them: (parts, 2)."""
    for part in range(len(parts)):
        start = part * SIDE
        least, most = np.inf, 0.0
        for line in range(factors.shape[0]):
            for i in range(start, min(start + SIDE, length)):
                least, most = min(least, factors[line, first + i]), max(most, factors[line, first + i])
        parts[part, 0], parts[part, 1] = least, most


@numba.njit(nogil=True, cache=True)
def _move_box(tile, vector, low, high, least, most):
    """Move a tile's box by an update with factors from `least` to `most`; False if no weight changes by a bit."""
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
def _present(vectors, tiles, low, high, pending, counts, by_row, by_col, rows, cols, col_tiles, bmu, squared):
    """Present at most `STRETCH` vectors, one after the other; fills `bmu` and `squared`, changes the weights."""
    n_tiles = len(tiles)
    row_tiles = n_tiles // col_tiles
    bounds = np.empty(n_tiles)
    y, x = np.empty((row_tiles, 2)), np.empty((col_tiles, 2))
    row_lines = by_row.reshape(1, -1)
    squared_tile, least = np.empty((SIDE, SIDE)), np.empty(SIDE)
    for k in range(len(vectors)):
        vector = vectors[k]
        nearest = _bounds(vector, low, high, bounds)
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
        _extremes(row_lines, rows - 1 - node // cols, rows, y)
        _extremes(by_col, cols - 1 - node % cols, cols, x)
        for tile in range(n_tiles):
            i, j = tile // col_tiles, tile % col_tiles
            # A product is rounded alike for all, so the least and the most of it are those of the factors.
            if _move_box(tile, vector, low, high, y[i, 0] * x[j, 0], y[i, 1] * x[j, 1]):
                pending[tile, counts[tile]] = k
                counts[tile] += 1
    for tile in range(n_tiles):
        if counts[tile]:
            catch_up(tile, vectors, tiles, pending, counts, by_row, by_col, rows, cols, col_tiles, bmu)
            fit_box(tile, tiles, rows, cols, col_tiles, low, high)
