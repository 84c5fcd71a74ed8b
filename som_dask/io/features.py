"""The features of samples beside those of a model: whether they are the same, and what to do if they are not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from som_dask.errors import SchemaError
from som_dask.io.units import FEATURE_UNITS

__all__ = ["check_features", "feature_places_of"]


def feature_places_of(model: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the coordinates along "feature" that tell where each feature lies, and of which variable it is."""
    names = [str(name) for name, coordinate in model.coords.items() if coordinate.dims == ("feature",)]
    return {name: model[name] for name in names if name not in ("feature", FEATURE_UNITS)}


def check_features(
    model: xr.Dataset, features: Sequence[str] | None, n_features: int, dtype: Any, where: str
) -> None:
    """Check that samples have the features that a model was trained on.

    Parameters
    ----------
    model : xarray.Dataset
    features : sequence of str, or None
        Names of the features of the samples. If samples or model have none, only number and dtype are compared.
    n_features : int
    dtype : dtype of the samples
    where : str
        Description of the samples, for messages.

    Raises
    ------
    SchemaError
        If names, order, number or dtype differ; the message says what to do.
    """
    expected = tuple(str(name) for name in model["feature"].values)
    if features is not None and model.attrs.get("features_named", True) and tuple(features) != expected:
        raise SchemaError(_tell_difference(tuple(features), expected, model, where))
    if n_features != len(expected):
        raise SchemaError(
            f"{where} has {n_features} features, the model was trained on {len(expected)}: {_list_names(expected)}; "
            f"take these alone, in this order"
        )
    trained = model.attrs.get("sample_dtype")
    if trained is not None and np.dtype(dtype) != np.dtype(trained):
        raise SchemaError(
            f"{where} has dtype {np.dtype(dtype)}, the model was trained on {trained}; "
            f'open the samples with `dtype="{trained}"`'
        )


def _tell_difference(features: Sequence[str], expected: Sequence[str], model: xr.Dataset, where: str) -> str:
    """Return what tells features apart from those of a model, and what to do."""
    known, found = set(expected), set(features)
    other = [name for name in features if name not in known]
    lacking = [name for name in expected if name not in found]
    if not lacking:
        what = f"{len(features)} features, {len(other)} more than the model" if other else "the model's"
        order = "" if other else " features in another order"
        return f"{where} has {what}{order}; open the samples with {_choose_names(expected)}"
    if not other:
        return (
            f"{where} has {len(features)} features, the model was trained on {len(expected)}: it lacks "
            f"{_list_names(lacking)}; add them, or train a model without"
        )
    places = ", ".join(name for name in feature_places_of(model) if name != "variable")
    most = 2 if places else 8
    told = (
        f"{where} has features {_list_names(other, most)} that the model does not know, only "
        f"{_list_names(expected, most)}"
    )
    remedy = f"bring them to the model's {places} first, as by rename, sel or interp" if places else "rename them"
    return f"{told}; {remedy}, or train a model on them"


def _choose_names(names: Sequence[str], most: int = 100) -> str:
    """Return the option that chooses features, in full if it is not too long to be copied."""
    if len(names) > most:
        return "`features`, all of the model's in its own order"
    return f"`features={json.dumps(list(names), ensure_ascii=False)}`"


def _list_names(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
