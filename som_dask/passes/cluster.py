"""Connect to the place where the work runs: threads of this process, a new local cluster, or an existing cluster."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from importlib import resources
from typing import Any

import dask
import yaml
from dask.utils import parse_bytes
from distributed import Client, LocalCluster

from som_dask.errors import ClusterError, MemoryLimitError, ParameterError, is_out_of_memory
from som_dask.passes.memory import worker_memory

__all__ = ["connect", "safe_settings"]

CONNECT_SECONDS = 60


def safe_settings() -> dict[str, Any]:
    """Return the Dask settings in ``dask.yaml`` of this package, by dotted name, for `dask.config.set`."""
    return dict(_flatten(yaml.safe_load(resources.files("som_dask").joinpath("dask.yaml").read_text())))


def _flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@contextlib.contextmanager
def connect(
    *,
    workers: int | None = None,
    threads_per_worker: int | None = None,
    memory_limit: str = "auto",
    scheduler: str | None = None,
    scheduler_file: str | os.PathLike[str] | None = None,
) -> Iterator[Client | None]:
    """Provide a client for the work inside the ``with`` block, by at most one of the ways to get one.

    Parameters
    ----------
    workers : int, optional
        Start a cluster with this many processes on this machine; it listens on 127.0.0.1 only.
    threads_per_worker : int, optional
        Threads of each of these processes; by default the cores are divided among them.
    memory_limit : str
        Memory limit of each of these processes, such as ``"4 GiB"``; "auto" divides the memory of this machine,
        or of the container or batch job. No process gets more than that has.
    scheduler : str, optional
        Connect to the scheduler at this address.
    scheduler_file : path, optional
        Connect to the scheduler that wrote this file.

    Yields
    ------
    distributed.Client or None
        None if no way was given: then dask uses threads of this process.

    Raises
    ------
    ParameterError
        If several ways are given, or a number is not positive.
    ClusterError
        If the scheduler can't be reached, or no worker comes within a minute.
    """
    ways = {"workers": workers, "scheduler": scheduler, "scheduler_file": scheduler_file}
    given = [f"`{name}`" for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise ParameterError(f"{' and '.join(given)} exclude each other; give one")
    if not given:
        yield None
        return
    with dask.config.set(safe_settings()), contextlib.ExitStack() as stack:
        if workers is not None:
            cluster = stack.enter_context(_start_cluster(workers, threads_per_worker, memory_limit))
            yield stack.enter_context(Client(cluster))
            return
        address = scheduler if scheduler_file is None else _read_address(scheduler_file)
        try:
            # A client that fails to connect would remain the default client, so the first one is not made so.
            with Client(address, timeout=CONNECT_SECONDS, set_as_default=False) as first:
                first.wait_for_workers(1, timeout=CONNECT_SECONDS)
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS))
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(f"can't work with the scheduler at {address}: {error}; check it") from error
        yield client


def _read_address(scheduler_file: str | os.PathLike[str]) -> str:
    """Read the address that a scheduler wrote to its file."""
    try:
        with open(scheduler_file, encoding="utf-8") as file:
            return str(json.load(file)["address"])
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"can't be read: {error.strerror}"
        raise ClusterError(f"the scheduler file {scheduler_file} {reason}; is the scheduler running?") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(
            f"the scheduler file {scheduler_file} holds no address; is the scheduler running?"
        ) from error


def _start_cluster(workers: int, threads_per_worker: int | None, memory_limit: str) -> LocalCluster:
    if workers < 1 or (threads_per_worker is not None and threads_per_worker < 1):
        raise ParameterError(
            f"`workers` and `threads_per_worker` must be positive, got {workers} and {threads_per_worker}"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")  # another port is taken, and announced
        try:
            return LocalCluster(
                n_workers=workers,
                threads_per_worker=threads_per_worker,
                memory_limit=_limit_of_worker(memory_limit, workers),
                host=dask.config.get("som-dask.host"),
                dashboard_address=dask.config.get("som-dask.dashboard-address"),
                silence_logs=logging.ERROR,
            )
        except (OSError, TimeoutError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise MemoryLimitError(
                    f"there is no memory to start {workers} workers on this machine; use fewer `workers`"
                ) from error
            raise ClusterError(f"can't start {workers} workers on this machine: {error}") from error
        except (ValueError, OverflowError) as error:
            raise ParameterError(f"the cluster's options can't be used: {error}") from error


def _limit_of_worker(memory_limit: str, workers: int) -> int:
    """Return the memory limit of a worker in bytes; Dask alone sees that of a container, but of no group in it."""
    if memory_limit == "auto":
        return worker_memory(workers)
    whole = worker_memory(1)
    try:
        number = float(memory_limit)
    except ValueError:
        return min(parse_bytes(memory_limit), whole)
    if number < 0:
        raise ValueError(f"the memory limit {memory_limit} is negative")
    return int(min(number * whole if number <= 1 else number, whole))
