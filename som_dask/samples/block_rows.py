"""How many rows a block has, unless its input says otherwise."""

from __future__ import annotations

__all__ = ["DEFAULT_BLOCK_SIZE", "MIN_BLOCK_ROWS", "choose_block_rows"]

DEFAULT_BLOCK_SIZE = "64 MiB"
# Small data are still cut into blocks, so that every core has work. The size of the blocks must not depend on the
# machine, because the last bits of a codebook from fast sums depend on the blocks.
USUAL_BLOCKS, MIN_BLOCK_ROWS = 32, 4096


def choose_block_rows(n_samples: int, row_bytes: int, block_bytes: int, least: int = MIN_BLOCK_ROWS) -> int:
    """Choose the rows of a block: enough blocks for every core, none larger than `block_bytes`, few below `least`."""
    rows = max(least, -(-n_samples // USUAL_BLOCKS))
    return max(1, min(rows, block_bytes // max(row_bytes, 1)))
