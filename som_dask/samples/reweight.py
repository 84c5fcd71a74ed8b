"""Other weights for the same samples, by hashes of their row numbers: bootstrap weights, and rows held out."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from math import factorial
from typing import Any

import dask.array
import numpy as np
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from som_dask.engine.block import Block
from som_dask.engine.row_numbers import RowNumbers
from som_dask.errors import ParameterError
from som_dask.numerics.hashing import mix
from som_dask.samples.table import Samples

__all__ = ["Reweighting", "bootstrap_weights", "held_out", "reweight"]

KEYS = 2**64
TERMS = 40  # of the series of e; the rest is far below 1 / KEYS
# So that rows with low keys in one choice are not those with low keys in another of the same seed.
HOLDOUT, BOOTSTRAP = 1, 2


def bootstrap_weights(n: int, seed: int) -> np.ndarray:
    """Return bootstrap weights: how often each of n samples is drawn, by a Poisson distribution of mean 1.

    Drawing n samples with replacement takes each of them so often, nearly independently of the others. The weight of
    a sample is a function of a hash of its row number and the seed, so it does not depend on blocks.

    Parameters
    ----------
    n : int
        Number of samples, in C order of their dimensions.
    seed : int

    Returns
    -------
    (n,) float64
        Whole numbers.

    Examples
    --------
    >>> import som_dask as som
    >>> weights = som.bootstrap_weights(1000, seed=0)
    >>> bool((weights[:10] == som.bootstrap_weights(10, seed=0)).all())
    True
    """
    return _count(np.arange(n), seed)


def held_out(n: int, share: float, seed: int = 0) -> np.ndarray:
    """Return which of n samples are held out: each with the probability `share`.

    It is decided by a hash of the row number and the seed, so it does not depend on blocks.

    Parameters
    ----------
    n : int
        Number of samples, in C order of their dimensions.
    share : float
        From 0 to below 1.
    seed : int

    Returns
    -------
    (n,) bool

    Raises
    ------
    ParameterError
        If the share is another number.

    Examples
    --------
    >>> import som_dask as som
    >>> out = som.held_out(1000, 0.1)
    >>> out.shape, out.dtype
    ((1000,), dtype('bool'))
    """
    return _choose(np.arange(n), check_share(share), seed)


@dataclass(frozen=True)
class Reweighting:
    """How weights become other weights.

    Attributes
    ----------
    bootstrap : int, optional
        Seed of the `bootstrap_weights` that they are multiplied by.
    holdout : float
        Share of the samples that are held out, whose weight becomes 0.
    holdout_seed : int
    turned : bool
        Whether the weights of the others become 0, and not of those held out.
    """

    bootstrap: int | None = None
    holdout: float = 0.0
    holdout_seed: int = 0
    turned: bool = False

    @property
    def changes(self) -> bool:
        """Whether any weight becomes another."""
        return self.bootstrap is not None or self.holdout > 0 or self.turned

    def of_rows(self, numbers: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        """Return the new weights, (n,) float64, of rows with some numbers, (n,) int64, and weights."""
        result = np.ones(len(numbers)) if weights is None else np.array(weights, dtype=np.float64)
        if self.bootstrap is not None:
            result *= _count(numbers, self.bootstrap)
        if self.holdout or self.turned:
            chosen = _choose(numbers, self.holdout, self.holdout_seed)
            result[~chosen if self.turned else chosen] = 0.0
        return result

    def of_block(self, block: Block) -> Block:
        """Return a block with the new weights."""
        return replace(block, weights=self.of_rows(block.numbers.numbers(0, len(block)), block.weights))


def reweight(samples: Samples, how: Reweighting) -> Samples:
    """Return the same samples with other weights, lazily; unchanged if none changes.

    Raises
    ------
    ParameterError
        If they have been reweighted before.
    """
    if samples.reweighting is not None:
        raise ParameterError("these samples have been reweighted before; reweight those that they are made of")
    if not how.changes:
        return samples
    name = f"reweight-{uuid.uuid4().hex}"
    before = samples.weight_keys() or [None] * len(samples.block_rows)
    layer: dict[Any, Any] = {
        (name, i): (_reweight_rows, how, numbers, rows, weights)
        for i, (numbers, rows, weights) in enumerate(
            zip(samples.row_numbers(), samples.block_rows, before, strict=True)
        )
    }
    layers: dict[str, Any] = {name: MaterializedLayer(layer)}
    above: dict[str, set[str]] = {name: set()}
    if samples.weights is not None:
        graph = samples.weights.__dask_graph__()
        layers |= graph.layers
        above |= graph.dependencies
        above[name] = {samples.weights.name}
    weights = dask.array.Array(HighLevelGraph(layers, above), name, (samples.block_rows,), dtype=np.float64)
    return replace(samples, weights=weights, reweighting=how)


def check_share(share: float) -> float:
    """Return the share of samples to hold out, if it is a number from 0 to below 1."""
    if isinstance(share, bool) or not isinstance(share, (int, float, np.number)) or not 0 <= share < 1:
        raise ParameterError(f"holdout must be a share of the samples, from 0 to below 1, got {share!r}")
    return float(share)


def _reweight_rows(how: Reweighting, numbers: RowNumbers, n: int, weights: np.ndarray | None) -> np.ndarray:
    return how.of_rows(numbers.numbers(0, n), weights)


def _keys(numbers: np.ndarray, seed: int, purpose: int) -> np.ndarray:
    start = np.random.default_rng([seed, purpose]).integers(KEYS, dtype=np.uint64)
    keys: np.ndarray = mix(numbers.astype(np.uint64) + start)
    return keys


def _choose(numbers: np.ndarray, share: float, seed: int) -> np.ndarray:
    return _keys(numbers, seed, HOLDOUT) < np.uint64(int(Fraction(share) * KEYS))


def _count(numbers: np.ndarray, seed: int) -> np.ndarray:
    keys = _keys(numbers, seed, BOOTSTRAP)
    return np.searchsorted(_poisson_steps(), keys, side="right").astype(np.float64)


@cache
def _poisson_steps() -> np.ndarray:
    """Return where the distribution of a Poisson variable of mean 1 rises, as keys: (20,) uint64.

    They are computed from whole numbers, so they are the same on every machine.
    """
    e = sum((Fraction(1, factorial(k)) for k in range(TERMS)), Fraction(0))
    reached, steps = Fraction(0), []
    for k in range(20):
        reached += 1 / (e * factorial(k))
        steps.append(int(reached * KEYS))
    return np.array(steps, dtype=np.uint64)
