"""Runs that are asked to stop: one line that tells how to go on, and the same result when they have."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from som_dask.analysis.labels import infer
from som_dask.io.models import open_model
from tests.system.test_bad_input import run, store


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    store("cells.zarr", rng.normal(size=(6000, 3)))
    return tmp_path


STOPS_IN_INFER = """
import sys
from som_dask.analysis import label_store as inference
from som_dask.cli.main import main
inference.BLOCKS_AT_ONCE = 1
plain = inference._LabelStore.write
def write(self):
    for done in plain(self):
        yield done
        if done == 1:
            print("one block", flush=True)
            sys.stdin.read()  # wait here to be killed
inference._LabelStore.write = write
main()
"""
STOPS_IN_TRAIN = """
import sys
from som_dask.cli import train
from som_dask.cli.main import main
class Bar(train.EpochBar):
    def __call__(self, epoch):
        super().__call__(epoch)
        if epoch.index == 1:
            print("two epochs", flush=True)
            sys.stdin.read()  # wait here to be killed
if __name__ == "__main__":
    train.EpochBar = Bar
    main()
"""


def stopped(script, *command, signal_sent=signal.SIGTERM):
    """Run a script of the above until it waits, send a signal; its exit status and what it said."""
    with open("script.py", "w") as file:
        file.write(script)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "script.py", *command], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout.readline()
        process.send_signal(signal_sent)
        _, err = process.communicate()
        return process.returncode, err.splitlines()


@pytest.mark.parametrize("signal_sent", [signal.SIGTERM, signal.SIGINT])
def test_labeling_that_is_stopped_goes_on(signal_sent, folder, capsys):
    assert run("train", "cells.zarr", "--output", "model.zarr", "--rows", "3", "--cols", "4", "--epochs", "1") == 0
    command = ["infer", "model.zarr", "cells.zarr", "--output", "labels.zarr"]
    status, (line,) = stopped(STOPS_IN_INFER, *command, signal_sent=signal_sent)
    assert status == 75
    assert line.startswith("som-dask: stopped; ")
    assert line.endswith(f"continue with: som-dask {' '.join(command)}")
    assert not (folder / "labels.zarr").exists()
    capsys.readouterr()
    assert run(*command) == 0
    assert "1 of 2 blocks by an earlier run" in capsys.readouterr().out
    found = xr.open_zarr("labels.zarr", chunks=None, consolidated=False)
    np.testing.assert_array_equal(found["distance"], infer("cells.zarr", "model.zarr")["distance"].compute())
    assert sorted(path.name for path in folder.iterdir()) == ["cells.zarr", "labels.zarr", "model.zarr", "script.py"]


@pytest.mark.cluster
def test_training_on_processes_that_is_stopped_goes_on_to_the_same_bits(folder):
    options = ["--rows", "4", "--cols", "5", "--epochs", "4"]
    command = ["train", "cells.zarr", "--output", "model.zarr", *options]
    status, lines = stopped(STOPS_IN_TRAIN, *command, "--workers", "2")
    assert status == 75
    assert lines[0].startswith("dashboard: http://127.0.0.1:")
    assert lines[1].startswith("som-dask: stopped after 2 of 4 epochs; continue with: ")
    assert len(lines) == 2
    assert not (folder / "model.zarr").exists()
    assert run(*command, "--resume") == 0  # where it goes on does not matter
    assert run(*command[:3], "whole.zarr", *options) == 0
    assert open_model("model.zarr").attrs["codebook_sha256"] == open_model("whole.zarr").attrs["codebook_sha256"]
