"""How well a map keeps the order of the data's space: topographic product, trustworthiness, and its counterpart.

All three compare ranks of distances, so a common factor in either space changes nothing.
"""

from __future__ import annotations

import numpy as np

from som_dask.algorithm.lattice import Lattice

__all__ = ["neighborhood_preservation", "preservation_of", "topographic_product", "trustworthiness"]

BLOCK_VALUES = 2**18  # distances at once: some 2 MiB for each temporary


def topographic_product(codebook: np.ndarray, lattice: Lattice) -> float:
    r"""Topographic product of a codebook on its lattice (Bauer and Pawelzik, IEEE Trans. Neural Networks 3, 1992).

    ``P = 1 / (M (M - 1)) sum_j sum_{k=1}^{M-1} 1/(2k) sum_{l=1}^{k} log(Q1(j, l) Q2(j, l))`` with

    * ``Q1(j, l) = |w_j - w_a(j,l)| / |w_j - w_v(j,l)|``
    * ``Q2(j, l) = |r_j - r_a(j,l)| / |r_j - r_v(j,l)|``

    where a(j, l) is the l-th nearest node to j on the lattice and v(j, l) the l-th nearest in the data's space. Near
    0 the dimension of the lattice fits the data; below, it is too low (the map folds); above, too high. Terms of both
    signs cancel, so nodes in random order give about 0 too: read it beside trustworthiness.

    Of nodes equally far the lower index comes first. Distances on the lattice are compared as whole numbers, so ties
    are ties. Where two nodes have the same weights the distance is zero: a Q1 that has such a distance is taken as 1.

    It takes M^2 (D + log M) operations, a block of rows at a time: half a minute or so for 10,000 nodes of 10
    features, and memory for some rows of M distances.

    Parameters
    ----------
    codebook : (M, D) float64
    lattice : Lattice with M nodes

    Returns
    -------
    float
        nan for a map of one node.
    """
    n_nodes = len(codebook)
    if n_nodes < 2:
        return float("nan")
    weights, halves, total = _scaled(codebook), 0.5 / np.arange(1, n_nodes), 0.0
    for rows in _blocks(n_nodes, n_nodes):
        inner, outer = _squared(weights, rows), _grid_squares(lattice, rows, np.arange(n_nodes))
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
    r"""Whether samples that are near on the map are near in the data's space (Venna and Kaski, ICANN 2001).

    ``T(k) = 1 - 2 / (n k (2n - 3k - 1)) sum_i sum_{j in U_k(i)} (r(i, j) - k)``, where r(i, j) is the rank of
    sample j by its distance to i in the data's space (1 for the nearest), and U_k(i) are those of the k nearest on
    the map that are not of the k nearest in the data's space. 1 is best; a random map gives about one half.

    On the map a sample lies where its best matching unit does, so most distances are tied. All orders of tied samples
    are taken as equally likely, and the mean of the measure over them is given: the order of the samples does not
    matter, and a map of few nodes falls short of 1 for its ties alone. `sklearn.manifold.trustworthiness` lets the
    order of the rows decide, and gives the same number where nothing is tied.

    It takes n^2 (D + log n) operations.

    Parameters
    ----------
    points : (n, D) float64
        Samples in the space that distances are taken in.
    bmu : (n,) int64
        Their best matching units, flat indices.
    lattice : Lattice
    neighbors : int
        k, at least 1 and below n / 2.

    Returns
    -------
    float in [0, 1]
        nan where k is not below n / 2: then the measure has no meaning.
    """
    return preservation_of(points, bmu, lattice, neighbors)[0]


def neighborhood_preservation(points: np.ndarray, bmu: np.ndarray, lattice: Lattice, neighbors: int) -> float:
    """Whether samples that are near in the data's space are near on the map (Venna and Kaski, ICANN 2001).

    It is `trustworthiness` with the two spaces exchanged; parameters, ties and cost are the same. Also called
    continuity.
    """
    return preservation_of(points, bmu, lattice, neighbors)[1]


def preservation_of(points: np.ndarray, bmu: np.ndarray, lattice: Lattice, neighbors: int) -> tuple[float, float]:
    """`trustworthiness` and `neighborhood_preservation` of the same samples, at the cost of one."""
    n = len(points)
    if not 1 <= neighbors < n / 2:
        return float("nan"), float("nan")
    scaled, intruding, missing = _scaled(points), 0.0, 0.0
    for rows in _blocks(n, n):
        inner, outer = _squared(scaled, rows), _grid_squares(lattice, bmu[rows], bmu)
        for i, row in enumerate(rows):
            near_inside, beyond_inside = _near_and_beyond(np.delete(inner[i], row), neighbors)
            near_outside, beyond_outside = _near_and_beyond(np.delete(outer[i], row), neighbors)
            intruding += float(np.sum(near_outside * beyond_inside))
            missing += float(np.sum(near_inside * beyond_outside))
    worst = n * neighbors * (2 * n - 3 * neighbors - 1) / 2
    return 1 - intruding / worst, 1 - missing / worst


def _near_and_beyond(distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of some distances: how likely it is one of the k least, and by how much its rank exceeds k on average.

    All orders of equal distances count alike: (m,) float64 -> two (m,) float64.
    """
    ordered = np.sort(distances)
    nearer = np.searchsorted(ordered, distances, side="left")
    no_farther = np.searchsorted(ordered, distances, side="right")
    tied = no_farther - nearer  # their ranks are nearer + 1 ... no_farther
    likely = np.clip((k - nearer) / tied, 0.0, 1.0)
    last, first = np.maximum(no_farther - k, 0), np.maximum(nearer - k, 0)
    return likely, (last * (last + 1) - first * (first + 1)) / 2 / tied


def _blocks(n: int, width: int) -> list[np.ndarray]:
    step = max(1, BLOCK_VALUES // width)
    return [np.arange(start, min(start + step, n)) for start in range(0, n, step)]


def _scaled(points: np.ndarray) -> np.ndarray:
    """Points times a power of two, which makes no square overflow or vanish and changes no ratio."""
    _, exponent = np.frexp(np.max(np.abs(points), initial=0.0))
    return np.ldexp(points, -exponent)


def _squared(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Squared distances from some of the points to all, by direct differences: (k, n)."""
    total = np.zeros((len(rows), len(points)))
    for values in points.T:  # one feature at a time: no (k, n, D) array
        difference = values[rows, None] - values
        total += difference * difference
    return total


def _grid_squares(lattice: Lattice, from_nodes: np.ndarray, to_nodes: np.ndarray) -> np.ndarray:
    """Squared distances on the lattice, which are whole numbers on both topologies: (k, n) float64."""
    return np.rint(lattice.squared_distances(from_nodes[:, None], to_nodes[None, :]))


def _nearest_first(distances: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Nodes by their distance to those of the rows, which are left out themselves: (k, M - 1)."""
    own = distances.copy()
    own[np.arange(len(rows)), rows] = -1.0
    return np.argsort(own, axis=1, kind="stable")[:, 1:]
