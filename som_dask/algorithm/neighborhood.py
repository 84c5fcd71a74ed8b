"""Neighborhood functions of the distance on the lattice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from som_dask.errors import ParameterError
from som_dask.numerics.decimals import exp

__all__ = ["RIM", "Kernel", "Neighborhood"]

Kernel = Literal["gaussian", "cut_gaussian", "bubble", "epanechnikov", "triangle", "mexican_hat"]

# A node exactly on the rim of a neighborhood must be treated as such, although its distance has a rounding error.
RIM = 1e-9


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

    d is the Euclidean distance on the lattice, by the shorter way where the lattice wraps. h is 1 at d = 0. With a
    compact kernel whose radius is below the distance of two neighbors, each node keeps only its own samples, and
    training becomes k-means (Lloyd's algorithm).

    MiniSom [2]_ has the gaussian and the mexican hat in the same form. Its triangle is a pyramid,
    ``(sigma - |dx|) (sigma - |dy|)``, and its bubble is the square ``|dx| < sigma, |dy| < sigma``, so these two agree
    with the ones here only on a map of one row.

    The mexican hat is the Ricker wavelet of d, which is negative beyond sigma. It describes how cells act on each
    other in the neural networks that the map simplifies [3]_. The map itself needs h >= 0, whereas the integral of
    the mexican hat over the plane is ``-2 pi sigma^2``; `som_dask.algorithm.smoothing.smooth_sums` says how the batch
    rule stays bounded nevertheless. The mexican hat is provided for comparison and not recommended: its maps have a
    larger topographic error than those of the gaussian, and the epanechnikov kernel, which has nearly the same shape
    near its node, quantizes as well without pushing anything away.

    Parameters
    ----------
    kernel : {"gaussian", "cut_gaussian", "bubble", "epanechnikov", "triangle", "mexican_hat"}
    support : float, optional
        Makes a gaussian compact: h = 0 where ``d > support * sigma``. With None it reaches over the whole map.
    positive : bool
        For the mexican hat, whether negative values of h are replaced by 0; see `excitation`.

    Raises
    ------
    ParameterError
        For an unknown kernel, for a support that is not positive or that is given to a kernel other than the
        gaussian, or if `positive` is set for a kernel other than the mexican hat.

    References
    ----------
    .. [1] J. Vesanto, J. Himberg, E. Alhoniemi, J. Parhankangas, *SOM Toolbox for Matlab 5*, report A57, Helsinki
       University of Technology, 2000.
    .. [2] G. Vettigli, *MiniSom: minimalistic and NumPy-based implementation of the Self Organizing Map*, 2018.
    .. [3] T. Kohonen, *Self-Organizing Maps*, 3rd ed., Springer, 2001, chapters 3 and 4.

    Examples
    --------
    >>> import numpy as np
    >>> from som_dask.algorithm.neighborhood import Neighborhood
    >>> Neighborhood("gaussian").weights(np.array([0.0, 1.0, 4.0]), radius=1.0).round(3).tolist()
    [1.0, 0.607, 0.135]
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
        """Whether h is a function of dx times a function of dy, or the sum of two such products."""
        return self.reach(1.0) == np.inf

    @property
    def inhibits(self) -> bool:
        """Whether h is negative somewhere."""
        return self.kernel == "mexican_hat" and not self.positive

    @property
    def excitation(self) -> Neighborhood:
        """The neighborhood ``max(0, h)``."""
        return replace(self, positive=True) if self.inhibits else self

    def reach(self, radius: float) -> float:
        """Return the grid distance beyond which h is zero.

        Parameters
        ----------
        radius : float
            sigma, in lattice units.

        Returns
        -------
        float
            In lattice units; infinity for a mexican hat and for a gaussian without support.
        """
        if self.kernel == "gaussian":
            return np.inf if self.support is None else self.support * radius
        return np.inf if self.inhibits else radius

    def weights(self, squared_distances: np.ndarray, radius: float) -> np.ndarray:
        """Compute h.

        Parameters
        ----------
        squared_distances : float64 array of any shape
            d^2, in squared lattice units.
        radius : float
            sigma, in lattice units.

        Returns
        -------
        float64 array of the same shape
        """
        reach = self.reach(radius)
        with np.errstate(all="ignore"):  # the square of an extreme radius is zero or infinite
            inside = squared_distances <= reach * reach * (1 + RIM)
        if self.kernel == "bubble":
            return inside.astype(np.float64)
        ratio = _ratios(squared_distances, radius)
        if self.kernel in ("epanechnikov", "triangle") or self.positive:
            inside = ratio < 1 - RIM  # on the rim h is exactly zero, not a rounding error
        ratio = np.where(inside, ratio, np.inf)
        if self.kernel == "epanechnikov":
            return np.maximum(1.0 - ratio, 0.0)
        if self.kernel == "triangle":
            return np.maximum(1.0 - np.sqrt(ratio), 0.0)
        bell = exp(-ratio / 2)
        return _damp(1.0 - ratio, bell) if self.kernel == "mexican_hat" else bell

    def factors(
        self, squared_x: np.ndarray, squared_y: np.ndarray, radius: float
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Compute the factors of a separable h.

        Parameters
        ----------
        squared_x, squared_y : (a,), (b,) float64
            dx^2 and dy^2, in squared lattice units.
        radius : float
            sigma, in lattice units.

        Returns
        -------
        list of ((a,) float64, (b,) float64)
            Functions of dx and of dy. The sum of the products of each pair is h.
        """
        bell_x, bell_y = (exp(-_ratios(squared, radius) / 2) for squared in (squared_x, squared_y))
        if not self.inhibits:
            return [(bell_x, bell_y)]
        # (1 - (x^2 + y^2) / sigma^2) g(x) g(y) = ((1 - x^2 / sigma^2) g(x)) g(y) + g(x) (-y^2 / sigma^2 g(y))
        x, y = _ratios(squared_x, radius), _ratios(squared_y, radius)
        return [(_damp(1.0 - x, bell_x), bell_y), (bell_x, _damp(-y, bell_y))]


def _ratios(squared_distances: np.ndarray, radius: float) -> np.ndarray:
    """Compute d^2 / sigma^2, which is 0 at d = 0 and infinite elsewhere if sigma^2 is too small for a float64."""
    with np.errstate(all="ignore"):
        return np.where(squared_distances > 0, squared_distances / (radius * radius), 0.0)


def _damp(factor: np.ndarray, bell: np.ndarray) -> np.ndarray:
    """Multiply a polynomial by exp. The product is zero where exp is zero, even if the polynomial is infinite."""
    return np.where(bell > 0, np.where(bell > 0, factor, 0.0) * bell, 0.0)
