"""Series of nodes: from which to which they go, and how long they stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from som_dask.numerics.sizes import HasSize

__all__ = ["NodeSeries"]


@dataclass(frozen=True)
class NodeSeries(HasSize):
    """Counts of what follows what in series of nodes; those of several series add up.

    Attributes
    ----------
    transitions : (M, M) int64
        How often the second node comes next after the first; on the diagonal, how often the series stays.
    days : (M,) int64
        Samples of each node.
    spells : (M,) int64
        Runs of the node without a break. A run ends where another node comes, a sample is left out, or time leaps.
    longest : (M,) int64
        Samples of the longest run.
    """

    transitions: np.ndarray
    days: np.ndarray
    spells: np.ndarray
    longest: np.ndarray

    @classmethod
    def of(cls, nodes: np.ndarray, follows: np.ndarray, n_nodes: int) -> NodeSeries:
        """Count one or several series.

        Parameters
        ----------
        nodes : (T, S) int64
            S series of T samples; -1 for samples left out.
        follows : (T,) bool
            Whether a sample follows the one before it without a leap in time; the first does not.
        n_nodes : int
        """
        joined = np.zeros(nodes.shape, dtype=bool)
        joined[1:] = follows[1:, None] & (nodes[1:] >= 0) & (nodes[:-1] >= 0)
        now, before = nodes[1:][joined[1:]], nodes[:-1][joined[1:]]
        transitions = np.bincount(before * n_nodes + now, minlength=n_nodes * n_nodes).reshape(n_nodes, n_nodes)
        series = nodes.T.ravel()  # one after the other, as the first sample of each follows nothing
        begins = ~joined
        begins[1:] |= nodes[1:] != nodes[:-1]
        starts = np.flatnonzero(begins.T.ravel())
        lengths, kinds = np.diff(starts, append=len(series)), series[starts]
        lengths, kinds = lengths[kinds >= 0], kinds[kinds >= 0]
        longest = np.zeros(n_nodes, dtype=np.int64)
        np.maximum.at(longest, kinds, lengths)
        return cls(
            transitions.astype(np.int64, copy=False),
            np.bincount(series[series >= 0], minlength=n_nodes).astype(np.int64, copy=False),
            np.bincount(kinds, minlength=n_nodes).astype(np.int64, copy=False),
            longest,
        )

    def __add__(self, other: NodeSeries) -> NodeSeries:
        return NodeSeries(
            self.transitions + other.transitions,
            self.days + other.days,
            self.spells + other.spells,
            np.maximum(self.longest, other.longest),
        )
