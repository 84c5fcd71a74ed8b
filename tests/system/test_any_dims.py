"""Any dimensions: labels on the samples' own, the same for any order and chunks; missing where nothing is known."""

import os

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.optimization import cull
from hypothesis import given, settings
from hypothesis import strategies as st

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis import label_store as inference
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.errors import DataError, ParameterError, SchemaError, StorageError
from som_dask.io.attributes import read_attribute
from som_dask.io.models import open_model, save_model, scaled_codebook_of
from som_dask.io.unstack import unstack_features
from som_dask.kohonen_map import KohonenMap
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.reference.twins import plain_bmus

SIZES = {"time": 6, "lat": 4, "lon": 5, "level": 3}
ORDER = ("time", "lat", "lon", "level")


def field(sizes=SIZES, seed=0):
    coords = {
        "time": np.datetime64("2001-01-01", "ns") + np.arange(sizes["time"]) * np.timedelta64(1, "D"),
        "lat": ("lat", np.linspace(-60, 60, sizes["lat"]), {"units": "degrees_north"}),
        "level": [1000, 500, 200],
        "month": ("time", np.arange(sizes["time"]) % 12),
        "height": (("lat", "lon"), np.arange(sizes["lat"] * sizes["lon"]).reshape(sizes["lat"], -1) / 7),
        "run": 3,
    }
    values = np.random.default_rng(seed).normal(size=tuple(sizes.values()))
    return xr.DataArray(values, dims=tuple(sizes), coords=coords, name="z", attrs={"units": "m"})


def trained(samples, feature_dims="level"):
    return train(open_samples(samples, feature_dims=feature_dims), Lattice(3, 4), MapConfig(epochs=1))


MODEL = trained(field())


