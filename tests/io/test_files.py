"""Files: whole or not there, made once by one of several writers, local or at a URL."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from som_dask.errors import StorageError
from som_dask.io import files as storage
from som_dask.io.files import (
    beside,
    beside_for_me,
    create,
    exists,
    make_durable,
    read_bytes,
    remove,
    remove_leftovers,
    remove_leftovers_in,
    write_bytes,
)


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


@pytest.mark.parametrize("base", ["{}", "memory://left"])
def test_only_what_ended_processes_of_this_machine_left_is_removed(base, tmp_path):
    path = f"{base.format(tmp_path)}/m.zarr"
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    mine, left = beside_for_me(path), beside_for_me(path).replace(f"-{os.getpid()}-", f"-{ended.stdout.strip()}-")
    names = [mine, left, left.replace(socket.gethostname(), "elsewhere"), beside(path, "partial"), f"{path}.partial"]
    for name in names:
        write_bytes(f"{name}/file", b"")
    assert beside_for_me(path) != mine
    remove_leftovers(path)
    assert [exists(name) for name in names] == [True, False, True, True, True]


def test_leftovers_beside_all_paths_of_a_folder(tmp_path, monkeypatch):
    left = beside_for_me(tmp_path / "a.npz"), beside_for_me(tmp_path / "b.npz")
    for name in (*left, tmp_path / "c.partial"):
        write_bytes(name, b"")
    remove_leftovers_in(tmp_path)
    assert exists(left[0])  # its process goes on
    monkeypatch.setattr(storage.psutil, "pid_exists", lambda _: False)
    remove_leftovers_in(tmp_path)
    assert os.listdir(tmp_path) == ["c.partial"]


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
