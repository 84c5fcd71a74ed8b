"""Samples: any supported input as blocks of (sample, feature) rows, read when they are needed."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from dask.delayed import Delayed
from dask.utils import parse_bytes

from som_dask.engine.device import Device
from som_dask.engine.row_numbers import BlockRows, Grid, block_rows, table_rows
from som_dask.errors import DataError, ParameterError
from som_dask.samples.dims import Roles, features_of, roles_of
from som_dask.samples.read_ahead import PIECE_BYTES, StoredRows
from som_dask.samples.sources import open_source
from som_dask.samples.stacking import block_grid, even_table, spread, stacked, stored_chunks, unstacked
from som_dask.samples.weights import AREA, feature_weights_of, sample_weights_of

__all__ = ["DEFAULT_BLOCK_SIZE", "Samples", "open_samples"]

DEFAULT_BLOCK_SIZE = "64 MiB"
# Small data are still cut, so that every core has work; how finely must not depend on the machine, because
# the last bits of a codebook made with fast sums depend on the blocks.
USUAL_BLOCKS, MIN_BLOCK_ROWS = 32, 4096


@dataclass(frozen=True)
class Samples:
    """Samples as a lazy table; made by `open_samples`.

    A row's number is its index in C order over the sample dimensions: the blocks have no say in it. The table has
    the rows block by block, which with several sample dimensions may be another order; see `rows_of`.

    Attributes
    ----------
    array : dask array (n, D)
        One block across the features.
    features : tuple of str, or None
        Names of the features where the input has any.
    sample_dims, feature_dims : tuple of str
        The input's own names of the dimensions.
    coords : dict of str to xarray.DataArray
        Coordinates on sample dimensions, for the labels.
    description : str
        Where the samples come from.
    stored : StoredRows, optional
        The same rows straight from their store, for as long as `array` is what `open_samples` made.
    device : {"cpu", "gpu"}
        In whose memory the blocks are when they are computed.
    grid : tuple of tuple of int, optional
        Sizes of the blocks along each sample dimension, where there are several.
    feature_coords : dict of str to xarray.Variable
        Along "feature": the value of each feature dimension, and "variable" where there are several.
    weights : dask array (n,) float64, optional
        Of the samples, in the blocks of `array`; finite and none negative is not known before they are read.
    feature_weights : (D,) float64, optional
        Finite, none negative; 0 for a feature that does not count.
    units : str, optional
        Of all variables.
    variables : tuple of str
        Names of the variables that the samples are of; empty where the input has none.
    in_memory : bool
        Whether the workers hold all blocks already.
    """

    array: Any
    features: tuple[str, ...] | None
    sample_dims: tuple[str, ...] = ("sample",)
    feature_dims: tuple[str, ...] = ("feature",)
    coords: dict[str, xr.DataArray] = field(default_factory=dict)
    description: str = ""
    stored: StoredRows | None = None
    device: Device = "cpu"
    grid: Grid | None = None
    feature_coords: dict[str, xr.Variable] = field(default_factory=dict)
    weights: Any = None
    feature_weights: np.ndarray | None = None
    units: str | None = None
    variables: tuple[str, ...] = ()

    in_memory: bool = False

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.array.shape[0]

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.array.shape[1]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features' names; ``feature_0``, ``feature_1`` ... where the input has none."""
        return self.features or tuple(f"feature_{i}" for i in range(self.n_features))

    @property
    def block_rows(self) -> tuple[int, ...]:
        """Number of rows of each block."""
        return self.array.chunks[0]

    @property
    def block_starts(self) -> list[int]:
        """First row of each block, counted in the table."""
        return np.cumsum([0, *self.block_rows[:-1]]).tolist()

    @property
    def sample_chunks(self) -> Grid:
        """Sizes of the blocks along each sample dimension."""
        return (self.block_rows,) if self.grid is None else self.grid

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Size of each sample dimension."""
        return tuple(sum(sizes) for sizes in self.sample_chunks)

    def rows_of(self, index: int) -> BlockRows:
        """The numbers of the rows of a block: a small object that makes them when they are needed."""
        return block_rows(self.sample_chunks, index)

    def take(self, numbers: Any) -> Any:
        """The rows with these numbers, in their order.

        Parameters
        ----------
        numbers : (k,) int

        Returns
        -------
        dask array (k, D), one block
        """
        places, inverse = np.unique(table_rows(numbers, self.sample_chunks), return_inverse=True)
        rows = self.array[places].rechunk(-1)
        return rows.map_blocks(np.take, inverse, axis=0, chunks=((len(inverse),), rows.chunks[1]), dtype=rows.dtype)

    @property
    def reads_pieces(self) -> bool:
        """Whether blocks are read piece by piece from their store, and never are in memory as a whole."""
        return self.stored is not None and self.stored.name == self.array.name

    def blocks(self) -> list[Any]:
        """The blocks in order, each a delayed (rows, D) array, or a `StoredRows` that reads ahead."""
        if self.stored is not None and self.reads_pieces:
            edges = zip(self.block_starts, self.block_rows, strict=True)
            return [replace(self.stored, start=start, stop=start + rows) for start, rows in edges]
        return self.delayed_blocks()

    def delayed_blocks(self) -> list[Delayed]:
        """The blocks in order, each a delayed (rows, D) array."""
        return list(self._delayed)

    @functools.cached_property
    def _delayed(self) -> list[Delayed]:
        # Once: it takes a good part of a short epoch.
        return self.array.to_delayed().ravel().tolist()

    def weight_blocks(self) -> list[Delayed] | None:
        """The weights of each block's samples, delayed (rows,) float64 arrays; None where samples have none."""
        return None if self.weights is None else self.weights.to_delayed().ravel().tolist()

    def even(self) -> Samples:
        """The same samples in blocks of one size along each sample dimension, but the last."""
        table, grid = even_table(self.array, self.sample_chunks)
        if table is self.array:
            return self
        return replace(
            self,
            array=table,
            grid=None if self.grid is None else grid,
            stored=None,
            weights=None if self.weights is None else even_table(self.weights[:, None], self.sample_chunks)[0][:, 0],
        )

    def labelled(self, columns: Mapping[str, Any], extra_dims: Mapping[str, str] | None = None) -> xr.Dataset:
        """What was made for each row, on the samples' own dimensions and coordinates: lazily, block for block.

        Parameters
        ----------
        columns : mapping of str to dask array (n,) or (n, k)
            In the order of the table's rows, as ``array.map_blocks`` gives.
        extra_dims : mapping of str to str, optional
            For each column (n, k), the name of its second dimension.

        Returns
        -------
        xarray.Dataset
        """
        extra = dict(extra_dims or {})
        return xr.Dataset(
            {
                name: (
                    (*self.sample_dims, *([extra[name]] if column.ndim > 1 else [])),
                    unstacked(column, self.sample_chunks),
                )
                for name, column in columns.items()
            },
            coords=self.coords,
        )


