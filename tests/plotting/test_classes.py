"""Pies, majorities and clusters: the right classes in the right nodes, borders where clusters meet."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.canvas import choose_colors
from som_dask.plotting.classes import find_cluster_borders, plot_clusters, plot_label_pies, plot_majority
from som_dask.plotting.figures import outline_nodes
from tests.plotting.pictures import centers_of, model_of


def counts_of(values, names):
    return xr.DataArray(
        values,
        dims=("row", "col", "class"),
        coords={"class": np.array(list(names), dtype=object)},
        name="class_count",
    )


@pytest.fixture
def counts(rng):
    values = rng.integers(0, 5, (3, 4, 3))
    values[0, 1] = 0
    values[2, 3] = [0, 7, 0]
    return counts_of(values, ["_x", "$y$", "z"])


@pytest.mark.parametrize("topology", ["hexagonal", "rectangular"])
def test_wedges_are_as_wide_as_the_shares(topology, counts):
    lattice = Lattice(3, 4, topology)
    given = Figure().subplots()
    ax = plot_label_pies(model_of(lattice), counts.transpose("class", "col", "row"), ax=given)
    assert ax is given
    ground, pies = ax.collections
    values = counts.values.reshape(12, 3)
    total = values.sum(axis=1)
    colors = choose_colors(3)
    area = np.zeros((12, 3))
    for path, color in zip(pies.get_paths(), pies.get_facecolors(), strict=True):
        corners = path.vertices[:-1]
        node = np.argmin(np.linalg.norm(lattice.positions() - corners.mean(axis=0), axis=1))
        kind = np.flatnonzero(np.all(np.isclose(colors, color), axis=1))[0]
        x, y = corners.T
        area[node, kind] += 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
        assert np.linalg.norm(corners - lattice.positions()[node], axis=1).max() < 0.5  # within the node
    filled = total > 0
    shares = area[filled] / area[filled].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, values[filled] / total[filled, None], atol=0.01)
    assert np.all(area[~filled] == 0)
    sizes = area.sum(axis=1)
    assert sizes.argmax() in np.flatnonzero(total == total.max())
    np.testing.assert_allclose(ground.get_facecolors()[~filled], [to_rgba("#d9d9d9")])
    assert [text.get_text().strip() for text in ax.get_legend().get_texts()] == ["_x", "\\$y\\$", "z", "no samples"]
    ax.figure.canvas.draw()


def test_majority_has_the_most_frequent_class_in_its_color():
    values = np.zeros((2, 3, 3))
    values[0, 0] = [4, 0, 0]
    values[0, 2] = [1, 3, 0]
    values[1, 0] = [np.nan, 0, 2]
    (nodes,) = plot_majority(model_of(Lattice(2, 3)), counts_of(values, "abc").to_dataset()).collections
    colors, drawn = choose_colors(3), nodes.get_facecolors()
    np.testing.assert_allclose(drawn[0], colors[0])
    np.testing.assert_allclose(drawn[3], colors[2])
    strength = 0.15 + 0.85 * 0.75
    np.testing.assert_allclose(drawn[2], strength * colors[1] + (1 - strength))
    np.testing.assert_allclose(drawn[[1, 4, 5]], np.tile(to_rgba("#d9d9d9"), (3, 1)))


def test_the_rarest_of_many_classes_are_one():
    values = np.tile(np.arange(1, 31)[::-1], (2, 2, 1))
    ax = plot_label_pies(model_of(Lattice(2, 2)), counts_of(values, [str(i) for i in range(30)]))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [*(str(i) for i in range(19)), "11 rarer classes", "no samples"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (xr.DataArray(np.zeros((2, 3)), dims=("row", "col")), "of dimensions row, col, class"),
        (np.zeros((2, 3, 2)), "of dimensions"),
        (xr.Dataset({"x": 1}), "no variable class_count"),
        (xr.DataArray(np.zeros((3, 2, 2)), dims=("row", "col", "class")), "do not fit the 2 x 3"),
        (xr.DataArray(np.full((2, 3, 2), -1), dims=("row", "col", "class")), "negative"),
    ],
)
def test_counts_that_are_none(values, message):
    for draw in (plot_label_pies, plot_majority):
        with pytest.raises(ParameterError, match=message):
            draw(model_of(Lattice(2, 3)), values)


@pytest.mark.parametrize("boundary", ["planar", "toroidal"])
@pytest.mark.parametrize("topology", ["hexagonal", "rectangular"])
def test_borders_are_the_sides_between_clusters(topology, boundary, rng):
    lattice = Lattice(4, 5, topology, boundary)
    numbers = rng.integers(-1, 3, 20)
    polygons = np.round(outline_nodes(lattice), 9)
    sides = {}
    for node, corners in enumerate(polygons):
        for one, other in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            sides.setdefault(frozenset([tuple(one + 0.0), tuple(other + 0.0)]), []).append(node)
    wanted = {side for side, nodes in sides.items() if len(nodes) == 2 and len(set(numbers[nodes])) == 2}
    drawn = np.round(find_cluster_borders(lattice, numbers), 9) + 0.0
    near = [np.array(sorted(map(tuple, side))) for side in drawn]
    assert len(near) == len(wanted) > 0
    listed = np.array([sorted(side) for side in wanted])
    for side in near:
        assert np.abs(listed - side).max(axis=(1, 2)).min() < 1e-6


def test_clusters_have_a_color_and_a_number_each():
    lattice = Lattice(2, 3)
    clusters = xr.DataArray([[4, 4, np.nan], [4, 7, -1]], dims=("row", "col"), name="cluster")
    given = Figure().subplots()
    ax = plot_clusters(model_of(lattice), clusters.to_dataset(), ax=given)
    assert ax is given
    nodes, _ = ax.collections
    colors = nodes.get_facecolors()
    kinds = np.unique(colors, axis=0, return_inverse=True)[1].ravel()
    assert kinds[0] == kinds[1] == kinds[3]
    assert kinds[2] == kinds[5]
    assert len({kinds[0], kinds[2], kinds[4]}) == 3
    texts = {text.get_text(): text.get_position() for text in ax.texts}
    np.testing.assert_allclose(texts["7"], centers_of(nodes)[4])
    assert set(texts) == {"4", "7"}
    assert ax.get_title() == "2 clusters of the nodes"


@pytest.mark.parametrize("values", [np.full((2, 3), 0.5), np.full((2, 3), "a")])
def test_clusters_are_whole_numbers(values):
    with pytest.raises(ParameterError, match="whole numbers"):
        plot_clusters(model_of(Lattice(2, 3)), values)
