"""`--features`: chosen by name, as the error says that tells of another order or of more features."""

import re
import shlex

import numpy as np
import pytest
import xarray as xr

from som_dask.io.models import open_model
from tests.system.test_bad_input import run, store

MAP = ("--rows", "3", "--cols", "4", "--epochs", "2")


@pytest.fixture(autouse=True)
def cells(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    values = rng.normal(size=(300, 4))
    store("cells.zarr", values, features=("CD4", "CD 8", "$x", "FSC"))
    store("plain.zarr", values[:, :3], features=("CD4", "CD 8", "$x"))
    store("other.zarr", values[:, [3, 2, 0, 1]], features=("FSC", "$x", "CD4", "CD 8"))
    store("order.zarr", values[:, [2, 0, 1]], features=("$x", "CD4", "CD 8"))


def labels_of(model, data, output, *given):
    assert run("infer", model, data, "--output", output, *given) == 0
    return xr.open_zarr(output, consolidated=False).load().drop_attrs()


@pytest.mark.parametrize(("data", "words"), [("order.zarr", "another order"), ("other.zarr", "4 features, 1 more")])
def test_what_the_error_says_can_be_copied(data, words, capsys):
    assert run("train", "plain.zarr", "--output", "model.zarr", *MAP) == 0
    for command in ("infer", "evaluate"):
        capsys.readouterr()
        assert run(command, "model.zarr", data, "--output", "labels.zarr") == 4
        (line,) = capsys.readouterr().err.splitlines()
        assert words in line
        option = shlex.split(re.search(r"open the samples with (--features .*)$", line)[1])
        assert option == ["--features", "CD4,CD 8,$x"]
        assert run(command, "model.zarr", data, "--output", f"{command}.zarr", *option) == 0
    found = xr.open_zarr("infer.zarr", consolidated=False).load().drop_attrs()
    xr.testing.assert_identical(found, labels_of("model.zarr", "plain.zarr", "wanted.zarr"))


def test_a_map_of_some_features(capsys):
    chosen = ("--features", "$x,CD4")
    assert run("train", "cells.zarr", "--output", "some.zarr", *MAP, *chosen) == 0
    with open("job.toml", "w", encoding="utf-8") as file:
        file.write('features = ["$x", "CD4"]\n')
    assert run("train", "other.zarr", "--output", "job.zarr", *MAP, "--config", "job.toml") == 0
    some, job = open_model("some.zarr"), open_model("job.zarr")
    assert some["feature"].values.tolist() == ["$x", "CD4"]
    xr.testing.assert_equal(some["codebook"], job["codebook"])
    wanted = labels_of("some.zarr", "cells.zarr", "0.zarr", *chosen)
    for i, data in enumerate(["cells.zarr", "other.zarr", "order.zarr"], 1):  # the features of training by default
        xr.testing.assert_identical(labels_of("some.zarr", data, f"{i}.zarr"), wanted)
    assert np.isfinite(wanted["distance"]).all()
    capsys.readouterr()


def test_names_that_are_none(capsys):
    assert run("train", "cells.zarr", "--output", "model.zarr", *MAP, "--features", "CD4,CD8") == 2
    assert capsys.readouterr().err == "som-dask: cells.zarr:data has no feature 'CD8'; did you mean 'CD 8'?\n"
