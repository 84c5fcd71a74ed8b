"""The values that pictures show of each node, checked against the map: values, clusters, classes and weights."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.models import lattice_of

__all__ = [
    "as_dataset",
    "compute_relative_weights",
    "find_range",
    "list_feature_names",
    "select_class_counts",
    "select_cluster_numbers",
    "select_node_values",
    "takes_epochs",
]

Draw = TypeVar("Draw", bound=Callable[..., Any])
MOST_CLASSES = 20  # colors that can be told apart; rarer classes share one


def as_dataset(model: Any) -> xr.Dataset:
    """Return a model or an `Epoch` as a Dataset."""
    return model if isinstance(model, xr.Dataset) else model.to_dataset()


def takes_epochs(draw: Draw) -> Draw:
    """Let a function that draws a model draw an `Epoch` too, as far as that knows what is drawn."""

    @functools.wraps(draw)
    def draw_any(model: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(model, xr.Dataset) and not hasattr(model, "to_dataset"):
            raise ParameterError(f"a model or an epoch can be drawn, not a {type(model).__name__}")
        return draw(as_dataset(model), *arguments, **options)

    return draw_any  # type: ignore[return-value]


def select_node_values(model: xr.Dataset, values: Any, name: str | None = None) -> xr.DataArray:
    """Select one value for each node of a model.

    Parameters
    ----------
    model : xarray.Dataset
    values : str, DataArray, Dataset or array
        The name of a variable of the model, values with dimensions ``row`` and ``col`` in any order, or an array of
        shape (rows, cols).
    name : str, optional
        The variable to take if `values` is a Dataset.

    Returns
    -------
    xarray.DataArray
        ``(row, col)``, of the dtype and with the attributes of the values given.

    Raises
    ------
    ParameterError
        If there is no such variable, or there is not exactly one value for each node.
    """
    shape = lattice_of(model).shape
    if isinstance(values, str):
        name, values = values, model
    if isinstance(values, xr.Dataset):
        if name is None or name not in values:
            raise ParameterError(f"there is no variable {name!r} to draw, only {', '.join(map(str, values))}")
        values = values[name]
    if not isinstance(values, xr.DataArray):
        values = np.asarray(values)
        if values.shape != shape:
            raise ParameterError(f"the values have shape {values.shape}, the map has {shape[0]} x {shape[1]} nodes")
        values = xr.DataArray(values, dims=("row", "col"))
    if set(values.dims) != {"row", "col"}:
        raise ParameterError(f"values to draw need the dimensions row and col, got {values.dims}; select or reduce")
    values = values.transpose("row", "col")
    if values.shape != shape:
        raise ParameterError(f"the values have shape {values.shape}, the map has {shape[0]} x {shape[1]} nodes")
    return values


def select_cluster_numbers(model: xr.Dataset, clusters: Any) -> np.ndarray:
    """Select the number of each node's cluster.

    Parameters
    ----------
    model : xarray.Dataset
    clusters : DataArray, Dataset or array
        ``cluster (row, col)``, whole numbers; negative or NaN for nodes of no cluster.

    Returns
    -------
    (M,) int64
        -1 for nodes of no cluster.

    Raises
    ------
    ParameterError
        If there is not one whole number for each node.
    """
    values = np.asarray(select_node_values(model, clusters, "cluster").values)
    if values.dtype.kind not in "iuf":
        raise ParameterError(f"clusters are whole numbers, got {values.dtype}")
    values = values.astype(np.float64).ravel()
    known = np.isfinite(values) & (values >= 0)
    if np.any(values[known] != np.round(values[known])):
        raise ParameterError("clusters are whole numbers, got fractions")
    return np.where(known, values, -1).astype(np.int64)


def select_class_counts(model: xr.Dataset, class_count: Any) -> tuple[np.ndarray, list[str]]:
    """Select the number of samples of each class in each node.

    Parameters
    ----------
    model : xarray.Dataset
    class_count : DataArray or Dataset
        ``class_count (row, col, class)``, the dimensions in any order; 0 or NaN where there are no samples.

    Returns
    -------
    counts : (M, K) float64
        0 where there are no samples. Of more than 20 classes the rarest are added up as the last, so that K <= 20.
    names : list of str
        The K classes.

    Raises
    ------
    ParameterError
        If these are not counts for each node and class.
    """
    if isinstance(class_count, xr.Dataset):
        if "class_count" not in class_count:
            raise ParameterError(f"there is no variable class_count, only {', '.join(map(str, class_count))}")
        class_count = class_count["class_count"]
    dims = ("row", "col", "class")
    if not isinstance(class_count, xr.DataArray) or set(class_count.dims) != set(dims):
        raise ParameterError(f"class counts are a DataArray of dimensions {', '.join(dims)}")
    lattice = lattice_of(model)
    array = class_count.transpose(*dims)
    if array.shape[:2] != lattice.shape or not array.shape[2]:
        raise ParameterError(
            f"class counts of shape {array.shape} do not fit the {lattice.rows} x {lattice.cols} map"
        )
    counts = np.nan_to_num(array.values.astype(np.float64)).reshape(lattice.n_nodes, -1)
    if np.any(counts < 0):
        raise ParameterError("class counts must not be negative")
    known = "class" in array.coords
    names = [str(name) for name in (array["class"].values if known else range(array.shape[2]))]
    if len(names) > MOST_CLASSES:
        order = np.argsort(-counts.sum(axis=0), kind="stable")
        kept, rest = np.sort(order[: MOST_CLASSES - 1]), order[MOST_CLASSES - 1 :]
        counts = np.column_stack([counts[:, kept], counts[:, rest].sum(axis=1)])
        names = [names[i] for i in kept] + [f"{len(rest)} rarer classes"]
    return counts, names


def list_feature_names(model: xr.Dataset) -> list[str]:
    """List the names of the features, as text."""
    return [str(name) for name in model["feature"].values]


def compute_relative_weights(model: xr.Dataset) -> np.ndarray:
    """Compute the weights relative to the range of each feature on the map.

    Returns
    -------
    (M, D) float64
        From 0, the least weight of the feature on the map, to 1, the greatest; 0.5 where all nodes have the same
        weight, NaN where a weight is not known.
    """
    weights = model["codebook"].transpose("row", "col", "feature").values.astype(np.float64)
    weights = weights.reshape(-1, weights.shape[-1])
    known = np.isfinite(weights)
    low = np.min(weights, axis=0, initial=np.inf, where=known)
    high = np.max(weights, axis=0, initial=-np.inf, where=known)
    varies = high > low
    low, span = np.where(varies, low, 0.0), np.where(varies, high - low, 1.0)
    return np.where(varies, (weights - low) / span, np.where(known, 0.5, np.nan))


def find_range(values: np.ndarray) -> tuple[float, float]:
    """Find the least and the greatest of the finite values; 0 and 1 if there are none."""
    known = values[np.isfinite(values)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
