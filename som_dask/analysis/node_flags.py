"""The numbers of nodes as flags of the CF conventions, so that tools which know these show what a number means."""

from __future__ import annotations

from typing import Any

import numpy as np

from som_dask.algorithm.lattice import Lattice

__all__ = ["MOST_FLAGS", "describe_flags"]

# The meanings are one attribute, of 12 bytes a node, and those of HDF5, and so of netCDF, have at most 64 KiB.
# Every reader of a Zarr store reads all of them, too; those of 160,000 nodes would be 3 MB.
MOST_FLAGS = 4096


def describe_flags(lattice: Lattice) -> dict[str, Any]:
    """Return the attributes of a variable of numbers of nodes, int32; none for a map of more than `MOST_FLAGS` nodes.

    Returns
    -------
    dict
        ``flag_values``, (M,) int32 as the variable, and ``flag_meanings``: ``node_ROW_COLUMN`` for each of them,
        separated by spaces.
    """
    if lattice.n_nodes > MOST_FLAGS:
        return {}
    names = (f"node_{row}_{col}" for row in range(lattice.rows) for col in range(lattice.cols))
    return {"flag_values": np.arange(lattice.n_nodes, dtype=np.int32), "flag_meanings": " ".join(names)}
