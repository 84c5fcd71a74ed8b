"""Pictures: nodes that fill the plane, in the colors asked for."""

import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from som_dask.errors import ParameterError
from som_dask.lattice import Lattice
from som_dask.plot import node_polygons, plot_colors, plot_u_matrix, save_figure
from som_dask.training import TrainingConfig, fit


@pytest.fixture
def model(rng):
    values = rng.uniform(0, 1, (300, 4))
    names = np.array(["red", "green", "blue", "infrared"], dtype=object)
    cells = xr.DataArray(values, dims=("cell", "band"), coords={"band": names})
    return fit(cells, Lattice(5, 7), TrainingConfig(epochs=2))


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


@pytest.mark.parametrize("features", [["red"], ["red", "green", "x"], []])
def test_three_known_features_are_needed(features, model):
    with pytest.raises(ParameterError, match="three of the features"):
        plot_colors(model, features)


def test_without_matplotlib(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ParameterError, match=r"som_dask\[plot\]"):
        plot_u_matrix(model)
