"""Training on fields: any sample dimensions and chunks, land that is missing, weights of area, points as features."""

import dask
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.analysis.soft_labels import infer_soft
from som_dask.io.attributes import read_attribute
from som_dask.io.models import open_model, save_model
from som_dask.io.unstack import unstack_features
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.training.test_prepared import same

LATTICE = Lattice(4, 5)
CHUNKS = ({"time": -1, "lat": -1, "lon": -1}, {"time": 5, "lat": 3, "lon": 4}, {"time": 12, "lat": 2, "lon": 12})
BOTH = ["t2m", "z"]


@pytest.fixture
def fields(rng):
    """Two variables on (time, lat, lon), the second on two levels; land is NaN in all."""
    shape, coords = (12, 8, 12), {"time": np.arange(12), "lat": np.linspace(-70, 70, 8), "lon": 30.0 * np.arange(12)}
    land = rng.random(shape[1:]) < 0.3
    t2m = xr.DataArray(rng.normal(280, 10, shape), dims=("time", "lat", "lon"), coords=coords)
    z = xr.DataArray(rng.normal(5000, 100, (2, *shape)), dims=("level", "time", "lat", "lon"), coords=coords)
    z = z.assign_coords(level=[500, 850])
    return xr.Dataset({"t2m": t2m, "z": z}).where(~xr.DataArray(land, dims=("lat", "lon")))


def plain_table(fields):
    """Samples by features in C order of (time, lat, lon)."""
    z = fields["z"].transpose("time", "lat", "lon", "level").values.reshape(-1, 2)
    return np.column_stack([fields["t2m"].values.ravel(), z])


@pytest.mark.parametrize("initialization", ["pca", "sample", "random"])
def test_any_chunks_give_the_bits_of_the_plain_table(initialization, fields):
    config = MapConfig(epochs=3, missing="mask", scaling="zscore", initialization=initialization)
    weights = open_samples(fields.chunk(CHUNKS[0]), variables=BOTH, sample_weights="area").weights.compute()
    cosines = np.cos(np.deg2rad(fields["lat"].broadcast_like(fields["t2m"]).transpose(*fields["t2m"].dims)))
    np.testing.assert_allclose(weights, cosines.values.ravel(), rtol=1e-11)
    plain = train(plain_table(fields), LATTICE, config, sample_weights=weights)
    for chunks, threads in zip(CHUNKS, (1, 2, 2), strict=True):
        with dask.config.set(scheduler="threads", num_workers=threads):
            model = train(open_samples(fields.chunk(chunks), variables=BOTH, sample_weights="area"), LATTICE, config)
        same(model, plain)
        assert model.attrs["data_fingerprint"] == plain.attrs["data_fingerprint"]
        assert model["feature"].values.tolist() == ["t2m", "z level=500", "z level=850"]
        assert read_attribute(model.attrs["sample_dims"]) == ["time", "lat", "lon"]


def test_land_comes_back_as_missing(fields, tmp_path):
    samples = open_samples(fields.chunk(CHUNKS[1]), variables=BOTH)
    model = train(samples, LATTICE, MapConfig(epochs=2, missing="mask", scaling="zscore"))
    labels = infer(samples, model)
    assert labels["bmu_row"].dims == ("time", "lat", "lon")
    computed = labels.compute()
    land = np.isnan(fields["t2m"])
    for name in ("bmu_row", "bmu_col", "distance"):
        np.testing.assert_array_equal(np.isnan(computed[name]), land)
    infer_to_store(samples, model, tmp_path / "labels.zarr")
    with xr.open_zarr(tmp_path / "labels.zarr", consolidated=True) as stored:
        for name in ("bmu_row", "bmu_col", "distance"):
            np.testing.assert_array_equal(stored[name], computed[name])
    hits = np.zeros(LATTICE.shape, dtype=int)
    known = ~land.values
    rows, cols = (computed[name].values[known].astype(int) for name in ("bmu_row", "bmu_col"))
    np.add.at(hits, (rows, cols), 1)
    np.testing.assert_array_equal(hits, model["hits"])
    assert model.attrs["samples_left_out"] == int(land.sum())
    assert model["quantization_error"].values[-1] == pytest.approx(float(computed["distance"].mean()), rel=1e-12)


def test_soft_labels_lie_on_the_same_dimensions(fields, tmp_path):
    samples = open_samples(fields.chunk(CHUNKS[1]), variables=BOTH)
    model = train(samples, LATTICE, MapConfig(epochs=2, missing="mask", scaling="zscore"))
    soft, labels = infer_soft(samples, model, k=3).compute(), infer(samples, model).compute()
    assert soft["membership"].dims == ("time", "lat", "lon", "neighbor")
    for name, other in (("bmu_row", "node_row"), ("bmu_col", "node_col"), ("distance", "distance")):
        np.testing.assert_array_equal(labels[name], soft[other].isel(neighbor=0))
    known = ~np.isnan(fields["t2m"])
    np.testing.assert_allclose(soft["membership"].sum("neighbor").where(known), known.where(known), rtol=1e-14)
    summary = infer_to_store(samples, model, tmp_path / "soft.zarr", soft={"k": 3})
    assert summary.left_out == int((~known).sum())
    assert summary.quantization_error == pytest.approx(model["quantization_error"].values[-1], rel=1e-12)
    with xr.open_zarr(tmp_path / "soft.zarr", consolidated=True) as stored:
        xr.testing.assert_equal(stored.load(), soft)
        assert stored.attrs["membership_kind"] == "fuzzy"
        assert stored["node_row"].encoding["dtype"] == np.int32


def test_points_as_features_come_back_as_fields(fields, tmp_path):
    z = fields["z"].sel(level=500).drop_vars("level")
    samples = open_samples(z.chunk(time=5), sample_dims="time", feature_weights="area")
    model = train(samples, Lattice(2, 3), MapConfig(epochs=3, missing="mask"))
    save_model(model, tmp_path / "types.zarr")
    types = unstack_features(open_model(tmp_path / "types.zarr")["codebook"])
    assert types.dims == ("row", "col", "lat", "lon")
    land = np.isnan(z.isel(time=0, drop=True))
    np.testing.assert_array_equal(np.isnan(types.isel(row=0, col=0)), land)
    np.testing.assert_array_equal(types["lat"], z["lat"])
    labels = infer(samples, model).compute()
    assert labels["bmu_row"].dims == ("time",)
    area = np.cos(np.deg2rad(z["lat"]))
    nearest = types.isel(row=labels["bmu_row"].astype(int), col=labels["bmu_col"].astype(int))
    distance = np.sqrt(((nearest - z) ** 2 * area).sum(("lat", "lon")))
    np.testing.assert_allclose(labels["distance"], distance, rtol=1e-10)


def test_grids_named_as_the_lattice_is(rng):
    field = xr.DataArray(rng.normal(size=(30, 3, 4)), dims=("time", "y", "x"), coords={"x": np.arange(4.0)})
    model = train(open_samples(field, sample_dims="time"), Lattice(2, 3), MapConfig(epochs=2))
    assert model["x"].dims == ("row", "col")
    assert unstack_features(model["codebook"]).sizes["feature_x"] == 4
