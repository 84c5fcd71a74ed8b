"""How a pass is spread over threads and workers: which blocks share a task, and where it runs."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import dask
from dask.system import CPU_COUNT

from som_dask.passes.compute import active_client, guard
from som_dask.samples.table import Samples

__all__ = ["Share", "find_holders", "share_out"]

GROUPS_A_THREAD = 4  # so that threads end at about the same time
# Maximum size of a group that must be in memory before its task can start, so that memory does not grow with the
# number of samples. There is no use in less than the size of the resulting sums.
GROUP_BYTES = 2**23
# Maximum size of a group that a worker reads piece by piece: so much is read again when the worker dies.
STREAMED_BYTES = 2**30
# A worker that holds more than this many times its share of the rows gets tasks that idle workers may take over.
CROWDED = 1.5


@dataclass(frozen=True)
class Share:
    """The blocks of one task.

    Attributes
    ----------
    blocks : sequence of int
        Their indices, in ascending order.
    worker : str, optional
        Address of the worker that holds them, or that they are planned for.
    """

    blocks: Sequence[int]
    worker: str | None = None


def share_out(samples: Samples, n_nodes: int, *, joins: bool, device: str) -> list[Share]:
    """Share out the blocks among tasks: a few tasks for each thread, or one if there are few samples.

    Few tasks cost little and give few results of the size of the codebook. Blocks that the workers of a cluster hold
    are grouped by worker, so that they need not move. Other blocks are grouped with their neighbors, and each thread
    reads ahead from one stored block to the next; on a cluster neighboring groups are planned for one worker.

    Parameters
    ----------
    samples : Samples
    n_nodes : int
        Number of rows of a result.
    joins : bool
        Whether blocks may share a task, because results don't depend on that.
    device : {"cpu", "gpu"}
        The device that computes.

    Returns
    -------
    list of Share
        In the order of their first blocks.
    """
    client = active_client()
    if client is None:
        threads = dask.config.get("num_workers", None) or CPU_COUNT
        return [Share(part) for part in _group_loose(samples, n_nodes, threads, joins=joins)]
    with guard():
        threads = client.nthreads()
        if samples.futures is not None:
            return _by_holder(samples, _holders(client, samples.futures), threads, joins=joins)
    most = STREAMED_BYTES // (samples.row_bytes)
    # Only what is read in the task itself is grouped: other blocks may be the results of tasks on any worker.
    joins = joins and device == "cpu" and samples.reads_pieces
    return _spread(_group_loose(samples, n_nodes, max(1, sum(threads.values())), most, joins=joins), samples, threads)


def _group_loose(
    samples: Samples, n_nodes: int, threads: int, most: int | None = None, *, joins: bool
) -> list[Sequence[int]]:
    """Group neighboring blocks that no worker holds, if blocks may share a task."""
    if not joins:
        return [(i,) for i in range(len(samples.block_rows))]
    return list(group_neighbors(samples, n_nodes, threads, most))


def _spread(groups: Sequence[Sequence[int]], samples: Samples, threads: dict[str, int]) -> list[Share]:
    """Plan groups for workers, by their threads: neighbors for each worker, whose results it then adds up itself.

    Without a plan all would go to the worker that gets the codebook first. It is not binding: a worker that is done
    takes over groups of others.
    """
    workers = sorted(threads)  # those of a machine are neighbors
    fair = samples.n_samples / max(1, sum(threads.values()))
    ends = [fair * n for n in accumulate(threads[worker] for worker in workers)][:-1]
    shares, rows = [], 0
    for group in groups:
        n_rows = sum(samples.block_rows[i] for i in group)
        shares.append(Share(group, workers[bisect(ends, rows + n_rows / 2)] if workers else None))
        rows += n_rows
    return shares


def group_neighbors(samples: Samples, n_nodes: int, threads: int, most: int | None = None) -> list[range]:
    """Group neighboring blocks for so many threads, into groups of at most `most` rows where that is given."""
    n_blocks = len(samples.block_rows)
    n_groups = min(n_blocks, max(threads, min(GROUPS_A_THREAD * threads, samples.n_samples // (2 * n_nodes))))
    edges = [n_blocks * i // n_groups for i in range(n_groups + 1)]
    # Stored rows are read piece by piece. Other blocks, and weights, are in memory before the task of a group begins.
    held = 0 if samples.reads_pieces else samples.row_bytes
    held += 0 if samples.weights is None else 16
    if held and not samples.in_memory:
        in_memory = max(GROUP_BYTES, 16 * n_nodes * samples.n_features) // held
        most = in_memory if most is None else min(most, in_memory)
    if most is None:
        return [range(start, stop) for start, stop in pairwise(edges)]
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


def _holders(client: Any, futures: Sequence[Any]) -> list[Sequence[str]]:
    """Return the addresses of the workers that hold each block now; none where it is still to be computed."""
    found = client.who_has(list(futures))
    return [found.get(future.key, ()) for future in futures]


def find_holders(needs: Sequence[set[Any]]) -> list[str | None]:
    """Find a worker for each of some tasks: the one that holds most of what it needs, and of those the least busy.

    Parameters
    ----------
    needs : sequence of set
        Keys of the data that each task needs.

    Returns
    -------
    list of str or None
        Addresses; None where no worker holds any.
    """
    client = active_client()
    with guard():
        found = client.sync(client.scheduler.who_has, keys=list(set().union(*needs)))
    busy, workers = Counter[str | None](), list[str | None]()
    for keys in needs:
        held = Counter(worker for key in keys for worker in found.get(key, ()))
        workers.append(min(held, key=lambda worker: (-held[worker], busy[worker], worker), default=None))
        busy[workers[-1]] += 1
    return workers


def _by_holder(
    samples: Samples, holders: Iterable[Sequence[str]], threads: dict[str, int], *, joins: bool
) -> list[Share]:
    """Share out blocks by the workers that hold them: as many tasks as a worker has threads, if blocks may share one.

    With no more tasks than threads none waits at a worker, so none is taken over by another, to which its blocks
    would have to move.
    """
    rows = dict.fromkeys(threads, 0)
    held: dict[str, list[int]] = {worker: [] for worker in threads}
    shares = []
    for i, each in enumerate(holders):
        there = [worker for worker in each if worker in rows]
        if not there:
            shares.append(Share((i,)))  # It comes from a task that any worker may run.
            continue
        worker = min(there, key=lambda worker: (rows[worker], worker))
        rows[worker] += samples.block_rows[i]
        held[worker].append(i)
    fair = samples.n_samples / max(1, sum(threads.values()))
    for worker, blocks in held.items():
        n_groups = len(blocks)
        if joins:
            crowded = rows[worker] > CROWDED * fair * threads[worker]
            n_groups = min(n_groups, threads[worker] * (GROUPS_A_THREAD if crowded else 1))
        shares += [Share(part, worker) for part in _cut(blocks, n_groups)]
    return sorted(shares, key=lambda share: share.blocks[0])


def _cut(blocks: Sequence[int], n_groups: int) -> Iterator[Sequence[int]]:
    """Cut some blocks into groups of about as many, none of them empty."""
    edges = [len(blocks) * i // n_groups for i in range(n_groups + 1)] if n_groups else []
    return (blocks[start:stop] for start, stop in pairwise(edges))
