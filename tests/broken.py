"""An object store that fails after a number of operations, or that counts them."""

from __future__ import annotations

import contextlib

import pytest
from zarr.storage import FsspecStore

from som_dask.io import files

__all__ = ["Broken", "break_after", "count_requests"]


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


@contextlib.contextmanager
def count_requests():
    """List the names of all requests to filesystems of fsspec, as `som_dask.io.files` and Zarr make them."""
    seen = []

    def counted(function, name):
        def run(*arguments, **options):
            seen.append(name)
            return function(*arguments, **options)

        return run

    with pytest.MonkeyPatch.context() as patched:
        for name in ("_get_many", "get", "exists", "set", "delete", "list", "list_dir", "list_prefix"):
            patched.setattr(FsspecStore, name, counted(getattr(FsspecStore, name), f"zarr {name}"))
        resolve = files.resolve_url

        def resolve_counted(url):
            filesystem, inner = resolve(url)
            return Counting(filesystem, counted), inner

        patched.setattr(files, "resolve_url", resolve_counted)
        yield seen


class Counting:
    """A filesystem whose requests go through `counted`."""

    def __init__(self, filesystem, counted):
        self.filesystem, self.counted = filesystem, counted

    def __getattr__(self, name):
        found = getattr(self.filesystem, name)
        requests = ("pipe_file", "rm", "exists", "ls", "find", "cat_file", "info", "makedirs")
        return self.counted(found, name) if name in requests else found
