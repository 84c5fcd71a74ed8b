"""Histograms by node: those of NumPy for each node's samples, for any blocks; and distributions that follow."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.coverage import coverage
from som_dask.analysis.node_histograms import calibrate_histogram, summarize_histograms
from som_dask.errors import DataError, ParameterError

LATTICE, N = Lattice(3, 4), 500


@pytest.fixture
def labels(rng):
    """Labels of which some are missing; node (2, 3) has no samples."""
    row, col = np.divmod(rng.integers(0, 11, N).astype(np.float64), 4)
    row[::17] = col[::17] = np.nan
    return xr.Dataset({"bmu_row": ("cell", row), "bmu_col": ("cell", col)})


def plain_histograms(labels, values, weights, edges):
    """NumPy's histogram of the samples of each node."""
    found = np.zeros((3, 4, len(edges) - 1))
    for node in np.ndindex(3, 4):
        here = (labels["bmu_row"].values == node[0]) & (labels["bmu_col"].values == node[1])
        found[node] = np.histogram(values[here], edges, weights=None if weights is None else weights[here])[0]
    return found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("chunks", [None, 61])
def test_histograms_are_those_of_numpy(chunks, weighted, labels, rng):
    values = rng.integers(0, 40, N) / 8  # many of them on edges
    values[::29] = np.nan
    weights = rng.integers(0, 4, N) / 2 if weighted else None
    edges = np.array([1.0, 1.5, 3.0, 4.0])
    given = da.from_array(values, chunks=97) if chunks else values
    some = labels.chunk(cell=chunks) if chunks else labels
    found = summarize_histograms(some, given, LATTICE, bins=edges, sample_weights=weights, density=True)
    wanted = plain_histograms(labels, values, weights, edges)
    np.testing.assert_array_equal(found["histogram"], wanted)
    assert found["histogram"].dtype == (np.float64 if weighted else np.int64)
    ones = np.ones(N) if weights is None else weights
    for name, outside in (("below", values < 1), ("above", values > 4)):
        counts = plain_histograms(labels, np.where(outside, 0.0, np.nan), ones, [0, 1])[..., 0]
        np.testing.assert_array_equal(found[name], counts)
    total = wanted.sum(axis=2) + found["below"].values + found["above"].values
    shares = (found["density"] * (found["bin_right"] - found["bin_left"])).sum("bin", skipna=False)
    np.testing.assert_allclose(shares.values[total > 0], (wanted.sum(axis=2) / np.maximum(total, 1))[total > 0])
    assert np.isnan(shares.values[2, 3])
    np.testing.assert_array_equal(found["bin"], [1.25, 2.25, 3.5])
    counted = labels["bmu_row"].notnull().values & ~np.isnan(values)
    assert found.attrs["samples_without_node"] == 30
    assert found.attrs["samples_without_value"] == N - 30 - np.count_nonzero(counted)
    assert found.attrs["samples"] == np.count_nonzero(counted & (ones > 0))


@pytest.mark.parametrize("chunks", [None, 61])
def test_a_number_of_bins_spans_the_samples_that_count(chunks, labels, rng):
    values, weights = rng.normal(size=N), np.ones(N)
    values[0] = 100.0  # without a node
    values[1], weights[1] = 50.0, 0.0
    counted = np.delete(values, np.concatenate([np.arange(0, N, 17), [1]]))
    some = labels.chunk(cell=chunks) if chunks else labels
    found = summarize_histograms(some, values, LATTICE, bins=7, sample_weights=weights)
    edges = np.histogram_bin_edges(counted, 7)
    np.testing.assert_array_equal(found["bin_left"], edges[:-1])
    np.testing.assert_array_equal(found["bin_right"], edges[1:])
    assert float(found["histogram"].sum()) == len(counted)
    alike = summarize_histograms(some, np.full(N, 3), LATTICE, bins=2)
    assert (float(alike["bin_left"][0]), float(alike["bin_right"][-1])) == (2.5, 3.5)


def test_names_units_and_masks(labels):
    values = xr.DataArray(np.arange(N) % 5, dims="cell", name="z", attrs={"units": "Mpc"})
    found = summarize_histograms(labels, values, LATTICE, bins=5)
    assert found["bin"].attrs == {"long_name": "z", "units": "Mpc"}
    masked = summarize_histograms(labels, np.ma.array(values.values, mask=values.values == 4), LATTICE, bins=5)
    assert float(masked["bin_right"][-1]) == 3
    assert masked.attrs["samples_without_value"] == np.count_nonzero(labels["bmu_row"].notnull() & (values == 4))


