"""Run many jobs in a rolling window: some for each thread at any time, and none waits for the slowest of others."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ThreadPoolExecutor, wait
from typing import Any

import dask
import dask.base
import dask.threaded
from dask.callbacks import Callback
from dask.local import SynchronousExecutor
from dask.system import CPU_COUNT
from distributed import Client, as_completed

from som_dask.passes.compute import active_client, guard
from som_dask.passes.split import Job, SplitGraph, Value, split_graph

__all__ = ["count_threads", "run_window"]

# Jobs that a cluster has for each thread at once, at most and at least: one that runs, and others that wait. Between
# these a new batch is not worth its message.
MOST_A_THREAD, LEAST_A_THREAD = 4, 3
A_THREAD_HERE = 2  # jobs for each thread of this process
COUNTED_EVERY = 2.0  # seconds after which workers may have come or gone
LATE = 1.0  # seconds that a finished result may take to come when a run is stopped


def run_window(
    name: str,
    jobs: Sequence[Job],
    sources: Mapping[Any, Any],
    on_result: Callable[[int, Any], None],
    on_progress: Callable[[], None] | None = None,
) -> None:
    """Run jobs on the active distributed client, or else on the threads or processes that Dask is set to.

    Each job is one task, which makes what it alone needs. When one has failed, or the run is to be stopped, no other
    begins; those that run on threads of this process are waited for, so that none writes after this has returned.

    Parameters
    ----------
    name : str
        Name shown on the Dask dashboard.
    jobs : sequence of Job
        Their results should be small.
    sources : mapping
        Tasks that jobs depend on, by key; see `som_dask.passes.split.split_graph`.
    on_result : callable
        Called in this thread with the index of each job that is finished, and with its result, in the order in which
        they finish. At the end also for those that finished while the run was stopped.
    on_progress : callable, optional
        Called after that as long as the run goes on; it may raise an error to stop the run.

    Raises
    ------
    SomError
        As `som_dask.passes.compute.guard` does, or whatever the first job that fails raises.
    """
    if not jobs:
        return
    told = _Told(on_result, on_progress)
    try:
        with guard():
            graph = split_graph(jobs, sources)
            keys = [(f"{name}-{uuid.uuid4().hex}", i) for i in range(len(jobs))]
            client, get = _find_scheduler()
            if client is not None:
                _OnCluster(client, graph, keys, told).run()
            elif get in (dask.get, dask.threaded.get):
                _OnThreads(get, graph, told).run()
            else:
                _run_as_one(get, graph, keys, told)
    except _FromCaller as error:
        raise error.error from None


def count_threads() -> int:
    """Return how many jobs run at once."""
    client, get = _find_scheduler()
    if client is not None:
        with guard():
            return sum(client.nthreads().values())
    if get is dask.get:
        return 1
    pool = getattr(dask.config.get("pool", None), "_max_workers", None)
    return pool or dask.config.get("num_workers", None) or CPU_COUNT


def _find_scheduler() -> tuple[Any, Callable[..., Any]]:
    """Return the client that is to compute, or None, and Dask's function that does."""
    active_client()  # refuses an asynchronous one
    get = dask.base.get_scheduler() or dask.threaded.get
    client = getattr(get, "__self__", None)
    return (client if isinstance(client, Client) else None), get


