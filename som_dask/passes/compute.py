"""Compute graphs on a cluster or on threads of this process, with clear errors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import dask
from distributed import KilledWorker, get_client
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import NoWorkerError
from threadpoolctl import threadpool_limits

from som_dask.errors import ClusterError, MemoryLimitError, SomError, StorageError

__all__ = ["active_client", "compute", "guard", "single_threaded_blas"]


def active_client() -> Any:
    """Return the active distributed client, or None."""
    try:
        return get_client()
    except ValueError:
        return None


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS in this process to one thread: tasks fill the cores, and results don't depend on their number."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@contextlib.contextmanager
def guard() -> Iterator[None]:
    """Guard a computation: limit BLAS to one thread, and translate errors of the cluster into clear ones.

    Raises
    ------
    MemoryLimitError, ClusterError, StorageError
        Instead of the errors of dask, distributed and the operating system.
    """
    try:
        with single_threaded_blas():
            yield
    except SomError:
        raise
    except KilledWorker as error:
        raise MemoryLimitError(
            f"workers died again and again on {error.task}, most likely for want of memory; "
            f"use a smaller --block-size or fewer threads"
        ) from error
    except (NoWorkerError, FutureCancelledError, FuturesCancelledError, TimeoutError, CommClosedError) as error:
        raise ClusterError(f"the cluster can't finish the work: {error}; check its scheduler and workers") from error
    except MemoryError as error:
        raise MemoryLimitError("out of memory; use a smaller --block-size or fewer threads") from error
    except OSError as error:
        raise StorageError(f"reading or writing failed: {error}; check the store and the disk") from error
    except Exception as error:
        if _comes_from_codec(error):
            raise StorageError(f"a stored chunk is damaged: {error}; restore the store") from error
        raise


def _comes_from_codec(error: BaseException) -> bool:
    """Return whether an error was raised while decoding a chunk: each codec raises its own kind of error."""
    frame = error.__traceback__
    while frame is not None:
        if f"{os.sep}zarr{os.sep}codecs{os.sep}" in frame.tb_frame.f_code.co_filename:
            return True
        frame = frame.tb_next
    return False


def compute(*values: Any) -> tuple[Any, ...]:
    """Call `dask.compute` on the active distributed client, or else on threads, and raise clear errors."""
    with guard():
        return dask.compute(*values)
