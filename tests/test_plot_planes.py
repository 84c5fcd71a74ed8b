"""Component planes and fields: a panel each, with the values of the right feature or node."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from som_dask.errors import ParameterError
from som_dask.lattice import Lattice
from som_dask.plot_planes import has_fields, plot_fields, plot_plane, plot_planes
from tests.pictures import model_of


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
    panels[0].figure.canvas.draw()


@pytest.fixture
def climate():
    """Six places of a 2 x 3 grid in mixed order, one of them without a feature."""
    model = model_of(Lattice(2, 3), [f"p{i}" for i in range(5)])
    return model.assign_coords(lat=("feature", [10, 20, 10, 20, 20]), lon=("feature", [5, 5, 25, 15, 25]))


def test_a_field_has_each_feature_at_its_place(climate):
    panels = plot_fields(climate)
    assert [ax.get_title() for ax in panels] == ["0, 0", "0, 1", "0, 2", "1, 0", "1, 1", "1, 2"]
    field = panels[5].collections[0].get_array()
    np.testing.assert_array_equal(field.filled(np.nan), [[500, np.nan, 502], [501, 503, 504]])
    low, high = panels[0].get_ylim()
    assert low < high  # north on top
    assert has_fields(climate)
    one = plot_fields(climate, [(1, 2)], anomaly=True)[0].collections[0]
    np.testing.assert_allclose(one.get_array().filled(0), [[250, 0, 250], [250, 250, 250]])
    assert one.get_clim() == (-250, 250)


def test_fields_of_one_of_several_variables(climate):
    two = climate.assign_coords(
        lat=("feature", [1, 1, 2, 2, 1]), lon=("feature", [1, 2, 1, 2, 1]), level=("feature", [5, 5, 5, 5, 8])
    )
    assert not has_fields(two)
    with pytest.raises(ParameterError, match="choose one field"):
        plot_fields(two)
    field = plot_fields(two, [(0, 1)], select={"level": 5}, axes=[Figure().subplots()])[0].collections[0]
    np.testing.assert_array_equal(field.get_array(), [[100, 101], [102, 103]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nodes": [(2, 0)]}, "within 2 x 3"),
        ({"nodes": []}, "within 2 x 3"),
        ({"select": {"level": 1}}, "coordinate level"),
        ({"axes": []}, "need 6 axes"),
    ],
)
def test_fields_that_can_not_be(options, message, climate):
    with pytest.raises(ParameterError, match=message):
        plot_fields(climate, **options)
    with pytest.raises(ParameterError, match="coordinate lat"):
        plot_fields(model_of(Lattice(2, 2)))


def test_a_large_map_shows_fields_of_every_so_many_nodes():
    model = model_of(Lattice(10, 20, "rectangular"), ["a", "b", "c", "d"])
    model = model.assign_coords(lat=("feature", [1, 1, 2, 2]), lon=("feature", [1, 2, 1, 2]))
    titles = [ax.get_title() for ax in plot_fields(model)]
    assert titles[:3] == ["0, 0", "0, 3", "0, 6"]
    assert len(titles) == 4 * 7
