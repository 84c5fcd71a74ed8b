"""Open any supported input as a table of samples in blocks."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from dask.utils import parse_bytes

from som_dask.errors import DataError, MemoryLimitError, ParameterError
from som_dask.samples.absent import refuse_absent
from som_dask.samples.block_rows import DEFAULT_BLOCK_SIZE, MIN_BLOCK_ROWS, choose_block_rows
from som_dask.samples.cells import is_of_anndata
from som_dask.samples.choose import choose_features
from som_dask.samples.dims import Roles, features_of, roles_of
from som_dask.samples.gaps import parse_nodata
from som_dask.samples.read_ahead import PIECE_BYTES, StoredRows
from som_dask.samples.sources import open_source
from som_dask.samples.stacking import Stack, choose_grid, spread_values, stored_chunks_of
from som_dask.samples.table import Samples
from som_dask.samples.value_errors import names_of_errors, value_errors_of
from som_dask.samples.weights import AREA, feature_weights_of, sample_weights_of

__all__ = ["DEFAULT_BLOCK_SIZE", "as_names", "open_samples"]

REMEDIES = {  # of values that are not real numbers, by the kind of their dtype
    "M": "make times numbers first, such as days since a date",
    "m": "divide durations by a unit first, such as numpy.timedelta64(1, 'h')",
    "c": "give the real and the imaginary part as two features",
}
MOST_PIECES = 10_000_000  # chunks along a dimension, or blocks: a graph of as many takes 10 GB


def open_samples(
    source: Any,
    *,
    variables: str | Sequence[str] | None = None,
    variable: str | None = None,
    layer: str | None = None,
    sample_dims: str | Sequence[str] | None = None,
    feature_dims: str | Sequence[str] | None = None,
    features: str | Sequence[str] | None = None,
    dtype: Any = None,
    block_size: str | int = DEFAULT_BLOCK_SIZE,
    allow_missing_chunks: bool = False,
    sample_weights: Any = None,
    feature_weights: Any = None,
    nodata: float | Sequence[float] | None = None,
    value_errors: Any = None,
) -> Samples:
    """Open any supported input as samples.

    Parameters
    ----------
    source : path or URL, Zarr store, xarray, dask or NumPy object, table, or Samples
        - A Zarr store (v2 or v3, group or array): its path or URL, or a store, group or array of any kind. With a
          Dask client, an icechunk session must be read-only.
        - netCDF files (extra ``netcdf``), by their ending ``.nc``, ``.nc4``, ``.cdf``, ``.h5``, ``.hdf5`` or
          ``.he5``: a path or URL of one, of a folder or with wildcards, which are one Dataset along their
          coordinates.
        - Parquet and CSV files (extra ``tables``), by ``.parquet``, ``.pq``, ``.csv`` or ``.tsv`` (also ``.gz``), in
          the same ways: their columns are the features, whole numbers become float64, and a stored index of numbers
          or times is a coordinate of the labels. CSV files are read once when they are opened, part by part, to count
          their rows.
        - An xarray Dataset or DataArray, dask or NumPy array.
        - A sparse matrix of scipy, or a dask array of such blocks: each block is dense only while it is used.
        - A pandas or dask DataFrame: its columns are the features. Of a dask one, all partitions are computed once,
          to count their rows.
        - AnnData, or the path of a store of one (``.h5ad`` or Zarr; extra ``cells``): cells are the samples, and a
          sparse table becomes dense block by block.
        - The path of an FCS file, or a list of such paths, read file by file; see `som_dask.open_fcs` (extra
          ``cells``).
        - Samples, which are returned as they are.
    variables : str or sequence of str, optional
        Names of the variables to take from a group or Dataset; needed only if it has several. Several variables
        become features side by side, each with the feature dimensions that it has. Of AnnData they are "X", the
        default, and the layers; of FCS files "events", the default, or for instance "arcsinh(5)" for
        arcsinh(x / 5).
    variable : str, optional
        The same for a single variable.
    layer : str, optional
        The same for a layer of AnnData.
    sample_dims, feature_dims : str or sequence of str, optional
        Which dimensions are sample dimensions, and which are feature dimensions; those not given are of the other
        kind. If neither is given, the feature dimension is "feature", or the last of two dimensions; with several
        variables, the dimensions that all of them share are the sample dimensions.
    features : str or sequence of str, optional
        Names of the features to take, in this order; by default all of them. Variables without any are not read.
    dtype : optional
        Convert the samples to this dtype when they are read.
    block_size : str or int
        Maximum size of one block in bytes, such as ``"64 MiB"``. Neighboring chunks are merged up to this size; a
        chunk of a store is never cut.
    allow_missing_chunks : bool
        Read a Zarr chunk that is not in the store as the fill value. By default this is an error, because a lost
        chunk looks the same as one that was never written. Where the fill value is read as a missing value, the
        samples remember such chunks, and they are an error only where missing values are one.
    sample_weights : optional
        How much each sample counts: "area" for the cosine of the latitude, known by its units or name, along sample
        dimensions (one, or several on a curvilinear grid); the name of a variable beside the samples, or of
        a column of a table; a DataArray on
        some of the sample dimensions; or an array with the shape of the sample dimensions, or (n,) in C order.
    feature_weights : optional
        How much each feature counts in squared distances: "area" if the latitude is along feature dimensions; a
        DataArray on feature dimensions; or D numbers.
    nodata : number or sequence of numbers, optional
        Numbers that stand for missing values, where the input has no attribute ``_FillValue`` that says so. They
        become NaN when they are read, before the conversion to `dtype`, and integers become float64.
    value_errors : optional
        The error of each value, above 0, in the same units: an array or DataFrame of the same shape, a DataArray on
        the same dimensions, or the name of a variable beside the samples, or of one for each variable. Squared
        distances are then ``sum_j v_j (x_j - w_j)^2 / e_j^2``, with the feature weights v, and the batch rule
        averages values with the weights ``1 / e_j^2``. A value whose error is NaN or infinite counts as missing.

    Returns
    -------
    Samples

    Raises
    ------
    StorageError
        If a store can't be opened, or lacks chunks that are not read as missing values.
    DataError
        If the input has no rows, no features or no real numbers, or if variables don't fit together.
    ParameterError
        If an option names something that does not exist, or if the roles of the dimensions can't be decided.
    MemoryLimitError
        If the samples are in so many pieces that a list of these would not fit the memory.

    Examples
    --------
    A field of two bands: each place at each time is a sample.

    >>> import numpy as np
    >>> import som_dask as som
    >>> import xarray as xr
    >>> field = xr.DataArray(
    ...     np.zeros((4, 2, 5, 6)), dims=("time", "band", "lat", "lon"), coords={"band": ["red", "infrared"]}
    ... )
    >>> samples = som.open_samples(field, feature_dims="band")
    >>> samples.sample_dims, samples.n_samples, samples.feature_names
    (('time', 'lat', 'lon'), 120, ('red', 'infrared'))

    Each time is a sample:

    >>> som.open_samples(field, sample_dims="time").n_features
    60
    """
    if isinstance(source, Samples):
        if not all(given is None for given in (sample_weights, feature_weights, nodata, features, value_errors)):
            raise ParameterError(
                "the samples are opened already; weights, errors, nodata and features belong where that is done"
            )
        return source
    block_bytes, wanted = _parse_block_size(block_size), _parse_dtype(dtype)
    if variable is not None and variables is not None:
        raise ParameterError("`variable` and `variables` say the same; give one of them")
    if layer is not None:
        variable = _check_layer(layer, source, variable, variables)
    asked = as_names(variable if variables is None else variables)
    names = as_names(features)
    beside = sample_weights if isinstance(sample_weights, str) and sample_weights != AREA else None
    found = open_source(source, asked, names, beside)
    missing = parse_nodata(nodata)
    found = found.without(missing)
    errors, error_variables = value_errors_of(value_errors, found, names), names_of_errors(value_errors)
    own_errors = bool(error_variables) or not errors  # everything is read from the source
    roles = roles_of(found.variables, as_names(sample_dims), as_names(feature_dims), found.description)
    choice = None if names is None else choose_features(found.variables, roles, names, found.description)
    opened = tuple(str(v.name) for v in found.variables if v.name is not None)
    if choice is not None:
        errors = tuple(errors[place].isel(part) for place, part in choice.taken) if errors else ()
        found = found.keep(choice.variables)
    other = None if beside is None else found.find_other(beside)
    absent = (
        () if allow_missing_chunks else found.find_absent((*error_variables, *(() if beside is None else (beside,))))
    )
    if wanted is not None and wanted.kind != "f":  # no integer says that it is missing
        absent = tuple(replace(each, missing=False) for each in absent)
    refuse_absent(absent, None)
    ordered = tuple(v.transpose(*roles.samples, *roles.feature_dims_of(v)) for v in found.variables)
    errors = tuple(e.transpose(*v.dims) for e, v in zip(errors, ordered, strict=bool(errors)))
    _refuse_useless(ordered, roles, found.description)
    told = features_of(ordered, roles, found.description) if choice is None else choice.features
    columns = None if choice is None else choice.columns
    every = columns  # of the table
    if columns is not None and errors:
        every = np.concatenate([columns, columns + _count_features(ordered, roles)])
    coords = _sample_coords_of(ordered, roles)
    block_rows = _choose_block_rows((*ordered, *errors), roles, block_bytes)
    _refuse_endless(ordered, roles, block_rows, found.description)
    grid = choose_grid(found.variables, roles.samples, block_rows)
    # Without their coordinates, because xarray can't cut those of every kind (periods, categories) into blocks.
    plain = tuple(v.drop_vars(list(v.coords)) for v in (*ordered, *errors))
    bare = tuple(v.drop_vars(list(v.coords)) for v in found.variables)
    stack = Stack(bare, plain, roles.samples, wanted, every)
    table = stack.table(grid)
    weights = None
    if sample_weights is not None:
        sizes = {dim: ordered[0].sizes[dim] for dim in roles.samples}
        given, others = sample_weights if other is None else other, found.others.values()
        values = sample_weights_of(given, coords, sizes, found.description, others)
        weights = spread_values(values, roles.samples, grid)
    if feature_weights is not None:
        feature_weights = feature_weights_of(
            feature_weights, ordered, roles, found.description, found.others.values(), columns
        )
    standard_names = {v.attrs.get("standard_name") for v in ordered}
    return Samples(
        table,
        told.names,
        roles.samples,
        tuple(dim for dim in roles.features if any(dim in v.dims for v in ordered)),
        coords,
        found.description,
        None if errors else _find_stored_rows(found.variables, table, roles, columns),
        grid=grid if len(grid) > 1 else None,
        feature_coords=told.coords,
        weights=weights,
        feature_weights=feature_weights,
        feature_units=told.units,
        standard_name=_as_text(standard_names.pop()) if len(standard_names) == 1 else None,
        variables=opened,
        nodata=missing,
        features_chosen=choice is not None,
        place=os.fspath(source) if isinstance(source, (str, os.PathLike)) and own_errors else None,
        stack=replace(stack, name=table.name),
        absent=absent,
        value_errors=bool(errors),
        error_variables=error_variables,
    )


def _check_layer(layer: str, source: Any, *others: Any) -> str:
    """Return the name of a layer, if the source is of AnnData and no variable is asked for besides."""
    if any(other is not None for other in others):
        raise ParameterError("`layer` and `variable` say the same of AnnData; give one of them")
    if not is_of_anndata(source):
        raise ParameterError("`layer` is for AnnData; name a variable of anything else by `variable`")
    return layer


def as_names(names: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return names as a tuple of text: of one name, or of several; None stays None."""
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(str(name) for name in names)


