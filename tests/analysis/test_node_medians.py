"""Medians of nodes: those of NumPy, whatever the blocks, the dtype and the gaps."""

import dask.array as da
import numpy as np
import pytest

from som_dask.analysis import node_medians
from som_dask.analysis.node_medians import find_node_medians


def by_numpy(nodes, values, n_nodes):
    found = np.full((n_nodes, values.shape[1]), np.nan)
    for node in range(n_nodes):
        for d in range(values.shape[1]):
            mine = values[nodes == node, d].astype(float)
            mine = mine[~np.isnan(mine)]
            if len(mine):
                found[node, d] = np.median(mine)
    return found


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "i8", "?"])
@pytest.mark.parametrize("rows", [1000, 37])
def test_medians_are_those_of_numpy(dtype, rows, rng):
    values = (rng.normal(size=(1000, 3)) * [1, 1e4, 3]).round(1).astype(dtype)
    nodes = rng.integers(-1, 8, size=1000)
    nodes[nodes == 5] = -1
    if values.dtype.kind == "f":
        values[rng.random(values.shape) < 0.1] = np.nan
        values[nodes == 3, 1] = np.nan
        values[nodes == 2, 0] = np.inf
    found = find_node_medians(nodes, da.from_array(values, chunks=(rows, 3)), 8)
    np.testing.assert_array_equal(found, by_numpy(nodes, values, 8))


def test_digits_of_few_bits(rng, monkeypatch):
    monkeypatch.setattr(node_medians, "LEAST_COUNTS", 16 * 6 * 2**5)
    monkeypatch.setattr(node_medians, "MOST_COUNTS", 16 * 6 * 2**5)
    values, nodes = rng.normal(size=(200, 2)).astype("f4"), rng.integers(0, 3, size=200)
    found = find_node_medians(nodes, da.from_array(values, chunks=(64, 2)), 3)
    np.testing.assert_array_equal(found, by_numpy(nodes, values, 3))


def test_no_minus_before_zero():
    found = find_node_medians(np.zeros(1, int), da.from_array(np.full((1, 1), -0.0)), 1)
    assert not np.signbit(found).any()
