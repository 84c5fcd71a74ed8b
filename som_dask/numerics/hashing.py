"""A hash of rows of numbers that adds up: the same for any chunking, another for other data or another order."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numba
import numpy as np

__all__ = ["BIAS", "fingerprint_of", "hash_rows", "hash_rows_at", "mix", "scan_rows"]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, the increment of SplitMix64
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
MINUS_ZERO, NO_BITS = np.uint64(1 << 63), np.uint64(0)
FRACTION_BITS, EXPONENT = np.uint64(52), np.uint64(0x7FF)
WEIGHT_FACTOR = 3  # any odd number: so that weights and rows of one number differ
BIAS = 1022  # a float64 whose exponent's bits are e is less than 2^(e - 1022), and half of that or more


@numba.njit(nogil=True, cache=True)
def mix(z):
    """SplitMix64's finalizer (Steele, Lea and Flood, 2014) of one uint64 or of an array.

    Every input bit changes half the output bits.
    """
    z = (z ^ (z >> np.uint64(30))) * FIRST
    z = (z ^ (z >> np.uint64(27))) * SECOND
    return z ^ (z >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def _hash_row(bits, i, number):
    """Hash of row i, of (n, D) uint64, and its position."""
    row = NO_BITS
    for j in range(bits.shape[1]):
        value = NO_BITS if bits[i, j] == MINUS_ZERO else bits[i, j]
        row += mix(value + np.uint64(j + 1) * GOLDEN)
    return mix(row + np.uint64(number) * GOLDEN)


@numba.njit(nogil=True, cache=True)
def hash_rows(bits, first_row):
    """Sum mod 2^64 of a hash of each row and its position.

    ``sum_i mix(sum_j mix(bits_ij + (j + 1) g) + (first_row + i) g)`` with g = `GOLDEN`, all mod 2^64.

    Parameters
    ----------
    bits : (n, D) uint64
        The numbers as float64, seen as integers; -0.0 counts as 0.0.
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
    """`hash_rows` of rows that do not follow each other in the data.

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


@numba.njit(nogil=True, cache=True)
def scan_rows(values, bits, minimum, maximum, sizes):
    """Enter rows into what is known of each feature, in place.

    Parameters
    ----------
    values : (n, D) float64
    bits : (n, D) uint64
        The same, seen as integers.
    minimum, maximum : (D,) float64
        Of the finite values.
    sizes : (3, D) int64
        Number of finite values that are not zero, sum of their exponents' bits, sum of the squares of those.

    Returns
    -------
    nonfinite : int
        How many values are NaN or infinite.
    """
    nonfinite = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            exponent = np.int64((bits[i, j] >> FRACTION_BITS) & EXPONENT)
            finite = exponent != np.int64(EXPONENT)
            nonfinite += not finite
            value = values[i, j]
            minimum[j] = value if finite and value < minimum[j] else minimum[j]
            maximum[j] = value if finite and value > maximum[j] else maximum[j]
            some = np.int64(finite and value != 0)
            sizes[0, j] += some
            sizes[1, j] += some * exponent
            sizes[2, j] += some * exponent * exponent
    return nonfinite


def fingerprint_of(values: np.ndarray, weights: np.ndarray | None, numbers: int | np.ndarray) -> int:
    """Hash of rows and of their weights, not yet taken mod 2^64.

    Parameters
    ----------
    values : (n, D) float64
    weights : (n,), optional
    numbers : int, or (n,) int64
        Position in the data of the first row, which the others follow, or of each one.
    """
    add = hash_rows if isinstance(numbers, int) else hash_rows_at
    rows = int(add(values.view(np.uint64), numbers))
    if weights is None:
        return rows
    column = np.array(weights, dtype=np.float64).reshape(-1, 1)
    return rows + WEIGHT_FACTOR * int(add(column.view(np.uint64), numbers))
