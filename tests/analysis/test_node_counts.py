"""Counts and moments of blocks add up to those of the whole."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.node_counts import ClassCounts, NodeMoments, flatten_nodes
from som_dask.errors import DataError

LATTICE = Lattice(3, 4)


def test_flat_nodes():
    row, col = np.array([[0, np.nan, 2], [1, -1, 0]]), np.array([[3, 0, 0], [2, 1, np.nan]])
    found = flatten_nodes(row, col, LATTICE)
    assert found.dtype == np.int64
    assert found.tolist() == [[3, -1, 8], [6, -1, -1]]
    for outside in ((3, 0), (0, 4)):
        with pytest.raises(DataError, match="outside the map of 3 x 4"):
            flatten_nodes(*np.array(outside)[:, None], LATTICE)


def test_classes_that_only_some_blocks_have():
    zeros = np.zeros(3, dtype=np.int64)
    first = ClassCounts.of(zeros, zeros, np.array(["b", "c", "b"]), LATTICE)
    other = ClassCounts.of(zeros, zeros, np.array(["c", "a", None], dtype=object), LATTICE)
    empty = ClassCounts.of(zeros[:0], zeros[:0], np.array([], dtype=object), LATTICE)
    total = (empty + first + other + empty).sort_classes()
    assert total.classes.tolist() == ["a", "b", "c"]
    assert total.counts[0].tolist() == [1, 2, 2]
    assert total.counts[1:].sum() == 0
    assert (total.no_node, total.no_class) == (0, 1)


@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    kinds=st.integers(1, 5),
)
def test_counts_add_up_in_any_blocks(seed, cuts, kinds):
    rng = np.random.default_rng(seed)
    row, col, classes = rng.integers(-1, 3, 60), rng.integers(0, 4, 60), rng.integers(0, kinds, 60)
    whole = ClassCounts.of(row, col, classes, LATTICE).sort_classes()
    edges = [0, *sorted(cuts), 60]
    parts = [ClassCounts.of(row[a:b], col[a:b], classes[a:b], LATTICE) for a, b in itertools.pairwise(edges)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    total = total.sort_classes()
    assert total.classes.tolist() == whole.classes.tolist()
    np.testing.assert_array_equal(total.counts, whole.counts)
    assert (total.no_node, total.no_class) == (whole.no_node, whole.no_class) == (np.count_nonzero(row < 0), 0)


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 50), offset=st.sampled_from([0.0, -1e6, 1e12]))
def test_moments_of_parts_are_those_of_the_whole(seed, cut, offset):
    rng = np.random.default_rng(seed)
    row, col, values = rng.integers(0, 3, 50), rng.integers(0, 4, 50), offset + rng.normal(size=50)
    whole = NodeMoments.of(row, col, values, LATTICE)
    parts = [NodeMoments.of(row[some], col[some], values[some], LATTICE) for some in (slice(cut), slice(cut, None))]
    total = parts[0] + parts[1]
    np.testing.assert_array_equal(total.count, whole.count)
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(total.deviation, whole.deviation, rtol=1e-9 if not offset else 1e-3, atol=1e-12)
