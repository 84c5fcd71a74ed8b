"""Vector operations on 16 samples side by side: each does what its plain loop does."""

import numba
import numpy as np
import pytest

from som_dask.engine.lanes import LANES
from som_dask.engine.sample_lanes import PLACE_ERROR, TOGETHER, score_samples, turn_samples


@numba.njit
def score(samples, offsets, weights, half_norms, count, first_number, best, numbers):
    score_samples(
        samples.ctypes.data, len(samples), offsets.ctypes.data, weights.ctypes.data, half_norms.ctypes.data, count,
        first_number, best.ctypes.data, numbers.ctypes.data,
    )  # fmt: skip


@numba.njit
def turn(rows, center, scale, turned, squares):
    turn_samples(
        rows.ctypes.data, rows.shape[1], center.ctypes.data, scale, turned.ctypes.data, squares.ctypes.data
    )  # fmt: skip


@pytest.mark.parametrize("count", [8, 40, 64])
@pytest.mark.parametrize("n_features", [1, 3, 18])
def test_the_three_lowest_of_several_patches(n_features, count, rng):
    samples = rng.normal(size=(TOGETHER, n_features)).astype(np.float32)
    weights = rng.normal(size=(5, n_features, LANES)).astype(np.float32)
    half_norms = (weights**2).sum(axis=1) / 2
    half_norms[:, count:] = -1e6  # beyond the count: never to be found
    offsets = (samples**2).sum(axis=1) / 2
    best = np.full((3, TOGETHER), np.inf, dtype=np.float32)
    numbers = np.zeros((2, TOGETHER), dtype=np.int32)
    for p in range(5):
        score(-samples.T.copy(), offsets, weights[p], half_norms[p], count, p * LANES, best, numbers)
    nodes = weights[:, :, :count].transpose(0, 2, 1).astype(np.float64)
    wanted = ((samples[:, None, None, :] - nodes) ** 2).sum(axis=-1) / 2  # (16, 5, count)
    order = np.argsort(wanted.reshape(TOGETHER, -1), axis=1)[:, :3]
    lowest = np.take_along_axis(wanted.reshape(TOGETHER, -1), order, axis=1)
    # The lowest bits hold places, so scores are lower or higher by so much, beside the rounding of float32.
    np.testing.assert_allclose(best.T, lowest, rtol=PLACE_ERROR, atol=1e-6 * n_features)
    np.testing.assert_array_equal(numbers.T, (order // count * LANES + order % count)[:, :2])


def test_the_place_changes_a_score_by_less_than_its_bound(rng):
    weights = np.zeros((1, LANES), dtype=np.float32)
    half_norms = (10.0 ** rng.uniform(-30, 30, LANES) * rng.choice([-1, 1], LANES)).astype(np.float32)
    for lane in range(0, LANES, 7):
        alone = np.full(LANES, 1e38, dtype=np.float32)
        alone[lane] = half_norms[lane]
        best = np.full((3, TOGETHER), np.inf, dtype=np.float32)
        numbers, nothing = np.zeros((2, TOGETHER), dtype=np.int32), np.zeros((1, TOGETHER), dtype=np.float32)
        score(nothing, nothing[0], weights, alone, LANES, 0, best, numbers)
        assert (numbers[0] == lane).all()
        found = best[0].astype(np.float64)
        assert (abs(found - half_norms[lane]) < PLACE_ERROR * abs(found)).all()


def test_what_was_found_before_is_kept_unless_it_is_beaten(rng):
    samples = rng.normal(size=(2, TOGETHER)).astype(np.float32)
    weights, half_norms = rng.normal(size=(2, LANES)).astype(np.float32), np.ones(LANES, dtype=np.float32)
    best = np.repeat(np.float32([[-100], [-99], [-98]]), TOGETHER, axis=1)
    numbers = np.repeat(np.int32([[700], [900]]), TOGETHER, axis=1)
    before = best.copy(), numbers.copy()
    score(samples, np.zeros(TOGETHER, dtype=np.float32), weights, half_norms, LANES, 64, best, numbers)
    np.testing.assert_array_equal(best, before[0])
    np.testing.assert_array_equal(numbers, before[1])
    half_norms[10] = -98.5 - 50
    best[0] = -500
    score(0 * samples, np.zeros(TOGETHER, dtype=np.float32), weights, half_norms, LANES, 64, best, numbers)
    np.testing.assert_allclose(best[:, 0], [-500, -148.5, -99], rtol=PLACE_ERROR)
    np.testing.assert_array_equal(numbers[:, 0], [700, 74])


@pytest.mark.parametrize("n_features", [1, 3, 18])
def test_samples_are_shifted_scaled_and_turned(n_features, rng):
    rows, center, scale = rng.normal(5, 1, (TOGETHER, n_features)), rng.normal(5, 1, n_features), 0.25
    turned, squares = np.empty((n_features, TOGETHER), dtype=np.float32), np.empty(TOGETHER)
    turn(rows, center, scale, turned, squares)
    wanted = (rows - center) * scale
    np.testing.assert_array_equal(turned, -wanted.T.astype(np.float32))
    np.testing.assert_allclose(squares, (wanted**2).sum(axis=1), rtol=1e-14)
