"""Fields: a panel for each node, with each feature at its place."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.fields import list_fields, plot_fields
from tests.plotting.pictures import model_of


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
    assert list_fields(climate) == [{}]
    assert list_fields(model_of(Lattice(2, 2))) == []
    one = plot_fields(climate, [(1, 2)], anomaly=True)[0].collections[0]
    np.testing.assert_allclose(one.get_array().filled(0), [[250, 0, 250], [250, 250, 250]])
    assert one.get_clim() == (-250, 250)


def test_fields_of_one_of_several_variables(climate):
    two = climate.assign_coords(
        lat=("feature", [1, 1, 2, 2, 1]), lon=("feature", [1, 2, 1, 2, 1]), level=("feature", [5, 5, 5, 5, 8])
    )
    with pytest.raises(ParameterError, match="choose one field"):
        plot_fields(two)
    field = plot_fields(two, [(0, 1)], select={"level": 5}, axes=[Figure().subplots()])[0].collections[0]
    np.testing.assert_array_equal(field.get_array(), [[100, 101], [102, 103]])


def test_each_of_several_fields_can_be_chosen():
    model = model_of(Lattice(2, 3), [f"p{i}" for i in range(17)])
    places = {"latitude": [0, 0, 1, 1] * 4 + [np.nan], "longitude": [0, 1] * 8 + [np.nan]}
    names = np.array(["z"] * 8 + ["t"] * 4 + ["s"] * 4 + ["index"], dtype=object)
    model = model.assign_coords({name: ("feature", values) for name, values in places.items()})
    model = model.assign_coords(variable=("feature", names), level=("feature", [5.0] * 4 + [8.0] * 4 + [np.nan] * 9))
    choices = list_fields(model)
    assert choices == [
        {"variable": "z", "level": 5},
        {"variable": "z", "level": 8},
        {"variable": "t"},
        {"variable": "s"},
    ]
    field = plot_fields(model, [(0, 0)], select=choices[3])[0].collections[0]
    np.testing.assert_array_equal(field.get_array(), [[12, 13], [14, 15]])


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
