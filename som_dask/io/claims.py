"""Claims on URLs: of several runs that would write to one place in an object store, one does.

A claim on ``a/b.zarr`` is an object ``a/.b.zarr.claim.N``, made by a conditional write. Its holder writes it anew at
short intervals, so that a claim whose holder was killed grows old. It is then taken over by a claim with the next
number, which again only one run can make.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import psutil

from som_dask.errors import StorageError
from som_dask.io.files import PathOrUrl, beside, create, names_in, read_bytes, remove, write_bytes

__all__ = ["PlaceTakenError", "check_claimed", "claim"]

LEASE, RENEWAL = 180.0, 30.0  # seconds until a claim that is not renewed may be taken over, and between renewals
_held: ContextVar[dict[str, Claim]] = ContextVar("claims that this thread holds")


class PlaceTakenError(StorageError):
    """Another run holds the right to write to a place."""


@contextlib.contextmanager
def claim(url: PathOrUrl) -> Iterator[None]:
    """Hold the exclusive right to write to a URL within a ``with`` block; blocks may lie in each other or overlap.

    A claim is taken over from a process of this machine that has ended, and from any holder that has not renewed it
    for three minutes. Storages without conditional writes let two runs claim a place that begin at the same moment.

    Parameters
    ----------
    url : fsspec URL

    Raises
    ------
    PlaceTakenError
        If another run holds the claim.
    StorageError
        If the storage can't be written to.
    """
    place = os.fspath(url).rstrip("/")
    held = _held.get({})
    if place in held:
        yield
        return
    mine = _take(place)
    _held.set({**held, place: mine})
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(mine, stop), name="som_dask-claim", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        _held.set({other: one for other, one in _held.get({}).items() if other != place})
        stop.set()
        renewing.join()
        with contextlib.suppress(StorageError):
            for number in sorted(number for number in _numbers(place) if number <= mine.number):
                remove(_object(place, number))


def check_claimed(url: PathOrUrl) -> None:
    """Check that the claim on a URL, which this thread took, has not been taken over in the meantime.

    Raises
    ------
    StorageError
        If it has: another run writes there now.
    """
    place = os.fspath(url).rstrip("/")
    mine = _held.get({}).get(place)
    if mine is None or max(_numbers(place), default=0) != mine.number:
        raise StorageError(f"another run has taken over {url}, as this one had not been heard of; run again later")


@dataclass(frozen=True)
class Claim:
    """A claim: its number, and what its object tells of the holder."""

    place: str
    number: int
    host: str = field(default_factory=lambda: _this_machine())
    process: int = field(default_factory=os.getpid)
    started: float = field(default_factory=lambda: psutil.Process().create_time())  # process numbers are used again
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def to_bytes(self) -> bytes:
        """Return the contents of the claim's object, with the time now."""
        told: dict[str, Any] = {name: getattr(self, name) for name in ("host", "process", "started", "token")}
        return json.dumps({**told, "renewed": time.time()}).encode()


def _take(place: str) -> Claim:
    numbers = _numbers(place)
    newest = max(numbers, default=0)
    if newest:
        _refuse_if_alive(place, newest)
    mine = Claim(place, newest + 1)
    if not create(_object(place, mine.number), mine.to_bytes()):
        raise _make_error(place, None)
    # Another may have let go and a third have begun while this one looked at an old claim.
    others = [number for number in _numbers(place) if number not in (*numbers, mine.number)]
    if others:
        remove(_object(place, mine.number))
        raise _make_error(place, None)
    return mine


def _refuse_if_alive(place: str, number: int) -> None:
    """Raise if the holder of a claim may still be at work."""
    try:
        told = json.loads(read_bytes(_object(place, number)))
        host, process, started, renewed = (told[name] for name in ("host", "process", "started", "renewed"))
        started, renewed = float(started), float(renewed)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return  # it was let go of just now
        raise
    except (ValueError, KeyError, TypeError) as error:
        path = _object(place, number)
        raise StorageError(f"{path} is no claim of som_dask; remove it or choose another output") from error
    if host == _this_machine() and not _is_running(process, started):
        return
    if abs(time.time() - renewed) < LEASE:
        raise _make_error(place, f"process {process} on {host}")


def _this_machine() -> str:
    """Return the name of this machine, and what tells it from others of the same name where the system says it."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return f"{socket.gethostname()} {file.read().strip()[:8]}"
    return socket.gethostname()


def _is_running(process: int, started: float) -> bool:
    try:
        return abs(psutil.Process(process).create_time() - started) < 1.0
    except psutil.NoSuchProcess:
        return False


def _make_error(place: str, holder: str | None) -> PlaceTakenError:
    by = "another run" if holder is None else f"another run ({holder})"
    return PlaceTakenError(
        f"{by} is writing {place}; wait for it or choose another output. One that was killed elsewhere gives way "
        f"after {LEASE:.0f} s"
    )


def _renew(mine: Claim, stop: threading.Event) -> None:
    while not stop.wait(RENEWAL):
        with contextlib.suppress(StorageError):  # the storage may be back at the next time
            if max(_numbers(mine.place), default=0) != mine.number:
                return
            write_bytes(_object(mine.place, mine.number), mine.to_bytes())


def _object(place: str, number: int) -> str:
    return beside(place, f"claim.{number}")


def _numbers(place: str) -> list[int]:
    """Return the numbers of all claims on a place."""
    start = os.path.basename(beside(place, "claim."))
    names = (name.removeprefix(start) for name in names_in(place.rpartition("/")[0]) if name.startswith(start))
    return [int(name) for name in names if name.isdecimal()]
