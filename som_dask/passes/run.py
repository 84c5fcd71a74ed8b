"""Run a pass over all samples: one task for each group of blocks, and a tree that adds up their results.

Every pass of the package runs here, as one graph of plain tasks that is built in time linear in the blocks.
"""

from __future__ import annotations

import functools
import operator
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.sizeof import sizeof

from som_dask.engine.block import Block
from som_dask.engine.row_numbers import ConsecutiveRows, RowNumbers
from som_dask.errors import DataError
from som_dask.passes.compute import compute
from som_dask.passes.direct import held_here, run_here
from som_dask.passes.groups import Share, find_holders, share_out
from som_dask.passes.meeting import Wish, ask, current_meeting
from som_dask.passes.relay import hand_on, plan_relay
from som_dask.passes.sources import Sources
from som_dask.samples.table import Samples, tasks_of

__all__ = ["Group", "Pass", "run_over_arrays", "run_pass"]

FAN_IN = 8


@dataclass(frozen=True)
class Group:
    """Blocks that one task processes: neighbors, or blocks that one worker holds.

    Attributes
    ----------
    blocks : sequence of Block
    indices : sequence of int
        Which blocks they are, in ascending order.
    own : sequence
        What the pass was given for each of these blocks.
    description : str
        Description of the samples, for messages.
    """

    blocks: Sequence[Block]
    indices: Sequence[int]
    own: Sequence[Any]
    description: str

    @functools.cached_property
    def joined(self) -> Block:
        """All blocks of the group as one block."""
        return Block.joined(self.blocks)

    def name_of(self, place: int) -> str:
        """Name the block at an index in the group, for messages."""
        numbers, n = self.blocks[place].numbers, len(self.blocks[place])
        rows = f"{n} rows from number {numbers.first} on"
        if isinstance(numbers, ConsecutiveRows):
            rows = f"rows {numbers.first} to {numbers.first + n - 1}"
        return f"block {self.indices[place]} ({rows})"


@dataclass(frozen=True, kw_only=True)
class Pass:
    """A pass over all samples: what to compute from each group of blocks. Results of groups are added up by ``+``.

    Attributes
    ----------
    name : str
        Name shown on the Dask dashboard.
    of_group : callable
        Called with a `Group` and with what all groups share; returns the result of the group.
    joins : bool
        Whether several blocks may form one group, because results depend neither on the grouping nor on the order.
        Otherwise each block is a group of its own and they are added up in their order, on every machine.
    nodes : int
        Number of rows of the arrays in a result. If there are few samples compared with it, there are few groups.
    device : {"cpu", "gpu"}
        The device that computes; only for a CPU are blocks read ahead piece by piece.
    label : str
        Which of the passes of this name it is, such as the number of an epoch, in letters, digits and underscores,
        but not in letters alone. Names of tasks hold it, and so do the groups of tasks on the dashboard.
    """

    name: str
    of_group: Callable[[Group, Any], Any]
    joins: bool = False
    nodes: int = 1
    device: str = "cpu"
    label: str = ""


def run_pass(look: Pass, samples: Samples, shared: Any = None, own: Sequence[Any] | None = None) -> Any:
    """Run a pass over all samples.

    Parameters
    ----------
    look : Pass
    samples : Samples
    shared : optional
        What all groups share, such as a codebook. It enters the graph as one task that all others depend on: no task
        carries its own copy, and a copy lost with its worker is made again from the graph. If it is large, workers
        hand it on to each other.
    own : sequence, optional
        For each block, what only its own group is given.

    Returns
    -------
    object
        The sum of the results of all groups, added up in a tree: in the order of the blocks, but those of one worker
        first if blocks may form groups.
    """
    meeting = current_meeting()
    if meeting is not None and meeting.takes(samples):
        return ask(Wish("pass", (look, samples, shared, own)))
    held = held_here(samples)
    if held is not None:
        described = samples.description or "the samples"
        plan = _Plan(look, samples.row_numbers(), (0,), own or (None,), described, samples.value_errors)
        return run_here(_look_at, [held.rows], None if held.weights is None else [held.weights], plan, shared)
    rows = samples.sources() if look.device == "cpu" else samples.keys()
    weights, numbers = samples.weight_keys(), samples.row_numbers()
    name = _name_tasks(look.name, look.label)
    graph = _Graph(name, samples.tasks(pieces=look.device == "cpu"))
    shares = share_out(samples, look.nodes, joins=look.joins, device=look.device)
    on_cluster = any(share.worker is not None for share in shares)
    parts = []
    for share in shares:
        blocks = [rows[i] for i in share.blocks]
        heavy = None if weights is None else [weights[i] for i in share.blocks]
        if on_cluster:
            blocks = [graph.sources.take(block) for block in blocks]
            heavy = None if heavy is None else [graph.sources.take(block) for block in heavy]
        parts.append((blocks, heavy))
    workers = _place(shares, parts, graph.sources) if on_cluster else [None] * len(shares)
    shared_key, relays = graph.broadcast(shared, {worker for worker in workers if worker is not None})
    for place, (share, part, worker) in enumerate(zip(shares, parts, workers, strict=True)):
        plan = _Plan(
            look,
            [numbers[i] for i in share.blocks],
            share.blocks,
            [None if own is None else own[i] for i in share.blocks],
            samples.description or "the samples",
            samples.value_errors,
        )
        graph.add_part((name, 0, place), (_look_at, *part, plan, relays.get(worker, shared_key)), worker)
    return graph.add_up(by_worker=look.joins)


