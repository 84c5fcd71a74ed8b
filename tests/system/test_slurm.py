"""The job scripts for Slurm, on a Slurm that runs here: time that runs out, scancel, encryption, and arrays."""

import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest
import zarr

import som_dask
from som_dask.io.models import open_model
from tests.system.test_bad_input import run

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "deploy" / "slurm"
COMMAND = ["cells.zarr", "--output", "model.zarr", "--rows", "10", "--cols", "10", "--epochs", "60"]
SECONDS = 300  # until a test gives up, on a machine however busy


def find_no_slurm():
    """Why no job can be run here, or None."""
    if not all(map(shutil.which, ("sbatch", "sinfo", "scancel", "scontrol"))):
        return "Slurm is not installed"
    if sys.platform == "win32" or not SCRIPTS.exists():
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
def folder(tmp_path, monkeypatch, rng):
    """The folder in which jobs are submitted, with samples."""
    monkeypatch.chdir(tmp_path)
    zarr.create_array("cells.zarr", data=rng.normal(size=(4000, 4)), chunks=(1000, 4))
    # The workers and the job script find the package that is tested, and its Python.
    monkeypatch.setenv("PYTHONPATH", str(Path(som_dask.__file__).parents[1]))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def submit(script, *command, options=("--output=job.txt",)):
    """Submit a job script; the number of the job."""
    options = ["--ntasks=2", "--cpus-per-task=1", "--time=30", *options]
    return call("sbatch", "--parsable", *options, str(SCRIPTS / f"{script}.sbatch"), *command)


@pytest.fixture
def job(folder):
    """The number of a job whose run has begun."""
    number = submit("train", *COMMAND, "--log-file", "run.jsonl")
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


def folder_of(job, *names):
    """The folder that belongs to a job, or what is in it."""
    return Path(f".som-dask-{job}", *names)


def said():
    return Path("job.txt").read_text()


@pytest.mark.parametrize("checkpoints", [0, 1], ids=["before the first checkpoint", "after one"])
def test_time_that_runs_out_puts_the_job_back_where_it_goes_on(checkpoints, job):
    until(lambda: len(epochs_done()) >= checkpoints and folder_of(job, "scheduler.json").exists(), job)
    call("scancel", "--signal=USR1", "--batch", job)  # what Slurm does two minutes before the end
    until(lambda: state_of(job)["Restarts"] == "1", job)
    until(lambda: state_of(job)["JobState"] == "PENDING", job)
    assert not os.path.exists("model.zarr")
    before = len(epochs_done())
    call("scontrol", "update", f"JobId={job}", "StartTime=now+3")  # Slurm itself waits two minutes
    until(lambda: state_of(job)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), job)
    assert state_of(job)["JobState"] == "COMPLETED", said()
    assert "never retrieved" not in said()  # what asyncio says before a traceback; workers may have others
    if checkpoints:
        assert epochs_done()[before] > 0  # it went on
    assert epochs_done()[-1] == 59
    assert "\nepoch 60 of 60: quantization error " in said()
    assert not folder_of(job).exists()
    whole = np.array(open_model("model.zarr")["codebook"])
    assert run("train", COMMAND[0], "--output", "whole.zarr", *COMMAND[3:]) == 0
    np.testing.assert_array_equal(whole, open_model("whole.zarr")["codebook"])


def test_scancel_ends_the_job_in_order(job):
    until(epochs_done, job)
    call("scancel", job)
    until(lambda: state_of(job)["JobState"] not in ("RUNNING", "COMPLETING"), job)
    state = state_of(job)
    assert (state["JobState"], state["Restarts"]) == ("CANCELLED", "0")
    until(lambda: not folder_of(job).exists(), job)
    assert state_of(job)["ExitCode"] == "75:0"
    assert "som-dask: stopped after " in said()
    assert "never retrieved" not in said()  # what asyncio says before a traceback; workers may have others
    assert list(Path(f"{'model.zarr'}.checkpoints").iterdir())
    assert not os.path.exists("model.zarr")


