"""Outputs: checked before any work, published whole or not at all, one writer at a time."""

import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier

import pytest

from som_dask.errors import StorageError
from som_dask.io import leftovers, outputs
from som_dask.io.files import beside_for_me, names_in, remove, write_bytes
from som_dask.io.outputs import check_apart, check_free, lock, publish


def folder(path, text):
    path.mkdir()
    (path / "file").write_text(text)
    return path


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

    monkeypatch.setattr(outputs.Path, "touch", fail)
    with pytest.raises(StorageError, match="Read-only file system"):
        check_free(tmp_path / "new", overwrite=False)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_publishing_replaces_only_when_allowed(can_exchange, tmp_path, monkeypatch):
    if not can_exchange:
        monkeypatch.setattr(outputs, "_exchange", lambda *_: False)
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

    monkeypatch.setattr(outputs, "_exchange", lambda *_: False)
    monkeypatch.setattr(outputs.os, "rename", fail)
    with pytest.raises(StorageError, match="is kept at"):
        publish(new, old, overwrite=True)
    assert (old / "file").read_text() == "old"
    assert (new / "file").read_text() == "new"


def test_urls():
    write_bytes("memory://storage/out/file", b"one")
    with pytest.raises(StorageError, match="exists"):
        check_free("memory://storage/out", overwrite=False)
    with pytest.raises(StorageError, match="not a Zarr store"):
        check_free("memory://storage/out", overwrite=True)
    write_bytes("memory://storage/out/zarr.json", b"{}")
    check_free("memory://storage/out", overwrite=True)
    remove("memory://storage/out")
    assert names_in("memory://storage/out") == []
    check_free("memory://storage/out", overwrite=False)


HOLD = """
import sys
from som_dask.io.outputs import lock
with lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_writer_at_a_time(tmp_path):
    path = str(tmp_path / "out")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StorageError) as caught, lock(path):
            pass
        assert str(caught.value) == f"another run is writing {path}; wait for it or choose another output"
        other.kill()  # the system frees it, whatever becomes of the holder
        other.wait()
        assert os.listdir(tmp_path) == [".out.lock"]
        with lock(path):
            pass
    with lock(path):
        pass
    assert os.listdir(tmp_path) == []


def test_the_lock_file_is_removed_whatever_happens(tmp_path):
    seen = []
    with pytest.raises(KeyboardInterrupt), lock(tmp_path / "out"):
        raise seen.append(os.listdir(tmp_path)) or KeyboardInterrupt
    assert seen == [[".out.lock"]]
    assert os.listdir(tmp_path) == []


def test_threads_of_one_process_exclude_each_other(tmp_path):
    def attempt():
        with lock(tmp_path / "out"):
            return "held"

    with ThreadPoolExecutor(1) as pool:
        with lock(tmp_path / "out"), pytest.raises(StorageError, match="another run is writing"):
            pool.submit(attempt).result()
        assert pool.submit(attempt).result() == "held"


@pytest.mark.parametrize("another_comes", [False, True])
def test_a_lock_file_removed_between_opening_and_locking_it(another_comes, tmp_path, monkeypatch):
    """The earlier holder lets go just then: the file that was opened has no name any more."""
    plain, others, calls = fcntl.flock, ExitStack(), []

    def flock(file, operation):
        calls.append(operation)
        if len(calls) == 1:
            os.unlink(tmp_path / ".out.lock")
            if another_comes:
                others.enter_context(lock(tmp_path / "out"))
        plain(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with others:
        if another_comes:
            with pytest.raises(StorageError, match="another run is writing"), lock(tmp_path / "out"):
                pytest.fail("two hold it")
        else:
            with lock(tmp_path / "out"):
                assert os.listdir(tmp_path) == [".out.lock"]
                with pytest.raises(StorageError, match="another run is writing"), lock(tmp_path / "out"):
                    pytest.fail("two hold it")
    assert os.listdir(tmp_path) == []


CONTEND = """
import os, sys
from som_dask.errors import StorageError
from som_dask.io.outputs import lock
print("ready", flush=True)
sys.stdin.readline()  # all begin here
held = 0
while held < 200:
    try:
        with lock(sys.argv[1]):
            os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))  # fails where another one holds it too
            os.unlink(sys.argv[1])
            held += 1
    except StorageError:
        pass
