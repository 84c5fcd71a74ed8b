"""Missing values: masks are kept, and numbers that stand for missing values are known by name."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.labels import infer
from som_dask.errors import DataError, ParameterError
from som_dask.io.models import open_model, save_model
from som_dask.samples.for_model import open_for_model
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.retrain import retrain
from som_dask.training.train import train

FILL = -9999
DTYPES = ["int16", "uint16", "int64", "float32", "float64", ">f4", "bool"]
MASK = np.arange(60 * 3).reshape(60, 3) % 7 == 0


def masked(rng, dtype, mask=MASK):
    """A masked array whose fill would stand out, and the same with NaN."""
    values = rng.integers(0, 50, mask.shape).astype(dtype)
    array = np.ma.array(values, mask=mask)
    array.data[mask] = np.array(60_000).astype(dtype)
    wanted = values.astype(dtype if np.dtype(dtype).kind == "f" else "float64")
    wanted[mask] = np.nan
    return array, wanted


def assert_same(found, wanted):
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_masked_values_are_missing(dtype, rng):
    array, wanted = masked(rng, dtype)
    lazy = da.from_array(array, chunks=(16, 2))
    with_dims = xr.DataArray(lazy, dims=("cell", "feature"), name="z")
    for source in (array, lazy):
        assert_same(open_samples(source, block_size=200).array.compute(), wanted)
    for source in (with_dims, with_dims.to_dataset()):  # xarray chooses the dtype
        np.testing.assert_array_equal(open_samples(source, block_size=200).array.compute(), wanted)
    fields = with_dims.rename(feature="lat").expand_dims(lon=4)
    np.testing.assert_array_equal(
        open_samples(fields, feature_dims="lat").array.compute(), np.concatenate([wanted] * 4)
    )
    with_dims.variable._data = lazy  # as old versions of xarray keep it
    for source in (with_dims, with_dims.to_dataset()):
        assert_same(open_samples(source, block_size=200).array.compute(), wanted)
    unmasked = np.ma.array(array.data)
    assert open_samples(unmasked).array.dtype == wanted.dtype  # the type does not depend on the values
    rows = list(array[:5])
    np.testing.assert_array_equal(open_samples(rows).array.compute(), wanted[:5])


def test_a_map_of_masked_values_is_that_of_nan(rng):
    array, wanted = masked(rng, "int32")
    config = MapConfig(epochs=3, missing="mask")
    model = train(wanted, Lattice(3, 3), config)
    for source in (array, da.from_array(array, chunks=(16, 2))):
        np.testing.assert_array_equal(train(source, Lattice(3, 3), config)["codebook"], model["codebook"])
        xr.testing.assert_equal(infer(source, model).compute(), infer(wanted, model).compute())
    with pytest.raises(DataError, match="holds 26 NaN or infinite values"):
        train(array, Lattice(3, 3))


def test_masked_weights_are_missing(rng):
    array, wanted = masked(rng, "float64", np.repeat(MASK[:, :1], 3, axis=1))
    weights = np.ma.array(rng.random(60), mask=MASK[:, 0])
    weights.data[MASK[:, 0]] = -1e20
    config = MapConfig(epochs=2, missing="drop")
    model = train(open_samples(wanted, sample_weights=weights.filled(0)), Lattice(2, 3), config)
    lazy = da.from_array(weights, chunks=13)
    for some in (weights, lazy, xr.DataArray(lazy, dims="sample"), xr.DataArray(weights, dims="sample")):
        samples = open_samples(array, sample_weights=some)
        np.testing.assert_array_equal(np.isnan(samples.weights), MASK[:, 0])
        np.testing.assert_array_equal(train(samples, Lattice(2, 3), config)["codebook"], model["codebook"])
    beside = xr.Dataset({"z": (("sample", "feature"), array), "w": ("sample", lazy)})
    np.testing.assert_array_equal(
        np.isnan(open_samples(beside, variable="z", sample_weights="w").weights), MASK[:, 0]
    )
    with pytest.raises(ParameterError, match="must be finite"):
        open_samples(array, feature_weights=np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]))


def test_a_mask_of_which_the_array_does_not_tell_is_refused(rng):
    array, _ = masked(rng, "float64")
    silent = da.map_blocks(lambda block: np.ma.array(block, mask=block > 40), da.from_array(array.data, chunks=30),
                           meta=np.empty((0, 0)))  # fmt: skip
    two = xr.Dataset({"a": (("x", "y"), silent), "b": (("x", "y"), silent)})
    for source in (silent, open_samples(two, variables=["a", "b"], sample_dims="x")):
        with pytest.raises(DataError, match="masked meta"):
            train(source, Lattice(2, 2))
    with pytest.raises(DataError, match="masked meta"):
        train(open_samples(array.data, sample_weights=silent[:, 0]), Lattice(2, 2))


def with_nodata(rng, dtype, fills):
    """A table that holds nodata values, and the same with NaN."""
    values = rng.integers(0, 50, (60, 3)).astype(dtype)
    wanted = values.astype(dtype if np.dtype(dtype).kind == "f" else "float64")
    for i, fill in enumerate(fills):
        values[i::11, i % 3] = fill
        wanted[i::11, i % 3] = np.nan
    return values, wanted


@pytest.mark.parametrize(
    ("dtype", "fills"),
    [
        ("int16", [FILL]),
        ("uint8", [255, 254]),
        ("int64", [2**63 - 1]),
        ("float32", [-9999.9, 1e20]),
        (">f4", [-9999.9]),
        ("float64", [np.inf, FILL]),
    ],
)
@pytest.mark.parametrize("lazy", ["memory", "dask", "store", "bare store", "frame"])
def test_nodata_values_are_missing(dtype, fills, lazy, rng, tmp_path):
    values, wanted = with_nodata(rng, dtype, fills)
    array = xr.DataArray(values, dims=("cell", "feature"), name="z")
    source = {"memory": values, "dask": array.chunk(cell=17), "frame": array.to_pandas()}.get(lazy)
    if lazy == "store":
        array.chunk(cell=20).to_zarr(tmp_path / "z.zarr", zarr_format=3, consolidated=False)
        source = tmp_path / "z.zarr"
    elif lazy == "bare store":
        zarr.create_array(tmp_path / "z.zarr", data=values, chunks=(20, 3))
        source = tmp_path / "z.zarr"
    samples = open_samples(source, nodata=fills, block_size=500)
    assert samples.reads_pieces == ("store" in lazy)
    assert samples.array.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("=")
    np.testing.assert_array_equal(samples.array.compute(), wanted)
    converted = open_samples(source, nodata=fills, dtype="float32").array
    assert_same(converted.compute(), wanted.astype(np.float32))
    config = MapConfig(epochs=2, missing="mask")
    found, plain = train(samples, Lattice(2, 3), config), train(wanted, Lattice(2, 3), config)
    np.testing.assert_array_equal(found["codebook"], plain["codebook"])
    assert "nodata" not in plain.attrs


def test_nodata_of_several_variables_and_dimensions(rng):
    sizes = {"time": 9, "lat": 4, "lon": 5}
    data = xr.Dataset({
        "cover": (tuple(sizes), rng.integers(0, 9, tuple(sizes.values())).astype("uint8")),
        "heat": (tuple(sizes), rng.integers(0, 9, tuple(sizes.values())).astype("float32")),
    })  # fmt: skip
    data["cover"][::3] = 255
    data["heat"][:, 1] = -1e30
    samples = open_samples(data.chunk(time=4, lat=3), variables=["cover", "heat"], nodata=[255, -1e30])
    found = samples.to_dataset({"x": samples.array}, {"x": "feature"})["x"].values
    np.testing.assert_array_equal(found[..., 0], data["cover"].where(data["cover"] != 255))
    np.testing.assert_array_equal(found[..., 1], data["heat"].where(data["heat"] >= 0))


@pytest.mark.parametrize(
    ("nodata", "match"),
    [
        (300, "nodata 300 is no number of dtype uint8, which the NumPy array has"),
        (-1, "nodata -1 is no number"),
        ([255, 1.5], "nodata 1.5 is no number"),
        (np.inf, "nodata inf is no number"),
        ("none", "must be a number or a list of numbers, got 'none'"),
        ([None], "got None"),
        (True, "got True"),
        ({"a": 1}, "got 'a'"),
    ],
)
def test_nodata_that_can_not_be(nodata, match):
    values = np.zeros((5, 2), dtype=np.uint8)
    with pytest.raises(ParameterError, match=match):
        open_samples(values, nodata=nodata)
    with pytest.raises(ParameterError, match="opened already"):
        open_samples(open_samples(values), nodata=0)


def test_nodata_is_compared_as_numbers_of_the_data():
    with pytest.raises(ParameterError, match="no number of dtype float32"):
        open_samples(np.zeros((5, 2), dtype=np.float32), nodata=1e300)
    with pytest.raises(ParameterError, match="no number of dtype float32"):
        open_samples(np.zeros((5, 2), dtype=np.float32), nodata=1e-300)
    large = np.array([[2**53, 2**53 + 1]])
    assert np.isnan(open_samples(large, nodata=str(2**53 + 1)).array.compute()).tolist() == [[False, True]]
    for none in (None, (), np.nan, [np.nan]):
        assert open_samples(large, nodata=none).array.dtype == np.int64
    assert open_samples(np.zeros((5, 2)), nodata=np.float32(-9999)).nodata == (-9999.0,)


def test_a_model_keeps_its_nodata(rng, tmp_path):
    values, wanted = with_nodata(rng, "int16", [FILL, -1])
    config = MapConfig(epochs=2, missing="mask")
    model = train(open_samples(values, nodata=[FILL, -1]), Lattice(2, 3), config)
    save_model(model, tmp_path / "model.zarr")
    kept = open_model(tmp_path / "model.zarr")
    assert list(kept.attrs["nodata"]) == [FILL, -1]
    xr.testing.assert_equal(infer(values, kept).compute(), infer(wanted, kept).compute())
    assert retrain(values, kept)[0].attrs["nodata"] == [FILL, -1]
    samples, _, _ = open_for_model(wanted, kept, nodata=7)
    assert samples.nodata == (7,)
    infinite = train(open_samples(np.where(np.isnan(wanted), np.inf, wanted), nodata=np.inf), Lattice(2, 3), config)
    save_model(infinite, tmp_path / "infinite.zarr")
    samples, _, _ = open_for_model(wanted, tmp_path / "infinite.zarr")
    assert samples.nodata == (np.inf,)


def test_missing_values_of_a_frame():
    whole, halves = pd.array([1, None, 3], dtype="Int64"), pd.array([0.5, 1.5, None], dtype="Float32")
    found = open_samples(pd.DataFrame({"a": whole, "b": halves, "c": [1.0, 2.0, 3.0]}))
    assert_same(found.array.compute(), np.array([[1, 0.5, 1], [np.nan, 1.5, 2], [3, np.nan, 3]]))
    assert_same(open_samples(pd.DataFrame({"b": halves})).array.compute(), np.array([[0.5], [1.5], [np.nan]], "f4"))
    for some in (whole, whole[::2]):
        assert open_samples(pd.DataFrame({"a": some})).array.dtype == np.float64
    with pytest.raises(DataError, match="not of real numbers: "):
        open_samples(pd.DataFrame({"a": whole, "b": ["x", "y", "z"]}))


def test_a_masked_codebook_is_refused(rng):
    codebook = np.ma.array(rng.normal(size=(4, 3)), mask=False)
    values = rng.normal(size=(20, 3))
    assert train(values, Lattice(2, 2), MapConfig(epochs=1), codebook=codebook).attrs["initialization"] == "given"
    codebook[0, 1] = np.ma.masked
    with pytest.raises(ParameterError, match="codebook holds NaN or infinite values, or masked ones"):
        train(values, Lattice(2, 2), MapConfig(epochs=1), codebook=codebook)
