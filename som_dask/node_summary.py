"""What the samples of each node have in common: their classes, and the mean of what else is known of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr
from dask.delayed import delayed

import som_dask
from som_dask.errors import DataError
from som_dask.lattice import Lattice
from som_dask.reduction import compute, tree_sum
from som_dask.schema import lattice_of, open_model

__all__ = ["ClassCounts", "NodeMoments", "flat_nodes", "summarize_labels", "summarize_values", "units_of"]

MOST_CLASSES = 4096
BINS = ("row", "col")


def flat_nodes(row: np.ndarray, col: np.ndarray, lattice: Lattice) -> np.ndarray:
    """Flat indices of nodes: int64, -1 where row or col is NaN or negative (the sample was left out).

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


def units_of(labels: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """``bmu_row`` and ``bmu_col`` of labels, on the same dimensions in the same order.

    Raises
    ------
    DataError
        If there are none.
    """
    lacking = [name for name in ("bmu_row", "bmu_col") if name not in labels]
    if lacking:
        raise DataError(f"the labels lack {' and '.join(lacking)}; give what assign or som-dask infer makes")
    row = labels["bmu_row"]
    return row, labels["bmu_col"].transpose(*row.dims)


@dataclass(frozen=True)
class ClassCounts:
    """Samples of each node and class; they add up.

    Attributes
    ----------
    classes : (C,) object
        In the order in which they were met.
    counts : (M, C) int64
    no_node, no_class : int
        Samples that were left out: those without a node, and those with a node and no class.
    """

    classes: np.ndarray
    counts: np.ndarray
    no_node: int
    no_class: int

    @classmethod
    def of(cls, row: np.ndarray, col: np.ndarray, classes: np.ndarray, lattice: Lattice) -> ClassCounts:
        """Of one block, arrays of one shape."""
        node = flat_nodes(row, col, lattice).ravel()
        values = np.asarray(classes).ravel()
        kind = values.dtype.kind
        code, unique = pd.factorize(
            values.astype(np.float64 if kind == "f" else values.dtype if kind in "iubM" else object)
        )
        _refuse_many(len(unique))
        taken = (node >= 0) & (code >= 0)
        place = node[taken] * len(unique) + code[taken]
        counts = np.bincount(place, minlength=lattice.n_nodes * len(unique)).reshape(lattice.n_nodes, len(unique))
        no_node = int(np.count_nonzero(node < 0))
        no_class = int(len(node) - np.count_nonzero(taken)) - no_node
        return cls(_objects(unique), counts.astype(np.int64, copy=False), no_node, no_class)

    def __add__(self, other: ClassCounts) -> ClassCounts:
        place = {value: i for i, value in enumerate(self.classes)}
        for value in other.classes:
            place.setdefault(value, len(place))
        _refuse_many(len(place))
        counts = np.zeros((len(self.counts), len(place)), dtype=np.int64)
        counts[:, : len(self.classes)] = self.counts
        counts[:, [place[value] for value in other.classes]] += other.counts
        return ClassCounts(_objects(place), counts, self.no_node + other.no_node, self.no_class + other.no_class)

    def ordered(self) -> ClassCounts:
        """With the classes in ascending order."""
        try:
            order = sorted(range(len(self.classes)), key=lambda i: self.classes[i])
        except TypeError as error:
            kinds = ", ".join(sorted({type(value).__name__ for value in self.classes}))
            raise DataError(f"the classes are of kinds that have no common order ({kinds}); make them one") from error
        return ClassCounts(self.classes[order], self.counts[:, order], self.no_node, self.no_class)


def _objects(values: Iterable[Any]) -> np.ndarray:
    """Values as an array of objects, one each even where they are sequences."""
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
class NodeMoments:
    """Number, mean and squared deviations of some values of each node; they add up.

    Attributes
    ----------
    count : (M,) int64
    mean, deviation : (M,) float64
        Mean, and sum of the squared deviations from it; 0 for nodes without values.
    """

    count: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, row: np.ndarray, col: np.ndarray, values: np.ndarray, lattice: Lattice) -> NodeMoments:
        """Of one block, in two passes: the mean, then the deviations from it."""
        node = flat_nodes(row, col, lattice).ravel()
        values = np.asarray(values, dtype=np.float64).ravel()
        if np.isinf(values).any():
            raise DataError("the values to summarize hold infinities; make them missing (NaN) first")
        taken = (node >= 0) & ~np.isnan(values)
        node, values, n_nodes = node[taken], values[taken], lattice.n_nodes
        count = np.bincount(node, minlength=n_nodes).astype(np.int64, copy=False)
        number = np.maximum(count, 1)
        mean = np.bincount(node, weights=values, minlength=n_nodes) / number
        # Once more: what rounding left of the mean of the deviations.
        mean += np.bincount(node, weights=values - mean[node], minlength=n_nodes) / number
        rest = values - mean[node]
        return cls(count, mean, np.bincount(node, weights=rest * rest, minlength=n_nodes))

    def __add__(self, other: NodeMoments) -> NodeMoments:
        # Chan, Golub and LeVeque (1983): no difference of large squares.
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        apart = np.where((self.count > 0) & (other.count > 0), other.mean - self.mean, 0.0)
        mean = np.where(self.count > 0, self.mean + apart * share, other.mean)
        deviation = self.deviation + other.deviation + apart * apart * self.count * share
        return NodeMoments(count, mean, deviation)


