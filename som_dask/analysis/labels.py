"""Labels: every sample's best matching unit and its distance, lazily, on the samples' own dimensions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
import xarray as xr
from dask.delayed import delayed

from som_dask._version import __version__
from som_dask.algorithm.feature_space import Missing, Preparation
from som_dask.engine.batch import SharedCodebook, nearest
from som_dask.engine.device import Device
from som_dask.errors import DataError
from som_dask.io.models import codebook_of, lattice_of, preparation_of
from som_dask.samples.for_model import opened
from som_dask.samples.table import Samples

__all__ = [
    "LABELS",
    "NEIGHBOR",
    "Column",
    "LabelTask",
    "assign",
    "block_labels",
    "refuse_unusable",
]

NEIGHBOR = "neighbor"  # the dimension of what is told of several nodes
NO_UNIT = np.int32(-1)  # in a store, for samples that are left out


@dataclass(frozen=True)
class Column:
    """Where a variable of the labels stands in their table, (n, columns) float64.

    Attributes
    ----------
    first : int
    width : int, optional
        Numbers a sample; None for a single one, without a dimension for it.
    long_name : str
    place : bool
        Whether it is a row or column of the lattice: a whole number.
    """

    first: int
    width: int | None
    long_name: str
    place: bool = False

    def of(self, table: Any, missing: Missing) -> Any:
        """Its part of a NumPy or dask table: of int32 if it is a place and no sample is left out."""
        values = table[:, self.first] if self.width is None else table[:, self.first : self.first + self.width]
        return values.astype(np.int32) if self.place and missing == "error" else values


LABELS = {
    "bmu_row": Column(0, None, "row of the best matching unit", place=True),
    "bmu_col": Column(1, None, "column of the best matching unit", place=True),
    "distance": Column(2, None, "Euclidean distance to the best matching unit, in the data's units"),
}


def block_labels(block: np.ndarray, shared: SharedCodebook) -> np.ndarray:
    """Row, column and distance of each sample's best matching unit.

    Parameters
    ----------
    block : (n, D) array of real numbers
    shared : SharedCodebook
        Its preparation tells what becomes of missing values; features that it does not use are ignored.

    Returns
    -------
    (n, 3) float64
        ``row, col, distance``; the integers are exact, NaN for samples left out.

    Raises
    ------
    DataError
        If a value is infinite, or NaN where none may be missing.
    """
    refuse_unusable(block, shared.preparation)
    labels = np.empty((len(block), 3))
    bmu, labels[:, 2] = nearest(block, shared)
    labels[:, 0], labels[:, 1] = np.divmod(bmu, shared.lattice.cols)
    labels[bmu < 0] = np.nan
    return labels


def refuse_unusable(block: np.ndarray, preparation: Preparation) -> None:
    """See that a block, (n, D), has no values in the features used that can't be compared with a codebook.

    Raises
    ------
    DataError
        If a value is infinite, or NaN where none may be missing.
    """
    values = block if preparation.columns is None else block[:, preparation.columns]
    strict = preparation.missing == "error"
    good = np.isfinite(values) if strict else ~np.isinf(values)
    if not good.all():
        bad = good.size - np.count_nonzero(good)
        kind, remedy = ("NaN or infinite", ", or leave them out with --missing") if strict else ("infinite", "")
        raise DataError(f"there are {bad} {kind} values among the samples; remove or fill them{remedy}")


@dataclass(frozen=True)
class LabelTask:
    """What is labelled with what, and how."""

    samples: Samples
    model: xr.Dataset
    missing: Missing
    device: Device

    @property
    def columns(self) -> dict[str, Column]:
        """The variables of the labels."""
        return LABELS

    @property
    def make(self) -> Callable[[np.ndarray, SharedCodebook], np.ndarray] | None:
        """What makes the table of a block of samples; None for `block_labels`."""
        return None

    @property
    def kind(self) -> dict[str, Any]:
        """What the labels are besides the best matching unit, as JSON values."""
        return {}

    @classmethod
    def of(cls, data: Any, model: Any, missing: Missing | None, device: Device, **others: Any) -> Self:
        """Open both and see that they fit together."""
        return cls(*opened(data, model, missing), device, **others)

    def shared(self) -> SharedCodebook:
        """The codebook for the workers."""
        preparation = preparation_of(self.model).for_inference(self.missing)
        return SharedCodebook(codebook_of(self.model), lattice_of(self.model), self.device, preparation=preparation)

    def labels(self, table: Any) -> xr.Dataset:
        """A table of labels, (n, columns), on the samples' own dimensions."""
        labels = self.samples.labelled(
            {name: column.of(table, self.missing) for name, column in self.columns.items()},
            {name: NEIGHBOR for name, column in self.columns.items() if column.width is not None},
        )
        for name, column in self.columns.items():
            labels[name].attrs["long_name"] = column.long_name
            if name != "distance":
                labels[name].attrs["units"] = "1"
            if column.place and self.missing != "error":
                # As integers in a store, which xarray decodes to these very numbers.
                labels[name].encoding.update(dtype=np.dtype(np.int32), _FillValue=NO_UNIT)
        labels["distance"].attrs.update(self._distance_attrs())
        labels.attrs.update(
            **self.kind,
            model_codebook_sha256=self.model.attrs["codebook_sha256"],
            input=self.samples.description,
            missing=self.missing,
            som_dask_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return labels

    @property
    def _what(self) -> str:
        return "best matching unit"

    def table(self) -> Any:
        """The table of all samples, a dask array (n, columns) in the blocks of the samples."""
        width = sum(column.width or 1 for column in self.columns.values())
        return self.samples.array.map_blocks(
            self.make or block_labels,
            delayed(self.shared(), pure=False),
            dtype=np.float64,
            chunks=(self.samples.block_rows, (width,)),
            meta=np.empty((0, width)),
        )

    def _distance_attrs(self) -> dict[str, str]:
        preparation = preparation_of(self.model)
        if preparation.metric == "cosine":
            return {"long_name": f"1 less the cosine of the angle to the {self._what}", "units": "1"}
        if preparation.changes_values:
            return {"long_name": f"Euclidean distance to the {self._what}, features scaled and weighted"}
        return {} if self.samples.units is None else {"units": self.samples.units}


def assign(data: Any, model: Any, *, missing: Missing | None = None, device: Device = "cpu") -> xr.Dataset:
    """Label samples with a trained map, lazily: nothing is read until the result is computed.

    Parameters
    ----------
    data : anything that `som_dask.samples.table.open_samples` takes
        Variables and dimensions are those of training, unless it is opened already.
    model : xarray.Dataset, or path or URL of a saved model
    missing : {"error", "drop", "mask"}, optional
        What becomes of samples that lack features, by NaN: an error; left out; compared by the features that they
        have, left out only if they have none. By default as in training.
    device : {"cpu", "gpu"}

    Returns
    -------
    xarray.Dataset
        ``bmu_row``, ``bmu_col`` (int32) and ``distance`` (float64, Euclidean, in the data's units unless the map
        scales them) on the samples' own dimensions and coordinates, one dask block for each block of samples.
        With `missing` other than "error" rows and columns are float64, NaN for samples left out; in a store
        they are int32 with the fill value -1.

    Raises
    ------
    SchemaError
        If the features are not the model's.
    DataError
        When computed, if a value is infinite, or NaN where none may be missing.
    """
    task = LabelTask.of(data, model, missing, device)
    return task.labels(task.table())
