"""Fixed point: integers that hold what the numbers hold."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.engine.accumulate import add_limbs, normalize, round_limbs
from som_dask.numerics.fixed_point import FIRST_BITS, LIMB_BITS, FixedPoint, join_limbs

ONE = np.ones(1, dtype=np.int64)  # count of the only node


def limbs_of(value, fixed):
    """Limbs of one number of column 0, by exact fractions."""
    rest, limbs = Fraction(value) * Fraction(2) ** int(fixed.shift[0]), []
    for _ in range(fixed.limbs):
        whole = int(rest)  # towards zero
        limbs.append(whole)
        rest = (rest - whole) * 2**LIMB_BITS
    return limbs


def exactly(limbs, fixed):
    """What limbs stand for, as a fraction."""
    total = sum(Fraction(limb) / 2 ** (LIMB_BITS * k) for k, limb in enumerate(limbs))
    return total / Fraction(2) ** int(fixed.shift[0])


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(values=st.lists(FINITE, min_size=1, max_size=20), spare=st.integers(0, 2**40), limbs=st.integers(2, 60))
def test_sums_never_overflow_and_come_back(values, spare, limbs):
    n = len(values) + spare
    fixed = FixedPoint(*vars(FixedPoint.of_range(np.abs([max(values, key=abs)]), n)).values())
    fixed = FixedPoint(fixed.shift, fixed.limit, limbs)
    total = np.zeros((1, limbs, 1), dtype=np.int64)
    for value in values:
        parts = limbs_of(value, fixed)
        assert abs(parts[0]) < fixed.limit
        assert n * fixed.limit <= 2.0 ** (FIRST_BITS + 1)
        one = np.array(parts, dtype=np.int64).reshape(1, limbs, 1)
        normalize(one, ONE)
        add_limbs(total, one, ONE)
    assert all(0 <= limb < 2**LIMB_BITS for limb in total[0, 1:, 0].tolist())
    found = float(round_limbs(total, ONE, np.stack(fixed.inverse_factors()))[0, 0])
    meant = exactly(total[0, :, 0].tolist(), fixed)
    if abs(meant) < 1.7e308:
        assert found == pytest.approx(float(meant), rel=1e-15, abs=5e-324 * limbs)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), seed=st.integers(0, 2**32 - 1))
def test_carrying_makes_equal_sums_equal_integers(values, seed):
    fixed = FixedPoint.of_range(np.array([1e6]), len(values))
    parts = np.array([limbs_of(value, fixed) for value in values], dtype=np.int64)
    together = parts.sum(axis=0).reshape(1, -1, 1)
    normalize(together, ONE)
    apart = np.zeros_like(together)
    for i in np.random.default_rng(seed).permutation(len(values)):
        one = parts[i].reshape(1, -1, 1).copy()
        normalize(one, ONE)
        add_limbs(apart, one, ONE)
    np.testing.assert_array_equal(apart, together)


def test_usual_numbers_need_two_limbs_and_unequal_ones_more():
    for n in (1, 1000, 10**9):
        assert FixedPoint.of_range(np.array([1.0]), n, np.array([-9.0])).limbs == 2
    assert FixedPoint.of_range(np.array([1e36]), 10**6, np.array([-5.0])).limbs == 5
    # 53 bits of the small number fit, for any n and sizes.
    for n in (1, 10**6, 10**12):
        for small in (-5.0, -100.0, -1000.0):
            fixed = FixedPoint.of_range(np.array([1.0]), n, np.array([small]))
            assert fixed.shift[0] + LIMB_BITS * (fixed.limbs - 1) + small >= 53


@pytest.mark.parametrize("largest", [0.0, 5e-324, 1e-310, 1.0, 1.7e308])
def test_factors_are_powers_of_two_whatever_the_range(largest):
    fixed = FixedPoint.of_range(np.array([largest, 1.0]), 100)
    first, second = fixed.factors()
    back = fixed.inverse_factors()
    assert ((first * back[0]) * (second * back[1]) == 1).all()
    assert np.isfinite(first).all()
    assert np.isfinite(second).all()
    scaled = largest * first[0] * second[0]
    assert scaled < fixed.limit
    assert largest == 0 or scaled >= fixed.limit / 2


@given(limbs=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
def test_joined_limbs_are_one_integer(limbs):
    wanted = sum(limb * 2 ** (LIMB_BITS * k) for k, limb in enumerate(reversed(limbs)))
    assert join_limbs(np.array(limbs)) == wanted
