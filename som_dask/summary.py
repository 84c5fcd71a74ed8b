"""One pass over the data before training: is it usable, what is its range, is it the same data as before?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from som_dask.backend import pieces_of
from som_dask.fingerprint import BIAS, hash_rows, scan_rows

__all__ = ["DataSummary", "PlaneMoments", "block_moments", "block_summary"]

TILE_ROWS = 8192
QUANTA = 2**15


@dataclass(frozen=True)
class DataSummary:
    """What the first pass learns of some samples; summaries of blocks add up in any order.

    Attributes
    ----------
    samples : int
    minimum, maximum : (D,) float64
        Over the finite values; +inf and -inf where there is none.
    nonfinite : int
        Number of NaN and infinite values.
    bad_blocks : tuple of int
        Indices of blocks that hold them, the lowest few.
    fingerprint : int
        64-bit sum over all rows of a hash of the row and its position: the same for any chunking, different
        (but for one chance in 2^64) for other data or another order.
    sizes : (3, D) int64
        Number of values other than zero, sum of their exponents' bits, sum of the squares of those.
    blocks : tuple of (int, int, int)
        First row, number of rows and fingerprint of each block.
    """

    samples: int
    minimum: np.ndarray
    maximum: np.ndarray
    nonfinite: int
    bad_blocks: tuple[int, ...]
    fingerprint: int
    sizes: np.ndarray
    blocks: tuple[tuple[int, int, int], ...]

    def __add__(self, other: DataSummary) -> DataSummary:
        return DataSummary(
            self.samples + other.samples,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.nonfinite + other.nonfinite,
            tuple(sorted(self.bad_blocks + other.bad_blocks)[:5]),
            (self.fingerprint + other.fingerprint) % 2**64,
            self.sizes + other.sizes,
            tuple(sorted(self.blocks + other.blocks)),
        )

    @property
    def small(self) -> np.ndarray:
        """Binary exponents, (D,) float64, of values that are small and yet many: mean less three deviations.

        Where one value dwarfs all others, or they come in two sizes far apart, it is that of the others.
        """
        number = np.maximum(self.sizes[0], 1)
        mean = self.sizes[1] / number
        deviation = np.sqrt(np.maximum(self.sizes[2] / number - mean * mean, 0))
        return np.where(self.sizes[0] > 0, mean - 3 * deviation - BIAS, 0.0)


def block_summary(block: Any, index: int, first_row: int) -> DataSummary:
    """Summary of block number `index`, (n, D), whose first row is row `first_row` of the data."""
    n_features = block.shape[1]
    minimum, maximum = np.full(n_features, np.inf), np.full(n_features, -np.inf)
    sizes = np.zeros((3, n_features), dtype=np.int64)
    samples = nonfinite = fingerprint = 0
    for first, piece in pieces_of(block):
        for start in range(0, len(piece), TILE_ROWS):
            tile = np.array(piece[start : start + TILE_ROWS], dtype=np.float64, order="C")
            bits = tile.view(np.uint64)
            nonfinite += int(scan_rows(tile, bits, minimum, maximum, sizes))
            fingerprint += int(hash_rows(bits, first_row + first + start))
            samples += len(tile)
    fingerprint %= 2**64
    bad = (index,) if nonfinite else ()
    ledger = ((first_row, samples, fingerprint),) if samples else ()
    return DataSummary(samples, minimum, maximum, nonfinite, bad, fingerprint, sizes, ledger)


@dataclass(frozen=True)
class PlaneMoments:
    """First and second moments of quantized samples, exact integers: they add up in any order.

    Attributes
    ----------
    samples : int
    first : (D,) int64
    second : (D, D) int64
    """

    samples: int
    first: np.ndarray
    second: np.ndarray

    def __add__(self, other: PlaneMoments) -> PlaneMoments:
        return PlaneMoments(self.samples + other.samples, self.first + other.first, self.second + other.second)

    def mean_and_covariance(self, minimum: np.ndarray, maximum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (D,) and covariance (D, D), float64, in the data's units."""
        center, step = _quantizer(minimum, maximum)
        mean = self.first / self.samples
        covariance = self.second / self.samples - np.outer(mean, mean)
        return center + step * mean, covariance * np.outer(step, step)


def _quantizer(minimum: np.ndarray, maximum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Halves first: the range of data near the largest float64 must not overflow.
    step = (maximum / 2 - minimum / 2) / QUANTA
    return minimum + (maximum / 2 - minimum / 2), np.where(step > 0, step, 1.0)


def block_moments(block: Any, minimum: np.ndarray, maximum: np.ndarray) -> PlaneMoments:
    """Moments of a block, (n, D), with each feature's range cut into 2^16 steps.

    Products of such integers stay below 2^31, so float64 matrix products of up to 2^22 rows are exact in any
    order of adding, and int64 holds the sum over 2^32 rows. The rounding shifts a covariance by about a
    twelfth of a squared step: nothing to an initial codebook, which is what this is for.
    """
    center, step = _quantizer(minimum, maximum)
    n_features = block.shape[1]
    first = np.zeros(n_features, dtype=np.int64)
    second = np.zeros((n_features, n_features), dtype=np.int64)
    samples = 0
    for _, piece in pieces_of(block):
        for start in range(0, len(piece), TILE_ROWS):
            values = piece[start : start + TILE_ROWS].astype(np.float64)
            levels = np.clip(np.rint((values - center) / step), -QUANTA, QUANTA)
            first += levels.sum(axis=0).astype(np.int64)
            second += (levels.T @ levels).astype(np.int64)
            samples += len(values)
    return PlaneMoments(samples, first, second)
