import sys
import types
from contextlib import ExitStack

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from som_dask.passes import blas
from som_dask.passes.blas import single_threaded_blas


@pytest.fixture
def looks(monkeypatch):
    """A list that grows with each look at the loaded libraries."""
    found = []

    def look():
        found.append(len(sys.modules))
        return ThreadpoolController()

    monkeypatch.setattr(blas, "ThreadpoolController", look)
    monkeypatch.setattr(blas, "_limit", blas._Limit())
    return found


def threads_of_blas():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_libraries_are_looked_for_once(looks):
    for _ in range(3):
        with single_threaded_blas(), single_threaded_blas():
            assert threads_of_blas() == {1}
    assert len(looks) == 1


def test_libraries_are_looked_for_again_where_modules_were_imported(looks, monkeypatch):
    with threadpool_limits(2, user_api="blas"):
        before = threads_of_blas()
        with single_threaded_blas():
            monkeypatch.setitem(sys.modules, "imported_later", types.ModuleType("imported_later"))
            with single_threaded_blas():
                assert len(looks) == 2
        assert threads_of_blas() == before


def test_the_limit_lasts_as_long_as_any_thread_needs_it(looks):
    np.ones((2, 2)) @ np.ones((2, 2))
    first, second = ExitStack(), ExitStack()
    with threadpool_limits(2, user_api="blas"):
        before = threads_of_blas()
        first.enter_context(single_threaded_blas())
        second.enter_context(single_threaded_blas())
        first.close()
        assert threads_of_blas() == {1}
        second.close()
        assert threads_of_blas() == before
