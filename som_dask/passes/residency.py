"""Keep samples between passes in the memory of the workers or of their GPUs, if they fit."""

from __future__ import annotations

from dataclasses import replace

import dask
import numpy as np
import psutil
from distributed.system import MEMORY_LIMIT

from som_dask.engine.device import Device, device_memory, device_name, to_device
from som_dask.passes.compute import active_client, guard
from som_dask.samples.table import Samples

__all__ = ["keep_on_device", "keep_samples", "memory_available", "process_memory"]

# Samples that take more than this share of the memory that workers may use are read again in each epoch.
KEEP_SHARE = 0.5


def keep_samples(samples: Samples, keep: str) -> Samples:
    """Keep the blocks of samples in the memory of the workers, if they fit and `keep` allows it.

    Parameters
    ----------
    samples : Samples
    keep : {"auto", "memory", "stream"}
        With "auto" they are kept if they take no more than half of the memory that the workers may use.

    Returns
    -------
    Samples
        Those given, if they are not kept.
    """
    if keep == "stream" or (keep == "auto" and samples.array.nbytes > KEEP_SHARE * memory_available()):
        return samples
    with guard():
        array, weights = dask.persist(samples.array, samples.weights)
        return replace(samples, array=array, weights=weights, stored=None, in_memory=True)


def keep_on_device(samples: Samples, keep: str, device: Device) -> Samples:
    """Keep the blocks of samples in the memory of the workers' GPUs, if they fit and `keep` allows it.

    All passes other than those of epochs need the samples in main memory, and must come before.

    Parameters
    ----------
    samples : Samples
    keep : {"auto", "memory", "stream"}
        Unless it is "stream", they are kept if they take no more than half of the free memory of the GPUs.
    device : {"cpu", "gpu"}

    Returns
    -------
    Samples
        Those given, if they are not kept.

    Raises
    ------
    ParameterError
        If CuPy or the GPU is missing.
    """
    if device == "cpu" or samples.device != "cpu" or keep == "stream":
        return samples
    with guard():
        if samples.array.nbytes > KEEP_SHARE * _find_device_memory():
            return samples
        meta = np.empty((0, 0), dtype=samples.array.dtype)
        array = samples.array.map_blocks(to_device, device, dtype=meta.dtype, meta=meta)
        return replace(samples, array=dask.persist(array)[0], stored=None, device=device)


def memory_available() -> float:
    """Return the bytes that the workers, or else this process, may use, within the limits of container and system."""
    client = active_client()
    if client is not None:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        return float(sum(worker["memory_limit"] for worker in workers))
    return process_memory()


def process_memory() -> float:
    """Return the bytes that this process may use, whatever workers there are."""
    return float(min(MEMORY_LIMIT, psutil.virtual_memory().available))


def _describe_device() -> tuple[str, int]:
    return device_name(), device_memory()


def _find_device_memory() -> int:
    """Return the free bytes on the GPUs of the workers, or else of this process; a shared GPU counts once."""
    client = active_client()
    if client is None:
        return device_memory()
    found = client.run(_describe_device)
    return sum({(worker.rpartition(":")[0], name): free for worker, (name, free) in found.items()}.values())
