"""Where graphs are computed, and where samples are kept meanwhile: on a cluster, or on threads of this process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dask
import numpy as np
import psutil
from distributed import KilledWorker, get_client
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import NoWorkerError
from threadpoolctl import threadpool_limits

from som_dask.engine.device import Device, device_memory, device_name, to_device
from som_dask.errors import ClusterError, MemoryLimitError, SomError, StorageError
from som_dask.samples.table import Samples

__all__ = ["active_client", "compute", "guarded", "kept", "kept_on_device", "single_threaded_blas"]

# Of the memory that workers may use: samples beyond this share are read again each epoch instead of kept.
KEEP_SHARE = 0.5


def kept(samples: Samples, keep: str) -> Samples:
    """Samples with their blocks held in the workers' memory, if they fit and `keep` allows it.

    Parameters
    ----------
    samples : Samples
    keep : {"auto", "memory", "stream"}
        With "auto" they are kept when they take no more than half the memory that the workers may use.
    """
    if keep == "stream" or (keep == "auto" and samples.array.nbytes > KEEP_SHARE * _memory()):
        return samples
    with guarded():
        array, weights = dask.persist(samples.array, samples.weights)
        return replace(samples, array=array, weights=weights, stored=None, in_memory=True)


def kept_on_device(samples: Samples, keep: str, device: Device) -> Samples:
    """Samples with their blocks held in the memory of the workers' GPUs, if they fit and `keep` allows it.

    Other passes than `epoch_sums` need them in main memory, and come first.

    Parameters
    ----------
    samples : Samples
    keep : {"auto", "memory", "stream"}
        Unless it is "stream" they are kept when they take no more than half the free memory of the GPUs.
    device : {"cpu", "gpu"}

    Raises
    ------
    ParameterError
        If CuPy or the GPU is missing.
    """
    if device == "cpu" or samples.device != "cpu" or keep == "stream":
        return samples
    with guarded():
        if samples.array.nbytes > KEEP_SHARE * _device_memory():
            return samples
        meta = np.empty((0, 0), dtype=samples.array.dtype)
        array = samples.array.map_blocks(to_device, device, dtype=meta.dtype, meta=meta)
        return replace(samples, array=dask.persist(array)[0], stored=None, device=device)


def _own_device() -> tuple[str, int]:
    return device_name(), device_memory()


def _device_memory() -> int:
    """Bytes free on the GPUs of the workers, or else of this process; one that several workers share counts once."""
    client = active_client()
    if client is None:
        return device_memory()
    found = client.run(_own_device)
    return sum({(worker.rpartition(":")[0], name): free for worker, (name, free) in found.items()}.values())


def active_client() -> Any:
    """The active distributed client, or None."""
    try:
        return get_client()
    except ValueError:
        return None


def _memory() -> float:
    """Bytes that the workers, or else this process, may use."""
    client = active_client()
    if client is not None:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        return float(sum(worker["memory_limit"] for worker in workers))
    return float(psutil.virtual_memory().available)


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold this process's BLAS to one thread: tasks fill the cores, and results don't depend on their number."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Around each computation: one BLAS thread, and errors of the cluster made clear.

    Raises
    ------
    MemoryLimitError, ClusterError, StorageError
        In place of what dask, distributed and the operating system raise.
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
        if _raised_in_a_codec(error):
            raise StorageError(f"a stored chunk is damaged: {error}; restore the store") from error
        raise


def _raised_in_a_codec(error: BaseException) -> bool:
    """Whether an error comes from decoding a chunk: each codec raises its own kind."""
    frame = error.__traceback__
    while frame is not None:
        if f"{os.sep}zarr{os.sep}codecs{os.sep}" in frame.tb_frame.f_code.co_filename:
            return True
        frame = frame.tb_next
    return False


def compute(*values: Any) -> tuple[Any, ...]:
    """`dask.compute`, guarded: on the active distributed client, or else on threads."""
    with guarded():
        return dask.compute(*values)
