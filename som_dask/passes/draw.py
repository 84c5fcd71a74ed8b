"""Draw samples at random in one pass over the data: the same samples whatever the blocks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.engine.block import Block, Tile, add_up_tiles
from som_dask.numerics.hashing import mix
from som_dask.numerics.sizes import HasSize
from som_dask.passes.run import Group, Pass, run_pass
from som_dask.samples.table import Samples

__all__ = ["Draw", "Drawing", "Drawn", "draw_from_block", "draw_samples"]

# A pass looks only at samples whose keys lie below this many times the share that is wanted, so that its tasks hand
# on few samples. Where fewer than one in so many are not left out, too few are found.
SLACK = 4


@dataclass(frozen=True)
class Draw:
    """What to draw: the samples with the lowest random keys, among those that are not left out.

    The key of a sample is a hash of its row number and the seed, so the samples are the same whatever the blocks.

    Attributes
    ----------
    most : int
        Maximum number of samples to draw.
    seed : int
    limit : int
        Samples whose key is `limit` or more are passed over; 2^64 for none.
    dtype : str, optional
        Type of the values drawn; float64 by default.
    """

    most: int
    seed: int
    limit: int = 2**64
    dtype: str = "float64"

    @classmethod
    def from_samples(cls, samples: Samples, most: int, seed: int) -> Draw:
        """Plan to draw from samples of which few are left out."""
        limit = min(SLACK * most * 2**64 // max(samples.n_samples, 1), 2**64)
        return cls(most, seed, limit, str(samples.array.dtype))

    def from_all(self) -> Draw:
        """Return the same draw that passes over no sample."""
        return replace(self, limit=2**64)

    @functools.cached_property
    def start(self) -> np.uint64:
        """What is added to row numbers before they are hashed."""
        return np.random.default_rng(self.seed).integers(2**64, dtype=np.uint64)


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
    points : (k, K) array
        In the map's space, or (k, D) values of the data; NaN where a value is missing.
    weights : (k,) float64, optional
        Of the samples.
    """

    most: int
    keys: np.ndarray
    numbers: np.ndarray
    points: np.ndarray
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def __add__(self, other: Drawn) -> Drawn:
        return Drawn.joined([self, other])

    @classmethod
    def joined(cls, parts: Sequence[Drawn]) -> Drawn:
        """Return the lowest of several draws, in the order of their keys."""
        keys, numbers = (np.concatenate([getattr(part, name) for part in parts]) for name in ("keys", "numbers"))
        lowest = np.argsort(keys)[
            : parts[0].most
        ]  # no two are equal: hashing maps different numbers to different keys
        weights = [part.weights for part in parts if part.weights is not None]
        return cls(
            parts[0].most,
            keys[lowest],
            numbers[lowest],
            np.concatenate([part.points for part in parts])[lowest],
            np.concatenate(weights)[lowest] if weights else None,
        )


class Drawing:
    """Samples drawn from a block, tile by tile.

    Parameters
    ----------
    draw : Draw
    n_columns : int
        Number of coordinates of a sample.
    """

    def __init__(self, draw: Draw, n_columns: int, *, weighted: bool = False) -> None:
        self.draw, none = draw, np.empty(0, dtype=np.int64)
        empty = np.empty((0, n_columns), dtype=draw.dtype)
        weights = np.empty(0) if weighted else None
        self.parts = [Drawn(draw.most, none.astype(np.uint64), none, empty, weights)]
        self.waiting = 0

    def add(
        self,
        numbers: int | np.ndarray,
        points: np.ndarray,
        weights: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        """Draw from some samples.

        Parameters
        ----------
        numbers : int, or (n,) int64
            Row number of the first sample of a tile, which the others follow, or of each.
        points : (k, K) float64
        weights : (k,) float64, optional
        rows : (k,) int64, optional
            Which samples of the tile the points are; by default all.
        """
        place = np.arange(len(points)) if rows is None else rows
        own = numbers + place if isinstance(numbers, int) else numbers[place]
        keys = mix(own.astype(np.uint64) + self.draw.start)
        if self.draw.limit < 2**64:
            low = np.flatnonzero(keys < np.uint64(self.draw.limit))
            keys, own, points = keys[low], own[low], points[low]
            weights = None if weights is None else weights[low]
        self.parts.append(Drawn(self.draw.most, keys, own, points.astype(self.draw.dtype), weights))
        self.waiting += len(keys)
        if self.waiting > 2 * self.draw.most:  # so that they take no more than three times the memory of the result
            self.result()

    def result(self) -> Drawn:
        """Return the samples drawn so far."""
        self.parts, self.waiting = [Drawn.joined(self.parts)], 0
        return self.parts[0]


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
    return add_up_tiles(block, _PointDrawing(space, Draw(most, seed)))


class _PointDrawing:
    """Points of the map's space drawn from a block."""

    def __init__(self, space: FeatureSpace, draw: Draw) -> None:
        self.space, self.drawing = space, Drawing(draw, space.n_used)

    def add(self, tile: Tile) -> None:
        """Draw from a tile."""
        for part in self.space.parts(tile.values, tile.weights):
            self.drawing.add(tile.numbers, part.values, rows=part.rows)

    def result(self) -> Drawn:
        """Return the samples drawn from all tiles."""
        return self.drawing.result()
