"""Labels: every sample's best matching unit and its distance, lazily, on the samples' own dimensions."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np
import xarray as xr
from dask.delayed import delayed

import som_dask
from som_dask.backend import Device
from som_dask.batch import SharedCodebook, nearest
from som_dask.dims import VARIABLE
from som_dask.errors import DataError, ParameterError
from som_dask.preparation import Missing
from som_dask.samples import Samples, open_samples
from som_dask.schema import check_features, codebook_of, lattice_of, open_model, preparation_of
from som_dask.sources import open_source, variable_names

__all__ = ["DTYPES", "LABELS", "LabelTask", "assign", "block_labels", "samples_for"]

LABELS = {
    "bmu_row": {"long_name": "row of the best matching unit", "units": "1"},
    "bmu_col": {"long_name": "column of the best matching unit", "units": "1"},
    "distance": {"long_name": "Euclidean distance to the best matching unit, in the data's units"},
}
DTYPES = {"bmu_row": np.int32, "bmu_col": np.int32, "distance": np.float64}
NO_UNIT = np.int32(-1)  # in a store, for samples that are left out


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
    preparation = shared.preparation
    values = block if preparation.columns is None else block[:, preparation.columns]
    strict = preparation.missing == "error"
    good = np.isfinite(values) if strict else ~np.isinf(values)
    if not good.all():
        bad = good.size - np.count_nonzero(good)
        kind, remedy = ("NaN or infinite", ", or leave them out with --missing") if strict else ("infinite", "")
        raise DataError(f"there are {bad} {kind} values among the samples; remove or fill them{remedy}")
    labels = np.empty((len(block), 3))
    bmu, labels[:, 2] = nearest(block, shared)
    labels[:, 0], labels[:, 1] = np.divmod(bmu, shared.lattice.cols)
    labels[bmu < 0] = np.nan
    return labels


def samples_for(model: xr.Dataset, source: Any, **options: Any) -> Samples:
    """Open samples as those that a model was trained on.

    Parameters
    ----------
    model : xarray.Dataset
    source, **options
        As of `som_dask.samples.open_samples`. Variables and dimensions that are not named are those of training,
        where the source has them.

    Returns
    -------
    Samples
    """
    if isinstance(source, Samples):
        return open_samples(source, **options)
    names = options.get("variables") or options.get("variable")
    if not names:
        names = _trained_on(model, source)
        options = {**options, "variable": None, "variables": names}
    dims = model.attrs.get("feature_dims")
    if dims is None or options.get("sample_dims") or options.get("feature_dims"):
        return open_samples(source, **options)
    names = [names] if isinstance(names, str) else names
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are given where the samples are opened
        variables = open_source(source, names, allow_missing=True).variables
    every = list(dict.fromkeys(str(dim) for v in variables for dim in v.dims))
    if set(dims) <= set(every):
        options = {**options, "sample_dims": [dim for dim in every if dim not in dims]}
    return open_samples(source, **options)


def _trained_on(model: xr.Dataset, source: Any) -> list[str] | None:
    """The variables of training, where the source is to be asked for them; one alone may have another name there."""
    if not isinstance(source, (str, os.PathLike, xr.Dataset)):
        return None
    if VARIABLE in model.coords:
        return list(dict.fromkeys(str(name) for name in model[VARIABLE].values))
    names, known = list(model.attrs.get("variables", ())), variable_names(source)
    return names if len(known) > 1 and len(names) == 1 and names[0] in known else None


@dataclass(frozen=True)
class LabelTask:
    """What is labelled with what, and how."""

    samples: Samples
    model: xr.Dataset
    missing: Missing
    device: Device

    @classmethod
    def of(cls, data: Any, model: Any, missing: Missing | None, device: Device) -> LabelTask:
        """Open both and see that they fit together."""
        model = open_model(model)
        samples = samples_for(model, data)
        check_features(model, samples.features, samples.n_features, samples.array.dtype, samples.description)
        missing = missing or model.attrs.get("missing", "error")
        if missing not in get_args(Missing):
            raise ParameterError(f"missing must be one of {get_args(Missing)}, got {missing!r}")
        return cls(samples, model, missing, device)

    def shared(self) -> SharedCodebook:
        """The codebook for the workers."""
        preparation = preparation_of(self.model).for_inference(self.missing)
        return SharedCodebook(codebook_of(self.model), lattice_of(self.model), self.device, preparation=preparation)

    def labels(self, table: Any) -> xr.Dataset:
        """A table (n, 3) of rows, columns and distances as labels on the samples' own dimensions."""
        kinds = DTYPES if self.missing == "error" else dict.fromkeys(DTYPES, np.float64)
        labels = self.samples.labelled({name: table[:, i].astype(kinds[name]) for i, name in enumerate(LABELS)})
        for name, attrs in LABELS.items():
            labels[name].attrs.update(attrs)
        if self.missing != "error":
            for name in ("bmu_row", "bmu_col"):
                # As integers in a store, which xarray decodes to these very numbers.
                labels[name].encoding.update(dtype=np.dtype(np.int32), _FillValue=NO_UNIT)
        labels["distance"].attrs.update(self._distance_attrs())
        labels.attrs.update(
            model_codebook_sha256=self.model.attrs["codebook_sha256"],
            input=self.samples.description,
            missing=self.missing,
            som_dask_version=som_dask.__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return labels

    def _distance_attrs(self) -> dict[str, str]:
        preparation = preparation_of(self.model)
        if preparation.metric == "cosine":
            return {"long_name": "1 less the cosine of the angle to the best matching unit", "units": "1"}
        if preparation.changes_values:
            return {"long_name": "Euclidean distance to the best matching unit, features scaled and weighted"}
        return {} if self.samples.units is None else {"units": self.samples.units}


def assign(data: Any, model: Any, *, missing: Missing | None = None, device: Device = "cpu") -> xr.Dataset:
    """Label samples with a trained map, lazily: nothing is read until the result is computed.

    Parameters
    ----------
    data : anything that `som_dask.samples.open_samples` takes
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
    shared = delayed(task.shared(), pure=False)
    table = task.samples.array.map_blocks(
        block_labels,
        shared,
        dtype=np.float64,
        chunks=(task.samples.block_rows, (3,)),
        meta=np.empty((0, 3)),
    )
    return task.labels(table)
