"""Smoothing over the lattice with a neighborhood function, without an M x M matrix."""

from __future__ import annotations

import functools
from itertools import pairwise

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import RIM, Neighborhood
from som_dask.numerics.matmul import WORTH_A_THREAD, product
from som_dask.numerics.threads import core_count, run_in_threads

__all__ = ["INHIBITION", "smooth", "smooth_sums"]

INHIBITION = 1 / 20  # the inhibition of a node is at most this share of its excitation


def smooth(values: np.ndarray, lattice: Lattice, neighborhood: Neighborhood, radius: float) -> np.ndarray:
    r"""Apply the neighborhood to values on the nodes: ``H @ values`` with ``H_ij = h(|r_i - r_j|, radius)``.

    A gaussian separates into a factor for the rows and one for the columns, so the cost is M (rows + cols) K
    operations. A mexican hat is the sum of two such products and costs twice as much. Other kernels are applied row
    by row, at a cost of at most M^2 K operations, and less if their reach is short. The matrix H is never formed.
    Sums are added in a fixed order, so the result is the same bits on every machine.

    Parameters
    ----------
    values : (M, K) float64
    lattice : Lattice with M nodes
    neighborhood : Neighborhood
    radius : float
        sigma, positive, in lattice units.

    Returns
    -------
    (M, K) float64
    """
    by_parts = _smooth_separable if neighborhood.separable else _smooth_rowwise
    # On a hexagonal lattice even and odd rows are shifted against each other, so they are kept apart. With the
    # columns as the last axis, many rows can be multiplied at once in either direction.
    step = _parities(lattice)
    grid = values.reshape(lattice.rows, lattice.cols, -1).transpose(0, 2, 1)
    smoothed = by_parts([np.ascontiguousarray(grid[p::step]) for p in range(step)], lattice, neighborhood, radius)
    result = np.empty((lattice.rows, lattice.cols, grid.shape[1]))
    for p in range(step):
        result[p::step] = smoothed[p].transpose(0, 2, 1)
    return result.reshape(values.shape)


