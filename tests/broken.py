"""An object store that fails after a number of operations."""

from __future__ import annotations

import contextlib

import pytest
from zarr.storage import FsspecStore

from som_dask.io import files

__all__ = ["Broken", "break_after"]


class Broken(Exception):
    """The storage fails."""


@contextlib.contextmanager
def break_after(n):
    """Let the first n operations that change an object store pass; all later ones fail."""
    count = 0

    def passes(function):
        def run(*arguments, **options):
            nonlocal count
            count += 1
            if count > n:
                raise Broken
            return function(*arguments, **options)

        return run

    with pytest.MonkeyPatch.context() as patched:
        for name in ("set", "delete"):
            patched.setattr(FsspecStore, name, passes(getattr(FsspecStore, name)))
        resolve = files.resolve_url

        def resolve_broken(url):
            filesystem, inner = resolve(url)
            return Breaking(filesystem, passes), inner

        patched.setattr(files, "resolve_url", resolve_broken)
        yield


class Breaking:
    """A filesystem whose operations that change something go through `passes`."""

    def __init__(self, filesystem, passes):
        self.filesystem, self.passes = filesystem, passes

    def __getattr__(self, name):
        found = getattr(self.filesystem, name)
        return self.passes(found) if name in ("pipe_file", "rm") else found
