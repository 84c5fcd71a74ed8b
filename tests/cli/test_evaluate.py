"""The command line's evaluate: what it tells, writes and refuses."""

import json
import os

import numpy as np
import pytest
import xarray as xr

from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.evaluation_dataset import SCALARS
from som_dask.io.models import open_model
from tests.cli.test_main import events
from tests.cli.test_models import told
from tests.system.test_bad_input import run, store


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOM_DASK_REGISTRY", raising=False)
    store("cells.zarr", rng.normal(size=(300, 3)))
    assert run("train", "cells.zarr", "--output", "model.zarr", "--rows", "3", "--cols", "4", "--epochs", "2") == 0
    return tmp_path


def test_it_tells_every_measure_and_what_it_means(capsys, folder):
    lines = told(capsys, "evaluate", "model.zarr", "cells.zarr")
    assert lines[0] == "samples                   300"
    assert lines[1] == "nodes without hits        0 of 12"
    model = open_model("model.zarr")
    for name, line in zip(SCALARS, lines[2:], strict=True):
        assert line.startswith(name.replace("_", " "))
        assert line.endswith(SCALARS[name])
    assert f" {float(model['quantization_error'][-1]):.4g} " in lines[2]
    assert sorted(os.listdir(folder)) == ["cells.zarr", "model.zarr"]


def test_json_and_a_store_hold_the_same(capsys, folder):
    options = ["--sample", "100", "--neighbors", "4", "--seed", "3", "--log-file", "log.jsonl"]
    lines = told(capsys, "evaluate", "model.zarr", "cells.zarr", "--output", "e.zarr", "--json", *options)
    shown = json.loads("\n".join(lines))
    stored = xr.open_zarr("e.zarr", consolidated=False).load()
    expected = evaluate(xr.open_zarr("cells.zarr", consolidated=False), "model.zarr", sample=100, neighbors=4, seed=3)
    xr.testing.assert_equal(stored, expected)
    for name in SCALARS:
        assert shown[name] == float(stored[name])
    assert (shown["model"], shown["output"], shown["input"]) == ("model.zarr", "e.zarr", "cells.zarr:data")
    assert (shown["sample"], shown["neighbors"], shown["seed"], shown["samples"]) == (100, 4, 3, 300)
    (event,) = events("log.jsonl", "evaluated")
    assert event["trustworthiness"] == shown["trustworthiness"]
    assert events("log.jsonl", "run_started")[0]["command"] == "evaluate"

    line = told(capsys, "evaluate", "model.zarr", "cells.zarr", "--output", "e.zarr", status=5)
    assert "exists already" in line
    lines = told(capsys, "evaluate", "model.zarr", "cells.zarr", "--output", "e.zarr", "--overwrite", "--sample", "0")
    assert lines[0] == "evaluation                e.zarr"
    assert "trustworthiness" not in " ".join(line.split("  ")[0] for line in lines)
    assert "trustworthiness" not in xr.open_zarr("e.zarr", consolidated=False)
    assert json.loads("\n".join(told(capsys, "evaluate", "model.zarr", "cells.zarr", "--json", "--sample", "1")))[
        "trustworthiness"
    ] is None  # fmt: skip


def test_a_model_of_a_registry_and_a_job_file(capsys, folder):
    train = ["train", "cells.zarr", "--rows", "3", "--cols", "4", "--epochs", "1"]
    told(capsys, *train, "--registry", "models", "--name", "photo")
    (folder / "job.toml").write_text(
        'model = "photo@dev"\nregistry = "models"\ninput = "cells.zarr"\nsample = 50\nas_json = true\n'
    )
    shown = json.loads("\n".join(told(capsys, "evaluate", "--config", "job.toml")))
    assert shown["sample"] == 50
    assert shown["model"].startswith("models/")
    lines = told(capsys, "evaluate", "photo@dev", "cells.zarr", "--registry", "models")
    assert lines[0].startswith("model               dev/photo/")


def test_missing_values(capsys, rng):
    values = rng.normal(size=(50, 3))
    values[7, 1] = values[9] = np.nan
    store("gaps.zarr", values)
    line = told(capsys, "evaluate", "model.zarr", "gaps.zarr", status=4)
    assert "4 NaN or infinite" in line
    lines = told(capsys, "evaluate", "model.zarr", "gaps.zarr", "--missing", "drop")
    assert lines[0] == "samples                   50, 2 left out"
    lines = told(capsys, "evaluate", "model.zarr", "gaps.zarr", "--missing", "mask")
    assert lines[0] == "samples                   50, 1 left out"


def test_weights(capsys, rng):
    values = xr.DataArray(rng.normal(size=(300, 3)), dims=("cell", "marker"), coords={"marker": ["a", "b", "c"]})
    dataset = xr.Dataset({"data": values, "times": ("cell", rng.integers(0, 3, 300))})
    dataset.to_zarr("heavy.zarr", zarr_format=2, consolidated=False)
    how = ["heavy.zarr", "--variable", "data", "--sample-weights", "times"]
    assert run("train", *how, "--output", "m.zarr", "--rows", "3", "--cols", "4", "--epochs", "2") == 0
    shown = json.loads("\n".join(told(capsys, "evaluate", "m.zarr", *how, "--json")))
    assert shown["weighted"] == 1
    assert shown["quantization_error"] == float(open_model("m.zarr")["quantization_error"][-1])


@pytest.mark.parametrize(
    ("status", "words", "arguments"),
    [
        (5, "does not exist", ["none.zarr", "cells.zarr"]),
        (5, "not a som_dask model", ["cells.zarr", "cells.zarr"]),
        (5, "does not exist", ["model.zarr", "none.zarr"]),
        (2, "--registry ROOT or set", ["photo@dev", "cells.zarr"]),
        (2, "--sample", ["model.zarr", "cells.zarr", "--sample", "-1"]),
        (2, "--missing", ["model.zarr", "cells.zarr", "--missing", "fill"]),
        (2, "--workers starts", ["model.zarr", "cells.zarr", "--threads", "2"]),
        (4, "--dtype float64", ["model.zarr", "cells.zarr", "--dtype", "float32"]),
        (5, "would replace the input", ["model.zarr", "cells.zarr", "--output", "model.zarr", "--overwrite"]),
        (5, "would replace the input", ["model.zarr", "cells.zarr", "--output", "cells.zarr", "--overwrite"]),
    ],
)
def test_what_is_refused(status, words, arguments, capsys, folder):
    assert words in told(capsys, "evaluate", *arguments, status=status)
    left = {name for name in os.listdir(folder) if not name.endswith(".lock")}
    assert left == {"cells.zarr", "model.zarr"}
    open_model("model.zarr")


def test_help(capsys):
    text = " ".join(" ".join(told(capsys, "evaluate", "--help")).split())
    for word in ("--sample", "--missing", "--json", "--output", "SOM_DASK_REGISTRY", "default: 2000"):
        assert word in text
    assert " evaluate " in " ".join(" ".join(told(capsys, "--help")).split())


def test_why_there_is_no_trustworthiness(capsys, rng):
    values = rng.normal(size=(50, 3))
    values[np.arange(50), np.arange(50) % 3] = np.nan
    store("gaps.zarr", values)
    assert run("train", "gaps.zarr", "--output", "m.zarr", "--rows", "2", "--cols", "3", "--missing", "mask") == 0
    capsys.readouterr()
    lines = told(capsys, "evaluate", "m.zarr", "gaps.zarr")
    assert "trustworthiness           none: every sample that was picked lacks values" in lines
