"""The batch rule: from the sums of all samples to the next codebook."""

from __future__ import annotations

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.algorithm.smoothing import smooth_sums
from som_dask.numerics.scan import column_ranges

__all__ = ["update_codebook"]

# Below this a neighborhood-weighted count has lost digits to underflow, and a ratio of two such is noise.
LEAST_DENOMINATOR = np.finfo(np.float64).tiny / np.finfo(np.float64).eps


def update_codebook(
    numerator: np.ndarray,
    denominator: np.ndarray,
    codebook: np.ndarray,
    lattice: Lattice,
    neighborhood: Neighborhood,
    radius: float,
) -> np.ndarray:
    r"""The codebook after one batch epoch.

    ``w_i = sum_c h(|r_i - r_c|) S_c / sum_c h(|r_i - r_c|) n_c``, feature by feature where values are missing: then
    n_c is the weight of the samples of node c that know the feature. Where the denominator is zero the node keeps
    its old weights. There is no learning rate in the batch rule: it would cancel (Kohonen, *Self-Organizing
    Maps*, 3rd ed., 2001, section 3.6). Under a mexican hat the negative h count less; see
    `som_dask.algorithm.smoothing.smooth_sums`.

    Parameters
    ----------
    numerator : (M, D) float64
        S, the sum of the samples of each node.
    denominator : (M, 1) int64, or (M, 1) or (M, D) float64
        n, the number of these samples; or their weight; or, by feature, the weight of those that know it.
    codebook : (M, D) float64
        The codebook that the sums were made with.
    lattice : Lattice with M nodes
    neighborhood : Neighborhood
    radius : float
        sigma, in lattice units.

    Returns
    -------
    (M, D) float64, a new array

    Examples
    --------
    With a radius below 1 each node goes to the mean of its own samples, and else to that of its neighbors' too.

    >>> import numpy as np
    >>> from som_dask.algorithm.batch_rule import update_codebook
    >>> from som_dask.algorithm.lattice import Lattice
    >>> from som_dask.algorithm.neighborhood import Neighborhood
    >>> sums, counts = np.array([[2.0], [30.0]]), np.array([[2], [3]])
    >>> bubble = Neighborhood("bubble")
    >>> update_codebook(sums, counts, np.zeros((2, 1)), Lattice(1, 2), bubble, radius=0.5).tolist()
    [[1.0], [10.0]]
    >>> update_codebook(sums, counts, np.zeros((2, 1)), Lattice(1, 2), bubble, radius=1.0).tolist()
    [[6.4], [6.4]]
    """
    # Powers of two bring each feature's sums near 1: far from all samples h is so small that numerators of data
    # in small units would lose digits to underflow before the denominator does. Weights, too, may be of any size;
    # numbers of samples need none.
    n_features = numerator.shape[1]
    both = np.hstack([numerator, denominator])
    _, exponents = np.frexp(np.max(np.abs(column_ranges(both)), axis=0))
    if denominator.dtype.kind == "i":
        exponents[n_features:] = 0
    both = _scale_columns(both, -exponents)
    numerator, denominator = smooth_sums(both[:, :n_features], both[:, n_features:], lattice, neighborhood, radius)
    known = np.broadcast_to(denominator > LEAST_DENOMINATOR, numerator.shape)
    means = np.divide(numerator, denominator, out=numerator, where=known)
    return np.where(known, _scale_columns(means, exponents[:n_features] - exponents[n_features:]), codebook)


def _scale_columns(values: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Columns times two to the power of their exponents."""
    if np.abs(exponents).max() < 1000:
        return values * np.ldexp(1.0, exponents)  # the same numbers as below, and faster
    return np.ldexp(values, exponents)