def _as_text(value: Any) -> str | None:
    return None if value is None else str(value)


def _parse_block_size(block_size: str | int) -> int:
    try:
        block_bytes = parse_bytes(block_size)
    except (ValueError, OverflowError) as error:
        raise ParameterError(f"block size {block_size!r} is not a number of bytes like '64 MiB'") from error
    if block_bytes < 1:
        raise ParameterError(f"block size must be positive, got {block_size!r}")
    return block_bytes


def _parse_dtype(dtype: Any) -> np.dtype | None:
    if dtype is None:
        return None
    try:
        wanted = np.dtype(dtype)
    except TypeError as error:
        raise ParameterError(f'dtype {dtype!r} is unknown; use `dtype="float32"` or `dtype="float64"`') from error
    if wanted.kind not in "iuf":
        raise ParameterError(f"dtype {dtype!r} is not of real numbers; use float32 or float64")
    return wanted


def _refuse_useless(variables: Sequence[xr.DataArray], roles: Roles, where: str) -> None:
    for variable in variables:
        if variable.dtype.kind not in "iufb":
            one = where if len(variables) == 1 else f"variable {variable.name}"
            remedy = REMEDIES.get(variable.dtype.kind, "convert it with astype, or leave it out")
            raise DataError(f"{one} has dtype {variable.dtype}, real numbers are needed; {remedy}")
        for dim, size in variable.sizes.items():
            if not size:
                raise DataError(f"{where} has no {'samples' if dim in roles.samples else 'features'}")


