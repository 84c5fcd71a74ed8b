"""What processes that were killed have left at hidden paths that they alone wrote to."""

from __future__ import annotations

import os
import re
import socket

import psutil

from som_dask.io.files import PathOrUrl, beside, names_in, remove

__all__ = ["find_leftovers", "has_ended", "remove_leftovers", "remove_leftovers_in"]


def has_ended(owner: str) -> bool:
    """Whether a name that `name_me` returned is that of a process of this machine that has ended."""
    found = re.fullmatch(_names_here(), owner)
    return found is not None and not psutil.pid_exists(int(found["process"]))


def _names_here() -> str:
    """Return the pattern of names that `name_me` returns on this machine."""
    return rf"{re.escape(socket.gethostname())}-(?P<process>\d+)-[0-9a-f]+"


def remove_leftovers(path: PathOrUrl) -> None:
    """Remove what processes of this machine that have ended left at paths made by `beside_for_me`."""
    for place in find_leftovers(path):
        remove(place)


def find_leftovers(path: PathOrUrl, suffix: str = "partial") -> list[str]:
    """Return the paths ``beside(path, f"{name_me()}.{suffix}")`` that such processes left."""
    folder, name = os.path.split(beside(path, ""))
    return _find_leftovers(folder or ".", rf"{re.escape(name)}(?P<owner>.*)\.{suffix}")


def remove_leftovers_in(folder: PathOrUrl) -> None:
    """Remove what such processes left at paths made by `beside_for_me` of any path in a folder."""
    for place in _find_leftovers(folder, rf"\..+\.(?P<owner>{_names_here()})\.partial"):
        remove(place)


def _find_leftovers(folder: PathOrUrl, pattern: str) -> list[str]:
    found = {name: re.fullmatch(pattern, name) for name in names_in(folder)}
    return [f"{folder}/{name}" for name, match in found.items() if match is not None and has_ended(match["owner"])]
