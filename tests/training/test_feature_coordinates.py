"""Coordinates of the features of every kind: a map that is trained can be saved, and is opened as it was."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.labels import infer
from som_dask.errors import DataError
from som_dask.io.models import open_model, save_labeled, save_model
from som_dask.io.registry import Registry
from som_dask.io.unstack import unstack_features
from som_dask.training.config import MapConfig
from som_dask.training.train import epochs, train

LATTICE = Lattice(3, 4)


def table(coordinate, dim="band", attrs=None, rows=60):
    values = np.random.default_rng(1).normal(size=(rows, len(coordinate)))
    given = coordinate if attrs is None else (dim, np.asarray(coordinate), attrs)
    return xr.DataArray(values, dims=("sample", dim), coords={dim: given})


def mixed(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


KINDS = {
    "periods": table(pd.period_range("2000-01", periods=3, freq="M").to_numpy()),
    "intervals": table(pd.interval_range(0, 3)),
    "categories": table(pd.CategoricalIndex(["b", "a", "c"])),
    "categories of numbers": table(pd.CategoricalIndex([3, 1, 2])),
    "times": table(pd.date_range("2000-01-01", periods=3)),
    "times of seconds": table(np.array(["1900-01-01", "2000-01-01", "2200-01-01"], dtype="datetime64[s]")),
    "times with a zone": table(pd.date_range("2000-01-01", periods=3, tz="Europe/Paris")),
    "durations": table(pd.to_timedelta([0, 6, 12], unit="h")),
    "hours": table([0, 6, 12], attrs={"units": "hours"}),
    "months since": table([0, 6, 12], attrs={"units": "months since 2000-01-01"}),
    "days since": table([0, 6, 12], attrs={"units": "days since 2000-01-01"}),
    "scaled": table([0, 6, 12], attrs={"scale_factor": 0.1, "_FillValue": 6}),
    "bytes": table(np.array([b"a", b"b", b"c"])),
    "mixed": table(mixed(["a", 1, 2.5])),
    "an odd attribute": table([0, 6, 12], attrs={"made": pd.Timestamp("2000-01-01")}),
    "periods along feature": table(pd.period_range("2000", periods=3, freq="Y").to_numpy(), dim="feature"),
    "a name of the model's own": table([0, 6, 12], dim="hits"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("algorithm", ["batch", "online"])
@pytest.mark.parametrize("kind", KINDS)
def test_trained_saved_and_opened(kind, algorithm, tmp_path):
    data = KINDS[kind]
    model = train(data, LATTICE, MapConfig(epochs=1) if algorithm == "batch" else OnlineConfig(epochs=1))
    place = tmp_path / "model.zarr"
    save_model(model, place)
    found = open_model(place)
    xr.testing.assert_identical(found, model)
    np.testing.assert_array_equal(infer(data, found)["bmu_row"], infer(data, model)["bmu_row"])
    if algorithm == "batch":
        Registry(tmp_path / "models").save(model, "it")
        save_labeled(evaluate(data, found), tmp_path / "evaluation.zarr")


@pytest.mark.parametrize("dim", ["feature", "point"])
def test_the_levels_of_stacked_features_are_kept(dim, tmp_path):
    values = np.random.default_rng(1).normal(size=(60, 2, 3))
    months = pd.period_range("2000-01", periods=3, freq="M").to_numpy()
    field = xr.DataArray(values, dims=("time", "lat", "month"), coords={"lat": [10.5, 20], "month": months}, name="z")
    stacked = field.stack({dim: ("lat", "month")})
    model = train(stacked, LATTICE, MapConfig(epochs=1))
    save_model(model, tmp_path / "model.zarr")
    found = open_model(tmp_path / "model.zarr")
    xr.testing.assert_identical(found, model)
    assert found["feature"].values[1] == "lat=10.5 month=2000-02"
    fields = unstack_features(found["codebook"])
    assert (fields.dims, fields["lat"].values.tolist()) == (("row", "col", "lat", "month"), [10.5, 20])
    np.testing.assert_array_equal(fields.values.reshape(3, 4, -1), found["codebook"])


def test_stored_months_that_make_no_times(tmp_path):
    data = table([0, 6, 12], attrs={"units": "months since 2000-01-01"}).to_dataset(name="z")
    data.to_zarr(tmp_path / "z.zarr", consolidated=False)
    with pytest.warns(UserWarning, match="stay numbers"):
        model = train(tmp_path / "z.zarr", LATTICE, MapConfig(epochs=1))
    save_model(model, tmp_path / "model.zarr")
    found = open_model(tmp_path / "model.zarr")
    assert found["band"].values.tolist() == [0, 6, 12]
    assert "months since" in found["band"].attrs["comment"]


@pytest.mark.parametrize("verb", [train, epochs])
def test_names_that_no_store_can_hold_are_refused_before_the_first_pass(verb):
    def fail(block):
        raise AssertionError("a pass was begun")

    data = table(["a", "b", "\ud800"]).chunk(sample=20)
    lazy = data.copy(data=data.data.map_blocks(fail, dtype=float, meta=np.empty((0, 0))))
    with pytest.raises(DataError, match=r"the name of a feature .* can't be stored"):
        list(verb(lazy, LATTICE, MapConfig(epochs=1)))
