"""Average linkage with weights: against plain loops and SciPy, on the lattice and free."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis import regions
from som_dask.analysis.average_linkage import merge_by_average
from som_dask.errors import MemoryLimitError
from tests.reference.twins import every_lattice, name_of

hierarchy = pytest.importorskip("scipy.cluster.hierarchy")


def plain_heights(points, weights, lattice):
    """Heights of merges, by a mean over all pairs of nodes for each pair of clusters in each step."""
    apart = np.linalg.norm(points[:, None] - points, axis=2)
    n = len(points)
    near = np.ones((n, n), dtype=bool)
    if lattice is not None:
        near[:] = False
        near[lattice.neighbor_pairs()] = True
    groups, heights = [[node] for node in range(n)], []

    def distance(a, b):
        mine, theirs = weights[a][:, None], weights[b]
        return (mine * theirs * apart[np.ix_(a, b)]).sum() / (mine * theirs).sum()

    while len(groups) > 1:
        allowed = [(a, b) for a in groups for b in groups if a < b and near[np.ix_(a, b)].any()]
        height, a, b = min((distance(a, b), a, b) for a, b in allowed)
        heights.append(height)
        groups = [group for group in groups if group not in (a, b)] + [a + b]
    return heights


def same_split(one, other):
    return bool(((one[:, None] == one) == (other[:, None] == other)).all())


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 4), cols=st.integers(1, 5))
def test_heights_are_those_of_plain_loops(seed, rows, cols):
    rng, lattice = np.random.default_rng(seed), Lattice(rows, cols)
    points, weights = rng.normal(size=(lattice.n_nodes, 3)), rng.uniform(0.1, 9, lattice.n_nodes)
    for where in (lattice, None):
        found = merge_by_average(points, weights, where)
        np.testing.assert_allclose(found.heights, plain_heights(points, weights, where), rtol=1e-9)


@pytest.mark.parametrize("lattice", every_lattice(), ids=name_of)
def test_it_is_average_linkage_on_every_lattice(lattice, rng):
    points, weights = rng.normal(size=(lattice.n_nodes, 3)), rng.uniform(0.1, 9, lattice.n_nodes)
    found = merge_by_average(points, weights, lattice)
    np.testing.assert_allclose(found.heights, plain_heights(points, weights, lattice), rtol=1e-9)


def test_free_and_without_weights_it_is_that_of_scipy(rng):
    points = rng.normal(size=(60, 4))
    found, wanted = merge_by_average(points, np.ones(60), None), hierarchy.linkage(points, "average")
    np.testing.assert_allclose(found.heights, wanted[:, 2], rtol=1e-9)
    for n in (1, 2, 7, 30, 60):
        assert same_split(found(n), hierarchy.fcluster(wanted, n, "maxclust"))


def test_a_weight_is_a_point_as_often(rng):
    points, often = rng.normal(size=(20, 3)), rng.integers(1, 5, 20)
    found = merge_by_average(points, often.astype(float), None)
    wanted = hierarchy.linkage(np.repeat(points, often, axis=0), "average")
    np.testing.assert_allclose(found.heights, wanted[-19:, 2], rtol=1e-9)
    of_each = hierarchy.fcluster(wanted, 6, "maxclust")[np.cumsum(often) - 1]
    assert same_split(found(6), of_each)


@pytest.mark.parametrize("where", [Lattice(5, 6), None])
def test_nodes_without_weight_change_nothing_and_go_with_another(where, rng):
    points, weights = rng.normal(size=(30, 3)), np.where(rng.random(30) < 0.6, 0.0, 1.0)
    found, taken = merge_by_average(points, weights, where), np.flatnonzero(weights > 0)
    assert len(found.heights) == len(taken) - 1
    assert len(np.unique(found(4)[taken])) == len(np.unique(found(4))) == 4
    if where is None:
        wanted = hierarchy.linkage(points[taken], "average")
        np.testing.assert_allclose(found.heights, wanted[:, 2], rtol=1e-9)
        nearest = taken[np.linalg.norm(points[:, None] - points[taken], axis=2).argmin(axis=1)]
        np.testing.assert_array_equal(found.owner, nearest)


def test_a_region_grows_along_the_lattice():
    # In a row of nodes, the two without weight are nearest to the far end but can't be reached from there.
    points = np.array([[0.0], [9.0], [9.0], [1.0], [9.0]])
    found = merge_by_average(points, np.array([1.0, 0, 0, 1, 1]), Lattice(1, 5))
    assert found.owner.tolist() == [0, 3, 3, 3, 4]


def test_many_distances_are_measured_in_parts(rng, monkeypatch):
    points, weights = rng.normal(size=(80, 3)), np.where(rng.random(80) < 0.3, 0.0, 1.0)
    wanted = [merge_by_average(points, weights, where) for where in (Lattice(8, 10), None)]
    monkeypatch.setattr(regions, "MOST_DISTANCES", 7)
    for where, before in zip((Lattice(8, 10), None), wanted, strict=True):
        found = merge_by_average(points, weights, where)
        np.testing.assert_allclose(found.heights, before.heights, rtol=1e-12)
        np.testing.assert_array_equal(found.owner, before.owner)


def test_all_pairs_must_fit_the_memory(monkeypatch, rng):
    monkeypatch.setattr(regions, "process_memory", lambda: 10_000)
    points = rng.normal(size=(30, 2))
    with pytest.raises(MemoryLimitError, match=r"all pairs of 30 nodes .* connected on the lattice"):
        merge_by_average(points, np.ones(30), None)
    assert len(merge_by_average(points, np.ones(30), Lattice(5, 6)).heights) == 29
