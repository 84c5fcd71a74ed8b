"""Measures of how well a map keeps the order of the data's space.

These are the topographic product, the trustworthiness and the neighborhood preservation. They compare ranks or ratios
of distances within each space, so multiplying all distances in one space by a factor changes nothing.
"""

from __future__ import annotations

import numpy as np

from som_dask.algorithm.lattice import Lattice

__all__ = ["neighborhood_preservation", "preservation_of", "topographic_product", "trustworthiness"]

BLOCK_VALUES = 2**18  # distances computed at once, 2 MiB for each temporary array


def topographic_product(codebook: np.ndarray, lattice: Lattice) -> float:
    r"""Compute the topographic product (Bauer and Pawelzik, IEEE Trans. Neural Networks 3, 1992).

    ``P = 1 / (M (M - 1)) sum_j sum_{k=1}^{M-1} 1/(2k) sum_{l=1}^{k} log(Q1(j, l) Q2(j, l))`` with

    * ``Q1(j, l) = |w_j - w_a(j,l)| / |w_j - w_v(j,l)|``
    * ``Q2(j, l) = |r_j - r_a(j,l)| / |r_j - r_v(j,l)|``

    where a(j, l) is the l-th nearest node to j on the lattice and v(j, l) the l-th nearest in the data's space. A
    value near 0 means that the dimension of the lattice fits the data; below 0 it is too low (the map folds), above 0
    it is too high. Terms of both signs cancel, so nodes in random order also give about 0. Read the value together
    with `trustworthiness`.

    Of nodes at equal distance, the one with the lower index comes first. Squared distances on the lattice are rounded
    to whole numbers, so that equal ones compare equal. If two nodes have the same weights, their distance is zero; a
    Q1 that contains such a distance is taken as 1.

    The cost is M^2 (D + log M) operations, about half a minute for 10,000 nodes with 10 features. Rows of M distances
    are computed in blocks, so the memory does not grow as M^2.

    Parameters
    ----------
    codebook : (M, D) float64
    lattice : Lattice with M nodes

    Returns
    -------
    float
        NaN for a map of one node.
    """
    n_nodes = len(codebook)
    if n_nodes < 2:
        return float("nan")
    weights, halves, total = _scale(codebook), 0.5 / np.arange(1, n_nodes), 0.0
    for rows in _blocks(n_nodes, n_nodes):
        inner, outer = _squared_distances(weights, rows), _grid_squares(lattice, rows, np.arange(n_nodes))
        nearest = [_nearest_first(distances, rows) for distances in (outer, inner)]
        (inner_a, inner_v), (outer_a, outer_v) = (
            [np.take_along_axis(distances, order, axis=1) for order in nearest] for distances in (inner, outer)
        )
        defined = (inner_a > 0) & (inner_v > 0)
        # Logarithms of squares are twice those of the distances.
        logarithms = np.log(np.where(defined, inner_a, 1.0)) - np.log(np.where(defined, inner_v, 1.0))
        logarithms += np.log(outer_a) - np.log(outer_v)
        total += float(np.sum(np.cumsum(logarithms, axis=1) * halves)) / 2
    return total / (n_nodes * (n_nodes - 1))


def trustworthiness(points: np.ndarray, bmu: np.ndarray, lattice: Lattice, neighbors: int) -> float:
    r"""Measure whether samples that are near on the map are near in the data's space (Venna and Kaski, ICANN 2001).

    ``T(k) = 1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in U_k(i)} (r(i, j) - k)``, where r(i, j) is the rank of
    sample j by its distance to i in the data's space (1 for the nearest), and U_k(i) is the set of samples that are
    among the k nearest to i on the map but not in the data's space. 1 is best; a random map gives about 0.5.

    On the map, a sample lies at its best matching unit, so most distances are tied. The result is the mean over all
    orders of tied samples. It therefore does not depend on the order of the samples, and a map of few nodes cannot
    reach 1. `sklearn.manifold.trustworthiness` breaks ties by the order of the rows, and gives the same number if
    there are no ties.

    The cost is n^2 (D + log n) operations.

    Parameters
    ----------
    points : (n, D) float64
        Samples in the space in which distances are measured.
    bmu : (n,) int64
        Flat indices of their best matching units.
    lattice : Lattice
    neighbors : int
        k, at least 1 and below n / 2.

    Returns
    -------
    float in [0, 1]
        NaN if k is not below n / 2, where the measure has no meaning.

    Examples
    --------
    >>> import numpy as np
    >>> from som_dask.algorithm.lattice import Lattice
    >>> from som_dask.algorithm.rank_measures import trustworthiness
    >>> points = np.arange(20.0)[:, None]
    >>> trustworthiness(points, np.arange(20), Lattice(1, 20), neighbors=2)
    1.0
    """
    return preservation_of(points, bmu, lattice, neighbors)[0]


