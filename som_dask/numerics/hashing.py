"""A hash of a table that is the sum of hashes of its rows.

It is the same for any way of cutting the table into chunks, and differs for other data or another order of the rows.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numba
import numpy as np

__all__ = ["fingerprint_of", "hash_rows", "hash_rows_at", "mix"]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, the increment of SplitMix64
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
MINUS_ZERO, NO_BITS = np.uint64(1 << 63), np.uint64(0)
WEIGHT_FACTOR = 3  # any odd number but 1, so that a weight does not hash like a row of a single feature


@numba.njit(nogil=True, cache=True)
def mix(z):
    """Apply the finalizer of SplitMix64 (Steele, Lea and Flood, 2014) to one uint64 or to an array of them.

    Changing any bit of the input changes about half of the bits of the output.
    """
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return z ^ (z >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def _hash_row(bits, i, number):
    """Hash row `i` of a table of bits, (n, D) uint64, together with its position `number` in the data."""
    row = NO_BITS
    for j in range(bits.shape[1]):
        value = NO_BITS if bits[i, j] == MINUS_ZERO else bits[i, j]
        row += mix(value + np.uint64(j + 1) * GOLDEN)
    return mix(row + np.uint64(number) * GOLDEN)


@numba.njit(nogil=True, cache=True)
def hash_rows(bits, first_row):
    """Hash consecutive rows and their positions.

    The result is ``sum_i mix(sum_j mix(bits_ij + (j + 1) g) + (first_row + i) g)`` with g = `GOLDEN`, all mod 2^64.

    Parameters
    ----------
    bits : (n, D) uint64
        The values, float64, viewed as integers. -0.0 counts as 0.0.
    first_row : int
        Position of the first row in the data.

    Returns
    -------
    uint64
    """
    total = NO_BITS
    for i in range(bits.shape[0]):
        total += _hash_row(bits, i, first_row + i)
    return total


@numba.njit(nogil=True, cache=True)
def hash_rows_at(bits, numbers):
    """Hash rows and their positions as `hash_rows` does, for rows that are not consecutive in the data.

    Parameters
    ----------
    bits : (n, D) uint64
    numbers : (n,) int64
        Position of each row in the data.

    Returns
    -------
    uint64
    """
    total = NO_BITS
    for i in range(bits.shape[0]):
        total += _hash_row(bits, i, numbers[i])
    return total


def fingerprint_of(values: np.ndarray, weights: np.ndarray | None, numbers: int | np.ndarray) -> int:
    """Hash rows, their positions and their weights.

    Parameters
    ----------
    values : (n, D) float64
    weights : (n,), optional
    numbers : int, or (n,) int64
        Position in the data of the first row, if the rows are consecutive, or else of each row.

    Returns
    -------
    int
        The hash is this number mod 2^64; it may be larger.
    """
    add = hash_rows if isinstance(numbers, int) else hash_rows_at
    rows = int(add(values.view(np.uint64), numbers))
    if weights is None:
        return rows
    column = np.array(weights, dtype=np.float64).reshape(-1, 1)
    return rows + WEIGHT_FACTOR * int(add(column.view(np.uint64), numbers))
