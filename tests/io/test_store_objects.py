"""Zarr stores of any kind, given as objects: what they are called, models in them, and samples out of them."""

import functools
import shutil

import distributed
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import FsspecStore, LocalStore, MemoryStore, ObjectStore, StorePath, ZipStore

import som_dask as som
from som_dask.errors import StorageError
from som_dask.io.labeled import save_labeled
from som_dask.io.store_objects import describe_place

LATTICE = som.Lattice(3, 4)
CONFIG = som.MapConfig(epochs=1)


@functools.cache
def values():
    rows = np.random.default_rng(0).random((300, 3))
    return xr.DataArray(rows, dims=("cell", "marker"), coords={"marker": list("abc")}, name="cells").to_dataset()


@functools.cache
def model():
    return som.train(values(), LATTICE, CONFIG)


def icechunk_store(tmp_path, group=None):
    icechunk = pytest.importorskip("icechunk")
    store = icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main").store
    return StorePath(store, group) if group else store


def object_store(tmp_path):
    local = pytest.importorskip("obstore.store").LocalStore
    return ObjectStore(local(tmp_path / "objects", mkdir=True))


STORES = {
    "memory": lambda _: MemoryStore(),
    "path in memory": lambda _: StorePath(MemoryStore(), "a/b"),
    "group": lambda _: zarr.create_group(MemoryStore()).create_group("a"),
    "local": lambda tmp_path: LocalStore(tmp_path / "local.zarr"),
    "fsspec": lambda tmp_path: FsspecStore.from_url(f"memory://{tmp_path.name}"),
    "obstore": object_store,
    "icechunk": icechunk_store,
    "group of icechunk": lambda tmp_path: icechunk_store(tmp_path, "models/air"),
}


@pytest.fixture(params=STORES)
def place(request, tmp_path):
    return STORES[request.param](tmp_path)


def test_a_model_goes_into_any_store(place):
    som.save_model(model(), place)
    xr.testing.assert_identical(som.open_model(place), model())
    with pytest.raises(StorageError, match=r"holds something already|exists already"):
        som.save_model(model(), place)
    other = som.train(values(), som.Lattice(2, 2), CONFIG)
    som.save_model(other, place, overwrite=True)
    xr.testing.assert_identical(som.open_model(place), other)
    assert som.KohonenMap.load(place).rows == 2


def test_samples_come_out_of_any_store(place):
    save_labeled(values(), place)
    trained = som.train(place, LATTICE, CONFIG)
    assert trained.attrs["codebook_sha256"] == model().attrs["codebook_sha256"]
    xr.testing.assert_equal(som.infer(place, trained).load(), som.infer(values(), model()).load())
    assert int(som.evaluate(place, trained)["hits"].sum()) == 300


@pytest.mark.parametrize("kind", [zarr.Group, zarr.Array])
def test_groups_and_arrays_are_samples(kind):
    group = zarr.create_group(MemoryStore())
    array = group.create_array("cells", data=values()["cells"].values, dimension_names=("cell", "marker"))
    source = array if kind is zarr.Array else group
    samples = som.open_samples(source)
    assert samples.sample_dims == ("cell",)
    assert samples.description == ("MemoryStore/cells" if kind is zarr.Array else "MemoryStore:cells")
    np.testing.assert_array_equal(samples.array.compute(), values()["cells"].values)
    del group.store_path.store._store_dict["cells/c/0/0"]
    with pytest.raises(StorageError, match=r"MemoryStore.cells lacks 1 of its chunks"):
        som.open_samples(source)
    with pytest.raises(StorageError, match="lacks 1 of its chunks"):
        som.infer(source, model())


def test_a_commit_publishes():
    icechunk = pytest.importorskip("icechunk")
    repository = icechunk.Repository.create(icechunk.in_memory_storage())
    session = repository.writable_session("main")
    save_labeled(values(), StorePath(session.store, "cells"))
    som.save_model(model(), StorePath(session.store, "model"))
    with pytest.raises(StorageError, match=r"icechunk snapshot .*/model"):
        som.open_model(StorePath(repository.readonly_session("main").store, "model"))
    snapshot = session.commit("a map")
    store = repository.readonly_session("main").store
    xr.testing.assert_identical(som.open_model(StorePath(store, "model")), model())
    assert som.open_samples(StorePath(store, "cells")).description == f"icechunk snapshot {snapshot}/cells:cells"
    with pytest.raises(StorageError, match="read-only; open it for writing"):
        som.save_model(model(), StorePath(store, "other"))


def test_a_zip_file_is_read_and_not_written(tmp_path):
    save_labeled(values(), tmp_path / "cells.zarr")
    shutil.make_archive(str(tmp_path / "cells"), "zip", tmp_path / "cells.zarr")
    with ZipStore(tmp_path / "cells.zip", mode="r") as store:
        assert som.train(store, LATTICE, CONFIG).attrs["input"] == f"{tmp_path}/cells.zip:cells"
    with pytest.raises(StorageError, match=r"model.zip can't be read while it is written"):
        som.save_model(model(), ZipStore(tmp_path / "model.zip", mode="w"))


def test_what_a_store_lacks():
    for open_store in (som.open_samples, som.open_model):
        with pytest.raises(StorageError, match="can't open MemoryStore/a as a Zarr store"):
            open_store(StorePath(MemoryStore(), "a"))
    with pytest.raises(StorageError, match="MemoryStore is not a som_dask model"):
        som.open_model(zarr.create_group(MemoryStore()))
    array = zarr.create_array(MemoryStore(), shape=(3,), dtype="f8")
    with pytest.raises(StorageError, match="MemoryStore is an array; give a store or a group"):
        som.save_model(model(), array)


def test_something_that_is_no_dataset_is_not_overwritten():
    store = MemoryStore()
    zarr.create_group(store).create_array("others", data=np.arange(3))
    with pytest.raises(StorageError, match="MemoryStore holds something already"):
        som.save_model(model(), store)
    som.save_model(model(), StorePath(store, "model"))
    np.testing.assert_array_equal(zarr.open_group(store)["others"], [0, 1, 2])


def test_no_secret_is_named():
    obstore = pytest.importorskip("obstore.store")
    keys = {"access_key_id": "AKIAIOSFODNN7", "secret_access_key": "wJalrXUtnFEMI"}
    named = describe_place(ObjectStore(obstore.S3Store("ocean", prefix="sst.zarr", region="us-east-1", **keys)))
    assert "ocean" in named
    assert "sst.zarr" in named
    web = describe_place(FsspecStore.from_url("https://me:hunter2@example.org/a.zarr?token=s3cr3t"))
    for secret in (*keys.values(), "hunter2", "s3cr3t"):
        assert secret not in named + web
    assert describe_place(StorePath(MemoryStore(), "a")) == "MemoryStore/a"


def test_a_store_that_cannot_be_sent_to_workers(monkeypatch):
    icechunk = pytest.importorskip("icechunk")
    session = icechunk.Repository.create(icechunk.in_memory_storage()).writable_session("main")
    save_labeled(values(), session.store)
    monkeypatch.setattr(distributed, "get_client", object)
    with pytest.raises(
        StorageError, match=r"snapshot .* can't be sent to the Dask workers; give a read-only session"
    ):
        som.open_samples(session.store)
    session.commit("cells")
    som.open_samples(session.store)
