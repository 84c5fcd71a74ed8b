"""What pictures are made of: polygons at the nodes' places, values of the right nodes, texts as they are."""

import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.canvas import (
    brief_names,
    caption_of,
    distinct_colors,
    draw_nodes,
    extent,
    map_figure,
    node_polygons,
    node_values,
    plain_text,
)
from tests.plotting.pictures import centers_of, model_of


@pytest.mark.parametrize(("topology", "corners"), [("hexagonal", 6), ("rectangular", 4)])
def test_nodes_fill_the_plane(topology, corners):
    lattice = Lattice(4, 5, topology)
    polygons = node_polygons(lattice)
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
    ax = map_figure(lattice)
    nodes = draw_nodes(ax, lattice, array=np.arange(lattice.n_nodes))
    row, col = np.divmod(np.arange(lattice.n_nodes), lattice.cols)
    x, y = (col + 0.5 * (row % 2), row * np.sqrt(3) / 2) if topology == "hexagonal" else (col, row)
    np.testing.assert_allclose(centers_of(nodes), np.stack([x, y], axis=1), atol=1e-12)
    left, right, top, bottom = extent(lattice)
    assert ax.get_xlim() == (left, right)
    assert ax.get_ylim() == (bottom, top)  # row 0 on top
    corners = node_polygons(lattice)
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
    np.testing.assert_array_equal(node_polygons(torus), node_polygons(sheet))


def test_smaller_nodes_lie_at_the_same_places():
    lattice = Lattice(3, 4)
    sizes = np.linspace(0, 1, 12)
    polygons = node_polygons(lattice, sizes)
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


def test_values_are_put_in_the_order_of_the_map():
    model = model_of(Lattice(3, 4))
    wanted = np.arange(12.0).reshape(3, 4)
    array = xr.DataArray(wanted, dims=("row", "col"), name="v")
    for given in (array, array.transpose(), wanted):
        np.testing.assert_array_equal(node_values(model, given).values, wanted)
    np.testing.assert_array_equal(node_values(model, array.to_dataset(), "v").values, wanted)
    np.testing.assert_array_equal(node_values(model, "hits").values, model["hits"].values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("portrait", "no variable 'portrait'"),
        ("codebook", "dimensions row and col"),
        (np.zeros((4, 3)), "has 3 x 4 nodes"),
        (xr.DataArray(np.zeros((2, 4)), dims=("row", "col")), "has 3 x 4 nodes"),
        (xr.Dataset({"x": 1}), "only x"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ParameterError, match=message):
        node_values(model_of(Lattice(3, 4)), values)


def test_texts_are_shown_letter_by_letter():
    assert plain_text("$\\frac{1}{$ and $x$") == "\\$\\frac{1}{\\$ and \\$x\\$"
    assert plain_text("two\nlines\t\x00") == "two lines"
    assert len(plain_text("x" * 100, 20)) == 20
    figure = Figure()
    figure.subplots().set_title(plain_text("$\\frac{$ $"))
    figure.canvas.draw()  # mathematics of that kind would raise


def test_captions():
    values = xr.DataArray(1.0, name="t", attrs={"long_name": "temperature", "units": "K"})
    assert caption_of(values) == "temperature [K]"
    assert caption_of(values.assign_attrs(units="1")) == "temperature"
    assert caption_of(xr.DataArray(1.0, name="t")) == "t"


@pytest.mark.parametrize("n", [0, 1, 7, 10, 20, 33])
def test_colors_can_be_told_apart(n):
    colors = distinct_colors(n)
    assert colors.shape == (n, 4)
    assert len(np.unique(colors, axis=0)) == min(n, 20)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ParameterError, match=r"som_dask\[plot\]"):
        map_figure(Lattice(2, 2))


def test_names_of_places_are_brief_and_can_be_told_apart():
    names = [f"latitude={lat} longitude={lon}" for lat in (20.0, 22.5) for lon in (-5.0, 0.0)]
    assert brief_names(names, 40) == (names, "")
    assert brief_names(names, 20) == (["20.0, -5.0", "20.0, 0.0", "22.5, -5.0", "22.5, 0.0"], "latitude, longitude")
    assert brief_names(names[:2], 20) == (["-5.0", "0.0"], "longitude (latitude=20.0)")
    several = [f"{name} level={level}.0" for name in ("temperature", "humidity") for level in (500, 850)]
    assert brief_names(several, 10)[0] == [
        "temperature, 500.0",
        "temperature, 850.0",
        "humidity, 500.0",
        "humidity, 850.0",
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["a" * 30, "b" * 30],
        ["latitude=1.0 longitude=2.0", "another of these names"],
        ["a=1 b=2", "a=1 c=2"],
        ["x=1 y=2"],
    ],
)
def test_names_of_other_kinds_stay(names):
    assert brief_names(names, 5) == (names, "")
