"""Initial codebooks: at random, from samples, or on the plane of the principal components."""

from __future__ import annotations

from typing import Literal

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.numerics.eigen import principal_components

__all__ = ["Initialization", "check_codebook", "draw_rows", "plane_codebook", "random_codebook", "spread_over_plane"]

Initialization = Literal["pca", "random", "sample"]


def random_codebook(lattice: Lattice, minimum: np.ndarray, maximum: np.ndarray, seed: int) -> np.ndarray:
    """Draw weights uniformly from the range of each feature.

    Parameters
    ----------
    lattice : Lattice with M nodes
    minimum, maximum : (D,) float64
        Range of each feature.
    seed : int

    Returns
    -------
    (M, D) float64
    """
    fraction = np.random.default_rng(seed).random((lattice.n_nodes, len(minimum)))
    return minimum * (1 - fraction) + maximum * fraction


def draw_rows(n_samples: int, number: int, seed: int) -> np.ndarray:
    """Draw the row numbers of the samples that become initial weights.

    Parameters
    ----------
    n_samples : int
        Number of samples to draw from.
    number : int
        How many to draw.
    seed : int

    Returns
    -------
    (number,) int64
        Row numbers, all different if there are enough samples.
    """
    rng = np.random.default_rng(seed)
    return rng.choice(n_samples, size=number, replace=n_samples < number)


def plane_codebook(lattice: Lattice, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    r"""Place the weights on the plane of the two largest principal components.

    The lattice reaches one standard deviation to either side of the mean, with its longer side along the first
    component and its shorter side along the second (Kohonen, *Self-Organizing Maps*, 3rd ed., 2001, section 3.7). The
    largest coefficient of each component is positive, so that the map is not mirrored by chance.

    Parameters
    ----------
    lattice : Lattice with M nodes
    mean : (D,) float64
    covariance : (D, D) float64, finite

    Returns
    -------
    (M, D) float64
    """
    return spread_over_plane(lattice, mean, *principal_components(covariance))


def spread_over_plane(
    lattice: Lattice, mean: np.ndarray, deviations: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """Place the weights on a plane, as `plane_codebook` does, whose two components are known.

    Parameters
    ----------
    lattice : Lattice with M nodes
    mean : (D,) float64
    deviations : (k,) float64
        Standard deviations along the components, largest first. k is 2, or 1 if D = 1.
    directions : (k, D) float64
        Unit vectors.

    Returns
    -------
    (M, D) float64
    """
    place = lattice.positions()
    low, high = place.min(axis=0), place.max(axis=0)
    side = high - low
    place = np.where(side > 0, 2 * (place - low) / np.where(side > 0, side, 1) - 1, 0.0)
    codebook = np.broadcast_to(mean, (lattice.n_nodes, len(mean))).copy()
    for rank, axis in enumerate(np.argsort(-side, kind="stable")):
        if rank < len(mean):
            # Not np.outer or a product through BLAS, whose result could depend on the machine.
            codebook += place[:, axis, None] * (deviations[rank] * directions[rank])
    return codebook


def check_codebook(codebook: np.ndarray, lattice: Lattice, n_features: int) -> np.ndarray:
    """Check a codebook that the caller has given.

    Parameters
    ----------
    codebook : (M, D) or (rows, cols, D) array, real and finite
    lattice : Lattice with M nodes
    n_features : int
        D.

    Returns
    -------
    (M, D) float64, a copy

    Raises
    ------
    ParameterError
        If the codebook has another shape, is not made of real numbers, or holds NaN, masked values or infinity.
    """
    try:
        array = np.asarray(codebook)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"dtype {array.dtype}")
        array = np.array(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"the initial codebook must be an array of real numbers: {error}") from error
    if array.shape not in {(lattice.n_nodes, n_features), (*lattice.shape, n_features)}:
        raise ParameterError(
            f"the initial codebook must have shape {(*lattice.shape, n_features)}, got {array.shape}"
        )
    if not np.isfinite(array).all() or np.ma.is_masked(codebook):
        raise ParameterError("the initial codebook holds NaN or infinite values, or masked ones")
    return array.reshape(lattice.n_nodes, n_features)
