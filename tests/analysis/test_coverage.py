"""Reference and target by node: the counts of plain loops, for any blocks, and which nodes are covered."""

import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.coverage import coverage
from som_dask.errors import DataError, ParameterError

LATTICE = Lattice(3, 4)


def labels_of(rng, nodes, n):
    """Labels on some of the nodes; every seventh sample has none."""
    row, col = np.divmod(rng.choice(nodes, n).astype(np.float64), 4)
    row[::7] = col[::7] = np.nan
    return xr.Dataset({"bmu_row": ("cell", row), "bmu_col": ("cell", col)})


def counts_of(labels, weights):
    wanted = np.zeros((3, 4))
    for row, col, weight in zip(labels["bmu_row"].values, labels["bmu_col"].values, weights, strict=True):
        if row >= 0:
            wanted[int(row), int(col)] += weight
    return wanted


@pytest.mark.parametrize("chunks", [None, 23])
def test_counts_and_covered_nodes(chunks, rng):
    reference, target = labels_of(rng, [0, 1, 5, 11], 80), labels_of(rng, range(6), 200)
    lazy = [labels.chunk(cell=chunks) if chunks else labels for labels in (reference, target)]
    found = coverage(*lazy, LATTICE)
    known, wanted = counts_of(reference, np.ones(80)), counts_of(target, np.ones(200))
    np.testing.assert_array_equal(found["reference_count"], known)
    np.testing.assert_array_equal(found["target_count"], wanted)
    assert found["target_count"].dtype == np.int64
    np.testing.assert_array_equal(found["covered"], known > 0)
    assert found["uncovered_nodes"] == 3
    assert float(found["covered_share"]) == wanted[known > 0].sum() / wanted.sum()
    # Each target sample on a covered node is stood for by the reference samples of the node.
    assert float((found["reference_weight"] * known).sum()) == pytest.approx(wanted[known > 0].sum())
    assert np.isnan(found["reference_weight"].values[known == 0]).all()
    assert found.attrs["target_samples_left_out"] == 29
    assert found.attrs["target_samples"] == 171


def test_weights_of_both(rng):
    reference, target = labels_of(rng, range(12), 80), labels_of(rng, range(6), 200)
    weights = [rng.integers(0, 3, n) / 4 for n in (80, 200)]
    found = coverage(
        reference.chunk(cell=9), target, LATTICE, reference_weights=weights[0], target_weights=weights[1]
    )
    np.testing.assert_array_equal(found["reference_count"], counts_of(reference, weights[0]))
    np.testing.assert_array_equal(found["target_count"], counts_of(target, weights[1]))
    assert found["target_count"].attrs["long_name"] == "weight of the target samples"


def test_what_can_not_be_compared(rng):
    labels = labels_of(rng, range(12), 80)
    nowhere = labels * np.nan
    with pytest.raises(DataError, match="no reference sample has a node, so"):
        coverage(nowhere, labels, LATTICE)
    with pytest.raises(DataError, match="no target sample has a node and a weight above 0"):
        coverage(labels, labels, LATTICE, target_weights=np.zeros(80))
    with pytest.raises(DataError, match="outside the map of 2 x 4"):
        coverage(labels, labels, Lattice(2, 4))
    with pytest.raises(DataError, match="the labels lack bmu_col"):
        coverage(labels, labels.drop_vars("bmu_col"), LATTICE)
    with pytest.raises(ParameterError, match="shape"):
        coverage(labels, labels, LATTICE, reference_weights=np.ones(3))
