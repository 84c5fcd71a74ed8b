"""Scaling as one pass finds it: against NumPy on the whole table, with weights and gaps, in any blocks."""

import functools
import operator

import numpy as np
import pytest

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.engine.block import Block
from som_dask.errors import DataError
from som_dask.passes.scaling import find_center_and_scale, fit_space, range_of_points
from som_dask.passes.statistics import Quantiles, statistic_for
from som_dask.passes.summary import summarize_block
from tests.engine.test_gap_search import holes


def summary_of(data, scaling, weights=None, missing="mask", cuts=()):
    blocks = np.split(np.arange(len(data)), cuts)
    parts = []
    for i, rows in enumerate(blocks):
        block = Block.of(data[rows], None if weights is None else weights[rows], int(rows[0]))
        parts.append(summarize_block(block, i, missing, statistic_for(scaling)))
    return functools.reduce(operator.add, parts)


@pytest.fixture
def table(rng):
    return holes(rng.normal(size=(500, 3)) * [1, 1e-3, 50] + [0, 101325, -7], 0.2, rng)


def test_zscore_is_mean_and_deviation(table):
    center, scale = find_center_and_scale("zscore", summary_of(table, "zscore"))
    np.testing.assert_allclose(center, np.nanmean(table, axis=0), rtol=1e-14)
    np.testing.assert_allclose(scale, np.nanstd(table, axis=0), rtol=1e-9)


def test_range_is_from_zero_to_one(table):
    center, scale = find_center_and_scale("range", summary_of(table, "range"))
    np.testing.assert_array_equal(center, np.nanmin(table, axis=0))
    np.testing.assert_array_equal(scale, np.nanmax(table, axis=0) - np.nanmin(table, axis=0))


def test_robust_is_the_median_and_the_quartiles(rng):
    table = holes(rng.standard_t(2, size=(60_000, 2)) * [1, 30] + [5, -4], 0.1, rng)
    low, middle, high = np.nanpercentile(table, [25, 50, 75], axis=0)
    for cuts in ((), (1000, 1001, 30_000)):
        center, scale = find_center_and_scale("robust", summary_of(table, "robust", cuts=cuts))
        np.testing.assert_allclose((center - middle) / (high - low), 0, atol=0.01)
        np.testing.assert_allclose(scale, high - low, rtol=0.02)


def test_none_leaves_values_alone(table):
    center, scale = find_center_and_scale("none", summary_of(table, "none"))
    np.testing.assert_array_equal(center, np.zeros(3))
    np.testing.assert_array_equal(scale, np.ones(3))


@pytest.mark.parametrize("scaling", ["zscore", "range", "robust"])
def test_weights_count_like_copies(scaling, rng):
    table, weights = rng.normal(size=(400, 2)), rng.integers(0, 5, 400).astype(float)
    weighted = find_center_and_scale(scaling, summary_of(table, scaling, weights))
    copies = find_center_and_scale(scaling, summary_of(table.repeat(weights.astype(int), axis=0), scaling))
    np.testing.assert_allclose(weighted, copies, rtol=0.05 if scaling == "robust" else 1e-13, atol=0.03)


@pytest.mark.parametrize("scaling", ["zscore", "range"])
def test_any_blocks_give_the_same_bits(scaling, table, rng):
    weights = rng.random(500)
    whole = find_center_and_scale(scaling, summary_of(table, scaling, weights))
    for cuts in ([1], [250, 251, 499]):
        np.testing.assert_array_equal(
            whole, find_center_and_scale(scaling, summary_of(table, scaling, weights, cuts=cuts))
        )


@pytest.mark.parametrize("scaling", ["zscore", "range", "robust"])
def test_constant_and_unknown_features_are_divided_by_one(scaling):
    data = np.column_stack([np.full(50, 0.1), np.full(50, np.nan), np.arange(50.0)])
    center, scale = find_center_and_scale(scaling, summary_of(data, scaling))
    assert center[0] == 0.1
    assert (center[1], scale[0], scale[1]) == (0, 1, 1)
    assert scale[2] > 1


