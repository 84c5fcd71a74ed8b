"""Fingerprint: the compiled loops against arithmetic on Python's integers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.numerics.hashing import BIAS, hash_rows, hash_rows_at, scan_rows

GOLDEN = 0x9E3779B97F4A7C15


def mix(z):
    """SplitMix64's last step."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def plain_hash(values, first_row):
    total = 0
    for i, row in enumerate((values + 0.0).view(np.uint64).tolist()):
        inner = sum(mix((bits + (j + 1) * GOLDEN) % 2**64) for j, bits in enumerate(row))
        total += mix((inner + (first_row + i) * GOLDEN) % 2**64)
    return total % 2**64


@given(
    rows=st.lists(st.lists(st.floats(), min_size=3, max_size=3), max_size=8),
    first_row=st.integers(0, 2**40),
)
def test_it_is_the_plain_hash(rows, first_row):
    values = np.array(rows, dtype=np.float64).reshape(-1, 3)
    assert int(hash_rows(values.view(np.uint64), first_row)) == plain_hash(values, first_row)


@given(rows=st.lists(st.lists(st.floats(), min_size=2, max_size=2), min_size=1, max_size=10))
def test_a_scan_is_the_plain_one(rows):
    values = np.array(rows, dtype=np.float64)
    minimum, maximum = np.full(2, np.inf), np.full(2, -np.inf)
    sizes = np.zeros((3, 2), dtype=np.int64)
    nonfinite = scan_rows(values, values.view(np.uint64), minimum, maximum, sizes)
    finite = np.isfinite(values)
    assert nonfinite == np.count_nonzero(~finite)
    for j in range(2):
        column = values[finite[:, j], j]
        assert minimum[j] == column.min(initial=np.inf)
        assert maximum[j] == column.max(initial=-np.inf)
        normal = [v for v in column.tolist() if v]
        exponents = [max(math.frexp(v)[1], 1 - BIAS - 1) + BIAS for v in normal]
        assert sizes[:, j].tolist() == [len(normal), sum(exponents), sum(e * e for e in exponents)]


@pytest.mark.parametrize("value", [1.0, -1.5, 0.75, 1e-300, 1e300])
def test_the_bias_is_that_of_frexp(value):
    sizes = np.zeros((3, 1), dtype=np.int64)
    values = np.array([[value]])
    scan_rows(values, values.view(np.uint64), np.zeros(1), np.zeros(1), sizes)
    assert sizes[1, 0] - BIAS == math.frexp(value)[1]


@given(st.integers(0, 40), st.integers(0, 2**40), st.integers(1, 4))
def test_a_hash_of_rows_at_positions(n, first, width):
    values = np.random.default_rng(n).normal(size=(n, width))
    bits = values.view(np.uint64)
    assert int(hash_rows_at(bits, first + np.arange(n))) == int(hash_rows(bits, first)) == plain_hash(values, first)
    order = np.random.default_rng(first).permutation(n)
    assert int(hash_rows_at(bits[order], first + order)) == plain_hash(values, first)
    if n > 1 and order.tolist() != list(range(n)):
        assert int(hash_rows_at(bits[order], first + np.arange(n))) != plain_hash(values, first)
