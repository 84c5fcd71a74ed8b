"""The tasks that make blocks: taken into the tasks that use the blocks, where nothing else needs them."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

from dask.core import keys_in_tasks
from dask.task_spec import DataNode, GraphNode, Task

__all__ = ["Sources"]


class Sources:
    """Tasks by key, which parts of a graph depend on.

    Attributes
    ----------
    tasks : dict
        Those that are not taken out.
    """

    def __init__(self, tasks: dict[Any, Any]) -> None:
        self.tasks = tasks

    def take(self, key: Any) -> Any:
        """Take a task out, to be a step of the only task that uses it.

        On a cluster what is made by a task of its own often moves to another worker before it is used.

        Parameters
        ----------
        key : object
            Key of a task, or anything else that a task may be given.

        Returns
        -------
        object
            A step. It is `key` itself if there is no such task or others depend on it.
        """
        if not isinstance(key, tuple) or self.uses[key]:
            return key
        node = self.tasks.get(key)
        while self.uses[target := _target_of(node)] == 1:
            del self.tasks[key]
            key, node = target, self.tasks.get(target)
        return self.tasks.pop(key) if isinstance(node, Task | DataNode) else key

    def needs(self, step: Any) -> set[Any]:
        """Return the keys of the data that a step needs: it had better run where they are.

        Of these keys `tasks` has those that are still to be made; workers hold the others. Constants are not data.
        """
        if isinstance(step, GraphNode):
            return {key for key in step.dependencies if not isinstance(self.tasks.get(key), DataNode)}
        return {step} if isinstance(step, tuple) and step in self.tasks else set()

    @functools.cached_property
    def uses(self) -> Counter[Any]:
        """How many of the tasks depend on each of them."""
        return Counter(keys_in_tasks(self.tasks, self.tasks.values(), as_list=True))


def _target_of(node: Any) -> Any:
    """Return the key that an alias stands for; None for other tasks."""
    # Not every version of Dask exports the class of aliases.
    return node.target if isinstance(node, GraphNode) and hasattr(node, "target") else None
