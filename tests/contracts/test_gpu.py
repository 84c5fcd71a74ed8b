"""What is the GPU's own: tiles by the free memory, blocks that are there already, and kernels that compile."""

import dataclasses
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.engine import gpu
from som_dask.engine.device import to_device
from som_dask.engine.engines import engine_for
from som_dask.errors import ParameterError
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.passes import residency
from som_dask.passes.residency import keep_on_device
from som_dask.samples.open import open_samples
from som_dask.training.config import Execution, MapConfig
from som_dask.training.many import MapRun, train_many
from som_dask.training.train import train
from tests.contracts.test_engines import LATTICE, agree
from tests.reference.twins import add_up_block, find_nodes, same_to_the_bit, shared_codebook


def test_tiles_and_carries_change_nothing(gpu_case, monkeypatch, rng):
    samples, codebook = rng.normal(size=(1000, 3)), rng.normal(size=(20, 3))
    monkeypatch.setattr(gpu, "MOST_TILE_ROWS", 128)
    agree(samples, codebook, LATTICE, gpu_case)
    monkeypatch.setattr(gpu, "ROWS_AT_ONCE", 300)
    agree(samples, codebook, LATTICE, gpu_case)


def test_little_memory_makes_small_tiles(gpu_case, monkeypatch, rng):
    shared = shared_codebook(rng.normal(size=(9, 3)), rng.normal(size=(20, 3)), LATTICE, "gpu")
    rows = []
    for memory in (0, 2**22, 2**24, 2**40):
        monkeypatch.setattr(gpu, "device_memory", lambda memory=memory: memory)
        rows.append(shared.state._tile_rows())
    assert rows == sorted(rows)
    assert rows[0] == gpu.LEAST_TILE_ROWS < rows[1] < rows[2] < rows[3] == gpu.MOST_TILE_ROWS
    assert not any(row % gpu.ROWS for row in rows)


def test_samples_that_are_there_already(gpu_case, rng):
    samples, codebook = rng.normal(size=(300, 3)), rng.normal(size=(20, 3))
    shared = shared_codebook(samples, codebook, LATTICE)
    there = gpu_case.host.to_device(samples) if gpu_case.host else to_device(samples, "gpu")
    on_device = dataclasses.replace(shared, engine=gpu_case.engine)
    same_to_the_bit(add_up_block(there, on_device), add_up_block(samples, shared))
    np.testing.assert_array_equal(find_nodes(there, on_device)[0], find_nodes(samples, shared)[0])


@pytest.mark.parametrize("keep", ["auto", "stream"])
def test_training_ends_in_the_same_codebook(gpu_case, keep, rng):
    samples, lattice = rng.normal(size=(5000, 3)), Lattice(4, 4)
    expected, model = (
        train(samples, lattice, MapConfig(epochs=2), Execution(device=name, keep=keep)) for name in ("cpu", "gpu")
    )
    assert model.equals(expected)
    if gpu_case.host:  # two epochs, and the pass that measures their outcome
        uploaded = sum(shape[0] for shape in gpu_case.host.uploads if shape[0] > 500)
        assert uploaded == 5000 * (3 if keep == "stream" else 1)


@pytest.mark.parametrize(("first", "then"), [("gpu", "cpu"), ("cpu", "gpu")])
def test_a_run_begun_on_one_device_ends_on_the_other(gpu_case, first, then, rng, tmp_path):
    samples, lattice, config = rng.normal(size=(3000, 3)), Lattice(4, 4), MapConfig(epochs=4)

    def stop(epoch):
        if epoch.index == 1:
            raise KeyboardInterrupt

    folder = CheckpointFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(samples, lattice, config, Execution(device=first), checkpoints=folder, on_epoch=stop)
    assert folder.latest().epochs_done == 2
    model = train(samples, lattice, config, Execution(device=then), checkpoints=folder, resume=True)
    assert model.equals(train(samples, lattice, config))


def test_what_does_not_fit_the_device_is_uploaded_each_epoch(gpu_case, rng):
    if gpu_case.host is None:
        pytest.skip("takes a device of little memory")
    gpu_case.host.memory = 2 * 9000 * 3 * 8 - 1
    samples = open_samples(rng.normal(size=(9000, 3)))
    assert keep_on_device(samples, "auto", "gpu") is samples
    gpu_case.host.memory += 1
    held = keep_on_device(samples, "auto", "gpu")
    assert held.device == "gpu"
    assert keep_on_device(held, "auto", "gpu") is held


def test_workers_that_share_a_gpu_count_it_once(monkeypatch):
    found = {"tcp://a:1": ("0", 10), "tcp://a:2": ("0", 9), "tcp://a:3": ("1", 20), "tcp://b:1": ("0", 30)}
    monkeypatch.setattr(residency, "active_client", lambda: SimpleNamespace(run=lambda function: found))
    assert residency._find_device_memory() == 9 + 20 + 30


def test_unknown_devices_are_refused():
    with pytest.raises(ParameterError, match="device must be 'cpu' or 'gpu'"):
        engine_for("cuda")


@pytest.mark.parametrize(("n_features", "padded"), [(1, 4), (3, 4), (8, 8), (20, 20), (50, 50), (64, 64), (70, 70)])
def test_few_features_are_added_to_make_whole_chunks(n_features, padded):
    chunk = gpu.chunk_for(n_features)
    assert -(-n_features // chunk) * chunk == padded


def test_the_kernels_compile(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("there is no nvcc to compile the kernels for a GPU")
    found = subprocess.run(
        [
            *(nvcc, "-cubin", "-arch=sm_90", *gpu.compiler_options(10), "-Xptxas=-v", "-Werror=all-warnings"),
            *("-o", str(tmp_path / "kernels.cubin"), str(gpu.SOURCE)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    spills = [line for line in found.stderr.splitlines() if "bytes spill stores" in line]
    assert len(spills) == 10
    assert all("0 bytes spill stores" in line for line in spills)


def test_many_maps_have_the_bits_that_they_have_on_cpus(gpu_case, rng):
    values = rng.normal(size=(300, 3))
    runs = [MapRun(lattice=LATTICE, config=MapConfig(epochs=2, seed=seed)) for seed in (1, 2)]
    found, wanted = (train_many(values, runs, Execution(device=device)).models for device in ("gpu", "cpu"))
    for mine, other in zip(found, wanted, strict=True):
        assert mine.attrs["codebook_sha256"] == other.attrs["codebook_sha256"]
        assert mine.attrs["device"] == "gpu"
    with pytest.raises(ParameterError, match="weights"):
        train_many(values, runs, Execution(device="gpu"), holdout=0.1)
