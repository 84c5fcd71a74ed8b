"""Connect to the place where the work runs: threads of this process, a new local cluster, or an existing cluster."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

import dask
from dask.utils import parse_bytes
from distributed import Client, LocalCluster
from distributed.utils import get_ip_interface

from som_dask.errors import ClusterError, MemoryLimitError, ParameterError, SomError, is_out_of_memory
from som_dask.passes.certificates import certificate_settings, check_certificates, is_encrypted
from som_dask.passes.compute import safe_settings, wait_for_workers
from som_dask.passes.memory import worker_memory

__all__ = ["connect"]


@contextlib.contextmanager
def connect(
    *,
    workers: int | None = None,
    threads_per_worker: int | None = None,
    memory_limit: str = "auto",
    scheduler: str | None = None,
    scheduler_file: str | os.PathLike[str] | None = None,
    interface: str | None = None,
    tls_ca_file: str | os.PathLike[str] | None = None,
    tls_cert: str | os.PathLike[str] | None = None,
    tls_key: str | os.PathLike[str] | None = None,
) -> Iterator[Client | None]:
    """Provide a client for the work inside the ``with`` block, by at most one of the ways to get one.

    Parameters
    ----------
    workers : int, optional
        Start a cluster with this many processes on this machine; it listens on 127.0.0.1 only, or on `interface`.
    threads_per_worker : int, optional
        Threads of each of these processes; by default the cores are divided among them.
    memory_limit : str
        Memory limit of each of these processes, such as ``"4 GiB"``; "auto" divides the memory of this machine,
        or of the container or batch job. No process gets more than that has.
    scheduler : str, optional
        Connect to the scheduler at this address.
    scheduler_file : path, optional
        Connect to the scheduler that wrote this file.
    interface : str, optional
        Network interface on which the cluster that is started listens, such as ``"ib0"``. One that others reach
        needs certificates.
    tls_ca_file, tls_cert, tls_key : path, optional
        PEM files with which all connections are encrypted: the authority that signed the certificates of the others,
        the own certificate, and its key. What is not given is taken from ``distributed.comm.tls`` of Dask's
        configuration.

    Yields
    ------
    distributed.Client or None
        None if no way was given: then dask uses threads of this process.

    Raises
    ------
    ParameterError
        If several ways are given, a number is not positive, there is no such interface, or certificates are given
        for a scheduler that has none.
    ClusterError
        If certificates are needed and can't be used, the scheduler can't be reached within
        ``distributed.comm.timeouts.connect`` of Dask's configuration, or no worker comes within
        ``som-dask.workers-timeout``.
    """
    ways = {"workers": workers, "scheduler": scheduler, "scheduler_file": scheduler_file}
    given = [f"`{name}`" for name, value in ways.items() if value is not None]
    if len(given) > 1:
        raise ParameterError(f"{' and '.join(given)} exclude each other; give one")
    tls = certificate_settings(tls_ca_file=tls_ca_file, tls_cert=tls_cert, tls_key=tls_key)
    if interface is not None and workers is None:
        raise ParameterError("`interface` is where the cluster listens that `workers` starts; give it too")
    if tls and not given:
        raise ParameterError("certificates are for clusters; give `workers`, `scheduler` or `scheduler_file` too")
    if not given:
        yield None
        return
    with dask.config.set(_settings() | tls), contextlib.ExitStack() as stack:
        if workers is not None:
            where = _choose_where(interface, encrypted=bool(tls))
            cluster = stack.enter_context(_start_cluster(workers, threads_per_worker, memory_limit, where))
            client = stack.enter_context(Client(cluster))
            client.run(_import_all, wait=False)  # while the data are opened here
            yield client
            return
        address = str(scheduler) if scheduler_file is None else _read_address(scheduler_file)
        if is_encrypted(address):
            check_certificates(f"the scheduler at {address}")
        elif tls:
            raise ParameterError(
                f"certificates are given, but the scheduler at {address} does not encrypt; start it with them, "
                f"and give its address with tls://"
            )
        try:
            # A client that fails to connect would remain the default client, so the first one is not made so.
            with Client(address, set_as_default=False) as first:
                wait_for_workers(first)
            client = stack.enter_context(Client(address))
        except SomError:
            raise
        except Exception as error:  # each protocol raises errors of its own
            reason = error if str(error) else type(error).__name__
            raise ClusterError(
                f"can't work with the scheduler at {address}: {reason}; check it, and its protocol (tcp or tls)"
            ) from error
        yield client


async def _import_all() -> None:
    """Import what passes need, which takes a second in a new process."""
    import som_dask.passes.epoch
    import som_dask.passes.summary  # noqa: F401


def _settings() -> dict[str, Any]:
    """Return the safe settings, apart from those of this package that the user has set."""
    return {
        name: value
        for name, value in safe_settings().items()
        if not name.startswith("som-dask.") or dask.config.get(name, None) is None
    }


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


def _choose_where(interface: str | None, *, encrypted: bool) -> dict[str, Any]:
    """Return where a new cluster listens, as options of `LocalCluster`: never in the open on a network."""
    where: dict[str, Any] = {"host": dask.config.get("som-dask.host")}
    if interface is not None:
        try:
            own = get_ip_interface(interface)
        except ValueError as error:
            raise ParameterError(f"`interface` can't be used: {error}") from error
        # What workers tell over HTTP is never encrypted.
        where = {"interface": interface, "worker_dashboard_address": "127.0.0.1:0"}
        encrypted = encrypted or not own.startswith("127.")
    if encrypted:
        check_certificates("a cluster that others can reach" if interface else "a cluster")
        where["protocol"] = "tls://"
    return where


def _start_cluster(
    workers: int, threads_per_worker: int | None, memory_limit: str, where: dict[str, Any]
) -> LocalCluster:
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
                **where,
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
