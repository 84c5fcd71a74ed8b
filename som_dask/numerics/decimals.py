"""Functions rounded from more digits than a float64 holds, so that they give the same bits on every machine.

Math libraries differ in the last bit of exp and ln. Decimal arithmetic is specified to the last digit for both.
"""

from __future__ import annotations

from decimal import Context, Decimal

import numpy as np

__all__ = ["DIGITS", "exp"]

DIGITS = Context(prec=25)  # a float64 holds 16 or 17
LEAST_EXPONENT = -745.2  # exp of less rounds to 0


def exp(values: np.ndarray) -> np.ndarray:
    """Exponential function, computed to 25 digits and then rounded to float64.

    Parameters
    ----------
    values : float64 array of any shape, without NaN
        Each distinct value is computed once, in about 10 microseconds.

    Returns
    -------
    float64 array of the same shape
    """
    distinct, where = np.unique(values, return_inverse=True)
    table = [0.0 if v < LEAST_EXPONENT else float(DIGITS.exp(Decimal(v))) for v in distinct.tolist()]
    return np.array(table)[where].reshape(values.shape)
