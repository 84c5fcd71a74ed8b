"""Summarize the samples of each node: their classes, and the mean of other variables."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.analysis.by_node import (
    NODES,
    add_up_by_node,
    align_with_labels,
    lattice_from,
    numbers_beside,
    weights_of,
)
from som_dask.analysis.node_counts import ClassCounts, NodeMoments
from som_dask.errors import DataError
from som_dask.io.attributes import make_plain
from som_dask.io.models import positions_of
from som_dask.samples.gaps import fill_masked

__all__ = ["summarize_labels", "summarize_values"]


def summarize_labels(labels: xr.Dataset, classes: Any, model: Any, *, sample_weights: Any = None) -> xr.Dataset:
    r"""Count the classes of the samples of each node.

    Samples are counted block by block, and counts are added up in a tree, so that a task never holds more than a few
    arrays of nodes x classes.

    Parameters
    ----------
    labels : xarray.Dataset
        Result of `som_dask.infer`: ``bmu_row`` and ``bmu_col`` on any dimensions, missing for samples left out.
    classes : xarray.DataArray or array
        Strings, integers, booleans or dates, on the dimensions of the labels or some of them; an array must have the
        shape of the labels. Missing values (NaN, None, NaT, masked ones) are left out.
    model : xarray.Dataset, path or URL of a saved model, or Lattice
    sample_weights : "area", DataArray or array, optional
        How much each sample counts, as in training: "area" is the cosine of the latitude, a coordinate of the labels.
        All numbers below are then of weights instead of samples. Samples of weight 0 are left out.

    Returns
    -------
    xarray.Dataset
        ``class_count (row, col, class)`` int64, with the classes in ascending order (with weights float64, the sum of
        the weights, whose last digits may depend on the blocks); ``majority (row, col)``, the
        most frequent class of the node, the first one on ties, missing for nodes without samples (so integers become
        float64); ``purity (row, col)``, the share of that class, NaN for nodes without samples; ``entropy (row,
        col)``, the Shannon entropy of the shares in bits. For the map: ``overall_purity``, the share of samples that
        belong to the majority class of their node (Manning, Raghavan and Schuetze, *Introduction to Information
        Retrieval*, 2008, section 16.3), and ``overall_entropy``, the mean of the entropy over the samples. The
        attributes hold the numbers of samples counted and left out.

    Raises
    ------
    DataError
        If dimensions or sizes do not fit, if the labels are not of this map, if no sample has both a node and a
        class, or if there are more than 4096 classes or they have no order.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> shades = np.where(colors.mean(axis=1) > 0.5, "light", "dark")
    >>> classes = som.summarize_labels(som.infer(colors, model), shades, model)
    >>> classes["class"].values.tolist(), int(classes["class_count"].sum())
    (['dark', 'light'], 40)
    >>> classes["majority"].dims
    ('row', 'col')
    """
    lattice = lattice_from(model)
    classes = align_with_labels(labels, fill_masked(classes, classes=True), "the classes")
    weights = weights_of(labels, sample_weights)
    weighted = weights is not None
    counts: ClassCounts
    (counts,) = add_up_by_node(labels, [classes], ClassCounts.of, lattice, weights)
    counts = counts.sort_classes()
    if not counts.samples:
        raise DataError(f"no sample has both a node and a class{' and a weight above 0' if weighted else ''}")
    table = counts.counts.reshape(*lattice.shape, -1)
    total, most = table.sum(axis=-1), table.max(axis=-1)
    share = table / np.where(total > 0, total, 1)[..., None]
    entropy = -np.sum(share * np.log2(share, out=np.zeros_like(share), where=table > 0), axis=-1)
    entropy = np.where(total > 0, np.maximum(entropy, 0.0), np.nan)
    names = _unify_classes(counts.classes)
    majority = xr.DataArray(names[table.argmax(axis=-1)], dims=NODES).where(xr.DataArray(total > 0, dims=NODES))
    result = xr.Dataset(
        {
            "class_count": (
                (*NODES, "class"),
                table,
                {"long_name": f"{'weight of the ' if weighted else ''}samples per node and class", "units": "1"},
            ),
            "majority": majority.assign_attrs(long_name="most frequent class of the node's samples"),
            "purity": (
                NODES,
                np.divide(most, total, out=np.full(lattice.shape, np.nan), where=total > 0),
                {"long_name": "share of the most frequent class", "units": "1"},
            ),
            "entropy": (NODES, entropy, {"long_name": "entropy of the node's classes", "units": "bit"}),
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
        coords={"class": ("class", names), **positions_of(lattice)},
        attrs={
            "samples": counts.samples,
            "samples_without_node": counts.no_node,
            "samples_without_class": counts.no_class,
            **({"samples_of_weight_zero": counts.no_weight} if weighted else {}),
            "weighted": weighted,
            "som_dask_version": __version__,
        },
    )
    return make_plain(result)


def summarize_values(labels: xr.Dataset, values: Any, model: Any, *, sample_weights: Any = None) -> xr.Dataset:
    """Compute number, mean and standard deviation of other variables over the samples of each node.

    Each block is read once, for the mean and then the deviations from it; blocks are combined in a tree by the
    formulas of Chan, Golub and LeVeque (*Algorithms for computing the sample variance*, The American Statistician
    37, 1983). Values far from zero lose no digits; other blocks change only the last digits.

    Parameters
    ----------
    labels : xarray.Dataset
        Result of `som_dask.infer`.
    values : xarray.Dataset, xarray.DataArray or array
        Numbers or booleans on the dimensions of the labels or some of them; NaN and masked values are left out.
    model : xarray.Dataset, path or URL of a saved model, or Lattice
    sample_weights : "area", DataArray or array, optional
        How much each sample counts, as for `summarize_labels`.

    Returns
    -------
    xarray.Dataset
        For each variable ``NAME_mean``, ``NAME_std`` (with the number of values as the divisor) and ``NAME_count``,
        all ``(row, col)``; NaN for nodes without values. With weights, ``NAME_count`` is the sum of the weights of
        the values, float64, and the divisor. A variable without a name is called "value".

    Raises
    ------
    DataError
        If dimensions, sizes or dtypes do not fit, or there are infinities.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> nodes = som.summarize_values(som.infer(colors, model), colors.mean(axis=1), model)
    >>> list(nodes)
    ['value_mean', 'value_std', 'value_count']
    """
    lattice = lattice_from(model)
    if isinstance(values, xr.Dataset):
        variables = {str(name): values[name] for name in values.data_vars}
    else:
        name = values.name if isinstance(values, xr.DataArray) else None
        variables = {str(name or "value"): values}
    weights = weights_of(labels, sample_weights)
    attrs = {"som_dask_version": __version__, "weighted": weights is not None}
    result = xr.Dataset(coords=positions_of(lattice), attrs=attrs)
    arrays = {name: numbers_beside(labels, variable, name) for name, variable in variables.items()}
    sums = add_up_by_node(labels, list(arrays.values()), NodeMoments.of, lattice, weights)
    for (name, array), moments in zip(arrays.items(), sums, strict=True):
        some = moments.count > 0
        mean = np.where(some, moments.mean, np.nan)
        std = np.where(some, np.sqrt(moments.deviation / np.where(some, moments.count, 1)), np.nan)
        units = {"units": array.attrs["units"]} if "units" in array.attrs else {}
        columns = {"mean": (mean, units), "std": (std, units), "count": (moments.count, {"units": "1"})}
        number = "number of values" if weights is None else "weight of the values"
        words = {"mean": "mean", "std": "standard deviation", "count": number}
        for kind, (column, attrs) in columns.items():
            attrs = {"long_name": f"{words[kind]} of {name}", **attrs}
            result[f"{name}_{kind}"] = (NODES, column.reshape(lattice.shape), attrs)
    return make_plain(result)


def _unify_classes(classes: np.ndarray) -> np.ndarray:
    """Return classes as an array of their own kind (integers, booleans, floats, dates), or else of objects."""
    values = np.array(classes.tolist()) if len({type(value) for value in classes}) == 1 else classes
    return values if values.dtype.kind in "iufbM" else classes
