"""Sizes of objects with the arrays that they hold."""

import sys
from dataclasses import dataclass

import numpy as np
import pytest

from som_dask.numerics.sizes import HasSize, size_of


@dataclass
class Inner(HasSize):
    values: np.ndarray


@dataclass(frozen=True)
class Outer(HasSize):
    inner: Inner
    several: tuple[np.ndarray, ...] | None
    number: int = 0


def test_all_that_attributes_hold_counts():
    inner, several = Inner(np.zeros((100, 30))), (np.zeros(500), np.zeros(700, dtype=np.float32))
    assert 24_000 <= sys.getsizeof(inner) < 24_500
    assert 24_000 + 4000 + 2800 <= sys.getsizeof(Outer(inner, several)) < 32_000
    assert sys.getsizeof(Outer(inner, None)) < 25_000


@pytest.mark.parametrize("n", [0, 3, 30_000])
def test_long_sequences_are_estimated(n):
    numbers = tuple((2**40 + i, 2**40, 2**40) for i in range(n))
    exact = sys.getsizeof(numbers) + sum(sys.getsizeof(each) + sum(map(sys.getsizeof, each)) for each in numbers)
    assert size_of(numbers) == exact
    assert size_of(list(numbers)) == pytest.approx(exact, abs=100 + n)


def test_views_count_with_all_their_bytes():
    assert size_of(np.broadcast_to(np.float64(0), (1000,))) == 8000
