"""Trends of short series: the test of Mann and Kendall, and the slope of Theil and Sen."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

__all__ = ["Trend", "find_trend"]

LONGEST_EXACT = (
    33  # values whose order is tested by counting permutations; beyond, the normal distribution is as good
)
LEAST_VALUES = 3


class Trend(NamedTuple):
    """The trend of a series.

    Attributes
    ----------
    slope, low, high : float
        Median of the slopes of all pairs of values, and the ends of its confidence interval; per unit of time.
    tau : float
        Kendall's tau-b of values and time, from -1 (falls at each step) to 1.
    p_value : float
        Two-sided, of the test of Mann and Kendall.
    """

    slope: float
    low: float
    high: float
    tau: float
    p_value: float


NONE = Trend(*[math.nan] * 5)


def find_trend(values: np.ndarray, times: np.ndarray, confidence: float) -> Trend:
    r"""Find the trend of a series whose values do not depend on each other but for it.

    ``S = sum_{i<j} sign(x_j - x_i)``. Without ties among up to 33 values, p is exact: the share of all orders with so
    large an \|S\|. Otherwise S is compared with a normal distribution, less 1 for continuity, with the variance
    ``(n (n - 1) (2 n + 5) - sum_t t (t - 1) (2 t + 5)) / 18`` for ties of t values (Kendall, *Rank Correlation
    Methods*, 1975). The interval of the slope is that of Sen (Journal of the American Statistical Association 63,
    1968).

    Parameters
    ----------
    values : (n,) float64
        NaN for times without a value, which are left out.
    times : (n,) float64
        Ascending, all different.
    confidence : float
        Of the interval, between 0 and 1.

    Returns
    -------
    Trend
        All NaN with fewer than three values; tau is NaN where all are equal.
    """
    known = ~np.isnan(values)
    values, times = values[known], times[known]
    n = len(values)
    if n < LEAST_VALUES:
        return NONE
    first, later = np.triu_indices(n, 1)
    rises = values[later] - values[first]
    slopes = np.sort(rises / (times[later] - times[first]))
    concordance = int(np.sign(rises).sum())
    ties = np.unique(values, return_counts=True)[1]
    tied = int((ties * (ties - 1) * (2 * ties + 5)).sum())
    variance = (n * (n - 1) * (2 * n + 5) - tied) / 18
    pairs = n * (n - 1) // 2
    unequal = pairs - int((ties * (ties - 1)).sum()) // 2
    tau = concordance / math.sqrt(pairs * unequal) if unequal else math.nan
    if tied == 0 and n <= LONGEST_EXACT:
        p_value = _count_orders(n, abs(concordance))
    elif concordance and variance > 0:
        p_value = math.erfc((abs(concordance) - 1) / math.sqrt(2 * variance))
    else:
        p_value = 1.0
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(max(variance, 0.0))
    low = max(round((pairs - reach) / 2) - 1, 0)
    high = min(round((pairs + reach) / 2), pairs - 1)
    return Trend(float(np.median(slopes)), float(slopes[low]), float(slopes[high]), tau, p_value)


def _count_orders(n: int, size: int) -> float:
    r"""Return the share of the orders of n different values with \|S\| of at least some size."""
    pairs = n * (n - 1) // 2
    shares = np.ones(1)  # of the orders with each number of falling pairs
    for k in range(2, n + 1):
        shares = np.convolve(shares, np.full(k, 1.0 / k))
    least = (pairs - size) // 2  # falling pairs at most, or rising ones
    return min(1.0, 2.0 * float(shares[: least + 1].sum()))
