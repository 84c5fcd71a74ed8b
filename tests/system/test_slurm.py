"""The job script for Slurm, on a Slurm that runs here: time that runs out, and scancel."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr

import som_dask
from som_dask.io.models import open_model
from tests.system.test_bad_input import run

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "slurm" / "train.sbatch"
COMMAND = ["cells.zarr", "--output", "model.zarr", "--rows", "10", "--cols", "10", "--epochs", "60"]
SECONDS = 300  # until a test gives up, on a machine however busy


def find_no_slurm():
    """Why no job can be run here, or None."""
    if not all(map(shutil.which, ("sbatch", "sinfo", "scancel", "scontrol"))):
        return "Slurm is not installed"
    if sys.platform == "win32" or not SCRIPT.exists():
        return "the job script is not here"
    told = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, check=False, timeout=60)
    return (
        None
        if told.returncode == 0 and told.stdout.strip()
        else f"no Slurm answers: {told.stderr.partition(chr(10))[0]}"
    )


NO_SLURM = find_no_slurm()
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(NO_SLURM is not None, reason=NO_SLURM or "Slurm runs here"),
]


def call(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def until(condition, job):
    """Wait for what a job does, as long as it has not failed."""
    give_up = time.monotonic() + SECONDS
    while not condition():
        assert state_of(job)["JobState"] != "FAILED", said()
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.1)


@pytest.fixture
def job(tmp_path, monkeypatch, rng):
    """The number of a job whose run has begun."""
    monkeypatch.chdir(tmp_path)
    zarr.create_array("cells.zarr", data=rng.normal(size=(4000, 4)), chunks=(1000, 4))
    # The workers and the job script find the package that is tested, and its Python.
    monkeypatch.setenv("PYTHONPATH", str(Path(som_dask.__file__).parents[1]))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    options = ["--ntasks=2", "--cpus-per-task=1", "--time=30", "--output=job.txt"]
    number = call("sbatch", "--parsable", *options, str(SCRIPT), *COMMAND, "--log-file", "run.jsonl")
    yield number
    call("scancel", "--quiet", number)


def state_of(job):
    """The state of a job: all that Slurm says of it, by name."""
    words = call("scontrol", "--oneliner", "show", "job", job).split()
    return dict(word.split("=", 1) for word in words if "=" in word)


def epochs_done():
    if not os.path.exists("run.jsonl"):
        return []
    with open("run.jsonl") as file:
        events = [json.loads(line) for line in file if line.endswith("\n")]
    return [event["epoch"] for event in events if event["event"] == "epoch_finished"]


def said():
    return Path("job.txt").read_text()


@pytest.mark.parametrize("checkpoints", [0, 1], ids=["before the first checkpoint", "after one"])
def test_time_that_runs_out_puts_the_job_back_where_it_goes_on(checkpoints, job):
    until(lambda: len(epochs_done()) >= checkpoints and os.path.exists(f"scheduler-{job}.json"), job)
    call("scancel", "--signal=USR1", "--batch", job)  # what Slurm does two minutes before the end
    until(lambda: state_of(job)["Restarts"] == "1", job)
    until(lambda: state_of(job)["JobState"] == "PENDING", job)
    assert not os.path.exists("model.zarr")
    before = len(epochs_done())
    call("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm itself waits two minutes
    until(lambda: state_of(job)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), job)
    assert state_of(job)["JobState"] == "COMPLETED", said()
    assert "never retrieved" not in said()  # what asyncio says before a traceback; workers may have others
    if checkpoints:
        assert epochs_done()[before] > 0  # it went on
    assert epochs_done()[-1] == 59
    whole = np.array(open_model("model.zarr")["codebook"])
    assert run("train", COMMAND[0], "--output", "whole.zarr", *COMMAND[3:]) == 0
    np.testing.assert_array_equal(whole, open_model("whole.zarr")["codebook"])


def test_scancel_ends_the_job_in_order(job):
    until(epochs_done, job)
    call("scancel", job)
    until(lambda: state_of(job)["JobState"] not in ("RUNNING", "COMPLETING"), job)
    state = state_of(job)
    assert (state["JobState"], state["Restarts"]) == ("CANCELLED", "0")
    until(lambda: not os.path.exists(f"scheduler-{job}.json"), job)
    assert state_of(job)["ExitCode"] == "75:0"
    assert "som-dask: stopped after " in said()
    assert "never retrieved" not in said()  # what asyncio says before a traceback; workers may have others
    assert list(Path(f"{'model.zarr'}.checkpoints").iterdir())
    assert not os.path.exists("model.zarr")
