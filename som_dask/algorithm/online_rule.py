"""Online training by Kohonen's rule, which moves the whole map a little towards each vector in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from som_dask.algorithm.decay import decay
from som_dask.algorithm.initial import check_codebook
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_tiles import SIDE, cut_tiles, fit_box, join_tiles
from som_dask.algorithm.online_updates import STRETCH, present, update_factors
from som_dask.errors import DataError, ParameterError

__all__ = ["OnlineConfig", "OnlineEpoch", "OnlineRun", "draw_codebook"]

# Squares of larger differences overflow; if everything is smaller, squares vanish and all nodes tie.
LARGEST, SMALLEST = 1e150, 1e-140


@dataclass(frozen=True, kw_only=True)
class OnlineConfig:
    r"""Parameters of online training. Each default is stated here and nowhere else.

    Parameters
    ----------
    epochs : int
        n, the number of times that all vectors are presented. With 0 the initial codebook stays as it is.
    learning_rate : float
        Learning rate alpha_0 that the online rule starts with, above 0 and at most 1.
    seed : int
        Seed of the initial weights.

    Raises
    ------
    ParameterError
        If `epochs` or `seed` is not a whole number from 0 on, or if the learning rate is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.OnlineConfig(epochs=10))
    >>> model["learning_rate"].sizes["epoch"]
    11
    """

    epochs: int = 100
    learning_rate: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "seed"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
                raise ParameterError(f"{name} must be a whole number, 0 or more, got {value!r}")
            object.__setattr__(self, name, int(value))
        rate = self.learning_rate
        if isinstance(rate, (bool, str)) or not 0 < rate <= 1:
            raise ParameterError(f"`learning_rate` must be a number above 0 and at most 1, got {rate!r}")
        object.__setattr__(self, "learning_rate", float(rate))

    def radii(self, lattice: Lattice) -> np.ndarray:
        """Compute the radius of each epoch, ``sigma_t = sigma_0 exp(-t / lambda)``.

        Here ``sigma_0 = max(rows, cols) / 2`` and ``lambda = n / ln(sigma_0)``. If sigma_0 is 1 or less, the radius
        is sigma_0 in all epochs.

        Returns
        -------
        (epochs,) float64, in lattice units
        """
        start = max(lattice.shape) / 2
        return decay("exponential", start, min(start, 1.0), self.epochs, endpoint=False)

    def learning_rates(self, lattice: Lattice) -> np.ndarray:
        """Compute the learning rate of each epoch, ``alpha_t = alpha_0 exp(-t / lambda)``, (epochs,) float64.

        lambda is that of `radii`, or n if sigma_0 is 1 or less.
        """
        start = max(lattice.shape) / 2
        end = self.learning_rate / (start if start > 1 else math.e)
        return decay("exponential", self.learning_rate, end, self.epochs, endpoint=False)


@dataclass(frozen=True)
class OnlineEpoch:
    """Results of one epoch, in which all vectors were presented once.

    Attributes
    ----------
    index : int
        t, 0 for the first.
    radius : float
        sigma_t, in lattice units.
    learning_rate : float
        alpha_t.
    quantization_error : float
        Mean Euclidean distance of the vectors to their best matching units, each measured when it was presented.
    bmu : (n,) int64
        Flat indices of these units.
    seconds : float
        Wall time of the epoch.
    """

    index: int
    radius: float
    learning_rate: float
    quantization_error: float
    bmu: np.ndarray
    seconds: float


def draw_codebook(lattice: Lattice, n_features: int, seed: int) -> np.ndarray:
    """Draw weights uniformly from [0, 1): (M, D) float64."""
    return np.random.default_rng(seed).random((lattice.n_nodes, n_features))


class OnlineRun:
    r"""Online training of a map. Iterating over it trains one epoch each time and yields an `OnlineEpoch`.

    In epoch t = 0 .. n - 1, for each vector v in the given order, let c be the best matching unit of v (least
    ``sum_j (v_j - w_ij)^2`` in float64, the lowest index on ties) and d_i the grid distance of node i to c. Then

    ``theta_i = exp(-d_i^2 / (2 sigma_t^2))``,  ``w_i += alpha_t theta_i (v - w_i)``  for every node i

    (Kohonen, *Self-Organizing Maps*, 3rd ed., 2001, section 3.1). theta is the product of one factor for the rows and
    one for the columns. Everything is plain arithmetic in a fixed order on one thread, so the result is the same bits
    on every machine.

    Parameters
    ----------
    vectors : (n, D) array of real numbers, finite
        Presented in this order. A float64 copy is kept in memory.
    lattice : Lattice with M nodes
    config : OnlineConfig, optional
    codebook : (M, D) or (rows, cols, D) float64, optional
        Weights to start from; those of `draw_codebook` by default.
    start : int
        First epoch to train. To continue a run, give the codebook that the epoch before it has left.

    Raises
    ------
    DataError
        If there are no vectors, or if they are not a table of real and finite numbers of a usable size.
    ParameterError
        If the codebook has a wrong shape or values that are not real and finite, or if there is no epoch `start`.
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
        if not 0 <= start <= self.config.epochs:
            raise ParameterError(f"start must be from 0 to {self.config.epochs}, the epochs, got {start}")
        self.lattice, self.next = lattice, start
        self.vectors = _check_vectors(vectors)
        n_features = self.vectors.shape[1]
        if codebook is None:
            weights = draw_codebook(lattice, n_features, self.config.seed)
        else:
            weights = check_codebook(codebook, lattice, n_features)
        largest = max(float(np.abs(array).max()) for array in (self.vectors, weights))
        if largest and not SMALLEST < largest < LARGEST:
            raise DataError(
                f"the largest of the vectors and weights is {largest:.3g}, whose square float64 can't hold; "
                f"scale the data"
            )
        self._radii, self._rates = self.config.radii(lattice), self.config.learning_rates(lattice)
        self._row_tiles, self._col_tiles = (-(-size // SIDE) for size in lattice.shape)
        self._tiles = cut_tiles(weights.reshape(*lattice.shape, -1), self._row_tiles, self._col_tiles)
        n_tiles = len(self._tiles)
        self._low, self._high = np.empty((2, n_features, n_tiles))
        self._pending = np.zeros((n_tiles, STRETCH), dtype=np.int64)
        self._counts = np.zeros(n_tiles, dtype=np.int64)
        for tile in range(n_tiles):
            fit_box(tile, self._tiles, *lattice.shape, self._col_tiles, self._low, self._high)

    @property
    def codebook(self) -> np.ndarray:
        """The weights after the last finished epoch, (rows, cols, D) float64, a copy.

        If the run was interrupted within an epoch, they are those of no epoch and should not be used.
        """
        return join_tiles(self._tiles, *self.lattice.shape, self._col_tiles)

    def __iter__(self) -> Iterator[OnlineEpoch]:
        while self.next < self.config.epochs:
            yield self._train_epoch()

    def _train_epoch(self) -> OnlineEpoch:
        """Present all vectors once."""
        clock = time.perf_counter()
        radius, rate = float(self._radii[self.next]), float(self._rates[self.next])
        by_row, by_col = update_factors(self.lattice, radius, rate, self._row_tiles * SIDE, self._col_tiles * SIDE)
        n = len(self.vectors)
        bmu, squared = np.empty(n, dtype=np.int64), np.empty(n)
        for first in range(0, n, STRETCH):
            part = slice(first, first + STRETCH)
            present(
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
        return OnlineEpoch(index, radius, rate, error, bmu, time.perf_counter() - clock)


def _check_vectors(vectors: np.ndarray) -> np.ndarray:
    """Return vectors as a new C-contiguous float64 array, (n, D); raise DataError if they can't be used."""
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