def open_samples(
    source: Any,
    *,
    variables: str | Sequence[str] | None = None,
    variable: str | None = None,
    sample_dims: str | Sequence[str] | None = None,
    feature_dims: str | Sequence[str] | None = None,
    dtype: Any = None,
    block_size: str | int = DEFAULT_BLOCK_SIZE,
    allow_missing_chunks: bool = False,
    weights: Any = None,
    feature_weights: Any = None,
) -> Samples:
    """Take any supported input as samples.

    Parameters
    ----------
    source : path or URL of a Zarr store (v2 or v3, group or array), xarray Dataset or DataArray, dask or NumPy
        array, pandas DataFrame (its columns are the features), or Samples (returned as they are)
    variables : str or sequence of str, optional
        The variables of a group or Dataset; needed only where it has several. Several become features beside each
        other, each with the feature dimensions that it has.
    variable : str, optional
        The same for one.
    sample_dims, feature_dims : str or sequence of str, optional
        Which dimensions are samples, which are features; those not named are the other kind. With neither, the
        dimension "feature" is the features', or the last of two; of several variables the dimensions that all
        share are the samples'.
    dtype : optional
        Convert the samples to this dtype as they are read.
    block_size : str or int
        Most bytes of one block, such as ``"64 MiB"``. Neighboring chunks are merged up to it; a store's chunk
        is never cut.
    allow_missing_chunks : bool
        A Zarr chunk that is not in the store is read as the fill value. Unless allowed that is an error,
        because a lost chunk looks the same as one that was never written.
    weights : optional
        How much each sample counts: "area", which is the cosine of the latitude along a sample dimension; the name
        of a variable beside the samples; a DataArray on some of the sample dimensions; an array of their shape,
        or (n,) in C order.
    feature_weights : optional
        How much each feature counts in squared distances: "area", if latitude is a feature dimension; a DataArray
        on feature dimensions; or D numbers.

    Returns
    -------
    Samples

    Raises
    ------
    StorageError
        If a store can't be opened or has chunks missing.
    DataError
        If the input has no rows, no features or no numbers, or variables don't fit together.
    ParameterError
        If an option names something that is not there, or the dimensions' kinds can't be told.
    """
    if isinstance(source, Samples):
        if weights is not None or feature_weights is not None:
            raise ParameterError("the samples are opened already; weights belong where that is done")
        return source
    block_bytes, wanted = _block_bytes(block_size), _wanted(dtype)
    if variable is not None and variables is not None:
        raise ParameterError("variable and variables say the same; give one of them")
    found = open_source(source, _names(variable if variables is None else variables), allow_missing_chunks)
    roles = roles_of(found.variables, _names(sample_dims), _names(feature_dims), found.description)
    ordered = tuple(v.transpose(*roles.samples, *roles.own(v)) for v in found.variables)
    _refuse_useless(ordered, roles, found.description)
    sizes = {dim: ordered[0].sizes[dim] for dim in roles.samples}
    features = features_of(ordered, roles, found.description)
    coords = {
        str(name): c
        for v in reversed(ordered)
        for name, c in v.coords.items()
        if name not in roles.features and set(c.dims) <= set(roles.samples)
    }
    n_features = sum(math.prod(v.shape[len(sizes) :]) for v in ordered)
    row_bytes = n_features * np.result_type(*(v.dtype for v in ordered)).itemsize
    grid = block_grid(found.variables, roles.samples, _target_rows(math.prod(sizes.values()), row_bytes, block_bytes))
    table = stacked(ordered, roles.samples, grid)
    if wanted is not None:
        table = table.astype(wanted)
    if isinstance(weights, str) and weights != AREA:
        weights = found.other(weights, allow_missing_chunks)
    if weights is not None:
        weights = spread(sample_weights_of(weights, coords, sizes, found.description), roles.samples, grid)
    if feature_weights is not None:
        feature_weights = feature_weights_of(feature_weights, ordered, roles, found.description)
    units = {v.attrs.get("units") for v in ordered}
    return Samples(
        table,
        features.names,
        roles.samples,
        roles.features,
        coords,
        found.description,
        _straight(found.variables, table, roles),
        grid=grid if len(grid) > 1 else None,
        feature_coords=features.coords,
        weights=weights,
        feature_weights=feature_weights,
        units=units.pop() if len(units) == 1 else None,
        variables=tuple(str(v.name) for v in found.variables if v.name is not None),
    )


