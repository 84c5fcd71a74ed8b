"""How the command line ends: whatever happens, in one line and with the status of what happened."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from som_dask.cli import info
from som_dask.cli.terminal import clean
from som_dask.errors import MemoryLimitError, StorageError, is_out_of_memory
from tests.system.test_bad_input import run, store


@pytest.fixture
def model(tmp_path, monkeypatch, rng, capsys):
    """A working directory with a model."""
    monkeypatch.chdir(tmp_path)
    store("good.zarr", rng.normal(size=(60, 3)))
    assert run("train", "good.zarr", "--output", "model.zarr", "--rows", "3", "--cols", "4", "--epochs", "1") == 0
    capsys.readouterr()
    return "model.zarr"


def raising(error):
    def open_model(*_):
        raise error

    return open_model


def caused(error, cause):
    error.__cause__ = cause
    return error


ENDS = [
    (ZeroDivisionError("by \x1b[31mzero"), 1, [r"internal error: ZeroDivisionError: by \x1b[31mzero; run with"]),
    (EOFError("end"), 1, ["internal error: EOFError: end"]),
    (RecursionError("deep"), 1, ["internal error: RecursionError"]),
    (ValueError("https://user:hunter2@host"), 1, ["internal error", "***"]),
    (MemoryError(), 7, ["out of memory"]),
    (MemoryLimitError("the map is too large"), 7, ["the map is too large"]),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), 7, ["out of memory", "Cannot allocate"]),
    (ImportError("x.so: failed to map segment from shared object"), 7, ["out of memory"]),
    (RuntimeError("can't start new thread"), 7, ["out of memory"]),
    (caused(StorageError("can't open it"), MemoryError()), 7, ["out of memory"]),
    (RuntimeError("cannot cache function 'f': no locator available for file 'f.py'"), 5, ["NUMBA_CACHE_DIR"]),
    (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), 2, ["ascii", "PYTHONUTF8=1"]),
    (OSError(errno.EIO, "Input/output error", "cells.zarr/c/0"), 5, ["cells.zarr/c/0", "Input/output error"]),
    (KeyboardInterrupt(), 75, ["interrupted"]),
]


@pytest.mark.parametrize(("error", "status", "words"), ENDS, ids=[f"{type(c[0]).__name__}-{c[1]}" for c in ENDS])
def test_any_error_ends_in_one_line(error, status, words, model, monkeypatch, capsys):
    monkeypatch.setattr(info, "open_model", raising(error))
    assert run("info", model, "--log-file", "log.jsonl", "--log-level", "debug") == status
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert line.startswith("som-dask: ")
    assert "hunter2" not in line
    for word in words:
        assert word in line
    if status == 1:
        with open("log.jsonl") as file:
            (told,) = [event for event in map(json.loads, file) if event["event"] == "error"]
        assert "open_model" in told["traceback"]


def test_a_signal_that_became_another_error_is_not_lost(model, monkeypatch, capsys):
    def open_model(*_):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except KeyboardInterrupt as error:
            raise ImportError("numpy can't be imported") from error

    monkeypatch.setattr(info, "open_model", open_model)
    assert run("info", model) == 75
    assert "interrupted" in capsys.readouterr().err


STOPPED_IN_IMPORTS = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "numpy":
            SEND
sys.meta_path.insert(0, Finder())
from som_dask.cli.main import main
print("started", flush=True)
main(["info", "model.zarr"])
"""
LIMITED = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (200 * 2**20, 200 * 2**20))
from som_dask.cli.main import main
main(["info", "model.zarr"])
"""


def in_process(script, **options):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, **options)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.parametrize("send", ["os.kill(os.getpid(), signal.SIGTERM)", "os.system(f'kill -INT {os.getpid()}')"])
def test_a_signal_while_modules_are_imported(send):
    done = in_process(STOPPED_IN_IMPORTS.replace("SEND", send))
    assert (done.returncode, done.stdout) == (75, "started\n")
    assert done.stderr == "som-dask: interrupted; nothing was left half-written\n"


@pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="nobody can tell who sent the signal")
def test_threads_that_openblas_cannot_start():
    done = in_process(STOPPED_IN_IMPORTS.replace("SEND", "os.kill(os.getpid(), signal.SIGINT)"))
    assert (done.returncode, done.stdout) == (7, "started\n")
    assert "OPENBLAS_NUM_THREADS=1" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_no_memory_while_modules_are_imported():
    done = in_process(LIMITED, timeout=60)
    assert done.returncode == 7
    (line,) = done.stderr.splitlines()
    assert line.startswith("som-dask: out of memory: the limit of 200 MiB")


COMMAND = [sys.executable, "-m", "som_dask.cli.main"]


def test_a_reader_that_has_gone_is_no_error(model):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, "info", model], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is of Linux")
def test_a_full_disk_behind_standard_output(model):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "info", model], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert "standard output can't be written: No space left" in done.stderr


def test_closed_streams_and_names_that_the_encoding_lacks(model):
    os.rename(model, "carte-Ω.zarr")
    command = " ".join([*COMMAND, "info", "carte-Ω.zarr"])
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False, env=latin)
    assert done.returncode == 0
    assert rb"carte-\u03a9.zarr" in done.stdout
    assert subprocess.run(["sh", "-c", f"{command} >&- 2>&- <&-"], check=False).returncode == 0


def test_escapes_are_shown_and_not_obeyed():
    assert clean("a\x1b[31m\x9b\u202e\u2028\udcff\nb") == r"a\x1b[31m\x9b\u202e\u2028\udcff\nb"
    assert clean("Größe, 大きさ 3 m²") == "Größe, 大きさ 3 m²"


def test_memory_is_recognized():
    assert not is_out_of_memory(OSError(errno.ENOSPC, "No space left on device"))
    assert not is_out_of_memory(caused(ValueError("a"), caused(KeyError("b"), None)))
    assert not is_out_of_memory(None)


COMPILES = """
import numpy as np
from som_dask.cli import info
from som_dask.cli.main import main
def open_model(*_):
    from som_dask.numerics.hashing import mix
    assert mix(np.uint64(1)) == np.uint64(6238072747940578789), mix(np.uint64(1))
    raise SystemExit
