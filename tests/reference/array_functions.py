"""The few operations that the array API standard lacks, for NumPy, CuPy and any other namespace."""

from types import ModuleType
from typing import Any

import numpy as np


def namespace_of(array: Any) -> ModuleType:
    """The array namespace that `array` belongs to."""
    if isinstance(array, (np.ndarray, np.generic)):
        return np
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy
    return array.__array_namespace__()


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


def as_numpy(array: Any) -> np.ndarray:
    """`array` as a NumPy array in main memory."""
    if isinstance(array, np.ndarray):
        return array
    return array.get() if hasattr(array, "get") else np.from_dlpack(array)
