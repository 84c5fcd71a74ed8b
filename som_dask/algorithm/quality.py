"""Measures of how good a map is and what it looks like: errors, distortion, U-matrix, hits."""

from __future__ import annotations

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.algorithm.smoothing import smooth

__all__ = ["distortion", "hit_histogram", "node_means", "quantization_error", "topographic_error", "u_matrix"]


def quantization_error(distance: np.ndarray) -> float:
    """Compute the mean distance of the samples to their best matching units.

    Parameters
    ----------
    distance : (n,) float64
        Euclidean distance of each sample, in the data's units.

    Returns
    -------
    float, in the data's units

    Examples
    --------
    >>> import numpy as np
    >>> from som_dask.algorithm.quality import quantization_error
    >>> quantization_error(np.array([1.0, 2.0, 3.0]))
    2.0
    """
    return float(np.mean(distance))


def topographic_error(bmu: np.ndarray, second: np.ndarray, lattice: Lattice) -> float:
    """Compute the share of samples whose two best matching units are not neighbors (Kiviluoto, 1996).

    A node has six neighbors on a hexagonal lattice and eight, with the diagonal ones, on a rectangular lattice. Where
    the lattice wraps, nodes across the seam are neighbors too. On a map of one node the error is 0.

    Parameters
    ----------
    bmu, second : (n,) int64
        Flat indices of the best and the second best matching unit of each sample.
    lattice : Lattice

    Returns
    -------
    float in [0, 1]

    Examples
    --------
    >>> import numpy as np
    >>> from som_dask.algorithm.lattice import Lattice
    >>> from som_dask.algorithm.quality import topographic_error
    >>> topographic_error(np.array([0, 0]), np.array([1, 3]), Lattice(1, 4))
    0.5
    """
    return float(np.mean(~lattice.adjacent(bmu, second)))


def u_matrix(codebook: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Compute the mean distance of each node's weights to those of its neighbors (Ultsch and Siemon, 1990).

    Parameters
    ----------
    codebook : (M, D) float64
    lattice : Lattice with M nodes

    Returns
    -------
    (rows, cols) float64
        Euclidean distances in the codebook's units; 0 for a node without neighbors.

    Examples
    --------
    >>> import numpy as np
    >>> from som_dask.algorithm.lattice import Lattice
    >>> from som_dask.algorithm.quality import u_matrix
    >>> u_matrix(np.array([[0.0], [1.0], [4.0]]), Lattice(1, 3)).tolist()
    [[1.0, 2.0, 3.0]]
    """
    first, second = lattice.neighbor_pairs()
    _, exponent = np.frexp(np.abs(codebook).max(initial=0.0))
    exponent = int(exponent) if abs(exponent) > 400 else 0  # otherwise squares would overflow or vanish
    codebook = np.ldexp(codebook, -exponent) if exponent else codebook
    squared = np.zeros(len(first))
    for feature in codebook.T:  # one feature at a time: no (pairs, D) array
        squared += (feature[first] - feature[second]) ** 2
    total = np.bincount(first, weights=np.sqrt(squared), minlength=lattice.n_nodes)
    number = np.bincount(first, minlength=lattice.n_nodes)
    return np.ldexp(total / np.maximum(number, 1), exponent).reshape(lattice.shape)


def hit_histogram(bmu: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Count the samples of each node.

    Parameters
    ----------
    bmu : (n,) int64
        Flat index of the best matching unit of each sample.
    lattice : Lattice

    Returns
    -------
    (rows, cols) int64

    Examples
    --------
    >>> import numpy as np
    >>> from som_dask.algorithm.lattice import Lattice
    >>> from som_dask.algorithm.quality import hit_histogram
    >>> hit_histogram(np.array([0, 5, 5]), Lattice(2, 3)).tolist()
    [[1, 0, 0], [0, 0, 2]]
    """
    return np.bincount(bmu, minlength=lattice.n_nodes).reshape(lattice.shape)


def node_means(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Divide sums by numbers of samples.

    Parameters
    ----------
    total, number : arrays
        Sums and the numbers (or weights) of the samples in them, broadcast together.

    Returns
    -------
    float64 array
        ``total / number``, NaN where the number is zero.
    """
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
    r"""Compute the mean distortion of the samples, which the batch rule lowers as long as the radius is constant.

    ``E = 1/N sum_i sum_j h(|r_c(i) - r_j|, radius) |x_i - w_j|^2``, where the squared distance is over the features
    that the sample has (Lampinen and Oja, J. Math. Imaging and Vision 2, 1992; Vesanto, Sulkava and Hollmen, WSOM
    2003).

    The samples themselves are not needed, only sums over the samples of each node c about the weights of c. With
    d = x - w_c, for each feature ``sum (x - w_j)^2 = sum d^2 + 2 (w_c - w_j) sum d + n (w_c - w_j)^2``, so that H,
    which is symmetric, has to be applied only to 1, w and w^2. The mean of the codebook is subtracted from the
    weights first. The terms that cancel are then of the size of the codebook's variance, and the rounding error is
    about 1e-16 of this size.

    Parameters
    ----------
    known : (M, D) int64 or float64
        Number, or total weight, of the samples of each node that have the feature.
    sums, squares : (M, D) float64
        Sums of d and of d^2 over these samples, times their weights.
    weight : float
        N, or the total weight of all samples.
    codebook : (M, D) float64
    lattice : Lattice with M nodes
    neighborhood : Neighborhood
    radius : float
        In lattice units.

    Returns
    -------
    float
        In squared units of the codebook. NaN without samples; infinite or NaN if squares overflow.
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
