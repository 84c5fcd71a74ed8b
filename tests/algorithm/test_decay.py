"""Decay: its formulas, its ends, and what it refuses."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.decay import decay, default_initial_radius, radius_schedule
from som_dask.errors import ParameterError

KINDS = ("exponential", "linear", "asymptotic")


def plain(kind, start, end, fraction):
    if kind == "exponential":
        return math.exp(math.log(start) + fraction * (math.log(end) - math.log(start)))
    if kind == "linear":
        return start * (1 - fraction) + end * fraction
    return start * end / (end + fraction * (start - end))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("start", "end"), [(8.0, 1.0), (0.1, 0.7), (3.0, 3.0), (50.0, 0.01)])
def test_values_follow_the_formula(kind, start, end):
    closed = [plain(kind, start, end, t / 6) for t in range(7)]
    np.testing.assert_allclose(decay(kind, start, end, 7), closed, rtol=1e-12)
    half_open = [plain(kind, start, end, t / 7) for t in range(7)]
    np.testing.assert_allclose(decay(kind, start, end, 7, endpoint=False), half_open, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_one_value_is_the_start_and_none_is_none(kind):
    np.testing.assert_array_equal(decay(kind, 5.0, 1.0, 1), [5.0])
    np.testing.assert_array_equal(decay(kind, 5.0, 1.0, 1, endpoint=False), [5.0])
    assert decay(kind, 5.0, 1.0, 0).shape == (0,)
    assert decay(kind, 5.0, 1.0, 0, endpoint=False).shape == (0,)


@pytest.mark.parametrize("sigma", [1.5, 5.0, 200.0])
@pytest.mark.parametrize("n", [1, 2, 10, 100])
def test_exponential_is_the_tutorials_radius(sigma, n):
    scale = n / math.log(sigma)
    expected = [sigma * math.exp(-t / scale) for t in range(n)]
    np.testing.assert_allclose(decay("exponential", sigma, 1.0, n, endpoint=False), expected, rtol=1e-12)


@given(
    kind=st.sampled_from(KINDS),
    start=st.floats(1e-3, 1e3),
    end=st.floats(1e-3, 1e3),
    n=st.integers(2, 60),
)
def test_values_go_one_way_from_start_to_end(kind, start, end, n):
    values = decay(kind, start, end, n)
    assert values.shape == (n,)
    assert values.dtype == np.float64
    slack = 1e-12 * max(start, end)
    np.testing.assert_allclose(values[[0, -1]], [start, end], rtol=1e-12, atol=slack)
    steps = np.diff(values)
    assert (steps <= slack).all() if start >= end else (steps >= -slack).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("start", "end"), [(1e300, 1e-300), (1e-300, 1e300), (1.7e308, 5e-324), (5e-324, 1.7e308), (1.7e308, 1.6e308)]
)
def test_extreme_values_are_met_too(kind, start, end):
    values = decay(kind, start, end, 9)
    np.testing.assert_array_equal(values[[0, -1]], [start, end])
    assert (np.diff(values) <= 0).all() if start > end else (np.diff(values) >= 0).all()
    assert (np.diff(decay(kind, start, end, 9, endpoint=False)) <= 0).all() == (start > end)


def test_values_are_rounded_once():
    start, end = Fraction(50.0), Fraction(0.7)
    values = {kind: decay(kind, 50.0, 0.7, 8).tolist() for kind in KINDS}
    for t in range(8):
        assert values["linear"][t] == float(start + (end - start) * Fraction(t, 7))
        assert values["asymptotic"][t] == float(start / (1 + (start / end - 1) * Fraction(t, 7)))
        # The 7th power of the right value is exact; that of its two neighbors lies on either side.
        power = start**7 * (end / start) ** t
        below, above = (Fraction(math.nextafter(values["exponential"][t], side)) for side in (0.0, math.inf))
        middle = Fraction(values["exponential"][t])
        assert ((below + middle) / 2) ** 7 <= power <= ((above + middle) / 2) ** 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cubic", 2.0, 1.0, 3), "decay must be one of"),
        (("linear", 2.0, 1.0, -1), "must not be negative, got -1"),
        (("linear", 0.0, 1.0, 3), "initial value"),
        (("linear", -2.0, 1.0, 3), "initial value"),
        (("linear", math.nan, 1.0, 3), "initial value"),
        (("exponential", 2.0, 0.0, 3), "final value"),
        (("exponential", 2.0, math.inf, 3), "final value"),
    ],
)
def test_unusable_decays_are_refused(arguments, message):
    with pytest.raises(ParameterError, match=message):
        decay(*arguments)


def test_the_first_radius_is_a_share_of_the_longer_side_but_not_below_the_last():
    assert default_initial_radius(6, 20, 1.0) == 10.0
    assert default_initial_radius(20, 6, 1.0, 0.25) == 5.0
    assert default_initial_radius(1, 1, 1.0) == 1.0
    assert default_initial_radius(2, 3, 4.0) == 4.0


def test_radii_without_a_list_are_a_decay():
    np.testing.assert_array_equal(radius_schedule("linear", 6, 20, 5, None, 1.0, None), decay("linear", 10.0, 1.0, 5))
    np.testing.assert_array_equal(
        radius_schedule("asymptotic", 6, 20, 5, 7.0, 0.5, None), decay("asymptotic", 7.0, 0.5, 5)
    )


def test_a_list_of_radii_is_taken_as_it_is():
    result = radius_schedule("linear", 6, 20, 3, 7.0, 0.5, [3, 1, 2])
    np.testing.assert_array_equal(result, [3.0, 1.0, 2.0])
    assert result.dtype == np.float64


@pytest.mark.parametrize("given_radii", [[3.0, 2.0], [3.0, 2.0, 1.0, 0.5], [], [[3.0, 2.0, 1.0]], 3.0])
def test_a_list_of_another_length_is_refused(given_radii):
    with pytest.raises(ParameterError, match="each of the 3 epochs"):
        radius_schedule("linear", 6, 20, 3, None, 1.0, given_radii)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_list_with_an_unusable_radius_is_refused(bad):
    with pytest.raises(ParameterError, match="positive and finite"):
        radius_schedule("linear", 6, 20, 3, None, 1.0, [3.0, bad, 1.0])
