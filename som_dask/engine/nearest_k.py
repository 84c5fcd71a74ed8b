"""The k nearest nodes of samples, exactly, and how much each sample belongs to each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from som_dask.engine.accumulate import distances
from som_dask.engine.batch import SharedCodebook, tiles_of
from som_dask.engine.bmu import (
    LARGEST_NORM,
    LEAST_SQUARE,
    PAIRS_AT_ONCE,
    TILE_BYTES,
    UNIT_ROUNDOFF_32,
    UNIT_ROUNDOFF_64,
    PreparedCodebook,
    prepare,
)
from som_dask.errors import ParameterError

__all__ = ["FUZZIFIER", "Membership", "entropies", "memberships", "nearest_nodes"]

Membership = Literal["fuzzy", "gaussian"]
FUZZIFIER = 2.0  # m, the usual choice
LEAST_ROWS, MOST_ROWS = 16, 4096
MOST_ROUNDS = 40  # beyond, a partition is as fast


@dataclass(frozen=True)
class _Proposals:
    """What the search for k nodes makes of a codebook, once a process.

    Attributes
    ----------
    prepared : PreparedCodebook
        With the product for samples that have all features.
    masked : (2 K, M) float32
        The same for samples that lack some: the shifted, scaled codebook negated, above its squares.
    """

    prepared: PreparedCodebook
    masked: np.ndarray

    @classmethod
    def of(cls, codebook: np.ndarray) -> _Proposals:
        prepared = prepare(np.array(codebook, dtype=np.float64, order="C"))
        shifted = (prepared.codebook - prepared.center) * prepared.scale
        return cls(prepared, np.concatenate([-shifted.T, shifted.T**2]).astype(np.float32))


def nearest_nodes(block: Any, shared: SharedCodebook, k: int) -> tuple[np.ndarray, np.ndarray]:
    r"""The k nearest nodes of each sample, nearest first.

    They are those of the plain rule: ``sum_j (x_j - w_ij)^2`` in float64 over the features that the sample has,
    features added in order, the lower index first on ties. The first of them is the best matching unit of
    `som_dask.engine.batch.nearest`, to the bit with its distance.

    How they are found: scores ``s_i = |w_i|^2 / 2 - x . w_i`` of a tile by one float32 product, off by at most b
    (see `find_bmus`). k nodes have scores up to the k-th lowest, s; so the k nearest have none above
    ``s + 2 b``, and all nodes up to there are measured by the plain rule. Samples that lack features are scored over
    those they have, ``sum_j (w_ij^2 / 2 - x_j w_ij)``, by a product of 2 K terms.

    Parameters
    ----------
    block : (n, D) array of real numbers, not infinite
        In main memory. It is walked in tiles: n x M distances never exist.
    shared : SharedCodebook
    k : int
        From 1 to M.

    Returns
    -------
    nodes : (n, k) int64
        Flat indices; -1 for samples that are left out for the values that they lack.
    distances : (n, k) float64
        Euclidean, in the map's space; with the metric "cosine" 1 less the cosine. NaN for samples left out.

    Raises
    ------
    ParameterError
        If k is not between 1 and M.
    """
    n_nodes = len(shared.codebook)
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k <= n_nodes:
        raise ParameterError(f"k must be a whole number from 1 to the map's {n_nodes} nodes, got {k!r}")
    proposals = shared.once("proposals", lambda: _Proposals.of(shared.codebook))
    codebook = proposals.prepared.codebook
    nodes, found = np.full((len(block), k), -1, dtype=np.int64), np.full((len(block), k), np.nan)
    for tile in tiles_of(block):
        for part in shared.preparation.parts(tile.values):
            rows = tile.start + (np.arange(len(part.values)) if part.rows is None else part.rows)
            for some in _runs(len(part.values), n_nodes):
                values = np.ascontiguousarray(part.values[some])
                units = _nearest(values, proposals, int(k), part.whole)
                nodes[rows[some]] = units
                for place in range(k):
                    found[rows[some], place] = distances(values, np.ascontiguousarray(units[:, place]), codebook)
    return nodes, found * found / 2 if shared.preparation.metric == "cosine" else found


def _runs(n: int, n_nodes: int) -> Iterator[slice]:
    """Rows whose scores fit a core's cache."""
    rows = min(max(TILE_BYTES // (4 * n_nodes), LEAST_ROWS), MOST_ROWS)
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))


