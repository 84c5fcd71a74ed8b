"""The seam between NumPy and CuPy: the only file that names CuPy.

The pure layers ask here for the namespace of an array and for the few operations that the array API
standard lacks. Any other namespace of the standard works too, by plain and slower means; the tests run the
pure layers on array-api-strict that way.
"""

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
    "pieces_of",
    "put_at",
    "put_in_rows",
    "put_masked",
    "segment_sums",
    "to_device",
    "to_host",
]

Device = str  # "cpu" or "gpu"


def namespace_of(array: Any) -> ModuleType:
    """The array namespace that `array` belongs to: ``numpy``, ``cupy`` or any other of the standard."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy
    return array.__array_namespace__()


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


def pieces_of(block: Any) -> Iterator[tuple[int, Any]]:
    """A block's parts, each with the row it starts at: those of its own `pieces`, or the whole."""
    yield from block.pieces() if hasattr(block, "pieces") else [(0, block)]


def to_host(array: Any) -> np.ndarray:
    """`array` as a NumPy array in main memory."""
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "get"):
        return array.get()
    return np.from_dlpack(array)


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


def put_in_rows(array: Any, columns: Any, value: float) -> Any:
    """`array` (n, m) with ``array[i, columns[i]] = value`` for every i; in place where that is possible."""
    xp = namespace_of(array)
    if xp is np or xp.__name__ == "cupy":
        array[xp.arange(array.shape[0]), columns] = value
        return array
    hit = xp.arange(array.shape[1])[None, :] == columns[:, None]
    return xp.where(hit, xp.asarray(value, dtype=array.dtype), array)


def put_at(array: Any, indices: Any, values: Any) -> Any:
    """`array` (n,) with ``array[indices] = values``; the indices are sorted and different. In place if possible."""
    xp = namespace_of(array)
    if xp is np or xp.__name__ == "cupy":
        array[indices] = values
        return array
    place = xp.searchsorted(indices, xp.arange(array.shape[0]))
    place = xp.where(place < indices.shape[0], place, 0)
    return xp.where(xp.take(indices, place) == xp.arange(array.shape[0]), xp.take(values, place), array)


def put_masked(array: Any, mask: Any, values: Any) -> Any:
    """`array` with ``array[mask] = values``, the values in row-major order of the mask; in place if possible."""
    xp = namespace_of(array)
    if xp is np or xp.__name__ == "cupy":
        array[mask] = values
        return array
    # The standard has no masked assignment of an array: number the marked places and look values up.
    number = xp.cumulative_sum(xp.astype(xp.reshape(mask, (-1,)), xp.int64)) - 1
    looked_up = xp.take(values, xp.where(number < 0, 0, number))
    return xp.where(mask, xp.reshape(looked_up, mask.shape), array)


def segment_sums(values: Any, segments: Any, n_segments: int) -> Any:
    """Sums of rows of `values` that share a segment.

    Parameters
    ----------
    values : (n, D) float64 or int64
    segments : (n,) int64, each in [0, n_segments)
    n_segments : int

    Returns
    -------
    (n_segments, D), of the values' dtype
        On NumPy each sum is added in the order of the rows.
    """
    xp = namespace_of(values)
    n_columns = values.shape[1]
    if xp is np or xp.__name__ == "cupy":
        whole = values.dtype == xp.int64
        # CuPy adds unsigned integers only; modulo 2^64 they are the same.
        sums = xp.zeros((n_segments, n_columns), dtype=xp.uint64 if whole else xp.float64)
        xp.add.at(sums, segments, values.view(xp.uint64) if whole else values)
        return sums.view(xp.int64) if whole else sums
    one_hot = xp.astype(xp.arange(n_segments)[:, None] == segments[None, :], values.dtype)
    return one_hot @ values
