"""Medians of the samples of each node, exact: found digit by digit, in passes that add up small tables of counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np

from som_dask.engine.block import refuse_mask
from som_dask.numerics.sizes import HasSize
from som_dask.passes.run import run_over_arrays

__all__ = ["find_node_medians"]

# Of a table of counts, which is as large as a block within these bounds: larger digits need fewer passes.
LEAST_COUNTS, MOST_COUNTS = 2**20, 2**25
ROWS_AT_ONCE = 2**14


def find_node_medians(nodes: np.ndarray, table: Any, n_nodes: int) -> np.ndarray:
    """Compute the median of each feature over the samples of each node.

    A value is taken as a whole number of 32 or 64 bits that sorts in the same way. Each pass over the data counts one
    digit of those that begin as the median does, so that the next digit of it is known (radix selection). So the
    result does not depend on the blocks, and no task holds more than its block and some counts.

    Parameters
    ----------
    nodes : (n,) int
        The node of each sample; negative for samples that are left out.
    table : dask array (n, D) of real numbers
        In blocks of rows. NaN is left out.
    n_nodes : int

    Returns
    -------
    (M, D) float64
        The mean of the two middle values where their number is even; NaN for nodes without values.
    """
    rows = dask.array.from_array(np.asarray(nodes)[:, None], chunks=(table.chunks[0], 1))
    width = n_nodes * table.shape[1]
    key = np.dtype(np.uint32 if np.can_cast(table.dtype, np.float32) else np.uint64)
    bits = 8 * key.itemsize
    room = np.clip(max(table.chunks[0]) * table.shape[1] * table.dtype.itemsize, LEAST_COUNTS, MOST_COUNTS)
    step = int(np.clip(np.log2(room / (16 * width)), 1, 16))
    known, found = np.zeros((2, width), dtype=key), 0  # the first bits of the lower and of the upper median
    rank = count = np.zeros((2, width), dtype=np.int64)
    while found < bits:
        digit = _Digit(found, min(step, bits - found), bits, key)
        counts = run_over_arrays("node_medians", _Counts.of_block, [rows, table], known, digit, n_nodes).counts
        if not found:
            count = counts.sum(axis=2)
            rank = np.maximum(np.stack([(count[0] - 1) // 2, count[1] // 2]), 0)
        below = np.cumsum(counts, axis=2)
        place = np.minimum((below <= rank[..., None]).sum(axis=2), counts.shape[2] - 1)
        before = np.take_along_axis(below - counts, place[..., None], axis=2)[..., 0]
        rank, known = rank - before, (known << digit.width) | place.astype(key)
        found += digit.width
    low, high = _to_floats(known).astype(np.float64)
    return np.where(count[0] > 0, (low + high) / 2 + 0.0, np.nan).reshape(n_nodes, -1)


@dataclass(frozen=True)
class _Digit:
    """Which bits of the keys are looked at, from the first one on."""

    start: int
    width: int
    bits: int
    dtype: np.dtype

    def of(self, keys: np.ndarray) -> np.ndarray:
        """Return the digit of each key."""
        return (keys >> self.dtype.type(self.bits - self.start - self.width)) & self.dtype.type(2**self.width - 1)

    def begin(self, keys: np.ndarray) -> np.ndarray:
        """Return the bits of each key before the digit."""
        return keys >> self.dtype.type(self.bits - self.start) if self.start else np.zeros_like(keys)


@dataclass(frozen=True)
class _Counts(HasSize):
    """Counts of a digit: (2, M * D, digits) int64, for the lower and the upper median."""

    counts: np.ndarray

    @classmethod
    def of_block(
        cls, nodes: np.ndarray, block: np.ndarray, known: np.ndarray, digit: _Digit, n_nodes: int
    ) -> _Counts:
        """Count a block."""
        counts, block, n = np.zeros((*known.shape, 2**digit.width), dtype=np.int64), refuse_mask(block), len(block)
        flat = counts.reshape(2, -1)
        apart = known[0] != known[1]  # where the two medians have begun in the same way, they count the same
        for some in (slice(start, start + ROWS_AT_ONCE) for start in range(0, n, ROWS_AT_ONCE)):
            values = np.asarray(block[some], dtype=np.dtype(f"f{digit.dtype.itemsize}"))
            taken = (nodes[some] >= 0) & ~np.isnan(values)
            keys = _to_keys(values)[taken]
            cell = (nodes[some].astype(np.int64) * values.shape[1] + np.arange(values.shape[1]))[taken]
            digits, begin = digit.of(keys), digit.begin(keys)
            place = (cell << digit.width) + digits.astype(np.int64)
            np.add.at(flat[0], place[known[0, cell] == begin], 1)
            if apart.any():
                np.add.at(flat[1], place[apart[cell] & (known[1, cell] == begin)], 1)
        counts[1, ~apart] = counts[0, ~apart]
        return cls(counts)

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(self.counts + other.counts)


def _to_keys(values: np.ndarray) -> np.ndarray:
    """Return unsigned integers that sort as floats do: of negative ones all bits turn, of others the first."""
    bits = values.view(np.dtype(f"u{values.itemsize}"))
    sign = bits.dtype.type(1 << (8 * values.itemsize - 1))
    return np.where(bits & sign, ~bits, bits | sign)


def _to_floats(keys: np.ndarray) -> np.ndarray:
    """Return the floats that `_to_keys` makes such integers of."""
    sign = keys.dtype.type(1 << (8 * keys.itemsize - 1))
    return np.where(keys & sign, keys ^ sign, ~keys).view(np.dtype(f"f{keys.itemsize}"))
