"""The two largest principal components of a covariance, the same bits on every machine."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np

from som_dask.numerics.matmul import product

__all__ = ["iterate_components", "principal_components"]

DIRECT = 64  # with more features than this, only some of the eigenvectors are computed, by iteration
BLOCK = 32  # vectors in that iteration; how fast it converges depends on the 33rd largest variance
ITERATIONS = 400
SWEEPS = 40  # of rotations at most; no matrix seen so far needed more than ten
EPSILON = float(np.finfo(np.float64).eps)


def principal_components(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Compute the directions of the two largest principal components, and the standard deviations along them.

    A covariance of up to 64 features is diagonalized by cyclic Jacobi rotations (Golub and Van Loan, *Matrix
    Computations*, 4th ed., 2013, section 8.5). With more features, subspace iteration is used (section 8.2.4): 32
    vectors are multiplied by the covariance and made orthogonal again, with a Rayleigh-Ritz step in each round. It
    ends when the first two vectors meet ``|C v - s^2 v| <= D eps s_1^2``, or after 400 rounds. More rounds would be
    needed only if 33 variances were within a few percent of the largest; the two directions returned are then an
    arbitrary choice among nearly equal ones.

    Each sum is added in one fixed order, so the result does not depend on a BLAS or LAPACK library.

    Parameters
    ----------
    covariance : (D, D) float64, symmetric and finite

    Returns
    -------
    deviations : (k,) float64
        Largest first. k is 2, or 1 if D = 1. A variance that rounding made negative counts as 0.
    directions : (k, D) float64
        Unit vectors. The largest coefficient of each (the first of several equal ones) is positive. A direction along
        which nothing varies may be the zero vector.
    """
    # Dividing by an even power of two brings variances of any size near 1, and the root of that power is exact.
    _, exponent = math.frexp(np.abs(covariance).max())
    half = -(-exponent // 2)
    scaled = np.ldexp(np.ldexp(covariance, -half), -half)
    size = len(scaled)
    if size <= DIRECT:
        deviations, directions = _first_two(*_diagonalize(scaled))
    else:
        deviations, directions = iterate_components(
            lambda vectors: product(vectors, scaled),
            size,
            vectors=BLOCK,
            rounds=ITERATIONS,
            tolerance=size * EPSILON,
        )
    return np.ldexp(deviations, half), directions


def _first_two(variances: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the deviations and directions of the first two components, as `principal_components` does."""
    variances, vectors = variances[:2], vectors[:2]
    largest = np.abs(vectors).argmax(axis=1)
    signs = np.where(vectors[np.arange(len(vectors)), largest] < 0, -1.0, 1.0)
    return np.sqrt(np.maximum(variances, 0.0)), vectors * signs[:, None]


def _diagonalize(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all eigenvalues, largest first, and the eigenvectors as rows."""
    matrix = matrix.copy()
    vectors = np.eye(len(matrix))
    _rotate(matrix, vectors)
    values = np.diagonal(matrix)
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[order]


def iterate_components(
    multiply: Callable[[np.ndarray], np.ndarray], size: int, *, vectors: int, rounds: int, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the two largest principal components by subspace iteration, without the covariance as an array.

    Parameters
    ----------
    multiply : callable
        Multiplies vectors, the rows of (vectors, size), by the covariance. Its variances must be finite, and so must
        their squares.
    size : int
        D, the number of features.
    vectors : int
        Number of vectors that are multiplied in each round.
    rounds : int
        Maximum number of rounds.
    tolerance : float
        The iteration ends when the first two vectors meet ``|C v - s^2 v| <= tolerance s_1^2``.

    Returns
    -------
    deviations, directions
        As `principal_components` returns them.
    """
    basis = np.random.default_rng(0).integers(0, 2, size=(vectors, size)) * 2.0 - 1.0
    values = np.zeros(vectors)
    for _ in range(rounds):
        _orthonormalize(basis)
        images = multiply(basis)
        values, turn = _diagonalize(product(images, basis.T))
        turned, images = product(turn, basis), product(turn, images)
        residuals = (images[:2] - values[:2, None] * turned[:2]).T
        if np.abs(residuals).max() * math.sqrt(size) <= tolerance * values[0]:
            break
        basis = images
    return _first_two(values, turned)


@numba.njit(cache=True)
def _rotate(matrix, vectors):
    """Diagonalize a symmetric matrix in place by cyclic Jacobi rotations, and rotate the rows of `vectors` too."""
    size = len(matrix)
    largest = 0.0
    for p in range(size):
        largest = max(largest, abs(matrix[p, p]))
    for _ in range(SWEEPS):
        turned = False
        for p in range(size - 1):
            for q in range(p + 1, size):
                across, first, second = matrix[p, q], matrix[p, p], matrix[q, q]
                if abs(across) <= EPSILON * max(math.sqrt(abs(first)) * math.sqrt(abs(second)), EPSILON * largest):
                    continue
                turned = True
                slope = (second - first) / (2.0 * across)
                tangent = math.copysign(1.0, slope) / (abs(slope) + math.sqrt(slope * slope + 1.0))
                cosine = 1.0 / math.sqrt(tangent * tangent + 1.0)
                sine = tangent * cosine
                for k in range(size):
                    x, y = matrix[p, k], matrix[q, k]
                    matrix[p, k], matrix[q, k] = cosine * x - sine * y, sine * x + cosine * y
                for k in range(size):
                    matrix[k, p], matrix[k, q] = matrix[p, k], matrix[q, k]
                matrix[p, p], matrix[q, q] = first - tangent * across, second + tangent * across
                matrix[p, q] = matrix[q, p] = 0.0
                for k in range(size):
                    x, y = vectors[p, k], vectors[q, k]
                    vectors[p, k], vectors[q, k] = cosine * x - sine * y, sine * x + cosine * y
        if not turned:
            return


@numba.njit(cache=True)
def _orthonormalize(vectors):
    """Make the rows orthonormal in place by the Gram-Schmidt process.

    Each row is treated twice, because rounding leaves it not quite orthogonal the first time. A row that depends on
    those before it becomes zero.
    """
    for i in range(len(vectors)):
        for _ in range(2):
            for j in range(i):
                along = _dot(vectors[i], vectors[j])
                for k in range(vectors.shape[1]):
                    vectors[i, k] -= along * vectors[j, k]
            norm = math.sqrt(_dot(vectors[i], vectors[i]))
            for k in range(vectors.shape[1]):
                vectors[i, k] = vectors[i, k] / norm if norm > 0 else 0.0


@numba.njit(cache=True)
def _dot(a, b):
    """Return the dot product of two vectors, added in order."""
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total
