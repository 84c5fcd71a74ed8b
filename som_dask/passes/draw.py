"""Samples picked at random in one pass, where most are left out: the same ones for any blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from som_dask.algorithm.feature_space import Preparation
from som_dask.engine.batch import tiles_of
from som_dask.engine.row_numbers import Rows, numbers_of
from som_dask.numerics.hashing import mix

__all__ = ["Picked", "block_picked"]


@dataclass(frozen=True)
class Picked:
    """Of some samples the `most` whose keys are lowest; parts add up, in any order.

    Attributes
    ----------
    most : int
    keys : (k,) uint64
        Random, one for each sample's number.
    numbers : (k,) int64
    points : (k, K) float64
        In the map's space, NaN where a value is missing.
    """

    most: int
    keys: np.ndarray
    numbers: np.ndarray
    points: np.ndarray

    def __add__(self, other: Picked) -> Picked:
        keys, numbers, points = (
            np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("keys", "numbers", "points")
        )
        lowest = np.lexsort((numbers, keys))[: self.most]
        return Picked(self.most, keys[lowest], numbers[lowest], points[lowest])


def block_picked(block: Any, rows: Rows, preparation: Preparation, most: int, seed: int) -> Picked:
    """Pick from a block, (n, D), among the samples that are not left out.

    The key of a sample is a hash of its number and the seed.
    """
    empty = np.empty(0, dtype=np.int64)
    total = Picked(most, empty.astype(np.uint64), empty, np.empty((0, int(np.count_nonzero(preparation.used)))))
    start = np.random.default_rng(seed).integers(2**64, dtype=np.uint64)
    for tile in tiles_of(block):
        numbers = numbers_of(rows, tile.start, len(tile.values))
        if isinstance(numbers, int):
            numbers = np.arange(numbers, numbers + len(tile.values), dtype=np.int64)
        for part in preparation.parts(tile.values, tile.weights):
            here = numbers if part.rows is None else numbers[part.rows]
            total = total + Picked(most, mix(here.astype(np.uint64) + start), here, part.values)
    return total
