"""What epochs on a simulated cluster cost: clocks, tasks, bytes and memory of its processes."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
from dask.utils import key_split
from distributed import Client

from tests.benchmarks.timing import Spread

__all__ = ["KINDS", "Costs", "Meter", "kind_of", "longest_work", "routes_of"]

ROLES = ("client", "scheduler", "workers")
KINDS = ("sums", "codebook", "samples")
SUMS, SAMPLES = ("add_up", "no_op", "epoch_sums", "one_task"), ("ndarray", "array", "blocks")


def kind_of(name: str) -> str:
    """Tell what a task of that name makes: the codebook, however it travels, where it is neither sums nor samples."""
    if name.startswith(SAMPLES):
        return "samples"
    return "sums" if name.startswith(SUMS) else "codebook"


@dataclass
class Costs:
    """What some epochs of one way cost.

    Attributes
    ----------
    walls, overheads : list of float
        Seconds, of each epoch.
    cpu : dict
        Seconds of all epochs, by role.
    memory : dict
        Resident bytes after each epoch, by role; of all processes of the workers together.
    tasks : int
        Computed in all epochs.
    moved, transfers : Counter
        Bytes and objects that workers fetched from others in all epochs, by kind.
    copies, rounds : int
        Of the codebook in the last epoch: the most that one worker served, and the most steps that one came by.
    states : list of dict
        How many things client, scheduler and workers remember, before the first epoch and after each turn.
    """

    walls: list[float] = field(default_factory=list)
    overheads: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ROLES, 0.0))
    memory: dict[str, list[int]] = field(default_factory=lambda: {role: [] for role in ROLES})
    tasks: int = 0
    moved: Counter[str] = field(default_factory=Counter)
    transfers: Counter[str] = field(default_factory=Counter)
    copies: int = 0
    rounds: int = 0
    states: list[dict[str, int]] = field(default_factory=list)

    def to_row(self, workers: int) -> dict[str, Any]:
        """Return the costs of one epoch, and how the memory grew over all."""
        n = len(self.walls)
        alone = self.cpu["client"] + self.cpu["scheduler"] + self.cpu["workers"] / workers
        return {
            "epochs": n,
            "seconds": Spread.of(self.walls),
            "overhead": Spread.of(self.overheads),
            "alone": alone / n,
            "cpu": {role: seconds / n for role, seconds in self.cpu.items()},
            "tasks": self.tasks / n,
            "moved": {kind: self.moved[kind] / n for kind in KINDS},
            "transfers": {kind: self.transfers[kind] / n for kind in KINDS},
            "codebook_copies": self.copies,
            "codebook_rounds": self.rounds,
            "memory": {role: _growth(values) for role, values in self.memory.items()},
            "states": [self.states[0], self.states[-1]],
        }


def _growth(values: Sequence[int]) -> dict[str, float]:
    """First and last value, and the slope an epoch of the second half by least squares."""
    half = values[len(values) // 2 :]
    slope = float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 2 else float("nan")
    return {"first": values[0], "last": values[-1], "slope": slope}


class Meter:
    """Measures epochs on a simulated cluster.

    Parameters
    ----------
    client : Client
    processes : list of psutil.Process
        Of the scheduler and of the workers.
    """

    def __init__(self, client: Client, processes: Sequence[psutil.Process]) -> None:
        self.client = client
        scheduler, *workers = processes
        self.processes = {"client": [psutil.Process()], "scheduler": [scheduler], "workers": workers}
        # A worker of each process answers for all of them.
        self.speakers = list({pid: worker for worker, pid in client.run(os.getpid).items()}.values())

    def measure(self, epoch: Callable[[], Any], count: int, patience: float, costs: Costs) -> None:
        """Run epochs one after another and add what they cost; no more are begun when the patience, seconds, ends."""
        held = self._held()
        self._take()
        if not costs.states:
            costs.states.append(self._states())
        began, times = time.perf_counter(), list[tuple[float, float]]()
        before = self._cpu()
        while len(times) < count and (not times or time.perf_counter() - began < patience):
            clock, wall = time.time(), time.perf_counter()
            epoch()
            seconds = time.perf_counter() - wall
            costs.walls.append(seconds)
            times.append((clock, clock + seconds))
            for role, some in self.processes.items():
                costs.memory[role].append(sum(each.memory_info().rss for each in some))
        self._wait_until_released(held)
        for role, seconds in self._cpu().items():
            costs.cpu[role] += seconds - before[role]
        spans, fetched = self._take()
        costs.tasks += len(spans)
        costs.overheads += [
            seconds - longest
            for seconds, longest in zip(costs.walls[-len(times) :], longest_work(spans, times), strict=True)
        ]
        for each in fetched:
            for name, size in each["bytes"].items():
                costs.moved[kind_of(name)] += size
                costs.transfers[kind_of(name)] += each["count"][name]
        routes = [route for each in fetched for route in each["routes"] if route[2] >= times[-1][0]]
        costs.copies, costs.rounds = routes_of({to: source for to, source, _ in routes})
        costs.states.append(self._states())

    def _cpu(self) -> dict[str, float]:
        return {role: sum(sum(each.cpu_times()[:2]) for each in some) for role, some in self.processes.items()}

    def _held(self) -> int:
        return int(self.client.run_on_scheduler(_count_tasks))

    def _wait_until_released(self, held: int) -> None:
        """Wait until the scheduler has forgotten the last epoch, so that its costs are complete."""
        deadline = time.monotonic() + 30
        while self._held() > held and time.monotonic() < deadline:
            pass

    def _take(self) -> tuple[list[tuple[str, float, float]], list[dict[str, Any]]]:
        """Return what was computed and fetched since the last call."""
        found = self.client.run(_take_fetched, workers=self.speakers)
        return self.client.run_on_scheduler(_take_spans), [each for some in found.values() for each in some]

    def _states(self) -> dict[str, int]:
        workers = self.client.run(_count_states, workers=self.speakers)
        totals = Counter[str]()
        for each in workers.values():
            totals.update(each)
        return {"client futures": len(self.client.futures)} | self.client.run_on_scheduler(_count_kept) | dict(totals)


def longest_work(spans: Sequence[tuple[str, float, float]], times: Sequence[tuple[float, float]]) -> list[float]:
    """Return for each epoch how long the busiest worker computed, in seconds."""
    starts = [start for start, _ in times]
    work = [defaultdict[str, float](float) for _ in times]
    for worker, start, stop in spans:
        place = max(0, int(np.searchsorted(starts, (start + stop) / 2)) - 1)
        work[place][worker] += stop - start
    return [max(each.values(), default=0.0) for each in work]


def routes_of(sources: dict[str, str]) -> tuple[int, int]:
    """Return how many copies one worker served at most, and by how many steps one came, from {to: source}."""
    served = Counter(sources.values())

    def steps(to: str, seen: int = 0) -> int:
        return 1 + steps(sources[to], seen + 1) if to in sources and seen < len(sources) else 0

    return max(served.values(), default=0), max((steps(to) for to in sources), default=0)


def _count_tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def _take_spans(dask_scheduler: Any) -> list[tuple[str, float, float]]:
    plugin = dask_scheduler.plugins["computed"]
    spans, plugin.spans = plugin.spans, []
    return spans


def _take_fetched(dask_worker: Any) -> list[dict[str, Any]]:
    """Return and forget what each worker of this process has fetched."""
    found = []
    for worker in list(type(dask_worker)._instances):
        plugin = worker.plugins["fetched"]
        routes = [
            (worker.address, each["who"], each["start"])
            for each in worker.transfer_incoming_log
            if any(kind_of(key_split(key)) == "codebook" for key in each["keys"])
        ]
        found.append({"bytes": dict(plugin.bytes), "count": dict(plugin.count), "routes": routes})
        plugin.bytes.clear()
        plugin.count.clear()
        worker.transfer_incoming_log.clear()
    return found


def _count_kept(dask_scheduler: Any) -> dict[str, int]:
    """Count what the scheduler remembers."""
    return {
        "scheduler tasks": len(dask_scheduler.tasks),
        "task groups": len(dask_scheduler.task_groups),
        "task prefixes": len(dask_scheduler.task_prefixes),
        "computations": len(dask_scheduler.computations),
        "transition log": len(dask_scheduler.transition_log),
    }


def _count_states(dask_worker: Any) -> dict[str, int]:
    """Count what the workers of this process remember."""
    workers = list(type(dask_worker)._instances)
    return {
        "worker tasks": sum(len(worker.state.tasks) for worker in workers),
        "worker data": sum(len(worker.data) for worker in workers),
        "worker logs": sum(len(worker.state.log) + len(worker.state.stimulus_log) for worker in workers),
    }
