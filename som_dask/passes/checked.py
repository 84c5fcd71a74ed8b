"""Which kept blocks have been checked in this process: as long as they stay, they need no hashing again."""

from __future__ import annotations

import weakref
from typing import Any

from som_dask.engine.block import ArrayRows, Block

__all__ = ["CheckedBlocks"]


class CheckedBlocks:
    """Blocks in memory and their fingerprints, told by the arrays that they are.

    A block that was lost and made again, or that came from another worker, is another array: it is not known. No
    array is kept alive.
    """

    def __init__(self) -> None:
        self.found: dict[int, tuple[Any, Any, int]] = {}

    def knows(self, block: Block, fingerprint: int) -> bool:
        """Whether a block is one that was entered with this fingerprint."""
        rows, weights, known = self.found.get(id(_array_of(block)), (None, None, None))
        return (
            rows is not None
            and rows() is _array_of(block)
            and (weights is None if block.weights is None else weights is not None and weights() is block.weights)
            and known == fingerprint
        )

    def enter(self, block: Block, fingerprint: int) -> None:
        """Enter a block that is in memory, once its rows, weights and row numbers have been found to hash to this."""
        array = _array_of(block)
        if array is not None:
            place, found = id(array), self.found
            rows = weakref.ref(array, lambda gone: found.pop(place, None))
            weights = None if block.weights is None else weakref.ref(block.weights)
            found[place] = rows, weights, fingerprint


def _array_of(block: Block) -> Any:
    return block.source.array if isinstance(block.source, ArrayRows) else None
