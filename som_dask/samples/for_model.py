"""Samples and the model that they are for: opened together, and seen to fit."""

from __future__ import annotations

import os
import warnings
from typing import Any, get_args

import xarray as xr

from som_dask.algorithm.feature_space import Missing
from som_dask.errors import ParameterError
from som_dask.io.models import check_features, open_model
from som_dask.samples.dims import VARIABLE
from som_dask.samples.sources import open_source, variable_names
from som_dask.samples.table import Samples, open_samples

__all__ = ["opened", "samples_for"]


def opened(
    data: Any, model: Any, missing: Missing | None = None, **options: Any
) -> tuple[Samples, xr.Dataset, Missing]:
    """Open samples and a model, and see that they fit together.

    Parameters
    ----------
    data, **options
        As for `samples_for`.
    model : xarray.Dataset, or path or URL of a saved model
    missing : {"error", "drop", "mask"}, optional

    Returns
    -------
    samples : Samples
    model : xarray.Dataset
    missing : {"error", "drop", "mask"}
        That of training where none was given.

    Raises
    ------
    SchemaError
        If the features are not the model's.
    ParameterError
        If there is no such way with missing values.
    """
    if missing is not None and missing not in get_args(Missing):
        raise ParameterError(f"missing must be one of {get_args(Missing)}, got {missing!r}")
    model = open_model(model)
    samples = samples_for(model, data, **options)
    check_features(model, samples.features, samples.n_features, samples.array.dtype, samples.description)
    return samples, model, missing or model.attrs.get("missing", "error")


def samples_for(model: xr.Dataset, source: Any, **options: Any) -> Samples:
    """Open samples as those that a model was trained on.

    Parameters
    ----------
    model : xarray.Dataset
    source, **options
        As of `som_dask.samples.table.open_samples`. Variables and dimensions that are not named are those of
        training, where the source has them.

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