def summarize_labels(labels: xr.Dataset, classes: Any, model: Any) -> xr.Dataset:
    r"""What classes the samples of each node are of.

    Counted block by block and added up in a tree: no more than nodes x classes numbers are held at once.

    Parameters
    ----------
    labels : xarray.Dataset
        What `som_dask.assign` gives: ``bmu_row`` and ``bmu_col`` on any dimensions, missing for samples left out.
    classes : xarray.DataArray or array
        Of strings, integers, booleans or dates, on the dimensions of the labels or some of them (an array: of their
        shape). Missing values (NaN, None, NaT) are left out.
    model : xarray.Dataset, path or URL of a saved model, or Lattice

    Returns
    -------
    xarray.Dataset
        ``class_count (row, col, class)`` int64, classes in ascending order; ``majority (row, col)``, the class that
        most samples of the node have, the first on ties, missing for nodes without samples (so integers become
        float64); ``purity (row, col)``, the share of that class, NaN without samples; ``entropy (row, col)``,
        Shannon's of the shares in bits. Of the whole map: ``overall_purity``, the share of the samples that are of
        the majority of their node (Manning, Raghavan and Schuetze, *Introduction to Information Retrieval*, 2008,
        section 16.3), and ``overall_entropy``, the mean over the samples. attrs tell the samples left out.

    Raises
    ------
    DataError
        If dimensions or sizes do not fit, the labels are not of this map, no sample has both a node and a class,
        there are more than 4096 classes, or they have no order.
    """
    lattice = _lattice(model)
    counts: ClassCounts = _summed(labels, _on_labels(labels, classes, "the classes"), ClassCounts.of, lattice)
    counts = counts.ordered()
    if not counts.counts.sum():
        raise DataError("no sample has both a node and a class")
    table = counts.counts.reshape(*lattice.shape, -1)
    total, most = table.sum(axis=-1), table.max(axis=-1)
    share = table / np.maximum(total, 1)[..., None]
    entropy = -np.sum(share * np.log2(share, out=np.zeros_like(share), where=table > 0), axis=-1)
    entropy = np.where(total > 0, np.maximum(entropy, 0.0), np.nan)
    names = _class_coordinate(counts.classes)
    majority = xr.DataArray(names[table.argmax(axis=-1)], dims=BINS).where(xr.DataArray(total > 0, dims=BINS))
    return xr.Dataset(
        {
            "class_count": ((*BINS, "class"), table, {"long_name": "samples per node and class", "units": "1"}),
            "majority": majority.assign_attrs(long_name="most frequent class of the node's samples"),
            "purity": (
                BINS,
                np.divide(most, total, out=np.full(lattice.shape, np.nan), where=total > 0),
                {"long_name": "share of the most frequent class", "units": "1"},
            ),
            "entropy": (BINS, entropy, {"long_name": "entropy of the node's classes", "units": "bit"}),
            "overall_purity": (
                (),
                float(most.sum() / total.sum()),
                {"long_name": "share of samples that are of the majority of their node", "units": "1"},
            ),
            "overall_entropy": (
                (),
                float(np.nansum(entropy * total) / total.sum()),
                {"long_name": "mean entropy of the classes of a sample's node", "units": "bit"},
            ),
        },
        coords={"class": ("class", names), **_positions(lattice)},
        attrs={
            "samples": int(total.sum()),
            "samples_without_node": counts.no_node,
            "samples_without_class": counts.no_class,
            "som_dask_version": som_dask.__version__,
        },
    )


