"""The two largest principal components, the same bits on every machine."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numba
import numpy as np

from som_dask.numerics.matmul import product

__all__ = ["principal_components"]

DIRECT = 64  # features up to which the whole covariance is diagonalized
BLOCK = 32  # vectors that are iterated on where there are more: the speed depends on the variance of the 33rd
ITERATIONS = 400
SWEEPS = 40  # of rotations; ten are enough for any matrix that was met
EPSILON = float(np.finfo(np.float64).eps)


def principal_components(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Standard deviations along the two largest principal components, and their directions.

    A small covariance is diagonalized by cyclic Jacobi rotations (Golub and Van Loan, *Matrix Computations*,
    4th ed., 2013, section 8.5). Of a larger one, 32 vectors are multiplied by it and made orthogonal again,
    with a Rayleigh-Ritz step each time (section 8.2.4), until the first two meet ``|C v - s^2 v| <= D eps s_1^2``
    or for 400 rounds: more are needed only where 33 variances are within a few percent of the largest, and then
    the first two are any of nearly equal ones.

    Every sum has one order, so that the result does not depend on a BLAS or LAPACK library.

    Parameters
    ----------
    covariance : (D, D) float64, symmetric and finite

    Returns
    -------
    deviations : (k,) float64
        Largest first; k is 2, or 1 where D = 1. 0 for a variance that rounding made negative.
    directions : (k, D) float64
        Unit vectors, each with its largest coefficient positive (the first one of equals). The direction along
        which nothing varies may be zero.
    """
    # An even power of two brings variances of any size near 1, and its root is exact.
    _, exponent = math.frexp(np.abs(covariance).max())
    half = -(-exponent // 2)
    scaled = np.ldexp(np.ldexp(covariance, -half), -half)
    variances, vectors = _diagonalize(scaled) if len(scaled) <= DIRECT else _iterate(scaled)
    variances, vectors = variances[:2], vectors[:2]
    largest = np.abs(vectors).argmax(axis=1)
    signs = np.where(vectors[np.arange(len(vectors)), largest] < 0, -1.0, 1.0)
    return np.ldexp(np.sqrt(np.maximum(variances, 0.0)), half), vectors * signs[:, None]


def _diagonalize(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, and eigenvectors as rows."""
    matrix = matrix.copy()
    vectors = np.eye(len(matrix))
    _rotate(matrix, vectors)
    values = np.diagonal(matrix)
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[order]


def _iterate(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues and their eigenvectors, as `_diagonalize` gives all."""
    size = len(matrix)
    vectors = np.random.default_rng(0).integers(0, 2, size=(BLOCK, size)) * 2.0 - 1.0
    values = np.zeros(BLOCK)
    for _ in range(ITERATIONS):
        _orthonormalize(vectors)
        images = product(vectors, matrix)
        values, turn = _diagonalize(product(images, vectors.T))
        vectors, images = product(turn, vectors), product(turn, images)
        residuals = (images[:2] - values[:2, None] * vectors[:2]).T
        if np.abs(residuals).max() * math.sqrt(size) <= size * EPSILON * values[0]:
            break
        vectors, kept = images, vectors
    else:
        vectors = kept
    return values, vectors


@numba.njit(cache=True)
def _rotate(matrix, vectors):
    """Cyclic Jacobi: makes a symmetric matrix diagonal, and turns the rows of `vectors` along with it."""
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
    """Gram-Schmidt on the rows, twice, since once leaves what rounding made; a row of nothing becomes zero."""
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
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total
