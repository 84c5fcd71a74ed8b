"""The nodes that the samples of kept blocks had in the last epoch: where the search of the next one may begin."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from som_dask.engine.block import ArrayRows, Block

__all__ = ["LastNodes"]

# Below so many samples a node, finding out which nodes surround each other takes longer than it saves.
ROWS_A_NODE = 50


class LastNodes:
    """Nodes of the samples of blocks in memory, told by the arrays that these are.

    They take 2 bytes a sample, or 4 on maps of more than 32,767 nodes.

    A block that was lost and made again is another array: its samples have no nodes yet. Nothing depends on which
    nodes there are, but time. No array is kept alive.
    """

    def __init__(self) -> None:
        self.found: dict[int, tuple[Any, np.ndarray]] = {}

    def begin(self, joined: Block, blocks: Sequence[Block], n_nodes: int) -> Block:
        """Return blocks that were joined with the nodes that they had last, for a map of so many nodes.

        With few samples in this process, or with blocks that are not in memory, they are returned as they are.
        """
        arrays = [block.source.array for block in blocks if isinstance(block.source, ArrayRows)]
        if len(arrays) < len(blocks):
            return joined
        last = [self._of(array, n_nodes) for array in arrays]
        if sum(len(nodes) for _, nodes in self.found.copy().values()) < ROWS_A_NODE * n_nodes:
            return joined
        return replace(joined, last=np.concatenate(last).astype(np.int32))

    def enter(self, joined: Block, blocks: Sequence[Block], n_nodes: int) -> None:
        """Keep the nodes that the samples of blocks now have."""
        start = 0
        if joined.last is not None:
            for block in blocks:
                if isinstance(block.source, ArrayRows):
                    self._of(block.source.array, n_nodes)[:] = joined.last[start : start + len(block)]
                start += len(block)

    def _of(self, array: Any, n_nodes: int) -> np.ndarray:
        """The nodes of the samples of an array, (n,) int16 or int32, all -1 at first."""
        place, found = id(array), self.found
        dtype = np.int16 if n_nodes <= np.iinfo(np.int16).max else np.int32
        rows, nodes = found.get(place, (None, None))
        if rows is None or nodes is None or rows() is not array or nodes.dtype != dtype:
            nodes = np.full(len(array), -1, dtype=dtype)
            found[place] = weakref.ref(array, lambda gone: found.pop(place, None)), nodes
        return nodes
