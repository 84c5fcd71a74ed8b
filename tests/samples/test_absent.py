"""Chunks that a store lacks: lost ones are an error, and those of missing values are missing values."""

import warnings

import numpy as np
import pytest
import xarray as xr
import zarr

import som_dask as som
from som_dask.errors import StorageError
from som_dask.samples.open import open_samples

LATTICE = som.Lattice(3, 4)
QUICK = {"epochs": 2, "missing": "mask"}


@pytest.fixture
def ocean(rng):
    """Fields (time, lat, lon) of an ocean: the eastern half is land."""
    values = rng.normal(size=(6, 8, 10))
    values[:, :, 5:] = np.nan
    return xr.DataArray(values, dims=("time", "lat", "lon"), name="sst")


def write(dataset, place, zarr_format=2, **encoding):
    """A store in chunks of 3 x 4 x 5, of which those on land are absent; its path."""
    every = {name: {"chunks": (3, 4, 5), **encoding} for name in dataset.data_vars}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.to_zarr(place, zarr_format=zarr_format, encoding=every, consolidated=False)
    return place


ENCODINGS = {
    "v2": (2, {}),
    "v3": (3, {}),
    "integers": (2, {"dtype": "i2", "_FillValue": -999}),
    "packed": (2, {"dtype": "i2", "_FillValue": -999, "scale_factor": 0.001, "add_offset": 1.0}),
    "shards": (3, {"chunks": (3, 2, 5), "shards": (3, 4, 5)}),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_land_that_is_not_stored_is_missing(name, ocean, tmp_path):
    zarr_format, encoding = ENCODINGS[name]
    ocean = ocean.round() if "dtype" in encoding else ocean
    place = write(ocean.to_dataset(), tmp_path / "sst.zarr", zarr_format, **encoding)
    assert zarr.open_group(place, mode="r")["sst"].nchunks_initialized < 16
    options = {"sample_dims": ["time"]}
    samples = open_samples(place, **options)
    assert [each.count for each in samples.absent] == [4]
    decoded = xr.open_zarr(place, consolidated=False)["sst"].load()
    assert np.isnan(decoded[:, :, 5:]).all()
    config = som.MapConfig(**QUICK)
    model, same = (som.train(source, LATTICE, config) for source in (samples, open_samples(decoded, **options)))
    assert model.attrs["absent_chunks"] == 4
    assert "absent_chunks" not in same.attrs
    assert model.attrs["codebook_sha256"] == same.attrs["codebook_sha256"]
    with pytest.raises(StorageError, match=r'sst lacks 4 of its chunks; restore them, .*`missing="mask"`.*_chunks'):
        som.train(samples, LATTICE, som.MapConfig(epochs=2))


def test_all_verbs_allow_for_it_or_do_not(ocean, tmp_path):
    both = xr.Dataset({"sst": ocean, "salt": ocean + 1})
    place = write(both, tmp_path / "ocean.zarr")
    options = {"variables": ["sst", "salt"]}
    samples = open_samples(place, **options)
    assert [each.count for each in samples.absent] == [4, 4]
    model = som.train(samples, LATTICE, som.MapConfig(**QUICK))
    labels = som.infer(place, model).compute()
    np.testing.assert_array_equal(np.isnan(labels["distance"]), np.isnan(ocean))
    summary = som.infer_to_store(place, model, tmp_path / "labels.zarr")
    assert (summary.samples, summary.left_out) == (480, 240)
    assert int(som.evaluate(place, model)["hits"].sum()) == 240
    assert som.retrain(place, model)[0].attrs["absent_chunks"] == 8
    whole = som.train(open_samples(both.isel(lon=slice(5)), **options), LATTICE, som.MapConfig(epochs=2))
    for use in (som.infer, som.evaluate, som.infer_soft, som.retrain):
        with pytest.raises(StorageError, match="sst lacks 4 of its chunks"):
            use(place, whole)
    with pytest.raises(StorageError, match="sst lacks 4 of its chunks"):
        som.train(samples, LATTICE, som.OnlineConfig(epochs=2))
    som.retrain(place, whole, missing="drop")
    np.testing.assert_array_equal(som.infer(place, whole, missing="drop")["distance"].isnull(), np.isnan(ocean))


def test_a_lost_chunk_is_an_error_where_values_may_not_be_missing(ocean, tmp_path):
    place = write(ocean.isel(lon=slice(5)).to_dataset(), tmp_path / "sst.zarr")
    config = som.MapConfig(epochs=1)
    som.train(open_samples(place, sample_dims=["time"]), LATTICE, config)
    (place / "sst" / "1.0.0").unlink()
    with pytest.raises(StorageError, match="lacks 1 of its chunks"):
        som.train(open_samples(place, sample_dims=["time"]), LATTICE, config)
    read = open_samples(place, sample_dims=["time"], allow_missing_chunks=True)
    assert not read.absent
    assert np.isnan(read.array.compute()).any()


@pytest.mark.parametrize(
    ("dtype", "fill_value", "options"),
    [("f4", 0.0, {}), ("i4", -9, {}), ("i4", -9, {"nodata": 9}), ("f4", np.nan, {"dtype": "int32"})],
)
def test_a_fill_value_that_is_a_number_is_no_missing_value(dtype, fill_value, options, tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(20, 2), chunks=(10, 2), dtype=dtype, fill_value=fill_value)[:10] = 3
    with pytest.raises(StorageError, match=r"a.zarr lacks 1 of its chunks; restore them, or read them as the fill"):
        open_samples(tmp_path / "a.zarr", **options)


@pytest.mark.parametrize(
    ("dtype", "fill_value", "nodata"), [("f4", np.nan, None), ("i4", -9, [-9]), ("f8", -9.0, -9)]
)
def test_bare_arrays_and_numbers_for_missing_values(dtype, fill_value, nodata, tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(20, 2), chunks=(10, 2), dtype=dtype, fill_value=fill_value)[:10] = 3
    samples = open_samples(tmp_path / "a.zarr", nodata=nodata)
    assert np.isnan(samples.array.compute()[10:]).all()
    assert som.train(samples, LATTICE, som.MapConfig(**QUICK)).attrs["samples_left_out"] == 10
    with pytest.raises(StorageError, match=r'lacks 1 of its chunks.*`missing="mask"`'):
        som.train(samples, LATTICE)


def test_weights_that_are_not_stored(ocean, tmp_path):
    area = (ocean[0] * 0 + 1).rename("mass")
    place = write(xr.Dataset({"sst": ocean}), tmp_path / "sst.zarr")
    area.to_dataset().to_zarr(
        place, mode="a", consolidated=False, zarr_format=2, encoding={"mass": {"chunks": (4, 5)}}
    )
    samples = open_samples(place, variable="sst", sample_dims=["time", "lat", "lon"], sample_weights="mass")
    assert [each.where for each in samples.absent] == [f"{place}:sst", "mass"]
    assert som.train(samples, LATTICE, som.MapConfig(**QUICK)).attrs["samples_left_out"] == 240
    (place / "mass" / "0.0").unlink()  # of sea
    with pytest.raises(som.SomError, match=r"weights of .* hold 120"):
        som.train(
            open_samples(place, variable="sst", sample_dims=["time", "lat", "lon"], sample_weights="mass"),
            LATTICE,
            som.MapConfig(**QUICK),
        )


def test_nodata_is_not_for_weights(tmp_path):
    values = xr.Dataset({"v": (("x", "f"), np.ones((20, 2)))})
    values.to_zarr(tmp_path / "a.zarr", consolidated=False, zarr_format=3)
    group = zarr.open_group(tmp_path / "a.zarr")
    group.create_array("w", shape=(20,), chunks=(10,), dtype="f8", fill_value=0.0, dimension_names=("x",))[:10] = 3
    with pytest.raises(StorageError, match="w lacks 1 of its chunks; restore them, or"):
        open_samples(tmp_path / "a.zarr", variable="v", sample_weights="w", nodata=0)
