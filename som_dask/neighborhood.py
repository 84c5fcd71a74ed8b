"""Neighborhood kernels, and smoothing over the lattice without an M x M matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from som_dask.errors import ParameterError
from som_dask.lattice import Lattice
from som_dask.ordered import exp, product

__all__ = ["Kernel", "Neighborhood", "smooth"]

Kernel = Literal["gaussian", "bubble"]

# Distances that are equal in exact arithmetic (a node just on the rim) must compare equal in float64.
RIM = 1e-9


@dataclass(frozen=True)
class Neighborhood:
    r"""A neighborhood function h(d, sigma) of the grid distance d and the radius sigma.

    * gaussian: ``h = exp(-d^2 / (2 sigma^2))``
    * bubble: ``h = 1`` where ``d <= sigma``, else 0

    Parameters
    ----------
    kernel : {"gaussian", "bubble"}
    support : float, optional
        Makes a gaussian compact: h = 0 where ``d > support * sigma``. None leaves it as wide as the map.

    Raises
    ------
    ParameterError
        For an unknown kernel, a support that is not positive, or a support given to a bubble.
    """

    kernel: Kernel = "gaussian"
    support: float | None = None

    def __post_init__(self) -> None:
        if self.kernel not in get_args(Kernel):
            raise ParameterError(f"neighborhood must be one of {get_args(Kernel)}, got {self.kernel!r}")
        if self.support is not None:
            if self.kernel != "gaussian":
                raise ParameterError(f"support belongs to the gaussian neighborhood, not to {self.kernel}")
            if not self.support > 0:
                raise ParameterError(f"support must be positive, got {self.support}")

    @property
    def separable(self) -> bool:
        """Whether h factors into a function of x times one of y."""
        return self.kernel == "gaussian" and self.support is None

    def reach(self, radius: float) -> float:
        """Grid distance beyond which h is zero; infinity for a gaussian without support."""
        if self.kernel == "bubble":
            return radius
        return np.inf if self.support is None else self.support * radius

    def weights(self, squared_distances: np.ndarray, radius: float) -> np.ndarray:
        """h for squared grid distances (any shape, float64): float64 of the same shape."""
        reach = self.reach(radius)
        with np.errstate(all="ignore"):  # the square of an extreme radius is zero or infinite
            inside = squared_distances <= reach * reach * (1 + RIM)
            if self.kernel == "bubble":
                return inside.astype(np.float64)
            exponents = np.where(squared_distances > 0, -squared_distances / (2.0 * radius * radius), 0.0)
        return exp(np.where(inside, exponents, -np.inf))


def smooth(values: np.ndarray, lattice: Lattice, neighborhood: Neighborhood, radius: float) -> np.ndarray:
    r"""Apply the neighborhood to values on the nodes: ``H @ values`` with ``H_ij = h(|r_i - r_j|, radius)``.

    A gaussian factors into rows and columns, so it costs M (rows + cols) K operations; other kernels go row
    by row, M^2 K at worst and less by their reach. The matrix H is never formed. The sums have a fixed order, so
    the result is the same bits on every machine.

    Parameters
    ----------
    values : (M, K) float64
    lattice : Lattice with M nodes
    neighborhood : Neighborhood
    radius : float
        Positive, in lattice units.

    Returns
    -------
    (M, K) float64
    """
    by_parts = _smooth_separable if neighborhood.separable else _smooth_rowwise
    # Rows of unequal parity are shifted against each other on a hexagonal lattice, and so kept apart. With the
    # columns last, whole groups of rows are multiplied at once, in either direction.
    step = _parities(lattice)
    grid = values.reshape(lattice.rows, lattice.cols, -1).transpose(0, 2, 1)
    smoothed = by_parts([np.ascontiguousarray(grid[p::step]) for p in range(step)], lattice, neighborhood, radius)
    result = np.empty((lattice.rows, lattice.cols, grid.shape[1]))
    for p in range(step):
        result[p::step] = smoothed[p].transpose(0, 2, 1)
    return result.reshape(values.shape)


def _parities(lattice: Lattice) -> int:
    """In how many ways the rows are shifted."""
    return min(lattice.rows, 2) if lattice.topology == "hexagonal" else 1


def _add_along_x(target: np.ndarray, weights: np.ndarray, source: np.ndarray) -> None:
    """Add the rows of `source`, smoothed, to those of `target`: (n, K, cols) both, weights (cols, cols)."""
    cols = source.shape[-1]
    product(source.reshape(-1, cols), weights.T, onto=target.reshape(-1, cols))


def _column_offsets(lattice: Lattice, other: int) -> np.ndarray:
    """|x_i - x_j| between the nodes of an even row and those of a row of parity `other`: (cols, cols).

    It is the same between odd rows as between even ones, and transposed from odd to even.
    """
    col = np.arange(lattice.cols)
    return lattice.offsets(np.array([0]), col[:, None], np.array([other]), col[None, :])[0]


def _smooth_separable(
    grids: list[np.ndarray], lattice: Lattice, neighborhood: Neighborhood, radius: float
) -> list[np.ndarray]:
    row, first, step = np.arange(lattice.rows), np.zeros(1, dtype=np.int64), len(grids)
    y = lattice.offsets(row[:, None], first, row[None, :], first)[1]
    along_y = _looked_up(y, lattice.row_height, neighborhood, radius)
    along_x = _looked_up(
        np.stack([_column_offsets(lattice, other) for other in range(step)]), 0.5, neighborhood, radius
    )
    results = [np.zeros(grid.shape) for grid in grids]
    memory = np.empty((len(grids[0]), grids[0][0].size))  # fresh pages for each part would cost as much as the part
    for p, result in enumerate(results):
        for q, grid in enumerate(grids):
            part = memory[: len(result)]
            part[:] = 0.0
            product(along_y[p::step, q::step], grid.reshape(len(grid), -1), onto=part)
            _add_along_x(result, along_x[p ^ q].T if p > q else along_x[p ^ q], part.reshape(result.shape))
    return results


def _looked_up(offsets: np.ndarray, unit: float, neighborhood: Neighborhood, radius: float) -> np.ndarray:
    """h of offsets that are whole multiples of a unit: computed once for each multiple."""
    multiple = np.rint(offsets / unit).astype(np.int64)
    table = neighborhood.weights((np.arange(multiple.max() + 1) * unit) ** 2, radius)
    return table[multiple]


def _smooth_rowwise(
    grids: list[np.ndarray], lattice: Lattice, neighborhood: Neighborhood, radius: float
) -> list[np.ndarray]:
    rows, step = lattice.rows, len(grids)
    reach = neighborhood.reach(radius) * (1 + RIM)
    along_x = [np.unique(_column_offsets(lattice, other), return_inverse=True) for other in range(step)]
    tables: dict[int, np.ndarray] = {}
    results = [np.zeros(grid.shape) for grid in grids]
    # Ascending, so that nodes which reach the same others add them in the same order, and stay equal.
    for shift in range(1 - rows, rows):
        distance = min(abs(shift), rows - abs(shift)) if lattice.boundary == "toroidal" else abs(shift)
        y = distance * lattice.row_height
        if y > reach:
            continue
        distinct, where = along_x[shift % step]
        if distance not in tables:
            tables[distance] = neighborhood.weights(distinct * distinct + y * y, radius)
        weights = tables[distance][where.reshape(lattice.cols, lattice.cols)]
        for parity, result in enumerate(results):
            other = (parity + shift) % step
            grid, moved = grids[other], (parity + shift - other) // step  # row i of the result takes row i + moved
            low, high = max(0, -moved), min(len(result), len(grid) - moved)
            if low < high:
                matrix = weights.T if parity > other else weights
                _add_along_x(result[low:high], matrix, grid[low + moved : high + moved])
    return results
