"""Draw samples at random in one pass over the data: the same samples whatever the blocks."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.engine.block import Block, Tile, add_up_tiles
from som_dask.numerics.hashing import mix
from som_dask.numerics.sizes import HasSize
from som_dask.passes.run import Group, Pass, run_pass
from som_dask.samples.table import Samples

__all__ = ["Drawn", "draw_from_block", "draw_samples"]


@dataclass(frozen=True)
class Drawn(HasSize):
    """The samples with the lowest random keys; parts add up in any order.

    Attributes
    ----------
    most : int
        Maximum number of samples to keep.
    keys : (k,) uint64
        Random keys, which depend on the row number of the sample and the seed.
    numbers : (k,) int64
        Row numbers.
    points : (k, K) float64
        In the map's space, NaN where a value is missing.
    """

    most: int
    keys: np.ndarray
    numbers: np.ndarray
    points: np.ndarray

    def __add__(self, other: Drawn) -> Drawn:
        keys, numbers, points = (
            np.concatenate([getattr(self, name), getattr(other, name)]) for name in ("keys", "numbers", "points")
        )
        lowest = np.lexsort((numbers, keys))[: self.most]
        return Drawn(self.most, keys[lowest], numbers[lowest], points[lowest])


def draw_samples(samples: Samples, space: FeatureSpace, most: int, seed: int) -> np.ndarray:
    """Draw samples at random in one pass, among those that are not left out.

    Parameters
    ----------
    samples : Samples
    space : FeatureSpace
    most : int
        Maximum number of samples to draw.
    seed : int

    Returns
    -------
    (k, K) float64
        Points of the map's space, NaN where a value is missing.
    """
    look = Pass(name="draw", of_group=functools.partial(_draw_from_group, most, seed), joins=True, nodes=most)
    points: np.ndarray = run_pass(look, samples, space).points
    return points


def _draw_from_group(most: int, seed: int, group: Group, space: FeatureSpace) -> Drawn:
    return draw_from_block(group.joined, space, most, seed)


def draw_from_block(block: Block, space: FeatureSpace, most: int, seed: int) -> Drawn:
    """Draw samples from a block, among those that are not left out.

    The key of a sample is a hash of its row number and the seed.
    """
    return add_up_tiles(block, _Drawing(space, most, seed))


class _Drawing:
    """Samples drawn from a block, tile by tile."""

    def __init__(self, space: FeatureSpace, most: int, seed: int) -> None:
        empty = np.empty(0, dtype=np.int64)
        self.space, self.total = space, Drawn(most, empty.astype(np.uint64), empty, np.empty((0, space.n_used)))
        self.start = np.random.default_rng(seed).integers(2**64, dtype=np.uint64)

    def add(self, tile: Tile) -> None:
        """Draw samples from a tile."""
        numbers = tile.numbers
        if isinstance(numbers, int):
            numbers = np.arange(numbers, numbers + len(tile.values), dtype=np.int64)
        for part in self.space.parts(tile.values, tile.weights):
            here = numbers if part.rows is None else numbers[part.rows]
            keys = mix(here.astype(np.uint64) + self.start)
            self.total = self.total + Drawn(self.total.most, keys, here, part.values)

    def result(self) -> Drawn:
        """Return the samples drawn from all tiles."""
        return self.total
