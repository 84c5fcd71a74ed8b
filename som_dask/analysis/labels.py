"""Infer labels: the best matching unit of each sample and its distance, on the dimensions of the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

import dask.array
import numpy as np
import xarray as xr
from dask.delayed import delayed

from som_dask._version import __version__
from som_dask.algorithm.feature_space import FeatureSpace, Missing
from som_dask.analysis.node_flags import describe_flags
from som_dask.engine.block import Block
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.engines import engine_for
from som_dask.errors import DataError
from som_dask.io.attributes import make_plain
from som_dask.io.models import feature_space_of, lattice_of, scaled_codebook_of, store_encoding
from som_dask.samples.for_model import open_for_model
from som_dask.samples.table import Samples

__all__ = [
    "LABELS",
    "NEIGHBOR",
    "Column",
    "LabelTask",
    "empty_labels",
    "infer",
    "label_block",
    "number_nodes",
    "refuse_unusable",
    "runs_of",
]

NEIGHBOR = "neighbor"  # the dimension of variables with values for several nodes
# Maximum size of the samples of a block with their labels, where blocks can be cut: one with few features has labels
# far larger than itself, and memory would grow with the blocks, whose size grows with that of the data.
LABELED_BYTES = 16 * 2**20
ROWS_AT_ONCE = 2**14  # so that what is computed on the way takes far less memory than the labels
NO_NODE = np.int32(-1)  # fill value in a store, for samples that are left out


@dataclass(frozen=True)
class Column:
    """The columns of one variable in a table of labels, (n, columns) float64.

    Attributes
    ----------
    first : int
        Index of the first column.
    width : int, optional
        Number of columns; None for one column, and a variable without a dimension for columns.
    long_name : str
    place : bool
        Whether the variable is a row, column or node of the lattice, which is an integer.
    cols : int, optional
        Number of columns of the lattice, for the numbers of nodes: ``row * cols + column``. They have no columns in
        the table, and are made of those of the rows, which begin at `first`, and those of the columns behind them.
    """

    first: int
    width: int | None
    long_name: str
    place: bool = False
    cols: int | None = None

    def of(self, table: Any, missing: Missing) -> Any:
        """Return the variable from a NumPy or dask table: as int32 if it is a place and no sample is left out."""
        lazily = self.cols is not None and isinstance(table, dask.array.Array)
        values = self._number_lazily(table) if lazily else self._take(table)
        return values.astype(np.int32) if self.place and missing == "error" else values

    def _take(self, table: Any) -> Any:
        values = self._take_from(table, self.first)
        return values if self.cols is None else values * self.cols + self._take_from(table, self.first + self._step)

    def _take_from(self, table: Any, first: int) -> Any:
        return table[:, first] if self.width is None else table[:, first : first + self.width]

    @property
    def _step(self) -> int:
        return self.width or 1

    def _number_lazily(self, table: Any) -> Any:
        """Number the nodes by one task a block."""
        shape: dict[str, Any] = {"drop_axis": 1} if self.width is None else {"chunks": (table.chunks[0], self.width)}
        meta = np.empty((0,) if self.width is None else (0, self.width))
        return table.map_blocks(self._take, dtype=np.float64, meta=meta, **shape)


LABELS = {
    "bmu_row": Column(0, None, "row of the best matching unit", place=True),
    "bmu_col": Column(1, None, "column of the best matching unit", place=True),
    "distance": Column(2, None, "Euclidean distance to the best matching unit, in the data's units"),
}


def number_nodes(first: int, width: int | None, cols: int, what: str) -> Column:
    """Return the variable of the numbers of nodes, whose rows begin at column `first` of a table."""
    return Column(first, width, f"number of the {what}, {cols} row + column", place=True, cols=cols)


def label_block(block: np.ndarray, shared: SharedCodebook) -> np.ndarray:
    """Find row, column and distance of the best matching unit of each sample in a block.

    Parameters
    ----------
    block : (n, D) array of real numbers, or (n, 2 D) with the errors of the values behind them
    shared : SharedCodebook
        Its space says how missing values are treated, and whether they have errors; features that it does not use
        are ignored.

    Returns
    -------
    (n, 3) float64
        Columns ``row, col, distance``; NaN for samples that are left out.

    Raises
    ------
    DataError
        If a value is infinite, or NaN although none may be missing.
    """
    refuse_unusable(block, shared.space)
    labels = np.empty((len(block), 3))
    found = shared.find(Block.of(block, with_errors=shared.space.value_errors))
    labels[:, 0], labels[:, 1] = np.divmod(found.bmu, shared.lattice.cols)
    labels[:, 2] = found.distance
    labels[found.bmu < 0] = np.nan
    return labels


def refuse_unusable(block: np.ndarray, space: FeatureSpace) -> None:
    """Refuse a block, (n, D) or with errors (n, 2 D), of which features that are used can't be compared.

    Raises
    ------
    DataError
        If a value is infinite, or NaN although none may be missing.
    """
    strict, bad = space.missing == "error", 0
    for some in runs_of(block):
        values = block[some]
        if space.value_errors:  # where there is no error, a value counts as missing
            values, errors = np.hsplit(values, 2)
            values = np.where(np.isfinite(errors), values, np.nan)
        values = values if space.columns is None else values[:, space.columns]
        bad += int(np.count_nonzero(~np.isfinite(values) if strict else np.isinf(values)))
    if bad:
        kind, remedy = ("NaN or infinite", ", or leave them out with `missing`") if strict else ("infinite", "")
        raise DataError(f"there are {bad} {kind} values among the samples; remove or fill them{remedy}")


def runs_of(block: np.ndarray) -> Iterator[slice]:
    """Yield runs of the rows of a block."""
    for start in range(0, len(block), ROWS_AT_ONCE):
        yield slice(start, start + ROWS_AT_ONCE)


@dataclass(frozen=True)
class LabelTask:
    """A task: samples to label, and the model to label them with.

    Attributes
    ----------
    samples : Samples
    model : xarray.Dataset
    missing : {"error", "drop", "mask"}
        How samples that lack features are treated.
    device : {"cpu", "gpu"}
    """

    samples: Samples
    model: xr.Dataset
    missing: Missing
    device: str

    @property
    def columns(self) -> dict[str, Column]:
        """The variables of the labels."""
        cols = lattice_of(self.model).cols
        return {**LABELS, "bmu": number_nodes(0, None, cols, "best matching unit")}

    @property
    def make(self) -> Callable[[np.ndarray, SharedCodebook], np.ndarray] | None:
        """The function that makes the table of a block; None for `label_block`."""
        return None

    @property
    def kind(self) -> dict[str, Any]:
        """Attributes of the labels that say what they are, as JSON values; none for best matching units."""
        return {}

    @classmethod
    def of(
        cls, data: Any, model: Any, missing: Missing | None, device: str, value_errors: Any = None, **others: Any
    ) -> Self:
        """Open samples and model, and check that they fit together."""
        return cls(*open_for_model(data, model, missing, value_errors=value_errors), device, **others)

    def share_codebook(self) -> SharedCodebook:
        """Prepare the codebook for the workers."""
        errors = self.samples.value_errors
        space = feature_space_of(self.model).for_inference(self.missing, value_errors=errors)
        codebook, lattice = scaled_codebook_of(self.model), lattice_of(self.model)
        return SharedCodebook(codebook, lattice, space, engine_for(self.device))

    @property
    def width(self) -> int:
        """Number of columns of a table of labels."""
        return sum(column.width or 1 for column in self.columns.values() if column.cols is None)

    def in_small_blocks(self) -> Self:
        """Return the same task with blocks that are cut where they would take much memory with their labels."""
        row_bytes = self.samples.row_bytes + 8 * self.width
        return replace(self, samples=self.samples.cut(max(1, LABELED_BYTES // row_bytes)))

    def make_labels(self, table: Any) -> xr.Dataset:
        """Put a table of labels, (n, columns), on the dimensions of the samples, as a Dataset with attributes."""
        labels = self.samples.to_dataset(
            {name: column.of(table, self.missing) for name, column in self.columns.items()},
            {name: NEIGHBOR for name, column in self.columns.items() if column.width is not None},
        )
        for name, column in self.columns.items():
            labels[name].attrs["long_name"] = column.long_name
            if name != "distance":
                labels[name].attrs["units"] = "1"
            if column.cols is not None:
                labels[name].attrs.update(describe_flags(lattice_of(self.model)))
            if column.place and self.missing != "error":
                # Integers in a store, which xarray decodes to these float64.
                labels[name].encoding.update(dtype=np.dtype(np.int32), _FillValue=NO_NODE)
        labels["distance"].attrs.update(self._describe_distance())
        labels.attrs.update(
            **self.kind,
            model_codebook_sha256=self.model.attrs["codebook_sha256"],
            input=self.samples.description,
            missing=self.missing,
            som_dask_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return make_plain(labels)

    @property
    def _target(self) -> str:
        return "best matching unit"

    def make_table(self) -> Any:
        """Label all samples, lazily: a dask array (n, columns) float64 in the blocks of the samples."""
        return self.samples.array.map_blocks(
            self.make or label_block,
            delayed(self.share_codebook(), pure=False),
            dtype=np.float64,
            chunks=(self.samples.block_rows, (self.width,)),
            meta=np.empty((0, self.width)),
        )

    def _describe_distance(self) -> dict[str, str]:
        space = feature_space_of(self.model)
        name = f"{space.rule.noun} to the {self._target}"
        if self.samples.value_errors:
            return {"long_name": f"{name}, in units of the errors of the values", "units": "1"}
        if space.rule.on_sphere:
            return {"long_name": name, "units": "1"}
        if space.changes_values:
            return {"long_name": f"{name}, features scaled and weighted"}
        units = {} if self.samples.units is None else {"units": self.samples.units}
        return {"long_name": f"{name}, in the data's units", **units}


def infer(
    data: Any, model: Any, *, missing: Missing | None = None, device: str = "cpu", value_errors: Any = None
) -> xr.Dataset:
    """Infer labels of samples with a trained map, lazily: nothing is read until the result is computed.

    So no bar is shown here: `som_dask.infer_to_store` shows one while it labels into a store, and for what is
    computed otherwise, Dask has ``dask.diagnostics.ProgressBar`` and ``distributed.progress``.

    Parameters
    ----------
    data : anything that `som_dask.samples.open.open_samples` takes
        Variables and dimensions are those of training, unless the samples are already open. Features that are
        places, as the grid points of fields are, are known by their coordinates, whatever their order.
    model : xarray.Dataset, or path, URL or Zarr store of a saved model
    missing : {"error", "drop", "mask"}, optional
        How samples that lack features (NaN) are treated: they are an error; they are left out; or they are compared
        by the features that they have, and left out only if they have none. By default as in training.
    device : {"cpu", "gpu"}
    value_errors : optional
        Errors of the values, as for `som_dask.train`: ``distance`` is then in units of the errors, ``sqrt(sum_j v_j
        (x_j - w_j)^2 / e_j^2)`` with the feature weights v. Without them each value counts alike, also where the map
        was trained with errors.

    Returns
    -------
    xarray.Dataset
        ``bmu_row``, ``bmu_col`` (int32), ``distance`` (float64, Euclidean, in the data's units unless the map
        scales them or has another metric) and ``bmu`` (int32, the number of the node: row * cols + column) on the
        dimensions and coordinates of the samples. There is one dask block for each block of samples, or several
        where it takes more than 16 MiB with its labels. With `missing` other than "error", the integers are float64
        with NaN for samples that are left out; in a store they are int32 with the fill value -1. Of a map of up to
        4096 nodes, ``bmu`` has the attributes ``flag_values`` and ``flag_meanings`` of the CF conventions, such as
        ``node_0_3`` for row 0 and column 3.

    Raises
    ------
    SchemaError
        If the features are not those of the model.
    DataError
        When computed, if a value is infinite, or NaN although none may be missing.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> labels = som.infer(colors, model)
    >>> list(labels)
    ['bmu_row', 'bmu_col', 'distance', 'bmu']
    >>> labels["bmu_row"].compute().shape
    (40,)
    """
    task = LabelTask.of(data, model, missing, device, value_errors).in_small_blocks()
    return task.make_labels(task.make_table())


def empty_labels(task: LabelTask, chunks: Mapping[str, int]) -> tuple[xr.Dataset, dict[str, dict[str, Any]]]:
    """Make labels without values, which a store is begun with.

    Parameters
    ----------
    task : LabelTask
    chunks : mapping of str to int
        Size of the chunks of the store along each sample dimension.

    Returns
    -------
    empty : xarray.Dataset
        Lazy, but its coordinates without dimensions are loaded.
    encoding : dict
        As for `xarray.Dataset.to_zarr`.
    """
    samples = task.samples
    # In one block and one chunk each, because no value is written here: the graph has a few tasks for any size.
    whole = replace(
        samples,
        array=dask.array.zeros(samples.array.shape, chunks=-1, dtype=samples.array.dtype),
        grid=None if samples.grid is None else tuple((size,) for size in samples.sample_shape),
        weights=None,
    )
    table = dask.array.zeros((samples.n_samples, task.width), chunks=-1)
    empty = replace(task, samples=whole).make_labels(table)
    empty = empty.chunk(dict(empty.sizes))
    empty = empty.assign_coords({name: c.load() for name, c in samples.coords.items() if not c.dims})
    encoding = {
        name: {**empty[name].encoding, **codecs} if name in task.columns else codecs
        for name, codecs in store_encoding(empty).items()
    }
    for name, variable in empty.variables.items():
        if variable.chunks is not None:
            sizes = (chunks.get(str(dim), size) for dim, size in variable.sizes.items())
            encoding[str(name)]["chunks"] = tuple(sizes)
    return empty, encoding
