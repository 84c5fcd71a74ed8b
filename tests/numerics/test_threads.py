"""Threads that share a step: each part is done once, errors come out, and a fork has threads of its own."""

import os
import threading

import pytest

from som_dask.numerics.threads import _pool, run_in_threads


@pytest.mark.parametrize("n_parts", [0, 1, 2, 9])
def test_each_part_is_done_once(n_parts):
    done = []
    run_in_threads(lambda *part: done.append(part), [(i, -i) for i in range(n_parts)])
    assert sorted(done) == [(i, -i) for i in range(n_parts)]


def test_two_parts_run_at_the_same_time():
    both = threading.Barrier(2, timeout=60)
    run_in_threads(both.wait, [(), ()])


@pytest.mark.parametrize("wrong", [0, 1])
def test_an_error_in_a_thread_is_raised(wrong):
    with pytest.raises(ZeroDivisionError):
        run_in_threads(lambda i: 1 // (i - wrong), [(0,), (1,)])


def test_threads_are_started_anew_in_a_fork():
    assert _pool(os.getpid()) is _pool(os.getpid())
    assert _pool(os.getpid()) is not _pool(-1)
