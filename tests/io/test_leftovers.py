"""Leftovers: only what ended processes of this machine left is removed."""

import os
import socket
import subprocess
import sys

import pytest

from som_dask.io import leftovers
from som_dask.io.files import beside, beside_for_me, exists, write_bytes
from som_dask.io.leftovers import remove_leftovers, remove_leftovers_in


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
    monkeypatch.setattr(leftovers.psutil, "pid_exists", lambda _: False)
    remove_leftovers_in(tmp_path)
    assert os.listdir(tmp_path) == ["c.partial"]
