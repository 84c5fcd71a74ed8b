"""netCDF files as input: the same samples and labels as of the Dataset in them, read lazily."""

import pickle

import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.errors import ParameterError, StorageError
from som_dask.io import netcdf
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.system.test_bad_input import run

pytest.importorskip("h5netcdf")


@pytest.fixture(scope="module")
def fields():
    rng = np.random.default_rng(3)
    coords = {"time": pd.date_range("2001", periods=60), "lat": ("lat", [10.0, 20.0], {"units": "degrees_north"})}
    t = xr.DataArray(rng.normal(size=(60, 2, 4)).round(2), coords=coords, dims=("time", "lat", "lon"))
    t[3, 1] = np.nan
    return xr.Dataset({"t": t.assign_attrs(units="K"), "rain": t.isel(lat=0, drop=True) * 2})


@pytest.fixture
def write(fields, tmp_path):
    """Write the fields; return the path."""

    def save(name="x.nc", engine="netcdf4", data=fields):
        pytest.importorskip({"netcdf4": "netCDF4"}.get(engine, engine))
        packed = {"dtype": "i2", "scale_factor": 0.01, "_FillValue": -9999}
        encoding = {
            "t": packed
            | (
                {}
                if engine == "scipy"
                else {"chunksizes": tuple(min(pair) for pair in zip(data["t"].shape, (10, 2, 4), strict=True))}
            )
        }
        data.to_netcdf(tmp_path / name, engine=engine, encoding=encoding)
        return tmp_path / name

    return save


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf", "scipy"])
def test_a_variable_is_read_block_by_block(engine, fields, write):
    samples = open_samples(write(engine=engine), variable="t", sample_dims=["time", "lat"], block_size=8 * 4 * 30)
    wanted = open_samples(fields, variable="t", sample_dims=["time", "lat"])
    assert (samples.sample_dims, samples.features, samples.units) == (("time", "lat"), wanted.features, "K")
    if engine != "scipy":
        assert samples.sample_chunks == ((10,) * 6, (2,))  # the chunks of the file
    np.testing.assert_allclose(pickle.loads(pickle.dumps(samples.array)).compute(), wanted.array, atol=1e-9)
    np.testing.assert_array_equal(samples.coords["time"], fields["time"])


@pytest.mark.parametrize("name", ["x.h5", "X.NC4"])
def test_without_netcdf4_too(name, fields, write, monkeypatch):
    path = write(name, "h5netcdf")
    monkeypatch.setattr(netcdf.importlib.util, "find_spec", lambda package: None)
    samples = open_samples(path, variables=["t", "rain"], sample_dims="time")
    assert samples.n_features == 12
    np.testing.assert_array_equal(samples.array[:, 8:].compute(), fields["rain"])


def test_train_and_infer_from_the_command_line(fields, write, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write()
    few = ["--rows", "2", "--cols", "3", "--epochs", "1", "--missing", "mask", "--sample-weights", "area"]
    assert run("train", "x.nc", "--variable", "t", "--feature-dims", "lon", "--output", "model.zarr", *few) == 0
    assert run("infer", "model.zarr", "x.nc", "--output", "labels.zarr") == 0
    wanted = infer(xr.open_dataset("x.nc")["t"], "model.zarr").compute()
    with xr.open_zarr("labels.zarr", consolidated=False) as labels:
        assert labels["bmu"].dims == ("time", "lat")
        xr.testing.assert_equal(labels.load(), wanted)
    assert labels["bmu"].isnull().sum() == 1
    assert run("evaluate", "model.zarr", "x.nc", "--sample", "0") == 0


def test_several_files_are_one(fields, write, tmp_path):
    for name, part in (("b.nc", slice(25, None)), ("a.nc", slice(25))):
        write(name, data=fields.isel(time=part))
    for path in (tmp_path / "*.nc", tmp_path):
        samples = open_samples(path, variable="t", sample_dims="time")
        np.testing.assert_array_equal(samples.coords["time"], fields["time"])
        np.testing.assert_allclose(samples.array, open_samples(fields, variable="t", sample_dims="time").array)
    write("c.nc", data=fields.isel(lon=slice(2)).isel(time=slice(3)))
    with pytest.raises(StorageError, match=r"the 3 files of .*\*\.nc don't fit together: .*one by one"):
        open_samples(tmp_path / "*.nc", variable="t", sample_dims="time")


def test_a_file_at_a_url(fields, write):
    fsspec.filesystem("memory").pipe_file("/fields/x.nc", write().read_bytes())
    samples = open_samples("memory://fields/x.nc", variable="t", sample_dims="time")
    np.testing.assert_allclose(samples.array, open_samples(fields, variable="t", sample_dims="time").array)


def test_an_array_without_names_of_dimensions(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["X"] = np.arange(12.0).reshape(4, 3)
    np.testing.assert_array_equal(open_samples(tmp_path / "x.h5").array, np.arange(12.0).reshape(4, 3))


def test_times_that_are_none_stay_numbers(tmp_path):
    field = xr.Dataset(
        {"t": (("time", "x"), np.ones((3, 2)))}, {"time": ("time", [1, 2, 3], {"units": "days since x"})}
    )
    field.to_netcdf(tmp_path / "x.nc")
    with pytest.warns(UserWarning, match="stay numbers"):
        assert open_samples(tmp_path / "x.nc").coords["time"].values.tolist() == [1, 2, 3]


def test_an_interrupted_run_notices_a_changed_file(fields, write, tmp_path, monkeypatch):
    path = write()
    model = train(
        open_samples(path, variable="t", feature_dims="lon"), Lattice(2, 2), MapConfig(epochs=1, missing="mask")
    )
    samples = {"variable": "t", "feature_dims": "lon", "block_size": 8 * 4 * 20}
    monkeypatch.setattr("som_dask.samples.open.MIN_BLOCK_ROWS", 20)
    monkeypatch.setattr("som_dask.analysis.label_store.count_threads", lambda: 1)

    def stop(done, blocks):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_to_store(open_samples(path, **samples), model, tmp_path / "labels.zarr", on_progress=stop)
    write(data=fields + 1)
    with pytest.raises(StorageError, match="another run"):
        infer_to_store(open_samples(path, **samples), model, tmp_path / "labels.zarr")


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("words.nc", StorageError, r"words\.nc is not a netCDF file, whatever its name says"),
        ("cut.nc", StorageError, r"can't open .*cut\.nc as a netCDF file: .*; restore it"),
        ("none.nc", StorageError, r"none\.nc does not exist; check the path"),
        ("*.nc4", StorageError, r"there is no file .*\*\.nc4; check the pattern"),
        ("x.nc", ParameterError, r"x\.nc has 2 variables \['t', 'rain'\]; choose one with `variable`"),
    ],
)
def test_what_can_not_be_opened(name, error, match, write, tmp_path):
    data = write().read_bytes()
    (tmp_path / "words.nc").write_text("words")
    (tmp_path / "cut.nc").write_bytes(data[:3000])
    with pytest.raises(error, match=match) as caught:
        open_samples(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_the_extra_is_named_if_nothing_reads_the_file(write, monkeypatch):
    def fail(*_, **__):
        raise ValueError("found the following matches. But their dependencies may not be installed")

    path = write()
    monkeypatch.setattr(netcdf.xr, "open_dataset", fail)
    with pytest.raises(StorageError, match=r"no package that reads .*x\.nc is installed; install som_dask\[netcdf\]"):
        open_samples(path)
