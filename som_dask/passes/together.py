"""One pass for several: each block is read once, and every pass that wants it sees it while it is in memory."""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from som_dask.engine.block import ArrayRows, Block
from som_dask.numerics.sizes import HasSize, size_of
from som_dask.passes.compute import compute
from som_dask.passes.meeting import Meeting, Wish
from som_dask.passes.run import Group, Pass, run_pass
from som_dask.samples.reweight import Reweighting
from som_dask.samples.table import Samples

__all__ = ["do_together"]


def do_together(samples: Samples, works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do several pieces of work in step, so that their passes over the same samples read these once.

    Parameters
    ----------
    samples : Samples
        Passes over these are joined, also over `som_dask.samples.reweight.reweight` of them.
    works : sequence of callable
        Each is called in a thread of its own, of which only one runs at a time.

    Returns
    -------
    list
        What they return, in their order.

    Raises
    ------
    Exception
        The first that any of them raises; the others are ended.
    """
    return Meeting(samples, functools.partial(_fulfil, samples)).hold(works)


def _fulfil(samples: Samples, wishes: Sequence[Wish]) -> list[Any]:
    """Run one pass for all that is wished, and compute what is to be computed."""
    answers: dict[int, Any] = {}
    passes = [wish for wish in wishes if wish.kind == "pass"]
    others = [wish for wish in wishes if wish.kind == "compute"]
    for wish, answer in zip(passes, _run_passes(samples, passes), strict=True):
        answers[id(wish)] = answer
    if others:
        found = iter(compute(*(value for wish in others for value in wish.arguments)))
        for wish in others:
            answers[id(wish)] = tuple(next(found) for _ in wish.arguments)
    return [answers[id(wish)] for wish in wishes]


@dataclass(frozen=True, eq=False)
class _Part:
    """What one of the joined passes computes of a group, and of which weights."""

    of_group: Callable[[Group, Any], Any]
    reweighting: Reweighting | None


@dataclass(frozen=True, eq=False)
class _Shared(HasSize):
    """What the groups of each pass share."""

    parts: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class _Results:
    """The results of several passes, and the seconds that each has taken; they add up one by one."""

    parts: tuple[Any, ...]
    seconds: np.ndarray

    def __add__(self, other: _Results) -> _Results:
        return self._joined(operator.add, other)

    def __iadd__(self, other: _Results) -> _Results:
        """Their sum, in the memory of the left side."""
        return self._joined(operator.iadd, other)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + sum(map(size_of, self.parts))

    def _joined(self, add: Callable[[Any, Any], Any], other: _Results) -> _Results:
        parts = tuple(add(*both) for both in zip(self.parts, other.parts, strict=True))
        return _Results(parts, self.seconds + other.seconds)


def _run_passes(samples: Samples, wishes: Sequence[Wish]) -> list[Any]:
    """Run several passes as one; those that are the same are done once."""
    if not wishes:
        return []
    places, chosen = dict[Any, int](), list[Wish]()
    owners = [places.setdefault(_describe(wish), len(places)) for wish in wishes]
    for place, wish in zip(owners, wishes, strict=True):
        if place == len(chosen):
            chosen.append(wish)
    looks = [wish.arguments[0] for wish in chosen]
    own = [wish.arguments[3] or [None] * len(samples.block_rows) for wish in chosen]
    look = Pass(
        name="-".join(dict.fromkeys(look.name for look in looks)),
        of_group=functools.partial(
            _look_at_all, tuple(_Part(w.arguments[0].of_group, w.arguments[1].reweighting) for w in chosen)
        ),
        joins=all(look.joins for look in looks),
        nodes=sum(look.nodes for look in looks),
        device=looks[0].device if len({look.device for look in looks}) == 1 else "cpu",
        label="_".join(dict.fromkeys(look.label for look in looks if look.label)),
    )
    shared = _Shared(tuple(wish.arguments[2] for wish in chosen))
    results: _Results = run_pass(look, samples, shared, list(zip(*own, strict=True)))
    for place, wish in zip(owners, wishes, strict=True):
        wish.seconds = float(results.seconds[place])
    return [results.parts[place] for place in owners]


def _describe(wish: Wish) -> Any:
    """Return what tells that two passes are the same; one that is not known to be another's is its own."""
    look, samples, shared, own = wish.arguments
    call = look.of_group
    if shared is not None or own is not None or not isinstance(call, functools.partial) or call.keywords:
        return id(wish)
    return call.func, call.args, look.joins, samples.reweighting


def _look_at_all(parts: Sequence[_Part], group: Group, shared: _Shared) -> _Results:
    """Compute every part of a group: of all its blocks at once, or block by block where they are read here."""
    if all(isinstance(block.source, ArrayRows) for block in group.blocks):
        return _look_at(parts, group, shared)
    results = (_look_at(parts, _read(group, place), shared) for place in range(len(group.blocks)))
    return functools.reduce(operator.iadd, results)


def _read(group: Group, place: int) -> Group:
    """Read a block into memory, so that no pass reads it again; as a group of its own."""
    block = group.blocks[place]
    pieces = [piece for _, piece in block.source.pieces()]
    rows = pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else np.empty(block.shape)
    block = replace(block, source=ArrayRows(rows))
    return Group([block], [group.indices[place]], [group.own[place]], group.description)


def _look_at(parts: Sequence[_Part], group: Group, shared: _Shared) -> _Results:
    """Compute every part of a group whose blocks are in memory."""
    found, seconds, weighted = [], np.zeros(len(parts)), dict[Any, list[Block]]()
    for place, part in enumerate(parts):
        began = time.perf_counter()
        how = part.reweighting
        if how not in weighted:
            weighted[how] = list(group.blocks) if how is None else [how.of_block(block) for block in group.blocks]
        own = [each[place] for each in group.own]
        one = Group(weighted[how], group.indices, own, group.description)
        found.append(part.of_group(one, shared.parts[place]))
        seconds[place] = time.perf_counter() - began
    return _Results(tuple(found), seconds)
