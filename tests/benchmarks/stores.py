"""Zarr stores to read from, written chunk by chunk so that the data need not fit in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from tests.benchmarks.data import manifold, with_gaps

__all__ = ["write_store"]


def write_store(
    path: Path, chunks: int, chunk_rows: int, features: int, *, compressed: bool = True, gaps: bool = False
) -> Path:
    """A group with an array of `chunks` chunks across all features, float32 rounded to 1/256, as zstd or plain.

    With `gaps` a tenth of the values is NaN, and there is an array "weights" beside the samples.
    """
    group = zarr.create_group(path)
    array = group.create_array(
        "samples",
        dimension_names=("sample", "feature"),
        shape=(chunks * chunk_rows, features),
        chunks=(chunk_rows, features),
        dtype="float32",
        compressors=ZstdCodec() if compressed else None,
    )
    for i in range(chunks):
        block = manifold(chunk_rows, features, seed=i)
        rows = slice(i * chunk_rows, (i + 1) * chunk_rows)
        array[rows] = np.round((with_gaps(block, 1.0) if gaps else block) * 256) / 256
    if gaps:
        weights = group.create_array(
            "weights", dimension_names=("sample",), shape=array.shape[:1], chunks=(chunk_rows,), dtype="float32"
        )
        for i in range(chunks):
            weights[i * chunk_rows : (i + 1) * chunk_rows] = np.random.default_rng(i).random(chunk_rows) + 0.5
    return path
