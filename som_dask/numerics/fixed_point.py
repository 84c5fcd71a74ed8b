"""Fixed-point numbers: their sums are integers, the same bits in any order of adding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["LIMB_BITS", "ROWS_AT_ONCE", "FixedPoint", "in_one"]

LIMB_BITS = 40
FIRST_BITS = 62  # of a whole sum's first limb: one bit of an int64 is the sign's, one is spare
# So many limbs add up before they must be carried.
ROWS_AT_ONCE = 2 ** (FIRST_BITS - LIMB_BITS)
SIGNIFICANT_BITS = 53


@dataclass(frozen=True)
class FixedPoint:
    """How numbers of some columns become a few 64-bit integers each, of which n add up without overflow.

    A number x of column k is ``(limb_0 + limb_1 / 2^40 + limb_2 / 2^80 + ...) / 2^shift[k]``: limb_0 is
    ``x 2^shift`` without its fraction, each further limb the next 40 bits of the fraction, all of the sign of x.
    With n < 2^b numbers of less than 2^e, ``shift = 62 - b - e``. What of x lies below the last limb is cut off:
    with two limbs that is less than 2^(b - 102) of 2^e. Usual columns need no more; numbers of very different
    sizes need further limbs, so that the small ones keep their digits beside the large ones.

    Attributes
    ----------
    shift : (K,) int64
    limit : float
        ``|x 2^shift|`` of every number is below it.
    limbs : int
        2 or more.
    """

    shift: np.ndarray
    limit: float
    limbs: int = 2

    @classmethod
    def of_range(cls, largest: np.ndarray, n: int, small: np.ndarray | None = None) -> FixedPoint:
        """For `n` numbers a column.

        Parameters
        ----------
        largest : (K,) float64, finite
            No number is greater, or less than its negative.
        n : int
        small : (K,) float64, optional
            Binary exponents: numbers of this size are to keep 53 bits.
        """
        _, exponent = np.frexp(np.asarray(largest, dtype=np.float64))  # largest < 2^exponent
        bits = FIRST_BITS - int(n).bit_length()
        fixed = cls(bits - exponent.astype(np.int64), 2.0**bits)
        if small is None:
            return fixed
        below_point = SIGNIFICANT_BITS - float(np.min(fixed.shift + small))
        return replace(fixed, limbs=max(2, 1 + math.ceil(below_point / LIMB_BITS)))

    def of_column(self, column: int) -> FixedPoint:
        """That of one column by itself."""
        return replace(self, shift=self.shift[column : column + 1])

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Two (K,) float64, powers of two, by which to multiply one after the other: 2^shift may be too large."""
        first = np.minimum(self.shift, 1000)
        return np.ldexp(1.0, first), np.ldexp(1.0, self.shift - first)

    def inverse_factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Two (K,) float64, powers of two, that undo `factors`: one after the other."""
        first = np.clip(-self.shift, -1000, 900)
        return np.ldexp(1.0, first), np.ldexp(1.0, -self.shift - first)


def in_one(limbs: np.ndarray) -> int:
    """The limbs of one sum, (L,) int64, carried or not, as one integer."""
    total = 0
    for limb in limbs.tolist():
        total = (total << LIMB_BITS) + limb
    return total
