"""Vector operations: each does what its plain loop does."""

import numba
import numpy as np
import pytest

from som_dask.engine.lanes import LANES, find_lane, first_bit, lanes_within, lowest_lane, score_four, score_lanes


@numba.njit
def score(sample, weights, half_norms, scores):
    return score_lanes(
        sample.ctypes.data, len(sample), weights.ctypes.data, half_norms.ctypes.data, scores.ctypes.data
    )


@numba.njit
def score_of_four(samples, weights, half_norms, scores, lowest):
    score_four(
        samples.ctypes.data,
        samples.shape[1],
        weights.ctypes.data,
        half_norms.ctypes.data,
        scores.ctypes.data,
        scores.shape[1],
        lowest.ctypes.data,
    )


@numba.njit
def lowest_of(scores):
    return lowest_lane(scores.ctypes.data)


@numba.njit
def find(scores, value):
    return find_lane(scores.ctypes.data, value)


@numba.njit
def within(scores, limit):
    return lanes_within(scores.ctypes.data, limit)


@numba.njit
def first(mask):
    return first_bit(mask)


@pytest.mark.parametrize("n_features", [1, 2, 4, 7, 52, 300])
def test_scores(n_features, rng):
    samples = rng.normal(size=(4, n_features)).astype(np.float32)
    weights = rng.normal(size=(n_features, LANES)).astype(np.float32)
    half_norms = rng.normal(size=LANES).astype(np.float32)
    wanted = half_norms - samples.astype(np.float64) @ weights
    scores, lowest = np.empty((4, LANES), dtype=np.float32), np.empty(4, dtype=np.float32)
    score_of_four(samples, weights, half_norms, scores, lowest)
    np.testing.assert_allclose(scores, wanted, atol=1e-6 * n_features)
    np.testing.assert_array_equal(lowest, scores.min(axis=1))
    apart = np.zeros((4, 3 * LANES), dtype=np.float32)
    score_of_four(samples, weights, half_norms, apart, lowest)
    np.testing.assert_array_equal(apart[:, :LANES], scores)
    assert not apart[:, LANES:].any()
    for i in range(4):
        assert score(samples[i], weights, half_norms, scores[0]) == scores[0].min()
        np.testing.assert_allclose(scores[0], wanted[i], atol=1e-6 * n_features)


def test_lowest_and_where(rng):
    for place in range(LANES):
        scores = rng.random(LANES).astype(np.float32)
        scores[place] = -1
        assert lowest_of(scores) == -1
        assert find(scores, np.float32(-1)) == place
    assert find(scores, np.float32(7)) == LANES
    scores[[5, 60]] = -2
    assert find(scores, np.float32(-2)) == 5


def test_masks(rng):
    scores = rng.random(LANES).astype(np.float32)
    for limit in (-1.0, 0.3, float(scores[17]), 2.0):
        wanted = sum(1 << lane for lane in range(LANES) if scores[lane] <= np.float32(limit))
        assert int(within(scores, np.float32(limit))) == wanted
    for bit in range(64):
        assert first(np.uint64(1 << bit)) == bit
    assert first(np.uint64(0)) == 64
