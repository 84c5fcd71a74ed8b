"""The seam between NumPy and CuPy: the only file that names CuPy."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from som_dask.errors import ParameterError

__all__ = [
    "Device",
    "compiled",
    "device_memory",
    "device_name",
    "namespace_of",
    "to_device",
    "to_host",
]

Device = str  # "cpu" or "gpu"


def namespace_of(array: Any) -> ModuleType:
    """The array namespace that `array` belongs to: ``numpy`` or ``cupy``."""
    if isinstance(array, np.ndarray):
        return np
    with _clear_errors():
        import cupy

        return cupy


def to_device(array: np.ndarray, device: Device) -> Any:
    """`array` where it is to be worked on: itself for ``"cpu"``, a copy in GPU memory for ``"gpu"``.

    Raises
    ------
    ParameterError
        If the device is unknown, or is a GPU and CuPy or the GPU is missing.
    """
    if device == "cpu":
        return array
    if device != "gpu":
        raise ParameterError(f"device must be 'cpu' or 'gpu', got {device!r}")
    with _clear_errors():
        import cupy

        return cupy.asarray(array)


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    """Around the first use of CuPy: say what is missing."""
    try:
        yield
    except ImportError as error:
        raise ParameterError("device 'gpu' needs CuPy: pip install 'som_dask[gpu]'") from error
    except MemoryError:
        raise
    except Exception as error:  # CuPy's runtime errors have no common public base
        raise ParameterError(f"device 'gpu' can't be used here: {error}; use device 'cpu'") from error


def to_host(array: Any) -> np.ndarray:
    """`array` as a NumPy array in main memory."""
    return array if isinstance(array, np.ndarray) else array.get()


@functools.lru_cache(maxsize=32)
def compiled(source: str, options: tuple[str, ...]) -> Any:
    """CUDA C++ compiled for the GPU at hand.

    Returns
    -------
    object
        Its ``get_function(name)`` gives a kernel, to be called with grid, block and arguments: arrays on the GPU,
        NumPy scalars.
    """
    import cupy

    return cupy.RawModule(code=source, options=options)


def device_memory() -> int:
    """Bytes of GPU memory that are free, those included that CuPy holds for reuse.

    Raises
    ------
    ParameterError
        If CuPy or the GPU is missing.
    """
    with _clear_errors():
        import cupy

        free, _ = cupy.cuda.runtime.memGetInfo()
        return int(free + cupy.get_default_memory_pool().free_bytes())


def device_name() -> str:
    """What tells this process's GPU from others of the same machine: its place on the bus."""
    with _clear_errors():
        import cupy

        return str(cupy.cuda.Device().pci_bus_id)
