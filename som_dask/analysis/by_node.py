"""What is computed by node: values put beside the labels of samples, and added up in one pass over both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import DataError, ParameterError
from som_dask.io.models import lattice_of, open_model
from som_dask.numerics.sizes import HasSize
from som_dask.passes.run import run_over_arrays
from som_dask.samples.gaps import fill_masked
from som_dask.samples.weights import AREA, sample_weights_of

__all__ = [
    "NODES",
    "add_up_by_node",
    "align_with_labels",
    "bmus_of",
    "lattice_from",
    "numbers_beside",
    "weights_of",
]

NODES = ("row", "col")  # the dimensions of what there is one of for each node


def bmus_of(labels: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Return ``bmu_row`` and ``bmu_col`` of labels, with their dimensions in the same order.

    Raises
    ------
    DataError
        If the labels don't have both.
    """
    lacking = [name for name in ("bmu_row", "bmu_col") if name not in labels]
    if lacking:
        raise DataError(f"the labels lack {' and '.join(lacking)}; give what infer or som-dask infer makes")
    row = labels["bmu_row"]
    return row, labels["bmu_col"].transpose(*row.dims)


@dataclass(frozen=True)
class _Sums(HasSize):
    """Summaries of several variables that are added up together, so that one pass reads the labels only once."""

    sums: tuple[Any, ...]

    @classmethod
    def of_blocks(cls, row: np.ndarray, col: np.ndarray, *others: Any) -> _Sums:
        """Summarize a block.

        `others` are a block of each variable and perhaps one of weights, the function that summarizes, the lattice,
        and whether there are weights.
        """
        *columns, of, lattice, weighted = others
        weights = columns.pop() if weighted else None
        return cls(tuple(of(row, col, column, lattice, weights) for column in columns))

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)))


def lattice_from(model: Any) -> Lattice:
    """Return the lattice of a model, of its path or URL, or the lattice that was given."""
    return model if isinstance(model, Lattice) else lattice_of(open_model(model))


def align_with_labels(labels: xr.Dataset, values: Any, what: str) -> xr.DataArray:
    """Return values as a DataArray with the dimensions of the labels."""
    row, _ = bmus_of(labels)
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
    return _spread(values, row)


def numbers_beside(labels: xr.Dataset, values: Any, what: str) -> xr.DataArray:
    """Return numbers as a DataArray with the dimensions of the labels.

    Raises
    ------
    DataError
        If dimensions or sizes do not fit, or the values are no numbers.
    """
    array = align_with_labels(labels, fill_masked(values), what)
    if array.dtype.kind not in "iufb":
        raise DataError(f"{what} has dtype {array.dtype}; numbers are needed (classes: summarize_labels)")
    return array


def weights_of(labels: xr.Dataset, weights: Any) -> xr.DataArray | None:
    """Return the weights of samples on the dimensions of their labels."""
    if weights is None:
        return None
    row, _ = bmus_of(labels)
    if isinstance(weights, str) and weights != AREA:
        raise ParameterError(f"sample_weights must be 'area' or numbers, got {weights!r}; give the variable itself")
    coords = {str(name): coordinate for name, coordinate in row.coords.items()}
    sizes = {str(dim): size for dim, size in row.sizes.items()}
    return _spread(sample_weights_of(weights, coords, sizes, "the labels"), row)


def _spread(values: xr.DataArray, row: xr.DataArray) -> xr.DataArray:
    """Spread values on some of the dimensions of labels over all of them."""
    missing = {dim: size for dim, size in row.sizes.items() if dim not in values.dims}
    return values.expand_dims(missing).transpose(*row.dims)


def add_up_by_node(
    labels: xr.Dataset,
    arrays: Sequence[xr.DataArray],
    of: Callable[..., Any],
    lattice: Lattice,
    weights: xr.DataArray | None,
) -> tuple[Any, ...]:
    """Summarize all arrays by node in one pass: block by block, added up in a tree."""
    weighted = weights is not None
    every = [*bmus_of(labels), *arrays, *([] if weights is None else [weights])]
    variables = [array.variable for array in every]
    total: _Sums
    if any(variable.chunks for variable in variables):
        parts = [v.data if v.chunks else dask.array.from_array(v.values, chunks=-1) for v in variables]
        total = run_over_arrays("node_summary", _Sums.of_blocks, parts, of, lattice, weighted)
    else:
        total = _Sums.of_blocks(*(variable.values for variable in variables), of, lattice, weighted)
    return total.sums
