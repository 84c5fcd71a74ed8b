"""The command line: train, infer and info from end to end, job files, and a polite end on SIGTERM."""

import json
import os
import re
import signal
import subprocess
import sys
from typing import get_args

import click
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.neighborhood import Kernel
from som_dask.cli import train as training
from som_dask.cli.commands import cli
from som_dask.cli.progress import EpochBar
from som_dask.errors import Interrupted, ParameterError
from som_dask.io.models import open_model
from som_dask.training.config import OTHER_RADII, RADII
from tests.epoch_lines import apart_from_epochs
from tests.system.test_bad_input import run, store

MAP = ["--rows", "4", "--cols", "5"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    store("cells.zarr", rng.normal(size=(5000, 3)))
    return tmp_path


def test_train_infer_info(capsys):
    assert run("train", "cells.zarr", "--output", "model.zarr", *MAP, "--epochs", "3") == 0
    out, err = capsys.readouterr()
    assert out.startswith("model               model.zarr\nquantization error  ")
    assert apart_from_epochs(err) == ""  # nobody watches: no progress bar
    assert len(err.splitlines()) == 3
    assert run("infer", "model.zarr", "cells.zarr", "--output", "labels.zarr") == 0
    out, err = capsys.readouterr()
    assert "samples             5000\n" in out
    assert err == ""
    assert run("info", "model.zarr") == 0
    assert "a, b, c" in capsys.readouterr().out
    assert run("info", "model.zarr", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["cols"], told["features"]) == (4, 5, ["a", "b", "c"])
    assert len(told["quantization_error"]) == 4
    assert told["radius"][-1] is None


def test_every_option_arrives():
    start = np.random.default_rng(3).normal(size=(4, 6, 3))
    np.save("start.npy", start)
    options = {
        "--rows": "4",
        "--cols": "6",
        "--topology": "rectangular",
        "--boundary": "cylindrical",
        "--radii": "3,2.5,0.5",
        "--epochs": "3",
        "--neighborhood": "gaussian",
        "--support": "2.5",
        "--initial-codebook": "start.npy",
        "--seed": "7",
        "--keep": "stream",
        "--dtype": "float32",
        "--variable": "data",
        "--feature-dims": "feature",
        "--block-size": "16 kB",
    }
    arguments = [part for pair in options.items() for part in pair]
    assert run("train", "cells.zarr", "--output", "model.zarr", *arguments) == 0
    attrs = open_model("model.zarr").attrs
    assert (attrs["rows"], attrs["cols"], attrs["topology"]) == (4, 6, "rectangular")
    assert (attrs["boundary"], attrs["radii"], attrs["support"]) == ("cylindrical", [3.0, 2.5, 0.5], 2.5)
    assert (attrs["initialization"], attrs["seed"], attrs["keep"]) == ("given", 7, "stream")
    assert attrs["sample_dtype"] == "float32"


def test_options_override_the_job_file():
    with open("job.toml", "w") as file:
        file.write('input = "cells.zarr"\noutput = "model.zarr"\nrows = 3\ncols = 4\nepochs = 2\nradii = [2, 1]\n')
    assert run("train", "--config", "job.toml", "--rows", "5") == 0
    model = open_model("model.zarr")
    assert model["codebook"].shape == (5, 4, 3)
    np.testing.assert_array_equal(model["radius"].values[:-1], [2.0, 1.0])


def test_a_neighborhood_from_a_job_file():
    with open("job.toml", "w") as file:
        file.write('input = "cells.zarr"\nrows = 3\ncols = 4\nepochs = 2\nneighborhood = "epanechnikov"\n')
    assert run("train", "--config", "job.toml", "--output", "first.zarr") == 0
    assert open_model("first.zarr").attrs["neighborhood"] == "epanechnikov"
    assert run("train", "--config", "job.toml", "--output", "second.zarr", "--neighborhood", "mexican_hat") == 0
    assert open_model("second.zarr").attrs["neighborhood"] == "mexican_hat"


def test_help_lists_the_neighborhoods(capsys):
    assert run("train", "--help") == 0
    text = "".join(capsys.readouterr().out.split())
    assert "|".join(get_args(Kernel)) in text
    assert run("train", "cells.zarr", "--output", "model.zarr", "--neighborhood", "triangle", "--support", "2") == 2
    assert "support belongs to the gaussian neighborhood, not to triangle" in capsys.readouterr().err


def commands_in(group, path=()):
    """Every command of a group, and of the groups in it, by its words."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands_in(command, (*path, name))


@pytest.mark.parametrize(("words", "command"), [pytest.param(*c, id=" ".join(c[0])) for c in commands_in(cli)])
def test_every_option_has_a_help_in_sentences(words, command, capsys):
    assert command.help.strip().split("\n\n")[0].replace("\n", " ").endswith(".")
    for param in command.params:
        if isinstance(param, click.Option):
            assert re.fullmatch(r"[A-Z][^\[\]`]+\.", param.help), param.name
    assert run(*words, "--help") == 0
    assert "Usage: som-dask" in capsys.readouterr().out


def test_the_commands_are_told_in_a_line_each(capsys):
    assert run("--help") == 0
    lines = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert sorted(line.split()[0] for line in lines) == [
        *("clusters", "demo", "evaluate", "infer", "info", "models", "report", "retrain", "sweep", "train")
    ]
    assert all(line.endswith(".") and not line.endswith("...") for line in lines)


def test_help_tells_the_defaults(capsys):
    (share, final), (other_share, other_final) = RADII["gaussian"], OTHER_RADII
    assert run("train", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for default in (
        "[default: 20]",
        "[default: hexagonal]",
        "[default: pca]",
        "[default: 64 MiB]",
        f"[default: {final:g} with the gaussian neighborhood, and {other_final:g} with the others]",
        f"[default: {share:g} times the longer side of the map with the gaussian neighborhood, and {other_share:g} ",
    ):
        assert default in text


def test_an_unfinished_run_is_continued_or_discarded(monkeypatch, capsys):
    command = ["train", "cells.zarr", "--output", "model.zarr", *MAP, "--epochs", "4"]
    plain = EpochBar.__call__

    def interrupt(self, epoch):
        plain(self, epoch)
        if epoch.index == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(EpochBar, "__call__", interrupt)
        patched.setattr(sys, "argv", ["som-dask", *command])
        assert run(*command) == Interrupted.exit_status
    (line,) = apart_from_epochs(capsys.readouterr().err).splitlines()
    assert "stopped after 2 of 4 epochs" in line
    assert line.endswith(f"som-dask {' '.join(command)} --resume")
    assert run(*command) == 2
    assert "--resume" in capsys.readouterr().err
    assert run(*command, "--resume") == 0
    resumed = open_model("model.zarr")
    assert run(*command, "--overwrite") == 0
    xr.testing.assert_identical(open_model("model.zarr").drop_attrs(), resumed.drop_attrs())


def test_one_command_for_the_start_and_every_time_in_the_queue_after_it(monkeypatch, capsys):
    command = ["train", "cells.zarr", "--output", "model.zarr", *MAP, "--epochs", "4", "--resume-or-start"]
    plain = EpochBar.__call__
    ends = [-1, 1]  # before the first checkpoint, and after two of them

    def interrupt(self, epoch):
        plain(self, epoch)
        if epoch.index == ends[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(EpochBar, "__call__", interrupt)
        patched.setattr(EpochBar, "__enter__", lambda self: self if ends[0] >= 0 else stop())
        patched.setattr(sys, "argv", ["som-dask", *command])
        for word in ("interrupted", "continue with"):
            assert run(*command) == Interrupted.exit_status
            (line,) = apart_from_epochs(capsys.readouterr().err).splitlines()
            assert word in line
            ends.pop(0)
    assert line.endswith(f"som-dask {' '.join(command)}")
    assert run(*command) == 0
    model = open_model("model.zarr")
    assert run(*command, "--overwrite") == 0
    xr.testing.assert_identical(open_model("model.zarr").drop_attrs(), model.drop_attrs())


def stop():
    raise KeyboardInterrupt


def test_checkpoints_go_when_the_model_is_there(folder):
    assert run("train", "cells.zarr", "--output", "model.zarr", *MAP, "--epochs", "2") == 0
    assert sorted(path.name for path in folder.iterdir()) == ["cells.zarr", "model.zarr"]


SLOWLY = """
import sys
from som_dask.cli import main, train
class Bar(train.EpochBar):
    def __call__(self, epoch):
        super().__call__(epoch)
        print("epoch", epoch.index, flush=True)
        if epoch.index == 1:
            sys.stdin.read()  # wait here to be killed, with two epochs done
train.EpochBar = Bar
main.main()
"""


def test_sigterm_ends_in_order_and_the_run_goes_on_to_the_same_bits(folder):
    command = ["train", "cells.zarr", "--output", "model.zarr", *MAP, "--epochs", "5"]
    log = ["--log-file", "run.jsonl"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SLOWLY, *command, *log], **pipes) as process:
        assert [process.stdout.readline() for _ in range(2)] == ["epoch 0\n", "epoch 1\n"]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
        assert process.returncode == 75
    (line,) = apart_from_epochs(err).splitlines()
    assert "stopped after 2 of 5 epochs" in line
    assert "--resume" in line
    assert not (folder / "model.zarr").exists()
    assert not (folder / ".model.zarr.partial").exists()
    assert run(*command, "--resume") == 0
    assert run(*command[:3], "whole.zarr", *command[4:]) == 0
    assert open_model("model.zarr").attrs["codebook_sha256"] == open_model("whole.zarr").attrs["codebook_sha256"]
    assert events(folder / "run.jsonl")[-1]["status"] == "interrupted"
    assert [event["epoch"] for event in events(folder / "run.jsonl", "epoch_finished")] == [0, 1]


def events(place, name=None):
    with open(place) as file:
        told = [json.loads(line) for line in file]
    return [event for event in told if name in (None, event["event"])]


def test_a_log_tells_of_training_from_start_to_end(capsys):
    command = ["train", "cells.zarr", "--output", "model.zarr", *MAP, "--epochs", "3"]
    assert run(*command, "--log-file", "run.jsonl", "--checkpoint-every", "2") == 0
    assert apart_from_epochs(capsys.readouterr().err) == ""
    told = events("run.jsonl")
    assert [event["event"] for event in told] == [
        "run_started",
        *["epoch_finished", "checkpoint_saved", "epoch_finished", "epoch_finished"],
        *["model_saved", "run_finished"],
    ]
    assert (told[0]["command"], told[0]["parameters"]["rows"]) == ("train", 4)
    assert told[0]["parameters"]["input"] == "cells.zarr"
    model = open_model("model.zarr")
    epochs = events("run.jsonl", "epoch_finished")
    for name in ("quantization_error", "topographic_error", "radius"):
        assert [event[name] for event in epochs] == model[name].values[:-1].tolist()
    assert [event["epochs_done"] for event in events("run.jsonl", "checkpoint_saved")] == [2]
    assert told[-2]["quantization_error"] == model["quantization_error"].values[-1]
    assert told[-1]["status"] == "completed"
    assert {event["run_id"] for event in told} == {model.attrs["run_id"]}


def test_a_log_tells_of_inference_and_is_added_to(capsys):
    with open("job.toml", "w") as file:
        file.write('log_file = "run.jsonl"\nlog_stderr = true\nlog_level = "info"\nlog_dask = false\n')
    assert run("train", "cells.zarr", "--output", "model.zarr", *MAP, "--epochs", "1", "--config", "job.toml") == 0
    trained = capsys.readouterr().err
    assert run("infer", "model.zarr", "cells.zarr", "--output", "labels.zarr", "--config", "job.toml") == 0
    told = capsys.readouterr().err
    with open("run.jsonl") as file:
        assert file.read() == trained + told
    started, *progress, saved, finished = [json.loads(line) for line in told.splitlines()]
    assert (started["event"], started["command"]) == ("run_started", "infer")
    assert (progress[-1]["event"], progress[-1]["done"]) == ("blocks_finished", progress[-1]["blocks"])
    assert (saved["event"], saved["samples"]) == ("labels_saved", 5000)
    assert finished["status"] == "completed"
    assert started["run_id"] != json.loads(trained.splitlines()[0])["run_id"]


def test_a_log_tells_of_an_error_and_the_exit_status_stays(capsys):
    command = ["train", "nowhere.zarr", "--output", "model.zarr", "--log-file", "run.jsonl"]
    assert run(*command) == 5
    (line,) = capsys.readouterr().err.splitlines()
    (error,) = events("run.jsonl", "error")
    assert error["error"]["type"] == "StorageError"
    assert line == f"som-dask: {error['error']['message']}"
    assert events("run.jsonl")[-1]["status"] == "failed"
    assert run(*command[:-1], "no/such/run.jsonl") == 5
    assert "no/such for the log does not exist" in capsys.readouterr().err


def test_a_log_holds_no_credential(folder, capsys):
    command = ["train", "s3://key:hunter2@bucket/x.zarr", "--output", "model.zarr", "--log-file", "run.jsonl"]
    assert run(*command) == ParameterError.exit_status
    (line,) = capsys.readouterr().err.splitlines()
    assert "hunter2" not in line
    assert "AWS_SECRET_ACCESS_KEY" in line
    assert not (folder / "run.jsonl").exists()


@pytest.mark.cluster
def test_workers_of_its_own(capsys):
    log = ["--log-file", "run.jsonl", "--log-dask"]
    assert run("train", "cells.zarr", "--output", "a.zarr", *MAP, "--workers", "2", "--threads", "1", *log) == 0
    assert "distributed.scheduler" in {event["logger"] for event in events("run.jsonl", "log")}
    assert {event["pid"] for event in events("run.jsonl", "run_started")} == {os.getpid()}
    told = capsys.readouterr().err
    assert told.startswith("dashboard: http://127.0.0.1:")
    assert "the map while it is trained: /som-dask there" in told
    assert run("train", "cells.zarr", "--output", "b.zarr", *MAP) == 0
    assert open_model("a.zarr").attrs["codebook_sha256"] == open_model("b.zarr").attrs["codebook_sha256"]


def test_online_training_is_logged_and_registered(tmp_path, rng):
    store("colors.zarr", rng.random((40, 3)))
    options = [*MAP, "--algorithm", "online", "--epochs", "3", "--learning-rate", "0.2"]
    places = ["--registry", "models", "--name", "colors", "--log-file", "log.jsonl"]
    assert run("train", "colors.zarr", *options, *places) == 0
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    epochs = [event for event in events if event["event"] == "epoch_finished"]
    assert [event["epoch"] for event in epochs] == [0, 1, 2]
    assert epochs[0]["learning_rate"] == 0.2
    assert [event["model"] for event in events if event["event"] == "model_saved"] == ["dev/colors/0.1.0/1/1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--initialization", "random"], "--initialization belongs to the batch rule; leave it out with"),
        (["--final-radius", "2"], "--final-radius belongs to the batch rule; leave it out with"),
        (["--keep", "stream"], "--keep belongs to the batch rule; leave it out with --algorithm online"),
        (["--device", "gpu"], "--device belongs to the batch rule; leave it out with --algorithm online"),
        (["--sample-weights", "area"], "the online rule takes no weights; use the batch rule"),
        (["--learning-rate", "2"], "--learning-rate must be a number above 0 and at most 1, got 2.0"),
        (
            ["--algorithm", "batch", "--learning-rate", "0.2"],
            "--learning-rate belongs to --algorithm online; the batch rule has none",
        ),
    ],
)
def test_options_of_the_other_rule_are_refused(options, message, folder, capsys, rng):
    values = xr.DataArray(rng.random((6, 2)), dims=("lat", "feature"), coords={"lat": np.linspace(-50.0, 50, 6)})
    values.rename("data").to_dataset().to_zarr("points.zarr", zarr_format=2, consolidated=False)
    command = ["train", "points.zarr", "--output", "model.zarr", *MAP, "--algorithm", "online", *options]
    assert run(*command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"som-dask: {message}")
    assert not (folder / "model.zarr").exists()


def write_fields(place, rng):
    """Two variables on time, lat, lon, one of them with levels, with a land mask."""
    dims, coords = ("time", "lat", "lon"), {"lat": ("lat", [-30.0, 0.0, 30.0]), "level": [1000, 500]}
    land = np.array([[True, False, False, True]] * 3)
    t2m = xr.DataArray(np.where(land, np.nan, rng.normal(size=(40, 3, 4))), dims=dims)
    z = xr.DataArray(rng.normal(size=(40, 3, 4, 2)), dims=(*dims, "level")).where(t2m.notnull())
    xr.Dataset({"t2m": t2m, "z": z}, coords=coords).chunk(time=10).to_zarr(place, consolidated=False)
    return land


def test_fields_from_end_to_end(rng, capsys):
    land = write_fields("fields.zarr", rng)
    dataset = xr.open_zarr("fields.zarr", consolidated=False).fillna(0.0)
    dataset.drop_encoding().to_zarr("filled.zarr", consolidated=False)
    options = ["--variables", "t2m,z", "--sample-dims", "time,lat,lon"]
    assert run("train", "filled.zarr", "--output", "model.zarr", *MAP, "--epochs", "2", *options) == 0
    assert open_model("model.zarr")["feature"].values.tolist() == ["t2m", "z level=1000", "z level=500"]
    capsys.readouterr()
    arguments = ["infer", "model.zarr", "fields.zarr", "--output", "labels.zarr"]
    assert run(*arguments) == 4
    assert "--missing" in capsys.readouterr().err
    assert run(*arguments, "--missing", "mask") == 0
    assert "samples             480\nleft out            240, for the values" in capsys.readouterr().out
    labels = xr.open_zarr("labels.zarr", consolidated=False)
    assert labels["bmu_row"].dims == ("time", "lat", "lon")
    np.testing.assert_array_equal(labels["bmu_row"].isnull(), np.broadcast_to(land, (40, 3, 4)))


def test_dimensions_and_weights_in_a_job_file(rng):
    write_fields("fields.zarr", rng)
    with open("job.toml", "w") as file:
        file.write(
            'input = "fields.zarr"\noutput = "model.zarr"\nrows = 3\ncols = 4\nepochs = 1\nvariables = ["z"]\n'
            'sample_dims = ["time", "lat"]\nsample_weights = "area"\nfeature_weights = [1, 2, 1, 1, 1, 1, 1, 1]\n'
        )
    seen = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "train_map", lambda samples, *_, **__: seen.append(samples) or sys.exit(0))
        assert run("train", "--config", "job.toml") == 0
    (samples,) = seen
    assert (samples.sample_dims, samples.n_features) == (("time", "lat"), 8)
    np.testing.assert_allclose(samples.weights[:3], np.cos(np.deg2rad([-30, 0, 30])), atol=1e-12)
    assert samples.feature_weights.tolist() == [1, 2, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--feature-weights", "area,1"], "not the word area or a list of numbers. See"),
        (["--sample-dims", "time,,lat"], "not a list of names"),
        (["--variables", "a", "--variable", "b"], "give one of them"),
        (["--sample-weights", "nothing"], "no variable 'nothing'"),
    ],
)
def test_options_of_data_that_are_wrong(options, match, capsys):
    assert run("train", "cells.zarr", "--output", "model.zarr", *options) == 2
    assert match in capsys.readouterr().err


def test_infer_the_nearest_nodes(capsys):
    assert run("train", "cells.zarr", "--output", "model.zarr", *MAP, "--epochs", "2") == 0
    assert run("infer", "model.zarr", "cells.zarr", "--output", "soft.zarr", "--nearest", "3") == 0
    soft = xr.open_zarr("soft.zarr")
    assert soft["membership"].dims == ("sample", "neighbor")
    np.testing.assert_allclose(soft["membership"].sum("neighbor"), 1)
    capsys.readouterr()
    assert run("infer", "model.zarr", "cells.zarr", "--output", "other.zarr", "--nearest", "21") == 2
    assert "k must be a whole number from 1 to the map's 20 nodes, got 21" in capsys.readouterr().err
