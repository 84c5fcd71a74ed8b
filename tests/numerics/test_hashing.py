"""Fingerprint: the compiled loops against arithmetic on Python's integers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from som_dask.numerics.hashing import hash_rows, hash_rows_at

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


@given(st.integers(0, 40), st.integers(0, 2**40), st.integers(1, 4))
def test_a_hash_of_rows_at_positions(n, first, width):
    values = np.random.default_rng(n).normal(size=(n, width))
    bits = values.view(np.uint64)
    assert int(hash_rows_at(bits, first + np.arange(n))) == int(hash_rows(bits, first)) == plain_hash(values, first)
    order = np.random.default_rng(first).permutation(n)
    assert int(hash_rows_at(bits[order], first + order)) == plain_hash(values, first)
    if n > 1 and order.tolist() != list(range(n)):
        assert int(hash_rows_at(bits[order], first + np.arange(n))) != plain_hash(values, first)
