"""Fixed-point numbers, whose sums are integers and so the same bits in any order of adding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["LIMB_BITS", "ROWS_AT_ONCE", "FixedPoint", "join_limbs"]

LIMB_BITS = 40
FIRST_BITS = 62  # of a sum's first limb: of the 64 bits of an int64 one is the sign and one is spare
# Number of limbs that can be added before they must be carried.
ROWS_AT_ONCE = 2 ** (FIRST_BITS - LIMB_BITS)
SIGNIFICANT_BITS = 53


@dataclass(frozen=True)
class FixedPoint:
    """A representation of the numbers in some columns by a few 64-bit integers (limbs) each.

    A number x in column k is ``(limb_0 + limb_1 / 2^40 + limb_2 / 2^80 + ...) / 2^shift[k]``. limb_0 is the integer
    part of ``x 2^shift[k]``, each further limb holds the next 40 bits of the fraction, and all limbs have the sign of
    x. For n < 2^b numbers below 2^e, ``shift = 62 - b - e``, so that n of them can be added without overflow.

    The part of x below the last limb is cut off. With two limbs this is less than 2^(b - 102) of 2^e, which is enough
    for most columns. Columns whose values differ very much in size need more limbs, so that small values keep their
    digits beside large ones.

    Attributes
    ----------
    shift : (K,) int64
    limit : float
        Upper bound, not reached, of ``|x 2^shift|`` for every number.
    limbs : int
        2 or more.
    """

    shift: np.ndarray
    limit: float
    limbs: int = 2

    @classmethod
    def of_range(cls, largest: np.ndarray, n: int, small: np.ndarray | None = None) -> FixedPoint:
        """Choose the representation for `n` numbers in each column.

        Parameters
        ----------
        largest : (K,) float64, finite
            Upper bound of the absolute values in each column.
        n : int
        small : (K,) float64, optional
            Binary exponents. Numbers of the size 2^small keep 53 bits.

        Returns
        -------
        FixedPoint
        """
        _, exponent = np.frexp(np.asarray(largest, dtype=np.float64))  # largest < 2^exponent
        bits = FIRST_BITS - int(n).bit_length()
        fixed = cls(bits - exponent.astype(np.int64), 2.0**bits)
        if small is None:
            return fixed
        below_point = SIGNIFICANT_BITS - float(np.min(fixed.shift + small))
        return replace(fixed, limbs=max(2, 1 + math.ceil(below_point / LIMB_BITS)))

    def of_column(self, column: int) -> FixedPoint:
        """Return the representation of one column alone."""
        return replace(self, shift=self.shift[[column]])

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return 2^shift as two factors, because it may be too large for one float64.

        Returns
        -------
        first, second : (K,) float64
            Powers of two. Multiply a number by one after the other.
        """
        first = np.minimum(self.shift, 1000)
        return np.ldexp(1.0, first), np.ldexp(1.0, self.shift - first)

    def inverse_factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return 2^-shift as two factors, which undo those of `factors`.

        Returns
        -------
        first, second : (K,) float64
            Powers of two. Multiply a number by one after the other.
        """
        first = np.clip(-self.shift, -1000, 900)
        return np.ldexp(1.0, first), np.ldexp(1.0, -self.shift - first)


def join_limbs(limbs: np.ndarray) -> int:
    """Join the limbs of one sum, (L,) int64 and carried or not, into one Python integer."""
    total = 0
    for limb in limbs.tolist():
        total = (total << LIMB_BITS) + limb
    return total
