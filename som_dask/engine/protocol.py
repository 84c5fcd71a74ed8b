"""What an engine is: a way of computing the best matching units and the sums of a block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.block import Block
from som_dask.engine.partial import ExactPartial, Partial, SumScales

__all__ = ["CodebookView", "Engine", "Matches", "Precision"]

Precision = Literal["exact", "fast"]


class Matches(NamedTuple):
    """The nodes of the samples of a block.

    Attributes
    ----------
    bmu : (n,) int64
        Flat index of the best matching unit, the lowest on ties; -1 for samples that are left out for the values
        that they lack.
    second : (n,) int64, or None
        That of the second best; equal to `bmu` on a map of one node.
    distance : (n,) float64
        To the best matching unit, by the metric of the map's space; NaN for samples left out.
    """

    bmu: np.ndarray
    second: np.ndarray | None
    distance: np.ndarray


class CodebookView(Protocol):
    """What an engine sees of a `som_dask.engine.codebook.SharedCodebook`; its attributes are described there."""

    @property
    def codebook(self) -> np.ndarray: ...

    @property
    def lattice(self) -> Lattice: ...

    @property
    def space(self) -> FeatureSpace: ...

    @property
    def scales(self) -> SumScales | None: ...


@dataclass(frozen=True)
class Engine(ABC):
    """A way of computing; `tests/contracts/test_engines.py` says what each must do.

    Engines hold no data: what they make of a codebook is the state that `prepare` returns, which threads share.

    Attributes
    ----------
    device : {"cpu", "gpu"}
        In whose memory blocks are best.
    precision : {"exact", "fast"}
        "exact": best matching units are the float64 ones, and sums are `ExactPartial`. "fast": units that float32
        can't tell apart may go either way, and sums are `Partial`.
    """

    device: ClassVar[str]
    precision: ClassVar[Precision] = "exact"

    @property
    def name(self) -> str:
        """Such as "cpu-exact"."""
        return f"{self.device}-{self.precision}"

    @property
    def exact(self) -> bool:
        """Whether the precision is "exact"."""
        return self.precision == "exact"

    @abstractmethod
    def supports(self, space: FeatureSpace) -> str | None:
        """Return None if it computes in a space, or else say what it can't do and what to use instead."""

    @abstractmethod
    def prepare(self, shared: CodebookView) -> Any:
        """Make the state for a codebook, once a process."""

    @abstractmethod
    def find(self, state: Any, block: Block, *, second: bool = False) -> Matches:
        """Find the nodes of the samples of a block; `second` asks for the second best, too."""

    @abstractmethod
    def add_up(self, state: Any, block: Block) -> Partial | ExactPartial:
        """Add up a block for an epoch.

        Raises
        ------
        DataError
            If numbers are beyond the range that the codebook's scales are made for.
        """
