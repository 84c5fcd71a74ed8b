"""Run a pass over all samples: one task for each group of blocks, and a tree that adds up their results.

Every pass of the package runs here. How work is grouped and placed is decided in this file alone.
"""

from __future__ import annotations

import functools
import operator
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import dask
import dask.array
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.system import CPU_COUNT

from som_dask.engine.block import Block
from som_dask.engine.row_numbers import ConsecutiveRows, RowNumbers
from som_dask.errors import DataError
from som_dask.passes.compute import active_client, compute
from som_dask.samples.table import Samples

__all__ = ["Group", "Pass", "group_blocks", "run_over_arrays", "run_pass"]

FAN_IN = 8
GROUPS_A_THREAD = 4  # so that threads end at about the same time
# Maximum size of a group that must be in memory before its task can start, so that memory does not grow with the
# number of samples. There is no use in less than the size of the resulting sums.
GROUP_BYTES = 2**23


@dataclass(frozen=True)
class Group:
    """Neighboring blocks that one task processes.

    Attributes
    ----------
    blocks : sequence of Block
    index : int
        Index of the first block.
    own : sequence
        What the pass was given for each of these blocks.
    description : str
        Description of the samples, for messages.
    """

    blocks: Sequence[Block]
    index: int
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
        return f"block {self.index + place} ({rows})"


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
        Whether neighboring blocks may form one group, because results don't depend on the grouping. Otherwise each
        block is a group of its own, on every machine.
    nodes : int
        Number of rows of the arrays in a result. If there are few samples compared with it, there are few groups.
    device : {"cpu", "gpu"}
        The device that computes; only for a CPU are blocks read ahead piece by piece.
    """

    name: str
    of_group: Callable[[Group, Any], Any]
    joins: bool = False
    nodes: int = 1
    device: str = "cpu"


def run_pass(look: Pass, samples: Samples, shared: Any = None, own: Sequence[Any] | None = None) -> Any:
    """Run a pass over all samples.

    Parameters
    ----------
    look : Pass
    samples : Samples
    shared : optional
        What all groups share, such as a codebook. It enters the graph as one task that all others depend on: no task
        carries its own copy, and a copy lost with its worker is made again from the graph.
    own : sequence, optional
        For each block, what only its own group is given.

    Returns
    -------
    object
        The sum of the results of all groups, added up in a tree in the order of the blocks.
    """
    n_blocks = len(samples.block_rows)
    groups = group_blocks(samples, look.nodes) if look.joins else [range(i, i + 1) for i in range(n_blocks)]
    sources = samples.sources() if look.device == "cpu" else samples.keys()
    weights = samples.weight_keys()
    numbers, own = samples.row_numbers(), [None] * n_blocks if own is None else own
    name = f"{look.name}-{uuid.uuid4().hex}"
    layer: dict[Any, Any] = {}
    shared_key = None
    if shared is not None:
        shared_key = f"broadcast-{name}"
        layer[shared_key] = (_broadcast, _Literal(shared))
    for place, group in enumerate(groups):
        part = slice(group.start, group.stop)
        plan = _Plan(look, numbers[part], group.start, own[part], samples.description or "the samples")
        heavy = None if weights is None else weights[part]
        layer[name, 0, place] = (_look_at, sources[part], heavy, plan, shared_key)
    return _compute_tree(layer, name, len(groups), samples.collections())


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
    arrays = dask.optimize(*arrays)  # Steps of one block become one task, which Delayed alone would not do.
    name = f"{name}-{uuid.uuid4().hex}"
    task = functools.partial(_call_on_blocks, of_blocks, shared)
    layer: dict[Any, Any] = {(name, 0, i): (task, *blocks) for i, blocks in enumerate(zip(*keys, strict=True))}
    return _compute_tree(layer, name, len(layer), arrays)


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
    index: int
    own: Sequence[Any]
    description: str


def _look_at(sources: list[Any], weights: list[Any] | None, plan: _Plan, shared: Any) -> Any:
    heavy = [None] * len(sources) if weights is None else weights
    blocks = [Block.of(*each) for each in zip(sources, heavy, plan.numbers, strict=True)]
    return plan.look.of_group(Group(blocks, plan.index, plan.own, plan.description), shared)


def _compute_tree(layer: dict[Any, Any], name: str, n_parts: int, arrays: Sequence[Any]) -> Any:
    root = add_tree(layer, name, [(name, 0, i) for i in range(n_parts)])
    graph = HighLevelGraph.from_collections(name, layer, dependencies=list(arrays))
    (result,) = compute(Delayed(root, graph, layer=name))
    return result


def add_tree(layer: dict[Any, Any], name: str, parts: Sequence[Any]) -> Any:
    """Add tasks that sum up results in a tree by their order: never by completion order, never all in one task.

    Parameters
    ----------
    layer : dict
        Tasks by key; those of the tree are added to it.
    name : str
        Part of the keys of the tree.
    parts : sequence
        Keys of the results.

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
                key = (name, depth, len(above))
                layer[key] = (add_up, *some)
                some = [key]
            above += some
        level = above
    return level[0]


def add_up(*parts: Any) -> Any:
    """Add up two or more results."""
    # The first sum was made here, so it may be changed in place.
    return functools.reduce(operator.iadd, parts[2:], parts[0] + parts[1])


def group_blocks(samples: Samples, n_nodes: int) -> list[range]:
    """Group neighboring blocks into tasks: a few groups for each thread, or one if there are few samples.

    Few tasks cost little and give few results of the size of the codebook, and each thread reads ahead from one
    stored block to the next. With a distributed client each block is a group of its own, so that blocks in the memory
    of workers need not move.

    Parameters
    ----------
    samples : Samples
    n_nodes : int
        Number of rows of a result.

    Returns
    -------
    list of range
        The indices of the blocks of each group.
    """
    n_blocks = len(samples.block_rows)
    if active_client() is not None:
        return [range(i, i + 1) for i in range(n_blocks)]
    threads = dask.config.get("num_workers", None) or CPU_COUNT
    n_groups = min(n_blocks, max(threads, min(GROUPS_A_THREAD * threads, samples.n_samples // (2 * n_nodes))))
    edges = [n_blocks * i // n_groups for i in range(n_groups + 1)]
    # Stored rows are read piece by piece. Other blocks, and weights, are in memory before the task of a group begins.
    held = 0 if samples.reads_pieces else samples.array.dtype.itemsize * samples.n_features
    held += 0 if samples.weights is None else 16
    if samples.in_memory or not held:
        return [range(start, stop) for start, stop in pairwise(edges)]
    most = max(GROUP_BYTES, 16 * n_nodes * samples.n_features) // held
    return [part for start, stop in pairwise(edges) for part in _split_by_rows(samples.block_rows, start, stop, most)]


def _split_by_rows(block_rows: Sequence[int], start: int, stop: int, most: int) -> Iterator[range]:
    """Split the blocks from `start` to `stop` into groups of at most `most` rows; a larger block is alone."""
    rows = 0
    for i in range(start, stop):
        if rows and rows + block_rows[i] > most:
            yield range(start, i)
            start, rows = i, 0
        rows += block_rows[i]
    yield range(start, stop)
