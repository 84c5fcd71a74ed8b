"""Fields averaged over the days of each node, and whether they differ from those of the other days."""

from __future__ import annotations

import numpy as np

__all__ = [
    "control_false_discoveries",
    "measure_days",
    "merge_moments",
    "moments_of_others",
    "welch_statistic",
]

COUNT, MEAN, DEVIATION = range(3)


def measure_days(nodes: np.ndarray, days: np.ndarray, n_nodes: int) -> np.ndarray:
    """Compute number, mean and squared deviations of the days of each node, at each place.

    Parameters
    ----------
    nodes : (T,) int64
        The node of each day, -1 for days left out.
    days : (T, G) real numbers
        NaN where a value is missing.
    n_nodes : int

    Returns
    -------
    (3, M, G) float64
        Number of values, their mean, and the sum of their squared deviations from it; 0 where there are none.
    """
    result = np.zeros((3, n_nodes, days.shape[1]))
    for node in np.unique(nodes[nodes >= 0]):
        mine = np.asarray(days[nodes == node], dtype=np.float64)
        known = ~np.isnan(mine)
        count = known.sum(axis=0)
        number = np.maximum(count, 1)
        mean = np.where(known, mine, 0.0).sum(axis=0) / number
        rest = np.where(known, mine - mean, 0.0)
        # Add the mean of the deviations, which only rounding keeps from being 0.
        shift = rest.sum(axis=0) / number
        rest = np.where(known, rest - shift, 0.0)
        result[:, node] = count, mean + shift, (rest * rest).sum(axis=0)
    return result


def merge_moments(parts: np.ndarray) -> np.ndarray:
    """Merge moments of different days, (k, 3, ...) -> (3, ...), in their order.

    By the formulas of Chan, Golub and LeVeque (1983), which do not subtract large squares.
    """
    count, mean, deviation = parts[0]
    for other_count, other_mean, other_deviation in parts[1:]:
        total = count + other_count
        share = other_count / np.where(total > 0, total, 1.0)
        apart = np.where((count > 0) & (other_count > 0), other_mean - mean, 0.0)
        mean = np.where(count > 0, mean + apart * share, other_mean)
        deviation = deviation + other_deviation + apart * apart * count * share
        count = total
    return np.stack([count, mean, deviation])


def moments_of_others(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge, for each node, the moments of all other nodes.

    Parameters
    ----------
    moments : (3, M, G) float64

    Returns
    -------
    others : (3, M, G) float64
    every : (3, G) float64
        Those of all nodes.
    """
    n_nodes = moments.shape[1]
    before, after = np.zeros_like(moments), np.zeros_like(moments)
    for node in range(1, n_nodes):
        before[:, node] = merge_moments(np.stack([before[:, node - 1], moments[:, node - 1]]))
        back = n_nodes - 1 - node
        after[:, back] = merge_moments(np.stack([moments[:, back + 1], after[:, back + 1]]))
    every = merge_moments(np.stack([before[:, -1], moments[:, -1]]))
    return merge_moments(np.stack([before, after])), every


def welch_statistic(moments: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Compute Welch's t of two groups of days, and its degrees of freedom (Welch-Satterthwaite).

    ``t = (m_1 - m_2) / sqrt(e_1 + e_2)`` with ``e = s^2 / n``, where s^2 is the variance with n - 1 as its divisor.

    Parameters
    ----------
    moments, others : (3, ...) float64

    Returns
    -------
    t, freedom : (...) float64
        NaN where a group has fewer than two values, or none of both varies.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        errors = [m[DEVIATION] / (m[COUNT] - 1.0) / m[COUNT] for m in (moments, others)]
        enough = (moments[COUNT] > 1) & (others[COUNT] > 1) & (errors[0] + errors[1] > 0)
        total = np.where(enough, errors[0] + errors[1], np.nan)
        t = (moments[MEAN] - others[MEAN]) / np.sqrt(total)
        shares = [e / total for e in errors]  # so that no square overflows or vanishes
        freedom = 1.0 / sum(s * s / (m[COUNT] - 1.0) for s, m in zip(shares, (moments, others), strict=True))
    return t, freedom


def control_false_discoveries(p_values: np.ndarray, level: float) -> np.ndarray:
    """Find which tests are significant so that the expected share of false ones among these stays below a level.

    The rule of Benjamini and Hochberg (1995), as Wilks (*"The stippling shows statistically significant grid
    points"*, Bulletin of the American Meteorological Society 97, 2016) applies it to fields: the tests whose p is at
    most the largest ``p_(i) <= (i / N) level``, with ``p_(i)`` the i-th smallest of N.

    Parameters
    ----------
    p_values : (..., N) float64
        NaN for what could not be tested, which does not count. Each row is treated by itself.
    level : float

    Returns
    -------
    (..., N) bool
    """
    ordered = np.sort(p_values, axis=-1)  # NaN last
    n_tests = np.count_nonzero(~np.isnan(p_values), axis=-1)[..., None]
    rank = np.arange(1, p_values.shape[-1] + 1)
    passed = ordered <= rank / np.maximum(n_tests, 1) * level
    limit = np.max(np.where(passed, ordered, -1.0), axis=-1, initial=-1.0, keepdims=True)
    return p_values <= limit
