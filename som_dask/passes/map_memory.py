"""The memory that a map needs, looked at before any of it is taken."""

from __future__ import annotations

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import MemoryLimitError
from som_dask.passes.memory import process_memory

__all__ = ["NEVER_LACKING", "check_map_fits"]

# The codebook and its sums: 8 bytes for the old codebook, 16 for exact sums of two parts, 8 for what is smoothed
# and 8 for the new codebook; and what each node has beside them, such as its position, count and picture.
ENTRY_BYTES, NODE_BYTES = 40, 100
# Less than this is not worth a look at the limits, which takes as long as an epoch of a small map.
NEVER_LACKING = 2**20


def check_map_fits(lattice: Lattice, n_features: int, epochs: int = 0) -> None:
    """Check that a map and the history of its training fit the memory of this process, which updates the codebook.

    Raises
    ------
    MemoryLimitError
        If they don't. The same map without its samples is meant, so one that passes may still be too large.
    """
    needed = lattice.n_nodes * (n_features * ENTRY_BYTES + NODE_BYTES) + epochs * ENTRY_BYTES
    if needed < NEVER_LACKING:
        return
    limit = process_memory()
    if needed > limit:
        raise MemoryLimitError(
            f"a map of {lattice.rows} x {lattice.cols} nodes with {n_features} features and {epochs} epochs needs "
            f"{needed / 2**30:.3g} GiB of memory, and there are {limit / 2**30:.3g} GiB; take a smaller one"
        )
