"""Hand what all tasks share from worker to worker, so that none serves all others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

__all__ = ["FAN_OUT", "RELAY_BYTES", "plan_relay"]

# No worker serves more than so many others: that takes log4(W) rounds. With two there would be more rounds, and no
# worker would be done earlier, because each round of a tree takes as long as the copies that one worker sends.
FAN_OUT = 4
# A task of its own for each worker costs the scheduler about 1 ms. In that time a network of 1 GB/s moves so much,
# hence what is smaller is served faster by one worker.
RELAY_BYTES = 2**20


def plan_relay(workers: Sequence[str], n_bytes: int) -> dict[str, str | None]:
    """Plan from which other worker each worker gets what they share.

    Parameters
    ----------
    workers : sequence of str
        Addresses, in an order in which those of one machine are neighbors: then most copies stay within a machine.
    n_bytes : int
        Size of what they share.

    Returns
    -------
    dict of str to str or None
        For each worker the one that serves it, which comes before it; None for the first. Empty if it is better that
        all are served by whichever worker has it.
    """
    if n_bytes < RELAY_BYTES or len(workers) <= FAN_OUT + 1:
        return {}
    servers: dict[str, str | None] = {workers[0]: None}
    runs = [(0, len(workers))]  # the first of each run serves the first of each part of the rest
    while runs:
        first, stop = runs.pop()
        edges = [first + 1 + (stop - first - 1) * i // FAN_OUT for i in range(FAN_OUT + 1)]
        for start, end in pairwise(edges):
            if start < end:
                servers[workers[start]] = workers[first]
                runs.append((start, end))
    return servers


def hand_on(value: Any) -> Any:
    """Return what another worker has, so that this one has it too."""
    return value
