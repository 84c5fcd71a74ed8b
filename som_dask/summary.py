"""One pass over the data before training: is it usable, what is its range, is it the same data as before?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["DataSummary", "PlaneMoments", "block_moments", "block_summary"]

TILE_ROWS = 8192
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, the increment of SplitMix64
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
    """

    samples: int
    minimum: np.ndarray
    maximum: np.ndarray
    nonfinite: int
    bad_blocks: tuple[int, ...]
    fingerprint: int

    def __add__(self, other: DataSummary) -> DataSummary:
        return DataSummary(
            self.samples + other.samples,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.nonfinite + other.nonfinite,
            tuple(sorted(self.bad_blocks + other.bad_blocks)[:5]),
            (self.fingerprint + other.fingerprint) % 2**64,
        )


def block_summary(block: np.ndarray, index: int, first_row: int) -> DataSummary:
    """Summary of block number `index`, (n, D), whose first row is row `first_row` of the data."""
    n_features = block.shape[1]
    minimum, maximum = np.full(n_features, np.inf), np.full(n_features, -np.inf)
    nonfinite = fingerprint = 0
    for start in range(0, len(block), TILE_ROWS):
        tile = block[start : start + TILE_ROWS]
        values = tile.astype(np.float64, copy=False)
        finite = np.isfinite(values)
        bad = int(finite.size - np.count_nonzero(finite))
        nonfinite += bad
        least, most = (np.where(finite, values, np.inf), np.where(finite, values, -np.inf)) if bad else (values,) * 2
        minimum = np.minimum(minimum, least.min(axis=0))
        maximum = np.maximum(maximum, most.max(axis=0))
        fingerprint += _rows_hash(tile, first_row + start)
    return DataSummary(len(block), minimum, maximum, nonfinite, (index,) if nonfinite else (), fingerprint % 2**64)


def _mix(z: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer (Steele, Lea and Flood, 2014): every input bit changes half the output bits."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _rows_hash(tile: np.ndarray, first_row: int) -> int:
    """Sum mod 2^64 of a hash of each row's bits and position."""
    if tile.dtype.kind == "f":
        # Widen to float64: exact, and one bit pattern a value; adding 0.0 makes -0.0 and 0.0 the same.
        bits = (tile.astype(np.float64) + 0.0).view(np.uint64)
    else:
        bits = tile.astype(np.int64).view(np.uint64)
    feature = np.arange(1, tile.shape[1] + 1, dtype=np.uint64)
    row = np.arange(first_row, first_row + len(tile), dtype=np.uint64)
    keyed = _mix(bits + feature * np.uint64(GOLDEN))
    return int(_mix(keyed.sum(axis=1, dtype=np.uint64) + row * np.uint64(GOLDEN)).sum(dtype=np.uint64))


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


def block_moments(block: np.ndarray, minimum: np.ndarray, maximum: np.ndarray) -> PlaneMoments:
    """Moments of a block, (n, D), with each feature's range cut into 2^16 steps.

    Products of such integers stay below 2^31, so float64 matrix products of up to 2^22 rows are exact in any
    order of adding, and int64 holds the sum over 2^32 rows. The rounding shifts a covariance by about a
    twelfth of a squared step: nothing to an initial codebook, which is what this is for.
    """
    center, step = _quantizer(minimum, maximum)
    n_features = block.shape[1]
    first = np.zeros(n_features, dtype=np.int64)
    second = np.zeros((n_features, n_features), dtype=np.int64)
    for start in range(0, len(block), TILE_ROWS):
        values = block[start : start + TILE_ROWS].astype(np.float64)
        levels = np.clip(np.rint((values - center) / step), -QUANTA, QUANTA)
        first += levels.sum(axis=0).astype(np.int64)
        second += (levels.T @ levels).astype(np.int64)
    return PlaneMoments(len(block), first, second)
