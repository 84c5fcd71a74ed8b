"""Functions in decimal arithmetic: rounded as from many more digits."""

import math
from decimal import Context, Decimal, localcontext

import numpy as np

from som_dask.numerics import decimals
from som_dask.numerics.decimals import DIGITS, exp


def test_exp_is_rounded_from_more_digits(rng):
    values = np.concatenate(
        [[0.0, -0.0, -1e-300, -(2.0**-54), -745.1, -746.0, -math.inf, 1.0, 700.0], -700 * rng.random(201)]
    )
    with localcontext(prec=60):
        expected = [float(Decimal(v).exp()) for v in values.tolist()]
    np.testing.assert_array_equal(exp(values), expected)
    assert exp(values.reshape(3, -1)).shape == (3, 70)


def test_exp_is_that_of_25_digits_without_computing_them(rng, monkeypatch):
    values = np.concatenate([-np.exp2(rng.uniform(-60, 9.4, 2000)), rng.uniform(-1, 1, 500), 300 * rng.random(500)])
    expected = [float(DIGITS.exp(Decimal(v))) for v in values.tolist()]
    computed = []

    class Counting:
        def exp(self, value):
            computed.append(value)
            return DIGITS.exp(value)

    monkeypatch.setattr(decimals, "DIGITS", Counting())
    np.testing.assert_array_equal(exp(values), expected)
    # Only beside 0, where exp is 1 and a bit, the middle between two float64 may be near.
    assert all(abs(value) < 2**-50 for value in computed)


def test_pairs_of_float64_are_rounded_right_in_the_whole_range(rng):
    values = rng.uniform(-708, 709, 20_000)
    found = np.empty_like(values)
    assert not decimals._exp_of_pairs(values, found)
    context = Context(prec=40)
    np.testing.assert_array_equal(found[::20], [float(context.exp(Decimal(v))) for v in values[::20].tolist()])
