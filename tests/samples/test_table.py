"""Samples: every supported input gives the same table, lazily, in blocks that the machine has no say in."""

import dataclasses
import itertools
import math

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from som_dask.engine.row_numbers import table_rows
from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples

NAMES = ("a", "b", "c")


@pytest.fixture
def values(rng):
    return rng.normal(size=(10_000, 3)).astype(np.float32)


@pytest.fixture
def array(values):
    coords = {"feature": np.array(NAMES, dtype=object), "time": ("cell", np.arange(10_000))}
    return xr.DataArray(values, dims=("cell", "feature"), coords=coords, name="data")


def assert_table(samples, values, features=None):
    assert samples.features == features
    assert samples.array.chunks[1] == (values.shape[1],)
    np.testing.assert_array_equal(samples.array.compute(), values)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("url", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_a_group(zarr_format, url, array, values, tmp_path):
    place = f"memory://samples/{zarr_format}.zarr" if url else tmp_path / "group.zarr"
    array.to_dataset().chunk(cell=1000).to_zarr(place, mode="w", zarr_format=zarr_format)
    samples = open_samples(place)
    assert_table(samples, values, NAMES)
    assert samples.sample_dims == ("cell",)
    assert list(samples.coords) == ["time"]
    assert samples.block_rows == (4000, 4000, 2000)  # whole chunks


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_bare_array(zarr_format, values, tmp_path):
    zarr.create_array(tmp_path / "bare.zarr", data=values, chunks=(1500, 2), zarr_format=zarr_format)
    samples = open_samples(tmp_path / "bare.zarr")
    assert_table(samples, values)
    assert samples.block_rows == (3000, 3000, 3000, 1000)
    assert samples.feature_names == ("feature_0", "feature_1", "feature_2")


def test_a_shard_is_never_cut(values, tmp_path):
    zarr.create_array(tmp_path / "s.zarr", data=values, chunks=(100, 3), shards=(6000, 3))
    assert open_samples(tmp_path / "s.zarr").block_rows == (6000, 4000)


def test_what_is_in_memory(values, array):
    assert_table(open_samples(values), values)
    assert_table(open_samples(values.tolist()), np.array(values.tolist()))
    assert_table(open_samples(da.from_array(values, chunks=(700, 2))), values)
    assert_table(open_samples(array), values, NAMES)
    assert_table(open_samples(array.to_dataset()), values, NAMES)
    assert_table(open_samples(array.chunk(cell=700)), values, NAMES)
    samples = open_samples(values)
    assert open_samples(samples) is samples


def test_features_first(array, values):
    assert_table(open_samples(array.transpose("feature", "cell")), values, NAMES)
    renamed = array.transpose("feature", "cell").rename(feature="band")
    assert_table(open_samples(renamed, feature_dims="band"), values, NAMES)


def test_variables_are_chosen_by_name(array, values):
    both = xr.Dataset({"data": array, "other": array * 2})
    assert_table(open_samples(both, variable="other"), values * 2, NAMES)
    with pytest.raises(ParameterError, match=r"2 variables \['data', 'other'\]"):
        open_samples(both)
    with pytest.raises(ParameterError, match="no variable 'x'"):
        open_samples(both, variable="x")
    with pytest.raises(ParameterError, match="single array"):
        open_samples(values, variable="x")


def test_blocks_are_merged_up_to_a_size_and_cut_above_it(values):
    pieces = da.from_array(values, chunks=(100, 3))
    assert open_samples(pieces).block_rows == (4000, 4000, 2000)
    assert open_samples(pieces, block_size="12 kB").block_rows == (1000,) * 10
    assert open_samples(values, block_size=1200).block_rows == (100,) * 100


def test_many_samples_are_cut_into_some_thirty_blocks():
    samples = open_samples(da.zeros((1_000_000, 2), chunks=(1000, 2)))
    assert len(samples.block_rows) == 33
    assert max(samples.block_rows) == 31_000


def test_dtype_is_converted(values):
    assert open_samples(values, dtype="float64").array.dtype == np.float64
    with pytest.raises(ParameterError, match="dtype"):
        open_samples(values, dtype="float33")


def test_nothing_is_read_when_opened(array):
    def fail(block):
        raise AssertionError("read")

    lazy = da.map_blocks(fail, array.chunk(cell=1000).data, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    assert isinstance(open_samples(lazy), Samples)


def test_missing_chunks(values, tmp_path):
    place = tmp_path / "holes.zarr"
    node = zarr.create_array(place, shape=(10_000, 3), chunks=(1000, 3), dtype="float32", fill_value=7)
    node[:5000] = values[:5000]
    with pytest.raises(StorageError, match="lacks 5 of its chunks"):
        open_samples(place)
    read = open_samples(place, allow_missing_chunks=True).array.compute()
    np.testing.assert_array_equal(read[5000:], np.full((5000, 3), 7))


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (np.zeros((0, 3)), "no samples"),
        (np.zeros((3, 0)), "no features"),
        (np.full((3, 2), "x"), "real numbers"),
        (np.zeros((3, 2), dtype=complex), "real numbers"),
        (np.zeros((3, 2), dtype="datetime64[s]"), "real numbers"),
        (xr.DataArray(np.zeros((2, 2)), dims=("s", "f"), coords={"f": ["a", "a"]}), "same name"),
    ],
    ids=["no rows", "no columns", "text", "complex", "times", "names twice"],
)
def test_what_is_no_table_of_numbers(source, match):
    with pytest.raises(DataError, match=match):
        open_samples(source)


