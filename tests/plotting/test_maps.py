"""Pictures: nodes that fill the plane, in the colors asked for."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.maps import plot_colors, plot_hits, plot_u_matrix, plot_values, save_figure
from tests.plotting.pictures import centers_of, model_of


@pytest.fixture
def model(rng):
    model = model_of(Lattice(5, 7), ["red", "green", "blue", "infrared"])
    model["codebook"].values[:] = rng.uniform(0, 1, (5, 7, 4))
    return model


def test_nodes_have_the_codebooks_colors(model):
    ax = plot_colors(model, limits=(0.0, 1.0))
    (nodes,) = ax.collections
    wanted = model["codebook"].values.reshape(35, 4)[:, :3]
    np.testing.assert_allclose(nodes.get_facecolors()[:, :3], wanted)
    low, high = ax.get_ylim()
    assert low > high  # row 0 on top
    stretched = plot_colors(model, ["infrared", "red", "green"]).collections[0].get_facecolors()
    assert (stretched[:, :3].min(axis=0), stretched[:, :3].max(axis=0)) == (pytest.approx(0), pytest.approx(1))


def test_the_u_matrix_is_drawn_on_the_axes_given(model, tmp_path):
    given = Figure().subplots()
    ax = plot_u_matrix(model, ax=given)
    assert ax is given
    np.testing.assert_array_equal(ax.collections[0].get_array(), model["u_matrix"].values.ravel())
    save_figure(ax, tmp_path / "u.png")
    assert (tmp_path / "u.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("topology", ["hexagonal", "rectangular"])
def test_values_are_drawn_at_their_nodes(topology):
    model = model_of(Lattice(3, 5, topology))
    values = model["codebook"].isel(feature=1).transpose("col", "row")
    values.attrs.update(long_name="height", units="m")
    given = Figure().subplots()
    ax = plot_values(model, values, title="t$x$", limits=(0, 2000), ax=given)
    assert ax is given
    (nodes,) = ax.collections
    for row in range(3):
        for col in range(5):
            place = [model["x"].values[row, col], model["y"].values[row, col]]
            (at,) = np.flatnonzero(np.linalg.norm(centers_of(nodes) - place, axis=1) < 1e-9)
            assert nodes.get_array()[at] == 100 * (5 * row + col) + 1
    assert nodes.get_clim() == (0, 2000)
    (bar,) = ax.child_axes
    assert bar.get_ylabel() == "height [m]"


def test_hits_as_colors_leave_out_nodes_without():
    model = model_of(Lattice(3, 5))
    (nodes,) = plot_hits(model).collections
    np.testing.assert_array_equal(np.ma.getmaskarray(nodes.get_array()), np.arange(15) == 0)
    np.testing.assert_array_equal(nodes.get_array()[1:], np.arange(1, 15))


def test_hits_as_sizes_have_areas_in_proportion():
    ground, nodes = plot_hits(model_of(Lattice(3, 5)), style="size").collections
    corners = np.array([path.vertices[:-1] for path in nodes.get_paths()])
    x, y = corners[..., 0], corners[..., 1]
    area = 0.5 * np.abs(np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1))
    np.testing.assert_allclose(area, np.arange(15) / 14 * np.sqrt(3) / 2, atol=1e-12)
    np.testing.assert_allclose(centers_of(nodes), centers_of(ground), atol=1e-12)
    with pytest.raises(ParameterError, match="style"):
        plot_hits(model_of(Lattice(3, 5)), style="loud")


def test_pyplot_is_left_alone(model):
    import matplotlib
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    plot_u_matrix(model)
    plot_hits(model)
    plot_colors(model)
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("features", [["red"], ["red", "green", "x"], []])
def test_three_known_features_are_needed(features, model):
    with pytest.raises(ParameterError, match="three of the features"):
        plot_colors(model, features)


def test_without_matplotlib(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ParameterError, match=r"som_dask\[plot\]"):
        plot_u_matrix(model)
