"""Fields: what is given for each feature, on the feature dimensions again."""

import numpy as np
import pytest
import xarray as xr

from som_dask.errors import DataError
from som_dask.io.unstack import unstack_features
from som_dask.samples.open import open_samples

SIZES = {"time": 7, "lat": 3, "lon": 4, "level": 2}


def variable(*dims, name="z"):
    values = np.random.default_rng(len(dims)).normal(size=[SIZES[d] for d in dims])
    coords = {"lat": ("lat", [10.0, -5, 3], {"units": "degrees_north"}), "level": [1000, 500]}
    return xr.DataArray(values, dims=dims, coords={k: v for k, v in coords.items() if k in dims}, name=name)


def features_as_array(samples):
    """The table itself as an array with the dimension "feature" and its coordinates."""
    coords = {"feature": np.array(samples.feature_names, dtype=object), **samples.feature_coords}
    return xr.DataArray(samples.array.compute(), dims=("time", "feature"), coords=coords)


@pytest.mark.parametrize("dims", [("time", "lat", "lon"), ("lon", "time", "lat"), ("level", "lat", "time", "lon")])
def test_features_of_a_variable_become_its_dimensions(dims):
    field = variable(*dims)
    back = unstack_features(features_as_array(open_samples(field, sample_dims="time")))
    assert back.dims == ("time", *(d for d in dims if d != "time"))
    np.testing.assert_array_equal(back, field.transpose(*back.dims))
    for dim in set(dims) & {"lat", "level"}:
        np.testing.assert_array_equal(back[dim], field[dim])
    assert back["lat"].attrs == {"units": "degrees_north"}
    np.testing.assert_array_equal(back["lon"], np.arange(4))  # which has no coordinate


def test_features_of_several_variables_become_a_dataset():
    shapes = {"t2m": ["time"], "z": ["level", "time"], "f": ["lat", "lon", "time"]}
    dataset = xr.Dataset({name: variable(*dims) for name, dims in shapes.items()})
    samples = open_samples(dataset, variables=["z", "t2m", "f"], sample_dims="time")
    table = features_as_array(samples)
    for array, coords in ((table, None), (table.drop_vars(samples.feature_coords), samples.feature_coords)):
        back = unstack_features(array, coords)
        assert list(back.data_vars) == ["z", "t2m", "f"]
        for name in dataset:
            xr.testing.assert_equal(
                back[name].drop_vars("lon", errors="ignore"), dataset[name].transpose("time", ...).rename(None)
            )


def test_combinations_that_are_no_feature_are_missing():
    field = variable("time", "lat", "lon")
    table = features_as_array(open_samples(field, sample_dims="time"))
    back = unstack_features(table.isel(feature=[0, 1, 2, 3, 5, 9]))
    wanted = np.full((7, 3, 4), np.nan)
    places = np.array([0, 1, 2, 3, 5, 9])
    wanted.reshape(7, -1)[:, places] = field.values.reshape(7, -1)[:, places]
    np.testing.assert_array_equal(back, wanted)


def test_features_without_coordinates_stay():
    table = features_as_array(open_samples(xr.DataArray(np.zeros((7, 3)), dims=("time", "feature"))))
    assert unstack_features(table).dims == ("time", "feature")


def test_what_is_no_field():
    table = features_as_array(open_samples(variable("time", "lat", "lon"), sample_dims="time"))
    with pytest.raises(DataError, match="same lat, lon"):
        unstack_features(table.isel(feature=[0, 0]))
    with pytest.raises(DataError, match="'feature'"):
        unstack_features(table.rename(feature="band"))
