"""How much memory this process may use, within the limits of its control groups and of the system."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil

__all__ = ["MemoryLimit", "limits_of_groups", "process_group", "process_memory", "worker_memory"]

ROOT = Path("/")
# By version of control groups: what limits the memory, what is taken, and what of that are files read before, which
# give way. What a group has at least (``memory.low``), and v1's soft limit, which binds only where the machine runs
# out, are no limits.
LIMITS = {1: ("memory.limit_in_bytes",), 2: ("memory.max", "memory.high")}
TAKEN = {1: "memory.usage_in_bytes", 2: "memory.current"}
FILES = {1: ("total_active_file", "total_inactive_file"), 2: ("active_file", "inactive_file")}
INHERITED = "hierarchical_memory_limit"  # that of the groups above too, which a container does not see


class MemoryLimit(NamedTuple):
    """A limit on memory in bytes, and how much of it is taken."""

    limit: int
    taken: int


def process_memory() -> int:
    """Return the bytes that this process may still take, whatever workers there are.

    It is what is free on the machine, and under the limit of each control group that the process is in (of a
    container, a batch job or a service, or of a group around it), and of its address space.
    """
    limits = [*limits_of_groups(), *_address_space()]
    return max(0, min([psutil.virtual_memory().available, *(limit - taken for limit, taken in limits)]))


def worker_memory(workers: int) -> int:
    """Return the bytes that each of some processes started by this one may take: an equal share of all there is."""
    whole = min([psutil.virtual_memory().total, *(limit for limit, _ in limits_of_groups())])
    return min([whole // workers, *(limit for limit, _ in _address_space())])


def process_group(root: Path = ROOT) -> str:
    """Return text that is the same for processes of one machine that are in the same control groups."""
    return _read(root / "proc/self/cgroup")


def limits_of_groups(root: Path = ROOT) -> list[MemoryLimit]:
    """Read the limits of all control groups that this process is in, version 1 or 2, innermost first.

    Parameters
    ----------
    root : Path
        Folder of ``proc`` and of where the groups are mounted.
    """
    return [found for version, folder in _folders(root) if (found := _limit_of_group(folder, version)) is not None]


def _folders(root: Path) -> Iterator[tuple[int, Path]]:
    """Yield the folders of the groups that this process is in, and of those around them, each with its version."""
    mounts = [line.split() for line in _read(root / "proc/self/mountinfo").splitlines()]
    groups = [line.split(":", 2) for line in process_group(root).splitlines()]
    for number, controllers, path in groups:
        version = 2 if (number, controllers) == ("0", "") else 1
        if version == 1 and "memory" not in controllers.split(","):
            continue
        for mount in mounts:
            *_, kind, _, options = mount
            if kind == "cgroup2" if version == 2 else kind == "cgroup" and "memory" in options.split(","):
                inside = _path_inside(path, mount[3])
                folder = root / mount[4].lstrip("/")
                for part in (inside, *inside.parents):
                    yield version, folder / part


def _path_inside(path: str, mounted: str) -> PurePosixPath:
    """Return the path of a group below the one that is mounted; the latter itself if it is not there."""
    try:
        inside = PurePosixPath(path).relative_to(mounted)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in inside.parts else inside


def _limit_of_group(folder: Path, version: int) -> MemoryLimit | None:
    """Read the limit of a group; None if it has none."""
    facts = _numbers(_read(folder / "memory.stat"))
    limits = [_number(_read(folder / name)) for name in LIMITS[version]] + [facts.get(INHERITED)]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    taken = (_number(_read(folder / TAKEN[version])) or 0) - sum(facts.get(name, 0) for name in FILES[version])
    return MemoryLimit(min(known), max(taken, 0))


def _address_space() -> Iterator[MemoryLimit]:
    with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):  # not on every system
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            yield MemoryLimit(limit, psutil.Process().memory_info().vms)


def _read(place: Path) -> str:
    """Read a small file of the system; empty if it is not there or may not be read."""
    try:
        return place.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _numbers(text: str) -> dict[str, int]:
    """Read lines of a name and a number."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _number(text: str) -> int | None:
    """Read a number; None for "max", or for nothing."""
    return int(text) if text.strip().isdecimal() else None