def listening(job):
    """The addresses at which the processes of a job listen, apart from loopback and from what Slurm itself does."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SLURM_JOB_ID") == job and process.name() not in ("srun", "slurmstepd"):
                found |= {one.laddr for one in process.net_connections("inet") if one.status == "LISTEN"}
    return {tuple(address) for address in found if not address.ip.startswith("127.")}


def test_all_that_others_reach_is_encrypted_with_a_certificate_of_the_job(job):
    until(epochs_done, job)
    files = [folder_of(job, f"{name}.pem") for name in ("cert", "key")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(folder_of(job).stat().st_mode) == 0o700
    context = ssl.create_default_context(cafile=files[0])
    context.check_hostname = False
    context.load_cert_chain(*files)
    addresses = listening(job)
    assert len(addresses) >= 3  # the scheduler, a worker, and what watches it
    for address in addresses:
        with socket.create_connection(address) as plain, context.wrap_socket(plain) as encrypted:
            assert encrypted.version() == "TLSv1.3"
    # Its dashboard is reached on loopback only, and so it is told.
    link = re.search(r"^dashboard: (http://127.0.0.1:\d+)/status on .*: ssh -N -L ", said(), re.MULTILINE)
    with urllib.request.urlopen(f"{link[1]}/health") as answer:
        assert answer.read() == b"ok"


def test_one_job_of_an_array_is_put_back_alone(folder, monkeypatch):
    monkeypatch.setenv("SIZES", "10x10")
    monkeypatch.setenv("SEEDS", "0 1")
    options = ["--array=0-1", "--output=job.txt"]
    array = submit("sweep", "cells.zarr", "maps", "--epochs", "400", options=options)
    both = [f"{array}_{number}" for number in (0, 1)]
    try:
        until(lambda: os.path.exists("job.txt") and said().count("epoch 1 of 400") == 2, both[0])
        # The one whose own number is that of the whole array.
        alone, other = sorted(both, key=lambda job: state_of(job)["JobId"] != array)
        assert state_of(alone)["JobId"] == array
        call("scancel", "--signal=USR1", "--batch", alone)
        until(lambda: state_of(alone)["Restarts"] == "1", alone)
        assert state_of(other)["Restarts"] == "0"
        assert state_of(other)["JobState"] == "RUNNING"
    finally:
        call("scancel", "--quiet", array)


def finished(*jobs):
    """Wait until jobs have ended, as they should."""
    for job in jobs:
        until(lambda job=job: state_of(job)["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), job)
        assert state_of(job)["JobState"] == "COMPLETED", said()


def test_an_array_of_jobs_trains_maps_of_sizes_and_seeds_and_others_use_them(folder, monkeypatch):
    monkeypatch.setenv("SIZES", "3x4 4x5")
    monkeypatch.setenv("SEEDS", "0 7")
    array = submit("sweep", "cells.zarr", "maps", "--epochs", "2", options=["--array=1-2", "--output=job.txt"])
    finished(*(f"{array}_{number}" for number in (1, 2)))
    models = {name: open_model(f"maps/{name}.zarr") for name in ("3x4-seed7", "4x5-seed0")}
    assert {name: (m["codebook"].shape, m.attrs["seed"]) for name, m in models.items()} == {
        "3x4-seed7": ((3, 4, 4), 7),
        "4x5-seed0": ((4, 5, 4), 0),
    }
    model = "maps/4x5-seed0.zarr"
    small = ["--rows", "3", "--cols", "4", "--epochs", "2", "--registry", "models"]
    assert run("train", "cells.zarr", *small, "--name", "cells") == 0
    finished(
        submit("infer", model, "cells.zarr", "--output", "labels.zarr"),
        submit("evaluate", model, "cells.zarr", "--output", "evaluation.zarr"),
        submit("retrain", "cells@dev", "cells.zarr", "--registry", "models"),
    )
    assert zarr.open_group("labels.zarr")["bmu_row"].shape == (4000,)
    assert zarr.open_group("evaluation.zarr")["hits"].shape == (4, 5)
    assert "registered          dev/cells/" in said()
    assert not list(folder.glob(".som-dask-*"))


def labeled_by_one_run(model):
    assert run("infer", model, "cells.zarr", "--output", "whole.zarr") == 0
    return zarr.open_group("whole.zarr")


def test_an_array_of_jobs_labels_in_parts_and_one_that_starts_again_is_no_harm(folder):
    assert run("train", "cells.zarr", "--output", "model.zarr", "--rows", "3", "--cols", "4", "--epochs", "2") == 0
    command = ("infer-array", "model.zarr", "cells.zarr", "--output", "labels.zarr")
    array = submit(*command, options=["--array=1-2", "--output=job.txt"])
    parts = [f"{array}_{k}" for k in (1, 2)]
    try:
        # One is put back into the queue at once, where it has to know its part and the number of parts.
        until(lambda: folder_of(state_of(parts[1])["JobId"], "scheduler.json").exists(), parts[1])
        call("scontrol", "requeue", parts[1])
        until(lambda: state_of(parts[1])["JobState"] == "PENDING", parts[1])
        call("scontrol", "update", f"JobId={parts[1]}", "StartTime=now")
        finished(*parts)
        assert state_of(parts[1])["Restarts"] == "1"
    finally:
        call("scancel", "--quiet", array)
    assert "labels              labels.zarr" in said()
    assert "still missing       part " in said()
    found, wanted = zarr.open_group("labels.zarr"), labeled_by_one_run("model.zarr")
    for name in ("bmu_row", "bmu_col", "distance"):
        np.testing.assert_array_equal(found[name], wanted[name])
    assert not list(folder.glob(".labels*"))
