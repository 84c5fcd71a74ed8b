"""Plane moments: whole numbers for any chunking, near the true ones; weights and gaps against a plain twin."""

import functools
import itertools
import operator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.engine.block import Block
from som_dask.passes.plane_moments import TILE_ROWS, Quantizer, measure_block_plane
from som_dask.passes.summary import summarize_block
from tests.engine.test_gap_search import holes


def quantizer_of(data):
    return Quantizer.of(summarize_block(Block.of(data)), FeatureSpace.plain(data.shape[1]))


def moments_in_parts(data, cuts):
    edges, quantizer = [0, *cuts, len(data)], quantizer_of(data)
    return [
        measure_block_plane(Block.of(data[a:b]), quantizer, FeatureSpace.plain(data.shape[1]))
        for a, b in itertools.pairwise(edges)
    ]


@given(cuts=st.lists(st.integers(0, 50), max_size=5), seed=st.integers(0, 2**32 - 1))
def test_moments_are_the_same_integers_for_any_split(cuts, seed):
    rng = np.random.default_rng(seed)
    data = rng.lognormal(size=(50, 3)) * [1e-9, 1.0, 1e12]
    parts = moments_in_parts(data, sorted(cuts))
    rng.shuffle(parts)
    total = functools.reduce(operator.add, parts)
    (whole,) = moments_in_parts(data, [])
    assert total.weight == whole.weight == 50
    np.testing.assert_array_equal(total.first, whole.first)
    np.testing.assert_array_equal(total.second, whole.second)
    assert total.first.dtype == total.second.dtype == np.int64


def test_moments_of_many_tiles_are_exact(rng):
    data = rng.integers(-(2**15), 2**15 + 1, (3 * TILE_ROWS + 7, 2)).astype(np.float64)
    data[0], data[1] = -(2**15), 2**15  # so that the steps are the integers themselves
    (moments,) = moments_in_parts(data, [])
    integers = data.astype(np.int64)
    np.testing.assert_array_equal(moments.first, integers.sum(axis=0))
    np.testing.assert_array_equal(moments.second, integers.T @ integers)


@pytest.mark.parametrize(("center", "spread"), [(0.0, 1.0), (101325.0, 500.0), (1000.0, 0.01), (0.0, 1e-100)])
def test_mean_and_covariance_are_near_the_true_ones(center, spread, rng):
    data = center + spread * (rng.normal(size=(5000, 3)) @ rng.normal(size=(3, 3)))
    (moments,) = moments_in_parts(data, [])
    mean, covariance = moments.mean_and_covariance(quantizer_of(data))
    np.testing.assert_allclose(mean, data.mean(axis=0), rtol=0, atol=1e-4 * spread)
    np.testing.assert_allclose(covariance, np.cov(data.T, bias=True), rtol=0, atol=1e-4 * spread**2)
    np.testing.assert_array_equal(covariance, covariance.T)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e9, 1.7e308, 5e-324])
def test_constant_data_have_no_covariance(value):
    data = np.full((10, 2), value)
    (moments,) = moments_in_parts(data, [])
    mean, covariance = moments.mean_and_covariance(quantizer_of(data))
    np.testing.assert_allclose(mean, data[0], rtol=1e-15, atol=5e-324)
    np.testing.assert_array_equal(covariance, np.zeros((2, 2)))


@pytest.mark.parametrize("largest", [1e150, 1e300, 1.7e308])
def test_extreme_ranges_do_not_overflow(largest):
    data = np.array([[-largest, 1.0], [largest, 2.0], [largest, 3.0]])
    (moments,) = moments_in_parts(data, [])
    half = 2**15
    np.testing.assert_array_equal(moments.first, [half, 0])
    np.testing.assert_array_equal(moments.second, [[3 * half**2, 2 * half**2], [2 * half**2, 2 * half**2]])


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_a_covariance_out_of_range_keeps_its_mean(size):
    # Variances of such data are no float64 numbers; the mean is one.
    data = size * np.array([[-1.0], [1.0], [1.0], [0.0]])
    (moments,) = moments_in_parts(data, [])
    mean, _ = moments.mean_and_covariance(quantizer_of(data))
    np.testing.assert_allclose(mean, [0.25 * size], rtol=1e-4)


def moments_with(data, weights, masked):
    block = Block.of(data, weights)
    missing = "mask" if masked else "error"
    space = replace(FeatureSpace.plain(data.shape[1]), missing=missing, gaps=masked, weighted=weights is not None)
    quantizer = Quantizer.of(summarize_block(block, 0, missing), space)
    return measure_block_plane(block, quantizer, space), quantizer


@pytest.mark.parametrize("largest", [1, 3, 4096])
def test_whole_weights_are_so_many_samples(largest, rng):
    data, weights = rng.normal(size=(300, 3)), rng.integers(0, largest + 1, 300).astype(float)
    weights[:2] = largest, 1
    weighted, quantizer = moments_with(data, weights, False)
    kept = weights > 0
    copies = np.repeat(data[kept], weights[kept].astype(int), axis=0)
    plain = measure_block_plane(Block.of(copies), replace(quantizer, weight_step=0.0), FeatureSpace.plain(3))
    assert weighted.weight == plain.weight == weights.sum()
    np.testing.assert_array_equal(weighted.first, plain.first)
    np.testing.assert_array_equal(weighted.second, plain.second)
    np.testing.assert_array_equal(quantizer.center, quantizer_of(copies).center)


@pytest.mark.parametrize("weighted", [False, True])
def test_gaps_count_as_the_mean(weighted, rng):
    data = holes(rng.normal(size=(800, 3)) @ rng.normal(size=(3, 3)) + [5, 0, -100], 0.3, rng)
    weights = rng.random(800) + 0.1 if weighted else np.ones(800)
    moments, quantizer = moments_with(data, weights if weighted else None, True)
    mean, covariance = moments.mean_and_covariance(quantizer)
    known = ~np.isnan(data)
    true_mean = np.nansum(data * weights[:, None], axis=0) / (known * weights[:, None]).sum(axis=0)
    filled = np.where(known, data, true_mean) - true_mean
    np.testing.assert_allclose(mean, true_mean, rtol=0, atol=2e-3)
    np.testing.assert_allclose(covariance, (filled.T * weights) @ filled / weights.sum(), rtol=0, atol=5e-3)
    np.testing.assert_array_equal(covariance, covariance.T)
