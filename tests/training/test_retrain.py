"""Retraining: it goes on from the registered map, tells the drift, and refuses other features."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Kernel
from som_dask.errors import DataError, ParameterError, SchemaError, StorageError
from som_dask.io.models import scaled_codebook_of
from som_dask.io.registry import Registry
from som_dask.training.config import MapConfig
from som_dask.training.retrain import Drift, RetrainingConfig, retrain, retrain_registered
from som_dask.training.train import train
from tests.reference.twins import plain_bmus
from tests.system.test_bad_input import run, store

LATTICE = Lattice(4, 5)


def cells(values, names=("a", "b", "c")):
    return xr.DataArray(values, dims=("cell", "marker"), coords={"marker": list(names)})


@pytest.fixture
def old(rng):
    return cells(rng.normal(size=(2000, 3)))


@pytest.fixture
def model(old):
    return train(old, LATTICE, MapConfig(epochs=6))


def test_drift_is_the_old_maps_error_on_the_new_data(model, old, rng):
    new = cells(rng.normal(size=(1500, 3)) + np.array([1.0, 0.0, 0.0]))
    kept = model.copy(deep=True)
    retrained, drift = retrain(new, model)
    for found, data, of in (
        (drift.new_data, new, model),
        (drift.old_data, old, model),
        (drift.retrained, new, retrained),
    ):
        _, _, distance = plain_bmus(data.values, scaled_codebook_of(of))
        assert found == pytest.approx(distance.mean(), rel=1e-12)
    assert drift.ratio > 1.1
    assert drift.retrained < drift.new_data
    assert retrained.attrs["drift_old_map_on_new_data"] == drift.new_data
    assert retrained.attrs["retrained_from_codebook"] == model.attrs["codebook_sha256"]
    xr.testing.assert_identical(model, kept)


def test_it_starts_from_the_codebook_with_a_short_radius(model, old):
    retrained, _ = retrain(old, model, RetrainingConfig(epochs=3, initial_radius=1.5))
    config = MapConfig(epochs=3, initial_radius=1.5)
    wanted = train(old, LATTICE, config, codebook=scaled_codebook_of(model))
    np.testing.assert_array_equal(retrained["codebook"], wanted["codebook"])
    np.testing.assert_array_equal(retrained["radius"], wanted["radius"])


def test_what_the_map_was_trained_with_stays(old):
    config = MapConfig(epochs=2, support=3.0)
    retrained, _ = retrain(old, train(old, Lattice(4, 6, "rectangular", "toroidal"), config))
    assert retrained.attrs["support"] == 3.0
    assert (retrained.attrs["topology"], retrained.attrs["boundary"]) == ("rectangular", "toroidal")


@pytest.mark.parametrize("kernel", get_args(Kernel))
def test_the_neighborhood_stays(kernel, old):
    model = train(old, Lattice(4, 5), MapConfig(epochs=2, neighborhood=kernel))
    retrained, _ = retrain(old, model)
    assert model.attrs["neighborhood"] == retrained.attrs["neighborhood"] == kernel


def test_no_drift_of_no_error():
    assert np.isnan(Drift(0.0, 1.0, 0.5).ratio)


@pytest.mark.parametrize("names", [("a", "c", "b"), ("a", "b", "x"), ("a", "b")])
def test_other_features_are_refused_and_the_registry_stays(names, model, tmp_path, rng):
    registry = Registry(tmp_path / "models")
    registry.save(model, "blood")
    with pytest.raises(SchemaError):
        retrain_registered("blood@dev", cells(rng.normal(size=(50, len(names))), names), tmp_path / "models")
    assert len(list(registry.list())) == 1


def test_a_new_revision_has_the_old_one_as_its_parent(model, old, tmp_path):
    registry = Registry(tmp_path / "models")
    first = registry.save(model, "blood", model_version="7")
    key, _ = retrain_registered("blood@dev", old, tmp_path / "models", RetrainingConfig(epochs=1))
    assert key == dataclasses.replace(first, revision=2)
    assert registry.entry(key).parent == first
    again, _ = retrain_registered(f"blood@dev:{first.code_version}/7/1", old, tmp_path / "models")
    assert again.revision == 3
    assert registry.entry(again).parent == first


def test_clear_errors(model, old, tmp_path):
    with pytest.raises(ParameterError, match="NAME@ENVIRONMENT"):
        retrain_registered("blood", old, tmp_path)
    with pytest.raises(StorageError, match="blood"):
        retrain_registered("blood@dev", old, tmp_path)
    Registry(tmp_path).save(model, "blood")
    bad = old.copy()
    bad[3, 1] = np.nan
    with pytest.raises(DataError, match="NaN"):
        retrain_registered("blood@dev", bad, tmp_path)


def test_from_the_command_line(tmp_path, monkeypatch, capsys, rng):
    monkeypatch.chdir(tmp_path)
    store("cells.zarr", rng.normal(size=(1000, 3)))
    store("new.zarr", rng.normal(size=(1000, 3)) + 2)
    assert run("train", "cells.zarr", "--registry", "models", "--name", "blood", "--rows", "4", "--cols", "5") == 0
    assert run("retrain", "blood@dev", "new.zarr", "--registry", "models", "--log-file", "log.jsonl") == 0
    out = capsys.readouterr().out
    assert "registered          dev/blood/0.1.0/1/2" in out
    assert "old map, new data" in out
    assert run("retrain", "blood@dev", "new.zarr") == 2  # no registry
    assert run("retrain", "other@dev", "new.zarr", "--registry", "models") == 5


@pytest.mark.parametrize("options", [{}, {"final_radius": 0.7}, {"neighborhood": "epanechnikov"}])
def test_retraining_ends_with_the_radius_of_the_training(options, rng):
    values = rng.random((200, 3))
    model = train(values, Lattice(4, 5), MapConfig(epochs=3, **options))
    retrained, _ = retrain(values, model)
    assert retrained["radius"].values[-2] == model["radius"].values[-2]
    assert retrained.attrs["final_radius"] == model.attrs["final_radius"]
