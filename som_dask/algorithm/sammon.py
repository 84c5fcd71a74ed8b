"""Sammon's mapping: points in the plane whose distances are like given ones, above all the small ones."""

from __future__ import annotations

from typing import NamedTuple

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
    counted = distances > 0
    scale = distances.max(initial=0.0)
    if not scale > 0:
        return SammonMap(start.copy(), 0.0, 0, True)
    wanted = np.where(counted, distances / scale, 1.0)
    weights = counted / wanted
    norm = float(wanted[counted].sum())  # both orders of each pair, as in the sum that it divides
    points = start / scale
    apart, stress = _measure(points, wanted, weights, norm)
    for i in range(1, iterations + 1):
        step, factor = _find_step(points, apart, wanted, weights), STEP
        for _ in range(HALVINGS):
            moved = points + factor * step
            moved_apart, moved_stress = _measure(moved, wanted, weights, norm)
            if moved_stress < stress:
                break
            factor /= 2
        else:
            return SammonMap(points * scale, stress, i - 1, True)
        fallen = stress - moved_stress
        points, apart, stress = moved, moved_apart, moved_stress
        if fallen <= tolerance * stress:
            return SammonMap(points * scale, stress, i, True)
    return SammonMap(points * scale, stress, iterations, False)


def _measure(points: np.ndarray, wanted: np.ndarray, weights: np.ndarray, norm: float) -> tuple[np.ndarray, float]:
    """Return the distances of all points, (M, M), and the stress."""
    x, y = points.T
    apart = np.hypot(x[:, None] - x, y[:, None] - y)
    lacking = wanted - apart
    return apart, float((lacking * lacking * weights).sum() / norm)


def _find_step(points: np.ndarray, apart: np.ndarray, wanted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return minus the first derivative of the stress divided by the size of the second, (M, 2)."""
    together = apart <= 0
    safe = np.where(together, 1.0, apart)
    pull = np.where(together, 0.0, weights * (wanted - apart) / safe)
    bend = np.where(together, 0.0, weights * wanted / safe**3)
    step = np.empty_like(points)
    total = pull.sum(axis=1)
    for axis in range(2):
        between = points[:, None, axis] - points[None, :, axis]
        slope = (pull * between).sum(axis=1)
        curve = np.abs(total - (bend * between * between).sum(axis=1))
        step[:, axis] = slope / np.where(curve > 0, curve, 1.0)
    return step