def test_blocks_of_unknown_size_are_refused(values):
    lazy = da.from_array(values, chunks=(1000, 3))
    with pytest.raises(DataError, match="compute_chunk_sizes"):
        open_samples(lazy[lazy[:, 0] > 0])


def test_places_that_are_no_store(tmp_path):
    with pytest.raises(StorageError, match="does not exist"):
        open_samples(tmp_path / "none.zarr")
    with pytest.raises(StorageError, match="as a Zarr store"):
        open_samples(tmp_path)
    with pytest.raises(StorageError, match="as a Zarr store"):
        open_samples("memory://nothing/here.zarr")


@pytest.mark.parametrize("block_size", ["many", "0", -1])
def test_block_sizes_that_are_none(block_size, values):
    with pytest.raises(ParameterError, match="block size"):
        open_samples(values, block_size=block_size)


@pytest.fixture
def field(rng):
    """Three dimensions and a land mask."""
    coords = {"lat": np.linspace(-60, 60, 6), "lon": np.arange(8) * 45.0, "month": ("time", np.arange(20) % 12)}
    values = rng.normal(size=(20, 6, 8)).astype(np.float32)
    return xr.DataArray(
        values, dims=("time", "lat", "lon"), coords={**coords, "run": 3}, name="z", attrs={"units": "m"}
    )


def test_fields_as_samples(field):
    samples = open_samples(field.chunk(time=6), sample_dims="time")
    assert_table(samples, field.values.reshape(20, -1), samples.features)
    assert samples.features[1] == "lat=-60.0 lon=45.0"
    assert (samples.sample_dims, samples.feature_dims) == (("time",), ("lat", "lon"))
    assert (samples.sample_shape, samples.units) == ((20,), "m")
    assert list(samples.coords) == ["month", "run"]


def test_points_as_samples(field):
    samples = open_samples(field.chunk(time=6, lat=4), sample_dims=["lon", "time"], block_size="2 kB")
    table = field.transpose("lon", "time", "lat").values.reshape(-1, 6)
    numbers = np.concatenate([each.numbers() for each in samples.row_numbers()])
    np.testing.assert_array_equal(samples.array, table[numbers])
    assert samples.sample_shape == (8, 20)
    wanted = np.array([150, 3, 3, 77, 0, 159])
    np.testing.assert_array_equal(samples.take(wanted), table[wanted])
    assert samples.take(wanted).numblocks == (1, 1)
    assert samples.take([]).shape == (0, 6)


def test_one_dimension_is_one_feature(field):
    samples = open_samples(field[:, 0, 0], sample_dims="time")
    assert_table(samples, field.values[:, 0, :1], ("z",))
    samples = open_samples(field, sample_dims=field.dims)
    assert_table(samples, field.values.reshape(-1, 1), ("z",))


