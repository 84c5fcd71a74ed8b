"""Names, dimensions and units of the labelled results, and how models are saved and opened."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from zarr.codecs import Crc32cCodec, ZstdCodec

from som_dask._version import __version__
from som_dask.algorithm.feature_space import Preparation
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.quality import u_matrix
from som_dask.errors import SchemaError, StorageError
from som_dask.io.files import beside, check_free, open_dataset, open_zarr_node, publish, remove

__all__ = [
    "FORMAT",
    "check_features",
    "codebook_of",
    "lattice_of",
    "model_dataset",
    "model_digest",
    "open_model",
    "preparation_of",
    "save_labelled",
    "save_model",
    "store_encoding",
]

FORMAT = "som_dask model 1"
OWN_NAMES = {
    "x", "y", "row", "col", "epoch", "feature", "codebook", "codebook_scaled", "hits", "u_matrix", "radius",
    "learning_rate", "quantization_error", "topographic_error", "missing_values",
}  # fmt: skip


def model_dataset(
    *,
    points: np.ndarray,
    preparation: Preparation,
    hits: np.ndarray,
    history: Mapping[str, Sequence[float]],
    features: Sequence[str],
    lattice: Lattice,
    attrs: Mapping[str, Any],
    gaps: np.ndarray | None = None,
    feature_coords: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """A trained map as a labelled Dataset.

    Parameters
    ----------
    points : (M, K) float64
        The codebook in the map's own space.
    preparation : Preparation
        How samples become points of that space.
    hits : (M,) int64
    history : mapping of "quantization_error", "topographic_error", "radius" to (epochs + 1,) floats
        Entry e belongs to the codebook after e epochs: its errors, and the radius of the update that followed
        (nan at the end). Online training gives "learning_rate" too.
    features : sequence of str
    lattice : Lattice
    attrs : mapping
        Parameters and provenance, JSON values.
    gaps : (D,) int64, optional
        How many samples lack each feature.
    feature_coords : mapping of str to xarray.Variable, optional
        Coordinates along "feature": what each one is made of; see `som_dask.io.unstack.unstack_features`.

    Returns
    -------
    xarray.Dataset
        ``codebook (row, col, feature)`` in the data's units, NaN for features that no sample has; ``hits (row,
        col)``, ``u_matrix (row, col)``, ``quantization_error (epoch)``, ``topographic_error (epoch)``, ``radius
        (epoch)``; coordinates ``feature``, ``epoch`` and the nodes' positions ``x``, ``y`` ``(row, col)`` in
        lattice units. Where the map's space is not the data's, ``codebook_scaled (row, col, feature)`` and
        ``feature_center``, ``feature_scale``, ``feature_weight (feature)``: a value x of the data is
        ``sqrt(weight) (x - center) / scale`` there. With gaps ``missing_values (feature)``.
    """
    x, y = lattice.positions().T.reshape(2, *lattice.shape)
    space = "in the map's own space" if preparation.changes_values else "in the data's units"
    distance = "1 less the cosine" if preparation.metric == "cosine" else f"Euclidean, {space}"
    labels = {
        "quantization_error": f"mean distance of samples to their best matching units ({distance})",
        "topographic_error": "share of samples whose two best matching units are not adjacent",
        "radius": "neighborhood radius of the update that follows",
        "learning_rate": "learning rate of the updates that follow",
    }
    units = {
        "radius": {"units": "lattice units"},
        "topographic_error": {"units": "1"},
        "learning_rate": {"units": "1"},
    }
    dataset = xr.Dataset(
        data_vars={
            "codebook": (
                ("row", "col", "feature"),
                preparation.physical(points).reshape(*lattice.shape, -1),
                {"long_name": "weights of the nodes, in the data's units"},
            ),
            **_scaled_variables(points, preparation, lattice),
            "hits": (("row", "col"), hits.reshape(lattice.shape), {"long_name": "samples per node", "units": "1"}),
            "u_matrix": (
                ("row", "col"),
                u_matrix(points, lattice),
                {"long_name": f"mean distance of a node's weights to its neighbors' (Euclidean, {space})"},
            ),
            **{
                name: (
                    "epoch",
                    np.asarray(values, dtype=np.float64),
                    {"long_name": labels[name], **units.get(name, {})},
                )
                for name, values in history.items()
            },
        },
        coords={
            "feature": ("feature", np.array(features, dtype=object)),
            **{_free_name(name): coordinate for name, coordinate in (feature_coords or {}).items()},
            "epoch": ("epoch", np.arange(len(history["radius"])), {"long_name": "epochs done"}),
            "x": (("row", "col"), x, {"units": "lattice units"}),
            "y": (("row", "col"), y, {"units": "lattice units"}),
        },
        attrs={"format": FORMAT, "som_dask_version": __version__, **attrs},
    )
    if gaps is not None:
        dataset["missing_values"] = (
            "feature", gaps, {"long_name": "samples that lack the feature", "units": "1"}
        )  # fmt: skip
    dataset.attrs["codebook_sha256"] = model_digest(dataset)
    return dataset


def _free_name(name: str) -> str:
    """A feature coordinate's name in a model, whose own names go first: x is a place on the lattice there."""
    return f"feature_{name}" if name in OWN_NAMES else name


