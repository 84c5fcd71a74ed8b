"""One digest of everything that a labeled Dataset holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["DIGEST", "dataset_digest", "json_digest", "to_json", "values_digest"]

DIGEST = "content_sha256"  # the attribute of a store that holds the digest of all the rest
NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}


def dataset_digest(dataset: xr.Dataset) -> str:
    """Compute the sha256 of a Dataset: names, dimensions, dtypes and values of its variables, and all attributes.

    Parameters
    ----------
    dataset : xarray.Dataset
        Its values are numbers, times and text. An attribute that holds such a digest does not count.

    Returns
    -------
    str
        64 hexadecimal digits, the same before the Dataset is stored and after it is read.
    """
    attrs = {name: value for name, value in dataset.attrs.items() if name != DIGEST}
    digest = hashlib.sha256(json_digest(attrs).encode())
    for name in sorted(dataset.variables, key=str):
        variable = dataset.variables[name]
        values = np.asarray(variable.values)
        kind, data = _bytes_of(values)
        head = [str(name), name in dataset.coords, kind, variable.dims, values.shape, dict(variable.attrs), len(data)]
        digest.update(json_digest(head).encode() + data)
    return digest.hexdigest()


def values_digest(arrays: Mapping[str, Any]) -> str:
    """Compute the sha256 of arrays of numbers, times or text: their names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        values = np.asarray(arrays[name])
        kind, data = _bytes_of(values)
        digest.update(json_digest([name, kind, values.shape, len(data)]).encode() + data)
    return digest.hexdigest()


def _bytes_of(values: np.ndarray) -> tuple[str, bytes]:
    """Return the kind of an array, and its values as bytes that do not depend on how it is stored."""
    if values.dtype.kind in "biufc":
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        return values.dtype.str, values.tobytes()
    if values.dtype.kind in "mM":  # a store may return another unit
        return values.dtype.kind, json.dumps(_nanoseconds(values)).encode()
    return "text", json.dumps([str(value) for value in values.ravel()]).encode()


def _nanoseconds(times: np.ndarray) -> list[int | None]:
    """Return times as whole numbers of nanoseconds, None for NaT."""
    if np.datetime_data(times.dtype)[0] not in NANOSECONDS:
        times = times.astype(f"{times.dtype.kind}8[s]")
    factor = NANOSECONDS[np.datetime_data(times.dtype)[0]]
    numbers = times.ravel().astype(np.int64).tolist()
    return [None if nat else number * factor for number, nat in zip(numbers, np.isnat(times).ravel(), strict=True)]


def to_json(value: Any) -> Any:
    """Convert a value to what JSON knows: lists for arrays, None for NaN and infinities."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): to_json(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(entry) for entry in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def json_digest(value: Any) -> str:
    """Compute the sha256 of a value as JSON."""
    return hashlib.sha256(json.dumps(to_json(value), sort_keys=True).encode()).hexdigest()
