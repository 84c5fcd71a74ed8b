"""Bring the features of samples into the order of a model's: by their places, or by names that training chose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from som_dask.io.attributes import read_attribute
from som_dask.io.features import feature_places_of
from som_dask.io.models import name_feature_coordinate
from som_dask.samples.dims import VARIABLE
from som_dask.samples.table import Samples

__all__ = ["align_features"]

LONGITUDES = {"lon", "longitude"}
DEGREES_EAST = {"degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"}


def align_features(samples: Samples, model: xr.Dataset) -> Samples:
    """Bring the features of samples into the order of a model's features, where it is plain which are which.

    Features that are places, with numbers or times as the coordinates of each feature dimension, are known by these:
    the dimensions may lie in another order, and each may run the other way or begin elsewhere. Longitudes may differ
    by whole turns. Of a model whose features were chosen by name, the same are chosen again. All others stay as they
    are.

    Parameters
    ----------
    samples : Samples
    model : xarray.Dataset

    Returns
    -------
    Samples
    """
    if samples.features is None or not model.attrs.get("features_named", True):
        return samples
    names = tuple(str(name) for name in model["feature"].values)
    if samples.features == names:
        return samples
    if model.attrs.get("features_chosen") and set(names) <= set(samples.features):
        places = {name: i for i, name in enumerate(samples.features)}
        return samples.choose_features([places[name] for name in names])
    columns = _match_places(samples, model, of_more=bool(model.attrs.get("features_chosen")))
    if columns is None:
        return samples
    found = samples.choose_features(columns)
    dims = tuple(read_attribute(model.attrs.get("feature_dims")) or ())
    same = sorted(dims) == sorted(samples.feature_dims)
    return replace(found, features=names, feature_dims=dims if same else samples.feature_dims)


def _match_places(samples: Samples, model: xr.Dataset, of_more: bool) -> list[int] | None:
    """Return which feature of the samples lies where each of the model does; None if they are not the same places.

    The samples may have other places besides if the model's are `of_more`.
    """
    own = {name_feature_coordinate(name): variable for name, variable in samples.feature_coords.items()}
    wanted = feature_places_of(model)
    if own.keys() != wanted.keys() or not (of_more or samples.n_features == model.sizes["feature"]):
        return None
    if not own.keys() - {VARIABLE} or not all(map(_is_place, own, own.values())):
        return None
    for turn in (False, True):
        ours, theirs = (_list_keys(coords, wanted, turn) for coords in (own, wanted))
        places = {key: i for i, key in enumerate(ours)}
        unlike = len(places) == len(ours) and len(set(theirs)) == len(theirs)
        if unlike and places.keys() >= set(theirs):
            return [places[key] for key in theirs]
    return None


def _is_place(name: str, coordinate: Any) -> bool:
    return name == VARIABLE or coordinate.dtype.kind in "iufmM"


def _list_keys(coords: Mapping[str, Any], names: Iterable[str], turn: bool) -> list[tuple[Any, ...]]:
    """Return what each feature is known by: its values of the coordinates, in the order of the names."""
    return list(
        zip(
            *(_read_coordinate(coords[name], turn and _is_longitude(name, coords[name])) for name in names),
            strict=True,
        )
    )


def _read_coordinate(coordinate: Any, turn: bool) -> list[Any]:
    """Return the values of a coordinate: numbers as they are written, so that 0.1 is the same of any precision."""
    texts = [str(value) for value in coordinate.values]
    if coordinate.dtype.kind not in "iuf":
        return texts
    known: dict[str, Any] = {text: _read_number(text, turn) for text in set(texts)}
    return [known[text] for text in texts]


def _read_number(text: str, turn: bool) -> Any:
    number = float(text)
    return text if np.isnan(number) else number % 360 if turn else number


def _is_longitude(name: str, coordinate: Any) -> bool:
    attrs = {key: str(coordinate.attrs.get(key, "")).lower() for key in ("units", "standard_name")}
    return attrs["units"] in DEGREES_EAST or attrs["standard_name"] == "longitude" or name.lower() in LONGITUDES