def summarize_values(labels: xr.Dataset, values: Any, model: Any) -> xr.Dataset:
    """Number, mean and standard deviation of other variables over the samples of each node.

    In each block in two passes, the mean and then the deviations from it; blocks are joined in a tree by the
    formulas of Chan, Golub and LeVeque (*Algorithms for computing the sample variance*, The American Statistician
    37, 1983). Nothing cancels for values far from zero; other blocks change the last digits only.

    Parameters
    ----------
    labels : xarray.Dataset
        What `som_dask.assign` gives.
    values : xarray.Dataset, xarray.DataArray or array
        Numbers or booleans on the dimensions of the labels or some of them; NaN is left out.
    model : xarray.Dataset, path or URL of a saved model, or Lattice

    Returns
    -------
    xarray.Dataset
        For each variable, ``NAME_mean``, ``NAME_std`` (divided by the number of values) and ``NAME_count`` ``(row,
        col)``; NaN for nodes without values. A variable without a name is called "value".

    Raises
    ------
    DataError
        If dimensions, sizes or dtypes do not fit, or there are infinities.
    """
    lattice = _lattice(model)
    if isinstance(values, xr.Dataset):
        variables = {str(name): values[name] for name in values.data_vars}
    else:
        variables = {str(getattr(values, "name", None) or "value"): values}
    result = xr.Dataset(coords=_positions(lattice), attrs={"som_dask_version": som_dask.__version__})
    arrays = {name: _on_labels(labels, variable, name) for name, variable in variables.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "iufb":
            raise DataError(f"{name} has dtype {array.dtype}; numbers are needed (classes: summarize_labels)")
    sums = _all_summed(labels, list(arrays.values()), NodeMoments.of, lattice)
    for (name, array), moments in zip(arrays.items(), sums, strict=True):
        some = moments.count > 0
        mean = np.where(some, moments.mean, np.nan)
        std = np.where(some, np.sqrt(moments.deviation / np.maximum(moments.count, 1)), np.nan)
        units = {"units": array.attrs["units"]} if "units" in array.attrs else {}
        columns = {"mean": (mean, units), "std": (std, units), "count": (moments.count, {"units": "1"})}
        words = {"mean": "mean", "std": "standard deviation", "count": "number of values"}
        for kind, (column, attrs) in columns.items():
            attrs = {"long_name": f"{words[kind]} of {name}", **attrs}
            result[f"{name}_{kind}"] = (BINS, column.reshape(lattice.shape), attrs)
    return result


def _lattice(model: Any) -> Lattice:
    return model if isinstance(model, Lattice) else lattice_of(open_model(model))


def _positions(lattice: Lattice) -> dict[str, Any]:
    x, y = lattice.positions().T.reshape(2, *lattice.shape)
    return {name: (BINS, values, {"units": "lattice units"}) for name, values in (("x", x), ("y", y))}


def _class_coordinate(classes: np.ndarray) -> np.ndarray:
    """Classes as an array of their own kind: integers, booleans, floats, dates; else objects."""
    values = np.array(classes.tolist()) if len({type(value) for value in classes}) == 1 else classes
    return values if values.dtype.kind in "iufbM" else classes


def _on_labels(labels: xr.Dataset, values: Any, what: str) -> xr.DataArray:
    """Values as a DataArray on the labels' dimensions."""
    row, _ = units_of(labels)
    if not isinstance(values, xr.DataArray):
        array = values if isinstance(values, dask.array.Array) else np.asarray(values)
        if array.shape != row.shape:
            raise DataError(f"{what} have shape {array.shape}, the labels {row.shape}")
        return xr.DataArray(array, dims=row.dims)
    other = [str(dim) for dim in values.dims if dim not in row.dims]
    if other:
        raise DataError(f"{what} have the dimensions {', '.join(other)}, which the labels ({row.dims}) lack")
    for dim, size in values.sizes.items():
        same = size == row.sizes[dim]
        if same and dim in values.indexes and dim in row.indexes:
            same = values.indexes[dim].equals(row.indexes[dim])
        if not same:
            raise DataError(f"{what} and the labels differ along {dim}; select the same samples of both")
    missing = {dim: size for dim, size in row.sizes.items() if dim not in values.dims}
    return values.expand_dims(missing).transpose(*row.dims)


def _summed(labels: xr.Dataset, values: xr.DataArray, of: Callable[..., Any], lattice: Lattice) -> Any:
    return _all_summed(labels, [values], of, lattice)[0]


def _all_summed(
    labels: xr.Dataset, arrays: Sequence[xr.DataArray], of: Callable[..., Any], lattice: Lattice
) -> tuple[Any, ...]:
    """Each array's summary by node: of the blocks, added up in a tree, all in one pass."""
    row, col = (array.variable for array in units_of(labels))
    variables = [row, col, *(array.variable for array in arrays)]
    if not any(variable.chunks for variable in variables):
        return tuple(of(row.values, col.values, array.values, lattice) for array in arrays)
    dims = tuple(range(row.ndim))
    parts = [v.data if v.chunks else dask.array.from_array(v.values, chunks=-1) for v in variables]
    _, parts = dask.array.core.unify_chunks(*(item for part in parts for item in (part, dims)))
    blocks = [part.to_delayed().ravel().tolist() for part in parts]
    task = delayed(of, pure=False)
    return compute(
        *(
            tree_sum([task(*block, lattice) for block in zip(blocks[0], blocks[1], column, strict=True)])
            for column in blocks[2:]
        )
    )
