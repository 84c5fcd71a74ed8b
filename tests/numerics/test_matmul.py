"""Ordered arithmetic: each sum is the chain of fused multiply-adds that it is said to be, whatever the shape."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.numerics import matmul as ordered
from som_dask.numerics.matmul import product


def plain_product(a, b, start=None):
    """Each sum in exact fractions, rounded after each step."""
    result = np.zeros((a.shape[0], b.shape[1])) if start is None else start.copy()
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            for x, y in zip(a[i].tolist(), b[:, j].tolist(), strict=True):
                result[i, j] = float(Fraction(x) * Fraction(y) + Fraction(float(result[i, j])))
    return result


def same_bits(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()


@given(
    m=st.integers(1, 14),
    k=st.integers(0, 40),
    n=st.integers(1, 19),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    spread=st.sampled_from([0, 30, 500]),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_sum_is_fused_in_ascending_order(m, k, n, density, spread, seed):
    rng = np.random.default_rng(seed)
    a, b, start = (
        np.ldexp(rng.normal(size=shape), rng.integers(-spread, spread + 1, size=shape))
        for shape in ((m, k), (k, n), (m, n))
    )
    a *= rng.random(a.shape) < density
    assert same_bits(product(a, b), plain_product(a, b))
    assert same_bits(product(a, b, onto=start.copy()), plain_product(a, b, start))


def test_a_tiny_negative_product_is_no_negative_zero():
    a, b = np.zeros((1, 100)), np.zeros((100, 1))
    a[0, 3], b[3, 0] = -1e-200, 1e-200
    assert not np.signbit(product(a, b)).any()


@pytest.mark.parametrize(
    ("m", "k", "n"), [(1, 1, 1), (61, 1100, 70), (700, 513, 33), (5, 2000, 300), (300, 2000, 5), (200, 30, 801)]
)
def test_large_products(m, k, n, rng):
    a, b = rng.normal(size=(m, k)), rng.normal(size=(k, n))
    result = product(a, b)
    np.testing.assert_allclose(result, a @ b, atol=1e-14 * k)
    # The order of a sum does not depend on what is beside it.
    for i, j in ((0, 0), (m - 1, n - 1), (m // 2, n // 2), (m // 3, n - 1)):
        assert result[i, j] == product(a[i : i + 1], b[:, j : j + 1])[0, 0]


@pytest.mark.parametrize("wraps", [False, True])
def test_stretches_of_zeros_are_passed_over(wraps, rng):
    place = np.arange(400)
    distance = np.abs(place[:, None] - place)
    band = np.where(np.minimum(distance, 400 - distance if wraps else 400) < 20, rng.random((400, 400)), 0.0)
    values = rng.normal(size=(400, 90)) * (rng.random((400, 1)) < 0.3)
    tiny = np.where(band > 0, band, 1e-320)  # nothing is zero, and what is added rounds away
    values += np.copysign(1e-4, values)
    assert same_bits(product(band, values) + 0.0, product(tiny, values))
    assert same_bits(product(values.T, band), product(values.T.copy(), tiny))


@pytest.mark.parametrize("shape", [(600, 500, 90), (90, 500, 600)])
def test_the_number_of_threads_does_not_matter(shape, rng, monkeypatch):
    m, k, n = shape
    a, b = rng.normal(size=(m, k)), rng.normal(size=(k, n))
    results = []
    for cores in (1, 2, 3, 7):
        monkeypatch.setattr(ordered, "core_count", lambda cores=cores: cores)
        results.append(product(a, b))
    assert all(same_bits(results[0], result) for result in results)


def test_alone_hands_nothing_to_other_threads(rng, monkeypatch):
    a, b, shares = rng.normal(size=(300, 300)), rng.normal(size=(300, 300)), []
    run = ordered.run_in_threads
    monkeypatch.setattr(ordered, "core_count", lambda: 4)
    monkeypatch.setattr(ordered, "run_in_threads", lambda f, parts: shares.append(len(parts)) or run(f, parts))
    assert same_bits(product(a, b), product(a, b, alone=True))
    assert shares == [4, 1]


def test_layout_and_type_do_not_matter(rng):
    a, b = rng.normal(size=(20, 31)), rng.normal(size=(31, 9))
    expected = product(a, b)
    assert same_bits(product(np.asfortranarray(a), b[:, ::-1][:, ::-1]), expected)
    whole = product(np.arange(6).reshape(2, 3), np.ones((3, 2), dtype=np.float32))
    assert same_bits(whole, np.array([[3.0, 3.0], [12.0, 12.0]]))


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_empty_products(shape):
    m, k, n = shape
    assert same_bits(product(np.ones((m, k)), np.ones((k, n))), np.zeros((m, n)))


def test_what_does_not_fit_is_refused():
    a, b = np.ones((2, 3)), np.ones((3, 4))
    with pytest.raises(ValueError, match="make no matrix product"):
        product(b, a)
    with pytest.raises(ValueError, match="make no matrix product"):
        product(a, b[0])
    for onto in (np.zeros((4, 2)), np.zeros((2, 4), dtype=np.float32), np.zeros((4, 2)).T):
        with pytest.raises(ValueError, match="C-contiguous"):
            product(a, b, onto=onto)
