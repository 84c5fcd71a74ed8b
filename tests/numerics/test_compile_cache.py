"""Processes that share compiled code: each function is compiled once, and code that was shipped is used."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import som_dask
from som_dask.numerics import matmul

compile_cache = pytest.importorskip("som_dask.numerics.compile_cache", exc_type=ImportError)

# Functions of one module, called at the same time; each process tells how many it compiled and how many it loaded.
CHILD = """
import sys
import numpy as np
from som_dask.numerics import scan
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
scan.column_ranges(np.ones((3, 2)))
stats = scan.column_ranges.stats
print(sum(stats.cache_misses.values()), sum(stats.cache_hits.values()))
"""


def start(cache, code=CHILD):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(som_dask.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_functions_of_the_package_are_compiled_once_and_others_are_let_alone():
    assert isinstance(matmul._multiply._cache, compile_cache.OnceCache)
    foreign = numba.njit(cache=True)(som_dask_stranger)
    assert type(foreign._cache) is numba.core.caching.FunctionCache


def som_dask_stranger():
    return 1


@pytest.mark.skipif(compile_cache.fcntl is None, reason="no locks of files here")
def test_processes_that_start_together_compile_each_function_once(tmp_path):
    children = [start(tmp_path) for _ in range(2)]
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:  # all are let go before any can have compiled
        child.stdin.write("\n")
        child.stdin.flush()
    counts = [tuple(map(int, child.communicate()[0].split())) for child in children]
    # Who waited counts as one that found the code.
    assert sorted(counts) == [(0, 1), (1, 0)]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A function of the package beside which nothing may be written, and which is compiled in this process."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "shipped.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.setattr(numba.core.config, "CACHE_DIR", "")
    monkeypatch.syspath_prepend(str(package))
    import shipped

    yield shipped.double
    del sys.modules["shipped"]


def compiled(function, monkeypatch):
    monkeypatch.setattr(numba.core.dispatcher, "FunctionCache", compile_cache.OnceCache)
    return numba.njit(cache=True)(function)


def test_shipped_code_is_used_where_it_may_not_be_written(elsewhere, tmp_path, monkeypatch):
    assert compiled(elsewhere, monkeypatch)(2) == 4  # as when the image is built
    refused = classmethod(lambda cls, py_func, py_file: None)
    monkeypatch.setattr(numba.core.caching.InTreeCacheLocator, "from_function", refused)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    own = compiled(elsewhere, monkeypatch)
    assert own(2) == 4
    assert sum(own.stats.cache_hits.values()) == 1
    assert own(2.0) == 4.0  # not shipped: kept in the other place
    assert len(list((tmp_path / "own").rglob("*.nbc"))) == 1


def test_where_nothing_may_be_written_functions_are_compiled_all_the_same(elsewhere, monkeypatch):
    refused = classmethod(lambda cls, py_func, py_file: None)
    for locator in numba.core.caching.CacheImpl._locator_classes:
        monkeypatch.setattr(locator, "from_function", refused)
    assert compiled(elsewhere, monkeypatch)(2) == 4
    assert not list(Path(elsewhere.__code__.co_filename).parent.rglob("*.nbc"))
