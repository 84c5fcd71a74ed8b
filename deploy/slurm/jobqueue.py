"""Train on workers that dask-jobqueue asks Slurm for: ``python jobqueue.py cells.zarr model.zarr``, or in a notebook.

The scheduler and the training run here, so on a login node or within a job; the workers are jobs of their own, and
come and go. They speak TLS, with certificates made for this cluster: Dask without runs code for whoever reaches it.
Needs ``pip install dask-jobqueue cryptography``.
"""

import os
import sys
from typing import Any

import dask
from dask_jobqueue import SLURMCluster
from distributed import Client

import som_dask as som
from som_dask.io.checkpoints import CheckpointFolder

# Workers end with the time of their jobs: that is no reason to give up the tasks they were at.
dask.config.set({"distributed.scheduler.allowed-failures": 50})


def start_cluster(**options: Any) -> SLURMCluster:
    """Start a scheduler here; `scale` or `adapt` then ask for jobs. Options are those of `SLURMCluster`."""
    defaults = {
        "cores": 8,
        "processes": 1,
        "memory": "32 GB",
        "walltime": "01:00:00",
        "interface": "ib0",
        "protocol": "tls://",
        "security": True,
        "shared_temp_directory": os.getcwd(),  # on a disk that all machines see: the certificates lie there
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},  # `cluster.dashboard_link`, through an SSH tunnel
        # A worker hands its work over before its time is up, and not all do so at once.
        "worker_extra_args": ["--lifetime", "50m", "--lifetime-stagger", "5m"],
        "job_script_prologue": ["export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1"],
    }
    return SLURMCluster(**{**defaults, **options})


def train(source: str, output: str, **options: Any) -> None:
    """Train on two jobs. The same call continues a run that has been stopped."""
    with start_cluster(**options) as cluster, Client(cluster) as client:
        cluster.scale(jobs=2)
        client.wait_for_workers(1)  # as long as the queue takes
        checkpoints = CheckpointFolder(f"{output}.checkpoints")
        model = som.train(source, som.Lattice(30, 40), checkpoints=checkpoints, resume="auto")
        som.save_model(model, output)


if __name__ == "__main__":
    train(*sys.argv[1:])
