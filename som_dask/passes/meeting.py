"""Several pieces of work that meet whenever each of them needs a pass over the same samples."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from som_dask.passes.compute import compute
from som_dask.samples.table import Samples

__all__ = ["Meeting", "Wish", "ask", "at_once", "compute_shared", "current_meeting", "time_taken"]

_CURRENT = contextvars.ContextVar["_Member | None"]("member", default=None)


class _Stopped(BaseException):
    """Ends work that waits in a meeting which is over."""


@dataclass(eq=False)
class Wish:
    """What a member of a meeting waits for.

    Attributes
    ----------
    kind : {"pass", "compute"}
    arguments : tuple
        Of the pass, or the dask collections to compute.
    seconds : float
        Time that tasks have spent on it; entered by who fulfils it.
    """

    kind: str
    arguments: tuple[Any, ...]
    seconds: float = 0.0


@dataclass(eq=False)
class _Member:
    """Work that runs on a thread of its own, at most one of a meeting at a time.

    Attributes
    ----------
    seconds : float
        Time that the work and the tasks of its wishes have taken.
    """

    meeting: Meeting
    work: Callable[[], Any]
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    wish: Wish | None = None
    answer: Any = None
    after: _Member | None = None
    done: bool = False
    result: Any = None
    error: BaseException | None = None
    seconds: float = 0.0
    thread: threading.Thread | None = None

    def run(self) -> None:
        """Do the work; what it raises is kept for the meeting."""
        _CURRENT.set(self)
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error
        self.done = True
        self.meeting.back.release()

    def pause(self) -> None:
        """Let others go on, until the meeting gives this one its turn again."""
        self.meeting.back.release()
        self.turn.acquire()
        if self.meeting.over:
            raise _Stopped


class Meeting:
    """Work that goes on in turns, and in step: a pass is run once all members have asked for one, or have ended.

    The members are threads only so that each can stop wherever it asks for a pass; never do two of them run.

    Parameters
    ----------
    samples : Samples
        Passes over these, however weighted, are asked for here; other passes run at once.
    fulfil : callable
        Called with a sequence of `Wish`; returns the answer to each.
    """

    def __init__(self, samples: Samples, fulfil: Callable[[Sequence[Wish]], Sequence[Any]]) -> None:
        self.table, self.fulfil = samples.array.name, fulfil
        self.back, self.over = threading.Semaphore(0), False
        self.members: list[_Member] = []

    def hold(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        """Do all the work, and return the results.

        The first error of any of it, or of a pass, ends the others where they are, and is raised.
        """
        first = [self.add(work) for work in works]
        try:
            while self._take_turns():
                asking = [(member, member.wish) for member in self.members if member.wish is not None]
                wishes = [wish for _, wish in asking]
                for (member, wish), answer in zip(asking, self.fulfil(wishes), strict=True):
                    member.wish, member.answer = None, answer
                    member.seconds += wish.seconds
        finally:
            self._end()
        return [member.result for member in first]

    def add(self, work: Callable[[], Any]) -> _Member:
        """Add work, which begins at its first turn."""
        member = _Member(self, work)
        self.members.append(member)
        return member

    def takes(self, samples: Samples) -> bool:
        """Return whether passes over some samples are asked for here."""
        return samples.array.name == self.table

    def _take_turns(self) -> bool:
        """Let all go on until each waits for a pass or has ended; return whether any waits."""
        while ready := [m for m in self.members if not m.done and m.wish is None and (not m.after or m.after.done)]:
            for member in ready:
                self._let(member)
                if member.error is not None:
                    raise member.error
        self.members = [member for member in self.members if not member.done]
        return bool(self.members)

    def _let(self, member: _Member) -> None:
        """Let a member go on until it waits or ends."""
        began = time.perf_counter()
        if member.thread is None:
            context = contextvars.copy_context()
            member.thread = threading.Thread(target=context.run, args=(member.run,), daemon=True)
            member.thread.start()
        else:
            member.turn.release()
        self.back.acquire()
        member.seconds += time.perf_counter() - began

    def _end(self) -> None:
        """End all that has begun, and wait for it: it may save what it has."""
        self.over = True
        for member in self.members:
            if member.thread is not None and not member.done:
                member.turn.release()
        for member in self.members:
            if member.thread is not None:
                member.thread.join()


def current_meeting() -> Meeting | None:
    """Return the meeting that the calling work is a member of, if there is one."""
    member = _CURRENT.get()
    return None if member is None else member.meeting


def ask(wish: Wish) -> Any:
    """Wait until a wish of the calling member is fulfilled."""
    member = _CURRENT.get()
    assert member is not None, "only members of a meeting can ask"
    member.wish = wish
    member.pause()
    answer, member.answer = member.answer, None
    return answer


def at_once(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    """Call two functions, in step with each other where the caller is a member of a meeting.

    Their passes over the samples are then the same ones.
    """
    member = _CURRENT.get()
    if member is None:
        return first(), second()
    other = member.meeting.add(second)
    result = first()
    if not other.done:
        member.after = other
        member.pause()
        member.after = None
    member.seconds += other.seconds
    return result, other.result


def time_taken() -> float:
    """Return the seconds that the calling member has taken until its last turn ended; 0 outside of a meeting."""
    member = _CURRENT.get()
    return 0.0 if member is None else member.seconds


def compute_shared(samples: Samples, *values: Any) -> tuple[Any, ...]:
    """Compute dask collections made of samples: together with those of others, where a meeting is held on them."""
    meeting = current_meeting()
    if meeting is None or not meeting.takes(samples):
        return compute(*values)
    answer: tuple[Any, ...] = ask(Wish("compute", values))
    return answer
