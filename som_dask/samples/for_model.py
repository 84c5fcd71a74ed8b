"""Open samples together with the model that they are for, and check that the two fit."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any, get_args

import xarray as xr

from som_dask.algorithm.feature_space import Missing
from som_dask.errors import ParameterError
from som_dask.io.attributes import read_attribute
from som_dask.io.features import check_features
from som_dask.io.models import open_model
from som_dask.io.store_objects import is_stored
from som_dask.io.units import check_units
from som_dask.samples.align import align_features
from som_dask.samples.cells import channel_names_of, find_variable, is_cells
from som_dask.samples.dims import VARIABLE
from som_dask.samples.open import as_names, open_samples
from som_dask.samples.sources import column_names_of, open_source, variable_names_of
from som_dask.samples.table import Samples

__all__ = ["open_for_model", "open_samples_for"]


def open_for_model(
    data: Any, model: Any, missing: Missing | None = None, **options: Any
) -> tuple[Samples, xr.Dataset, Missing]:
    """Open samples and a model, and check that they fit together.

    Parameters
    ----------
    data, **options
        As for `open_samples_for`.
    model : xarray.Dataset, or path or URL of a saved model
    missing : {"error", "drop", "mask"}, optional

    Returns
    -------
    samples : Samples
    model : xarray.Dataset
    missing : {"error", "drop", "mask"}
        The one given, or else the one that the model was trained with.

    Raises
    ------
    SchemaError
        If the features are not those that the model was trained on, or have other units.
    StorageError
        If the store of the samples lacks chunks, and missing values are an error.
    ParameterError
        If `missing` is none of these.
    """
    if missing is not None and missing not in get_args(Missing):
        raise ParameterError(f"missing must be one of {get_args(Missing)}, got {missing!r}")
    model = open_model(model)
    samples = align_features(open_samples_for(model, data, **options), model)
    check_features(model, samples.features, samples.n_features, samples.array.dtype, samples.description)
    check_units(model, samples.feature_units, samples.description)
    how: Missing = missing or model.attrs.get("missing", "error")
    return samples.allow_for(how), model, how


def open_samples_for(model: xr.Dataset, source: Any, **options: Any) -> Samples:
    """Open samples with the same variables and dimensions as those that a model was trained on.

    Parameters
    ----------
    model : xarray.Dataset
    source, **options
        As for `som_dask.samples.open.open_samples`. Variables and dimensions that are not given are those of
        training, if the source has them; so is `nodata`.

    Returns
    -------
    Samples
    """
    if isinstance(source, Samples):
        return open_samples(source, **options)
    columns = None if is_cells(source) else column_names_of(source)
    if options.get("features") is None and _are_columns(model, columns or channel_names_of(source)):
        options = {**options, "features": [str(name) for name in model["feature"].values]}
    if options.get("nodata") is None and "nodata" in model.attrs:
        options = {**options, "nodata": read_attribute(model.attrs["nodata"])}
    names = options.get("variables") or options.get("variable") or options.get("layer")
    if columns is not None:  # the rows of a table are the samples
        return open_samples(source, **options)
    if not names:
        names = _find_training_variables(model, source)
        options = {**options, "variable": None, "variables": names}
    dims = _names_in(model, "feature_dims")
    if dims is None or options.get("sample_dims") or options.get("feature_dims"):
        return open_samples(source, **options)
    names, features = as_names(names), as_names(options.get("features"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same warnings come when the samples are opened
        variables = open_source(source, names, features).variables
    every = list(dict.fromkeys(str(dim) for v in variables for dim in v.dims))
    if set(dims) <= set(every):
        options = {**options, "sample_dims": [dim for dim in every if dim not in dims]}
    return open_samples(source, **options)


def _are_columns(model: xr.Dataset, columns: Collection[str]) -> bool:
    """Return whether the features that training chose are columns that the source can be asked for one by one.

    A table may have others of text, and a channel of an FCS file has two names.
    """
    return bool(model.attrs.get("features_chosen")) and {str(name) for name in model["feature"].values} <= set(
        columns
    )


def _find_training_variables(model: xr.Dataset, source: Any) -> list[str] | None:
    """Return the variables of training if the source must be asked for them; a single one may have another name."""
    if is_cells(source):
        return find_variable(source, _names_in(model, "input_variables") or [])
    if not is_stored(source) and not isinstance(source, xr.Dataset):
        return None
    names, known = _names_in(model, "input_variables") or [], variable_names_of(source)
    if VARIABLE in model.coords:
        used = list(dict.fromkeys(str(name) for name in model[VARIABLE].values))
        # The features of a single one are called by its name only beside those of others.
        return used if len(used) > 1 else names
    return names if len(known) > 1 and len(names) == 1 and names[0] in known else None


def _names_in(model: xr.Dataset, attribute: str) -> list[str] | None:
    """Return the names that an attribute of a model lists; None if it has no such attribute."""
    names = read_attribute(model.attrs.get(attribute))
    return None if names is None else [str(name) for name in names]
