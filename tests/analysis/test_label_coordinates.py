"""Labels keep the samples' coordinates, whatever their kind, and a bad block costs only itself."""

import os

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.errors import DataError, StorageError
from som_dask.io.outputs import lock
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train

ROWS = 9000
TIMES = np.datetime64("2020-01-01T00:00:00.000000001", "ns") + np.arange(ROWS) * np.timedelta64(1, "h")
KINDS = {
    "whole numbers": np.arange(ROWS) * 3,
    "numbers": np.arange(ROWS) / 7,
    "yes and no": np.arange(ROWS) % 2 == 0,
    "times": TIMES,
    "durations": TIMES - TIMES[0],
    "text": np.array([f"cell {i}" for i in range(ROWS)]),
    "text of any length": np.array([f"cell {i}" for i in range(ROWS)], dtype=object),
}


@pytest.fixture
def cells(rng):
    return xr.DataArray(rng.normal(size=(ROWS, 2)), dims=("cell", "feature"), name="cells")


@pytest.fixture
def model(cells):
    return train(cells, Lattice(3, 4), MapConfig(epochs=1))


def opened(place):
    return xr.open_zarr(place, chunks=None, consolidated=False).load()


@pytest.mark.parametrize("index", [False, True], ids=["along", "index"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")  # Zarr: strings have no specification yet
def test_coordinates_of_every_kind_are_kept(kind, index, cells, model, tmp_path):
    name = "cell" if index else "extra"
    given = cells.assign_coords({name: ("cell", KINDS[kind])})
    given.to_dataset().chunk(cell=1000).to_zarr(tmp_path / "cells.zarr")
    for data in (given, tmp_path / "cells.zarr"):
        infer_to_store(data, model, tmp_path / "labels.zarr", overwrite=True)
        found = opened(tmp_path / "labels.zarr")
        np.testing.assert_array_equal(found[name].values, KINDS[kind])
        np.testing.assert_array_equal(infer(data, model)[name].values, KINDS[kind])
        np.testing.assert_array_equal(found["distance"], infer(cells, model)["distance"].compute())


MONTHS = pd.period_range("1000-01", periods=ROWS, freq="M")
ODD = {
    "periods": (MONTHS, MONTHS.astype(str)),
    "intervals": (pd.interval_range(0, ROWS), [f"({i}, {i + 1}]" for i in range(ROWS)]),
    "categories": (pd.CategoricalIndex(["a", "b", "c"] * (ROWS // 3)), ["a", "b", "c"] * (ROWS // 3)),
    "text and numbers": (np.array(["a", 1, None] * (ROWS // 3), dtype=object), ["a", "1", ""] * (ROWS // 3)),
    "times with a zone": (
        pd.DatetimeIndex(TIMES, tz="UTC").as_unit("s"),
        pd.DatetimeIndex(TIMES).as_unit("s"),
    ),
}


@pytest.mark.parametrize("index", [False, True], ids=["along", "index"])
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.filterwarnings("ignore")
def test_coordinates_that_no_store_holds_are_kept_in_another_form(kind, index, cells, model, tmp_path):
    name, (given, wanted) = "cell" if index else "extra", ODD[kind]
    data = cells.assign_coords({name: ("cell", given), "month": MONTHS[0]})
    infer_to_store(data, model, tmp_path / "labels.zarr")
    found = opened(tmp_path / "labels.zarr")
    np.testing.assert_array_equal(found[name].values, np.asarray(wanted))
    assert found["month"].item() == "1000-01"
    np.testing.assert_array_equal(found["distance"], infer(cells, model)["distance"].compute())
    assert infer(data, model)[name].identical(data[name])  # in memory it stays what it is


def test_features_first(cells, model, tmp_path):
    turned = cells.transpose("feature", "cell")
    turned.to_dataset().chunk(cell=700).to_zarr(tmp_path / "turned.zarr", consolidated=False)
    infer_to_store(tmp_path / "turned.zarr", model, tmp_path / "labels.zarr")
    np.testing.assert_array_equal(
        opened(tmp_path / "labels.zarr")["bmu_col"], infer(cells, model)["bmu_col"].compute()
    )


def test_a_bad_block_is_named_and_those_before_it_stay_done(cells, model, tmp_path):
    place = tmp_path / "labels.zarr"
    bad = cells.copy(deep=True)
    bad[8500, 1] = np.nan
    with pytest.raises(DataError, match=r"block 2 \(rows 8192 to 8999\): there are 1 NaN"):
        infer_to_store(bad, model, place)
    assert not place.exists()
    with pytest.raises(DataError, match="1 NaN"):
        infer(bad, model).compute()
    seen = []
    with pytest.raises(DataError, match="block 2"):
        infer_to_store(bad, model, place, on_progress=lambda done, _: seen.append(done))
    assert seen == [2]  # it starts with the two that are done


def test_one_run_at_a_time(cells, model, tmp_path):
    with lock(tmp_path / "labels.zarr"), pytest.raises(StorageError, match="another run"):
        infer_to_store(cells, model, tmp_path / "labels.zarr")
    infer_to_store(cells, model, tmp_path / "labels.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.zarr"]


def test_names_that_no_store_can_hold_are_found_before_any_work(cells, model, tmp_path):
    numbers = np.arange(cells.sizes["cell"])
    for wrong in (
        cells.assign_coords(cell=numbers).rename(cell="a/b"),
        cells.assign_coords({"..": ("cell", numbers)}),
    ):
        with pytest.raises(DataError, match="no store can hold; rename it"):
            infer_to_store(wrong, model, tmp_path / "labels.zarr")
    with pytest.raises(DataError, match="dimension or coordinate 'a/b', which no store can hold"):
        open_samples(cells.assign_coords(feature=["x", "y"]).rename(feature="a/b"), feature_dims="a/b")
    assert os.listdir(tmp_path) == []
