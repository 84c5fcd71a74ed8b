"""Component planes: a panel each, with the values of the right feature."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.planes import plot_plane, plot_planes
from tests.plotting.pictures import model_of


def test_a_plane_shows_its_feature():
    model = model_of(Lattice(3, 4), ["a", "b$", "c"])
    model["codebook"].attrs["units"] = "m"
    given = Figure().subplots()
    ax = plot_plane(model, "b$", ax=given)
    assert ax is given
    np.testing.assert_array_equal(ax.collections[0].get_array(), model["codebook"].values[..., 1].ravel())
    assert ax.get_title() == "b\\$"
    assert ax.child_axes[0].get_ylabel() == "m"
    with pytest.raises(ParameterError, match="no feature 'z'"):
        plot_plane(model, "z")


@pytest.mark.parametrize("n", [1, 3, 4, 17])
def test_each_feature_has_a_panel(n):
    model = model_of(Lattice(2, 3), [f"f{i}" for i in range(n)])
    panels = plot_planes(model)
    assert len(panels) == n == len(panels[0].figure.axes)
    for i, ax in enumerate(panels):
        assert ax.get_title() == f"f{i}"
        np.testing.assert_array_equal(ax.collections[0].get_array(), 100 * np.arange(6) + i)
    places = np.array([ax.get_position().bounds for ax in panels])
    np.testing.assert_allclose(places[:, 2:], np.broadcast_to(places[0, 2:], (n, 2)))  # all alike
    assert len(np.unique(np.round(places[:, :2], 6), axis=0)) == n
    assert places.min() >= 0


def test_too_many_features_are_cut_and_it_is_said():
    model = model_of(Lattice(2, 2), [f"f{i}" for i in range(9)])
    panels = plot_planes(model, most=4)
    assert [ax.get_title() for ax in panels] == ["f0", "f1", "f2", "f3"]
    assert "first 4 of 9" in panels[0].figure.get_suptitle()
    assert plot_planes(model)[0].figure.get_suptitle() == ""


def test_some_planes_on_given_axes_with_shared_limits():
    model = model_of(Lattice(2, 3))
    given = Figure().subplots(2, 2)
    panels = plot_planes(model, ["c", "a"], shared_limits=True, axes=given)
    assert list(panels) == list(given.ravel()[:2])
    assert [ax.get_title() for ax in panels] == ["c", "a"]
    assert {ax.collections[0].get_clim() for ax in panels} == {(0.0, 502.0)}
    with pytest.raises(ParameterError, match="3 planes need 3 axes"):
        plot_planes(model, axes=given.ravel()[:2])


def test_a_feature_never_known_is_gray():
    model = model_of(Lattice(2, 3))
    model["codebook"][..., 1] = np.nan
    panels = plot_planes(model)
    assert np.ma.getmaskarray(panels[1].collections[0].get_array()).all()
    assert [len(ax.child_axes) for ax in panels] == [1, 0, 1]  # no colors, no colorbar
    panels[0].figure.canvas.draw()
