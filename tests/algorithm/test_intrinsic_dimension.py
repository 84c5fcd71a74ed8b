"""The intrinsic dimension: against plain arithmetic, known dimensions, and the same bits whatever BLAS returns."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from som_dask.algorithm import intrinsic_dimension as module
from som_dask.algorithm.intrinsic_dimension import choose_final_radius, intrinsic_dimension
from som_dask.errors import DataError


def plain(points):
    """The formula, by all distances."""
    distances = np.sort(cdist(points, points), axis=1)
    logs = np.sort(np.log(distances[:, 2] / distances[:, 1]))
    n, k = len(logs), len(logs) - len(logs) // 10
    return k / (logs[:k].sum() + (n - k) * logs[k - 1])


@pytest.mark.parametrize("n", [20, 29, 700])
def test_it_is_the_formula(n, rng):
    points = rng.normal(size=(n, 4)) * [1, 2, 1e-3, 1]
    np.testing.assert_allclose(intrinsic_dimension(points), plain(points), rtol=1e-9)


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_flat_samples_in_many_features_have_their_own_dimension(d, rng):
    points = rng.random((1500, d)) @ np.linalg.qr(rng.normal(size=(12, 12)))[0][:d]
    assert intrinsic_dimension(points + 1e3) == pytest.approx(d, rel=0.1)


@pytest.mark.parametrize(
    "points",
    [
        lambda rng: rng.normal(size=(300, 6)),
        lambda rng: rng.normal(size=(300, 6)) + 1e8,
        # Distances within the groups are far below what a matrix product can tell from zero.
        lambda rng: rng.normal(size=(300, 6)) * 1e-9 + rng.integers(2, size=(300, 1)),
        lambda rng: rng.integers(0, 9, size=(300, 6)).astype(float),
        lambda rng: np.concatenate([rng.normal(size=(300, 6)), [[1e9] * 6]]),
    ],
    ids=["noise", "far", "groups", "ties", "outlier"],
)
def test_the_bits_do_not_depend_on_the_order_or_on_the_products_rounding(points, rng, monkeypatch):
    points = points(rng)
    expected = intrinsic_dimension(points)
    assert intrinsic_dimension(points[rng.permutation(len(points))]) == expected
    monkeypatch.setattr(module, "DOUBT", 2.0)  # all are measured
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(module, "ENTRIES_AT_ONCE", 100)
    assert intrinsic_dimension(points) == expected


def test_powers_of_two_and_equal_samples_change_nothing(rng):
    points = rng.normal(size=(200, 3))
    expected = intrinsic_dimension(points)
    for exponent in (-900, 900, 1021):  # squares would underflow or overflow
        assert intrinsic_dimension(np.ldexp(points, exponent)) == expected
    assert intrinsic_dimension(np.repeat(points, 3, axis=0)) == expected


def test_too_few_different_samples_are_refused(rng):
    with pytest.raises(DataError, match=r"20 different .* 19"):
        intrinsic_dimension(np.repeat(rng.normal(size=(19, 2)), 5, axis=0))
    with pytest.raises(DataError, match="there are 0"):
        intrinsic_dimension(np.empty((0, 2)))
    pairs = rng.normal(size=(30, 1, 2)) + np.array([[0.0, 0.0], [1e-200, 0.0]])[None] * [[[1], [1]]]
    assert np.isfinite(intrinsic_dimension(pairs.reshape(-1, 2)))


def test_the_final_radius():
    assert choose_final_radius(2.0, 2000, 100) == 0.36
    assert choose_final_radius(10.0, 2000, 100) == 0.6
    assert choose_final_radius(2.0, 2000 * 7, 100) == 0.3  # 0.3016
    assert choose_final_radius(6.0, 10_000, 100) == round(0.36 + 0.15 * np.log(3) - 0.03 * np.log(5), 2)
    assert choose_final_radius(0.1, 2000, 100) == 0.3
    assert choose_final_radius(1e9, 2000, 100) == 0.7


def test_samples_on_a_grid_are_refused_and_not_those_near_one():
    grid = np.stack(np.meshgrid(np.arange(12.0), np.arange(12.0)), axis=-1).reshape(-1, 2)
    with pytest.raises(DataError, match="grid"):
        intrinsic_dimension(grid)
    grid[::5, 0] += 0.25
    assert intrinsic_dimension(grid) == pytest.approx(plain(grid))
