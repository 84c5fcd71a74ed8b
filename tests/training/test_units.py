"""Units and standard names: from the data into the model, and other units refused wherever data meet it."""

import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.analysis.soft_labels import infer_soft
from som_dask.errors import SchemaError
from som_dask.io.models import open_model, save_model
from som_dask.io.unstack import unstack_features
from som_dask.plotting.fields import list_fields
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.retrain import retrain
from som_dask.training.train import train
from tests.system.test_bad_input import run

LATTICE, BRIEF = Lattice(3, 4), MapConfig(epochs=1)


def values(*shape):
    return np.random.default_rng(1).normal(size=shape)


def temperature(units="K", standard_name="air_temperature"):
    attrs = {"units": units, "standard_name": standard_name, "long_name": "temperature"}
    attrs = {name: value for name, value in attrs.items() if value is not None}
    return xr.DataArray(values(60, 3), dims=("time", "level"), coords={"level": [1, 2, 3]}, name="t", attrs=attrs)


def several(t="K", z="m"):
    dataset = xr.Dataset({"t": temperature(t), "z": ("time", values(60)), "q": ("time", values(60))})
    dataset["z"].attrs.update({"units": z} if z else {})
    return dataset


def saved(model, tmp_path):
    save_model(model, tmp_path / "model.zarr")
    found = open_model(tmp_path / "model.zarr")
    xr.testing.assert_identical(found, model)
    return found


@pytest.mark.parametrize("config", [BRIEF, MapConfig(epochs=1, scaling="zscore"), OnlineConfig(epochs=1)])
def test_of_one_variable(config, tmp_path):
    model = saved(train(temperature(), LATTICE, config), tmp_path)
    attrs = model["codebook"].attrs
    assert (attrs["units"], attrs["standard_name"]) == ("K", "air_temperature")
    assert "feature_units" not in model.coords
    for name in {"feature_center", "feature_scale"} & set(model):
        assert model[name].attrs["units"] == "K"
    assert unstack_features(model["codebook"]).attrs["units"] == "K"


def test_of_several_variables(tmp_path):
    data = several()
    model = saved(_train(data), tmp_path)
    assert model["feature_units"].values.tolist() == ["K", "K", "K", "m", ""]
    assert not {"units", "standard_name"} & model["codebook"].attrs.keys()
    fields = unstack_features(model["codebook"])
    assert [fields[name].attrs.get("units") for name in ("t", "z", "q")] == ["K", "m", None]
    assert fields["t"].dims == ("row", "col", "level")
    assert evaluate(_open(data), model)["feature_units"].values.tolist() == ["K", "K", "K", "m", ""]


def _open(data):
    return open_samples(data, variables=list(data))


def _train(data):
    return train(_open(data), LATTICE, BRIEF)


def test_without_units_there_are_none(tmp_path):
    model = saved(train(temperature(None, None), LATTICE, BRIEF), tmp_path)
    assert model["codebook"].attrs.keys() == {"long_name"}
    assert "feature_units" not in model.coords


def test_units_that_readers_take_for_durations(tmp_path):
    model = saved(train(temperature("hours"), LATTICE, BRIEF), tmp_path)
    assert model["feature_units"].values.tolist() == ["hours"] * 3
    assert xr.open_zarr(tmp_path / "model.zarr")["codebook"].dtype == np.float64


def test_fields_are_listed_as_before():
    grid = {"lat": [1.0, 2.0, 3.0], "lon": [1.0, 2.0, 3.0]}
    fields = {name: xr.DataArray(values(60, 3, 3), dims=("time", "lat", "lon"), coords=grid) for name in ("t", "z")}
    data = xr.Dataset(fields)
    plain = train(open_samples(data, variables=["t", "z"], sample_dims="time"), LATTICE, BRIEF)
    data["t"].attrs["units"], data["z"].attrs["units"] = "K", "m"
    model = train(open_samples(data, variables=["t", "z"], sample_dims="time"), LATTICE, BRIEF)
    assert list_fields(model) == list_fields(plain) == [{"variable": "t"}, {"variable": "z"}]


VERBS = {
    "infer": infer,
    "infer_soft": lambda data, model: infer_soft(data, model, k=2),
    "evaluate": evaluate,
    "retrain": retrain,
    "train from a base": lambda data, model: train(data, LATTICE, BRIEF, base=model),
    "infer_to_store": lambda data, model: infer_to_store(data, model, "labels.zarr"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_other_units_are_refused(verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = train(temperature(), LATTICE, BRIEF)
    with pytest.raises(SchemaError, match="variable t has values in 'degC', the model was trained on 'K'"):
        VERBS[verb](temperature("degC"), model)
    for same in (temperature("kelvin"), temperature(None)):
        VERBS[verb](same, model)
        if verb == "infer_to_store":
            (tmp_path / "labels.zarr").rename(tmp_path / f"{same.attrs.get('units')}.zarr")
    with pytest.raises(SchemaError, match="feature 'z' in 'km', the model was trained on 'm'"):
        VERBS[verb](_open(several(z="km")), _train(several()))


def test_retraining_keeps_what_new_samples_do_not_tell():
    model = train(temperature(), LATTICE, BRIEF)
    retrained, _ = retrain(temperature(None, None), model)
    assert retrained["codebook"].attrs["units"] == "K"
    assert retrained["codebook"].attrs["standard_name"] == "air_temperature"


def test_a_base_of_other_features_is_refused():
    with pytest.raises(SchemaError, match="2 features"):
        train(temperature()[:, :2], LATTICE, BRIEF, base=train(temperature(), LATTICE, BRIEF))


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for units in ("K", "degC"):
        temperature(units).to_dataset().to_zarr(f"{units}.zarr", zarr_format=2, consolidated=False)
    assert run("train", "K.zarr", "--output", "model.zarr", "--rows", "3", "--cols", "4", "--epochs", "1") == 0
    for command in ("infer", "evaluate"):
        capsys.readouterr()
        assert run(command, "model.zarr", "degC.zarr", "--output", f"{command}.zarr") == 4
        (line,) = capsys.readouterr().err.splitlines()
        assert "'degC'" in line
        assert "'K'" in line
        assert not (tmp_path / f"{command}.zarr").exists()
