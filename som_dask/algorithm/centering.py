"""Points without their mean over the features, as a correlation compares them."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["center_rows"]

# What is left of a sample that is the same everywhere is rounding: below 2^-51 of its length.
ROUNDING = 2.0**-48


def center_rows(points: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Subtract from each point its weighted mean over the features: ``z - f (f.z) / (f.f)``.

    A missing feature (NaN) does not count, and stays missing. Sums are added in the order of the features.

    Parameters
    ----------
    points : (n, K) float64
        z, features times their factors.
    factors : (K,) float64, positive
        f, the roots of the feature weights.

    Returns
    -------
    (n, K) float64
        A new array. Each row is divided by a power of two that brings its largest value below 1, so that no square
        overflows. A row of which only rounding is left is all zeros.
    """
    _, exponent = np.frexp(factors.max())
    return _center(np.ascontiguousarray(points), np.ldexp(factors, -exponent))


@numba.njit(nogil=True, cache=True)
def _center(points, factors):
    """Do what `center_rows` says for factors below 1."""
    result = np.empty_like(points)
    n_features = points.shape[1]
    for i in range(len(points)):
        largest = 0.0
        for j in range(n_features):
            largest = max(largest, abs(points[i, j])) if points[i, j] == points[i, j] else largest
        exponent = math.frexp(largest)[1]
        length = 0.0
        for j in range(n_features):
            result[i, j] = math.ldexp(points[i, j], -exponent)
            if result[i, j] == result[i, j]:
                length += result[i, j] * result[i, j]
        # Twice, as the first mean carries the rounding of a sum of large values.
        for _ in range(2):
            along = total = 0.0
            for j in range(n_features):
                if result[i, j] == result[i, j]:
                    along += factors[j] * result[i, j]
                    total += factors[j] * factors[j]
            mean = along / total if total > 0 else 0.0
            for j in range(n_features):
                result[i, j] -= mean * factors[j]
        left = 0.0
        for j in range(n_features):
            if result[i, j] == result[i, j]:
                left += result[i, j] * result[i, j]
        if left <= ROUNDING * ROUNDING * length:
            for j in range(n_features):
                result[i, j] = 0.0 if result[i, j] == result[i, j] else result[i, j]
    return result
