"""The demonstration and the job files, which run as they are on its data."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.image import imread

from som_dask.algorithm.lattice import Lattice
from som_dask.cli import demonstrations
from som_dask.errors import ParameterError
from som_dask.io.event_reader import read_events
from som_dask.io.models import open_model
from som_dask.training.config import MapConfig
from tests.epoch_lines import apart_from_epochs
from tests.system.test_bad_input import run

ROOT = Path(__file__).parent.parent.parent


def test_the_pixels_are_written_as_they_are(tmp_path):
    demonstrations.write_photograph(tmp_path / "p.zarr")
    demonstrations.write_photograph(tmp_path / "p.zarr")  # again, over the first
    store = xr.open_zarr(tmp_path / "p.zarr")
    assert store["pixels"].shape == (273_280, 3)
    assert store["pixels"].dtype == np.uint8
    np.testing.assert_array_equal(store["pixels"].values.reshape(427, 640, 3), demonstrations.load_photograph())
    assert list(store["channel"].values) == ["red", "green", "blue"]


def test_everything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(demonstrations, "LATTICE", Lattice(8, 8))
    model, places = demonstrations.run_photograph(tmp_path, MapConfig(epochs=4))
    assert set(places) == {"samples", "model", "labels", "map", "U-matrix", "photograph"}
    for place in places.values():
        assert place.exists()
    assert model["quantization_error"].values[-1] < 15
    labels = xr.open_zarr(places["labels"])
    colors = model["codebook"].values[labels["bmu_row"].values, labels["bmu_col"].values]
    off = np.linalg.norm(colors - demonstrations.load_photograph().reshape(-1, 3), axis=1)
    np.testing.assert_allclose(off, labels["distance"].values, rtol=1e-9)


def test_the_colors_from_noise_to_patches(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demonstrations, "COLORS_LATTICE", Lattice(50, 40, "rectangular"))
    assert run("demo", "--case", "colors", "--output", str(tmp_path), "--epochs", "30") == 0
    assert apart_from_epochs(capsys.readouterr().err) == ""
    model = open_model(tmp_path / "colors_model.zarr")
    assert model["codebook"].shape == (50, 40, 3)
    start, end = (imread(tmp_path / f"colors_{name}.png")[..., :3] for name in ("start", "end"))
    assert start.shape == end.shape == (400, 320, 3)
    np.testing.assert_allclose(end[::8, ::8], model["codebook"].values, atol=1 / 255)
    start_steps, end_steps = (np.abs(np.diff(image[::8, ::8], axis=0)).mean() for image in (start, end))
    assert start_steps > 0.2
    assert end_steps < 0.05
    assert run("demo", "--case", "colors", "--data-only", "--output", str(tmp_path)) == 2


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ParameterError, match=r"som_dask\[demo\]"):
        demonstrations.load_photograph()


def test_the_job_files_run_as_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "jobs", "jobs")
    assert run("demo", "--data-only") == 0
    assert run("train", "--config", "jobs/train.toml") == 0
    assert run("infer", "--config", "jobs/infer.toml") == 0
    assert apart_from_epochs(capsys.readouterr().err) == ""
    model = open_model("som_dask_demo/job_model.zarr")
    labels = xr.open_zarr("som_dask_demo/job_labels.zarr")
    assert model["codebook"].shape == (20, 30, 3)
    assert labels.sizes == {"pixel": 273_280}
    hits = np.zeros((20, 30), dtype=np.int64)
    np.add.at(hits, (labels["bmu_row"].values, labels["bmu_col"].values), 1)
    np.testing.assert_array_equal(hits, model["hits"])
    assert labels.attrs["model_codebook_sha256"] == model.attrs["codebook_sha256"]
    assert run("evaluate", "--config", "jobs/evaluate.toml") == 0
    evaluation = xr.open_zarr("som_dask_demo/job_evaluation.zarr", consolidated=False)
    assert float(evaluation["quantization_error"]) == float(model["quantization_error"][-1])
    assert run("retrain", "--config", "jobs/retrain.toml") == 0
    assert "registered          dev/flower/0.1.0/1/2" in capsys.readouterr().out
    assert run("clusters", "--config", "jobs/clusters.toml") == 0
    assert run("report", "--config", "jobs/report.toml") == 4  # the evaluation is of the map before
    assert run("evaluate", "--config", "jobs/evaluate.toml", "--overwrite") == 0
    assert run("report", "--config", "jobs/report.toml") == 0
    page = Path("som_dask_demo/job_report.html").read_text(encoding="utf-8")
    assert "6 clusters" in page
    assert "trustworthiness" in page
    events = read_events("som_dask_demo/log.jsonl")
    assert run("sweep", "--config", "jobs/sweep.toml") == 0
    assert "chosen size         10x14" in capsys.readouterr().out
    commands = ["train", "infer", "evaluate", "retrain", "evaluate"]
    assert list(events.loc[events["event"] == "run_started", "command"]) == commands
    assert set(events.loc[events["event"] == "run_finished", "status"]) == {"completed"}
