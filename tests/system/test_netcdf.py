"""Every result goes into a netCDF file and into a Zarr store, and comes back as it was."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import som_dask as som

LATTICE = som.Lattice(4, 5)
OPTIONS = {"epochs": 2, "missing": "mask"}
ENGINES = ["netcdf4", "scipy"]


@pytest.fixture(scope="module")
def fields():
    """Fields of two variables with attributes of every kind, one of them with gaps."""
    rng = np.random.default_rng(3)
    odd = {
        "units": "degrees_north",
        "checked": True,
        "nothing": None,
        "bounds": {"south": -90},
        "range": (-90.0, 90.0),
        "valid_range": np.array([-90, 90], np.float32),
        "classes": [np.int16(1), np.int16(2)],
    }
    coords = {
        "time": pd.date_range("2001-01-01", periods=30),
        "lat": ("lat", np.linspace(-60, 60, 4), odd),
        "level": ("level", [500, 850], {"positive": ["down"], "stored": np.True_}),
    }
    t = xr.DataArray(rng.normal(size=(30, 4, 2)), dims=("time", "lat", "level"), attrs={"units": "K"})
    t[3, 1] = np.nan
    return xr.Dataset({"t": t, "rain": t.isel(level=0) * 2}, coords)


@pytest.fixture(scope="module")
def model(fields):
    samples = som.open_samples(
        fields, variables=["t", "rain"], sample_dims=["time", "lat"], sample_weights="area", nodata=[-9999, np.inf]
    )
    return som.train(samples, LATTICE, som.MapConfig(**OPTIONS, radii=(2.0, 1.0), scaling="zscore", tolerance=0.0))


@pytest.fixture(scope="module")
def results(fields, model, tmp_path_factory):
    """Every public function that returns a Dataset or DataArray, and what it returned."""
    place = tmp_path_factory.mktemp("models") / "model.zarr"
    som.save_model(model, place)
    values = np.random.default_rng(4).random((40, 3))
    labels, stacked = som.infer(fields, model), fields["t"].stack(cell=("lat", "level"))
    plain = som.train(values, LATTICE, som.MapConfig(epochs=1))
    groups, given = som.clusters(model), som.clusters(model, 2, "kmeans", seed=1)
    times = fields["time"].dt
    registry = som.Registry(place.parent / "models")
    key = registry.save(model, "air")
    return {
        "batch": model,
        "batch of an array": plain,
        "batch without epochs": som.train(values, LATTICE, som.MapConfig(epochs=0, radii=())),
        "batch with support": som.train(values, LATTICE, som.MapConfig(epochs=2, support=2.0, seed=2**31 - 1)),
        "online": som.train(values, LATTICE, som.OnlineConfig(epochs=2)),
        "retrained": som.retrain(fields, model)[0],
        "opened": som.open_model(place),
        "registered": registry.load_key(key),
        "KohonenMap": som.KohonenMap.load(place).to_dataset(),
        "KohonenMap.train": som.KohonenMap(3, 3).train(values, epochs=1).to_dataset(),
        "codebook": som.KohonenMap.load(place).codebook,
        "labels": labels,
        "labels of an array": som.infer(values, plain),
        "soft labels": som.infer_soft(fields, model),
        "gaussian soft labels": som.infer_soft(fields, model, 1, kind="gaussian"),
        "evaluation": som.evaluate(fields, model),
        "evaluation without ranks": som.evaluate(values, plain, sample=0),
        "clusters": groups,
        "given clusters": given,
        "clusters of samples": som.sample_clusters(labels, groups),
        "classes of text": som.summarize_labels(labels, times.season, model),
        "classes of numbers": som.summarize_labels(labels, times.month, model, sample_weights="area"),
        "classes of truth": som.summarize_labels(labels, times.month < 2, model),
        "classes of dates": som.summarize_labels(labels, fields["time"].dt.floor("10D"), model),
        "values": som.summarize_values(labels, fields["rain"], model),
        "features as fields": som.unstack_features(model["codebook"]),
        "stacked features": som.train(stacked, LATTICE, som.MapConfig(**OPTIONS)),
    }


def test_every_result_goes_into_files(results, tmp_path):
    for name, result in results.items():
        for engine in ENGINES:
            result.to_netcdf(tmp_path / "result.nc", mode="w", engine=engine)
            with xr.open_dataset(tmp_path / "result.nc", engine=engine) as found:
                assert_same(found, result, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about consolidated metadata
            result.to_zarr(store := zarr.storage.MemoryStore(), zarr_format=3)
        with xr.open_zarr(store) as found:
            assert_same(found, result, name)


def assert_same(found, wanted, name):
    """All values and attributes are the same, but that files don't tell a list of one number from the number."""
    if isinstance(wanted, xr.DataArray):
        (variable,) = found.data_vars
        found = found[variable]
    xr.testing.assert_equal(found.load(), wanted.load())
    pairs = [(found, wanted), *((found[key], wanted[key]) for key in wanted.coords)]
    if isinstance(wanted, xr.Dataset):
        pairs += [(found[key], wanted[key]) for key in wanted.data_vars]
    for one, other in pairs:
        assert set(one.attrs) == set(other.attrs), name
        for key, value in other.attrs.items():
            np.testing.assert_array_equal(np.atleast_1d(one.attrs[key]), np.atleast_1d(value), f"{name}: {key}")


def test_a_model_out_of_a_file_works_as_before(fields, model, tmp_path):
    model.to_netcdf(tmp_path / "model.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "model.nc", engine="netcdf4") as found:
        read = found.load()
    xr.testing.assert_identical(som.infer(fields, read)["distance"], som.infer(fields, model)["distance"])
    assert (
        som.retrain(fields, read)[0].attrs["codebook_sha256"]
        == som.retrain(fields, model)[0].attrs["codebook_sha256"]
    )
    som.save_model(read, tmp_path / "model.zarr")
    xr.testing.assert_equal(som.open_model(tmp_path / "model.zarr"), model)


def test_attributes_of_the_data_stay_what_they_are(fields, results):
    assert fields["lat"].attrs["checked"] is True
    assert fields["lat"].attrs["nothing"] is None
    attrs = dict(results["labels"]["lat"].attrs)
    np.testing.assert_array_equal(valid := attrs.pop("valid_range"), [-90, 90])
    assert valid.dtype == np.float32
    assert attrs.pop("classes") == [1, 2]
    assert attrs == {"units": "degrees_north", "checked": 1, "bounds": '{"south": -90}', "range": [-90.0, 90.0]}