def test_left_out_samples_do_not_count(rng):
    data = rng.normal(size=(100, 2))
    data[:50, 0] = np.nan
    data[:50, 1] = 1e9
    center, _ = find_center_and_scale("zscore", summary_of(data, "zscore", missing="drop"))
    np.testing.assert_allclose(center, data[50:].mean(axis=0))


def test_quantiles_of_nothing():
    quantiles = Quantiles.zero(2) + Quantiles.zero(2)
    assert np.isnan(quantiles.quartiles()).all()


def test_where_nothing_is_missing_samples_take_the_plain_way(rng):
    data = rng.normal(size=(20, 3))
    assert fit_space(summary_of(data, "none"), missing="mask").takes_samples_as_they_are
    data[:, 1] = np.nan
    masked = fit_space(summary_of(data, "none"), missing="mask")
    assert (masked.missing, masked.gaps) == ("error", False)
    np.testing.assert_array_equal(masked.used, [True, False, True])
    data[3, 0] = np.nan
    assert fit_space(summary_of(data, "none"), missing="mask").gaps


def test_a_map_that_goes_on_keeps_its_scaling(rng):
    old = fit_space(
        summary_of(rng.normal(size=(50, 2)), "zscore"), scaling="zscore", feature_weights=np.array([1.0, 4.0])
    )
    new = fit_space(summary_of(100 * rng.normal(size=(50, 2)), "none"), scaled_by=old, weighted=True)
    np.testing.assert_array_equal(new.scale, old.scale)
    np.testing.assert_array_equal(new.feature_weights, [1.0, 4.0])
    assert new.weighted


@pytest.mark.parametrize("scaling", ["none", "zscore", "range"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_points_lie_in_the_range(scaling, metric, rng):
    data = rng.normal(size=(200, 3)) * [1, 100, 1e-4]
    summary = summary_of(data, scaling)
    space = fit_space(summary, scaling=scaling, metric=metric, feature_weights=np.array([0.3, 1.0, 7.0]))
    least, most, small = range_of_points(summary, space)
    (part,) = space.parts(data)
    assert (part.values >= least).all()
    assert (part.values <= most).all()
    if metric == "euclidean":  # of directions the large features are all that counts
        assert (np.median(np.abs(part.values), axis=0) > 2.0**small).all()


def test_errors_are_clear():
    with pytest.raises(DataError, match="no sample is left: of 3 all lack values"):
        fit_space(summary_of(np.full((3, 2), np.nan), "none"), missing="mask")
    with pytest.raises(DataError, match="no sample is left: of 2 all weigh nothing"):
        fit_space(summary_of(np.ones((2, 2)), "none", np.zeros(2)), weighted=True)
    with pytest.raises(DataError, match="too large for scaling 'range'"):
        fit_space(summary_of(np.array([[-1.7e308], [1.7e308]]), "range"), scaling="range")
    assert FeatureSpace.plain(1).takes_samples_as_they_are


@pytest.mark.parametrize(("size", "weight"), [(1e154, 1.0), (1e200, 1.0), (1.0, 1e300), (1e-140, 1.0), (1.0, 1e-300)])
def test_squares_beyond_float64_are_refused(size, weight, rng):
    what = "small" if size * weight < 1 else "large"
    with pytest.raises(DataError, match=f"too {what} for scaling 'zscore'"):
        fit_space(summary_of(size * rng.normal(size=(50, 2)), "zscore", np.full(50, weight)), scaling="zscore")


@pytest.mark.parametrize("size", [2.0**-400, 2.0**470])
def test_zscore_of_the_largest_and_least_numbers(size, table):
    scale = fit_space(summary_of(table, "zscore"), scaling="zscore", missing="mask").scale
    found = fit_space(summary_of(table * size, "zscore"), scaling="zscore", missing="mask").scale
    np.testing.assert_array_equal(found / size, scale)


@pytest.mark.parametrize(("size", "weight"), [(1e10, 1e299), (1.0, 1.7e308), (1e-200, 1e-100), (1.0, 5e-324)])
def test_weights_beyond_float64_are_refused(size, weight, rng):
    what = "multiply" if weight < 1 else "divide"
    with pytest.raises(DataError, match=f"{what} all weights"):
        fit_space(summary_of(size * rng.normal(size=(50, 2)), "none", np.full(50, weight)), weighted=True)
