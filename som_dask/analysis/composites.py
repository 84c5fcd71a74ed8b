"""Composites: other fields averaged over the days of each node, and where they differ from the other days."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.node_fields import control_false_discoveries
from som_dask.analysis.by_node import NODES, bmus_of, lattice_from
from som_dask.analysis.composite_blocks import (
    CompositePlan,
    SignificanceTest,
    compare_by_welch,
    cut_field,
    import_stats,
    permute_days,
)
from som_dask.errors import DataError, ParameterError
from som_dask.io.attributes import make_plain
from som_dask.io.models import positions_of
from som_dask.samples.weights import AREA, compute_cosines

__all__ = ["composites"]


def composites(
    labels: xr.Dataset,
    field: xr.DataArray,
    model: Any,
    *,
    test: SignificanceTest = "welch",
    level: float = 0.05,
    fdr: bool = False,
    permutations: int = 999,
    block_length: int = 1,
    place_weights: Any = None,
    seed: int = 0,
) -> xr.Dataset:
    r"""Average another field over the days of each node, and test where it differs from that of the other days.

    The composite is the mean over the days (or other samples) of a node less the mean over the days of all nodes. A
    lazy field stays lazy: blocks of days are summed by node and merged in a tree, so other blocks change only the
    last digits. The permutation test needs all days of a place in one block, and cuts the field across its places.

    Parameters
    ----------
    labels : xarray.Dataset
        Result of `som_dask.infer`: ``bmu_row`` and ``bmu_col``, missing for samples left out.
    field : xarray.DataArray
        Numbers or booleans, on the dimensions of the labels and any others, such as (time, lat, lon); missing values
        (NaN) are left out, place by place.
    model : xarray.Dataset, path or URL of a saved model, or Lattice
    test : {"welch", "permutation"}
        Welch's t-test of the days of a node against all others, for days that do not depend on each other; or how
        often a random order of the days gives as large a composite.
    level : float
        A place is significant if p is at most so large; with `fdr`, the share of false ones among those significant.
    fdr : bool
        Control the false discovery rate over the places of each node, so that a field of many places is not
        significant somewhere by chance (Wilks, Bulletin of the American Meteorological Society 97, 2016). He advises
        a `level` of twice the one wished for, as neighboring places are alike.
    permutations : int
        Of the permutation test; the least p is 1 / (permutations + 1), which has to lie well below `level`, above all
        with `fdr`.
    block_length : int
        Of the permutation test: so many samples that follow each other stay together. They must be in the order of
        time, along one dimension. Where weather persists, tests of single days take too much for significant; blocks
        several times as long as it persists do not.
    place_weights : "area" or DataArray, optional
        Of the permutation test: how much each place counts for the field as a whole. "area" is the cosine of the
        latitude; an array has some of the other dimensions of the field.
    seed : int
        Of the permutation test. The same seed gives the same permutations at all places.

    Returns
    -------
    xarray.Dataset
        ``composite``, ``p_value``, ``significant`` (bool) and ``days`` (int64, number of values) on (row, col) and
        the other dimensions of the field. p is two-sided; NaN where a node, or all others, have too few days: fewer
        than two for "welch", which also needs values that vary, none for "permutation". With "permutation" also
        ``field_p_value (row, col)``, for the field as a whole: how often chance gives as large a sum, over the
        places, of the squared composites divided by the variance of all days.

    Raises
    ------
    ParameterError
        If an option can't be used, or SciPy is missing, which "welch" needs.
    DataError
        If dimensions, sizes or dtypes do not fit, or the labels are not of this map; when computed, if there are
        infinities.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> import xarray as xr
    >>> rng = np.random.default_rng(0)
    >>> heights = xr.DataArray(rng.normal(size=(90, 3, 4)), dims=("time", "lat", "lon"))
    >>> days = som.open_samples(heights, sample_dims="time")
    >>> model = som.train(days, som.Lattice(2, 2), som.MapConfig(epochs=3))
    >>> rain = xr.DataArray(rng.random((90, 5)), dims=("time", "station"), name="rain")
    >>> found = som.composites(som.infer(days, model), rain, model, test="permutation", permutations=99)
    >>> found["composite"].dims, int(found["days"].isel(station=0).sum())
    (('row', 'col', 'station'), 90)
    """
    lattice = lattice_from(model)
    how = CompositePlan(lattice, test, level, permutations, block_length, seed)
    row, col = bmus_of(labels)
    field = _align_field(field, row)
    _check(how, row)
    other_dims = field.dims[row.ndim :]
    if place_weights is not None and test == "welch":
        raise ParameterError('`place_weights` are for `test="permutation"`; leave them out')
    weights = _weigh_places(place_weights, field, row.ndim)
    field_array, nodes = cut_field(field, row, col, lattice, whole=test == "permutation")
    if test == "permutation":
        found, p_of_fields = permute_days(nodes, field_array, weights, how)
    else:
        found, p_of_fields = compare_by_welch(nodes, field_array, how), None
    composite, p_value, days = found[0], found[1], found[2]
    if fdr:
        across = {i: 1 if i < 2 else -1 for i in range(p_value.ndim)}
        significant = p_value.rechunk(across).map_blocks(_control, level, dtype=bool)
    else:
        significant = p_value <= level
    name = str(field.name or "field")
    units = {"units": field.attrs["units"]} if "units" in field.attrs else {}
    variables: dict[str, Any] = {
        "composite": (composite, {"long_name": f"{name}: mean of the node's days less that of all days", **units}),
        "p_value": (p_value, {"long_name": "p of no difference from the other days", "units": "1"}),
        "significant": (significant, {"long_name": "whether the difference is significant"}),
        "days": (days.astype(np.int64), {"long_name": "number of the node's days with a value", "units": "1"}),
    }
    dims = (*NODES, *other_dims)
    result = xr.Dataset(
        {key: (dims, array, attrs) for key, (array, attrs) in variables.items()},
        {n: c for n, c in field.coords.items() if set(c.dims) <= set(other_dims)} | positions_of(lattice),
        {"test": test, "level": level, "fdr": fdr, "som_dask_version": __version__},
    )
    if p_of_fields is not None:
        words = {"long_name": "p of no difference of the whole field from the other days", "units": "1"}
        result["field_p_value"] = (NODES, p_of_fields, words)
        result.attrs.update(permutations=permutations, block_length=block_length, seed=seed)
    lazy = any(array.chunks is not None for array in (field, row, col))
    return make_plain(result if lazy else result.compute())


def _check(how: CompositePlan, row: xr.DataArray) -> None:
    """Refuse options that can't be used, with labels such as these."""
    if how.test not in get_args(SignificanceTest):
        raise ParameterError(f"`test` must be one of {', '.join(get_args(SignificanceTest))}, got {how.test!r}")
    if not 0 < how.level < 1:
        raise ParameterError(f"`level` must lie between 0 and 1, got {how.level}")
    for name, value in (("permutations", how.permutations), ("block_length", how.block_length)):
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ParameterError(f"`{name}` must be a positive integer, got {value!r}")
    if how.test == "welch":
        import_stats()
    if how.block_length == 1:
        return
    if how.test == "welch":
        raise ParameterError('`block_length` is for `test="permutation"`; leave it out')
    if row.ndim != 1 or how.block_length > row.size // 2:
        raise ParameterError(
            f"`block_length` needs samples along one dimension, at least twice as many; the labels have "
            f"{dict(row.sizes)}"
        )
    index = row.indexes.get(row.dims[0])
    if index is not None and not index.is_monotonic_increasing:
        raise DataError(f"`block_length` needs samples in the order of time; sort the labels by {row.dims[0]!r}")


