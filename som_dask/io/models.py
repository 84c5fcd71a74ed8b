"""Models as labeled Datasets: their names, dimensions and units, and how they are saved and opened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.quality import u_matrix
from som_dask.errors import ParameterError, StorageError
from som_dask.io.attributes import make_plain
from som_dask.io.digest import DIGEST, json_digest, values_digest
from som_dask.io.labeled import read_whole, save_labeled, store_encoding
from som_dask.io.store_objects import Place, describe_place
from som_dask.io.stores import open_zarr_node
from som_dask.io.units import FEATURE_UNITS, describe_units

__all__ = [
    "FORMAT",
    "describe_hit_share",
    "feature_space_of",
    "label_digest",
    "lattice_of",
    "model_dataset",
    "model_digest",
    "name_feature_coordinate",
    "open_model",
    "positions_of",
    "save_labeled",
    "save_model",
    "scaled_codebook_of",
    "store_encoding",
]

FORMAT = "som_dask model 1"
OWN_NAMES = {
    "x", "y", "row", "col", "epoch", "feature", "codebook", "scaled_codebook", "hits", "hit_share", "u_matrix",
    "radius", "learning_rate", "quantization_error", "topographic_error", "missing_values", "phase",
    "feature_center", "feature_scale", "feature_weight", FEATURE_UNITS,
}  # fmt: skip


def model_dataset(
    *,
    points: np.ndarray,
    space: FeatureSpace,
    hits: np.ndarray,
    history: Mapping[str, Sequence[float]],
    features: Sequence[str],
    lattice: Lattice,
    attrs: Mapping[str, Any],
    gaps: np.ndarray | None = None,
    feature_coords: Mapping[str, Any] | None = None,
    hit_share: np.ndarray | None = None,
    feature_units: Sequence[str] = (),
    standard_name: str | None = None,
    phases: Sequence[str] = (),
) -> xr.Dataset:
    """Make the model of a trained map, a labeled Dataset.

    Parameters
    ----------
    points : (M, K) float64
        The scaled codebook.
    space : FeatureSpace
        How samples become points of the map's own space.
    hits : (M,) int64
        Number of samples of each node.
    history : mapping of "quantization_error", "topographic_error", "radius" to (epochs + 1,) floats
        Entry e belongs to the codebook after e epochs: its errors, and the radius of the update that followed
        (nan at the end). Online training adds "learning_rate".
    features : sequence of str
        Names of the features.
    lattice : Lattice
    attrs : mapping
        Parameters and provenance, as JSON values; see `som_dask.io.attributes.make_plain`.
    gaps : (D,) int64, optional
        Number of samples that lack each feature.
    feature_coords : mapping of str to xarray.Variable, optional
        Coordinates along "feature", from which the feature dimensions can be restored; see
        `som_dask.io.unstack.unstack_features`.
    hit_share : (M,) float64, optional
        Share of each node in the weight of the samples, where they have weights.
    feature_units : sequence of str, optional
        Units of each feature, empty where they are unknown.
    standard_name : str, optional
        Standard name of all features by the CF conventions.
    phases : sequence of (epochs + 1) str, optional
        Phase of training whose samples each entry of the history is measured with, if there are several.

    Returns
    -------
    xarray.Dataset
        ``codebook (row, col, feature)`` in the data's units, NaN for features that no sample has; its attribute
        "units" tells them if all features have the same, or else the coordinate ``feature_units``. ``hits (row,
        col)``, ``u_matrix (row, col)``, ``quantization_error (epoch)``, ``topographic_error (epoch)``, ``radius
        (epoch)``; coordinates ``feature``, ``epoch`` and the positions ``x``, ``y`` ``(row, col)`` of the nodes in
        lattice units. If the map's space is not that of the data, also ``scaled_codebook (row, col, feature)`` and
        ``feature_center``, ``feature_scale``, ``feature_weight (feature)``: a value x of the data becomes
        ``sqrt(weight) (x - center) / scale``. With gaps, also ``missing_values (feature)``; with weights of samples,
        ``hit_share (row, col)``. With two phases, the coordinate ``phase (epoch)``: errors of the phase "rough" are
        those of the samples drawn for it.
    """
    where = "in the map's own space" if space.changes_values else "in the data's units"
    measured = "in units of the errors of the values" if space.value_errors else where
    units, unit_coords = describe_units(feature_units)
    named = {} if standard_name is None else {"standard_name": standard_name}
    dataset = xr.Dataset(
        data_vars={
            "codebook": (
                ("row", "col", "feature"),
                space.to_data_units(points).reshape(*lattice.shape, -1),
                {"long_name": "codebook, in the data's units", **named, **units},
            ),
            **_describe_scaling(points, space, lattice, units),
            "hits": (("row", "col"), hits.reshape(lattice.shape), {"long_name": "samples per node", "units": "1"}),
            **describe_hit_share(hit_share, lattice),
            "u_matrix": (
                ("row", "col"),
                u_matrix(points, lattice),
                {"long_name": f"mean distance of a node to its neighbors (Euclidean, {where})"},
            ),
            **_describe_history(history, space.rule.describe(measured)),
        },
        coords={
            "feature": ("feature", np.array(features, dtype=object)),
            **{name_feature_coordinate(name): coordinate for name, coordinate in (feature_coords or {}).items()},
            **unit_coords,
            "epoch": ("epoch", np.arange(len(history["radius"])), {"long_name": "epochs done"}),
            **_describe_phases(phases),
            **positions_of(lattice),
        },
        attrs={"format": FORMAT, "som_dask_version": __version__, **attrs},
    )
    if gaps is not None:
        dataset["missing_values"] = (
            "feature", gaps, {"long_name": "samples that lack the feature", "units": "1"}
        )  # fmt: skip
    dataset.attrs["codebook_sha256"] = model_digest(dataset)
    return make_plain(dataset)


def positions_of(lattice: Lattice) -> dict[str, Any]:
    """Return where the nodes lie, as coordinates ``x`` and ``y`` of a result."""
    x, y = lattice.positions().T.reshape(2, *lattice.shape)
    return {name: (("row", "col"), values, {"units": "lattice units"}) for name, values in (("x", x), ("y", y))}


def describe_hit_share(share: np.ndarray | None, lattice: Lattice) -> dict[str, Any]:
    """Return the variable ``hit_share (row, col)``; none where samples have no weights, so that hits say the same."""
    words = {"long_name": "share of each node in the weight of the samples", "units": "1"}
    return {} if share is None else {"hit_share": (("row", "col"), share.reshape(lattice.shape), words)}


def _describe_phases(phases: Sequence[str]) -> dict[str, Any]:
    """Return the coordinate "phase" along "epoch"; none where there are no phases."""
    words = {"long_name": "phase of training, whose samples the errors are of"}
    return {"phase": ("epoch", np.array(phases, dtype=object), words)} if len(phases) else {}


def _describe_history(history: Mapping[str, Sequence[float]], distance: str) -> dict[str, Any]:
    """Return the variables along "epoch"; `distance` says in words what distances are measured."""
    long_names = {
        "quantization_error": f"mean distance of samples to their best matching units ({distance})",
        "topographic_error": "share of samples whose two best matching units are not adjacent",
        "radius": "neighborhood radius of the update that follows",
        "learning_rate": "learning rate of the updates that follow",
    }
    units = {"radius": "lattice units", "topographic_error": "1", "learning_rate": "1"}
    return {
        name: (
            "epoch",
            np.asarray(values, dtype=np.float64),
            {"long_name": long_names[name], **({"units": units[name]} if name in units else {})},
        )
        for name, values in history.items()
    }


def name_feature_coordinate(name: str) -> str:
    """Return the name of a feature coordinate in a model, where names such as x already have another meaning."""
    return f"feature_{name}" if name in OWN_NAMES else name


def _describe_scaling(
    points: np.ndarray, space: FeatureSpace, lattice: Lattice, units: Mapping[str, str]
) -> dict[str, Any]:
    """Return the scaled codebook and how features are scaled, unless the map's space is that of the data."""
    if not space.changes_values:
        return {}
    scaled = np.full((len(points), len(space.used)), np.nan)
    scaled[:, space.used] = points
    return {
        "scaled_codebook": (
            ("row", "col", "feature"),
            scaled.reshape(*lattice.shape, -1),
            {"long_name": "codebook, in the map's own space", "units": "1"},
        ),
        "feature_center": ("feature", space.center, {"long_name": "subtracted from the feature", **units}),
        "feature_scale": ("feature", space.scale, {"long_name": "what the feature is divided by then", **units}),
        "feature_weight": (
            "feature", space.feature_weights, {"long_name": "weight of squared differences", "units": "1"}
        ),
    }  # fmt: skip


