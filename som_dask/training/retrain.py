"""Retrain a map with new data, and measure how far these have drifted."""

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
from som_dask.passes.progress import is_shown
from som_dask.samples.for_model import open_for_model
from som_dask.training.batch import train_batch
from som_dask.training.config import Execution, MapConfig
from som_dask.training.progress import TrainingBar
from som_dask.training.run import Epoch

__all__ = ["Drift", "RetrainingConfig", "retrain", "retrain_registered"]

KEPT = ("neighborhood", "support", "precision", "scaling", "metric", "missing")  # parameters kept from training


@dataclass(frozen=True, kw_only=True)
class RetrainingConfig:
    """The parameters of retraining. Every default of retraining is stated here and nowhere else.

    Parameters
    ----------
    epochs : int
        Number of epochs, which are passes over all new samples.
    initial_radius : float
        Radius sigma of the first epoch, in lattice units. The default is small, so that the map keeps its order and
        moves only where the data have moved.
    final_radius : float, optional
        Radius sigma of the last epoch, in lattice units; by default that of the last epoch of the map's training.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> newer, drift = som.retrain(colors + 0.1, model, som.RetrainingConfig(epochs=2, initial_radius=1))
    >>> newer.sizes["epoch"]
    3
    """

    epochs: int = 5
    initial_radius: float = 2.0
    final_radius: float | None = None


@dataclass(frozen=True)
class Drift:
    """How well a map that was trained on old data fits new data, before and after retraining.

    Attributes
    ----------
    old_data : float
        Quantization error of the old map on the data that it was trained on, in the map's own space.
    new_data : float
        Quantization error of the old map on the new data.
    retrained : float
        Quantization error of the new map on the new data.

    Examples
    --------
    >>> from som_dask.training.retrain import Drift
    >>> Drift(old_data=2.0, new_data=3.0, retrained=2.5).ratio
    1.5
    """

    old_data: float
    new_data: float
    retrained: float

    @property
    def ratio(self) -> float:
        """``new_data / old_data``; nan if `old_data` is 0."""
        return self.new_data / self.old_data if self.old_data else float("nan")


def retrain(
    data: Any,
    model: xr.Dataset,
    config: RetrainingConfig | None = None,
    execution: Execution | None = None,
    *,
    sample_weights: Any = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    progress: bool | None = None,
    **options: Any,
) -> tuple[xr.Dataset, Drift]:
    """Train a map further on new data by the batch rule, from its codebook and with its scaling.

    Parameters
    ----------
    data : anything that `som_dask.samples.open.open_samples` takes
    model : xarray.Dataset
    config : RetrainingConfig, optional
    execution : Execution, optional
        How the work is done.
    sample_weights
        Weights of the new samples, as for `som_dask.train`.
    on_epoch : callable, optional
        Called with each `Epoch`.
    progress : bool, optional
        Whether a bar is shown, as for `som_dask.train`.
    **options
        Fields of `MapConfig`, instead of those that the model was trained with.

    Returns
    -------
    model : xarray.Dataset
        The new model; the old one is not changed.
    drift : Drift
        Also in the attributes of the new model.

    Raises
    ------
    SchemaError
        If the features are not those that the map was trained on.
    ParameterError, DataError, StorageError, ClusterError, MemoryLimitError

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> newer, drift = som.retrain(colors + 0.1, model)
    >>> drift.ratio > 1, drift.retrained < drift.new_data
    (True, True)
    """
    config = config or RetrainingConfig()
    samples, _, _ = open_for_model(data, model, options.get("missing"), sample_weights=sample_weights)
    samples = samples.refuse_errors("retrain")
    kept = {name: model.attrs[name] for name in KEPT if name in model.attrs}
    chosen: dict[str, Any] = {**kept, **asdict(config), **options}
    if chosen["final_radius"] is None:
        chosen["final_radius"] = _last_radius_of(model)
    new_config = MapConfig(**chosen)
    with TrainingBar(new_config.count_epochs(), shown=is_shown(progress), then=on_epoch) as bar:
        new = train_batch(samples, lattice_of(model), new_config, execution, base=model, on_epoch=bar)
    errors = new["quantization_error"].values
    # The first entry is that of the codebook that training began with, which is the old map.
    drift = Drift(float(model["quantization_error"].values[-1]), float(errors[0]), float(errors[-1]))
    new.attrs.update(
        retrained_from_codebook=model.attrs["codebook_sha256"],
        drift_old_map_on_old_data=drift.old_data,
        drift_old_map_on_new_data=drift.new_data,
    )
    return new, drift


def _last_radius_of(model: xr.Dataset) -> float | None:
    """Return the radius of the last epoch of a model's training; None if there was no epoch."""
    radii = model["radius"].values[~np.isnan(model["radius"].values)]
    return float(radii[-1]) if len(radii) else None


def retrain_registered(
    reference: str,
    data: Any,
    root: str | os.PathLike[str],
    config: RetrainingConfig | None = None,
    execution: Execution | None = None,
    **options: Any,
) -> tuple[ModelKey, Drift]:
    """Retrain a model of a registry, and save the result as the next revision.

    Parameters
    ----------
    reference : str
        Reference to a model, such as ``photo@dev``; see `som_dask.io.registry.resolve`.
    data : anything that `som_dask.samples.open.open_samples` takes
    root : path or URL of the registry
    config, execution, **options
        As for `retrain`.

    Returns
    -------
    key : ModelKey
        Key of the new revision; its parent is the old one.
    drift : Drift

    Raises
    ------
    ParameterError, SchemaError, DataError, StorageError, ClusterError, MemoryLimitError
        The registry is then unchanged.
    """
    if "@" not in reference:
        raise ParameterError(f"{reference!r} names no model of a registry; give NAME@ENVIRONMENT")
    key = resolve(reference, root)
    registry = Registry(root, key.environment)
    registry.check_can_save(key.name, key.model_version)
    model, drift = retrain(data, registry.load_key(key), config, execution, **options)
    return registry.save(model, key.name, model_version=key.model_version, parent=key), drift
