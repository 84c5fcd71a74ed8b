"""Compute graphs on a cluster or on threads of this process, with clear errors."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
import uuid
from collections.abc import Iterator
from importlib import resources
from typing import Any

import dask
import yaml
from dask.utils import parse_timedelta
from distributed import Future, KilledWorker, get_client
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import NoWorkerError

from som_dask.errors import ClusterError, MemoryLimitError, SomError, StorageError, is_out_of_memory
from som_dask.passes.blas import single_threaded_blas

__all__ = [
    "active_client",
    "clear_errors",
    "compute",
    "guard",
    "in_this_process",
    "safe_settings",
    "wait_for_workers",
]

_HERE = contextvars.ContextVar("in_this_process", default=False)
# One for all graphs: Dask gives each graph one of its own, and workers keep statistics of each span for good.
SPAN = {"name": ("som_dask",), "ids": (f"som_dask-{uuid.uuid4()}",)}


def safe_settings() -> dict[str, Any]:
    """Return the Dask settings in ``dask.yaml`` of this package, by dotted name, for `dask.config.set`."""
    return dict(_read_settings())


@functools.cache
def _read_settings() -> tuple[tuple[str, Any], ...]:
    return tuple(_flatten(yaml.safe_load(resources.files("som_dask").joinpath("dask.yaml").read_text())))


def _flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@contextlib.contextmanager
def in_this_process() -> Iterator[None]:
    """Compute on threads of this process within a ``with`` block, also if there is a distributed client."""
    before = _HERE.set(True)
    try:
        yield
    finally:
        _HERE.reset(before)


def active_client() -> Any:
    """Return the active distributed client, or None if there is none or its cluster is not to be used.

    Raises
    ------
    ClusterError
        If it is an asynchronous one, whose results nobody here would wait for.
    """
    if _HERE.get():
        return None
    try:
        client = get_client()
    except ValueError:
        return None
    if client.asynchronous:
        raise ClusterError("the active Dask client is asynchronous; use one made with asynchronous=False")
    return client


def wait_for_workers(client: Any) -> None:
    """Wait until a client has a worker: one that never has any would hang forever.

    Where there are some, only their names are asked for: this comes before every pass, and all that is known of a
    thousand workers takes a while to send.

    Raises
    ------
    ClusterError
        If none comes within ``som-dask.workers-timeout`` of Dask's configuration.
    """
    if client.nthreads():
        return
    name = "som-dask.workers-timeout"
    seconds = parse_timedelta(dask.config.get(name, safe_settings()[name]))
    # An adaptive cluster starts a worker only for a task.
    task = client.submit(_do_nothing, pure=False)
    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as error:
        raise ClusterError(
            f"the cluster at {client.scheduler.address} has no workers, and none has come within {seconds:g} "
            f"seconds; start some, or set {name} in Dask's configuration"
        ) from error
    finally:
        task.release()


def _do_nothing() -> None:
    pass


@contextlib.contextmanager
def _watch_workers(client: Any) -> Iterator[None]:
    """Give up what is computed within a ``with`` block if all workers of a client have been gone for too long.

    A scheduler waits for new ones forever, unless it was started with ``distributed.scheduler.no-workers-timeout``.
    That setting, as it is in this process, or else as in `safe_settings`, is how long is waited here.

    Raises
    ------
    ClusterError
    """
    if client is None:
        yield
        return
    name = "distributed.scheduler.no-workers-timeout"
    seconds = parse_timedelta(dask.config.get(name, None) or safe_settings()[name])
    before, lost = set(client.futures), threading.Event()

    async def watch() -> None:
        gone = 0.0
        while gone <= seconds:
            await asyncio.sleep(step := min(1.0, seconds / 4))
            gone = 0.0 if await client.scheduler.ncores() else gone + step
        lost.set()
        await client.cancel([Future(key, client) for key in client.futures if key not in before], force=True)

    watching = asyncio.run_coroutine_threadsafe(watch(), client.loop.asyncio_loop)
    try:
        yield
    except (FutureCancelledError, FuturesCancelledError) as error:
        if not lost.is_set():
            raise
        raise ClusterError(
            f"the cluster at {client.scheduler.address} has lost its workers, and none has come within {seconds:g} "
            f"seconds; start some, or set {name} in Dask's configuration"
        ) from error
    finally:
        watching.cancel()


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Guard a computation: limit BLAS to one thread, and translate errors of the cluster into clear ones.

    Raises
    ------
    MemoryLimitError, ClusterError, StorageError
        Instead of the errors of dask, distributed and the operating system.
    """
    with clear_errors():
        client = active_client()
        if client is not None:
            wait_for_workers(client)
        with single_threaded_blas(), _watch_workers(client):
            yield


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Translate the errors of dask, distributed and the operating system into clear ones.

    Raises
    ------
    MemoryLimitError, ClusterError, StorageError
    """
    try:
        yield
    except SomError:
        raise
    except KilledWorker as error:
        raise MemoryLimitError(
            f"workers died again and again on {error.task}, most likely for want of memory; "
            f"use a smaller `block_size` or fewer threads"
        ) from error
    except (NoWorkerError, FutureCancelledError, FuturesCancelledError, TimeoutError, CommClosedError) as error:
        raise ClusterError(f"the cluster can't finish the work: {error}; check its scheduler and workers") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryLimitError("out of memory; use a smaller `block_size` or fewer threads") from error
        if _comes_from(error, "distributed", "comm"):
            raise ClusterError(f"the cluster can't be reached: {error}; check its scheduler and workers") from error
        if isinstance(error, OSError):
            raise StorageError(f"reading or writing failed: {error}; check the store and the disk") from error
        if _comes_from(error, "zarr", "codecs"):  # each codec raises its own kind of error
            raise StorageError(f"a stored chunk is damaged: {error}; restore the store") from error
        raise


def _comes_from(error: BaseException, *folders: str) -> bool:
    """Return whether an error was raised in a package's folder, or below it."""
    frame, place = error.__traceback__, os.sep.join(["", *folders, ""])
    while frame is not None:
        if place in frame.tb_frame.f_code.co_filename:
            return True
        frame = frame.tb_next
    return False


def compute(*values: Any, **options: Any) -> tuple[Any, ...]:
    """Call `dask.compute` on the active distributed client, or else on threads, and raise clear errors."""
    if _HERE.get() and dask.config.get("scheduler", None) in (None, "distributed", "dask.distributed"):
        options.setdefault("scheduler", "threads")
    with guard(), _one_span():
        return dask.compute(*values, **options)


@contextlib.contextmanager
def _one_span() -> Iterator[None]:
    """Count what is computed to one span, unless the caller has chosen another."""
    if active_client() is None or (dask.config.get("annotations", None) or {}).get("span"):
        yield
        return
    with dask.annotate(span=SPAN):
        yield
