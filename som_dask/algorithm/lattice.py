"""The lattice of a map: where its nodes lie, how far apart they are, and which of them are neighbors."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from som_dask.errors import ParameterError

__all__ = ["Boundary", "Lattice", "Topology"]

Topology = Literal["hexagonal", "rectangular"]
Boundary = Literal["planar", "toroidal", "cylindrical"]

ROW_HEIGHT = np.sqrt(3.0) / 2.0  # between rows of a hexagonal lattice whose neighbors are all at distance 1


@dataclass(frozen=True)
class Lattice:
    """A two-dimensional grid of nodes.

    Nodes are numbered row by row, so the flat index of a node is ``row * cols + col``. Lengths are in lattice units:
    the distance between two nearest nodes is 1.

    Parameters
    ----------
    rows : int
        Number of rows of nodes, at least 1.
    cols : int
        Number of columns of nodes, at least 1.
    topology : {"hexagonal", "rectangular"}
        How the nodes are arranged. On a hexagonal lattice odd rows are shifted to the right by half a node, and rows
        are sqrt(3)/2 apart, so that all six neighbors of a node lie at distance 1 (Kohonen, *Self-Organizing Maps*,
        3rd ed., 2001, section 3.2).
    boundary : {"planar", "toroidal", "cylindrical"}
        Which edges of the map are joined: none, all of them, or the left one with the right one. A cylindrical
        lattice wraps around in x, so that its last column is next to its first. A toroidal one wraps around in both
        directions.

    Raises
    ------
    ParameterError
        If a size is not a positive integer, if a name is unknown, or if a hexagonal torus has an odd number of rows,
        which could not be joined without a seam.

    Examples
    --------
    >>> import som_dask as som
    >>> lattice = som.Lattice(2, 3)
    >>> lattice.n_nodes
    6
    >>> lattice.positions().round(3).tolist()
    [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.5, 0.866], [1.5, 0.866], [2.5, 0.866]]
    >>> lattice.grid_distances(0).round(3).tolist()
    [[0.0, 1.0, 2.0, 1.0, 1.732, 2.646]]
    >>> som.Lattice(2, 3, boundary="cylindrical").grid_distances(0).round(3).tolist()
    [[0.0, 1.0, 1.0, 1.0, 1.732, 1.0]]
    """

    rows: int
    cols: int
    topology: Topology = "hexagonal"
    boundary: Boundary = "planar"

    def __post_init__(self) -> None:
        for name in ("rows", "cols"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise ParameterError(f"{name} must be a positive integer, got {value!r}")
            object.__setattr__(self, name, int(value))
        if self.topology not in get_args(Topology):
            raise ParameterError(f"topology must be one of {get_args(Topology)}, got {self.topology!r}")
        if self.boundary not in get_args(Boundary):
            raise ParameterError(f"boundary must be one of {get_args(Boundary)}, got {self.boundary!r}")
        if self.topology == "hexagonal" and self.boundary == "toroidal" and self.rows % 2:
            raise ParameterError(f"a hexagonal torus needs an even number of rows, got {self.rows}")

    @property
    def shape(self) -> tuple[int, int]:
        """``(rows, cols)``."""
        return self.rows, self.cols

    @property
    def n_nodes(self) -> int:
        """M, the number of nodes."""
        return self.rows * self.cols

    @property
    def row_height(self) -> float:
        """Distance between two rows, in lattice units."""
        return float(ROW_HEIGHT) if self.topology == "hexagonal" else 1.0

    @property
    def periods(self) -> tuple[float, float]:
        """Lengths in x and y after which the lattice repeats, infinity where it does not wrap."""
        x = np.inf if self.boundary == "planar" else float(self.cols)
        y = self.rows * self.row_height if self.boundary == "toroidal" else np.inf
        return x, y

    def row_offsets(self) -> np.ndarray:
        """Return x of the first node in each row, (rows,) float64, in lattice units."""
        if self.topology == "hexagonal":
            return 0.5 * (np.arange(self.rows) % 2)
        return np.zeros(self.rows)

    def positions(self) -> np.ndarray:
        """Return the positions of all nodes.

        Returns
        -------
        (M, 2) float64
            x and y of each node in lattice units: ``x = col + 0.5 (row mod 2)`` and ``y = row sqrt(3)/2`` on a
            hexagonal lattice, ``x = col`` and ``y = row`` on a rectangular one.
        """
        x = np.arange(self.cols)[None, :] + self.row_offsets()[:, None]
        y = np.broadcast_to(np.arange(self.rows)[:, None] * self.row_height, self.shape)
        return np.stack([x, y], axis=-1).reshape(self.n_nodes, 2)

    def squared_distances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compute squared grid distances between nodes.

        Parameters
        ----------
        a, b : int arrays
            Flat indices of nodes, broadcast together.

        Returns
        -------
        float64 array
            Squared Euclidean distances in lattice units, by the shorter way where the lattice wraps.
        """
        row_a, col_a = np.divmod(np.asarray(a), self.cols)
        row_b, col_b = np.divmod(np.asarray(b), self.cols)
        x, y = self.offsets(row_a, col_a, row_b, col_b)
        return x * x + y * y

    def offsets(
        self, row_a: np.ndarray, col_a: np.ndarray, row_b: np.ndarray, col_b: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Compute abs(dx) and abs(dy) between nodes, float64 in lattice units, the shorter way where it wraps."""
        starts = self.row_offsets()
        x = np.abs((col_a + starts[row_a]) - (col_b + starts[row_b]))
        y = np.abs(row_a - row_b) * self.row_height
        period_x, period_y = self.periods
        return np.minimum(x, np.abs(period_x - x)), np.minimum(y, np.abs(period_y - y))

    def grid_distances(self, nodes: np.ndarray | None = None) -> np.ndarray:
        """Compute the grid distances from some nodes to every node.

        Parameters
        ----------
        nodes : (k,) int, optional
            Flat indices; all nodes by default.

        Returns
        -------
        (k, M) float64, in lattice units
        """
        every = np.arange(self.n_nodes)
        nodes = every if nodes is None else np.atleast_1d(nodes)
        return np.sqrt(self.squared_distances(nodes[:, None], every[None, :]))

    @property
    def adjacency_radius(self) -> float:
        """Distance below which two different nodes are neighbors.

        A node has six neighbors at distance 1 on a hexagonal lattice. On a rectangular one it has eight, including
        the diagonal ones at distance sqrt(2), as MiniSom counts them.
        """
        return 1.25 if self.topology == "hexagonal" else 1.5

    def adjacent(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return whether nodes are equal or neighbors.

        Parameters
        ----------
        a, b : int arrays
            Flat indices of nodes, broadcast together.

        Returns
        -------
        bool array
        """
        return self.squared_distances(a, b) < self.adjacency_radius**2

    def neighbor_table(self) -> np.ndarray:
        """Return the neighbors of each node, (M, 8) int64 flat indices, filled up with the node itself."""
        return _neighbor_table(self)

    def neighbor_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all ordered pairs of neighboring nodes: two int64 arrays of equal length, sorted."""
        node = np.arange(self.n_nodes)
        row, col = np.divmod(node, self.cols)
        pairs = []
        for d_row in (-1, 0, 1):
            for d_col in (-1, 0, 1):
                r, c = row + d_row, col + d_col
                if self.boundary == "toroidal":
                    r = r % self.rows
                if self.boundary != "planar":
                    c = c % self.cols
                inside = (r >= 0) & (r < self.rows) & (c >= 0) & (c < self.cols)
                a, b = node[inside], (r * self.cols + c)[inside]
                keep = (a != b) & self.adjacent(a, b)
                pairs.append(np.stack([a[keep], b[keep]]))
        first, second = np.unique(np.concatenate(pairs, axis=1), axis=1)
        return first, second


@functools.lru_cache(maxsize=8)  # each block of samples asks for it
def _neighbor_table(lattice: Lattice) -> np.ndarray:
    """Build the table that `Lattice.neighbor_table` returns."""
    first, second = lattice.neighbor_pairs()
    table = np.repeat(np.arange(lattice.n_nodes)[:, None], 8, axis=1)
    start = np.searchsorted(first, np.arange(lattice.n_nodes))
    table[first, np.arange(len(first)) - start[first]] = second
    return table
