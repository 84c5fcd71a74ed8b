"""Neighborhood kernels, and smoothing over the lattice without an M x M matrix."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Literal, get_args

import numpy as np

from som_dask.errors import ParameterError
from som_dask.lattice import Lattice

__all__ = ["Kernel", "Neighborhood", "smooth"]

Kernel = Literal["gaussian", "bubble"]

# Distances that are equal in exact arithmetic (a node just on the rim) must compare equal in float64.
RIM = 1e-9


def _exp(values: np.ndarray) -> np.ndarray:
    """exp, correctly rounded: math libraries differ in the last bit, and so would maps made with them."""
    context = Context(prec=25)
    distinct, where = np.unique(values, return_inverse=True)
    table = [0.0 if v < -745.2 else float(context.exp(Decimal(v))) for v in distinct.tolist()]
    return np.array(table)[where].reshape(values.shape)


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
        inside = squared_distances <= reach * reach * (1 + RIM)
        if self.kernel == "bubble":
            return inside.astype(np.float64)
        return np.where(inside, _exp(-squared_distances / (2.0 * radius * radius)), 0.0)


def smooth(values: np.ndarray, lattice: Lattice, neighborhood: Neighborhood, radius: float) -> np.ndarray:
    r"""Apply the neighborhood to values on the nodes: ``H @ values`` with ``H_ij = h(|r_i - r_j|, radius)``.

    A gaussian factors into rows and columns, so it costs M (rows + cols) K operations; other kernels go row
    by row, M^2 K at worst and less by their reach. The matrix H is never formed.

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
    grid = values.reshape(lattice.rows, lattice.cols, -1)
    by_parts = _smooth_separable if neighborhood.separable else _smooth_rowwise
    return by_parts(grid, lattice, neighborhood, radius).reshape(values.shape)


def _column_offsets(lattice: Lattice, parity: int, other: int) -> np.ndarray:
    """|x_i - x_j| between the nodes of a row and those of another, by parities of the rows: (cols, cols)."""
    col = np.arange(lattice.cols)
    rows = np.minimum([parity, other], lattice.rows - 1)  # a one-row lattice has no odd row
    return lattice.offsets(rows[0], col[:, None], rows[1], col[None, :])[0]


def _smooth_separable(grid: np.ndarray, lattice: Lattice, neighborhood: Neighborhood, radius: float) -> np.ndarray:
    rows, cols, width = grid.shape
    row, first = np.arange(rows), np.zeros(1, dtype=np.int64)
    y = lattice.offsets(row[:, None], first, row[None, :], first)[1]
    along_y = _looked_up(y, lattice.row_height, neighborhood, radius)
    # Rows of unequal parity are shifted against each other, so each pair of parities has its own x factor.
    parities = range(min(rows, 2)) if lattice.topology == "hexagonal" else range(1)
    step = len(parities)
    result = np.zeros_like(grid)
    for p in parities:
        for q in parities:
            source = np.ascontiguousarray(grid[q::step]).reshape(-1, cols * width)
            part = (along_y[p::step, q::step] @ source).reshape(-1, cols, width)
            x = _column_offsets(lattice, p, q)
            result[p::step] += _looked_up(x, 0.5, neighborhood, radius) @ part
    return result


def _looked_up(offsets: np.ndarray, unit: float, neighborhood: Neighborhood, radius: float) -> np.ndarray:
    """h of offsets that are whole multiples of a unit: computed once for each multiple."""
    multiple = np.rint(offsets / unit).astype(np.int64)
    table = neighborhood.weights((np.arange(multiple.max() + 1) * unit) ** 2, radius)
    return table[multiple]


def _smooth_rowwise(grid: np.ndarray, lattice: Lattice, neighborhood: Neighborhood, radius: float) -> np.ndarray:
    rows = lattice.rows
    reach = neighborhood.reach(radius) * (1 + RIM)
    step = 2 if lattice.topology == "hexagonal" and rows > 1 else 1
    wraps = lattice.boundary == "toroidal"
    result = np.zeros_like(grid)
    for shift in range(0 if wraps else 1 - rows, rows):
        y = (min(abs(shift), rows - abs(shift)) if wraps else abs(shift)) * lattice.row_height
        if y > reach:
            continue
        for parity in range(step):
            target = np.arange(parity, rows, step)
            source = target + shift
            if wraps:
                source %= rows
            else:
                target, source = (a[(source >= 0) & (source < rows)] for a in (target, source))
            if not len(target):
                continue
            x = _column_offsets(lattice, parity, (parity + shift) % step)
            result[target] += neighborhood.weights(x * x + y * y, radius) @ grid[source]
    return result
