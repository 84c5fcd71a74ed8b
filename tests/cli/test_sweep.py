"""The command line's sweep: what it writes, chooses, and does again after it was stopped."""

import os

import pandas as pd
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.cli import sweep
from som_dask.io import models
from som_dask.io.models import open_model
from som_dask.samples.reweight import bootstrap_weights, held_out
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.cli.test_main import events
from tests.cli.test_models import told
from tests.system.test_bad_input import run, store

OPTIONS = ["--sizes", "3x4,4x5", "--seeds", "0:2", "--initialization", "sample", "--epochs", "2"]
SWEEP = ["sweep", "cells.zarr", "--output", "maps", *OPTIONS, "--holdout", "0.2"]
NAMES = ["3x4-seed0", "3x4-seed1", "4x5-seed0", "4x5-seed1"]


@pytest.fixture(autouse=True)
def values(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    values = rng.normal(size=(400, 3))
    store("cells.zarr", values)
    return values


def sums(names):
    return {name: open_model(f"maps/{name}.zarr").attrs["codebook_sha256"] for name in names}


def test_it_writes_the_maps_that_train_makes_and_a_table(capsys, values):
    more = ["--final-radii", "auto,1", "--bootstrap", "1", "--log-file", "log.jsonl"]
    lines = told(capsys, "sweep", "cells.zarr", "--output", "maps", *OPTIONS[:2], *OPTIONS[4:], *more)
    table = pd.read_csv("maps/table.csv")
    assert list(table["name"]) == [
        f"{size}-seed0-radius{radius}{weights}"
        for size in ("3x4", "4x5")
        for radius in ("auto", "1")
        for weights in ("", "-bootstrap0")
    ]
    assert sorted(os.listdir("maps")) == sorted(
        [*(f"{name}.zarr" for name in table["name"]), "sweep.json", "table.csv"]
    )
    assert lines[-1] == "table               maps/table.csv"
    model = open_model("maps/4x5-seed0-radius1-bootstrap0.zarr")
    config = MapConfig(epochs=2, initialization="sample", final_radius=1.0)
    alone = train("cells.zarr", Lattice(4, 5), config, sample_weights=bootstrap_weights(400, 0))
    assert model.attrs["codebook_sha256"] == alone.attrs["codebook_sha256"]
    assert table["quantization_error"].iloc[-1] == float(alone["quantization_error"][-1])
    assert len(events("log.jsonl", "model_saved")) == 8
    chosen = train("cells.zarr", Lattice(3, 4), MapConfig(epochs=1, final_radius="auto")).attrs["final_radius"]
    assert table["final_radius"].tolist()[:3:2] == [chosen, 1.0]  # between them, of samples that have a weight


def test_it_measures_on_rows_held_out_and_chooses_a_size(capsys, values):
    lines = told(capsys, *SWEEP)
    table = pd.read_csv("maps/table.csv")
    assert list(table["name"]) == NAMES
    sizes = table[table["chosen"]][["rows", "cols"]].drop_duplicates()
    assert lines[-1] == f"chosen size         {sizes.iloc[0, 0]}x{sizes.iloc[0, 1]}"
    config = MapConfig(epochs=2, initialization="sample", seed=1)
    kept = 1.0 - held_out(400, 0.2)
    alone = train("cells.zarr", Lattice(4, 5), config, sample_weights=kept)
    assert sums(NAMES[-1:])[NAMES[-1]] == alone.attrs["codebook_sha256"]


def test_what_is_done_stays_and_the_rest_is_done_after_a_stop(capsys, monkeypatch):
    told(capsys, *SWEEP)
    expected, table = sums(NAMES), pd.read_csv("maps/table.csv").drop(columns="seconds")
    os.rename("maps", "before")
    saved, trained, save, many = [], [], models.save_model, sweep.train_many

    def fail(model, place, **options):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(place)
        save(model, place, **options)

    def watch(samples, runs, *arguments, on_epoch, **options):
        trained.append([len(runs)])

        def note(index, epoch):
            trained[-1].append((index, epoch.index))
            on_epoch(index, epoch)

        return many(samples, runs, *arguments, on_epoch=note, **options)

    monkeypatch.setattr(models, "save_model", fail)
    monkeypatch.setattr(sweep, "train_many", watch)
    (line,) = told(capsys, *SWEEP, status=75).splitlines()
    assert "2 of 4 maps are saved" in line
    assert "som-dask" in line
    assert sorted(saved) == [f"maps/{name}.zarr" for name in NAMES[:2]]
    assert not os.path.exists("maps/table.csv")
    monkeypatch.setattr(models, "save_model", save)
    told(capsys, *SWEEP)
    assert trained[0][0] == 4
    assert trained[1] == [2]  # whose epochs were all done: they are in checkpoints
    assert sums(NAMES) == expected
    pd.testing.assert_frame_equal(pd.read_csv("maps/table.csv").drop(columns="seconds"), table)
    assert not [name for name in os.listdir("maps") if "checkpoints" in name]
    told(capsys, *SWEEP)
    assert len(trained) == 2


def test_a_folder_of_other_maps_is_refused(capsys):
    told(capsys, *SWEEP)
    assert "another epochs" in told(capsys, *SWEEP, "--epochs", "1", status=2)
    assert "another holdout" in told(capsys, *SWEEP, "--holdout", "0.1", status=2)
    os.remove("maps/sweep.json")
    assert run("train", "cells.zarr", "--output", "maps/3x4-seed0.zarr", "--overwrite", "--epochs", "0") == 0
    assert "not of a sweep" in told(capsys, *SWEEP, status=2)
