"""Intrinsic dimension of samples, by the distances to their two nearest neighbors."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np

from som_dask.errors import DataError
from som_dask.numerics.decimals import DIGITS

__all__ = ["LEAST_SAMPLES", "choose_final_radius", "intrinsic_dimension"]

LEAST_SAMPLES = 20  # of which no two are equal: with fewer, the estimate is off by a fifth or more
LEFT_OUT = 10  # one in so many, those with the largest ratios
ROWS_AT_ONCE, ENTRIES_AT_ONCE = 256, 2**21
# Squared distances by a matrix product in float64 are off by at most this share of both squared lengths, with up to
# four million features.
DOUBT = 2.0**-30
MANTISSAS = 512  # whose product, each below 2, is finite in float64
LEAST_RADIUS, MOST_RADIUS = 0.3, 0.7


def intrinsic_dimension(points: np.ndarray) -> float:
    """Estimate the intrinsic dimension of some points: how many coordinates they would need.

    With ``mu_i = r_i2 / r_i1``, the ratio of the distances of a point to its second nearest and its nearest
    neighbor, ``log mu`` is exponentially distributed with rate d where the density is even over so short a way
    [1]_. The tenth with the largest ratios is left out, as there. Of the k smallest of n ratios, the estimate of
    maximum likelihood is::

        d = k / (sum_{i <= k} log mu_i + (n - k) log mu_k),

    where the others count by being at least as large as the last. Equal points count once.

    Neighbors are found by their float64 distances, and logarithms are computed to 25 digits, so the estimate has the
    same bits on every machine. It takes n^2 D operations.

    Parameters
    ----------
    points : (n, D) float64
        Without NaN.

    Returns
    -------
    float

    Raises
    ------
    DataError
        If fewer than 20 points are different, or all have two neighbors that are equally far.

    References
    ----------
    .. [1] E. Facco, M. d'Errico, A. Rodriguez, A. Laio, Estimating the intrinsic dimension of datasets by a minimal
       neighborhood information, Scientific Reports 7, 12140, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from som_dask.algorithm.intrinsic_dimension import intrinsic_dimension
    >>> plane = np.random.default_rng(0).random((1000, 2)) @ np.array([[1, 0, 1, 2.0], [0, 1, 1, 0]])
    >>> round(intrinsic_dimension(plane), 1)
    2.0
    """
    distinct = np.unique(points, axis=0)
    ratios = np.sort(_neighbor_ratios(distinct)) if len(distinct) >= LEAST_SAMPLES else distinct
    n = len(ratios)
    if n < LEAST_SAMPLES:
        raise DataError(
            f"an intrinsic dimension needs at least {LEAST_SAMPLES} different samples without gaps, and there are {n}"
        )
    k = n - n // LEFT_OUT
    total = _log_of_product(ratios[:k]) + (n - k) * _log_of_product(ratios[k - 1 : k])
    if total == 0:
        raise DataError("the samples lie on a grid, where neighbors are equally far, so their dimension is unknown")
    return float(k / total)


def _neighbor_ratios(points: np.ndarray) -> np.ndarray:
    """Return the squared ratio of the distances to the two nearest other points, float64 of at least 1.

    A matrix product tells which points can be the two nearest. Their distances are then measured by differences that
    are added up in order, so they do not depend on the product's rounding. A point whose distance to another
    underflows is left out.
    """
    points = _shrink(points)
    centered = _shrink(points - np.median(points, axis=0))
    squares = np.einsum("ij,ij->i", centered, centered)
    nearest = np.empty((2, len(points)))
    for start in range(0, len(points), ROWS_AT_ONCE):
        own = np.arange(start, min(start + ROWS_AT_ONCE, len(points)))
        both = squares[own, None] + squares
        about = both - 2 * centered[own] @ centered.T
        about[own - start, own] = np.inf
        limit = np.partition(about + DOUBT * both, 1, axis=1)[:, 1]
        row, other = np.nonzero(about - DOUBT * both <= limit[:, None])
        measured = np.concatenate(
            [_measure(centered, own[row[some]], other[some]) for some in _cut(len(row), points)]
        )
        order = np.lexsort((measured, row))
        first = np.searchsorted(row, np.arange(len(own)))  # each has two or more
        nearest[:, own] = measured[order[first]], measured[order[first + 1]]
    known = nearest[0] > 0
    return nearest[1, known] / nearest[0, known]


def _shrink(values: np.ndarray) -> np.ndarray:
    """Multiply by a power of two, so that no value is larger than 1, and no square overflows."""
    return np.ldexp(values, -np.frexp(np.abs(values).max())[1])


def _cut(n: int, points: np.ndarray) -> list[slice]:
    """Cut n pairs of points into parts whose differences take little memory."""
    step = max(ENTRIES_AT_ONCE // points.shape[1], 1)
    return [slice(start, start + step) for start in range(0, n, step)]


def _measure(points: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the squared distances of pairs of points, whose squares are added in the order of the features."""
    squares: np.ndarray = np.cumsum((points[one] - points[other]) ** 2, axis=1)[:, -1]
    return squares


def _log_of_product(squared: np.ndarray) -> Decimal:
    """Return the sum of the logarithms of the roots of some numbers of 1 or more, to 25 digits."""
    mantissas, exponents = np.frexp(squared)
    mantissas, exponents = 2 * mantissas, exponents - 1  # so that nothing cancels in logarithms of 1 or more
    with localcontext(DIGITS) as context:
        total = int(exponents.sum()) * context.ln(Decimal(2))
        for start in range(0, len(squared), MANTISSAS):
            total += context.ln(Decimal(float(np.cumprod(mantissas[start : start + MANTISSAS])[-1])))
        return total / 2


def choose_final_radius(dimension: float, n_samples: int, n_nodes: int) -> float:
    """Choose the last radius of training by the intrinsic dimension of the samples and their number for each node.

    ::

        sigma = 0.36 + 0.15 log(d / 2) - 0.03 log(n / (20 M)),  0.3 <= sigma <= 0.7

    A map of two dimensions folds into samples of more, and a larger radius keeps it flat. The more samples there are
    for a node, the less of what it follows is noise. The numbers were fitted to data sets of many kinds.

    Parameters
    ----------
    dimension : float
        d, of `intrinsic_dimension`.
    n_samples, n_nodes : int
        n and M.

    Returns
    -------
    float, in lattice units, rounded to 0.01

    Examples
    --------
    >>> from som_dask.algorithm.intrinsic_dimension import choose_final_radius
    >>> choose_final_radius(2.0, 2000, 100), choose_final_radius(10.0, 2000, 100)
    (0.36, 0.6)
    """
    with localcontext(DIGITS) as context:
        of_dimension = context.ln(Decimal(dimension) / 2)
        of_number = context.ln(Decimal(n_samples) / (20 * n_nodes))
        radius = Decimal("0.36") + Decimal("0.15") * of_dimension - Decimal("0.03") * of_number
        return min(max(float(round(radius, 2)), LEAST_RADIUS), MOST_RADIUS)