"""


def test_two_never_hold_a_lock_that_is_let_go_again_and_again(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", CONTEND, str(tmp_path / "out")]
    others = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [other.stdout.readline() for other in others] == ["ready\n"] * 2
    for other in others:
        other.stdin.write("go\n")
        other.stdin.flush()
    for other in others:
        other.communicate()
    assert [other.returncode for other in others] == [0, 0]
    assert os.listdir(tmp_path) == []


def test_a_folder_that_takes_no_lock_file(tmp_path):
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path / "file" / "out", "Not a directory"), (tmp_path / "no" / "out", "No such file")):
        with pytest.raises(StorageError, match=f"can't write beside {path}: {reason}.*; choose another"), lock(path):
            pytest.fail("held")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_that_is_read_only_takes_no_lock_file(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"can't write beside .*: Permission denied"), lock(tmp_path / "out"):
        pytest.fail("held")
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("protocol", ["file", "local"])
def test_local_paths_spelled_as_urls_are_local(protocol, tmp_path):
    url = f"{protocol}://{tmp_path}/out"
    check_free(url, overwrite=False)
    with lock(url):
        assert os.listdir(tmp_path) == [".out.lock"]
        with pytest.raises(StorageError, match="another run is writing"), lock(tmp_path / "out"):
            pytest.fail("two hold it")
    publish(folder(tmp_path / "new", "new"), url, overwrite=False)
    assert (tmp_path / "out" / "file").read_text() == "new"
    with pytest.raises(StorageError, match="exists already"):
        check_free(url, overwrite=False)


def test_one_function_tells_an_output_from_an_input_however_they_are_spelled(tmp_path, monkeypatch):
    store = folder(tmp_path / "in.zarr", "")
    (store / "zarr.json").touch()
    (tmp_path / "link").symlink_to(store)
    monkeypatch.chdir(tmp_path)
    for source in ("in.zarr", "./in.zarr/", "link", f"file://{store}", f"local://{store}", "link/group"):
        for output in ("in.zarr", "link", f"file://{store}", "x/../in.zarr"):
            with pytest.raises(StorageError, match="would replace the input"):
                check_apart(output, [source])
    for output in ("in.zarr/codebook", "link/x", f"file://{store}/a/b"):
        with pytest.raises(StorageError, match=r"the output .* lies in the input"):
            check_free(output, overwrite=True, inputs=["link"])
        with pytest.raises(StorageError, match=r"the log .* lies in the Zarr store .*in\.zarr; choose"):
            check_apart(output, kind="log")
    check_apart("in.zarr.new", ["in.zarr"])
    with pytest.raises(StorageError, match="would replace"):
        check_apart("s3://bucket//a/", ["s3://bucket/a/b"])
    with pytest.raises(StorageError, match="lies in"):
        check_apart("s3://bucket/a/./b", ["s3://bucket/a"])
    check_apart("s3://bucket/ab", ["s3://bucket/a", "s3://other/ab"])


@pytest.mark.parametrize("can_exchange", [True, False])
def test_of_stores_published_at_once_one_is_there_and_whole(can_exchange, tmp_path, monkeypatch):
    if not can_exchange:
        monkeypatch.setattr(outputs, "_exchange", lambda *_: False)
    target, count = tmp_path / "out", 24
    texts = [str(i) for i in range(count)]
    made = [folder(tmp_path / f"new{i}", text) for i, text in enumerate(texts)]
    barrier = Barrier(8)

    def put(source):
        barrier.wait()
        publish(source, target, overwrite=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, made))
    assert (target / "file").read_text() in texts
    assert os.listdir(tmp_path) == ["out"]


def test_a_store_that_appears_at_the_last_moment_is_not_replaced(tmp_path, monkeypatch):
    new, target, rename = folder(tmp_path / "new", "new"), tmp_path / "out", os.rename

    def late(source, to):
        folder(target, "other")
        monkeypatch.undo()
        rename(source, to)

    monkeypatch.setattr(outputs.os, "rename", late)
    with pytest.raises(StorageError, match="appeared"):
        publish(new, target, overwrite=False)
    assert (target / "file").read_text() == "other"
    assert (new / "file").read_text() == "new"


@pytest.mark.parametrize("published", [False, True])
def test_killed_where_stores_cannot_be_swapped(published, tmp_path, monkeypatch):
    """The old store is moved aside; then the process is killed, before or after the new one has taken its place."""

    class Killed(BaseException):
        pass

    for name in ("out.zarr", "new.zarr"):
        write_bytes(tmp_path / name / "zarr.json", name.encode())
    plain = outputs._try_rename

    def try_rename(source, target, *errors):
        done = plain(source, target, *errors)
        if os.fspath(target).endswith("out.zarr") == published:
            raise Killed
        return done

    with monkeypatch.context() as patched:
        patched.setattr(outputs, "_exchange", lambda *_: False)
        patched.setattr(outputs, "_try_rename", try_rename)
        with pytest.raises(Killed):
            publish(tmp_path / "new.zarr", tmp_path / "out.zarr", overwrite=True)
    monkeypatch.setattr(leftovers.psutil, "pid_exists", lambda _: False)
    with pytest.raises(StorageError, match="exists already"):
        check_free(tmp_path / "out.zarr", overwrite=False)
    assert (tmp_path / "out.zarr" / "zarr.json").read_text() == ("new.zarr" if published else "out.zarr")
    assert {path.name for path in tmp_path.iterdir()} == {"out.zarr"} | (set() if published else {"new.zarr"})


def test_a_probe_that_a_killed_process_left_is_removed(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(outputs.Path, "unlink", lambda _: None)
        check_free(tmp_path / "out.zarr", overwrite=False)
    assert os.listdir(tmp_path)
    write_bytes(kept := beside_for_me(tmp_path / "out.zarr"), b"a result that could not be published")
    monkeypatch.setattr(leftovers.psutil, "pid_exists", lambda _: False)
    check_free(tmp_path / "out.zarr", overwrite=False)
    assert os.listdir(tmp_path) == [os.path.basename(kept)]
