"""A codebook as the workers get it, with the engine that they are to use."""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.block import Block
from som_dask.engine.cpu import CPU_EXACT
from som_dask.engine.partial import ExactPartial, Partial, SumScales
from som_dask.engine.protocol import Engine, Matches
from som_dask.errors import DataError, ParameterError
from som_dask.numerics.fixed_point import FixedPoint
from som_dask.numerics.scan import column_ranges
from som_dask.numerics.sizes import HasSize

__all__ = ["SharedCodebook", "scales_for"]

LIGHTEST_BITS = 30  # of weights below 2^-30 of the heaviest not all digits count


@dataclass(frozen=True)
class SharedCodebook(HasSize):
    """A codebook, with what workers need to search it and to add up.

    What an engine makes of it is made once a process, and stays behind when it travels. However often it arrives in a
    process, there is one of it as long as any task there has it.

    Attributes
    ----------
    codebook : (M, K) float64
        The scaled codebook: nodes in the space of `space`. Not to be changed.
    lattice : Lattice with M nodes
    space : FeatureSpace, optional
        By default that of samples as they are.
    engine : Engine
    scales : SumScales, optional
        Of exact sums; an engine that adds up exactly needs them for `add_up`.

    Raises
    ------
    ParameterError
        If the engine can't compute in this space.
    """

    codebook: np.ndarray
    lattice: Lattice
    space: FeatureSpace = None  # type: ignore[assignment]
    engine: Engine = CPU_EXACT
    scales: SumScales | None = None
    made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    lock: Any = field(default_factory=threading.Lock, init=False, repr=False, compare=False)
    identity: str = field(default_factory=lambda: uuid.uuid4().hex, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.space is None:
            object.__setattr__(self, "space", FeatureSpace.plain(self.codebook.shape[1]))
        reason = self.engine.supports(self.space)
        if reason is not None:
            raise ParameterError(reason)

    def __reduce__(self) -> tuple[Any, ...]:
        with _LOCK:
            _HERE[self.identity] = self
        parts = (self.codebook, self.lattice, self.space, self.engine, self.scales)
        return _arrive, (self.identity, type(self), parts)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """Call `make()` once a process and return what it gave; threads share it."""
        with self.lock:
            if name not in self.made:
                self.made[name] = make()
            return self.made[name]

    @property
    def state(self) -> Any:
        """What the engine has made of the codebook."""
        return self.once("state", lambda: self.engine.prepare(self))

    def find(self, block: Block, *, second: bool = False) -> Matches:
        """Find the nodes of the samples of a block."""
        return self.engine.find(self.state, self._checked(block), second=second)

    def add_up(self, block: Block) -> Partial | ExactPartial:
        """Add up a block for an epoch.

        Raises
        ------
        DataError
            If the block has another number of features than the codebook, or numbers beyond the range of the scales.
        """
        return self.engine.add_up(self.state, self._checked(block))

    def _checked(self, block: Block) -> Block:
        n_features = len(self.space.used)
        if len(block.shape) != 2 or block.shape[1] != n_features:
            raise DataError(f"a block has shape {block.shape}, the codebook {n_features} features")
        if block.with_errors != self.space.value_errors:
            raise DataError("values have errors in the blocks or in the map's space, but not in both")
        return block


# The codebooks of this process that have travelled, by their identity.
_HERE = weakref.WeakValueDictionary[str, SharedCodebook]()
_LOCK = threading.Lock()


def _arrive(identity: str, kind: type[SharedCodebook], parts: tuple[Any, ...]) -> SharedCodebook:
    """Return the codebook of this process that has an identity; make it of its parts if there is none."""
    with _LOCK:
        found = _HERE.get(identity)
        if found is None:
            found = kind(*parts)
            object.__setattr__(found, "identity", identity)
            _HERE[identity] = found
        return found


def scales_for(
    codebook: np.ndarray,
    space: FeatureSpace,
    *,
    n: int,
    least: np.ndarray,
    most: np.ndarray,
    small: np.ndarray | None = None,
    weights: tuple[float, float] = (1.0, 1.0),
    shares: tuple[np.ndarray, np.ndarray] | None = None,
) -> SumScales:
    """Choose the fixed points of exact sums of n samples.

    Parameters
    ----------
    codebook : (M, K) float64
    space : FeatureSpace
    n : int
    least, most : (K,) float64
        Between these lie the points.
    small : (K,) float64, optional
        Binary exponents of numbers that are small and yet many; see `FixedPoint.of_range`.
    weights : (float, float)
        Between these lie the samples' weights.
    shares : ((K,), (K,)) float64, optional
        Between these, positive, lie 1 over the squared errors of the coordinates, where values have errors.
    """
    n_features, (lightest, heaviest) = len(least), weights
    if shares is None:
        shares = np.ones(n_features), np.ones(n_features)
    with np.errstate(over="ignore", invalid="ignore"):
        lowest, highest = column_ranges(np.array(codebook, dtype=np.float64, order="C"))
        spans = np.maximum(most - lowest, highest - least)
        # No sample is farther from a node than this; doubled, for the rounding of all that.
        farthest = space.rule.farthest(spans * np.sqrt(shares[1]))
        farthest = min(farthest * heaviest, np.finfo(np.float64).max)
    largest = np.maximum(np.abs(least), np.abs(most))
    if space.weighs_samples:
        # Of the weights, too, in more columns. Those far below the heaviest are nothing beside it, in any number.
        heavy = shares[1] * heaviest
        largest = np.concatenate([largest * heavy, heavy, [heaviest]])
        light, lights = _light_bits(lightest, heaviest), _light_bits(shares[0] * lightest, heavy)
        small = np.concatenate([(0.0 if small is None else small) + lights, lights, [light]])
    columns = FixedPoint.of_range(largest, n, small)
    distance = replace(FixedPoint.of_range(np.array([farthest]), n), limbs=columns.limbs)
    if not space.weighs_samples:
        return SumScales(columns, distance)
    features, own = (replace(columns, shift=part) for part in np.split(columns.shift[:-1], 2))
    return SumScales(features, distance, columns.of_column(-1), own if space.value_errors else None)


def _light_bits(lightest: Any, heaviest: Any) -> Any:
    """Binary exponents of the lightest weights of which all digits count."""
    bits = np.maximum(np.frexp(lightest)[1], np.frexp(heaviest)[1] - LIGHTEST_BITS)
    return bits.astype(np.float64)
