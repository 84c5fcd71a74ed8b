"""Scans of a table: the compiled loops against NumPy and frexp."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.numerics.scan import BIAS, column_ranges, scan_rows


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


@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_ranges_of_columns(n, rng):
    table = rng.normal(size=(n, 5))
    least, greatest = column_ranges(table)
    np.testing.assert_array_equal(least, table.min(axis=0))
    np.testing.assert_array_equal(greatest, table.max(axis=0))
