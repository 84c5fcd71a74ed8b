"""Retraining: a registered map goes on with new data, and tells how far these have drifted."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.io.model_key import ModelKey
from som_dask.io.models import lattice_of
from som_dask.io.registry import Registry, resolve
from som_dask.samples.for_model import opened
from som_dask.training.batch import Epoch, TrainingConfig, fit

__all__ = ["Drift", "RetrainingConfig", "retrain", "retrain_registered"]

KEPT = ("neighborhood", "support", "precision", "scaling", "metric", "missing")  # of what a map was trained with


@dataclass(frozen=True, kw_only=True)
class RetrainingConfig:
    """How a map goes on; every default of retraining is stated here and nowhere else.

    Parameters
    ----------
    epochs : int
    initial_radius : float
        In lattice units. Short, so that the map keeps its order and moves only where the data have moved.
    final_radius : float, optional
        By default that of the epoch which the map's training ended with.
    """

    epochs: int = 5
    initial_radius: float = 2.0
    final_radius: float | None = None


@dataclass(frozen=True)
class Drift:
    """How well a map that was trained on old data fits new ones, before and after it has gone on.

    Attributes
    ----------
    old_data : float
        Quantization error of the old map on the data that it was trained on, in the data's units.
    new_data : float
        Of the old map on the new data.
    retrained : float
        Of the new map on the new data.
    """

    old_data: float
    new_data: float
    retrained: float

    @property
    def ratio(self) -> float:
        """How many times the old map's error is on the new data what it was on the old; nan where that was zero."""
        return self.new_data / self.old_data if self.old_data else float("nan")


def retrain(
    data: Any,
    model: xr.Dataset,
    config: RetrainingConfig | None = None,
    *,
    weights: Any = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    **options: Any,
) -> tuple[xr.Dataset, Drift]:
    """Go on training a map by the batch rule, from its codebook and with its scaling, with new data.

    Parameters
    ----------
    data : anything that `som_dask.samples.table.open_samples` takes
    model : xarray.Dataset
    config : RetrainingConfig, optional
    weights
        Of the new samples; as for `som_dask.training.batch.fit`.
    on_epoch : callable, optional
        Called with each `Epoch`.
    **options
        Of `TrainingConfig`, in place of what the model was trained with.

    Returns
    -------
    model : xarray.Dataset
        The new one; the old one stays as it is.
    drift : Drift
        Also in the new model's attributes.

    Raises
    ------
    SchemaError
        If the features are not those that the map was trained on.
    ParameterError, DataError, StorageError, ClusterError, MemoryLimitError
    """
    config = config or RetrainingConfig()
    samples, _, _ = opened(data, model, weights=weights)
    kept = {name: model.attrs[name] for name in KEPT if name in model.attrs}
    chosen: dict[str, Any] = {**kept, **asdict(config), **options}
    if chosen["final_radius"] is None:
        chosen["final_radius"] = _last_radius(model)
    new = fit(samples, lattice_of(model), TrainingConfig(**chosen), base=model, on_epoch=on_epoch)
    errors = new["quantization_error"].values
    # The first entry is of the codebook that training began with: the old map's.
    drift = Drift(float(model["quantization_error"].values[-1]), float(errors[0]), float(errors[-1]))
    new.attrs.update(
        retrained_from_codebook=model.attrs["codebook_sha256"],
        drift_old_map_on_old_data=drift.old_data,
        drift_old_map_on_new_data=drift.new_data,
    )
    return new, drift


def _last_radius(model: xr.Dataset) -> float | None:
    """Radius of the last epoch of a model's training; None if it had none."""
    radii = model["radius"].values[~np.isnan(model["radius"].values)]
    return float(radii[-1]) if len(radii) else None


def retrain_registered(
    reference: str,
    data: Any,
    root: str | os.PathLike[str],
    config: RetrainingConfig | None = None,
    **options: Any,
) -> tuple[ModelKey, Drift]:
    """Retrain a model of a registry, and save the result as its next revision.

    Parameters
    ----------
    reference : str
        Such as ``photo@dev``; see `som_dask.io.registry.resolve`.
    data : anything that `som_dask.samples.table.open_samples` takes
    root : path or URL of the registry
    config, **options
        As for `retrain`.

    Returns
    -------
    key : ModelKey
        Of the new revision, whose parent is the old one.
    drift : Drift

    Raises
    ------
    ParameterError, SchemaError, DataError, StorageError, ClusterError, MemoryLimitError
        Then the registry stays as it is.
    """
    if "@" not in reference:
        raise ParameterError(f"{reference!r} names no model of a registry; give NAME@ENVIRONMENT")
    key = resolve(reference, root)
    registry = Registry(root, key.environment)
    registry.check_can_save(key.name, key.model_version)
    model, drift = retrain(data, registry.load_key(key), config, **options)
    return registry.save(model, key.name, model_version=key.model_version, parent=key), drift
