"""Split a graph into jobs: which tasks belong to one job alone, and which are shared by several."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dask
from dask.core import get_dependencies
from distributed import Future

__all__ = ["Bundle", "Job", "SplitGraph", "Value", "split_graph"]

Key = Any  # hashable


class Value:
    """A value as a task, which Dask does not look into: ``(Value(x),)``."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self) -> Any:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class Job:
    """Some tasks, of which one gives the result of all.

    Attributes
    ----------
    tasks : dict
        Tasks by key. They may depend on each other and on the sources of a graph.
    result : key
        The task that gives the result; Dask calls the job by its name.
    """

    tasks: dict[Any, Any]
    result: Key


class Bundle:
    """All tasks of a job as one task. They run one after the other, and each value is dropped after its last use.

    Parameters
    ----------
    tasks : dict
    result : key
    given : sequence of keys
        Values that the bundle is called with.
    """

    def __init__(self, tasks: dict[Any, Any], result: Key, given: Sequence[Key]) -> None:
        self.tasks, self.result, self.given = tasks, result, given

    def __call__(self, values: Sequence[Any]) -> Any:
        """Run the tasks, and return the result."""
        tasks = self.tasks | {key: (Value(value),) for key, value in zip(self.given, values, strict=True)}
        return dask.get(tasks, self.result, callbacks=())


@dataclass(frozen=True)
class SplitGraph:
    """Jobs, and the tasks that several of them share.

    Attributes
    ----------
    jobs : list of Bundle
        They are given the values of shared tasks.
    tasks : dict of dict
        For each shared value, by its key, the tasks that make it.
    needs : dict of list
        For each shared value, the other shared values that these tasks need.
    users : dict of int
        For each shared value, how many jobs and other shared values need it.
    """

    jobs: list[Bundle]
    tasks: dict[Any, dict[Any, Any]]
    needs: dict[Any, list[Any]]
    users: dict[Any, int]


@dataclass
class _Owners:
    """Who needs each source: one job or shared value, or several, and then it is shared itself."""

    of: dict[Any, Any] = field(default_factory=dict)

    def add(self, key: Key, user: Key) -> None:
        """Enter a user of a source. All users of those that depend on the source must be entered before."""
        if self.of.setdefault(key, user) != user:
            self.of[key] = key


def split_graph(jobs: Sequence[Job], sources: Mapping[Any, Any]) -> SplitGraph:
    """Split a graph into jobs, in time linear in its tasks.

    A source that serves a single job becomes a part of its bundle. One that serves several, such as a codebook or a
    large chunk that is cut, stays a task of its own, whose value they share. So do futures, which only the scheduler
    can resolve.

    Parameters
    ----------
    jobs : sequence of Job
    sources : mapping
        Tasks by key; those that no job needs are left out.
    """
    depends: dict[Any, list[Any]] = {}
    asked: list[list[Any]] = []
    for job in jobs:
        known = ChainMap(job.tasks, sources)  # type: ignore[arg-type]
        found = {key for task in job.tasks.values() for key in get_dependencies(known, task=task)}
        asked.append([key for key in found if key in sources and key not in job.tasks])
    order = _sort(asked, sources, depends)
    owners = _Owners()
    for number, keys in enumerate(asked):
        for key in keys:
            owners.add(key, (_JOB, number))
    for key in order:
        if _is_held(sources[key], sources):
            owners.of[key] = key
        for below in depends[key]:
            owners.add(below, owners.of[key])
    return _gather(jobs, sources, asked, order, owners.of, depends)


_JOB = object()  # begins the name of a job as an owner, so that no source has the same


def _sort(asked: Sequence[Sequence[Any]], sources: Mapping[Any, Any], depends: dict[Any, list[Any]]) -> list[Any]:
    """Sort the sources that are needed, those that depend on others before these; enter what they depend on."""
    order: list[Any] = []
    for keys in asked:
        stack: list[tuple[Any, Iterator[Any] | None]] = [(key, None) for key in keys]
        while stack:
            key, below = stack.pop()
            if below is None:
                if key in depends:
                    continue
                depends[key] = [each for each in get_dependencies(sources, key) if each in sources]
                below = iter(depends[key])
            following = next((each for each in below if each not in depends), None)
            if following is None:
                order.append(key)
            else:
                stack += [(key, below), (following, None)]
    return order[::-1]


def _is_held(task: Any, sources: Mapping[Any, Any]) -> bool:
    """Whether a source is a future, or depends on one."""
    if isinstance(task, Future):
        return True
    if isinstance(task, (tuple, list)):
        return any(_is_held(each, sources) for each in task)
    return any(key not in sources for key in getattr(task, "dependencies", ()))


def _gather(
    jobs: Sequence[Job],
    sources: Mapping[Any, Any],
    asked: Sequence[Sequence[Any]],
    order: Sequence[Any],
    owner: Mapping[Any, Any],
    depends: Mapping[Any, Sequence[Any]],
) -> SplitGraph:
    """Gather the tasks of each owner, and what it needs of others."""
    own: list[dict[Any, Any]] = [dict(job.tasks) for job in jobs]
    given: list[dict[Any, None]] = [{key: None for key in keys if owner[key] == key} for keys in asked]
    shared = {key: dict[Any, Any]() for key in order if owner[key] == key}
    needs = {key: dict[Any, None]() for key in shared}
    for key in order:
        is_shared = owner[key] in shared
        tasks = shared[owner[key]] if is_shared else own[owner[key][1]]
        needed = needs[owner[key]] if is_shared else given[owner[key][1]]
        tasks[key] = sources[key]
        needed |= {below: None for below in depends[key] if owner[below] == below}
    users = dict.fromkeys(shared, 0)
    for keys in (*given, *needs.values()):
        for key in keys:
            users[key] += 1
    bundles = [Bundle(tasks, job.result, list(keys)) for tasks, job, keys in zip(own, jobs, given, strict=True)]
    return SplitGraph(bundles, shared, {key: list(found) for key, found in needs.items()}, users)