@pytest.mark.parametrize("stored", [False, True])
def test_several_variables_with_levels(stored, field, rng, tmp_path):
    levels = xr.DataArray(rng.normal(size=(3, 8, 20, 6)), dims=("level", "lon", "time", "lat"))
    dataset = xr.Dataset(
        {"t2m": field, "z": levels.assign_coords(level=[1000, 500, 200]), "area": ("lat", np.ones(6))}
    )
    source = dataset.chunk(time=7, lon=5)
    if stored:
        source.to_zarr(tmp_path / "both.zarr", consolidated=False)
        source = tmp_path / "both.zarr"
    samples = open_samples(source, variables=["z", "t2m"], block_size="4 kB")
    assert samples.features == ("z level=1000", "z level=500", "z level=200", "t2m")
    assert samples.sample_dims == ("lon", "time", "lat")
    columns = [*levels.values, field.transpose(*samples.sample_dims).values]
    numbers = np.concatenate([each.numbers() for each in samples.row_numbers()])
    np.testing.assert_array_equal(samples.array, np.stack(columns, axis=-1).reshape(-1, 4)[numbers])
    assert len(samples.block_rows) > 3
    assert samples.units is None
    with pytest.raises(ParameterError, match="`variables`"):
        open_samples(source)
    with pytest.raises(DataError, match="variable area lacks the sample dimension 'lon'"):
        open_samples(source, variables=["z", "t2m", "area"], sample_dims=["lon", "time"])
    with pytest.raises(ParameterError, match="give one of them"):
        open_samples(source, variables=["z", "t2m"], variable="z")


def test_chunks_of_a_store_in_any_order_of_dimensions(field, tmp_path):
    field.drop_encoding().chunk(time=4, lat=6, lon=3).to_dataset().to_zarr(tmp_path / "z.zarr", consolidated=False)
    samples = open_samples(tmp_path / "z.zarr", sample_dims=("lon", "time"), block_size=6 * 4 * 13)
    assert samples.sample_chunks == ((3, 3, 2), (4,) * 5)
    np.testing.assert_array_equal(
        samples.to_dataset({"z": samples.array}, {"z": "lat"})["z"], field.transpose("lon", "time", "lat")
    )


def test_masked_integers_are_decoded(tmp_path):
    values = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, np.nan]])
    array = xr.DataArray(values, dims=("cell", "feature"), name="data")
    encoding = {"data": {"dtype": "int16", "_FillValue": -99, "scale_factor": 0.5}}
    array.to_dataset().to_zarr(tmp_path / "packed.zarr", encoding=encoding, consolidated=False)
    np.testing.assert_array_equal(open_samples(tmp_path / "packed.zarr").array, values)


def test_a_variable_that_is_not_of_numbers(field):
    dataset = xr.Dataset({"z": field, "name": field.astype(str)})
    with pytest.raises(DataError, match="variable name has dtype <U"):
        open_samples(dataset, variables=["z", "name"])


def test_even_blocks_have_the_same_rows_and_weights(field):
    uneven = field.chunk(time=(3, 9, 8), lon=(2, 6))
    samples = open_samples(uneven, feature_dims="lat", sample_weights=field.values[:, 0].astype(float), block_size=1)
    replaced = dataclasses.replace(samples, grid=((3, 9, 8), (2, 6)))
    replaced = dataclasses.replace(
        replaced, **{name: rechunked(getattr(samples, name), samples, replaced) for name in ("array", "weights")}
    )
    even = replaced.even_out()
    assert even.sample_chunks == ((9, 9, 2), (6, 2))
    for name, extra in (("array", {"it": "lat"}), ("weights", {})):
        found, wanted = (s.to_dataset({"it": getattr(s, name)}, extra)["it"] for s in (even, samples))
        xr.testing.assert_equal(found.compute(), wanted.compute())
    assert even.even_out() is even


def test_cut_blocks_of_stored_fields_are_read_apart(tmp_path, field, monkeypatch):
    values, names = field.values, field.dims
    stored = zarr.create_array(tmp_path / "z.zarr", data=values, chunks=(2, 6, 8), dimension_names=names)
    samples = open_samples(tmp_path / "z.zarr", feature_dims="lat", dtype="float64")
    cut, finer = samples.cut(40), samples.cut(5)
    assert samples.sample_chunks == ((20,), (8,))
    assert cut.sample_chunks == ((4,) * 5, (8,))
    assert max(finer.block_rows) <= 5
    read, plain = [], zarr.Array.__getitem__
    monkeypatch.setattr(zarr.Array, "__getitem__", lambda node, key: read.append(plain(node, key)) or read[-1])
    for each, most in ((cut, 4), (finer, 2)):
        read.clear()
        found = each.to_dataset({"it": each.array}, {"it": "lat"})["it"]
        np.testing.assert_array_equal(found, field.transpose("time", "lon", "lat"))
        assert {len(some) for some in read} == {most}
        assert sum(some.size for some in read) == stored.size


