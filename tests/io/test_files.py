"""Storage: whole or not at all, one writer at a time."""

import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

from som_dask.errors import StorageError
from som_dask.io import files as storage
from som_dask.io.files import (
    beside,
    check_free,
    create,
    exists,
    lock,
    names_in,
    open_dataset,
    publish,
    read_bytes,
    remove,
    write_bytes,
)


def folder(path, text):
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_hidden_names_lie_beside():
    assert beside("a/b.zarr", "tmp") == "a/.b.zarr.tmp"
    assert beside("b.zarr/", "tmp") == ".b.zarr.tmp"
    assert beside("s3://bucket/b.zarr", "tmp") == "s3://bucket/.b.zarr.tmp"


def test_bytes_are_whole_or_not_there(tmp_path, monkeypatch):
    write_bytes(tmp_path / "new" / "f", b"one")
    assert (tmp_path / "new" / "f").read_bytes() == b"one"

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "replace", fail)
    with pytest.raises(StorageError, match="No space left"):
        write_bytes(tmp_path / "new" / "f", b"two")
    assert [(p.name, p.read_bytes()) for p in (tmp_path / "new").iterdir()] == [("f", b"one")]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_publishing_replaces_only_when_allowed(can_exchange, tmp_path, monkeypatch):
    if not can_exchange:
        monkeypatch.setattr(storage, "_exchange", lambda *_: False)
    target = tmp_path / "out"
    publish(folder(tmp_path / "one", "one"), target, overwrite=False)
    assert (target / "file").read_text() == "one"
    with pytest.raises(StorageError, match="appeared"):
        publish(folder(tmp_path / "two", "two"), target, overwrite=False)
    assert (target / "file").read_text() == "one"
    publish(tmp_path / "two", target, overwrite=True)
    assert (target / "file").read_text() == "two"
    assert os.listdir(tmp_path) == ["out"]


def test_a_failed_rename_leaves_both(tmp_path, monkeypatch):
    old, new = folder(tmp_path / "old", "old"), folder(tmp_path / "new", "new")

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(storage, "_exchange", lambda *_: False)
    monkeypatch.setattr(storage.os, "rename", fail)
    with pytest.raises(StorageError, match="is kept at"):
        publish(new, old, overwrite=True)
    assert (old / "file").read_text() == "old"
    assert (new / "file").read_text() == "new"


def test_urls():
    write_bytes("memory://storage/new/file", b"one")
    publish("memory://storage/new", "memory://storage/out", overwrite=False)
    assert names_in("memory://storage/out") == ["file"]
    assert not exists("memory://storage/new")
    with pytest.raises(StorageError, match="exists"):
        check_free("memory://storage/out", overwrite=False)
    remove("memory://storage/out")
    assert names_in("memory://storage/out") == []


def test_outputs_are_checked_before_any_work(tmp_path, monkeypatch):
    check_free(tmp_path / "out", overwrite=False)
    assert os.listdir(tmp_path) == []
    folder(tmp_path / "out", "")
    with pytest.raises(StorageError, match="exists already"):
        check_free(tmp_path / "out", overwrite=False)
    with pytest.raises(StorageError, match="not a Zarr store"):
        check_free(tmp_path / "out", overwrite=True)
    (tmp_path / "out" / "zarr.json").touch()
    check_free(tmp_path / "out", overwrite=True)
    with pytest.raises(StorageError, match="would replace the input"):
        check_free(tmp_path / "out", overwrite=True, inputs=[None, tmp_path / "out" / "group"])
    with pytest.raises(StorageError, match="does not exist"):
        check_free(tmp_path / "no" / "out", overwrite=False)

    def fail(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(storage.Path, "touch", fail)
    with pytest.raises(StorageError, match="Read-only file system"):
        check_free(tmp_path / "new", overwrite=False)


@pytest.mark.parametrize("url", [False, True])
def test_a_file_is_created_once(url, tmp_path):
    place = "memory://storage-create/a/file" if url else str(tmp_path / "a" / "file")
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda i: create(place, b"%d" % i), range(8)))
    assert sorted(created) == [False] * 7 + [True]
    assert read_bytes(place) == b"%d" % created.index(True)
    remove(place)
    with pytest.raises(StorageError, match="can't read"):
        read_bytes(place)


def test_a_file_that_cannot_be_created(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="can't write"):
        create(tmp_path / "file" / "below", b"")


def test_filesystems_without_conditional_writes(monkeypatch):
    filesystem = storage.fsspec.filesystem("memory")
    plain = type(filesystem).pipe_file

    def pipe_file(self, path, value):
        plain(self, path, value)

    monkeypatch.setattr(type(filesystem), "pipe_file", pipe_file)
    assert create("memory://storage-plain/file", b"one")
    assert not create("memory://storage-plain/file", b"two")
    assert read_bytes("memory://storage-plain/file") == b"one"


HOLD = """
import sys
import warnings
from som_dask.io.files import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_writer_at_a_time(tmp_path):
    place = str(tmp_path / "out")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match="another run"), lock(place):
            pass
        other.kill()  # the system frees it, whatever becomes of the holder
        other.wait()
        with lock(place):
            pass
    with lock(place):
        pass


@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_dataset_is_opened_without_a_warning(consolidated, zarr_format, tmp_path):
    place = tmp_path / "some.zarr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        xr.Dataset({"a": ("x", np.arange(3.0))}).to_zarr(place, consolidated=consolidated, zarr_format=zarr_format)
    np.testing.assert_array_equal(open_dataset(place)["a"], [0, 1, 2])
