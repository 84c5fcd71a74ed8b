"""Features that are places, in another order than a model's: they are known by their coordinates."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.labels import infer
from som_dask.errors import SchemaError
from som_dask.io.attributes import read_attribute
from som_dask.io.models import open_model, save_model
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.retrain import retrain
from som_dask.training.train import train

LATTICE = Lattice(3, 4)
EAST = {"units": "degrees_east"}


def assert_same(found, wanted):
    """The labels are the same, but for when they were made."""
    xr.testing.assert_identical(*(labels.drop_attrs(deep=False) for labels in (found, wanted)))


@pytest.fixture(scope="module")
def field():
    values = np.random.default_rng(3).normal(size=(50, 3, 4)).astype(np.float32)
    lon = xr.Variable("lon", [-90.5, 0.1, 90, 179.9], EAST)
    return xr.DataArray(values, dims=("time", "lat", "lon"), coords={"lat": [10, 20.5, 30], "lon": lon}, name="z")


@pytest.fixture(scope="module")
def model(field, tmp_path_factory):
    place = tmp_path_factory.mktemp("align") / "model.zarr"
    save_model(train(open_samples(field, sample_dims="time"), LATTICE, MapConfig(epochs=2)), place)
    return open_model(place)


def turn(field):
    """The same field with longitudes from 0 to 360."""
    return field.assign_coords(lon=("lon", field["lon"].values % 360, EAST)).sortby("lon")


ARRANGED = {
    "as in training": lambda field: field,
    "transposed": lambda field: field.transpose("time", "lon", "lat"),
    "samples last": lambda field: field.transpose("lon", "lat", "time"),
    "reversed": lambda field: field[:, ::-1],
    "reversed both ways": lambda field: field[:, ::-1, ::-1].transpose("time", "lon", "lat"),
    "from another meridian": lambda field: field.roll(lon=2, roll_coords=True),
    "from 0 to 360": turn,
    "coordinates of another precision": lambda field: field.assign_coords(
        lat=field["lat"].astype("f4"), lon=("lon", field["lon"].values.astype("f4"), EAST)
    )[:, ::-1],
    "in blocks": lambda field: field[:, ::-1].chunk(time=7, lon=2),
}


def test_places_that_training_chose(field):
    names = ["lat=30.0 lon=-90.5", "lat=10.0 lon=179.9"]
    model = train(open_samples(field, sample_dims="time", features=names), LATTICE, MapConfig(epochs=2))
    wanted = infer(open_samples(field, sample_dims="time", features=names), model).compute()
    for data in (field, turn(field)[:, ::-1].transpose("time", "lon", "lat")):
        assert_same(infer(data, model).compute(), wanted)


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("arrange", ARRANGED.values(), ids=ARRANGED)
def test_labels_are_those_of_the_field_as_in_training(arrange, opened, field, model):
    wanted = infer(field, model).compute()
    data = arrange(field)
    found = infer(open_samples(data, sample_dims="time") if opened else data, model).compute()
    assert_same(found, wanted)


def test_a_stored_spectrum_that_runs_the_other_way_is_read_ahead(tmp_path, rng):
    band = xr.Variable("band", [400.0, 500.5, 600.0], {"units": "nm"})
    spectrum = xr.DataArray(rng.normal(size=(500, 3)), dims=("pixel", "band"), coords={"band": band}, name="x")
    model = train(spectrum, LATTICE, MapConfig(epochs=2))
    spectrum[:, ::-1].to_dataset().chunk(pixel=100).to_zarr(tmp_path / "x.zarr", consolidated=False)
    xr.testing.assert_equal(infer(tmp_path / "x.zarr", model).compute(), infer(spectrum, model).compute())
    xr.testing.assert_equal(evaluate(tmp_path / "x.zarr", model).drop_attrs(), evaluate(spectrum, model).drop_attrs())


def test_several_variables_at_the_same_places(field):
    both = xr.Dataset({"u": field, "v": field * 2 + 1})
    model = train(open_samples(both, variables=["u", "v"], sample_dims="time"), LATTICE, MapConfig(epochs=2))
    assert_same(infer(both.isel(lat=[2, 0, 1])[["v", "u"]], model).compute(), infer(both, model).compute())


def test_a_model_that_is_trained_on_has_the_dimensions_that_it_had(field, model):
    found, _ = retrain(field[:, ::-1].transpose("time", "lon", "lat"), model)
    wanted, _ = retrain(field, model)
    xr.testing.assert_identical(found["codebook"], wanted["codebook"])
    assert read_attribute(found.attrs["feature_dims"]) == ["lat", "lon"]


def test_times_are_places_too(rng):
    days = pd.date_range("2000-01-01", periods=4)
    year = xr.DataArray(rng.normal(size=(30, 4)), dims=("station", "day"), coords={"day": days})
    model = train(year, LATTICE, MapConfig(epochs=2))
    assert_same(infer(year[:, ::-1], model).compute(), infer(year, model).compute())


@pytest.mark.parametrize(
    "change",
    [
        lambda field: field.assign_coords(lat=[10, 20.5, 31]),
        lambda field: field.assign_coords(lat=[10, 20.5, 31])[:, ::-1],
        lambda field: turn(field).assign_coords(lon=[0.1, 90, 180, 269.5]),
        lambda field: field.assign_coords(lat=field["lat"] + 360),
    ],
    ids=["another place", "another place, reversed", "another longitude", "latitudes do not turn"],
)
def test_other_places_are_refused_with_the_remedy(change, field, model):
    with pytest.raises(SchemaError, match=r"does not know.*bring them to the model's lat, lon first"):
        infer(change(field), model)


def test_a_meridian_that_is_there_twice_is_not_matched_with_one(field, rng):
    lon = xr.Variable("lon", [0.0, 180, 360], EAST)
    closed = xr.DataArray(rng.normal(size=(30, 1, 3)), dims=field.dims, coords={"lat": [5], "lon": lon})
    model = train(open_samples(closed, sample_dims="time"), LATTICE, MapConfig(epochs=1))
    assert_same(infer(closed[:, :, ::-1], model).compute(), infer(closed, model).compute())
    with pytest.raises(SchemaError, match="bring them"):
        infer(closed.assign_coords(lon=("lon", [0.0, 90, 180], EAST)), model)


def test_names_that_are_text_are_never_put_in_order(rng):
    named = xr.DataArray(rng.normal(size=(30, 2)), dims=("cell", "marker"), coords={"marker": ["CD4", "CD8"]})
    model = train(named, LATTICE, MapConfig(epochs=1))
    with pytest.raises(SchemaError, match="another order"):
        infer(named[:, ::-1], model)
