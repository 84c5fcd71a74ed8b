"""Keep samples between passes in the memory of the workers or of their GPUs, if they fit."""

from __future__ import annotations

from dataclasses import replace

import dask
import numpy as np

from som_dask.engine.device import Device, device_memory, device_name, to_device
from som_dask.errors import ParameterError
from som_dask.passes.compute import active_client, guard
from som_dask.passes.direct import held_here
from som_dask.passes.memory import process_group, process_memory
from som_dask.samples.table import Samples

__all__ = ["keep_on_device", "keep_samples", "memory_available"]

# Samples that take more than this share of the memory that workers may use are read again in each epoch.
KEEP_SHARE = 0.5


def keep_samples(samples: Samples, keep: str) -> Samples:
    """Keep the blocks of samples in the memory of the workers, if they fit and `keep` allows it.

    Arrays that are in memory already are kept as they are, without a copy. As long as samples are kept, nobody may
    change them: they are compared with what the first pass saw in the first epoch alone. Beside them epochs
    keep the node of each sample, 2 bytes (4 with more than 32,767 nodes), as long as its array is in memory.

    Parameters
    ----------
    samples : Samples
    keep : {"auto", "memory", "stream"}
        With "auto" they are kept if they take no more than half of the memory that the workers may use.

    Returns
    -------
    Samples
        Those given, if they are not kept.

    Raises
    ------
    ParameterError
        For another `keep`.
    """
    if keep == "stream":
        return samples
    if keep not in ("auto", "memory"):
        raise ParameterError(f"keep must be 'auto', 'memory' or 'stream', got {keep!r}")
    if held_here(samples) is not None:
        return replace(samples, stored=None, in_memory=True)
    with guard():
        if keep == "auto" and samples.array.nbytes > KEEP_SHARE * memory_available():
            return samples
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


def memory_available() -> int:
    """Return the bytes that the workers, or else this process, may use, within the limits of container and system.

    Workers of one machine and one control group share what is left there. A worker without a limit of its own may
    take it all.
    """
    client = active_client()
    if client is None:
        return process_memory()
    left, own = dict[tuple[str, str], int](), dict[tuple[str, str], float]()
    limits = {
        address: each["memory_limit"] for address, each in client.scheduler_info(n_workers=-1)["workers"].items()
    }
    for address, (group, free) in client.run(_describe_memory).items():
        place = (address.rpartition(":")[0], group)
        left[place] = max(left.get(place, 0), free)
        own[place] = own.get(place, 0) + (limits.get(address) or np.inf)
    return sum(int(min(free, own[place])) for place, free in left.items())


def _describe_memory() -> tuple[str, int]:
    return process_group(), process_memory()


def _describe_device() -> tuple[str, int]:
    return device_name(), device_memory()


def _find_device_memory() -> int:
    """Return the free bytes on the GPUs of the workers, or else of this process; a shared GPU counts once."""
    client = active_client()
    if client is None:
        return device_memory()
    found = client.run(_describe_device)
    return sum({(worker.rpartition(":")[0], name): free for worker, (name, free) in found.items()}.values())
