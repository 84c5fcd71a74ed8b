"""The k nearest nodes of samples, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.engine.block import Block, Tile, add_up_tiles
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.error_bound import LARGEST_NORM, LEAST_SQUARE, gamma_of, score_error
from som_dask.engine.shifted import ShiftedCodebook, shift_codebook
from som_dask.errors import ParameterError

__all__ = ["check_k", "check_metric", "nearest_nodes"]

SCORES_BYTES = 4 * 2**20  # of the samples scored at once: small enough for a core's cache
LEAST_ROWS, MOST_ROWS = 16, 4096
PAIRS_AT_ONCE = 2**20  # so that samples full of ties need little more memory than any others
MOST_ROUNDS = 40  # beyond, a partition is as fast


class _Proposals(NamedTuple):
    """What the search for k nodes makes of a codebook, once a process.

    Attributes
    ----------
    shifted : ShiftedCodebook
    complete : (K + 1, M) float32
        The shifted codebook w negated and transposed, above a row of ``|w|^2 / 2``: a complete sample with a 1
        appended, times this, is its scores.
    gaps : (2 K, M) float32
        For samples that lack features: the codebook negated, above its squares.
    """

    shifted: ShiftedCodebook
    complete: np.ndarray
    gaps: np.ndarray

    @classmethod
    def of(cls, codebook: np.ndarray) -> _Proposals:
        """Make a codebook ready for the search."""
        shifted = shift_codebook(codebook)
        w = shifted.shifted
        return cls(
            shifted,
            np.concatenate([-w.T, shifted.half_norms[None, :]]).astype(np.float32),
            np.concatenate([-w.T, w.T**2]).astype(np.float32),
        )


def check_k(k: object, n_nodes: int) -> int:
    """See that k is a number of nodes.

    Raises
    ------
    ParameterError
        If k is not a whole number from 1 to M.
    """
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k <= n_nodes:
        raise ParameterError(f"k must be a whole number from 1 to the map's {n_nodes} nodes, got {k!r}")
    return int(k)


def check_metric(space: FeatureSpace) -> None:
    """See that the nearest nodes can be found by the metric of a space.

    Raises
    ------
    ParameterError
        If the metric does not compare squares.
    """
    if space.rule.compares != "squares":
        raise ParameterError(f"several nearest nodes are not found by the metric {space.metric!r} yet; ask for one")


def nearest_nodes(block: Block, shared: SharedCodebook, k: int) -> tuple[np.ndarray, np.ndarray]:
    r"""The k nearest nodes of each sample, nearest first.

    They are those of the plain rule: ``sum_j (x_j - w_ij)^2`` in float64 over the features that the sample knows,
    features added in order, the lower index first on ties. The first of them is the best matching unit that
    `SharedCodebook.find` gives, to the bit with its distance.

    How they are found: scores of many samples by one float32 product, off by at most b (see
    `som_dask.engine.error_bound`). k nodes have scores up to the k-th lowest, s; so the k nearest have none above
    ``s + 2 b``, and all nodes up to there are measured by the plain rule.

    Parameters
    ----------
    block : Block of n samples, in main memory
        It is walked in tiles: n x M distances never exist.
    shared : SharedCodebook
    k : int
        From 1 to M.

    Returns
    -------
    nodes : (n, k) int64
        Flat indices; -1 for samples that are left out for the values that they lack.
    distances : (n, k) float64
        By the metric of the map's space; NaN for samples left out.

    Raises
    ------
    ParameterError
        If k is not between 1 and M, or the metric does not compare squares.
    """
    k = check_k(k, len(shared.codebook))
    check_metric(shared.space)
    return add_up_tiles(block, _NearestNodes(shared, len(block), k))


class _NearestNodes:
    """The k nearest nodes of all samples of a block."""

    def __init__(self, shared: SharedCodebook, n: int, k: int) -> None:
        self.shared, self.k = shared, k
        self.proposals: _Proposals = shared.once("proposals", lambda: _Proposals.of(shared.codebook))
        self.nodes, self.distances = np.full((n, k), -1, dtype=np.int64), np.full((n, k), np.nan)

    def add(self, tile: Tile) -> None:
        """Find those of a tile's samples."""
        space, codebook = self.shared.space, self.proposals.shifted.codebook
        for part in space.parts(tile.values):
            rows = tile.start + (np.arange(len(part.values)) if part.rows is None else part.rows)
            for some in _runs(len(part.values), len(codebook)):
                values = np.ascontiguousarray(part.values[some])
                nodes = _nearest(values, self.proposals, self.k, part.complete)
                self.nodes[rows[some]] = nodes
                for place in range(self.k):
                    found = space.rule.distances(values, np.ascontiguousarray(nodes[:, place]), codebook)
                    self.distances[rows[some], place] = found

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Of all tiles."""
        return self.nodes, self.distances


def _runs(n: int, n_nodes: int) -> Iterator[slice]:
    """Yield runs of rows whose scores fit into a core's cache."""
    rows = min(max(SCORES_BYTES // (4 * n_nodes), LEAST_ROWS), MOST_ROWS)
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))


