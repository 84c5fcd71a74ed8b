"""Lattice: positions, distances the shorter way round, neighbors, and what it refuses."""

import dataclasses

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from tests.reference.twins import every_lattice, name_of, plain_distances, plain_positions

LATTICES = pytest.mark.parametrize("lattice", every_lattice(), ids=name_of)


@LATTICES
def test_positions_follow_the_formula(lattice):
    np.testing.assert_allclose(lattice.positions(), plain_positions(lattice), rtol=0, atol=1e-12)
    assert lattice.positions().shape == (lattice.n_nodes, 2)


@LATTICES
def test_distances_are_those_to_the_nearest_copy(lattice):
    np.testing.assert_allclose(lattice.grid_distances(), plain_distances(lattice), rtol=0, atol=1e-12)


@LATTICES
def test_distances_are_symmetric_and_zero_only_on_the_diagonal(lattice):
    distances = lattice.grid_distances()
    np.testing.assert_array_equal(distances, distances.T)
    np.testing.assert_array_equal(distances == 0, np.eye(lattice.n_nodes, dtype=bool))


@pytest.mark.parametrize("boundary", ["planar", "cylindrical", "toroidal"])
def test_six_hexagonal_neighbors_at_distance_one(boundary):
    lattice = Lattice(6, 7, "hexagonal", boundary)
    distances = lattice.grid_distances()
    row, col = np.divmod(np.arange(lattice.n_nodes), lattice.cols)
    inner_rows = (row > 0) & (row < 5) if boundary != "toroidal" else row >= 0
    inner_cols = (col > 0) & (col < 6) if boundary == "planar" else col >= 0
    inner = distances[inner_rows & inner_cols]
    assert len(inner) == {"planar": 20, "cylindrical": 28, "toroidal": 42}[boundary]
    for of_node in np.sort(inner, axis=1):
        np.testing.assert_allclose(of_node[1:7], 1.0, rtol=0, atol=1e-12)
        assert of_node[7] > 1.7  # the next ones are sqrt(3) away


def test_distances_of_some_nodes_are_rows_of_the_whole():
    lattice = Lattice(4, 5, "hexagonal", "toroidal")
    nodes = np.array([7, 0, 19])
    np.testing.assert_array_equal(lattice.grid_distances(nodes), lattice.grid_distances()[nodes])
    np.testing.assert_array_equal(lattice.grid_distances(7), lattice.grid_distances()[[7]])


@LATTICES
def test_squared_distances_broadcast(lattice):
    a, b = np.arange(lattice.n_nodes), np.arange(lattice.n_nodes)[::-1]
    expected = plain_distances(lattice)[a, b] ** 2
    np.testing.assert_allclose(lattice.squared_distances(a, b), expected, rtol=0, atol=1e-10)


def plain_neighbors(lattice):
    """Adjacency (M, M): distance 1 on a hexagonal lattice, a king's move on a rectangular one."""
    if lattice.topology == "hexagonal":
        return np.abs(plain_distances(lattice) - 1) < 1e-9
    adjacent = np.zeros((lattice.n_nodes, lattice.n_nodes), dtype=bool)
    for a in range(lattice.n_nodes):
        for b in range(lattice.n_nodes):
            rows, cols = abs(a // lattice.cols - b // lattice.cols), abs(a % lattice.cols - b % lattice.cols)
            if lattice.boundary == "toroidal":
                rows = min(rows, lattice.rows - rows)
            if lattice.boundary != "planar":
                cols = min(cols, lattice.cols - cols)
            adjacent[a, b] = a != b and max(rows, cols) <= 1
    return adjacent


@LATTICES
def test_neighbor_pairs_are_all_neighbors_in_order(lattice):
    first, second = lattice.neighbor_pairs()
    np.testing.assert_array_equal(np.stack([first, second]), np.nonzero(plain_neighbors(lattice)))
    assert first.dtype == second.dtype == np.int64


@LATTICES
def test_adjacent_nodes_are_neighbors_or_equal(lattice):
    node = np.arange(lattice.n_nodes)
    expected = plain_neighbors(lattice) | np.eye(lattice.n_nodes, dtype=bool)
    np.testing.assert_array_equal(lattice.adjacent(node[:, None], node), expected)


@pytest.mark.parametrize("name", ["rows", "cols"])
@pytest.mark.parametrize("size", [0, -3, 2.0, np.float64(3), True, "4", None])
def test_bad_sizes_are_refused(name, size):
    with pytest.raises(ParameterError, match=f"{name} must be a positive integer"):
        Lattice(**{"rows": 3, "cols": 3, name: size})


def test_unknown_names_are_refused():
    with pytest.raises(ParameterError, match="topology"):
        Lattice(3, 3, "triangular")
    with pytest.raises(ParameterError, match="boundary"):
        Lattice(3, 3, "hexagonal", "spherical")


def test_a_hexagonal_torus_needs_an_even_number_of_rows():
    with pytest.raises(ParameterError, match="even number of rows, got 5"):
        Lattice(5, 4, "hexagonal", "toroidal")
    assert Lattice(5, 4, "rectangular", "toroidal").shape == (5, 4)


def test_numpy_integers_become_plain_ones():
    lattice = Lattice(np.int32(3), np.int64(4))
    assert type(lattice.rows) is int
    assert type(lattice.cols) is int
    assert (lattice.shape, lattice.n_nodes) == ((3, 4), 12)


def test_a_lattice_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Lattice(3, 3).rows = 4