def _place(shares: Sequence[Share], parts: Sequence[tuple[Any, Any]], sources: Sources) -> list[str | None]:
    """Return the worker for each part: the planned one, or one that holds what it is made of.

    It is None where that is still to be made, by tasks that any worker may run.
    """
    needs = [set().union(*map(sources.needs, (*blocks, *(heavy or ())))) for blocks, heavy in parts]
    held = [place for place, keys in enumerate(needs) if keys and sources.tasks.keys().isdisjoint(keys)]
    workers = [None if keys else share.worker for share, keys in zip(shares, needs, strict=True)]
    if held:
        for place, worker in zip(held, find_holders([needs[place] for place in held]), strict=True):
            workers[place] = worker
    return workers


def run_over_arrays(name: str, of_blocks: Callable[..., Any], arrays: Sequence[Any], *shared: Any) -> Any:
    """Run a function over the blocks of arrays of one shape, and add up the results in a tree.

    Parameters
    ----------
    name : str
        Name shown on the Dask dashboard.
    of_blocks : callable
        Called with a block of each array, followed by `shared`; returns the result.
    arrays : sequence of dask arrays
        In any blocks; if these differ, they are cut to fit.
    *shared
        Small objects that all tasks get.

    Returns
    -------
    object
        The sum of the results.
    """
    dims = tuple(range(arrays[0].ndim))
    _, arrays = dask.array.core.unify_chunks(*(item for array in arrays for item in (array, dims)))
    keys = [_flatten_keys(array.__dask_keys__(), array.ndim) for array in arrays]
    name = _name_tasks(name)
    graph = _Graph(name, tasks_of(arrays))
    task = functools.partial(_call_on_blocks, of_blocks, shared)
    for i, blocks in enumerate(zip(*keys, strict=True)):
        graph.add_part((name, 0, i), (task, *blocks))
    return graph.add_up()


def _name_tasks(name: str, label: str = "") -> str:
    """Return a name for the tasks of one pass: what they do, which pass it is, and what no other pass has.

    The scheduler keeps for ever what it knows of the tasks whose names begin with the same words, such as how long
    they take. A label is no such word for Dask unless it is all letters: thousands of epochs stay one kind of task.
    """
    assert not label.split("-")[0].isalpha(), f"{label!r} would make another kind of task"
    return "-".join(filter(None, (name, label, uuid.uuid4().hex)))


def _flatten_keys(keys: Any, depth: int) -> list[Any]:
    """Return the keys of the blocks of an array in C order."""
    for _ in range(depth - 1):
        keys = [key for row in keys for key in row]
    return list(keys)


def _call_on_blocks(of_blocks: Callable[..., Any], shared: tuple[Any, ...], *blocks: Any) -> Any:
    return of_blocks(*blocks, *shared)


