"""Runs that are asked to stop: one line that tells how to go on, and the same result when they have."""

import os
import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from distributed import LocalCluster

from som_dask.analysis.labels import infer
from som_dask.cli import signals
from som_dask.cli.progress import EpochBar
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.io.models import open_model
from tests.epoch_lines import apart_from_epochs
from tests.system.test_bad_input import run, store


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    store("cells.zarr", rng.normal(size=(6000, 3)))
    return tmp_path


STOPS_IN_INFER = """
import sys
import dask
from som_dask.analysis import label_store as inference
from som_dask.cli.main import main
dask.config.set(scheduler="sync")
plain = inference.infer_to_store
def infer_to_store(*arguments, on_progress, **options):
    def tell(done, blocks):
        if done == 1:
            print("one block", flush=True)
            sys.stdin.read()  # wait here to be killed
        on_progress(done, blocks)
    return plain(*arguments, on_progress=tell, **options)
inference.infer_to_store = infer_to_store
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
        return process.returncode, apart_from_epochs(err).splitlines()


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


KILLS_SCHEDULER = """
import sys
from som_dask.cli import train
from som_dask.cli.main import main
class Bar(train.EpochBar):
    def __call__(self, epoch):
        super().__call__(epoch)
        if epoch.index == 1:
            print("two epochs", flush=True)
            sys.stdin.readline()
train.EpochBar = Bar
main()
"""


@pytest.mark.cluster
def test_a_scheduler_that_dies_is_told_with_the_way_on(folder):
    cluster = LocalCluster(1, processes=False, threads_per_worker=1, protocol="tcp", dashboard_address=":0")
    options = ["--rows", "4", "--cols", "5", "--epochs", "4"]
    command = ["train", "cells.zarr", "--output", "model.zarr", *options]
    (folder / "script.py").write_text(KILLS_SCHEDULER)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "script.py", *command, "--scheduler", cluster.scheduler_address],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env={**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"},
    ) as process:
        assert process.stdout.readline() == "two epochs\n"
        cluster.close()
        _, err = process.communicate("\n")
    assert process.returncode == 6, err
    dashboard, line = apart_from_epochs(err).splitlines()
    assert dashboard.startswith("dashboard: ")
    assert line.startswith("som-dask: ")
    assert "2 of 4 epochs are done; continue with: som-dask train cells.zarr" in line
    assert line.endswith(" --resume")
    assert run(*command, "--resume") == 0


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


MOMENTS = 16
MAP = ["--rows", "3", "--cols", "4", "--epochs", "3"]


def run_signaled(number, moment, *command):
    """Run a command that gets a signal at the call of its so-many-th function.

    Returns
    -------
    status : int
    calls : int
        Number of functions that were called.
    awaited : bool
        Whether the signal came while the command was to be stopped by it.
    """
    calls, awaited = 0, False

    def count(_, event, __):
        nonlocal calls, awaited
        if event == "call":
            calls += 1
            if calls == moment:
                awaited = bool(signals._before) and not signals._finishing
                signal.raise_signal(number)

    before = signal.signal(number, signal.SIG_IGN)  # for when the command has let go
    sys.setprofile(count)
    try:
        return run(*command), calls, awaited
    finally:
        sys.setprofile(None)
        signal.signal(number, before)


def test_no_signal_is_lost_whenever_it_comes(folder, capsys):
    store("few.zarr", np.random.default_rng(1).normal(size=(200, 3)))
    command = ["train", "few.zarr", *MAP, "--resume-or-start", "--output"]
    assert run(*command, "first.zarr") == 0  # after this nothing is compiled any more
    status, calls, _ = run_signaled(signal.SIGTERM, None, *command, "whole.zarr")
    assert status == 0
    whole = open_model("whole.zarr").attrs["codebook_sha256"]
    here = {path.name for path in folder.iterdir()}
    choose = random.Random(7)
    for _ in range(MOMENTS):
        capsys.readouterr()
        number = choose.choice([signal.SIGTERM, signal.SIGINT])
        status, _, awaited = run_signaled(number, choose.randrange(1, calls), *command, "model.zarr")
        assert status == (75 if awaited else 0)
        err = apart_from_epochs(capsys.readouterr().err)
        assert err.count("\n") == (1 if awaited else 0), err
        assert run(*command, "model.zarr", *([] if awaited else ["--overwrite"])) == 0
        assert open_model("model.zarr").attrs["codebook_sha256"] == whole
        assert {path.name for path in folder.iterdir()} == {*here, "model.zarr"}
        shutil.rmtree("model.zarr")


SWALLOWED = """
import os, signal, threading
from som_dask.cli import info
from som_dask.cli.main import main
class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        [None for _ in range(1000)]
def open_model(*_):
    HOW
    threading.Event().wait(100)  # as for a cluster
info.open_model = open_model
main()
"""
HOW = {
    "in a destructor": "Dropped()",
    "by a library": """
    try:
        os.kill(os.getpid(), signal.SIGINT)
        [None for _ in range(1000)]
    except BaseException:
        pass
""",
}


@pytest.mark.parametrize("how", HOW)
def test_an_interrupt_that_was_swallowed_comes_again(how, folder):
    script = SWALLOWED.replace("    HOW", f"    {HOW[how].strip()}")
    done = subprocess.run(
        [sys.executable, "-c", script, "info", "x"], capture_output=True, text=True, check=False, timeout=90
    )
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == "som-dask: interrupted; nothing was left half-written\n"


def test_a_second_signal_does_not_disturb_the_end(folder, capsys, monkeypatch):
    """Slurm sends SIGTERM to all processes of a job, of which the job script sends it on."""
    command = ["train", "cells.zarr", *MAP, "--checkpoint-every", "5", "--output", "model.zarr"]
    plain = CheckpointFolder.save

    def save(self, checkpoint):
        signal.raise_signal(signal.SIGTERM)
        return plain(self, checkpoint)

    def stop(self, epoch):
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointFolder, "save", save)
        patched.setattr(EpochBar, "__call__", stop)
        assert run(*command) == 75
    (line,) = capsys.readouterr().err.splitlines()
    assert "continue with" in line
    assert run(*command, "--resume") == 0


def test_the_command_gives_signals_back(folder):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    assert run("info", "absent.zarr") == 5
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before
