"""Counts or weights of samples by node and class, and moments of values by node; those of blocks add up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import DataError
from som_dask.numerics.sizes import HasSize
from som_dask.samples.gaps import fill_masked

__all__ = ["ClassCounts", "NodeMoments", "find_heavy", "flatten_nodes", "read_numbers"]

MOST_CLASSES = 4096


def flatten_nodes(row: np.ndarray, col: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Return flat indices of nodes: int64, -1 where row or col is NaN or negative (the sample was left out).

    Raises
    ------
    DataError
        If a node lies outside the lattice.
    """
    row, col = np.asarray(row), np.asarray(col)
    known = (row >= 0) & (col >= 0)  # False for NaN
    flat = np.where(known, row, 0).astype(np.int64) * lattice.cols + np.where(known, col, 0).astype(np.int64)
    if np.any(known & ((row >= lattice.rows) | (col >= lattice.cols))):
        raise DataError(
            f"the labels name nodes outside the map of {lattice.rows} x {lattice.cols}; "
            f"give the model that they were made with"
        )
    return np.where(known, flat, -1)


def find_heavy(weights: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return which samples weigh anything, (n,) bool; those not taken may have any weight, also NaN.

    Raises
    ------
    DataError
        If the weight of a sample that is taken is negative or not finite.
    """
    bad = np.count_nonzero(taken & ~(np.isfinite(weights) & (weights >= 0)))
    if bad:
        raise DataError(
            f"the weights of the samples hold {bad} that are negative or not finite; weights are 0 or more, and may "
            f"be NaN only for samples that are left out"
        )
    return weights > 0


def read_numbers(values: np.ndarray) -> np.ndarray:
    """Return the values of a block, (n,) float64, NaN where they are missing or masked.

    Raises
    ------
    DataError
        If there are infinities.
    """
    numbers = np.asarray(fill_masked(values), dtype=np.float64).ravel()
    if np.isinf(numbers).any():
        raise DataError("the values to summarize hold infinities; make them missing (NaN) first")
    return numbers


@dataclass(frozen=True)
class ClassCounts(HasSize):
    """Number, or weight, of the samples by node and class; counts add up.

    Attributes
    ----------
    classes : (C,) object
        The classes, in the order in which they were found.
    counts : (M, C) int64, or float64 sums of weights
    no_node, no_class, no_weight : int
        Number of samples that are left out: those without a node, those with a node but no class, and those with both
        but of weight 0.
    samples : int
        Number of the others.
    """

    classes: np.ndarray
    counts: np.ndarray
    no_node: int
    no_class: int
    no_weight: int = 0
    samples: int = 0

    @classmethod
    def of(
        cls,
        row: np.ndarray,
        col: np.ndarray,
        classes: np.ndarray,
        lattice: Lattice,
        weights: np.ndarray | None = None,
    ) -> ClassCounts:
        """Count the samples of one block: row, column, class and perhaps weight of each, arrays of one shape."""
        node = flatten_nodes(row, col, lattice).ravel()
        values = np.asarray(fill_masked(classes, classes=True)).ravel()
        kind = values.dtype.kind
        code, unique = pd.factorize(
            values.astype(np.float64 if kind == "f" else values.dtype if kind in "iubM" else object)
        )
        _refuse_many(len(unique))
        taken = (node >= 0) & (code >= 0)
        no_node, known = int(np.count_nonzero(node < 0)), int(np.count_nonzero(taken))
        if weights is not None:
            weights = np.asarray(weights, dtype=np.float64).ravel()
            taken &= find_heavy(weights, taken)
        place, own = node[taken] * len(unique) + code[taken], None if weights is None else weights[taken]
        counts = np.bincount(place, own, lattice.n_nodes * len(unique)).reshape(lattice.n_nodes, len(unique))
        dtype = np.int64 if weights is None else np.float64
        return cls(
            _objects(unique),
            counts.astype(dtype, copy=False),
            no_node,
            len(node) - known - no_node,
            known - len(place),
            len(place),
        )

    def __add__(self, other: ClassCounts) -> ClassCounts:
        place = {value: i for i, value in enumerate(self.classes)}
        for value in other.classes:
            place.setdefault(value, len(place))
        _refuse_many(len(place))
        counts = np.zeros((len(self.counts), len(place)), dtype=self.counts.dtype)
        counts[:, : len(self.classes)] = self.counts
        counts[:, [place[value] for value in other.classes]] += other.counts
        return ClassCounts(
            _objects(place),
            counts,
            self.no_node + other.no_node,
            self.no_class + other.no_class,
            self.no_weight + other.no_weight,
            self.samples + other.samples,
        )

    def sort_classes(self) -> ClassCounts:
        """Return the counts with the classes in ascending order.

        Raises
        ------
        DataError
            If the classes have no common order.
        """
        try:
            order = sorted(range(len(self.classes)), key=lambda i: self.classes[i])
        except TypeError as error:
            kinds = ", ".join(sorted({type(value).__name__ for value in self.classes}))
            raise DataError(f"the classes are of kinds that have no common order ({kinds}); make them one") from error
        return replace(self, classes=self.classes[order], counts=self.counts[:, order])


def _objects(values: Iterable[Any]) -> np.ndarray:
    """Return values as an array of objects, with one element for each value even if it is a sequence."""
    items = list(values)
    result = np.empty(len(items), dtype=object)
    result[:] = items
    return result


def _refuse_many(n_classes: int) -> None:
    if n_classes > MOST_CLASSES:
        raise DataError(
            f"there are more than {MOST_CLASSES} different classes; numbers are summarized by summarize_values"
        )


@dataclass(frozen=True)
class NodeMoments(HasSize):
    """Number (or weight), mean and squared deviations of values by node; moments add up.

    Attributes
    ----------
    count : (M,) int64, or float64 sums of weights
    mean, deviation : (M,) float64
        Mean, and sum of the squared deviations from the mean; 0 for nodes without values.
    """

    count: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(
        cls, row: np.ndarray, col: np.ndarray, values: np.ndarray, lattice: Lattice, weights: np.ndarray | None = None
    ) -> NodeMoments:
        """Compute the moments of one block in two steps: the mean, and then the deviations from it."""
        node = flatten_nodes(row, col, lattice).ravel()
        values = read_numbers(values)
        taken = (node >= 0) & ~np.isnan(values)
        if weights is not None:
            weights = np.asarray(weights, dtype=np.float64).ravel()
            taken &= find_heavy(weights, taken)
        node, values, n_nodes = node[taken], values[taken], lattice.n_nodes
        own = 1 if weights is None else weights[taken]
        if weights is None:
            count = np.bincount(node, minlength=n_nodes).astype(np.int64, copy=False)
        else:
            count = np.bincount(node, weights=own, minlength=n_nodes)
        number = np.where(count > 0, count, 1)
        mean = np.bincount(node, weights=own * values, minlength=n_nodes) / number
        # Add the mean of the deviations, which only rounding keeps from being 0.
        mean += np.bincount(node, weights=own * (values - mean[node]), minlength=n_nodes) / number
        rest = values - mean[node]
        return cls(count, mean, np.bincount(node, weights=own * rest * rest, minlength=n_nodes))

    def __add__(self, other: NodeMoments) -> NodeMoments:
        # Chan, Golub and LeVeque (1983): this formula does not subtract large squares.
        count = self.count + other.count
        share = other.count / np.where(count > 0, count, 1)
        apart = np.where((self.count > 0) & (other.count > 0), other.mean - self.mean, 0.0)
        mean = np.where(self.count > 0, self.mean + apart * share, other.mean)
        deviation = self.deviation + other.deviation + apart * apart * self.count * share
        return NodeMoments(count, mean, deviation)