def lattice_of(model: xr.Dataset) -> Lattice:
    """Return the lattice of a model.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> from som_dask.io.models import lattice_of
    >>> lattice_of(model)
    Lattice(rows=4, cols=5, topology='hexagonal', boundary='planar')
    """
    rows, cols = model["codebook"].shape[:2]
    return Lattice(rows, cols, model.attrs["topology"], model.attrs["boundary"])


def scaled_codebook_of(model: xr.Dataset) -> np.ndarray:
    """Return the scaled codebook of a model, (M, K) float64, with which samples are compared."""
    name = "scaled_codebook" if "scaled_codebook" in model else "codebook"
    values = model[name].transpose("row", "col", "feature").values
    table = np.asarray(values, dtype=np.float64).reshape(-1, values.shape[-1])
    return np.ascontiguousarray(table[:, _used_features_of(model)])


def feature_space_of(model: xr.Dataset) -> FeatureSpace:
    """Return the feature space of a model: how samples become points that can be compared with its nodes."""
    plain = FeatureSpace.plain(model.sizes["feature"])
    kept: dict[str, Any] = {
        name: np.asarray(model[f"feature_{variable}"].values, dtype=np.float64)
        for name, variable in (("center", "center"), ("scale", "scale"), ("feature_weights", "weight"))
        if f"feature_{variable}" in model
    }
    attrs = {name: model.attrs[name] for name in ("missing", "metric") if name in model.attrs}
    return replace(plain, used=_used_features_of(model), **kept, **attrs)


