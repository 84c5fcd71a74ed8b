"""Decay of the neighborhood radius, or of a learning rate, from epoch to epoch."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Literal, get_args

import numpy as np

from som_dask.errors import ParameterError
from som_dask.numerics.decimals import DIGITS

__all__ = ["Decay", "decay", "default_initial_radius", "radius_schedule"]

Decay = Literal["exponential", "linear", "asymptotic"]


def decay(kind: Decay, start: float, end: float, n: int, *, endpoint: bool = True) -> np.ndarray:
    r"""Compute `n` values that fall (or rise) from `start` to `end`.

    With f = t / (n - 1) for t = 0 .. n - 1, or f = t / n without `endpoint`, the values are

    * exponential: ``start * (end / start) ** f``. Without `endpoint` this is ``start * exp(-t / lambda)`` with
      ``lambda = n / ln(start / end)``; with ``end = 1`` it is then the radius of Kohonen's online rule.
    * linear: ``start + (end - start) * f``.
    * asymptotic: ``start / (1 + (start / end - 1) * f)``, a hyperbola.

    Each value is computed to more digits than a float64 holds and then rounded, so it is the same on every machine.

    Parameters
    ----------
    kind : {"exponential", "linear", "asymptotic"}
    start, end : float
        Positive and finite.
    n : int
        Number of values. If it is 1, the only value is `start`.
    endpoint : bool
        Whether the last value is `end`. Otherwise `end` would be reached one step after the last value.

    Returns
    -------
    (n,) float64

    Raises
    ------
    ParameterError
        For an unknown kind, for a negative `n`, or if `start` or `end` is not positive and finite.

    Examples
    --------
    >>> from som_dask.algorithm.decay import decay
    >>> decay("exponential", 8.0, 1.0, 4).tolist()
    [8.0, 4.0, 2.0, 1.0]
    >>> decay("linear", 8.0, 2.0, 4).tolist()
    [8.0, 6.0, 4.0, 2.0]
    """
    if kind not in get_args(Decay):
        raise ParameterError(f"decay must be one of {get_args(Decay)}, got {kind!r}")
    if n < 0:
        raise ParameterError(f"the number of epochs must not be negative, got {n}")
    for name, value in (("initial", start), ("final", end)):
        if not (np.isfinite(value) and value > 0):
            raise ParameterError(f"the {name} value of a decay must be positive and finite, got {value}")
    # Decimals are rounded at the end, because math libraries differ in the last bit of a power, and start / end may
    # lie beyond the range of float64.
    first, last, steps = Decimal(float(start)), Decimal(float(end)), max(n - 1 if endpoint else n, 1)
    with localcontext(DIGITS) as context:  # no formula takes a difference, so no digits cancel
        if kind == "exponential":
            rate = context.ln(last / first)
            values = [first * context.exp(rate * t / steps) for t in range(n)]
        elif kind == "linear":
            values = [(first * (steps - t) + last * t) / steps for t in range(n)]
        else:
            values = [steps / ((steps - t) / first + t / last) for t in range(n)]
        return np.array([float(value) for value in values])


def default_initial_radius(rows: int, cols: int, final: float, share: float = 0.5) -> float:
    """Return a share of the longer side of the map, in lattice units, but at least the final radius."""
    return max(max(rows, cols) * share, final)


def radius_schedule(
    kind: Decay,
    rows: int,
    cols: int,
    epochs: int,
    initial: float | None,
    final: float,
    given: Sequence[float] | None,
    share: float = 0.5,
) -> np.ndarray:
    """Compute the neighborhood radius of every epoch.

    Parameters
    ----------
    kind : {"exponential", "linear", "asymptotic"}
        See `decay`.
    rows, cols : int
        Size of the lattice.
    epochs : int
    initial : float, optional
        First radius, in lattice units; `default_initial_radius` by default.
    final : float
        Last radius, in lattice units.
    given : sequence of float, optional
        An explicit list of one radius for each epoch, to be used instead of a decay.
    share : float
        Argument of `default_initial_radius`.

    Returns
    -------
    (epochs,) float64, in lattice units

    Raises
    ------
    ParameterError
        If a decay is not possible (see `decay`), or if an explicit list does not have the length `epochs` or has a
        value that is not positive and finite.

    Examples
    --------
    >>> from som_dask.algorithm.decay import radius_schedule
    >>> radius_schedule("exponential", 10, 16, 4, None, 1.0, None).tolist()
    [8.0, 4.0, 2.0, 1.0]
    """
    if given is None:
        start = default_initial_radius(rows, cols, final, share) if initial is None else initial
        return decay(kind, start, final, epochs)
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (epochs,):
        raise ParameterError(f"radii must list one radius for each of the {epochs} epochs, got {values.size}")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ParameterError(f"radii must all be positive and finite, got {list(given)}")
    return values