def test_cut_blocks_hold_the_same_rows_and_weights(field):
    samples = open_samples(field.chunk(time=20), feature_dims="lat", sample_weights=field.values[:, 0].astype(float))
    assert samples.sample_chunks == ((20,), (8,))
    cut = samples.cut(30)
    assert cut.sample_chunks == ((3,) * 6 + (2,), (8,))
    assert samples.cut(3).sample_chunks == ((1,) * 20, (3, 3, 2))
    for name, extra in (("array", {"it": "lat"}), ("weights", {})):
        found, wanted = (s.to_dataset({"it": getattr(s, name)}, extra)["it"] for s in (cut, samples))
        xr.testing.assert_equal(found.compute(), wanted.compute())
    assert samples.cut(160) is samples


def test_cut_blocks_of_a_stored_table_are_read_from_it_chunk_by_chunk(tmp_path, rng):
    values = rng.random((1000, 3), dtype=np.float32)
    xr.Dataset({"x": (("sample", "feature"), values)}).to_zarr(
        tmp_path / "x.zarr", zarr_format=3, consolidated=False, encoding={"x": {"chunks": (70, 3)}}
    )
    samples = open_samples(tmp_path / "x.zarr", dtype="float64", sample_weights=np.arange(1000.0))
    cut = samples.cut(200)
    assert cut.block_rows == (140,) * 7 + (20,)
    assert cut.reads_pieces
    finer = samples.cut(30)
    assert max(finer.block_rows) <= 30
    assert not finer.reads_pieces
    for each in (cut, finer):
        np.testing.assert_array_equal(each.array, values.astype(np.float64))
        np.testing.assert_array_equal(each.weights, np.arange(1000.0))
    rows = [piece for source in cut.sources() for _, piece in source.pieces()]
    np.testing.assert_array_equal(np.concatenate(rows), values.astype(np.float64))


def rechunked(column, samples, other):
    """The table or the weights of samples in the blocks of others."""
    numbers = np.concatenate([each.numbers() for each in other.row_numbers()])
    rows = [math.prod(shape) for shape in itertools.product(*other.grid)]
    return da.from_array(
        column.compute()[table_rows(numbers, samples.sample_chunks)], chunks=(rows, -1)[: column.ndim]
    )


def test_variables_of_a_store_that_do_not_fit_together(tmp_path):
    group = zarr.create_group(tmp_path / "odd.zarr")
    for name, rows in (("a", 5), ("b", 6)):
        group.create_array(name, shape=(rows, 2), dtype="float32", dimension_names=("time", "feature"))
    with pytest.raises(DataError, match="don't make a Dataset"):
        open_samples(tmp_path / "odd.zarr", variables=["a", "b"])


def test_times_that_can_not_be_decoded_stay_numbers(tmp_path):
    place = tmp_path / "old.zarr"
    time = xr.Variable("time", [0.5, 1.5, 2.5], {"units": "hours since some day", "calendar": "gregorian"})
    field = xr.DataArray(np.arange(6.0).reshape(3, 2), dims=("time", "x"), coords={"time": time}, name="z")
    field.to_dataset().to_zarr(place, consolidated=False)
    with pytest.warns(UserWarning, match="times of .*old.zarr stay numbers: unable to decode"):
        samples = open_samples(place)
    np.testing.assert_array_equal(samples.array.compute(), field.values)
    np.testing.assert_array_equal(samples.coords["time"], time.values)
    assert samples.coords["time"].attrs["units"] == "hours since some day"


def test_a_data_frame_names_features_and_samples(rng):
    values = rng.normal(size=(5, 3))
    samples = open_samples(pd.DataFrame(values, columns=["a", "b", "c"]))
    np.testing.assert_array_equal(samples.array.compute(), values)
    assert samples.feature_names == ("a", "b", "c")
    assert not samples.coords
    named = open_samples(pd.DataFrame(values, columns=[1, 2, 3], index=list("vwxyz")))
    assert named.feature_names == ("1", "2", "3")
    assert named.coords["sample"].values.tolist() == list("vwxyz")
    with pytest.raises(DataError, match="real numbers"):
        open_samples(pd.DataFrame({"a": [1.0], "b": ["x"]}))
