"""Functions in decimal arithmetic: rounded as from many more digits."""

import math
from decimal import Decimal, localcontext

import numpy as np

from som_dask.numerics.decimals import exp


def test_exp_is_rounded_from_more_digits(rng):
    values = np.concatenate([[0.0, -0.0, -1e-300, -745.1, -746.0, -math.inf, 1.0, 700.0], -700 * rng.random(200)])
    with localcontext(prec=60):
        expected = [float(Decimal(v).exp()) for v in values.tolist()]
    np.testing.assert_array_equal(exp(values), expected)
    assert exp(values.reshape(4, -1)).shape == (4, 52)
