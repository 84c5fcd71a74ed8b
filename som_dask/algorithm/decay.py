"""Decay of the neighborhood radius (and of a learning rate) from epoch to epoch."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Literal, get_args

import numpy as np

from som_dask.errors import ParameterError
from som_dask.numerics.matmul import DIGITS

__all__ = ["Decay", "decay", "default_initial_radius", "radii"]

Decay = Literal["exponential", "linear", "asymptotic"]


def decay(kind: Decay, start: float, end: float, n: int, *, endpoint: bool = True) -> np.ndarray:
    r"""Values that fall (or rise) from `start` to `end` in `n` steps.

    With f = t / (n - 1) for t = 0 .. n - 1 (f = t / n if not `endpoint`):

    * exponential: ``start * (end / start) ** f``. This is ``start * exp(-t / lambda)`` with
      ``lambda = n / ln(start / end)`` when `endpoint` is false; with ``end = 1`` it is the radius of
      Kohonen's per-sample rule.
    * linear: ``start + (end - start) * f``.
    * asymptotic: ``start / (1 + (start / end - 1) * f)``, a hyperbola.

    Each value is rounded to float64 from more digits, so it is the same on every machine.

    Parameters
    ----------
    kind : {"exponential", "linear", "asymptotic"}
    start, end : float
        Positive and finite.
    n : int
        Number of values; with one value it is `start`.
    endpoint : bool
        Whether the last value is `end`; otherwise `end` would be reached one step later.

    Returns
    -------
    (n,) float64

    Raises
    ------
    ParameterError
        For an unknown kind, a negative `n`, or a value that is not positive and finite.
    """
    if kind not in get_args(Decay):
        raise ParameterError(f"decay must be one of {get_args(Decay)}, got {kind!r}")
    if n < 0:
        raise ParameterError(f"the number of epochs must not be negative, got {n}")
    for name, value in (("initial", start), ("final", end)):
        if not (np.isfinite(value) and value > 0):
            raise ParameterError(f"the {name} value of a decay must be positive and finite, got {value}")
    # In decimals, rounded at the end: math libraries differ in the last bit of a power, and start / end may be
    # beyond the range of float64.
    first, last, steps = Decimal(float(start)), Decimal(float(end)), max(n - 1 if endpoint else n, 1)
    with localcontext(DIGITS) as context:  # no difference is taken, so none is lost beside a larger one
        if kind == "exponential":
            rate = context.ln(last / first)
            values = [first * context.exp(rate * t / steps) for t in range(n)]
        elif kind == "linear":
            values = [(first * (steps - t) + last * t) / steps for t in range(n)]
        else:
            values = [steps / ((steps - t) / first + t / last) for t in range(n)]
        return np.array([float(value) for value in values])


def default_initial_radius(rows: int, cols: int, final: float, share: float = 0.5) -> float:
    """A share of the longer side of the map, in lattice units, and never below the final radius."""
    return max(max(rows, cols) * share, final)


def radii(
    kind: Decay,
    rows: int,
    cols: int,
    epochs: int,
    initial: float | None,
    final: float,
    given: Sequence[float] | None,
    share: float = 0.5,
) -> np.ndarray:
    """The neighborhood radius of every epoch.

    Parameters
    ----------
    kind, initial, final
        As in `decay`; ``initial=None`` means `default_initial_radius`, by `share`.
    rows, cols : int
        Size of the lattice.
    epochs : int
    given : sequence of float, optional
        An explicit list, one radius an epoch, which replaces all the others.

    Returns
    -------
    (epochs,) float64, in lattice units

    Raises
    ------
    ParameterError
        If an explicit list has another length than `epochs` or holds a value that is not positive.
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
