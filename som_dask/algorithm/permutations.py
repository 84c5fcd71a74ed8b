"""Permutation tests: how often a random order of the days gives as large a difference as the true one."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np

__all__ = ["count_as_large", "shuffle_days"]

TIE = 1e-12  # differences that are equal but for rounding are ties


def shuffle_days(nodes: np.ndarray, permutations: int, block_length: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the nodes of the days in random orders, the same ones for the same seed.

    The series is turned by a random number of days, as if its end was joined to its beginning, and cut into blocks,
    which are put in random order. So days within a block stay together.

    Parameters
    ----------
    nodes : (T,) int64
        In the order of time.
    permutations : int
    block_length : int
        Days in a block; 1 for days that do not depend on each other.
    seed : int

    Yields
    ------
    (T,) int64
    """
    rng, n_days = np.random.default_rng(seed), len(nodes)
    starts = np.arange(0, n_days, block_length)
    for _ in range(permutations):
        turned = np.roll(nodes, rng.integers(n_days))
        order = rng.permutation(starts)
        days = (order[:, None] + np.arange(block_length)).ravel()
        yield turned[days[days < n_days]]


def count_as_large(
    nodes: np.ndarray,
    days: np.ndarray,
    n_nodes: int,
    weights: np.ndarray | None = None,
    *,
    permutations: int,
    block_length: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Count the permutations in which the composite of a node differs as much from the mean of all days as it does.

    Parameters
    ----------
    nodes : (T,) int64
        The node of each day; no day is left out.
    days : (T, G) float64
        NaN where a value is missing.
    n_nodes : int
    weights : (G,) float64, optional
        How much each place counts in `sizes`; by default 1.
    permutations, block_length, seed : int
        See `shuffle_days`.

    Returns
    -------
    places : (M, G) int64
        Number of permutations at each place, of the size of the difference. One where the node has no value counts
        too.
    sizes : (permutations + 1, M) float64
        First of the true order and then of each permutation: the sum over the places of the squares of the
        differences, divided by the variance of all days at the place and times its weight.
    """
    known = ~np.isnan(days)
    number = np.maximum(known.sum(axis=0), 1)
    values = np.where(known, days, 0.0)
    values -= values.sum(axis=0) / number
    values[~known] = 0.0
    values -= np.where(known, values.sum(axis=0) / number, 0.0)
    deviations = np.sqrt((values * values).sum(axis=0) / number)
    values /= np.where(deviations > 0, deviations, 1.0)
    values, known, full = np.ascontiguousarray(values), np.ascontiguousarray(known), bool(known.all())
    true = _differences(nodes, values, known, n_nodes, full)
    least = np.abs(true) * (1 - TIE)
    places = np.zeros(true.shape, dtype=np.int64)
    sizes = np.empty((permutations + 1, n_nodes))
    sizes[0] = _squares(true, weights)
    for i, shuffled in enumerate(shuffle_days(nodes, permutations, block_length, seed), 1):
        found = _differences(shuffled, values, known, n_nodes, full)
        places += ~(np.abs(found) < least)  # an order that leaves the node no value says nothing against chance
        sizes[i] = _squares(found, weights)
    return places, sizes


def _squares(differences: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.nansum(differences * differences * (1.0 if weights is None else weights), axis=1)


@numba.njit(nogil=True, cache=True)
def _differences(nodes, values, known, n_nodes, full):
    """Means of the values of each node, (M, G): added in the order of the days; NaN where there are none."""
    n_places = values.shape[1]
    sums, counts = np.zeros((n_nodes, n_places)), np.zeros((n_nodes, n_places))
    totals = np.zeros(n_nodes)
    for t in range(len(nodes)):
        node = nodes[t]
        totals[node] += 1
        for g in range(n_places):
            sums[node, g] += values[t, g]
        if not full:
            for g in range(n_places):
                counts[node, g] += known[t, g]
    for node in range(n_nodes):
        for g in range(n_places):
            count = totals[node] if full else counts[node, g]
            sums[node, g] = sums[node, g] / count if count > 0 else np.nan
    return sums