def smooth_sums(
    sums: np.ndarray, weights: np.ndarray, lattice: Lattice, neighborhood: Neighborhood, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Smooth the sums of the batch rule: ``H @ sums`` and ``H @ weights``, with limited inhibition.

    Where ``h >= 0`` the results are exactly these products. The rest of this text is about the mexican hat.

    A batch epoch places w_i where ``sum_c h_ic sum_(x in c) |x - w_i|^2`` is least (Y. Cheng, *Convergence and
    ordering of Kohonen's batch map*, Neural Computation 9, 1997). Under a mexican hat the denominator
    ``sum_c h_ic n_c`` is negative for most nodes of a map whose nodes have similar numbers of samples. The sum then
    has a maximum instead of a minimum, and where the denominator is nearly zero the quotient lies far from all data.
    Therefore the inhibition of a node is limited to a share ``theta = INHIBITION`` of its excitation. With
    ``E = max(0, H) @ weights`` and ``I = max(0, -H) @ weights``, for each node

    ``kappa = min(1, theta E / I)``, ``denominator = E - kappa I``, with the same kappa in the numerator.

    The quotient is the mean of the samples that excite the node, moved away from the mean of those that inhibit it by
    ``kappa I / (E - kappa I) <= theta / (1 - theta)`` of the distance between the two means. So it never lies farther
    outside the range of the data than 1/19 of that range, in any epoch and for any radius. Where inhibition is small,
    it is the quotient ``H S / H n`` itself, and the transition is continuous. A node that no sample excites has the
    denominator zero and keeps its weights.

    Parameters
    ----------
    sums : (M, D) float64
        Sum of the samples of each node.
    weights : (M, 1) or (M, D) float64
        Their number or total weight, not negative; (M, D) if it differs between features.
    lattice : Lattice with M nodes
    neighborhood : Neighborhood
    radius : float
        sigma, in lattice units.

    Returns
    -------
    numerators : (M, D) float64
    denominators : (M, 1) or (M, D) float64
        Not negative, except for rounding.
    """
    n_features = sums.shape[1]
    both = np.hstack([sums, weights])
    smoothed = smooth(both, lattice, neighborhood, radius)
    if neighborhood.inhibits:
        excited = smooth(both, lattice, neighborhood.excitation, radius)
        excitation, inhibition = excited[:, n_features:], excited[:, n_features:] - smoothed[:, n_features:]
        limit = INHIBITION * excitation
        limited = np.broadcast_to(inhibition > limit, (len(sums), weights.shape[1]))
        kappa = np.divide(limit, inhibition, out=np.ones_like(limit), where=limited)
        kappa = np.hstack([np.broadcast_to(kappa, sums.shape), kappa])
        smoothed = np.where(kappa < 1, excited - kappa * (excited - smoothed), smoothed)
        smoothed[:, n_features:] *= excitation > 0  # where nothing excites a node, what is left is rounding error
    return smoothed[:, :n_features], smoothed[:, n_features:]


def _parities(lattice: Lattice) -> int:
    """Return the number of different shifts of rows: 2 on a hexagonal lattice of several rows, else 1."""
    return min(lattice.rows, 2) if lattice.topology == "hexagonal" else 1


def _add_along_x(target: np.ndarray, weights: np.ndarray, source: np.ndarray, *, alone: bool = False) -> None:
    """Smooth the rows of `source` in x and add them to `target`, in place.

    Parameters
    ----------
    target, source : (n, K, cols) float64
    weights : (cols, cols) float64
        h between the columns of a target row and those of a source row.
    alone : bool
        As for `som_dask.numerics.matmul.product`.
    """
    cols = source.shape[-1]
    product(source.reshape(-1, cols), weights.T, onto=target.reshape(-1, cols), alone=alone)


def _column_offsets(lattice: Lattice, other: int) -> np.ndarray:
    """Compute |x_i - x_j| from nodes i of an even row to nodes j of a row of parity `other`: (cols, cols) float64.

    The offsets between two odd rows are those between two even ones; those from an odd row to an even one are the
    transposed ones from even to odd.
    """
    col = np.arange(lattice.cols)
    return lattice.offsets(np.array([0]), col[:, None], np.array([other]), col[None, :])[0]


def _smooth_separable(
    grids: list[np.ndarray], lattice: Lattice, neighborhood: Neighborhood, radius: float
) -> list[np.ndarray]:
    """Smooth with a separable neighborhood.

    Parameters
    ----------
    grids : list of (n, K, cols) float64
        The values on the even rows and on the odd ones, or on all rows if none are shifted.
    lattice : Lattice
    neighborhood : Neighborhood
    radius : float

    Returns
    -------
    list of (n, K, cols) float64
    """
    step = len(grids)
    x, y, squared_x, squared_y = _offset_tables(lattice)
    factors = neighborhood.factors(squared_x, squared_y, radius)
    results = [np.zeros(grid.shape) for grid in grids]
    memory = np.empty((len(grids[0]), grids[0][0].size))  # reused: new memory costs as much as filling it
    for table_x, table_y in factors:
        along_x, along_y = table_x[x], table_y[y]
        for p, result in enumerate(results):
            for q, grid in enumerate(grids):
                part = memory[: len(result)]
                part[:] = 0.0
                product(along_y[p::step, q::step], grid.reshape(len(grid), -1), onto=part)
                _add_along_x(result, along_x[p ^ q].T if p > q else along_x[p ^ q], part.reshape(result.shape))
    return results


@functools.lru_cache(maxsize=1)  # each epoch asks for it
def _offset_tables(lattice: Lattice) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Express the offsets between columns and between rows as whole multiples of a unit.

    Then h is computed once for each multiple.

    Parameters
    ----------
    lattice : Lattice

    Returns
    -------
    x : (1 or 2, cols, cols) int64
        Multiples of half a column, from an even row to an even row and, if rows are shifted, to an odd one.
    y : (rows, rows) int64
        Multiples of the distance of two rows.
    squared_x, squared_y : (a,), (b,) float64
        The square of each multiple, in squared lattice units.
    """
    row, first = np.arange(lattice.rows), np.zeros(1, dtype=np.int64)
    y = _multiples(lattice.offsets(row[:, None], first, row[None, :], first)[1], lattice.row_height)
    x = _multiples(np.stack([_column_offsets(lattice, other) for other in range(_parities(lattice))]), 0.5)
    tables = x, y, (np.arange(x.max() + 1) * 0.5) ** 2, (np.arange(y.max() + 1) * lattice.row_height) ** 2
    for table in tables:
        table.flags.writeable = False
    return tables


def _multiples(offsets: np.ndarray, unit: float) -> np.ndarray:
    """Express offsets as whole multiples of a unit, int64."""
    return np.rint(offsets / unit).astype(np.int64)


def _smooth_rowwise(
    grids: list[np.ndarray], lattice: Lattice, neighborhood: Neighborhood, radius: float
) -> list[np.ndarray]:
    """Smooth with any neighborhood, one distance between rows after the other; see `_smooth_separable`.

    Each thread smooths some of the rows. A map of few rows leaves it to each product to use all threads.
    """
    step, reach = len(grids), neighborhood.reach(radius) * (1 + RIM)
    along_x = [np.unique(_column_offsets(lattice, other), return_inverse=True) for other in range(step)]
    # Ascending, so that nodes that reach the same others add them in the same order and stay equal.
    distances = {shift: _row_distance(lattice, shift) for shift in range(1 - lattice.rows, lattice.rows)}
    distances = {shift: y for shift, y in distances.items() if y <= reach}
    tables = {}
    for shift, y in distances.items():
        if y not in tables:
            tables[y] = neighborhood.weights(along_x[shift % step][0] ** 2 + y * y, radius)
    results = [np.zeros(grid.shape) for grid in grids]

    def smooth_rows(start: int, stop: int) -> None:
        for shift, y in distances.items():
            where = along_x[shift % step][1]
            weights = tables[y][where.reshape(lattice.cols, lattice.cols)]
            for parity, result in enumerate(results):
                other = (parity + shift) % step
                grid, moved = grids[other], (parity + shift - other) // step  # row i takes row i + moved
                low, high = (max(0, -(-(row - parity) // step)) for row in (start, stop))
                low, high = max(low, -moved), min(high, len(grid) - moved)
                if low < high:
                    matrix = weights.T if parity > other else weights
                    _add_along_x(result[low:high], matrix, grid[low + moved : high + moved], alone=len(parts) > 1)

    parts = _share_rows(lattice, list(distances), grids[0].shape[1])
    run_in_threads(smooth_rows, parts)
    return results


def _row_distance(lattice: Lattice, shift: int) -> float:
    """Return |y_i - y_j| between a row and the one that is `shift` rows further on."""
    distance = min(abs(shift), lattice.rows - abs(shift)) if lattice.boundary == "toroidal" else abs(shift)
    return distance * lattice.row_height


def _share_rows(lattice: Lattice, shifts: list[int], width: int) -> list[tuple[int, int]]:
    """Share the rows among threads, so that each has about the same number of row pairs to multiply.

    Parameters
    ----------
    lattice : Lattice
    shifts : list of int
        A row takes the rows that are so many further on.
    width : int
        K, the number of values of a node.

    Returns
    -------
    list of (int, int)
        The first row of each thread, and the row after its last one.
    """
    sources = np.arange(lattice.rows)[:, None] + np.array(shifts)
    pairs = np.cumsum(((sources >= 0) & (sources < lattice.rows)).sum(axis=1))
    cores, work = core_count(), int(pairs[-1]) * width * lattice.cols**2
    threads = min(cores, work // WORTH_A_THREAD) if lattice.rows >= 2 * cores else 1
    ends = [int(np.searchsorted(pairs, pairs[-1] * i // threads)) + 1 for i in range(1, threads)]
    return list(pairwise([0, *ends, lattice.rows])) if ends else [(0, lattice.rows)]