def _names(names: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(str(name) for name in names)


def _block_bytes(block_size: str | int) -> int:
    try:
        block_bytes = parse_bytes(block_size)
    except ValueError as error:
        raise ParameterError(f"block size {block_size!r} is not a number of bytes like '64 MiB'") from error
    if block_bytes < 1:
        raise ParameterError(f"block size must be positive, got {block_size!r}")
    return block_bytes


def _wanted(dtype: Any) -> np.dtype | None:
    if dtype is None:
        return None
    try:
        wanted = np.dtype(dtype)
    except TypeError as error:
        raise ParameterError(f"dtype {dtype!r} is unknown; use float32 or float64") from error
    if wanted.kind not in "iuf":
        raise ParameterError(f"dtype {dtype!r} is not of real numbers; use float32 or float64")
    return wanted


def _refuse_useless(variables: Sequence[xr.DataArray], roles: Roles, where: str) -> None:
    for variable in variables:
        if variable.dtype.kind not in "iufb":
            one = where if len(variables) == 1 else f"variable {variable.name}"
            raise DataError(f"{one} has dtype {variable.dtype}; real numbers are needed")
        for dim, size in variable.sizes.items():
            if not size:
                raise DataError(f"{where} has no {'samples' if dim in roles.samples else 'features'}")


def _target_rows(n_samples: int, row_bytes: int, block_bytes: int) -> int:
    """Rows of a block: enough blocks for every core, none above the size asked for."""
    rows = max(MIN_BLOCK_ROWS, -(-n_samples // USUAL_BLOCKS))
    return max(1, min(rows, block_bytes // max(row_bytes, 1)))


def _straight(variables: Sequence[xr.DataArray], table: Any, roles: Roles) -> StoredRows | None:
    """The rows straight from the store, where they are a stored table of two dimensions."""
    stored = stored_chunks(variables[0])
    if len(variables) > 1 or variables[0].ndim != 2 or len(roles.samples) > 1 or not stored:
        return None
    array = variables[0].transpose(*roles.samples, *roles.features)
    rows = stored[roles.samples[0]]
    pieces = max(1, PIECE_BYTES // max(rows * array.shape[1] * array.dtype.itemsize, 1))
    return StoredRows(array.variable, table.dtype, pieces * rows, table.name)