def test_a_distribution_follows_from_the_nodes(labels, rng):
    values = labels["bmu_row"].fillna(0).values + rng.random(N) / 2
    reference = labels.isel(cell=slice(100, None)).where(lambda each: each["bmu_col"] != 0)
    edges = np.linspace(0.25, 2.25, 9)  # with values below and above
    histograms = summarize_histograms(reference, values[100:], LATTICE, bins=edges)
    both = coverage(reference, labels, LATTICE)
    found = calibrate_histogram(histograms, both)
    # The same as each reference sample with the weight that it stands for.
    row, col = (np.nan_to_num(reference[name].values, nan=2).astype(int) for name in ("bmu_row", "bmu_col"))
    weights = np.nan_to_num(both["reference_weight"].values[row, col])
    weights[np.isnan(reference["bmu_row"].values)] = 0
    np.testing.assert_allclose(found["histogram"], np.histogram(values[100:], edges, weights=weights)[0])
    assert float(found["below"]) == pytest.approx(weights[values[100:] < 0.25].sum())
    assert float(found["above"]) == pytest.approx(weights[values[100:] > 2.25].sum())
    total = float(both["target_count"].sum())
    assert float(found["covered_count"] + found["uncovered_count"]) == total
    assert float(found["covered_share"]) == pytest.approx(float(both["covered_share"]))
    assert float(found["uncovered_count"]) == float(both["target_count"].where(~both["covered"]).sum()) > 0
    parts = (float(found[name].sum()) for name in ("histogram", "below", "above"))
    assert sum(parts) == pytest.approx(float(found["covered_count"]))
    np.testing.assert_allclose(found["density"] * 0.25 * float(found["covered_count"]), found["histogram"])
    turned = calibrate_histogram(histograms.transpose("bin", "col", "row"), both["target_count"].T)
    np.testing.assert_array_equal(turned["histogram"], found["histogram"])


def test_reference_without_values_does_not_cover(labels, rng):
    values = np.where(labels["bmu_row"] == 0, np.nan, rng.random(N))
    found = calibrate_histogram(summarize_histograms(labels, values, LATTICE), np.ones((3, 4)))
    assert float(found["uncovered_count"]) == 5  # the first row, and the node without samples


BAD_BINS = [0, -3, 5000, True, "many", [1.0], [1, 1], [2, 1], [0, np.inf], [[0, 1], [1, 2]], None, 2.5]


@pytest.mark.parametrize("bins", BAD_BINS, ids=str)
def test_bins_that_are_none(bins, labels):
    with pytest.raises(ParameterError, match="bins"):
        summarize_histograms(labels, np.zeros(N), LATTICE, bins=bins)


def test_what_can_not_be_counted(labels):
    with pytest.raises(DataError, match="dtype <U1; numbers are needed"):
        summarize_histograms(labels, np.full(N, "a"), LATTICE)
    with pytest.raises(DataError, match="infinities"):
        summarize_histograms(labels, np.full(N, np.inf), LATTICE)
    with pytest.raises(DataError, match="no sample has both a node and a value"):
        summarize_histograms(labels, np.full(N, np.nan), LATTICE)
    with pytest.raises(DataError, match="no sample has both a node and a value and a weight above 0"):
        summarize_histograms(labels, np.zeros(N), LATTICE, bins=[0, 1], sample_weights=np.zeros(N))
    with pytest.raises(DataError, match="can't be cut into 4000 bins"):
        summarize_histograms(labels, 1e15 + np.arange(N) / 8, LATTICE, bins=4000)
    histograms = summarize_histograms(labels, np.zeros(N), LATTICE)
    with pytest.raises(DataError, match="apart"):
        calibrate_histogram(histograms, (np.arange(12) == 11).reshape(3, 4))
    for bad in (np.ones((4, 3)), np.full((3, 4), -1), np.full((3, 4), np.nan), xr.DataArray(np.ones((3, 4)))):
        with pytest.raises(ParameterError, match="target counts"):
            calibrate_histogram(histograms, bad)
    with pytest.raises(ParameterError, match="lacks target_count"):
        calibrate_histogram(histograms, histograms)
    with pytest.raises(ParameterError, match="lack below, above"):
        calibrate_histogram(histograms.drop_vars(["below", "above"]), np.ones((3, 4)))