class _FromCaller(Exception):
    """An error of the caller's function, which says nothing about the computation."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _Told:
    """What the caller is told."""

    def __init__(self, on_result: Callable[[int, Any], None], on_progress: Callable[[], None] | None) -> None:
        self.on_result, self.on_progress = on_result, on_progress

    def result(self, index: int, value: Any) -> None:
        try:
            self.on_result(index, value)
        except Exception as error:
            raise _FromCaller(error) from error

    def progress(self) -> None:
        try:
            if self.on_progress is not None:
                self.on_progress()
        except Exception as error:
            raise _FromCaller(error) from error

    def late(self, index: int, value: Any) -> None:
        """Tell a result that comes after an error or interrupt, which is what the caller has to know first."""
        with contextlib.suppress(Exception):
            self.on_result(index, value)


class _Users:
    """How many jobs and shared values are still to be made of each shared value."""

    def __init__(self, graph: SplitGraph) -> None:
        self.left, self.needs, self.made = dict(graph.users), graph.needs, set[Any]()

    def drop(self, keys: Sequence[Any]) -> Iterator[Any]:
        """Enter that a job is done that needed some values; yield those that nothing needs any more."""
        stack = list(keys)
        while stack:
            key = stack.pop()
            if key not in self.made:
                self.made.add(key)
                stack += self.needs[key]
            self.left[key] -= 1
            if not self.left[key]:
                yield key


class _OnThreads:
    """Jobs on threads of this process, in their order. A shared value is made by the first job that needs it."""

    def __init__(self, get: Callable[..., Any], graph: SplitGraph, told: _Told) -> None:
        self.get, self.graph, self.told, self.users = get, graph, told, _Users(graph)
        self.values: dict[Any, Any] = {}
        self.locks = {key: threading.Lock() for key in graph.tasks}

    def run(self) -> None:
        """Run all jobs."""
        threads, own, pool = count_threads(), None, dask.config.get("pool", None)
        if self.get is dask.get:
            pool, most = SynchronousExecutor(), 1
        else:
            most = A_THREAD_HERE * threads
        if not isinstance(pool, Executor):
            pool = own = ThreadPoolExecutor(threads, thread_name_prefix="som_dask-window")
        running: dict[Any, int] = {}
        begun = 0
        try:
            while begun < len(self.graph.jobs) or running:
                while begun < len(self.graph.jobs) and len(running) < most:
                    running[pool.submit(self._run_job, begun)] = begun
                    begun += 1
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                self._take({future: running[future] for future in done}, running)
        finally:
            for future in running:
                future.cancel()
            wait(running)
            for future, index in running.items():
                if not future.cancelled() and future.exception() is None:
                    self.told.late(index, future.result())
            if own is not None:
                own.shutdown()

    def _take(self, done: Mapping[Any, int], running: dict[Any, int]) -> None:
        """Take the results of finished jobs; good ones before an error."""
        for future, index in sorted(done.items(), key=lambda item: (item[0].exception() is not None, item[1])):
            value = future.result()
            del running[future]
            for key in self.users.drop(self.graph.jobs[index].given):
                self.values.pop(key, None)
            self.told.result(index, value)
        self.told.progress()

    def _run_job(self, index: int) -> Any:
        job = self.graph.jobs[index]
        return job([self._share(key) for key in job.given])

    def _share(self, key: Any) -> Any:
        with self.locks[key]:
            if key not in self.values:
                tasks = self.graph.tasks[key]
                needed = {below: (Value(self._share(below)),) for below in self.graph.needs[key]}
                get = dask.get if len(tasks) == 1 else self.get
                self.values[key] = get(tasks | needed, key, callbacks=())
            return self.values[key]


def _run_as_one(get: Callable[..., Any], graph: SplitGraph, keys: Sequence[Any], told: _Told) -> None:
    """Run all jobs as one graph, on processes or whatever else Dask is set to."""
    waiting = {key: i for i, key in enumerate(keys)}
    tasks: dict[Any, Any] = {key: task for own in graph.tasks.values() for key, task in own.items()}
    tasks |= {key: (job, list(job.given)) for key, job in zip(keys, graph.jobs, strict=True)}

    def take(key: Any, value: Any, *_: Any) -> None:
        if key in waiting:
            told.result(waiting.pop(key), value)
            told.progress()

    with Callback(posttask=take):
        values = get(tasks, list(keys))
    for key, value in zip(keys, values, strict=True):  # if the scheduler knows no callbacks
        take(key, value)


class _OnCluster:
    """Jobs on a distributed cluster: a few for each thread are submitted, and more whenever some have finished.

    A value that several jobs share is held until the last of them is done, and is made anew from its tasks if the
    worker that has it is lost.
    """

    def __init__(self, client: Client, graph: SplitGraph, keys: Sequence[Any], told: _Told) -> None:
        self.client, self.graph, self.keys, self.told = client, graph, keys, told
        self.index_of = {key: i for i, key in enumerate(keys)}
        self.users = _Users(graph)
        self.held: dict[Any, Any] = {}
        self.counted, self.threads = 0.0, 0
        self.begun = 0

    def run(self) -> None:
        """Run all jobs."""
        finished = as_completed(loop=self.client.loop)
        running: dict[Any, Any] = {}
        try:
            self._fill(finished, running)
            while running:
                batch = [running.pop(future.key) for future in finished.next_batch()]
                good = [future for future in batch if future.status == "finished"]
                bad = [future for future in batch if future.status != "finished"]
                values = self.client.gather(good)
                for future in good:
                    for key in self.users.drop(self.graph.jobs[self.index_of[future.key]].given):
                        self.held.pop(key, None)
                    future.release()
                if not bad:
                    self._fill(finished, running)
                for future, value in zip(good, values, strict=True):
                    self.told.result(self.index_of[future.key], value)
                for future in bad:
                    future.result()  # which raises its error
                self.told.progress()
        finally:
            self._stop(running)

    def _stop(self, running: dict[Any, Any]) -> None:
        """Tell the results that have come, and forget all other jobs."""
        for future in running.values():
            if future.status == "finished":
                with contextlib.suppress(Exception):  # the scheduler may be gone
                    self.told.late(self.index_of[future.key], future.result(timeout=LATE))
            future.release()
        self.held.clear()

    def _fill(self, finished: Any, running: dict[Any, Any]) -> None:
        """Submit more jobs, if less than enough of them are running."""
        threads = self._count_threads()
        if len(running) >= LEAST_A_THREAD * threads:
            return
        stop = min(len(self.keys), self.begun + MOST_A_THREAD * threads - len(running))
        if stop > self.begun:
            futures = self._submit(range(self.begun, stop))
            self.begun = stop
            running.update((future.key, future) for future in futures)
            finished.update(futures)

    def _count_threads(self) -> int:
        now = time.monotonic()
        if not self.threads or now - self.counted > COUNTED_EVERY:
            self.threads, self.counted = max(1, sum(self.client.nthreads().values())), now
        return self.threads

    def _submit(self, indices: Sequence[int]) -> list[Any]:
        tasks: dict[Any, Any] = {}
        shared: list[Any] = []
        for i in indices:
            job = self.graph.jobs[i]
            tasks[self.keys[i]] = (job, [self.held.get(key, key) for key in job.given])
            self._add_shared(job.given, tasks, shared)
        wanted = [self.keys[i] for i in indices]
        futures = self.client.get(tasks, [*shared, *wanted], sync=False)
        self.held.update(zip(shared, futures, strict=False))
        return futures[len(shared) :]

    def _add_shared(self, keys: Sequence[Any], tasks: dict[Any, Any], shared: list[Any]) -> None:
        """Add the tasks of the shared values that are not held yet, and list these values."""
        stack = [key for key in keys if key not in self.held]
        while stack:
            key = stack.pop()
            if key in tasks:
                continue
            if key in self.held:
                tasks[key] = self.held[key]
                continue
            tasks |= self.graph.tasks[key]
            shared.append(key)
            stack += self.graph.needs[key]
