"""Recovery: on processes, and when one of them dies, the result is the same."""

import os
import signal

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from threadpoolctl import threadpool_info

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.engine.block import Block
from som_dask.passes import plane_moments
from som_dask.passes.cluster import connect
from som_dask.passes.run import Group
from som_dask.samples.table import Samples
from som_dask.training.config import Execution, MapConfig
from som_dask.training.train import train

LATTICE = Lattice(5, 6)


@pytest.fixture
def values(rng):
    return rng.normal(size=(6000, 3))


@pytest.fixture(scope="module")
def client():
    with connect(workers=2, threads_per_worker=1) as client:
        yield client


def in_blocks(values):
    return Samples(da.from_array(values, chunks=(500, -1)), None)


@pytest.mark.cluster
def test_the_active_client_does_the_work(client, values):
    def where(block):
        return np.full_like(block, os.getpid())

    samples = Samples(in_blocks(values).array.map_blocks(where, dtype=float, meta=values[:0]), None)
    # Kept, because numbers that are others each time they are read are refused.
    config = MapConfig(epochs=0, initialization="random")
    model = train(samples, Lattice(1, 1), config, Execution(keep="memory"))
    assert float(model["codebook"][0, 0, 0]) != os.getpid()


@pytest.mark.cluster
@pytest.mark.parametrize("keep", ["memory", "stream"])
def test_a_worker_that_dies_between_epochs(keep, client, values):
    """Its samples and sums are made again on another; the bits are those of an undisturbed run."""
    config, execution = MapConfig(epochs=4), Execution(keep=keep)
    client.wait_for_workers(2)
    killed = []

    def kill_one(epoch):
        if epoch.index == 1:
            killed.append(min(client.run(os.getpid).values()))
            os.kill(killed[0], signal.SIGKILL)

    disturbed = train(in_blocks(values), LATTICE, config, execution, on_epoch=kill_one)
    undisturbed = train(in_blocks(values), LATTICE, config, execution)
    assert killed[0] not in client.run(os.getpid).values()
    assert disturbed.attrs["codebook_sha256"] == undisturbed.attrs["codebook_sha256"]
    xr.testing.assert_identical(disturbed.drop_attrs(), undisturbed.drop_attrs())


@pytest.mark.cluster
def test_labels_written_by_processes_are_the_same(client, values, tmp_path):
    model = train(values, LATTICE, MapConfig(epochs=1))
    infer_to_store(values, model, tmp_path / "labels.zarr")
    found = xr.open_zarr(tmp_path / "labels.zarr", chunks=None, consolidated=False)
    np.testing.assert_array_equal(found["distance"], infer(values, model)["distance"].compute())


@pytest.mark.cluster
def test_workers_have_one_blas_thread(client, values, monkeypatch):
    def threads():
        np.ones((2, 2)) @ np.ones((2, 2))
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    for found in client.run(threads).values():
        assert found
        assert set(found) == {1}
    # Workers of another's cluster may have more: the one task that multiplies matrices holds them to one.
    seen = []
    monkeypatch.setattr(plane_moments, "measure_block_plane", lambda *_: seen.extend(threads()))
    plane_moments._measure_group(Group([Block.of(values)], 0, [None], "the array"), (None, None))
    assert set(seen) == {1}