def _used_features_of(model: xr.Dataset) -> np.ndarray:
    """Return which features the map uses, (D,) bool; the others are NaN in the codebook."""
    first = model["codebook"].isel(row=0, col=0).values
    return ~np.isnan(np.asarray(first, dtype=np.float64))


def model_digest(model: xr.Dataset) -> str:
    """Return the digest that identifies the codebook of a model: sha256 of the scaled codebook as float64 bytes."""
    return hashlib.sha256(scaled_codebook_of(model).tobytes()).hexdigest()


def label_digest(model: xr.Dataset) -> str:
    """Return the sha256 of all of a model that labels depend on: nodes, features, and how samples are compared."""
    names = ("codebook", "scaled_codebook", "feature_center", "feature_scale", "feature_weight", "feature")
    attrs = {name: model.attrs.get(name) for name in ("metric", "missing", "topology", "boundary", "nodata")}
    return json_digest([values_digest({name: model[name].values for name in names if name in model}), attrs])


def save_model(model: xr.Dataset, place: Place, *, overwrite: bool = False) -> None:
    """Save a model as one Zarr store, written beside its place, read back, and published by one rename.

    Parameters
    ----------
    model : xarray.Dataset
    place : path, fsspec URL or Zarr store
        A store is written to directly, and read back; publishing it, as by the commit of an icechunk session, is left
        to the caller.
    overwrite : bool
        Replace an existing store; it stays complete until the new one is.

    Raises
    ------
    ParameterError
        If the codebook is another one than the model's ``codebook_sha256`` says, to which labels refer.
    StorageError
        If the store exists and may not be overwritten, if it can't be written, or if what was written can't be
        opened as the same model.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> som.save_model(model, "model.zarr")
    >>> som.open_model("model.zarr").attrs["codebook_sha256"] == model.attrs["codebook_sha256"]
    True
    """
    is_model = model.attrs.get("format") == FORMAT
    if is_model and not _has_own_codebook(model):
        raise ParameterError(
            "the codebook was changed after training, or codebook_sha256 was; save the model that som_dask.train, "
            "retrain or open_model returns, with attributes of your own if you like"
        )
    save_labeled(model, place, overwrite=overwrite, with_digest=is_model)


def open_model(place: Place | xr.Dataset) -> xr.Dataset:
    """Open a model and check that it is complete, by the digest of all its variables, coordinates and attributes.

    Parameters
    ----------
    place : path, fsspec URL, Zarr store, or group in one
        A Dataset is returned as it is.

    Raises
    ------
    StorageError
        If there is no store, if it is not a model, or if it is not the one that was saved.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> som.save_model(model, "model.zarr")
    >>> dict(som.open_model("model.zarr")["codebook"].sizes)
    {'row': 4, 'col': 5, 'feature': 3}
    """
    if isinstance(place, xr.Dataset):
        return place
    node, name = open_zarr_node(place), describe_place(place)
    if node.attrs.get("format") != FORMAT:
        raise StorageError(f"{name} is not a som_dask model; give what som-dask train or som_dask.save_model wrote")
    if DIGEST not in node.attrs:
        raise StorageError(f"the model {name} has no digest to check it by; save it with som_dask.save_model")
    model = read_whole(place, node.attrs[DIGEST], f"the model {name}")
    if not _has_own_codebook(model):
        raise StorageError(f"the codebook in {name} is not the one that was saved; restore it or train again")
    return model


def _has_own_codebook(model: xr.Dataset) -> bool:
    return model.attrs.get("codebook_sha256") == model_digest(model)
