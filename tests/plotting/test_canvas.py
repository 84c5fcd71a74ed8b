"""What pictures are made of: polygons at the nodes' places, colors that can be told apart."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.canvas import choose_colors, draw_nodes
from som_dask.plotting.figures import create_map_axes, measure_extent, outline_nodes
from tests.plotting.pictures import centers_of


@pytest.mark.parametrize(("topology", "corners"), [("hexagonal", 6), ("rectangular", 4)])
def test_nodes_fill_the_plane(topology, corners):
    lattice = Lattice(4, 5, topology)
    polygons = outline_nodes(lattice)
    assert polygons.shape == (20, corners, 2)
    x, y = polygons[..., 0], polygons[..., 1]
    area = 0.5 * np.abs(np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1))
    np.testing.assert_allclose(area, lattice.row_height)  # one node a lattice cell
    first, second = lattice.neighbor_pairs()
    straight = lattice.squared_distances(first, second) < 1.1
    for a, b in zip(first[straight], second[straight], strict=True):
        apart = np.linalg.norm(polygons[a][:, None] - polygons[b][None, :], axis=2)
        assert np.count_nonzero(apart < 1e-9) == 2  # neighbors share an edge


@pytest.mark.parametrize("topology", ["hexagonal", "rectangular"])
@pytest.mark.parametrize("shape", [(4, 6), (1, 9), (9, 1), (1, 1)])
def test_nodes_are_drawn_at_their_places_and_none_is_cut(topology, shape):
    lattice = Lattice(*shape, topology)
    ax = create_map_axes(lattice)
    nodes = draw_nodes(ax, lattice, array=np.arange(lattice.n_nodes))
    row, col = np.divmod(np.arange(lattice.n_nodes), lattice.cols)
    x, y = (col + 0.5 * (row % 2), row * np.sqrt(3) / 2) if topology == "hexagonal" else (col, row)
    np.testing.assert_allclose(centers_of(nodes), np.stack([x, y], axis=1), atol=1e-12)
    left, right, top, bottom = measure_extent(lattice)
    assert ax.get_xlim() == (left, right)
    assert ax.get_ylim() == (bottom, top)  # row 0 on top
    corners = outline_nodes(lattice)
    assert left < corners[..., 0].min() < corners[..., 0].max() < right
    assert top < corners[..., 1].min() < corners[..., 1].max() < bottom
    assert ax.get_aspect() == 1
    place = ax.get_position()  # the axes have the map's proportions: nothing is squeezed
    wide, high = ax.figure.get_size_inches()
    assert place.width * wide / (place.height * high) == pytest.approx((right - left) / (bottom - top))
    assert 0 <= place.x0 < place.x1 <= 1
    assert 0 <= place.y0 < place.y1 <= 1


def test_a_torus_is_drawn_as_the_sheet():
    torus, sheet = Lattice(4, 5, "hexagonal", "toroidal"), Lattice(4, 5)
    np.testing.assert_array_equal(outline_nodes(torus), outline_nodes(sheet))


def test_smaller_nodes_lie_at_the_same_places():
    lattice = Lattice(3, 4)
    sizes = np.linspace(0, 1, 12)
    polygons = outline_nodes(lattice, sizes)
    np.testing.assert_allclose(polygons.mean(axis=1), lattice.positions(), atol=1e-12)
    radius = np.linalg.norm(polygons - lattice.positions()[:, None], axis=2)
    np.testing.assert_allclose(radius, np.repeat(sizes[:, None] / np.sqrt(3), 6, axis=1), atol=1e-12)


def test_a_node_without_value_is_gray_and_not_zero():
    values = np.array([0.0, np.nan, 1.0])
    nodes = draw_nodes(Figure().subplots(), Lattice(1, 3), array=values)
    nodes.update_scalarmappable()
    colors = nodes.get_facecolors()
    assert tuple(np.round(colors[1][:3] * 255)) == (0xD9, 0xD9, 0xD9)
    assert not np.allclose(colors[0], colors[1])


@pytest.mark.parametrize("n", [0, 1, 7, 10, 20, 33])
def test_colors_can_be_told_apart(n):
    colors = choose_colors(n)
    assert colors.shape == (n, 4)
    assert len(np.unique(colors, axis=0)) == min(n, 20)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ParameterError, match=r"som_dask\[plot\]"):
        create_map_axes(Lattice(2, 2))