def neighborhood_preservation(points: np.ndarray, bmu: np.ndarray, lattice: Lattice, neighbors: int) -> float:
    """Measure whether samples that are near in the data's space are near on the map (Venna and Kaski, ICANN 2001).

    This is `trustworthiness` with the two spaces exchanged, also called continuity. Parameters, result, treatment of
    ties and cost are the same.

    Examples
    --------
    >>> import numpy as np
    >>> from som_dask.algorithm.lattice import Lattice
    >>> from som_dask.algorithm.rank_measures import neighborhood_preservation
    >>> points = np.arange(20.0)[:, None]
    >>> neighborhood_preservation(points, np.arange(20), Lattice(1, 20), neighbors=2)
    1.0
    """
    return preservation_of(points, bmu, lattice, neighbors)[1]


def preservation_of(points: np.ndarray, bmu: np.ndarray, lattice: Lattice, neighbors: int) -> tuple[float, float]:
    """Return `trustworthiness` and `neighborhood_preservation` of the same samples, at the cost of one of them."""
    n = len(points)
    if not 1 <= neighbors < n / 2:
        return float("nan"), float("nan")
    scaled, intruding, missing = _scale(points), 0.0, 0.0
    for rows in _blocks(n, n):
        inner, outer = _squared_distances(scaled, rows), _grid_squares(lattice, bmu[rows], bmu)
        for i, row in enumerate(rows):
            near_inside, beyond_inside = _near_and_beyond(np.delete(inner[i], row), neighbors)
            near_outside, beyond_outside = _near_and_beyond(np.delete(outer[i], row), neighbors)
            intruding += float(np.sum(near_outside * beyond_inside))
            missing += float(np.sum(near_inside * beyond_outside))
    worst = n * neighbors * (2 * n - 3 * neighbors - 1) / 2
    return 1 - intruding / worst, 1 - missing / worst


def _near_and_beyond(distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rank distances, and compare the ranks with k.

    All orders of equal distances are equally likely.

    Parameters
    ----------
    distances : (m,) float64
    k : int

    Returns
    -------
    near : (m,) float64
        Probability that the distance is among the k least.
    beyond : (m,) float64
        Mean of ``max(rank - k, 0)``.
    """
    ordered = np.sort(distances)
    nearer = np.searchsorted(ordered, distances, side="left")
    no_farther = np.searchsorted(ordered, distances, side="right")
    tied = no_farther - nearer  # their ranks are nearer + 1 ... no_farther
    likely = np.clip((k - nearer) / tied, 0.0, 1.0)
    last, first = np.maximum(no_farther - k, 0), np.maximum(nearer - k, 0)
    return likely, (last * (last + 1) - first * (first + 1)) / 2 / tied


def _blocks(n: int, width: int) -> list[np.ndarray]:
    """Cut row numbers 0 .. n - 1 into blocks, for tables of `width` columns."""
    step = max(1, BLOCK_VALUES // width)
    return [np.arange(start, min(start + step, n)) for start in range(0, n, step)]


def _scale(points: np.ndarray) -> np.ndarray:
    """Multiply points by a power of two so that squares do not overflow or vanish; ratios stay the same."""
    _, exponent = np.frexp(np.max(np.abs(points), initial=0.0))
    return np.ldexp(points, -exponent)


def _squared_distances(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Compute squared distances from some of the points to all of them, by direct differences: (k, n) float64."""
    total = np.zeros((len(rows), len(points)))
    for values in points.T:  # one feature at a time: no (k, n, D) array
        difference = values[rows, None] - values
        total += difference * difference
    return total


def _grid_squares(lattice: Lattice, from_nodes: np.ndarray, to_nodes: np.ndarray) -> np.ndarray:
    """Compute squared distances on the lattice, which are whole numbers on both topologies: (k, n) float64."""
    return np.rint(lattice.squared_distances(from_nodes[:, None], to_nodes[None, :]))


def _nearest_first(distances: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Order nodes by their distance to the node of each row, which is itself left out: (k, M - 1) int64."""
    own = distances.copy()
    own[np.arange(len(rows)), rows] = -1.0
    return np.argsort(own, axis=1, kind="stable")[:, 1:]