def _scaled_variables(points: np.ndarray, preparation: Preparation, lattice: Lattice) -> dict[str, Any]:
    """The codebook in the map's own space, and the way there: where that is not the data's."""
    if not preparation.changes_values:
        return {}
    scaled = np.full((len(points), len(preparation.used)), np.nan)
    scaled[:, preparation.used] = points
    return {
        "codebook_scaled": (
            ("row", "col", "feature"),
            scaled.reshape(*lattice.shape, -1),
            {"long_name": "weights of the nodes, in the map's own space", "units": "1"},
        ),
        "feature_center": ("feature", preparation.center, {"long_name": "subtracted from the feature"}),
        "feature_scale": ("feature", preparation.scale, {"long_name": "what the feature is divided by then"}),
        "feature_weight": (
            "feature", preparation.feature_weights, {"long_name": "weight of squared differences", "units": "1"}
        ),
    }  # fmt: skip


def lattice_of(model: xr.Dataset) -> Lattice:
    """The lattice of a model."""
    rows, cols = model["codebook"].shape[:2]
    return Lattice(rows, cols, model.attrs["topology"], model.attrs["boundary"])


def codebook_of(model: xr.Dataset) -> np.ndarray:
    """The codebook of a model in the map's own space, (M, K) float64: what samples are compared with."""
    name = "codebook_scaled" if "codebook_scaled" in model else "codebook"
    values = model[name].transpose("row", "col", "feature").values
    table = np.asarray(values, dtype=np.float64).reshape(-1, values.shape[-1])
    return np.ascontiguousarray(table[:, _used(model)])


def preparation_of(model: xr.Dataset) -> Preparation:
    """How samples become points of a model's own space."""
    plain = Preparation.none(model.sizes["feature"])
    kept: dict[str, Any] = {
        name: np.asarray(model[f"feature_{variable}"].values, dtype=np.float64)
        for name, variable in (("center", "center"), ("scale", "scale"), ("feature_weights", "weight"))
        if f"feature_{variable}" in model
    }
    attrs = {name: model.attrs[name] for name in ("missing", "metric") if name in model.attrs}
    return replace(plain, used=_used(model), **kept, **attrs)


def _used(model: xr.Dataset) -> np.ndarray:
    """Features that training knew: the others are NaN in the codebook, (D,) bool."""
    first = model["codebook"].isel(row=0, col=0).values
    return ~np.isnan(np.asarray(first, dtype=np.float64))


def model_digest(model: xr.Dataset) -> str:
    """sha256 of the codebook's float64 bytes: two models with the same digest label alike."""
    return hashlib.sha256(codebook_of(model).tobytes()).hexdigest()


def check_features(
    model: xr.Dataset, features: Sequence[str] | None, n_features: int, dtype: Any, where: str
) -> None:
    """See that samples have the features a model was trained on.

    Parameters
    ----------
    model : xarray.Dataset
    features : sequence of str, or None
        The samples' feature names; where samples or model have none, only number and dtype are compared.
    n_features : int
    dtype : dtype of the samples
    where : str
        The samples' description, for the message.

    Raises
    ------
    SchemaError
        If names, order, number or dtype differ; the message says what to do.
    """
    expected = tuple(str(name) for name in model["feature"].values)
    if n_features != len(expected):
        raise SchemaError(
            f"{where} has {n_features} features, the model was trained on {len(expected)}: {_short(expected)}"
        )
    if features is not None and model.attrs.get("features_named", True) and tuple(features) != expected:
        if sorted(features) == sorted(expected):
            raise SchemaError(f"{where} has the model's features in another order; reorder to {_short(expected)}")
        other = [name for name in features if name not in expected]
        raise SchemaError(
            f"{where} has features {_short(other)} that the model does not know, only {_short(expected)}"
        )
    trained = model.attrs.get("sample_dtype")
    if trained is not None and np.dtype(dtype) != np.dtype(trained):
        raise SchemaError(
            f"{where} has dtype {np.dtype(dtype)}, the model was trained on {trained}; convert with --dtype {trained}"
        )


def _short(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def store_encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Zarr encoding with a checksum on every chunk, so that a flipped bit is an error and not a number."""
    return {str(name): {"compressors": (ZstdCodec(level=3), Crc32cCodec())} for name in dataset.variables}


def save_model(model: xr.Dataset, place: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a model to one Zarr store: beside, and published by one rename.

    Parameters
    ----------
    model : xarray.Dataset
    place : path or fsspec URL
    overwrite : bool
        Replace what is there; the old store stays whole until the new one is.

    Raises
    ------
    StorageError
        If it exists and may not be overwritten, or can't be written.
    """
    save_labelled(model, place, overwrite=overwrite)


def save_labelled(dataset: xr.Dataset, place: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write any labelled result as `save_model` writes a model."""
    check_free(place, overwrite=overwrite)
    temporary = beside(place, "partial")
    try:
        remove(temporary)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about consolidated metadata
            dataset.to_zarr(temporary, mode="w-", zarr_format=3, encoding=store_encoding(dataset))
    except OSError as error:
        remove(temporary)
        raise StorageError(f"can't write {place}: {error}; free some space or choose another output") from error
    publish(temporary, place, overwrite=overwrite)


def open_model(place: str | os.PathLike[str] | xr.Dataset) -> xr.Dataset:
    """Open a model and see that it is whole.

    Raises
    ------
    StorageError
        If there is no store, it is not a model, or its codebook is not the one that was written.
    """
    if isinstance(place, xr.Dataset):
        return place
    node = open_zarr_node(place)
    if node.attrs.get("format") != FORMAT:
        raise StorageError(f"{place} is not a som_dask model; give the output of som-dask train")
    try:
        model = open_dataset(place).load()
    except Exception as error:  # a damaged chunk raises whatever its codec raises
        raise StorageError(f"the model {place} is damaged: {error}; restore it or train again") from error
    if model_digest(model) != model.attrs["codebook_sha256"]:
        raise StorageError(f"the codebook in {place} is not the one that was saved; restore it or train again")
    return model
