"""How good a map is, and what it looks like: errors, U-matrix, hits."""

from __future__ import annotations

import numpy as np

from som_dask.lattice import Lattice

__all__ = ["hit_histogram", "quantization_error", "topographic_error", "u_matrix"]


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
    squared = np.zeros(len(first))
    for feature in codebook.T:  # one feature at a time: no (pairs, D) array
        squared += (feature[first] - feature[second]) ** 2
    total = np.bincount(first, weights=np.sqrt(squared), minlength=lattice.n_nodes)
    number = np.bincount(first, minlength=lattice.n_nodes)
    return (total / np.maximum(number, 1)).reshape(lattice.shape)


def hit_histogram(bmu: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Count samples per node: flat indices (n,) int64 -> (rows, cols) int64."""
    return np.bincount(bmu, minlength=lattice.n_nodes).reshape(lattice.shape)