class _Literal:
    """A value that Dask must not look into when it is in a graph."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _broadcast(literal: _Literal) -> Any:
    return literal.value


@dataclass(frozen=True)
class _Plan:
    """What a task knows about its group before it gets the blocks."""

    look: Pass
    numbers: Sequence[RowNumbers]
    indices: Sequence[int]
    own: Sequence[Any]
    description: str
    with_errors: bool = False


def _look_at(sources: list[Any], weights: list[Any] | None, plan: _Plan, shared: Any) -> Any:
    heavy = [None] * len(sources) if weights is None else weights
    blocks = [
        Block.of(*each, with_errors=plan.with_errors) for each in zip(sources, heavy, plan.numbers, strict=True)
    ]
    return plan.look.of_group(Group(blocks, plan.indices, plan.own, plan.description), shared)


class _Graph:
    """The tasks of a pass by key, in layers of plain dictionaries: nothing is optimized or searched again.

    Parameters
    ----------
    name : str
        Part of the keys of sums.
    sources : dict
        Tasks that parts depend on.
    """

    def __init__(self, name: str, sources: dict[Any, Any]) -> None:
        self.name, self.sources = name, Sources(sources)
        self.loose, self.pinned = dict[Any, Any](), dict[Any, Any]()
        self.parts, self.workers = list[Any](), dict[Any, str]()

    def add_part(self, key: Any, task: Any, worker: str | None = None) -> None:
        """Add a task whose result is added up; it runs on a worker as long as there is that worker."""
        self.parts.append(key)
        if worker is None:
            self.loose[key] = task
        else:
            self.pinned[key], self.workers[key] = task, worker

    def broadcast(self, shared: Any, workers: Iterable[str]) -> tuple[Any, dict[str | None, Any]]:
        """Add a task that makes what all parts share, and relays of it; return its key, and theirs by worker."""
        keys: dict[str | None, Any] = {}
        if shared is None:
            return None, keys
        root = f"broadcast-{self.name}"
        for place, (worker, server) in enumerate(plan_relay(sorted(workers), sizeof(shared)).items()):
            keys[worker] = key = root if server is None else (f"relay-{self.name}", place)
            self.workers[key] = worker
            if server is not None:
                self.pinned[key] = (hand_on, keys[server])
        (self.pinned if keys else self.sources.tasks)[root] = (_broadcast, _Literal(shared))
        return root, keys

    def add_up(self, *, by_worker: bool = False) -> Any:
        """Compute the sum of all parts, first of those of each worker if it is `by_worker`."""
        parts, tree = self._add_up_on_workers() if by_worker else self.parts, dict[Any, Any]()
        root = add_tree(tree, self.name, parts)
        pins = {"workers": self.workers.get, "allow_other_workers": True} if self.workers else None
        layers = {
            "sources": MaterializedLayer(self.sources.tasks),
            "loose": MaterializedLayer(self.loose),
            "pinned": MaterializedLayer(self.pinned, annotations=pins),
            "tree": MaterializedLayer(tree),
        }
        above = {"sources": set(), "loose": {"sources", "pinned"}, "pinned": {"sources"}, "tree": {"loose", "pinned"}}
        (result,) = compute(Delayed(root, HighLevelGraph(layers, above), layer="tree"), optimize_graph=False)
        return result

    def _add_up_on_workers(self) -> list[Any]:
        """Add up the parts of each worker there, and return the keys of what is left to add up."""
        together: dict[Any, list[Any]] = {}
        for key in self.parts:
            together.setdefault(self.workers.get(key, key), []).append(key)
        sums = []
        for place, parts in enumerate(together.values()):
            tree: dict[Any, Any] = {}
            sums.append(add_tree(tree, self.name, parts, (place,)))
            self.pinned |= tree
            if parts[0] in self.workers:
                self.workers |= dict.fromkeys(tree, self.workers[parts[0]])
        return sums


def add_tree(layer: dict[Any, Any], name: str, parts: Sequence[Any], branch: tuple[int, ...] = ()) -> Any:
    """Add tasks that sum up results in a tree by their order: never by completion order, never all in one task.

    Parameters
    ----------
    layer : dict
        Tasks by key; those of the tree are added to it.
    name : str
        Part of the keys of the tree.
    parts : sequence
        Keys of the results.
    branch : tuple of int
        Part of the keys of this tree, if several trees have one name.

    Returns
    -------
    object
        The key of the sum.
    """
    if not parts:
        raise DataError("there are no blocks to add up")
    # A prefix of its own: Dask holds tasks back until a worker is free only where their group waits for few others,
    # and a sum in the same group would make the group wait for itself.
    name = f"add_up-{name}"
    level, depth = list(parts), 0
    while len(level) > 1:
        depth += 1
        above: list[Any] = []
        for i in range(0, len(level), FAN_IN):
            some = level[i : i + FAN_IN]
            if len(some) > 1:
                key = (name, *branch, depth, len(above))
                layer[key] = (add_up, *some)
                some = [key]
            above += some
        level = above
    return level[0]


def add_up(*parts: Any) -> Any:
    """Add up two or more results."""
    # The first sum was made here, so it may be changed in place.
    return functools.reduce(operator.iadd, parts[2:], parts[0] + parts[1])
