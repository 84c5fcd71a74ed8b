"""Zarr stores to read from, written chunk by chunk so that the data need not fit in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from tests.benchmarks.data import manifold

__all__ = ["write_store"]


def write_store(path: Path, chunks: int, chunk_rows: int, features: int, *, compressed: bool = True) -> Path:
    """A group with an array of `chunks` chunks across all features, float32 rounded to 1/256, as zstd or plain."""
    array = zarr.create_group(path).create_array(
        "samples",
        dimension_names=("sample", "feature"),
        shape=(chunks * chunk_rows, features),
        chunks=(chunk_rows, features),
        dtype="float32",
        compressors=ZstdCodec() if compressed else None,
    )
    for i in range(chunks):
        block = manifold(chunk_rows, features, seed=i)
        array[i * chunk_rows : (i + 1) * chunk_rows] = np.round(block * 256) / 256
    return path
