"""What the samples of each node have in common: their classes, and the mean of what else is known of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dask.array
import numpy as np
import xarray as xr
from dask.delayed import delayed

from som_dask._version import __version__
from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.node_counts import ClassCounts, NodeMoments
from som_dask.errors import DataError
from som_dask.io.models import lattice_of, open_model
from som_dask.passes.compute import compute
from som_dask.passes.run import tree_sum

__all__ = ["summarize_labels", "summarize_values", "units_of"]

BINS = ("row", "col")


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
            "som_dask_version": __version__,
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
    result = xr.Dataset(coords=_positions(lattice), attrs={"som_dask_version": __version__})
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
        raise DataError(
            f"{what} have the dimensions {', '.join(other)}, which the labels ({', '.join(map(str, row.dims))}) lack"
            f"; select along them, or make variables of them by to_dataset({other[0]!r})"
        )
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
