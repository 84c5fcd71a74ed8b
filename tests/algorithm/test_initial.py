"""Initial codebooks: random, sampled, on the principal plane, and given."""

import warnings

import numpy as np
import pytest

from som_dask.algorithm.initial import check_codebook, draw_rows, plane_codebook, random_codebook
from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError


def test_random_weights_fill_the_range_of_each_feature():
    minimum, maximum = np.array([-1.0, 100.0, 0.1]), np.array([1.0, 100.5, 0.1])
    codebook = random_codebook(Lattice(30, 40), minimum, maximum, seed=1)
    assert codebook.shape == (1200, 3)
    assert codebook.dtype == np.float64
    assert (codebook >= minimum - 1e-13).all()
    assert (codebook <= maximum + 1e-13).all()
    np.testing.assert_allclose(codebook.min(axis=0), minimum, atol=0.02)
    np.testing.assert_allclose(codebook.max(axis=0), maximum, atol=0.02)
    np.testing.assert_allclose(codebook.mean(axis=0), (minimum + maximum) / 2, atol=0.05)


def test_random_weights_of_an_extreme_range_are_finite():
    codebook = random_codebook(Lattice(5, 5), np.array([-1.7e308]), np.array([1.7e308]), seed=0)
    assert np.isfinite(codebook).all()
    assert np.ptp(codebook / 2) > 1e307


def test_the_seed_decides():
    lattice, low, high = Lattice(4, 4), np.zeros(2), np.ones(2)
    same = [random_codebook(lattice, low, high, seed=7) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], random_codebook(lattice, low, high, seed=8))
    np.testing.assert_array_equal(draw_rows(1000, 16, 7), draw_rows(1000, 16, 7))
    assert not np.array_equal(draw_rows(1000, 16, 7), draw_rows(1000, 16, 8))


@pytest.mark.parametrize("n_samples", [12, 13, 1000, 10**12])
def test_sampled_rows_are_different_where_there_are_enough(n_samples):
    rows = draw_rows(n_samples, 12, seed=3)
    assert rows.shape == (12,)
    assert rows.dtype == np.int64
    assert len(set(rows.tolist())) == 12
    assert rows.min() >= 0
    assert rows.max() < n_samples


def test_sampled_rows_repeat_where_there_are_too_few():
    rows = draw_rows(3, 100, seed=3)
    assert rows.shape == (100,)
    assert set(rows.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)])
@pytest.mark.parametrize("topology", ["hexagonal", "rectangular"])
def test_the_plane_spans_one_deviation_along_two_components(shape, topology):
    # Components along (0.6, 0.8, 0), (0, 0, 1) and (0.8, -0.6, 0) with variances 9, 4 and 1.
    axes = np.array([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0], [0.8, -0.6, 0.0]])
    mean = np.array([10.0, -5.0, 3.0])
    lattice = Lattice(*shape, topology)
    codebook = plane_codebook(lattice, mean, axes.T @ np.diag([9.0, 4.0, 1.0]) @ axes)
    along = (codebook - mean) @ axes.T
    np.testing.assert_allclose(along[:, 2], 0, atol=1e-12)
    np.testing.assert_allclose([along[:, :2].min(axis=0), along[:, :2].max(axis=0)], [[-3, -2], [3, 2]], rtol=1e-12)
    # The longer side lies along the first component; both grow with the position.
    long, short = (0, 1) if shape == (5, 9) else (1, 0)
    place = lattice.positions()
    assert np.corrcoef(along[:, 0], place[:, long])[0, 1] == pytest.approx(1.0)
    assert np.corrcoef(along[:, 1], place[:, short])[0, 1] == pytest.approx(1.0)


def test_components_point_where_their_largest_coefficient_is_positive(rng):
    for _ in range(20):
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        codebook = plane_codebook(Lattice(1, 3, "rectangular"), np.zeros(3), axes.T @ np.diag([9.0, 4.0, 1.0]) @ axes)
        first = axes[0] if axes[0].max() > -axes[0].min() else -axes[0]
        np.testing.assert_allclose(codebook, np.outer([-3.0, 0.0, 3.0], first), atol=1e-12)


def test_planes_with_fewer_directions_than_two():
    one_node = plane_codebook(Lattice(1, 1), np.array([1.0, 2.0]), np.eye(2))
    np.testing.assert_array_equal(one_node, [[1.0, 2.0]])
    one_feature = plane_codebook(Lattice(3, 5, "rectangular"), np.array([7.0]), np.array([[4.0]]))
    np.testing.assert_allclose(one_feature.reshape(3, 5), np.tile([5.0, 6.0, 7.0, 8.0, 9.0], (3, 1)))
    one_column = plane_codebook(Lattice(3, 1, "rectangular"), np.zeros(2), np.diag([1.0, 16.0]))
    np.testing.assert_allclose(one_column, [[0.0, -4.0], [0.0, 0.0], [0.0, 4.0]])


def test_constant_data_put_all_nodes_on_the_mean():
    codebook = plane_codebook(Lattice(3, 4), np.array([5.0, -1.0]), np.zeros((2, 2)))
    np.testing.assert_array_equal(codebook, np.tile([5.0, -1.0], (12, 1)))


def test_a_covariance_not_quite_positive_gives_finite_weights():
    covariance = np.array([[1.0, 1.0], [1.0, 1.0 - 1e-9]])  # its lower eigenvalue is below zero
    assert np.linalg.eigvalsh(covariance)[0] < 0
    assert np.isfinite(plane_codebook(Lattice(3, 4), np.zeros(2), covariance)).all()


@pytest.mark.parametrize("shape", [(12, 2), (3, 4, 2)])
@pytest.mark.parametrize("dtype", ["float32", "int64", "float64"])
def test_a_given_codebook_is_copied_flat(shape, dtype):
    given = np.arange(24).reshape(shape).astype(dtype)
    codebook = check_codebook(given, Lattice(3, 4), 2)
    np.testing.assert_array_equal(codebook, np.arange(24.0).reshape(12, 2))
    assert codebook.dtype == np.float64
    assert not np.shares_memory(codebook, given)


@pytest.mark.parametrize("shape", [(11, 2), (12, 3), (4, 3, 2), (24,), (1, 12, 2), ()])
def test_a_codebook_of_another_shape_is_refused(shape):
    with pytest.raises(ParameterError, match=r"must have shape \(3, 4, 2\)"):
        check_codebook(np.zeros(shape), Lattice(3, 4), 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_codebook_that_is_not_finite_is_refused(bad):
    codebook = np.zeros((12, 2))
    codebook[5, 1] = bad
    with pytest.raises(ParameterError, match="NaN or infinite"):
        check_codebook(codebook, Lattice(3, 4), 2)


@pytest.mark.parametrize(
    "codebook", [np.full((2, 1), 1 + 2j), [[1.0], [2.0, 3.0]], [["a"], ["b"]]], ids=["complex", "ragged", "text"]
)
def test_a_codebook_that_is_no_array_of_real_numbers_is_refused(codebook):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # in a user's session a warning does not stop a complex codebook
        with pytest.raises(ParameterError):
            check_codebook(codebook, Lattice(1, 2), 1)