def _nearest(values: np.ndarray, proposals: _Proposals, k: int, whole: bool) -> np.ndarray:
    """k nodes of some points (n, K), NaN where a value is missing: (n, k) int64."""
    prepared = proposals.prepared
    n_nodes = len(prepared.codebook)
    scores, bounds = _scores(values, proposals, whole)
    # The k-th lowest score and twice the error above it, rounded up: a limit too high costs time only.
    last = _kth_lowest(scores, k).astype(np.float64)
    with np.errstate(over="ignore"):
        limit = np.nextafter((last + 2 * bounds).astype(np.float32), np.float32(np.inf))
    result = np.empty((len(values), k), dtype=np.int64)
    step = max(1, PAIRS_AT_ONCE // n_nodes)
    for start in range(0, len(values), step):
        some = slice(start, start + step)
        row, node = np.divmod(np.flatnonzero(~(scores[some] > limit[some, None])), n_nodes)
        result[some] = _least(values[some], prepared, row, node, k)
    return result


def _kth_lowest(scores: np.ndarray, k: int) -> np.ndarray:
    """The k-th lowest of each row: (n,) float32."""
    if k > MOST_ROUNDS:
        return np.partition(scores, k - 1, axis=1)[:, k - 1]
    rest, rows = scores.copy(), np.arange(len(scores))
    for _ in range(k - 1):  # much faster than a partition, for few
        rest[rows, rest.argmin(axis=1)] = np.inf
    return rest.min(axis=1)


def _scores(values: np.ndarray, proposals: _Proposals, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, M) float32, and what they are off by at most: infinity where float32 might overflow."""
    prepared = proposals.prepared
    # Twice the terms of the product and some: the bound is generous for gaps and none alike.
    terms = 2 * values.shape[1] + 8
    with np.errstate(over="ignore", invalid="ignore"):
        shifted = (values - prepared.center) * prepared.scale
        known = ~np.isnan(shifted)
        shifted = np.where(known, shifted, 0.0)
        norms = np.sqrt(np.sum(shifted * shifted, axis=1))
        gamma = terms * UNIT_ROUNDOFF_32 / (1 - terms * UNIT_ROUNDOFF_32)
        size = norms + prepared.radius
        bounds = gamma * prepared.radius * size + terms * UNIT_ROUNDOFF_64 * size * size
    safe = norms < LARGEST_NORM
    bounds[~safe] = np.inf
    rows = np.where(safe[:, None], shifted, 0.0).astype(np.float32)
    if whole:
        rows = np.concatenate([rows, np.ones((len(rows), 1), dtype=np.float32)], axis=1)
        return rows @ prepared.proposal, bounds
    return np.concatenate([rows, known.astype(np.float32) / 2], axis=1) @ proposals.masked, bounds


def _least(values: np.ndarray, prepared: PreparedCodebook, row: np.ndarray, node: np.ndarray, k: int) -> np.ndarray:
    """The k least of pairs of points and nodes (sorted, k of each row at least), by the plain rule."""
    n = len(values)
    starts = np.searchsorted(row, np.arange(n))
    squared = _squares(values, prepared.codebook, row, node, 1.0)
    order = np.lexsort((squared, row))  # stable: the lower index first on ties
    first = order[starts[:, None] + np.arange(k)]
    # Rows where squares vanish or overflow: once more, scaled; as `som_dask.engine.bmu` does.
    ends = np.append(starts[1:], len(row))
    second = squared[order[np.minimum(starts + 1, ends - 1)]]
    sound = (second > LEAST_SQUARE) & (np.maximum(second, squared[first[:, -1]]) < np.inf)
    if not sound.all():
        scaled = _squares(values, prepared.codebook, row, node, prepared.scale)
        order = np.lexsort((scaled, row))
        first = np.where(sound[:, None], first, order[starts[:, None] + np.arange(k)])
    return node[first]


def _squares(values: np.ndarray, codebook: np.ndarray, row: np.ndarray, node: np.ndarray, scale: float) -> np.ndarray:
    """Squared distances of pairs over the features known, one feature added after the other."""
    total = np.zeros(len(row))
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(values.shape[1]):
            difference = (values[row, j] - codebook[node, j]) * scale
            difference = np.where(np.isnan(difference), 0.0, difference)
            total += difference * difference
    return total


def memberships(
    distance: np.ndarray, kind: Membership = "fuzzy", *, fuzzifier: float = FUZZIFIER, bandwidth: float | None = None
) -> np.ndarray:
    r"""How much each sample belongs to each of its k nearest nodes.

    "fuzzy": those of fuzzy c-means (Bezdek, *Pattern Recognition with Fuzzy Objective Function Algorithms*, 1981),
    ``u_i = 1 / sum_j (d_i / d_j)^(2 / (m - 1))`` with the fuzzifier m. They need no scale. A sample that lies on a
    node belongs to it alone; on several, to these alike.

    "gaussian": ``u_i = exp(-d_i^2 / 2 s^2) / sum_j exp(-d_j^2 / 2 s^2)``, what each node is responsible for in a
    mixture of equal Gaussians of standard deviation s around the nodes (Heskes, *Self-organizing maps, vector
    quantization, and mixture modeling*, IEEE Transactions on Neural Networks 12, 2001). With s = 0 a sample belongs
    to the nearest alone.

    In both, sums run over the k nodes given.

    Parameters
    ----------
    distance : (n, k) float64
        d, Euclidean, nearest first; rows of NaN stay NaN.
    kind : {"fuzzy", "gaussian"}
    fuzzifier : float
        m > 1, of "fuzzy": near 1 all goes to the nearest, large all nodes are alike.
    bandwidth : float
        s >= 0, of "gaussian", in the units of `distance`.

    Returns
    -------
    (n, k) float64
        Each row sums to 1 and does not increase.

    Raises
    ------
    ParameterError
        For an unknown kind, or a fuzzifier or bandwidth out of range.
    """
    if kind not in get_args(Membership):
        raise ParameterError(f"the membership must be one of {get_args(Membership)}, got {kind!r}")
    distance = np.asarray(distance, dtype=np.float64)
    nearest, nothing = distance[:, :1], np.where(np.isnan(distance), np.nan, 0.0)
    if kind == "fuzzy":
        if not 1 < fuzzifier < np.inf:
            raise ParameterError(f"the fuzzifier must be above 1, got {fuzzifier!r}")
        ratio = np.divide(nearest, distance, out=nothing, where=distance > 0)
        ratio[distance == 0] = 1.0
        with np.errstate(under="ignore"):
            weight = ratio ** (2 / (fuzzifier - 1))
    else:
        if bandwidth is None or not 0 <= bandwidth < np.inf:
            raise ParameterError(f"a gaussian membership needs a bandwidth of at least 0, got {bandwidth!r}")
        if bandwidth > 0:
            # (d - d_1)(d + d_1) is the difference of squares without cancellation.
            with np.errstate(under="ignore", over="ignore", invalid="ignore"):
                weight = np.exp(-((distance - nearest) / bandwidth) * ((distance + nearest) / bandwidth) / 2)
            weight[distance == nearest] = 1.0  # where a tiny bandwidth makes it 0 times infinity
        else:
            weight = np.where(distance == nearest, 1.0, nothing)
    return weight / weight.sum(axis=1, keepdims=True)


def entropies(membership: np.ndarray) -> np.ndarray:
    """Shannon entropy of rows of memberships (n, k) over log k: (n,) from 0, one node alone, to 1, all alike."""
    k = membership.shape[1]
    logarithms = np.log(membership, out=np.zeros_like(membership), where=membership > 0)
    total = -(membership * logarithms).sum(axis=1)
    return np.clip(total / np.log(k), 0.0, 1.0) if k > 1 else np.where(np.isnan(total), np.nan, 0.0)
