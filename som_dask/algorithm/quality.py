"""How good a map is, and what it looks like: errors, distortion, U-matrix, hits."""

from __future__ import annotations

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood, smooth

__all__ = ["distortion", "hit_histogram", "node_means", "quantization_error", "topographic_error", "u_matrix"]


def quantization_error(distance: np.ndarray) -> float:
    """Mean Euclidean distance of the samples to their best matching units, in the data's units.

    Parameters
    ----------
    distance : (n,) float64
    """
    return float(np.mean(distance))


def topographic_error(bmu: np.ndarray, second: np.ndarray, lattice: Lattice) -> float:
    """Share of samples whose best and second best matching units are not adjacent (Kiviluoto, 1996).

    Adjacent are the six neighbors on a hexagonal lattice, the eight on a rectangular one (diagonals
    included), over the seam where the lattice wraps. On a map of one node the error is 0.

    Parameters
    ----------
    bmu, second : (n,) int64 flat indices
    lattice : Lattice

    Returns
    -------
    float in [0, 1]
    """
    return float(np.mean(~lattice.adjacent(bmu, second)))


def u_matrix(codebook: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Mean Euclidean distance of each node's weights to those of its neighbors (Ultsch and Siemon, 1990).

    Parameters
    ----------
    codebook : (M, D) float64
    lattice : Lattice with M nodes

    Returns
    -------
    (rows, cols) float64
        In the data's units; 0 for a node without neighbors.
    """
    first, second = lattice.neighbor_pairs()
    _, exponent = np.frexp(np.abs(codebook).max(initial=0.0))
    exponent = int(exponent) if abs(exponent) > 400 else 0  # else squares overflow or vanish
    codebook = np.ldexp(codebook, -exponent) if exponent else codebook
    squared = np.zeros(len(first))
    for feature in codebook.T:  # one feature at a time: no (pairs, D) array
        squared += (feature[first] - feature[second]) ** 2
    total = np.bincount(first, weights=np.sqrt(squared), minlength=lattice.n_nodes)
    number = np.bincount(first, minlength=lattice.n_nodes)
    return np.ldexp(total / np.maximum(number, 1), exponent).reshape(lattice.shape)


def hit_histogram(bmu: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Count samples per node: flat indices (n,) int64 -> (rows, cols) int64."""
    return np.bincount(bmu, minlength=lattice.n_nodes).reshape(lattice.shape)


def node_means(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    """``total / number``, of equal shapes or broadcast: float64, NaN where the number is zero."""
    total, number = np.broadcast_arrays(np.asarray(total, dtype=np.float64), number)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def distortion(
    known: np.ndarray,
    sums: np.ndarray,
    squares: np.ndarray,
    weight: float,
    codebook: np.ndarray,
    lattice: Lattice,
    neighborhood: Neighborhood,
    radius: float,
) -> float:
    r"""Mean distortion of the samples: what the batch rule lowers while its radius stays.

    ``E = 1/N sum_i sum_j h(|r_c(i) - r_j|, radius) |x_i - w_j|^2``, the sum over features that the sample has
    (Lampinen and Oja, J. Math. Imaging and Vision 2, 1992; Vesanto, Sulkava and Hollmen, WSOM 2003).

    No sample is needed, only sums of each node c about its own weights. With d = x - w_c and feature by feature
    ``sum (x - w_j)^2 = sum d^2 + 2 (w_c - w_j) sum d + n (w_c - w_j)^2``, so that H, which is symmetric, is applied
    to 1, w and w^2 alone. The weights are taken less their mean. What cancels is of the size of the codebook's
    variance: E is good to about 1e-16 of N times that.

    Parameters
    ----------
    known : (M, D) int64 or float64
        Number, or weight, of the samples of each node that have the feature.
    sums, squares : (M, D) float64
        Of d and d^2 over those, times their weights.
    weight : float
        N, or the weight of all samples.
    codebook : (M, D) float64
    lattice : Lattice with M nodes
    neighborhood : Neighborhood
    radius : float
        In lattice units.

    Returns
    -------
    float
        In squared units of the codebook; nan without samples. Infinite or nan where squares overflow.
    """
    if not weight > 0:
        return float("nan")
    n_features = codebook.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        w = codebook - codebook.mean(axis=0)
        smoothed = smooth(np.hstack([np.ones((len(w), 1)), w, w * w]), lattice, neighborhood, radius)
        h, h_w, h_w2 = smoothed[:, :1], smoothed[:, 1 : n_features + 1], smoothed[:, n_features + 1 :]
        terms = squares * h + 2 * sums * (w * h - h_w) + known * (w * (w * h - 2 * h_w) + h_w2)
        return float(np.sum(terms)) / weight
