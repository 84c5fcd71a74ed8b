"""Neighborhood kernels, and smoothing over the lattice without an M x M matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.numerics.matmul import exp, product

__all__ = ["INHIBITION", "Kernel", "Neighborhood", "smooth", "weighted_sums"]

Kernel = Literal["gaussian", "cut_gaussian", "bubble", "epanechnikov", "triangle", "mexican_hat"]

# Distances that are equal in exact arithmetic (a node just on the rim) must compare equal in float64.
RIM = 1e-9
INHIBITION = 1 / 20  # at most so much of what excites a node may push it away


@dataclass(frozen=True)
class Neighborhood:
    r"""A neighborhood function h(d, sigma) of the grid distance d and the radius sigma.

    ============ ================================================== ==================== =====================
    kernel       h                                                  h is zero            known as
    ============ ================================================== ==================== =====================
    gaussian     ``exp(-d^2 / (2 sigma^2))``                        nowhere              "gaussian" [1]_
    cut_gaussian ``exp(-d^2 / (2 sigma^2))`` where ``d <= sigma``   where ``d > sigma``  "cutgauss" [1]_
    bubble       ``1`` where ``d <= sigma``                         where ``d > sigma``  "bubble" [1]_
    epanechnikov ``max(0, 1 - d^2 / sigma^2)``                      where ``d >= sigma`` "ep" [1]_
    triangle     ``max(0, 1 - d / sigma)``                          where ``d >= sigma`` a cone over the map
    mexican_hat  ``(1 - d^2/sigma^2) exp(-d^2 / (2 sigma^2))``      where ``d = sigma``  "mexican_hat" [2]_
    ============ ================================================== ==================== =====================

    Each is 1 at d = 0, so a compact kernel whose radius is below the distance of two neighbors leaves each node its
    own samples: training then is k-means (Lloyd's steps). d is the Euclidean distance on the lattice, the shorter
    way round where it wraps. MiniSom [2]_ has the gaussian and the mexican hat in this form; its triangle is a
    pyramid, ``(sigma - |dx|) (sigma - |dy|)``, and its bubble the square ``|dx| < sigma, |dy| < sigma``, so these
    two agree with ours on a map of one row only.

    The mexican hat is Ricker's wavelet of d, less than zero beyond sigma. It is how cells act on each other in the
    networks that the map simplifies [3]_; the map itself asks for h >= 0, and over two dimensions the hat's integral
    is ``-2 pi sigma^2``. `weighted_sums` says how the batch rule is kept bounded under it. It is here for comparison
    and not recommended: its maps have more topographic error than the gaussian's, and the epanechnikov kernel, of
    nearly the same shape around its node, quantizes as well without pushing anything away.

    Parameters
    ----------
    kernel : {"gaussian", "cut_gaussian", "bubble", "epanechnikov", "triangle", "mexican_hat"}
    support : float, optional
        Makes a gaussian compact: h = 0 where ``d > support * sigma``. None leaves it as wide as the map.
    positive : bool
        Of a mexican hat the part where h > 0 only, as `excitation` has it.

    Raises
    ------
    ParameterError
        For an unknown kernel, a support that is not positive, a support given to another kernel than the gaussian,
        or the positive part of another than the mexican hat.

    References
    ----------
    .. [1] J. Vesanto, J. Himberg, E. Alhoniemi, J. Parhankangas, *SOM Toolbox for Matlab 5*, report A57, Helsinki
       University of Technology, 2000.
    .. [2] G. Vettigli, *MiniSom: minimalistic and NumPy-based implementation of the Self Organizing Map*, 2018.
    .. [3] T. Kohonen, *Self-Organizing Maps*, 3rd ed., Springer, 2001, chapters 3 and 4.
    """

    kernel: Kernel = "gaussian"
    support: float | None = None
    positive: bool = False

    def __post_init__(self) -> None:
        if self.kernel not in get_args(Kernel):
            raise ParameterError(f"neighborhood must be one of {get_args(Kernel)}, got {self.kernel!r}")
        if self.support is not None:
            if self.kernel != "gaussian":
                raise ParameterError(f"support belongs to the gaussian neighborhood, not to {self.kernel}")
            if not self.support > 0:
                raise ParameterError(f"support must be positive, got {self.support}")
        if self.positive and self.kernel != "mexican_hat":
            raise ParameterError(f"the {self.kernel} neighborhood has no part that is not positive")

    @property
    def separable(self) -> bool:
        """Whether h is a function of x times one of y, or a sum of two of these."""
        return self.reach(1.0) == np.inf

    @property
    def inhibits(self) -> bool:
        """Whether h is negative somewhere."""
        return self.kernel == "mexican_hat" and not self.positive

    @property
    def excitation(self) -> Neighborhood:
        """``max(0, h)``."""
        return replace(self, positive=True) if self.inhibits else self

    def reach(self, radius: float) -> float:
        """Grid distance beyond which h is zero; infinity for a mexican hat, and a gaussian without support."""
        if self.kernel == "gaussian":
            return np.inf if self.support is None else self.support * radius
        return np.inf if self.inhibits else radius

    def weights(self, squared_distances: np.ndarray, radius: float) -> np.ndarray:
        """h for squared grid distances (any shape, float64): float64 of the same shape."""
        reach = self.reach(radius)
        with np.errstate(all="ignore"):  # the square of an extreme radius is zero or infinite
            inside = squared_distances <= reach * reach * (1 + RIM)
        if self.kernel == "bubble":
            return inside.astype(np.float64)
        ratio = _ratios(squared_distances, radius)
        if self.kernel in ("epanechnikov", "triangle") or self.positive:
            inside = ratio < 1 - RIM  # what should be zero on the rim is not to be a rounding error
        ratio = np.where(inside, ratio, np.inf)
        if self.kernel == "epanechnikov":
            return np.maximum(1.0 - ratio, 0.0)
        if self.kernel == "triangle":
            return np.maximum(1.0 - np.sqrt(ratio), 0.0)
        bell = exp(-ratio / 2)
        return _times(1.0 - ratio, bell) if self.kernel == "mexican_hat" else bell

    def factors(
        self, squared_x: np.ndarray, squared_y: np.ndarray, radius: float
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of a separable h: pairs of a function of x^2 and one of y^2, the products of which add up to h."""
        bell_x, bell_y = (exp(-_ratios(squared, radius) / 2) for squared in (squared_x, squared_y))
        if not self.inhibits:
            return [(bell_x, bell_y)]
        # (1 - (x^2 + y^2) / sigma^2) g(x) g(y) = ((1 - x^2 / sigma^2) g(x)) g(y) + g(x) (-y^2 / sigma^2 g(y))
        x, y = _ratios(squared_x, radius), _ratios(squared_y, radius)
        return [(_times(1.0 - x, bell_x), bell_y), (bell_x, _times(-y, bell_y))]


def _ratios(squared_distances: np.ndarray, radius: float) -> np.ndarray:
    """d^2 / sigma^2; 0 for no distance, infinity where sigma^2 is too small for a float64."""
    with np.errstate(all="ignore"):
        return np.where(squared_distances > 0, squared_distances / (radius * radius), 0.0)


def _times(factor: np.ndarray, bell: np.ndarray) -> np.ndarray:
    """A polynomial times exp, which is zero where exp is though the polynomial be infinite."""
    return np.where(bell > 0, np.where(bell > 0, factor, 0.0) * bell, 0.0)


def smooth(values: np.ndarray, lattice: Lattice, neighborhood: Neighborhood, radius: float) -> np.ndarray:
    r"""Apply the neighborhood to values on the nodes: ``H @ values`` with ``H_ij = h(|r_i - r_j|, radius)``.

    A gaussian factors into rows and columns, so it costs M (rows + cols) K operations; a mexican hat is the sum of
    two such products and costs twice that. Other kernels go row by row, M^2 K at worst and less by their reach.
    The matrix H is never formed. The sums have a fixed order, so the result is the same bits on every machine.

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


def weighted_sums(
    sums: np.ndarray, weights: np.ndarray, lattice: Lattice, neighborhood: Neighborhood, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Numerators and denominators of the batch rule: ``H @ sums`` and ``H @ weights`` where ``h >= 0``.

    A batch epoch puts w_i where ``sum_c h_ic sum_(x in c) |x - w_i|^2`` is least (Y. Cheng, *Convergence and ordering
    of Kohonen's batch map*, Neural Computation 9, 1997). Under a mexican hat the sum of the weights, the
    denominator, is negative for most nodes of a map that is hit evenly; then there is no least value but a largest,
    and where it is nearly zero the quotient is far from all data. So what inhibits a node is made so small that it
    is never more than a share ``theta = INHIBITION`` of what excites it. With ``E = max(0, H) @ weights`` and
    ``I = max(0, -H) @ weights``, row by row:

    ``kappa = min(1, theta E / I)``, ``denominator = E - kappa I``, and the same kappa in the numerators.

    The quotient is the mean m of the samples that excite the node, moved away from the mean of those that inhibit it
    by ``kappa I / (E - kappa I) <= theta / (1 - theta)`` of the distance of the two. So it leaves the range of the
    data by 1/19 of that range at most, in any epoch, for any radius. It is the quotient ``H S / H n`` itself where
    inhibition is small, and goes over into the limited one without a step. A node that nothing excites has the
    denominator zero and keeps its weights.

    Parameters
    ----------
    sums : (M, D) float64
    weights : (M, 1) or (M, D) float64
        Not negative.
    lattice : Lattice with M nodes
    neighborhood : Neighborhood
    radius : float

    Returns
    -------
    numerators : (M, D) float64
    denominators : (M, 1) or (M, D) float64
        Not negative but for rounding.
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
        smoothed[:, n_features:] *= excitation > 0  # where nothing excites a node the rest is rounding
    return smoothed[:, :n_features], smoothed[:, n_features:]


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
    # Offsets are whole multiples of a unit: h is computed once for each multiple.
    y = _multiples(lattice.offsets(row[:, None], first, row[None, :], first)[1], lattice.row_height)
    x = _multiples(np.stack([_column_offsets(lattice, other) for other in range(step)]), 0.5)
    squared_x, squared_y = (np.arange(x.max() + 1) * 0.5) ** 2, (np.arange(y.max() + 1) * lattice.row_height) ** 2
    factors = neighborhood.factors(squared_x, squared_y, radius)
    results = [np.zeros(grid.shape) for grid in grids]
    memory = np.empty((len(grids[0]), grids[0][0].size))  # fresh pages for each part would cost as much as the part
    for table_x, table_y in factors:
        along_x, along_y = table_x[x], table_y[y]
        for p, result in enumerate(results):
            for q, grid in enumerate(grids):
                part = memory[: len(result)]
                part[:] = 0.0
                product(along_y[p::step, q::step], grid.reshape(len(grid), -1), onto=part)
                _add_along_x(result, along_x[p ^ q].T if p > q else along_x[p ^ q], part.reshape(result.shape))
    return results


def _multiples(offsets: np.ndarray, unit: float) -> np.ndarray:
    return np.rint(offsets / unit).astype(np.int64)


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