def _align_field(field: xr.DataArray, row: xr.DataArray) -> xr.DataArray:
    """Return a field with the dimensions of the labels first."""
    if not isinstance(field, xr.DataArray):
        raise DataError(f"the field is a {type(field).__name__}; give a DataArray, such as one variable of a Dataset")
    lacking = [str(dim) for dim in row.dims if dim not in field.dims]
    if lacking:
        raise DataError(f"the field lacks the dimension {', '.join(lacking)} of the labels")
    if {*NODES} & {*field.dims} - {*row.dims}:
        raise DataError("the field has a dimension row or col, as the nodes have; rename it")
    if field.dtype.kind not in "iufb":
        raise DataError(f"the field has dtype {field.dtype}; numbers are needed")
    for dim, size in row.sizes.items():
        same = size == field.sizes[dim]
        if same and dim in field.indexes and dim in row.indexes:
            same = field.indexes[dim].equals(row.indexes[dim])
        if not same:
            raise DataError(f"the field and the labels differ along {dim}; select the same samples of both")
    return field.transpose(*row.dims, ...)


def _weigh_places(weights: Any, field: xr.DataArray, n_dims: int) -> np.ndarray:
    """Return how much each place counts: float64, of the shape of the field without its first dimensions."""
    dims = [str(dim) for dim in field.dims[n_dims:]]
    if weights is None:
        return np.ones(field.shape[n_dims:])
    if isinstance(weights, str) and weights == AREA:
        weights = compute_cosines(field.coords.values(), dims, "feature", "the field")
    if (
        not isinstance(weights, xr.DataArray)
        or not set(weights.dims) <= set(dims)
        or weights.dtype.kind not in "iufb"
    ):
        raise ParameterError(f"`place_weights` are 'area' or a DataArray of numbers on some of {', '.join(dims)}")
    for dim in weights.dims:
        same = weights.sizes[dim] == field.sizes[dim]
        if same and dim in weights.indexes and dim in field.indexes:
            same = weights.indexes[dim].equals(field.indexes[dim])
        if not same:
            raise DataError(f"`place_weights` and the field differ along {dim}; select the same places of both")
    values = weights.variable.astype(np.float64).set_dims({dim: field.sizes[dim] for dim in dims})
    found = np.nan_to_num(values.transpose(*dims).values, nan=0.0)  # a place without a latitude has no area
    if not (np.isfinite(found) & (found >= 0)).all():
        raise DataError("`place_weights` are finite and not negative")
    return found


def _control(p_values: np.ndarray, level: float) -> np.ndarray:
    flat = p_values.reshape(*p_values.shape[:2], -1)
    return control_false_discoveries(flat, level).reshape(p_values.shape)