def _nearest(values: np.ndarray, proposals: _Proposals, k: int, complete: bool) -> np.ndarray:
    """Find the k nearest nodes of some points (n, K), NaN where a value is missing: (n, k) int64."""
    n_nodes = len(proposals.shifted.codebook)
    scores, errors = _scores(values, proposals, complete)
    # The k-th lowest score and twice the error above it, rounded up: a limit too high costs time only.
    last = _kth_lowest(scores, k).astype(np.float64)
    with np.errstate(over="ignore"):
        limit = np.nextafter((last + 2 * errors).astype(np.float32), np.float32(np.inf))
    result = np.empty((len(values), k), dtype=np.int64)
    step = max(1, PAIRS_AT_ONCE // n_nodes)
    for start in range(0, len(values), step):
        some = slice(start, start + step)
        row, node = np.divmod(np.flatnonzero(~(scores[some] > limit[some, None])), n_nodes)
        result[some] = _least(values[some], proposals.shifted, row, node, k)
    return result


def _kth_lowest(scores: np.ndarray, k: int) -> np.ndarray:
    """Find the k-th lowest score of each row: (n,) float32."""
    if k > MOST_ROUNDS:
        return np.partition(scores, k - 1, axis=1)[:, k - 1]
    rest, rows = scores.copy(), np.arange(len(scores))
    for _ in range(k - 1):  # much faster than a partition, for few
        rest[rows, rest.argmin(axis=1)] = np.inf
    return rest.min(axis=1)


def _scores(values: np.ndarray, proposals: _Proposals, complete: bool) -> tuple[np.ndarray, np.ndarray]:
    """Compute scores (n, M) float32, and what they are off by at most: infinity where float32 might overflow."""
    shifted, n_features = proposals.shifted, values.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        points = (values - shifted.center) * shifted.scale
        known = ~np.isnan(points)
        points = np.where(known, points, 0.0)
        norms = np.sqrt(np.sum(points * points, axis=1))
        # Of the two products the longer one: the bound is generous for complete samples.
        errors = score_error.py_func(norms, shifted.radius, gamma_of(2 * n_features), n_features)
    safe = norms < LARGEST_NORM
    errors[~safe] = np.inf
    rows = np.where(safe[:, None], points, 0.0).astype(np.float32)
    if complete:
        rows = np.concatenate([rows, np.ones((len(rows), 1), dtype=np.float32)], axis=1)
        return rows @ proposals.complete, errors
    return np.concatenate([rows, known.astype(np.float32) / 2], axis=1) @ proposals.gaps, errors


def _least(values: np.ndarray, shifted: ShiftedCodebook, row: np.ndarray, node: np.ndarray, k: int) -> np.ndarray:
    """Choose the k nearest by the plain rule, of pairs of points and nodes: sorted, at least k for each point."""
    n = len(values)
    starts = np.searchsorted(row, np.arange(n))
    squared = _squares(values, shifted.codebook, row, node, 1.0)
    order = np.lexsort((squared, row))  # stable: the lower index first on ties
    first = order[starts[:, None] + np.arange(k)]
    # Rows where squares vanish or overflow: once more, scaled; as the search by patches does.
    ends = np.append(starts[1:], len(row))
    second = squared[order[np.minimum(starts + 1, ends - 1)]]
    sound = (second > LEAST_SQUARE) & (np.maximum(second, squared[first[:, -1]]) < np.inf)
    if not sound.all():
        scaled = _squares(values, shifted.codebook, row, node, shifted.scale)
        order = np.lexsort((scaled, row))
        first = np.where(sound[:, None], first, order[starts[:, None] + np.arange(k)])
    return node[first]


def _squares(values: np.ndarray, codebook: np.ndarray, row: np.ndarray, node: np.ndarray, scale: float) -> np.ndarray:
    """Compute squared distances of pairs over the features known, one feature added after the other."""
    total = np.zeros(len(row))
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(values.shape[1]):
            difference = (values[row, j] - codebook[node, j]) * scale
            difference = np.where(np.isnan(difference), 0.0, difference)
            total += difference * difference
    return total
