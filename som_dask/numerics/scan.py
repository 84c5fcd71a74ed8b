"""Look once through a table of numbers: ranges of its columns, sizes of its values, values that are not finite."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numba
import numpy as np

__all__ = ["BIAS", "column_ranges", "scan_rows"]

FRACTION_BITS, EXPONENT = np.uint64(52), np.uint64(0x7FF)
BIAS = 1022  # a float64 whose exponent bits are e is less than 2^(e - 1022), and half of that or more


@numba.njit(nogil=True, cache=True)
def scan_rows(values, bits, minimum, maximum, sizes):
    """Update the ranges and sizes of features, in place, by some more rows.

    Parameters
    ----------
    values : (n, D) float64
    bits : (n, D) uint64
        The same values viewed as integers.
    minimum, maximum : (D,) float64
        Range of the finite values so far.
    sizes : (3, D) int64
        For the finite values other than zero: how many there are, the sum of their exponent bits, and the sum of
        the squares of these.

    Returns
    -------
    nonfinite : int
        Number of values that are NaN or infinite.
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


@numba.njit(nogil=True, cache=True)
def column_ranges(table):
    """Return the least and the greatest value of each column.

    Parameters
    ----------
    table : (n, D) float64
        At least one row, no NaN.

    Returns
    -------
    least, greatest : (D,) float64
    """
    least, greatest = table[0].copy(), table[0].copy()
    for i in range(len(table)):
        for j in range(table.shape[1]):
            least[j], greatest[j] = min(least[j], table[i, j]), max(greatest[j], table[i, j])
    return least, greatest
