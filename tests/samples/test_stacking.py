"""Stacking: any dimensions as a table and back, each block made of the chunks that it overlaps and no others."""

import math

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.optimization import cull
from hypothesis import given
from hypothesis import strategies as st

from som_dask.engine.row_numbers import all_box_rows
from som_dask.samples.stacking import (
    choose_grid,
    cut_grid,
    even_out_grid,
    regrid_table,
    spread_values,
    stack_variables,
    unstack_column,
)

SIZES = {"time": 6, "lat": 4, "lon": 5, "level": 3}


@st.composite
def cases(draw):
    """A DataArray with its dimensions in any order and chunks, and some of them as samples in any order."""
    dims = draw(st.permutations(list(SIZES)))[: draw(st.integers(2, 4))]
    values = np.arange(np.prod([SIZES[d] for d in dims]), dtype=np.float64).reshape([SIZES[d] for d in dims])
    array = xr.DataArray(values, dims=dims, name="z")
    chunks = {dim: draw(st.integers(1, SIZES[dim])) for dim in dims}
    if draw(st.booleans()):
        array = array.chunk(chunks)
    samples = draw(st.permutations(dims))[: draw(st.integers(1, len(dims)))]
    return array, tuple(samples), draw(st.integers(1, 80))


def plain_table(array, samples):
    return array.transpose(*samples, ...).values.reshape(np.prod([SIZES[d] for d in samples]), -1)


@given(cases())
def test_a_table_has_the_rows_of_the_stacked_array(case):
    array, samples, rows = case
    grid = choose_grid([array], samples, rows)
    table = stack_variables([array.transpose(*samples, ...)], samples, grid)
    numbers = np.concatenate([box.numbers() for box in all_box_rows(grid)])
    found = table.compute()
    np.testing.assert_array_equal(found, plain_table(array, samples)[numbers])
    assert table.numblocks[1] == 1
    assert max(table.chunks[0]) <= rows
    back = unstack_column(table, grid)
    assert back.chunks == (*grid, (found.shape[1],))
    np.testing.assert_array_equal(back, array.transpose(*samples, ...).values.reshape(back.shape))
    np.testing.assert_array_equal(unstack_column(table[:, 0], grid), back[..., 0])
    even, cut = even_out_grid(grid), cut_grid(grid, max(rows // 3, 1))
    assert all(set(sizes[:-1]) <= {sizes[0]} and sizes[-1] <= sizes[0] for sizes in even)
    assert math.prod(max(sizes) for sizes in cut) <= max(rows // 3, 1)
    for its_grid in (even, cut):
        regridded = regrid_table(table, grid, its_grid)
        numbers = np.concatenate([box.numbers() for box in all_box_rows(its_grid)])
        np.testing.assert_array_equal(regridded, plain_table(array, samples)[numbers])


@given(cases())
def test_numbers_on_some_dimensions_are_spread_over_the_others(case):
    array, samples, rows = case
    grid = choose_grid([array], samples, rows)
    for n in range(len(samples) + 1):
        some = samples[:n][::-1]
        values = xr.DataArray(np.random.default_rng(n).normal(size=[SIZES[d] for d in some]), dims=some)
        wanted = values.broadcast_like(xr.DataArray(np.zeros([SIZES[d] for d in samples]), dims=samples))
        column = spread_values(values, samples, grid)
        np.testing.assert_array_equal(unstack_column(column, grid), wanted.transpose(*samples).values)


def chunks_read(table, block):
    """Which chunks of arrays called "source..." a block of the table depends on."""
    graph, _ = cull(dict(table.__dask_graph__()), [(table.name, block, 0)])
    return {key[1:] for key in graph if isinstance(key, tuple) and str(key[0]).startswith("source")}


@pytest.mark.parametrize("samples", [("time",), ("lat", "time"), ("time", "lat", "lon"), ("lon", "lat")])
@pytest.mark.parametrize("rows", [1, 300, 10**6])
def test_a_block_depends_only_on_the_chunks_that_it_overlaps(samples, rows):
    dims, sizes, chunk = ("time", "lat", "lon"), (60, 40, 30), (7, 9, 10)
    source = xr.DataArray(da.zeros(sizes, chunks=chunk, name="source"), dims=dims)
    grid = choose_grid([source], samples, rows)
    with dask.config.set({"array.rechunk.method": "p2p"}):
        table = stack_variables([source.transpose(*samples, ...)], samples, grid)
    boxes = list(all_box_rows(grid))
    assert len(boxes) == len(table.chunks[0])
    for i in range(0, len(boxes), 1 + len(boxes) // 5):
        box = boxes[i]
        of = dict(zip(samples, zip(box.offsets, box.shape, strict=True), strict=True))
        bounds = [of.get(dim, (0, size)) for dim, size in zip(dims, sizes, strict=True)]
        wanted = np.indices([-(-n // c) for n, c in zip(sizes, chunk, strict=True)]).reshape(3, -1).T
        first = np.array([o // c for (o, _), c in zip(bounds, chunk, strict=True)])
        last = np.array([(o + n - 1) // c for (o, n), c in zip(bounds, chunk, strict=True)])
        inside = wanted[((wanted >= first) & (wanted <= last)).all(axis=1)]
        assert chunks_read(table, i) == {tuple(int(c) for c in row) for row in inside}


def test_chunks_are_merged_along_the_last_dimensions_first():
    source = xr.DataArray(da.zeros((100, 40, 30), chunks=(1, 20, 10)), dims=("time", "lat", "lon"))
    assert choose_grid([source], source.dims, 1200) == ((1,) * 100, (40,), (30,))
    assert choose_grid([source], source.dims, 12_000) == ((10,) * 10, (40,), (30,))
    assert choose_grid([source], source.dims, 700) == ((1,) * 100, (20, 20), (30,))
    assert choose_grid([source], source.dims, 10)[1:] == ((1,) * 40, (10, 10, 10))


def test_chunks_of_a_store_are_never_cut():
    source = xr.DataArray(np.zeros((100, 40, 30)), dims=("time", "lat", "lon"))
    source.encoding["chunks"] = (12, 40, 8)
    assert choose_grid([source], ("lat", "time", "lon"), 10) == ((40,), (12,) * 8 + (4,), (8, 8, 8, 6))
    assert choose_grid([source], ("time",), 30) == ((24,) * 4 + (4,),)


def test_variables_in_other_chunks_meet_at_common_edges():
    one = xr.DataArray(da.zeros((60, 2), chunks=(10, 1)), dims=("time", "a"))
    two = xr.DataArray(da.zeros(60, chunks=15), dims="time")
    assert choose_grid([one, two], ["time"], 35) == ((30, 30),)
    one, two = (v.drop_encoding() for v in (xr.DataArray(np.zeros((60, 2)), dims=("time", "a")), one[:, 0].compute()))
    one.encoding["chunks"], two.encoding["chunks"] = (10, 1), (15,)
    assert choose_grid([one, two], ["time"], 35) == ((30, 30),)


def test_variables_of_several_dtypes_are_joined_in_the_widest():
    one = xr.DataArray(np.arange(6, dtype=np.int16).reshape(3, 2), dims=("time", "a"))
    two = xr.DataArray(np.array([0.5, 1.5, 2.5], dtype=np.float32), dims="time")
    table = stack_variables([one, two], ["time"], ((2, 1),))
    assert table.dtype == np.float32
    assert table.blocks[0].compute().dtype == np.float32
    np.testing.assert_array_equal(table, [[0, 1, 0.5], [2, 3, 1.5], [4, 5, 2.5]])
