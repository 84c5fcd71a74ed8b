"""Metrics: how the distance of a sample and a node is measured, and all that follows from it."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numba
import numpy as np

__all__ = ["METRICS", "Metric", "MetricRule", "chi_distances", "euclidean_distances", "manhattan_distances"]

Metric = Literal["euclidean", "cosine", "correlation", "manhattan"]

TOGETHER = 4  # samples whose squares are added up at the same time
FEW_FEATURES = 8  # below which that takes longer
SAFE_SQUARE = 1e-280  # a sum above it and below its inverse is of squares that neither vanish nor overflow


@numba.njit(nogil=True, cache=True)
def euclidean_distances(points, bmu, codebook):
    """Compute Euclidean distances of samples to their nodes, over the features that they know.

    In float64, features added in order.

    Parameters
    ----------
    points : (n, K) float64
        NaN where a feature is missing.
    bmu : (n,) int64
    codebook : (M, K) float64

    Returns
    -------
    (n,) float64
    """
    n, n_features = points.shape
    result = np.empty(n)
    if n_features < FEW_FEATURES or n < TOGETHER:
        # In one loop: a function of two rows would take five times as long where features are few.
        for i in range(n):
            node = bmu[i]
            squared = 0.0
            for j in range(n_features):
                difference = points[i, j] - codebook[node, j]
                squared += difference * difference if difference == difference else 0.0
            safe = SAFE_SQUARE < squared < 1 / SAFE_SQUARE
            result[i] = math.sqrt(squared) if safe else _scaled_distance(points, i, codebook, node)
        return result
    _add_up_squares(points, bmu, codebook, result)
    for i in range(n):
        safe = SAFE_SQUARE < result[i] < 1 / SAFE_SQUARE
        result[i] = math.sqrt(result[i]) if safe else _scaled_distance(points, i, codebook, bmu[i])
    return result


@numba.njit(nogil=True, cache=True)
def _add_up_squares(points, bmu, codebook, result):
    """Squared distances of at least 4 samples, features added in order.

    First the squares of 4 samples, by vectors; then their sums side by side, for each addition waits for the one
    before it.
    """
    n, n_features = points.shape
    squares = np.empty((TOGETHER, n_features))
    for start in range(0, n, TOGETHER):
        first = min(start, n - TOGETHER)
        for k in range(TOGETHER):
            node = bmu[first + k]
            for j in range(n_features):
                x = points[first + k, j]
                difference = x - codebook[node, j] if x == x else 0.0
                squares[k, j] = difference * difference
        a = b = c = d = 0.0
        for j in range(n_features):
            a += squares[0, j]
            b += squares[1, j]
            c += squares[2, j]
            d += squares[3, j]
        result[first], result[first + 1], result[first + 2], result[first + 3] = a, b, c, d


@numba.njit(nogil=True, cache=True)
def _scaled_distance(points, i, codebook, node):
    """The distance of one sample, if squares may overflow or vanish: scaled where they do."""
    squared = largest = 0.0
    for j in range(points.shape[1]):
        x = points[i, j]
        difference = x - codebook[node, j] if x == x else 0.0
        squared += difference * difference
        largest = max(largest, abs(difference))
    if 1e-150 < largest < 1e150 or largest == 0:
        return math.sqrt(squared)
    squared = 0.0
    for j in range(points.shape[1]):
        x = points[i, j]
        difference = (x - codebook[node, j]) / largest if x == x else 0.0
        squared += difference * difference
    return math.sqrt(squared) * largest


@numba.njit(nogil=True, cache=True)
def chi_distances(points, inverse, bmu, codebook):
    """Compute ``sqrt(sum_j ((z_j - w_j) / e_j)^2)``, the distances in units of the errors of the values.

    In float64, features added in order; missing values are left out.

    Parameters
    ----------
    points : (n, K) float64
        z, NaN where a value is missing.
    inverse : (n, K) float64
        1 / e, 0 where a value is missing.
    bmu : (n,) int64
    codebook : (M, K) float64

    Returns
    -------
    (n,) float64
    """
    n, n_features = points.shape
    result = np.empty(n)
    for i in range(n):
        squared = largest = 0.0
        for j in range(n_features):
            x = points[i, j]
            difference = (x - codebook[bmu[i], j]) * inverse[i, j] if x == x else 0.0
            squared += difference * difference
            largest = max(largest, abs(difference))
        result[i] = math.sqrt(squared)
        if not SAFE_SQUARE < squared < 1 / SAFE_SQUARE and largest > 0:
            squared = 0.0
            for j in range(n_features):
                x = points[i, j]
                difference = (x - codebook[bmu[i], j]) * inverse[i, j] / largest if x == x else 0.0
                squared += difference * difference
            result[i] = math.sqrt(squared) * largest
    return result


@numba.njit(nogil=True, cache=True)
def manhattan_distances(points, bmu, codebook):
    """Manhattan distances of samples to their nodes, over the features that they know, features added in order.

    The arguments and the result are those of `euclidean_distances`.
    """
    result = np.empty(len(points))
    for i in range(len(points)):
        total = 0.0
        for j in range(points.shape[1]):
            difference = points[i, j] - codebook[bmu[i], j]
            total += abs(difference) if difference == difference else 0.0
        result[i] = total
    return result


def _cosine_distances(points: np.ndarray, bmu: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """1 less the cosine: half the squared distance of two points on the unit sphere.

    The cosine of points whose features have a mean of 0 is their correlation.
    """
    found = euclidean_distances(points, bmu, codebook)
    return found * found / 2


@dataclass(frozen=True)
class MetricRule:
    """What a metric asks of the rest of the package; a new metric is one more of these.

    Attributes
    ----------
    distances : callable
        Of points (n, K), flat indices of their nodes (n,) and the codebook (M, K): (n,) float64.
    compares : {"squares", "sizes"}
        What of the differences is added up, feature by feature, to tell which node is nearest. It decides which
        search finds that node.
    on_sphere : bool
        Whether points and nodes are divided by their lengths, so that all lie on the unit sphere.
    centered : bool
        Whether the mean over the features is subtracted from each of them before.
    farthest : callable
        Of the largest differences of each feature, (K,): what no distance exceeds, rounding included.
    to_euclidean : callable
        Distances as those by which memberships fall off: Euclidean where the metric has such.
    words, noun : str
        What the distance is, for the labels of variables: as a remark, where "{where}" stands for the space; and as
        what something may be far from something else.
    refused : str
        Which samples have no place on the sphere, and why, for a message; empty if all have one.
    """

    distances: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    compares: Literal["squares", "sizes"]
    on_sphere: bool
    farthest: Callable[[np.ndarray], float]
    to_euclidean: Callable[[Any], Any]
    words: str
    noun: str
    centered: bool = False
    refused: str = ""

    def describe(self, where: str) -> str:
        """The distance in words, in a space such as "in the data's units"."""
        return self.words.format(where=where)


def _farthest_euclidean(spans: np.ndarray) -> float:
    return 2 * float(np.sqrt(len(spans))) * float(np.max(spans))


METRICS: dict[str, MetricRule] = {
    "euclidean": MetricRule(
        euclidean_distances,
        "squares",
        False,
        _farthest_euclidean,
        lambda d: d,
        "Euclidean, {where}",
        "Euclidean distance",
    ),
    "cosine": MetricRule(
        _cosine_distances,
        "squares",
        True,
        lambda spans: _farthest_euclidean(spans) ** 2,
        lambda d: np.sqrt(2 * d),
        "1 less the cosine",
        "1 less the cosine of the angle",
        refused="all zeros, which have no direction",
    ),
    "correlation": MetricRule(
        _cosine_distances,
        "squares",
        True,
        lambda spans: _farthest_euclidean(spans) ** 2,
        lambda d: np.sqrt(2 * d),
        "1 less the correlation",
        "1 less the correlation",
        centered=True,
        refused="the same in all features that they have, which correlates with nothing",
    ),
    "manhattan": MetricRule(
        manhattan_distances,
        "sizes",
        False,
        lambda spans: 2 * float(np.sum(spans)),
        lambda d: d,
        "Manhattan, {where}",
        "Manhattan distance",
    ),
}
assert tuple(METRICS) == get_args(Metric)
