"""Functions rounded from more digits than a float64 holds, so that they give the same bits on every machine.

Math libraries differ in the last bit of exp and ln. Decimal arithmetic is specified to the last digit for both.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from decimal import Context, Decimal
from fractions import Fraction

import numba
import numpy as np

__all__ = ["DIGITS", "exp"]

DIGITS = Context(prec=25)  # a float64 holds 16 or 17
LEAST_EXPONENT = -745.2  # exp of less rounds to 0
LEAST_NORMAL, MOST_NORMAL = -708.0, 709.0  # between them exp is neither subnormal nor infinite
HALVINGS, TERMS = 8, 10  # the series is of exp of at most ln 2 / 2^9, whose term 11 is below 2^-130
# Relative. 25 digits are rounded by at most 2^-80.7; the error of pairs of float64 here is below 2^-95.
DOUBT = 2.0**-79


def _pair(value: Fraction) -> tuple[float, float]:
    """Split a number into a float64 and a second one for the rest."""
    high = float(value)
    return high, float(value - Fraction(high))


def _ln2_parts() -> tuple[float, float, float]:
    """Split ln 2 into two parts of at most 42 bits, whose products with whole exponents are exact, and a rest."""
    ln2 = Fraction(Context(prec=60).ln(Decimal(2)))
    high = Fraction(math.floor(ln2 * 2**42), 2**42)
    middle = Fraction(math.floor((ln2 - high) * 2**84), 2**84)
    return float(high), float(middle), float(ln2 - high - middle)


LN2 = _ln2_parts()
INVERSE_FACTORIALS = np.array([_pair(Fraction(1, math.factorial(n))) for n in range(TERMS + 1)])


def exp(values: np.ndarray) -> np.ndarray:
    """Exponential function, computed to 25 digits and then rounded to float64.

    Nearly all values are computed in pairs of float64, which hold 32 digits, in about 0.2 microseconds. If a result
    is too near to the middle of two float64 for that, or is not a normal number, decimal arithmetic decides: this
    takes about 10 microseconds.

    Parameters
    ----------
    values : float64 array of any shape, without NaN

    Returns
    -------
    float64 array of the same shape
    """
    flat = np.ravel(values)
    found = np.empty(flat.shape)
    if _exp_of_pairs(flat, found):
        for i in np.flatnonzero(np.isnan(found)):
            found[i] = 0.0 if flat[i] < LEAST_EXPONENT else float(DIGITS.exp(Decimal(float(flat[i]))))
    return found.reshape(np.shape(values))


@numba.njit(nogil=True, cache=True, inline="always")
def _add(a, b):
    """Return a + b and its rounding error, both exact (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@numba.njit(nogil=True, cache=True, inline="always")
def _split(a):
    """Split a float64 into two halves of 26 bits (Veltkamp)."""
    scaled = 134217729.0 * a
    high = scaled - (scaled - a)
    return high, a - high


@numba.njit(nogil=True, cache=True, inline="always")
def _multiply_pairs(a_high, a_low, b_high, b_low):
    """Return the product of two pairs as a pair (Dekker)."""
    product = a_high * b_high
    a_1, a_2 = _split(a_high)
    b_1, b_2 = _split(b_high)
    error = ((a_1 * b_1 - product) + a_1 * b_2 + a_2 * b_1) + a_2 * b_2
    return _add(product, error + (a_high * b_low + a_low * b_high))


@numba.njit(nogil=True, cache=True, inline="always")
def _add_pairs(a_high, a_low, b_high, b_low):
    """Return the sum of two pairs as a pair."""
    high, error = _add(a_high, b_high)
    low, rest = _add(a_low, b_low)
    high, error = _add(high, error + low)
    return _add(high, error + rest)


@numba.njit(nogil=True, cache=True)
def _exp_of_pairs(values, found):
    """Fill `found` with exp of the values, NaN where the rounding is in doubt; return how many there are."""
    doubtful = 0
    for i in range(len(values)):
        value = values[i]
        if value < LEAST_EXPONENT:
            found[i] = 0.0
            continue
        if not LEAST_NORMAL < value < MOST_NORMAL:
            found[i] = np.nan
            doubtful += 1
            continue
        # exp(value) = 2^k exp(r), and exp(r) - 1 comes from that of r / 2^8 by (1 + p)^2 - 1 = 2 p + p^2.
        k = np.rint(value / LN2[0])
        high, low = _add(value - k * LN2[0], -k * LN2[1])
        high, low = _add(high, low - k * LN2[2])
        high, low = high / 2**HALVINGS, low / 2**HALVINGS
        p_high, p_low = INVERSE_FACTORIALS[TERMS, 0], INVERSE_FACTORIALS[TERMS, 1]
        for n in range(TERMS - 1, 0, -1):
            p_high, p_low = _multiply_pairs(p_high, p_low, high, low)
            p_high, p_low = _add_pairs(p_high, p_low, INVERSE_FACTORIALS[n, 0], INVERSE_FACTORIALS[n, 1])
        p_high, p_low = _multiply_pairs(p_high, p_low, high, low)
        for _ in range(HALVINGS):
            square_high, square_low = _multiply_pairs(p_high, p_low, p_high, p_low)
            p_high, p_low = _add_pairs(2 * p_high, 2 * p_low, square_high, square_low)
        high, low = _add_pairs(1.0, 0.0, p_high, p_low)
        if high + (low + DOUBT * high) == high and high + (low - DOUBT * high) == high:
            found[i] = math.ldexp(high, int(k))
        else:
            found[i] = np.nan
            doubtful += 1
    return doubtful
