"""Timing things side by side: A B A B ..., one after the other in each round."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Contestant", "Options", "Skipped", "Spread", "cores", "interleaved", "ratio"]


class Skipped(Exception):
    """A contestant can't take part; the message says why."""


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much to measure.

    Parameters
    ----------
    quick : bool
        Smaller data, fewer cases.
    threads : int
        What every contestant may use.
    rounds : int
        Times that each contestant has its turn.
    patience : float
        Seconds after which a contestant sits out the rounds that are left.
    """

    quick: bool = False
    threads: int = field(default_factory=cores)
    rounds: int = 5
    patience: float = 6.0

    def say(self, text: str) -> None:
        """Tell on standard error what is being measured."""
        print(f"  ... {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Contestant:
    """Something to be timed.

    Parameters
    ----------
    run : callable
    around : callable
        Gives a context manager: settings made before the clock starts and undone after it has stopped.
    scale : float
        By what to multiply the time, if `run` does only part of the work.
    warm : bool
        Whether to run once before the first round, so that nothing is compiled or allocated on the clock.
    """

    run: Callable[[], Any]
    around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    scale: float = 1.0
    warm: bool = True

    def seconds(self) -> float:
        """Wall time of one run."""
        with self.around():
            clock = time.perf_counter()
            self.run()
            return (time.perf_counter() - clock) * self.scale


@dataclass(frozen=True)
class Spread:
    """Median and range of what some rounds gave."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Of at least one value."""
        return cls(float(np.median(values)), min(values), max(values), len(values))


def interleaved(contestants: Mapping[str, Contestant], options: Options) -> dict[str, list[float]]:
    """Seconds of every contestant in every round: A B C A B C ...

    One that has used up the patience sits out the rounds that are left; each has at least one. So the i-th values
    belong to the same round.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    used = {name: c.seconds() / c.scale if c.warm else 0.0 for name, c in contestants.items()}
    for index in range(options.rounds):
        for name, contestant in contestants.items():
            if index == 0 or used[name] < options.patience:
                times[name].append(contestant.seconds())
                used[name] += times[name][-1] / contestant.scale
    return times


def ratio(times: list[float], base: list[float]) -> Spread:
    """Ratios to `base`, taken within each round."""
    return Spread.of([a / b for a, b in zip(times, base, strict=False)])