def _refuse_endless(variables: Sequence[xr.DataArray], roles: Roles, block_rows: int, where: str) -> None:
    """Refuse samples in so many pieces that a list of these would not fit the memory."""
    pieces = math.prod(variables[0].sizes[dim] for dim in roles.samples) // max(block_rows, 1)
    for variable in variables:
        for dim, chunk in stored_chunks_of(variable).items():
            pieces = max(pieces, variable.sizes[dim] // max(chunk, 1))
    if pieces > MOST_PIECES:
        raise MemoryLimitError(
            f"{where} of shape {variables[0].shape} is in {pieces} pieces, and {MOST_PIECES} is the most; "
            f"check the shape, or write it in larger chunks"
        )


def _sample_coords_of(variables: Sequence[xr.DataArray], roles: Roles) -> dict[str, xr.DataArray]:
    """Return the coordinates on sample dimensions; those of the first variable win."""
    return {
        str(name): coordinate
        for variable in reversed(variables)
        for name, coordinate in variable.coords.items()
        if name not in roles.features and set(coordinate.dims) <= set(roles.samples)
    }


def _count_features(variables: Sequence[xr.DataArray], roles: Roles) -> int:
    """Count the features of variables whose sample dimensions come first."""
    return sum(math.prod(variable.shape[len(roles.samples) :]) for variable in variables)


def _choose_block_rows(variables: Sequence[xr.DataArray], roles: Roles, block_bytes: int) -> int:
    """Choose the rows of a block of these variables side by side."""
    n_dims = len(roles.samples)  # which come first
    n_samples = math.prod(variables[0].shape[:n_dims])
    n_features = _count_features(variables, roles)
    row_bytes = n_features * np.result_type(*(variable.dtype for variable in variables)).itemsize
    return choose_block_rows(n_samples, row_bytes, block_bytes, MIN_BLOCK_ROWS)


def _find_stored_rows(
    variables: Sequence[xr.DataArray], table: Any, roles: Roles, columns: np.ndarray | None
) -> StoredRows | None:
    """Return the rows as they are stored, if the input is a stored table of two dimensions; otherwise None."""
    stored = stored_chunks_of(variables[0])
    if len(variables) > 1 or variables[0].ndim != 2 or len(roles.samples) > 1 or not stored:
        return None
    array = variables[0].transpose(*roles.samples, *roles.features)
    rows = stored[roles.samples[0]]
    pieces = max(1, PIECE_BYTES // max(rows * array.shape[1] * array.dtype.itemsize, 1))
    return StoredRows(array.variable, table.dtype, pieces * rows, table.name, columns=columns)