def plain_labels(array, samples, codebook):
    """By stacking the whole and a loop-free argmin."""
    features = [dim for dim in array.dims if dim not in samples]
    table = array.stack(sample=samples, feature=features).transpose("sample", "feature").values
    bmu, _, distance = plain_bmus(table, codebook)
    return [part.reshape([array.sizes[d] for d in samples]) for part in (bmu // 4, bmu % 4, distance)]


@st.composite
def arrangements(draw):
    chunks = {dim: draw(st.integers(1, size)) for dim, size in SIZES.items()}
    samples = draw(st.permutations([d for d in ORDER if d != "level"]))
    return draw(st.permutations(ORDER)), chunks, tuple(samples), draw(st.integers(200, 4000))


@settings(max_examples=25)
@given(arrangements())
def test_labels_are_those_of_the_plain_rule_in_any_order_and_chunks(arrangement):
    order, chunks, samples, block_size = arrangement
    array = field().transpose(*order).chunk(chunks)
    opened = open_samples(array, sample_dims=samples, block_size=block_size)
    labels = infer(opened, MODEL)
    rows, cols, distance = plain_labels(field(), list(samples), scaled_codebook_of(MODEL))
    assert labels["bmu_row"].dims == samples
    assert labels["bmu_row"].chunks == opened.sample_chunks
    assert labels["bmu_row"].dtype == np.int32
    np.testing.assert_array_equal(labels["bmu_row"], rows)
    np.testing.assert_array_equal(labels["bmu_col"], cols)
    np.testing.assert_allclose(labels["distance"], distance, rtol=1e-12)


@pytest.mark.parametrize("samples", [["time"], ["time", "lon"], ["lon", "lat"]])
def test_labels_of_fields(samples):
    features = [dim for dim in ORDER if dim not in samples]
    model = trained(field(), features)
    labels = infer(open_samples(field().chunk(time=2, lat=3), sample_dims=samples), model).compute()
    rows, cols, _ = plain_labels(field(), samples, scaled_codebook_of(model))
    np.testing.assert_array_equal(labels["bmu_row"], rows)
    np.testing.assert_array_equal(labels["bmu_col"], cols)


def test_labels_have_the_coordinates_of_their_dimensions():
    source = open_samples(field(), feature_dims="level")
    labels = infer(source, MODEL)
    assert set(labels.coords) == {"time", "lat", "month", "height", "run"}
    for name, coordinate in labels.coords.items():
        np.testing.assert_array_equal(coordinate, field()[name])
    assert labels["lat"].attrs == {"units": "degrees_north"}
    assert labels["distance"].attrs["units"] == "m"
    assert "row" in labels["bmu_row"].attrs["long_name"]
    only_time = infer(open_samples(field(), sample_dims="time"), trained(field(), ["lat", "lon", "level"]))
    assert set(only_time.coords) == {"time", "month", "run"}


def test_nothing_is_computed_before_it_is_asked_for():
    def fail(block):
        raise AssertionError("computed")

    zeros = da.zeros(tuple(SIZES.values()), chunks=2)
    lazy = xr.DataArray(da.map_blocks(fail, zeros, dtype=float, meta=np.empty((0,) * 4)), dims=ORDER)
    labels = infer(open_samples(lazy, feature_dims="level"), MODEL.assign_attrs(features_named=False))
    with pytest.raises(AssertionError, match="computed"):
        labels.compute()


def test_a_block_of_labels_depends_on_its_own_chunks_alone():
    source = xr.DataArray(da.zeros(tuple(SIZES.values()), chunks=(2, 2, 5, 3), name="source"), dims=ORDER)
    labels = infer(open_samples(source, feature_dims="level", block_size=1), MODEL.assign_attrs(features_named=False))
    column = labels["bmu_row"].data
    graph, _ = cull(dict(column.__dask_graph__()), [(column.name, *(n - 1 for n in column.numblocks))])
    assert {key[1:] for key in graph if isinstance(key, tuple) and key[0] == "source"} == {(2, 1, 0, 0)}


def with_land(array, share=0.3):
    """NaN at some places for good, and here and there in one feature."""
    rng = np.random.default_rng(1)
    land = xr.DataArray(rng.random((array.sizes["lat"], array.sizes["lon"])) < share, dims=("lat", "lon"))
    masked = array.where(~land)
    masked.values[(rng.random(array.shape) < 0.05) & (np.arange(3) == 1)] = np.nan
    return masked


@pytest.mark.parametrize("missing", ["drop", "mask"])
@pytest.mark.parametrize("chunks", [{"time": 4, "lat": 3, "lon": 4}, {"time": (1, 3, 2), "lon": (1, 4)}])
def test_land_comes_back_as_missing(missing, chunks, tmp_path):
    array = with_land(field())
    samples = open_samples(array.chunk(chunks), feature_dims="level", block_size=16 * 24)
    labels = infer(samples, MODEL, missing=missing)
    assert labels["bmu_row"].dtype == np.float64
    lacking = np.isnan(array)
    left_out = lacking.all("level") if missing == "mask" else lacking.any("level")
    for name in ("bmu_row", "bmu_col", "distance"):
        np.testing.assert_array_equal(labels[name].isnull(), left_out)
    points, codebook = array.values.reshape(-1, 3), scaled_codebook_of(MODEL)
    for point, row, col in zip(
        points, labels["bmu_row"].values.ravel(), labels["bmu_col"].values.ravel(), strict=True
    ):
        known = ~np.isnan(point)
        if not np.isnan(row):
            apart = ((codebook[:, known] - point[known]) ** 2).sum(axis=1)
            assert row * 4 + col == np.argmin(apart)
    summary = infer_to_store(samples, MODEL, tmp_path / "labels.zarr", missing=missing)
    assert (summary.samples, summary.left_out) == (120, int(left_out.sum()))
    assert summary.quantization_error == pytest.approx(float(labels["distance"].mean()), rel=1e-12)
    found = xr.open_zarr(tmp_path / "labels.zarr", consolidated=False)
    xr.testing.assert_equal(found.load(), labels.compute())
    for name in ("bmu_row", "bmu_col"):
        assert found[name].encoding["dtype"] == np.int32
        assert found[name].encoding["_FillValue"] == -1
        assert found[name].attrs == labels[name].attrs


def test_lazy_labels_with_land_can_be_stored(tmp_path):
    samples = open_samples(with_land(field()).chunk(time=4, lat=3), feature_dims="level")
    labels = infer(samples, MODEL, missing="mask")
    labels.to_zarr(tmp_path / "labels.zarr", consolidated=False)
    found = xr.open_zarr(tmp_path / "labels.zarr", consolidated=False)
    xr.testing.assert_equal(found.load(), labels.compute())
    assert found["bmu_row"].encoding["dtype"] == np.int32


def test_what_is_missing_is_refused_unless_allowed():
    samples = open_samples(with_land(field()), feature_dims="level")
    with pytest.raises(DataError, match=r"NaN or infinite values.*`missing`"):
        infer(samples, MODEL).compute()
    assert infer(samples, MODEL.assign_attrs(missing="mask"))["bmu_row"].isnull().any()
    endless = open_samples(field().where(field() < 2, np.inf), feature_dims="level")
    with pytest.raises(DataError, match="infinite values"):
        infer(endless, MODEL, missing="mask").compute()
    with pytest.raises(ParameterError, match="missing must be one of"):
        infer(samples, MODEL, missing="some")


def test_features_that_the_model_never_knew_are_ignored():
    model = MODEL.copy(deep=True)
    model["codebook"][:, :, 1] = np.nan
    array = field()
    found = infer(open_samples(array.where(array["level"] != 500), feature_dims="level"), model).compute()
    rows, cols, _ = plain_labels(array.isel(level=[0, 2]), list(ORDER[:3]), scaled_codebook_of(model))
    np.testing.assert_array_equal(found["bmu_row"], rows)
    np.testing.assert_array_equal(found["bmu_col"], cols)


def test_a_store_of_labels_is_continued(tmp_path):
    samples = open_samples(with_land(field()).chunk(time=2, lat=3, lon=4), feature_dims="level", block_size=576)

    def stop(done, _):
        if done == 5:
            raise KeyboardInterrupt

    place = tmp_path / "labels.zarr"
    with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="sync"):
        infer_to_store(samples, MODEL, place, missing="mask", on_progress=stop)
    assert not place.exists()
    with pytest.raises(StorageError, match=r"other missing\)"):
        infer_to_store(samples, MODEL, place, missing="drop")
    summary = infer_to_store(samples, MODEL, place, missing="mask")
    assert summary.blocks_before == 5
    wanted = infer(samples, MODEL, missing="mask").compute()
    xr.testing.assert_equal(xr.open_zarr(place, consolidated=False).load(), wanted)
    assert os.listdir(tmp_path) == ["labels.zarr"]


def test_each_part_of_a_coordinate_is_written_once(tmp_path, monkeypatch):
    samples = open_samples(field().chunk(time=2, lat=3, lon=4), feature_dims="level", block_size=576)
    written = []
    plain = inference.write_durably

    def noted(plan, parts, coords, target):
        written.extend((name, values.tobytes()) for name, values in zip(plan.coord_dims, coords, strict=True))
        return plain(plan, parts, coords, target)

    monkeypatch.setattr(inference, "write_durably", noted)
    infer_to_store(samples, MODEL, tmp_path / "labels.zarr")
    assert sorted(name for name, _ in written) == ["height"] * 4 + ["month"] * 3


def test_a_bad_block_is_named_by_its_place(tmp_path):
    array = field()
    array[5, 3, 0, 1] = np.nan
    samples = open_samples(array.chunk(time=4, lat=3, lon=4), feature_dims="level", block_size=1152)
    with pytest.raises(DataError, match=r"block 6 \(time 4 to 5, lat 3 to 3, lon 0 to 3\): there are 1 NaN"):
        infer_to_store(samples, MODEL, tmp_path / "labels.zarr")


def test_other_levels_are_refused():
    with pytest.raises(SchemaError, match="300"):
        infer(open_samples(field().assign_coords(level=[1000, 500, 300]), feature_dims="level"), MODEL)


def test_all_left_out(tmp_path):
    samples = open_samples(field() * np.nan, feature_dims="level")
    summary = infer_to_store(samples, MODEL, tmp_path / "labels.zarr", missing="mask")
    assert summary.left_out == summary.samples == 120
    assert np.isnan(summary.quantization_error)


def test_samples_are_opened_as_in_training(tmp_path):
    wanted = infer(open_samples(field(), feature_dims="level"), MODEL).compute()
    for array in (field(), field().transpose("level", "lon", "lat", "time"), field().isel(time=[2])):
        found = infer(array, MODEL)
        xr.testing.assert_equal(
            found.transpose(*ORDER[:3]).compute(), wanted.sel(time=array["time"]).transpose(*ORDER[:3])
        )
    levels = xr.Dataset({"z": field(), "t": field().isel(level=0, drop=True), "other": ("time", np.zeros(6))})
    model = train(open_samples(levels, variables=["z", "t"], sample_dims="time"), Lattice(3, 4), MapConfig(epochs=1))
    wanted = infer(open_samples(levels, variables=["z", "t"], sample_dims="time"), model).compute()
    xr.testing.assert_equal(infer(levels, model).compute(), wanted)
    levels.drop_encoding().to_zarr(tmp_path / "levels.zarr", consolidated=False)
    infer_to_store(tmp_path / "levels.zarr", model, tmp_path / "labels.zarr")
    found = xr.open_zarr(tmp_path / "labels.zarr", consolidated=False).load()
    xr.testing.assert_equal(found, wanted)
    # One variable is chosen among several, and may have another name where it is alone.
    model = train(open_samples(levels, variable="t", sample_dims="time"), Lattice(3, 4), MapConfig(epochs=1))
    assert read_attribute(model.attrs["input_variables"]) == ["t"]
    wanted = infer(levels["t"], model).compute()
    for source in (levels, levels[["t"]].rename(t="q"), tmp_path / "levels.zarr"):
        xr.testing.assert_equal(infer(source, model).compute(), wanted)
    with pytest.raises(ParameterError, match="3 variables"):
        infer(levels.rename(t="q"), model)
    points = open_samples(field(), sample_dims=ORDER)
    labels = infer(field(), train(points, Lattice(2, 2), MapConfig(epochs=1)))
    assert labels["bmu_row"].dims == ORDER


@pytest.mark.parametrize("names", [("lat", "lon"), ("y", "x")])
def test_a_saved_codebook_becomes_fields_again(names, tmp_path):
    array = field().rename(lat=names[0], lon=names[1]).drop_vars("height")
    samples = open_samples(array, sample_dims="time")
    save_model(train(samples, Lattice(3, 4), MapConfig(epochs=1)), tmp_path / "model.zarr")
    codebook = open_model(tmp_path / "model.zarr")["codebook"]
    back = unstack_features(codebook.drop_vars(["x", "y"]))
    assert back.dims == ("row", "col", *names, "level")
    np.testing.assert_array_equal(back.values.reshape(codebook.shape), codebook)
    np.testing.assert_array_equal(back[names[0]], array[names[0]])
    prefix = "feature_" if names[0] == "y" else ""
    assert unstack_features(codebook).dims == ("row", "col", *(prefix + name for name in names), "level")


def test_an_index_of_several_levels_is_stored_as_these(tmp_path):
    array = field().isel(time=0, drop=True).stack(place=("lat", "lon")).drop_vars(["height", "run"])
    array = array.transpose("place", "level")
    wanted = infer(array, MODEL).compute()
    infer_to_store(array, MODEL, tmp_path / "labels.zarr")
    found = xr.open_zarr(tmp_path / "labels.zarr", consolidated=False).load()
    assert set(found.coords) == {"lat", "lon"}
    np.testing.assert_array_equal(found["lat"], np.repeat(field()["lat"].values, 5))
    np.testing.assert_array_equal(found["bmu_row"], wanted["bmu_row"])


def test_the_map_object_labels_any_dimensions():
    labels = KohonenMap.from_dataset(MODEL).infer(
        open_samples(with_land(field()), feature_dims="level"), missing="mask"
    )
    assert labels["bmu_row"].dims == ORDER[:3]
    assert labels["bmu_row"].isnull().any()


def test_columns_of_several_numbers():
    samples = open_samples(field().chunk(lat=3), feature_dims="level")
    back = samples.to_dataset({"both": samples.array[:, :2], "one": samples.array[:, 2]}, {"both": "neighbor"})
    assert back["both"].dims == (*ORDER[:3], "neighbor")
    np.testing.assert_array_equal(back["both"], field()[..., :2])
    np.testing.assert_array_equal(back["one"], field()[..., 2])
