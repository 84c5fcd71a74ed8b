"""Dimensions: which are samples, which are features, and what the features are called."""

import numpy as np
import pytest
import xarray as xr

from som_dask.errors import DataError, ParameterError
from som_dask.samples.dims import Roles, features_of, roles_of


def variable(*dims, name="z", sizes=None, **coords):
    sizes = {"time": 4, "lat": 3, "lon": 2, "level": 2, "feature": 3, **(sizes or {})}
    return xr.DataArray(np.zeros([sizes.get(d, 2) for d in dims]), dims=dims, name=name, coords=coords)


CHOICES = [
    (["cell", "marker"], None, None, ("cell",), ("marker",)),
    (["feature", "cell"], None, None, ("cell",), ("feature",)),
    (["feature", "time", "lat"], None, None, ("time", "lat"), ("feature",)),
    (["time", "lat", "lon"], ["time"], None, ("time",), ("lat", "lon")),
    (["time", "lat", "lon"], None, ["lat"], ("time", "lon"), ("lat",)),
    (["time", "lat", "lon"], ["lon", "time"], None, ("lon", "time"), ("lat",)),
    (["time", "lat", "lon"], ["time"], ["lon", "lat"], ("time",), ("lon", "lat")),
    (["time"], ["time"], None, ("time",), ()),
    (["time", "lat"], ["time", "lat"], None, ("time", "lat"), ()),
    (["time", "feature"], ["feature"], None, ("feature",), ("time",)),
]


@pytest.mark.parametrize(("dims", "samples", "features", "is_samples", "is_features"), CHOICES)
def test_of_one_variable(dims, samples, features, is_samples, is_features):
    assert roles_of([variable(*dims)], samples, features, "it") == Roles(is_samples, is_features)


def test_of_several_variables_those_that_all_share_are_samples():
    both = [variable("time", "lat", "lon"), variable("level", "lat", "time", "lon")]
    assert roles_of(both, None, None, "it") == Roles(("time", "lat", "lon"), ("level",))
    assert roles_of(both, ["time"], None, "it") == Roles(("time",), ("lat", "lon", "level"))
    assert roles_of(both, None, ["lat", "lon", "level"], "it") == Roles(("time",), ("lat", "lon", "level"))
    assert roles_of([both[0], both[0]], None, None, "it") == Roles(("time", "lat", "lon"), ())


REFUSED = [
    ([("time", "lat", "lon")], None, None, ParameterError, r"\('time', 'lat', 'lon'\).*`sample_dims`"),
    ([("time",)], None, None, ParameterError, "`feature_dims`"),
    ([()], None, None, ParameterError, "dimensions"),
    ([("time", "lat")], ["tme"], None, ParameterError, "no dimension 'tme'"),
    ([("time", "lat")], ["time"], ["time"], ParameterError, "'time' is named twice"),
    ([("time", "lat", "lon")], ["time"], ["lat"], ParameterError, "'lon' is of neither"),
    ([("time", "lat")], None, ["time", "lat"], ParameterError, "no dimension left"),
    ([("time", "lat"), ("lon",)], None, None, ParameterError, "no dimension left"),
    ([("time", "lat"), ("lat",)], ["time"], None, DataError, r"lacks the sample dimension 'time'.*\('lat',\)"),
    ([("time", "lat"), ("time", "lon")], None, ["lat"], ParameterError, "'lon' is of neither"),
]


@pytest.mark.parametrize(("dims", "samples", "features", "error", "match"), REFUSED)
def test_what_cannot_be_told(dims, samples, features, error, match):
    with pytest.raises(error, match=match):
        roles_of([variable(*own) for own in dims], samples, features, "it")


def test_features_of_one_dimension_are_called_by_its_coordinate():
    array = variable("time", "level", level=[1000, 500])
    found = features_of([array], Roles(("time",), ("level",)), "it")
    assert found.names == ("1000", "500")
    np.testing.assert_array_equal(found.coords["level"], [1000, 500])
    assert features_of([variable("time", "level")], Roles(("time",), ("level",)), "it").names is None


def test_features_of_several_dimensions_are_called_by_all():
    lat = xr.Variable("lat", np.array([10, 20, 30.5], dtype=np.float32), {"units": "degrees_north"})
    found = features_of([variable("time", "lat", "lon", lat=lat)], Roles(("time",), ("lat", "lon")), "it")
    assert found.names[:3] == ("lat=10.0 lon=0", "lat=10.0 lon=1", "lat=20.0 lon=0")
    assert found.names[-1] == "lat=30.5 lon=1"
    np.testing.assert_array_equal(found.coords["lat"], np.float32([10, 10, 20, 20, 30.5, 30.5]))
    np.testing.assert_array_equal(found.coords["lon"], [0, 1, 0, 1, 0, 1])
    assert found.coords["lat"].attrs == {"units": "degrees_north"}


def test_features_of_several_variables_begin_with_their_names():
    dates = np.array(["2001-01-01", "2002-01-01"], dtype="datetime64[ns]")
    variables = [
        variable("time", name="t2m"),
        variable("time", "level", name="z", level=[1000, 500]),
        variable("time", "run", name="q", run=["a", "b"]),
        variable("time", "date", name="w", date=dates),
    ]
    found = features_of(variables, Roles(("time",), ("level", "run", "date")), "it")
    names = ["t2m", "z level=1000", "z level=500", "q run=a", "q run=b"]
    assert found.names == (*names, *(f"w date={date}" for date in dates))
    assert found.coords["variable"].values.tolist() == ["t2m", "z", "z", "q", "q", "w", "w"]
    np.testing.assert_array_equal(found.coords["level"], [np.nan, 1000, 500] + [np.nan] * 4)
    assert found.coords["run"].values.tolist() == ["", "", "", "a", "b", "", ""]
    assert np.isnat(found.coords["date"].values).tolist() == [True] * 5 + [False] * 2


def test_a_feature_of_no_dimension_is_called_as_the_variable():
    assert features_of([variable("time")], Roles(("time",), ()), "it").names == ("z",)
    assert features_of([variable("time", name=None)], Roles(("time",), ()), "it").names is None


def test_two_features_of_the_same_name():
    array = variable("time", "level", level=[500, 500])
    with pytest.raises(DataError, match="same name '500'"):
        features_of([array], Roles(("time",), ("level",)), "it")
