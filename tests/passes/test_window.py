"""A rolling window: no barrier, in order where possible, and nothing lost when it is stopped."""

import operator
import threading

import dask
import pytest
from distributed import Client

from som_dask.passes.split import Job, Value
from som_dask.passes.window import MOST_A_THREAD, count_threads, run_window


def jobs_of(function, n):
    """Jobs that call a function with numbers, which are sources."""
    sources = {("number", i): (Value(i),) for i in range(n)}
    return [Job({"result": (function, ("number", i))}, "result") for i in range(n)], sources


def results_of(function, n, on_progress=None):
    """Run jobs; their indices and results, as they come."""
    found = []
    run_window("test", *jobs_of(function, n), lambda i, value: found.append((i, value)), on_progress)
    return found


SHARED = {}


@pytest.fixture
def client():
    """A cluster of two threads in this process, and a place that its tasks share with the test."""
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0") as client:
        yield client


@pytest.fixture(params=["threads", "client"])
def anywhere(request):
    if request.param == "client":
        request.getfixturevalue("client")
        yield
        return
    with dask.config.set(num_workers=2):
        yield


def wait_if_first(i):
    """The first job ends when the others have told the caller."""
    if i == 0:
        assert SHARED["others"].wait(60)
    return i


def test_one_slow_job_holds_up_no_other(anywhere):
    SHARED.update(others=threading.Event())
    found = []

    def keep(i, value):
        found.append(value)
        if len(found) == 99:
            SHARED["others"].set()

    run_window("test", *jobs_of(wait_if_first, 100), keep)
    assert found[-1] == 0
    assert sorted(found) == list(range(100))


def test_at_least_two_jobs_for_each_thread_are_in_flight(client, monkeypatch):
    sent, plain, found = [], Client.get, []

    def get(self, tasks, keys, **options):
        sent.append(len([key for key in keys if key[0].startswith("test-")]))
        return plain(self, tasks, keys, **options)

    def keep(i, value):
        found.append(value)
        assert sum(sent) == 100 or sum(sent) - len(found) >= 2 * count_threads()

    monkeypatch.setattr(Client, "get", get)
    run_window("test", *jobs_of(operator.neg, 100), keep)
    assert sorted(found) == list(range(-99, 1))
    assert sent[0] == MOST_A_THREAD * 2
    assert max(sent) == sent[0]


@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_threads_take_jobs_in_their_order(scheduler):
    with dask.config.set(scheduler=scheduler, num_workers=1):
        assert count_threads() == 1
        assert results_of(operator.neg, 30) == [(i, -i) for i in range(30)]


def fail_at_five(i):
    if i == 5:
        raise ValueError("five")
    return i


def test_an_error_ends_the_run_after_what_was_finished(anywhere):
    found = []
    with pytest.raises(ValueError, match="five"):
        run_window("test", *jobs_of(fail_at_five, 1000), lambda i, _: found.append(i))
    assert 5 not in found
    assert len(found) < 999


def wait_for_the_end(i):
    SHARED["begun"].release()
    assert SHARED["end"].wait(60)
    return i


def test_jobs_that_run_on_threads_are_waited_for_and_told():
    """So nothing is written after an error or an interrupt, and what was written is known."""
    SHARED.update(begun=threading.Semaphore(0), end=threading.Event())
    found, told = [], []

    def stop():
        # One has ended; three others must have begun by then, and end while this ends.
        for _ in range(3):
            SHARED["begun"].acquire()
        SHARED["end"].set()
        told.append(len(found))
        raise KeyboardInterrupt

    def work(i):
        return wait_for_the_end(i) if i else i

    with dask.config.set(num_workers=3), pytest.raises(KeyboardInterrupt):
        run_window("test", *jobs_of(work, 100), lambda i, _: found.append(i), stop)
    assert told == [1]
    assert {0, 1, 2, 3} <= set(found)
    assert len(found) < 100


def test_errors_of_the_caller_stay_what_they_are():
    def fail(*_):
        raise OSError("the pipe is broken")

    with pytest.raises(OSError, match="the pipe is broken"):
        results_of(abs, 3, fail)
    with pytest.raises(OSError, match="the pipe is broken"):
        run_window("test", *jobs_of(abs, 3), fail)


def count(value):
    SHARED["made"].append(value)
    return value


def test_what_jobs_share_is_made_once_and_dropped(anywhere):
    SHARED.update(made=[])
    sources = {("chunk", i): (count, i) for i in range(50)}
    jobs = [Job({"r": (operator.add, ("chunk", i // 4), i)}, "r") for i in range(200)]
    found = {}
    run_window("test", jobs, sources, found.__setitem__)
    assert found == {i: i // 4 + i for i in range(200)}
    assert sorted(SHARED["made"]) == list(range(50))


def test_processes_and_other_schedulers():
    def plain(tasks, keys, **_):
        return dask.get(tasks, keys, callbacks=())

    for scheduler in ("processes", plain):
        with dask.config.set(scheduler=scheduler, num_workers=2):
            assert sorted(results_of(operator.neg, 5)) == [(i, -i) for i in range(5)]


def test_futures_are_given_to_the_jobs_that_need_them(client):
    sources = {"held": client.submit(operator.neg, 3), "made": (operator.mul, "held", 10)}
    jobs = [Job({"r": (operator.add, name, i)}, "r") for i, name in enumerate(["held", "made", "made"])]
    found = {}
    run_window("test", jobs, sources, found.__setitem__)
    assert found == {0: -3, 1: -29, 2: -28}
