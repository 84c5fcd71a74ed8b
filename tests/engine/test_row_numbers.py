"""Positions: numbers of rows are those in C order over all samples, whatever the blocks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from som_dask.engine.row_numbers import (
    BoxRows,
    ConsecutiveRows,
    JoinedRows,
    all_box_rows,
    join_rows,
    table_rows,
)

grids = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple), min_size=1, max_size=4).map(tuple)


def plain_numbers(grid):
    """Numbers of the rows of each block, by cutting an array of all numbers."""
    full = [sum(sizes) for sizes in grid]
    everything = np.arange(np.prod(full)).reshape(full)
    edges = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in grid]
    for place in np.ndindex(*(len(sizes) for sizes in grid)):
        box = tuple(slice(e[i], e[i + 1]) for e, i in zip(edges, place, strict=True))
        yield everything[box].ravel()


@given(grids)
def test_numbers_are_those_of_all_samples_cut_into_blocks(grid):
    for rows, wanted in zip(all_box_rows(grid), plain_numbers(grid), strict=True):
        np.testing.assert_array_equal(rows.numbers(), wanted)
        assert (len(rows), rows.first) == (len(wanted), wanted[0])
        assert rows.contiguous == bool((np.diff(wanted) == 1).all())


@given(grids, st.data())
def test_some_rows_of_a_block_and_of_joined_blocks(grid, data):
    parts = list(plain_numbers(grid))
    first = data.draw(st.integers(0, len(parts) - 1))
    last = data.draw(st.integers(first, len(parts) - 1))
    wanted = np.concatenate(parts[first : last + 1])
    boxes = list(all_box_rows(grid))[first : last + 1]
    rows = join_rows(boxes, [len(box) for box in boxes])
    start = data.draw(st.integers(0, len(wanted)))
    n = data.draw(st.integers(0, len(wanted) - start))
    found = rows.numbers(start, n)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, wanted[start : start + n])
    np.testing.assert_array_equal(rows.numbers(), wanted)
    assert rows.contiguous == bool((np.diff(wanted) == 1).all())
    assert (rows.first, len(rows)) == (wanted[0], len(wanted))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=6), st.data())
def test_blocks_that_are_not_neighbors_are_joined(blocks, data):
    starts = np.cumsum([skipped for skipped, _ in blocks]) + np.cumsum([0, *(n for _, n in blocks[:-1])])
    wanted = np.concatenate([np.arange(start, start + n) for start, (_, n) in zip(starts, blocks, strict=True)])
    rows = join_rows([ConsecutiveRows(int(start)) for start in starts], [n for _, n in blocks])
    start = data.draw(st.integers(0, len(wanted) - 1))
    n = data.draw(st.integers(1, len(wanted) - start))
    found = rows.at(start, n)
    np.testing.assert_array_equal(
        found + np.arange(n) if isinstance(found, int) else found, wanted[start : start + n]
    )
    assert isinstance(rows, JoinedRows) == bool((np.diff(wanted) > 1).any())


@given(grids)
def test_a_table_of_the_blocks_has_each_row_where_it_is_said_to_be(grid):
    table = np.concatenate(list(plain_numbers(grid)))
    np.testing.assert_array_equal(table[table_rows(np.arange(len(table)), grid)], np.arange(len(table)))


def test_no_rows():
    rows = BoxRows((2, 0), (0, 3), (5, 6))
    assert len(rows) == 0
    assert rows.numbers().shape == (0,)
    assert table_rows(np.array([], dtype=int), ((2, 3), (4,))).shape == (0,)
