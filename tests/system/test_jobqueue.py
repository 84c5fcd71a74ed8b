"""The example for dask-jobqueue: the job script that it makes, and a training on a Slurm that runs here.

dask-jobqueue is not in the extra `test`: ``pip install dask-jobqueue cryptography``.
"""

import importlib.util
import os
from pathlib import Path

import dask
import numpy as np
import pytest
import zarr

import som_dask as som
from som_dask.io.models import open_model
from tests.system.test_slurm import NO_SLURM

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "slurm" / "jobqueue.py"

pytestmark = pytest.mark.skipif(not EXAMPLE.exists(), reason="the example is not here")


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The example as a module, in a folder of its own."""
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    pytest.importorskip("cryptography", reason="cryptography is not installed")
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("example", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    name = "distributed.scheduler.allowed-failures"
    with dask.config.set({name: 3}):  # what the example sets ends with the test
        spec.loader.exec_module(module)
        assert dask.config.get(name) == 50
        yield module


def test_workers_speak_tls_and_leave_before_their_time_is_up(example, tmp_path):
    with example.start_cluster(interface="lo") as cluster:
        script = cluster.job_script()
        assert cluster.scheduler_address.startswith("tls://127.0.0.1:")
        assert "//127.0.0.1:" in cluster.dashboard_link
        kept = list(tmp_path.glob(".dask-jobqueue*"))
        assert kept
        assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
    for line in ("#SBATCH --cpus-per-task=8", "#SBATCH --mem=30G", "#SBATCH -t 01:00:00"):
        assert line in script
    for words in ("--nthreads 8", "--protocol tls://", "--tls-key", "--lifetime 50m --lifetime-stagger 5m"):
        assert words in script.splitlines()[-1]
    assert "export OMP_NUM_THREADS=1" in script


@pytest.mark.cluster
@pytest.mark.skipif(NO_SLURM is not None, reason=NO_SLURM or "Slurm runs here")
def test_it_trains_on_jobs(example, tmp_path, rng):
    zarr.create_array("cells.zarr", data=rng.normal(size=(4000, 4)), chunks=(1000, 4))
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    prologue = [f"export PYTHONPATH={path}", "export OMP_NUM_THREADS=1"]
    example.train("cells.zarr", "model.zarr", interface="lo", cores=2, memory="2 GB", job_script_prologue=prologue)
    expected = som.train("cells.zarr", som.Lattice(30, 40))
    assert np.array_equal(open_model("model.zarr").codebook, expected.codebook)
    assert list(tmp_path.glob("slurm-*.out"))  # the jobs ran
