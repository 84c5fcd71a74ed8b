"""Files: whole or not there, made once by one of several writers, local or at a URL."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from som_dask.errors import StorageError
from som_dask.io import files as storage
from som_dask.io.files import beside, create, exists, make_durable, read_bytes, remove, write_bytes


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


def test_a_folder_that_threads_still_write_to_is_removed(tmp_path, monkeypatch):
    plain, written = storage.shutil.rmtree, []

    def rmtree(path):
        if not written:
            written.append(path)
            raise OSError(39, "Directory not empty", path)
        plain(path)

    (tmp_path / "store").mkdir()
    monkeypatch.setattr(storage.shutil, "rmtree", rmtree)
    remove(tmp_path / "store")
    assert not exists(tmp_path / "store")


@pytest.mark.parametrize("action", [remove, lambda path: write_bytes(path, b""), lambda path: make_durable([path])])
def test_a_fault_of_the_disk_is_told(action, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(storage.os, "fsync", fail)
    monkeypatch.setattr(storage.os, "unlink", fail)
    with pytest.raises(StorageError, match=r"file.*Input/output error"):
        action(tmp_path / "file")
