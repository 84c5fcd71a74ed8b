"""Samples: every supported input gives the same table, lazily, in blocks that the machine has no say in."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.samples import Samples, open_samples

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
