"""Labels that are written to a store object, which the caller publishes."""

import contextlib

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import LocalStore, MemoryStore, StorePath

import som_dask as som
from som_dask.analysis import label_transaction
from som_dask.errors import DataError, StorageError
from som_dask.io.labeled import save_labeled
from som_dask.passes.cluster import connect

LATTICE = som.Lattice(3, 4)


@pytest.fixture(scope="module")
def data():
    """Samples in two dimensions, in blocks, with gaps and coordinates of all kinds."""
    values = np.random.default_rng(0).random((7, 6, 3))
    values[2, 3] = np.nan
    coords = {
        "time": np.arange(7) * 2,
        "area": (("time", "lat"), np.ones((7, 6))),
        "name": "air",
        "lat": list("uvwxyz"),
    }
    array = xr.DataArray(values, dims=("time", "lat", "band"), coords=coords, name="cells")
    return array.chunk(time=2, lat=3)


@pytest.fixture(scope="module")
def model(data):
    samples = som.open_samples(data, feature_dims="band", block_size=150)
    return som.train(samples, LATTICE, som.MapConfig(epochs=1, missing="mask"))


@pytest.fixture
def samples(data):
    return som.open_samples(data, feature_dims="band", block_size=150)


def read(place):
    node = zarr.open(place, mode="r")
    return xr.open_zarr(node.store, group=node.path, chunks=None, consolidated=False).load()


@pytest.mark.parametrize("soft", [None, {"k": 2}])
@pytest.mark.parametrize("path", ["", "labels/air"])
def test_labels_are_those_of_infer(soft, path, samples, model):
    place, told = StorePath(MemoryStore(), path), []
    summary = som.infer_to_store(samples, model, place, soft=soft, on_progress=lambda *done: told.append(done))
    wanted = som.infer(samples, model) if soft is None else som.infer_soft(samples, model, **soft)
    found = read(place)
    xr.testing.assert_equal(found, wanted.load())
    nearest = wanted["distance"] if soft is None else wanted["distance"][..., 0]
    assert summary.quantization_error == pytest.approx(float(nearest.mean()))
    assert (summary.samples, summary.left_out, summary.blocks, summary.blocks_before) == (42, 1, 8, 0)
    assert [told[0], told[-1]] == [(0, 8), (8, 8)]
    assert told == sorted(set(told))
    assert zarr.open(place, mode="r")["bmu_row" if soft is None else "node_row"].dtype == np.int32
    with pytest.raises(StorageError, match="holds something already"):
        som.infer_to_store(samples, model, place, soft=soft)


def test_a_local_store_is_the_path_that_it_is_at(samples, model, tmp_path):
    som.infer_to_store(samples, model, LocalStore(tmp_path / "labels.zarr"))
    assert [path.name for path in tmp_path.iterdir()] == ["labels.zarr"]
    with pytest.raises(StorageError, match=r"labels.zarr exists already"):
        som.infer_to_store(samples, model, LocalStore(tmp_path / "labels.zarr"))


def test_a_block_that_cannot_be_labeled_is_named(data, model):
    bad = data.copy(deep=True).load()
    bad[5, 4, 1] = np.inf
    source = som.open_samples(bad.chunk(time=2, lat=3), feature_dims="band", block_size=150)
    with pytest.raises(DataError, match=r"block 5 \(time 4 to 5, lat 3 to 5\): there are 1 infinite"):
        som.infer_to_store(source, model, MemoryStore())


def test_the_input_is_not_overwritten(data, model):
    store = MemoryStore()
    save_labeled(data.to_dataset(), StorePath(store, "a/cells"))
    for place in (store, StorePath(store, "a"), StorePath(store, "a/cells")):
        with pytest.raises(StorageError, match="would replace the input"):
            som.infer_to_store(StorePath(store, "a/cells"), model, place, overwrite=True)
    som.infer_to_store(StorePath(store, "a/cells"), model, StorePath(store, "a/cell"), overwrite=True)
    assert set(zarr.open_group(store, path="a", mode="r")) == {"cell", "cells"}


def test_workers_that_would_write_to_copies(samples, model, monkeypatch):
    monkeypatch.setattr(label_transaction, "active_client", object)
    with pytest.raises(StorageError, match=r"the Dask workers can't write to MemoryStore.*icechunk session"):
        som.infer_to_store(samples, model, MemoryStore())


def test_forks_of_a_session_with_changes(samples, model, monkeypatch):
    icechunk = pytest.importorskip("icechunk")
    session = icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main")
    zarr.create_group(session.store)
    monkeypatch.setattr(label_transaction, "active_client", object)
    with pytest.raises(StorageError, match=r"changes can't be sent to the Dask workers; commit them, and give a new"):
        som.infer_to_store(samples, model, StorePath(session.store, "labels"))


@pytest.mark.cluster
@pytest.mark.parametrize("workers", [None, 2])
def test_an_icechunk_session_holds_all_blocks(workers, data, samples, model, tmp_path):
    icechunk = pytest.importorskip("icechunk")
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "repository")))
    session = repository.writable_session("main")
    save_labeled(data.to_dataset(), StorePath(session.store, "cells"))
    other = som.train(samples, LATTICE, som.MapConfig(epochs=0, missing="mask"))
    som.infer_to_store(samples, other, StorePath(session.store, "labels"))
    session.commit("input, and labels by another map")
    session, source = repository.writable_session("main"), repository.readonly_session("main").store
    wanted = som.infer(samples, model).load()
    with connect(workers=workers, threads_per_worker=1) if workers else contextlib.nullcontext():
        place = StorePath(session.store, "labels")
        opened = som.open_samples(StorePath(source, "cells"), feature_dims="band", block_size=150)
        som.infer_to_store(opened, model, place, overwrite=True)
        assert session.has_uncommitted_changes
    xr.testing.assert_equal(read(place), wanted)
    session.commit("labels")
    published = StorePath(repository.readonly_session("main").store, "labels")
    xr.testing.assert_equal(read(published), wanted)
