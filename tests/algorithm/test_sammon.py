"""Sammon's mapping: its derivatives, what it keeps, and that the stress only falls."""

import itertools

import numpy as np
import pytest

from som_dask.algorithm import sammon
from som_dask.algorithm.sammon import map_by_sammon, principal_coordinates


def distances_of(points):
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def stress_of(wanted, points):
    some = np.triu_indices(len(points), 1)
    far, near = wanted[some], distances_of(points)[some]
    kept = far > 0
    return ((far - near)[kept] ** 2 / far[kept]).sum() / far[kept].sum()


def test_the_start_is_the_plane_of_a_pca(rng):
    points = rng.normal(size=(40, 5)) * [5, 3, 1, 0.5, 0.1]
    centered = points - points.mean(axis=0)
    scores = centered @ np.linalg.svd(centered)[2][:2].T
    found = principal_coordinates(distances_of(points))
    np.testing.assert_allclose(np.abs(found), np.abs(scores), atol=1e-6)


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e150])
def test_points_of_a_plane_are_kept(size, rng):
    plane = rng.normal(size=(30, 2)) * size
    wanted = distances_of(plane / size) * size
    start = plane + size * rng.normal(size=(30, 2)) / 5
    found = map_by_sammon(wanted, start, iterations=2000, tolerance=0.0)
    assert found.stress < 1e-12
    np.testing.assert_allclose(distances_of(found.points / size), wanted / size, atol=1e-5)


def test_the_step_is_made_of_the_derivatives_of_the_stress(rng):
    wanted, points = distances_of(rng.normal(size=(7, 4))), rng.normal(size=(7, 2))
    step, h = sammon._find_step(points, wanted), 1e-4
    for place in np.ndindex(7, 2):
        moves = np.zeros((7, 2))
        moves[place] = h
        up, here, down = (stress_of(wanted, points + k * moves) for k in (1, 0, -1))
        slope, curve = (up - down) / (2 * h), (up - 2 * here + down) / h**2
        assert step[place] == pytest.approx(-slope / abs(curve), rel=1e-3)


def test_the_stress_falls_below_that_of_the_start(rng):
    points = rng.normal(size=(50, 6))
    points[1] = points[0]  # a pair that does not count
    wanted = distances_of(points)
    start = principal_coordinates(wanted)
    stresses = [map_by_sammon(wanted, start, iterations=k, tolerance=0.0).stress for k in (0, 1, 5, 50)]
    assert all(later < before for before, later in itertools.pairwise(stresses))
    found = map_by_sammon(wanted, start, iterations=500, tolerance=1e-9)
    assert found.settled
    assert found.stress == pytest.approx(stress_of(wanted, found.points), rel=1e-9)
    assert found.stress < 0.7 * stress_of(wanted, start)


def test_nodes_that_all_are_one():
    found = map_by_sammon(np.zeros((3, 3)), principal_coordinates(np.zeros((3, 3))), iterations=5, tolerance=0.0)
    assert (found.stress, found.iterations) == (0.0, 0)
    assert not found.points.any()