info.open_model = open_model
main(["info", "x"])
"""


def test_compiled_code_that_is_damaged_is_told_with_its_folder(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert in_process(COMPILES, env=environment).stderr == ""
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*.nb?")}
    assert {path.suffix for path in whole} == {".nbc", ".nbi"}
    for suffix, length in ((".nbi", 0), (".nbc", 40)):
        for path, content in whole.items():
            path.write_bytes(content[:length] if path.suffix == suffix else content)
        done = in_process(COMPILES, env=environment)
        assert done.returncode == 5
        (line,) = done.stderr.splitlines()
        assert f"in {path.parent} can't be used" in line
    shutil.rmtree(path.parent)  # the remedy
    assert in_process(COMPILES, env=environment).stderr == ""


WITHOUT_PACKAGES = """
import sys
class Finder:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("s3fs", "aiohttp", "requests"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
import som_dask as som
from som_dask.cli.main import main
for command in COMMANDS:
    try:
        main(command)
    except SystemExit as end:
        print(end.code)
    else:
        print(0)
model = som.open_model("model.zarr")
for url in ("s3://b/x", "https://h/x"):
    for use in (
        lambda: som.open_samples(url),
        lambda: som.save_model(model, url),
        lambda: som.open_model(url),
        lambda: som.Registry(url).load("a"),
        lambda: som.infer_to_store([[1.0, 2.0, 3.0]], model, url),
        lambda: som.report(model, url),
    ):
        try:
            use()
        except som.SomError as error:
            assert error.exit_status == 5
            assert ("s3fs" if url.startswith("s3") else "aiohttp") in str(error)
        else:
            raise AssertionError(url)
"""


def test_a_package_that_a_url_needs_is_named(model):
    commands = [
        command
        for url in ("s3://b/x", "https://h/x")
        for command in (
            ["train", url, "--output", "out.zarr"],
            ["train", "good.zarr", "--output", url],
            ["train", "good.zarr", "--name", "a", "--registry", url],
            ["info", url],
            ["infer", model, "good.zarr", "--output", url],
            ["evaluate", model, url],
            ["models", "list", "--registry", url],
            ["report", model, "--output", url],
            ["report", model, "--evaluation", url],
        )
    ]
    done = in_process(WITHOUT_PACKAGES.replace("COMMANDS", repr(commands)))
    assert (done.returncode, done.stdout.split()) == (0, ["5"] * len(commands)), done.stderr
    lines = done.stderr.splitlines()
    assert ["s3fs" in line for line in lines] == [True] * 9 + [False] * 9
    assert ["aiohttp" in line for line in lines] == [False] * 9 + [True] * 9
    assert not [name for name in os.listdir() if name.startswith(("s3", "http", "out"))]
