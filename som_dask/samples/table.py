"""Samples as a table of rows (sample) and columns (feature), in blocks that are read when they are needed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import dask
import numpy as np
import xarray as xr
from dask.core import flatten
from dask.highlevelgraph import MaterializedLayer
from distributed import Future

from som_dask.algorithm.feature_space import Missing
from som_dask.engine.device import Device
from som_dask.engine.row_numbers import ConsecutiveRows, Grid, RowNumbers, all_box_rows, table_rows
from som_dask.errors import ParameterError
from som_dask.samples.absent import AbsentChunks, refuse_absent
from som_dask.samples.read_ahead import StoredRows
from som_dask.samples.stacking import (
    Stack,
    cut_grid,
    even_out_grid,
    regrid_table,
    take_columns,
    unstack_column,
)

__all__ = ["Samples", "tasks_of"]


@dataclass(frozen=True)
class Samples:
    """A lazy table of samples, as `som_dask.samples.open.open_samples` returns it.

    The number of a row is its index in C order over the sample dimensions, whatever the blocks. The table holds the
    rows block by block, which may be another order if there are several sample dimensions; see `row_numbers`.

    Attributes
    ----------
    array : dask array (n, D)
        A single block across the features.
    features : tuple of str, or None
        Names of the features, if the input names them.
    sample_dims, feature_dims : tuple of str
        Names of the dimensions in the input.
    coords : dict of str to xarray.DataArray
        Coordinates on sample dimensions, for the labels.
    description : str
        Where the samples come from, for messages.
    stored : StoredRows, optional
        The same rows read directly from their store; valid while `array` is the one that `open_samples` made.
    device : {"cpu", "gpu"}
        The device in whose memory the computed blocks are.
    grid : tuple of tuple of int, optional
        Sizes of the blocks along each sample dimension, if there are several dimensions.
    feature_coords : dict of str to xarray.Variable
        Coordinates along "feature": the value of each feature dimension, and "variable" if there are several
        variables.
    weights : dask array (n,) float64, optional
        Weights of the samples, in the blocks of `array`. They must be finite and not negative, which is checked when
        they are read.
    feature_weights : (D,) float64, optional
        Finite and not negative; 0 for a feature that does not count.
    feature_units : tuple of str
        Units of each feature, empty where they are unknown; or nothing at all.
    standard_name : str, optional
        Standard name of the values by the CF conventions, if all variables have the same.
    variables : tuple of str
        Names of the variables that the samples are made of; empty if the input does not name them.
    nodata : tuple of numbers
        What stood for missing values in the input; they are NaN in `array`.
    absent : tuple of AbsentChunks
        Chunks that are not in the store, and that `array` holds as missing values.
    in_memory : bool
        Whether the workers already hold all blocks.
    features_chosen : bool
        Whether the features were chosen by name, of more or in another order.
    place : str, optional
        Path or URL of the store that blocks and coordinates are read from, if they are.
    stack : Stack, optional
        What `array` is made of; valid while it is the one that `open_samples` made.
    reweighting : object, optional
        How the weights follow from others, by the numbers of the rows; see `som_dask.samples.reweight`.
    value_errors : bool
        Whether each value has an error: `array` is then (n, 2 D), the values and behind them their errors.
    error_variables : tuple of str
        Names of the variables that the errors come from; empty if they were given otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> samples = som.open_samples(np.zeros((1000, 3)))
    >>> samples.n_samples, samples.n_features, samples.feature_names
    (1000, 3, ('feature_0', 'feature_1', 'feature_2'))
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
    feature_units: tuple[str, ...] = ()
    standard_name: str | None = None
    variables: tuple[str, ...] = ()
    nodata: tuple[int | float, ...] = ()
    absent: tuple[AbsentChunks, ...] = ()
    in_memory: bool = False
    features_chosen: bool = False
    place: str | None = None
    stack: Stack | None = None
    reweighting: Any = None
    value_errors: bool = False
    error_variables: tuple[str, ...] = ()

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.array.shape[0]

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.array.shape[1] // 2 if self.value_errors else self.array.shape[1]

    @property
    def row_bytes(self) -> int:
        """Size of a sample, with the errors of its values."""
        return self.array.dtype.itemsize * self.array.shape[1]

    def refuse_errors(self, what: str) -> Samples:
        """Return the samples, unless their values have errors.

        Raises
        ------
        ParameterError
            The message says what can't take errors.
        """
        if self.value_errors:
            raise ParameterError(f"{what} takes no errors of values; leave out `value_errors`")
        return self

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features; ``feature_0``, ``feature_1`` ... if the input does not name them."""
        return self.features or tuple(f"feature_{i}" for i in range(self.n_features))

    @property
    def units(self) -> str | None:
        """Units of the values, if all features have the same; otherwise None."""
        found = set(self.feature_units)
        return (found.pop() or None) if len(found) == 1 else None

    @property
    def block_rows(self) -> tuple[int, ...]:
        """Number of rows of each block."""
        return self.array.chunks[0]

    @property
    def block_starts(self) -> list[int]:
        """First row of each block in the table."""
        return np.cumsum([0, *self.block_rows[:-1]]).tolist()

    @property
    def sample_chunks(self) -> Grid:
        """Sizes of the blocks along each sample dimension."""
        return (self.block_rows,) if self.grid is None else self.grid

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Size of each sample dimension."""
        return tuple(sum(sizes) for sizes in self.sample_chunks)

    def allow_for(self, missing: Missing) -> Samples:
        """Return the samples, if their store is complete or its gaps are allowed for by `missing`.

        Raises
        ------
        StorageError
            If chunks are absent and missing values are an error.
        """
        refuse_absent(self.absent, missing)
        return self

    def row_numbers(self) -> list[RowNumbers]:
        """Return the row numbers of each block: small objects that compute them when they are needed."""
        return self._row_numbers

    @functools.cached_property
    def _row_numbers(self) -> list[RowNumbers]:
        if self.grid is None:
            return [ConsecutiveRows(start) for start in self.block_starts]
        return list(all_box_rows(self.sample_chunks))

    def take(self, numbers: Any) -> Any:
        """Return the rows with the given numbers, in the given order.

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

    def choose_features(self, columns: Any) -> Samples:
        """Return the same samples with some of their features, in the given order.

        Parameters
        ----------
        columns : (d,) int
        """
        chosen = columns = np.asarray(columns)
        if self.value_errors:
            columns = np.concatenate([chosen, chosen + self.n_features])
        array = take_columns(self.array, columns)
        reads = self.stored is not None and self.reads_pieces
        is_stack = self.stack is not None and self.stack.name == self.array.name
        return replace(
            self,
            array=array,
            features=None if self.features is None else tuple(self.features[i] for i in chosen),
            stored=self.stored.choose(columns, array.name) if reads else None,  # type: ignore[union-attr]
            stack=self.stack.choose(columns, array.name) if is_stack else None,  # type: ignore[union-attr]
            feature_coords={name: variable[chosen] for name, variable in self.feature_coords.items()},
            feature_weights=None if self.feature_weights is None else self.feature_weights[chosen],
            feature_units=tuple(self.feature_units[i] for i in chosen) if self.feature_units else (),
            in_memory=False,
        )

    @property
    def reads_pieces(self) -> bool:
        """Whether blocks are read piece by piece from their store, so that no complete block is ever in memory."""
        return self.stored is not None and self.stored.name == self.array.name

    def sources(self) -> list[Any]:
        """Return the blocks in order as tasks take them: those of `keys`, or `StoredRows` that read ahead."""
        return self._pieces if self.reads_pieces else self.keys()

    @functools.cached_property
    def _pieces(self) -> list[StoredRows]:
        if self.stored is None:
            return []
        edges = zip(self.block_starts, self.block_rows, strict=True)
        return [replace(self.stored, start=start, stop=start + rows) for start, rows in edges]

    def keys(self) -> list[Any]:
        """Return the blocks in order as tasks take them: futures if a cluster holds them, or else keys of `tasks`."""
        return self.futures or [key for (key,) in self.array.__dask_keys__()]

    def weight_keys(self) -> list[Any] | None:
        """Return the weights of each block as tasks take them; None if the samples have no weights."""
        return None if self.weights is None else self._weight_futures or list(self.weights.__dask_keys__())

    @functools.cached_property
    def futures(self) -> list[Any] | None:
        """The blocks in order as futures of a cluster that holds them, or that is about to compute them."""
        return _futures_of(self.array)

    @functools.cached_property
    def _weight_futures(self) -> list[Any] | None:
        return None if self.weights is None else _futures_of(self.weights)

    def tasks(self, *, pieces: bool = False) -> dict[Any, Any]:
        """Return a new dictionary of the tasks, by key, that make the blocks and their weights.

        Blocks and weights that are futures need none; neither do blocks that are read in `pieces`, if they can be.
        """
        tasks = {} if pieces and self.reads_pieces else dict(self._tasks)
        return tasks | self._weight_tasks

    @functools.cached_property
    def _tasks(self) -> dict[Any, Any]:
        return {} if self.futures else tasks_of([self.array], fuse=not self.in_memory)

    @functools.cached_property
    def _weight_tasks(self) -> dict[Any, Any]:
        if self.weights is None or self._weight_futures:
            return {}
        return tasks_of([self.weights], fuse=not self.in_memory)

    def even_out(self) -> Samples:
        """Return the same samples in blocks that have one size along each sample dimension, except the last."""
        return self._in_blocks(even_out_grid(self.sample_chunks))

    def cut(self, rows: int) -> Samples:
        """Return the same samples in blocks of at most so many rows, which are read apart.

        Only stored chunks of more rows, and blocks of a table that was changed, are read as a whole and then cut.
        """
        if max(self.block_rows) <= rows:
            return self
        if self.stack is None or self.stack.name != self.array.name:
            return self._in_blocks(cut_grid(self.sample_chunks, rows))
        grid = self.stack.grid(rows)
        array = self.stack.table(grid)
        stored = replace(self.stored, name=array.name) if self.stored is not None and self.reads_pieces else None
        return replace(self._in_blocks(grid, array), stored=stored).cut(rows)

    def _in_blocks(self, grid: Grid, array: Any = None) -> Samples:
        before, weights = self.sample_chunks, self.weights
        if grid == before:
            return replace(self, stack=None) if array is not None else self
        if weights is not None:
            weights = regrid_table(weights[:, None], before, grid)[:, 0]
        return replace(
            self,
            array=regrid_table(self.array, before, grid) if array is None else array,
            grid=None if self.grid is None else grid,
            stored=None,
            stack=None,
            weights=weights,
        )

    def to_dataset(self, columns: Mapping[str, Any], extra_dims: Mapping[str, str] | None = None) -> xr.Dataset:
        """Put one value, or k values, for each row on the dimensions and coordinates of the samples, lazily.

        Parameters
        ----------
        columns : mapping of str to dask array (n,) or (n, k)
            In the order of the rows of the table, as ``array.map_blocks`` returns them.
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
                    unstack_column(column, self.sample_chunks),
                )
                for name, column in columns.items()
            },
            coords=self.coords,
        )


def tasks_of(arrays: Sequence[Any], *, fuse: bool = True) -> dict[Any, Any]:
    """Return the tasks that make the blocks of dask arrays, by key.

    Parameters
    ----------
    arrays : sequence of dask arrays
    fuse : bool
        Whether the steps of a block become one task.
    """
    if fuse:
        arrays = dask.optimize(*arrays)
    tasks: dict[Any, Any] = {}
    for array in arrays:
        tasks |= array.__dask_graph__()
    return tasks


def _futures_of(array: Any) -> list[Any] | None:
    """Return the blocks of an array in C order as the futures that they are, or None if any is not."""
    layer = array.__dask_graph__().layers.get(array.name)
    if not isinstance(layer, MaterializedLayer):  # Anything else is work still to be done.
        return None
    found = [layer.get(key) for key in flatten(array.__dask_keys__())]
    return found if found and all(isinstance(each, Future) for each in found) else None
