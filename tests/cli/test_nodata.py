"""`--nodata`: numbers that stand for missing values, on the command line, in job files, and kept by the model."""

import numpy as np
import pytest
import xarray as xr

from som_dask.io.models import open_model
from som_dask.samples.open import open_samples
from tests.system.test_bad_input import run, store

LEAST = -(2**63)  # of int64, which is not among the numbers that options hold otherwise
TRAIN = ("train", "cells.zarr", "--output", "model.zarr", "--rows", "3", "--cols", "3", "--epochs", "2")


@pytest.fixture(autouse=True)
def cells(tmp_path, monkeypatch, rng):
    """A store of integers of which two kinds are missing; and which."""
    monkeypatch.chdir(tmp_path)
    values = rng.integers(0, 50, (300, 3))
    values[::10], values[1::10, 1] = -9999, LEAST
    store("cells.zarr", values)
    return (values == -9999) | (values == LEAST)


@pytest.mark.parametrize("how", [f"--nodata=-9999,{LEAST}", "file"])
def test_nodata_values_are_left_out(how, cells, capsys):
    given = (how,)
    if how == "file":
        with open("job.toml", "w", encoding="utf-8") as file:
            file.write(f'nodata = [-9999, "{LEAST}"]\n')
        given = ("--config", "job.toml")
    assert run(*TRAIN, *given, "--missing", "drop") == 0
    model = open_model("model.zarr")
    assert list(model.attrs["nodata"]) == [-9999, LEAST]
    assert model.attrs["samples_left_out"] == cells.any(axis=1).sum()
    assert float(model["codebook"].min()) >= 0
    assert run("infer", "model.zarr", "cells.zarr", "--output", "labels.zarr") == 0
    labels = xr.open_zarr("labels.zarr", consolidated=False)
    np.testing.assert_array_equal(labels["bmu_row"].isnull() | (labels["bmu_row"] < 0), cells.any(axis=1))
    assert run("evaluate", "model.zarr", "cells.zarr", "--sample", "50") == 0
    capsys.readouterr()


def test_a_single_number(cells):
    with open("job.toml", "w", encoding="utf-8") as file:
        file.write("nodata = -9999\n")
    for i, given in enumerate([("--nodata", "-9999"), ("--config", "job.toml")]):
        output = ("--output", f"{i}.zarr")
        assert run("train", "cells.zarr", *TRAIN[4:], *output, *given, "--missing", "mask") == 0
        assert open_model(f"{i}.zarr").attrs["missing_values"] == np.count_nonzero(cells) - 30
    found = open_samples("cells.zarr", nodata=-9999).array.compute()
    np.testing.assert_array_equal(np.isnan(found).sum(axis=1) == 3, np.arange(300) % 10 == 0)


@pytest.mark.parametrize(
    ("nodata", "words"),
    [("none", "'none' is not a number or a list of numbers"), ("1.5", "nodata 1.5 is no number of dtype int64")],
)
def test_nodata_that_can_not_be(nodata, words, capsys):
    assert run(*TRAIN, "--nodata", nodata) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
