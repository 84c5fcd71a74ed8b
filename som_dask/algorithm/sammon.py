"""Sammon's mapping: points in the plane whose distances are like given ones, above all the small ones."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from som_dask.numerics.eigen import iterate_components
from som_dask.numerics.matmul import product

__all__ = ["SammonMap", "map_by_sammon", "principal_coordinates"]

STEP = 0.4  # Sammon's "magic factor", at the beginning of each iteration
HALVINGS = 20
VECTORS, ROUNDS, TOLERANCE = 8, 200, 2.0**-30


class SammonMap(NamedTuple):
    """Points in the plane.

    Attributes
    ----------
    points : (M, 2) float64
    stress : float
        Sammon's stress, 0 where all distances are kept.
    iterations : int
    settled : bool
        Whether the stress fell by less than the tolerance in the last iteration.
    """

    points: np.ndarray
    stress: float
    iterations: int
    settled: bool


def principal_coordinates(distances: np.ndarray) -> np.ndarray:
    """Compute the plane of classical scaling (Torgerson, 1952), which is that of a PCA if distances are Euclidean.

    Parameters
    ----------
    distances : (M, M) float64, symmetric

    Returns
    -------
    (M, 2) float64
    """
    squares = distances * distances
    mean = squares.mean(axis=0)
    gram = -0.5 * (squares - mean - mean[:, None] + mean.mean())
    largest = np.abs(gram).max()
    if len(gram) < 2 or not largest > 0:
        return np.zeros((len(gram), 2))
    gram /= largest  # so that no square overflows
    lengths, directions = iterate_components(
        lambda vectors: product(vectors, gram),
        len(gram),
        vectors=min(VECTORS, len(gram)),
        rounds=ROUNDS,
        tolerance=TOLERANCE,
    )
    return directions.T * lengths * np.sqrt(largest)


def map_by_sammon(distances: np.ndarray, start: np.ndarray, *, iterations: int, tolerance: float) -> SammonMap:
    r"""Move points until their distances d are like the given D (Sammon, IEEE Transactions on Computers C-18, 1969).

    The stress ``sum_{i<j} (D_ij - d_ij)^2 / D_ij / sum_{i<j} D_ij`` is lowered by steps ``0.4 g / |h|`` with its
    first and second derivatives by each coordinate, halved until it falls. Pairs with a distance of 0 do not count.

    Parameters
    ----------
    distances : (M, M) float64, symmetric
    start : (M, 2) float64
    iterations : int
        Maximum number.
    tolerance : float
        It ends when the stress falls by less than this share.

    Returns
    -------
    SammonMap
    """
    scale = distances.max(initial=0.0)
    if not scale > 0:
        return SammonMap(start.copy(), 0.0, 0, True)
    wanted, points = distances / scale, start / scale
    total = wanted.sum() / 2
    stress = _measure(points, wanted) / total
    for i in range(1, iterations + 1):
        step, factor = _find_step(points, wanted), STEP
        for _ in range(HALVINGS):
            moved = points + factor * step
            moved_stress = _measure(moved, wanted) / total
            if moved_stress < stress:
                break
            factor /= 2
        else:
            return SammonMap(points * scale, stress, i - 1, True)
        fallen = stress - moved_stress
        points, stress = moved, moved_stress
        if fallen <= tolerance * stress:
            return SammonMap(points * scale, stress, i, True)
    return SammonMap(points * scale, stress, iterations, False)


@numba.njit(nogil=True, cache=True)
def _measure(points, wanted):
    """Return the stress of points, (M, 2), not yet divided by the sum of all distances."""
    lost = 0.0
    for i in range(len(points)):
        for j in range(i):
            if wanted[i, j] > 0:
                x, y = points[i, 0] - points[j, 0], points[i, 1] - points[j, 1]
                lacking = wanted[i, j] - math.sqrt(x * x + y * y)
                lost += lacking * lacking / wanted[i, j]
    return lost


@numba.njit(nogil=True, cache=True)
def _find_step(points, wanted):
    """Return minus the first derivative of the stress divided by the size of the second, (M, 2)."""
    step = np.empty_like(points)
    for i in range(len(points)):
        slope_x = slope_y = curve_x = curve_y = 0.0
        for j in range(len(points)):
            x, y = points[i, 0] - points[j, 0], points[i, 1] - points[j, 1]
            apart = math.sqrt(x * x + y * y)
            if wanted[i, j] > 0 and apart > 0:
                pull = (wanted[i, j] - apart) / (wanted[i, j] * apart)
                bend = 1.0 / (apart * apart * apart)
                slope_x += pull * x
                slope_y += pull * y
                curve_x += pull - bend * x * x
                curve_y += pull - bend * y * y
        step[i, 0] = slope_x / abs(curve_x) if curve_x != 0 else 0.0
        step[i, 1] = slope_y / abs(curve_y) if curve_y != 0 else 0.0
    return step
