"""Train by the batch rule or the online rule, depending on the configuration: to the end, or epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.errors import ParameterError
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.passes.progress import is_shown
from som_dask.training.batch import batch_epochs, train_batch
from som_dask.training.config import Execution, MapConfig
from som_dask.training.online import online_epochs, train_online
from som_dask.training.progress import TrainingBar
from som_dask.training.run import Checkpointing, Epoch, Resume

__all__ = ["epochs", "train"]

USUAL_EVERY = {MapConfig: 1, OnlineConfig: 10}  # epochs between checkpoints


def train(
    data: Any,
    lattice: Lattice,
    config: MapConfig | OnlineConfig | None = None,
    execution: Execution | None = None,
    *,
    sample_weights: Any = None,
    feature_weights: Any = None,
    value_errors: Any = None,
    codebook: Any = None,
    base: xr.Dataset | None = None,
    checkpoints: CheckpointFolder | None = None,
    checkpoint_every: int | None = None,
    resume: Resume = False,
    on_epoch: Callable[[Epoch], None] | None = None,
    progress: bool | None = None,
    keep_interrupted: bool = False,
) -> xr.Dataset:
    """Train a map to the end and return it as a labeled Dataset.

    Tasks run on the active distributed client, or else on threads of this process. The online rule presents one
    sample after the other, so it holds all samples in the memory of this process.

    Parameters
    ----------
    data : anything that `som_dask.samples.open.open_samples` takes
        The online rule presents the samples in their order.
    lattice : Lattice
    config : MapConfig or OnlineConfig, optional
        A `MapConfig` for the batch rule, which is the default, or an `OnlineConfig` for the online rule.
    execution : Execution, optional
        How the work is done. For the batch rule only.
    sample_weights : array, DataArray, name of a variable, or "area", optional
        How much each sample counts: a weight of 2 is the same as the sample twice. For the batch rule only; see
        `som_dask.samples.open.open_samples`.
    feature_weights : array of D numbers, or "area", optional
        How much each feature counts in squared distances, after scaling. For the batch rule only.
    value_errors : array, DataArray, or names of variables, optional
        The error e of each value, above 0: squared distances are ``sum_j (x_j - w_j)^2 / e_j^2``, and the batch rule
        averages values with the weights ``1 / e_j^2``. So scaling does not change distances; it changes where the map
        begins. Needs the metric "euclidean" and device "cpu". For the batch rule only; see
        `som_dask.samples.open.open_samples`.
    codebook : (rows, cols, D) or (M, D) array, optional
        Codebook to start from, in the data's units. By default it is made by `config.initialization`; for the online
        rule it is random numbers in [0, 1).
    base : xarray.Dataset, optional
        A model on the same lattice to start from: its codebook, scaling and feature weights are used. Its metric must
        be that of `config`. For the batch rule only.
    checkpoints : CheckpointFolder, optional
        Where to save the state from time to time, and when the run is interrupted.
    checkpoint_every : int, optional
        Number of epochs between checkpoints; by default 1, and 10 by the online rule.
    resume : bool or "auto"
        Continue from the newest checkpoint in `checkpoints`; the result has the same bits as without the break.
        "auto" begins a new run where there is no checkpoint.
    on_epoch : callable, optional
        Called with each `Epoch`, for example to draw it or to write a log.
    progress : bool, optional
        Whether a bar shows phase, epoch, radius, errors and time left. By default it does where standard error is a
        terminal, and in notebooks.
    keep_interrupted : bool
        Whether an interrupt, such as Ctrl-C, ends training with the map of the last finished epoch, in place of a
        `KeyboardInterrupt`. Its attribute ``stopped_by`` is then "interrupt". It is still measured with all samples;
        where a second interrupt ends that too, its last errors are NaN, and its hits are those of the epoch.

    Returns
    -------
    xarray.Dataset
        The model; see `som_dask.io.models.model_dataset`. By the online rule the topographic error is measured only
        at the end, and nan before; ``learning_rate (epoch)`` is included too.

    Raises
    ------
    CheckpointError
        If `resume` is true and there is no checkpoint, or if the newest is of another configuration or other data.
    MemoryLimitError
        If the samples take more than half of the free memory, by the online rule; or if workers run out of memory.
    ParameterError, DataError, StorageError, ClusterError

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> dict(model["codebook"].sizes)
    {'row': 4, 'col': 5, 'feature': 3}
    >>> int(model["hits"].sum())
    40
    """
    config = config or MapConfig()
    every = USUAL_EVERY[type(config)] if checkpoint_every is None else checkpoint_every
    checkpointing = Checkpointing(checkpoints, every, resume, keep_interrupted)
    if isinstance(config, OnlineConfig):
        _refuse_batch_only(
            sample_weights=sample_weights,
            feature_weights=feature_weights,
            value_errors=value_errors,
            base=base,
            execution=execution,
        )
        with TrainingBar(config.epochs, shown=is_shown(progress), then=on_epoch) as bar:
            return train_online(data, lattice, config, codebook=codebook, checkpointing=checkpointing, on_epoch=bar)
    with TrainingBar(_expect(config), shown=is_shown(progress), then=on_epoch) as bar:
        return train_batch(
            data,
            lattice,
            config,
            execution,
            sample_weights=sample_weights,
            feature_weights=feature_weights,
            value_errors=value_errors,
            codebook=codebook,
            base=base,
            checkpointing=checkpointing,
            on_epoch=bar,
        )


def epochs(
    data: Any,
    lattice: Lattice,
    config: MapConfig | OnlineConfig | None = None,
    execution: Execution | None = None,
    *,
    sample_weights: Any = None,
    feature_weights: Any = None,
    value_errors: Any = None,
    codebook: Any = None,
    start: int = 0,
) -> Iterator[Epoch]:
    """Train a map epoch by epoch: each one is computed when the caller asks for it.

    Side effects, such as checkpoints, plots, logs and stopping early, are left to the caller.

    Parameters
    ----------
    data, lattice, config, execution, sample_weights, feature_weights, value_errors, codebook
        As for `train`.
    start : int
        Index of the first epoch, to continue a run from the codebook of the epoch before.

    Yields
    ------
    Epoch

    Raises
    ------
    ParameterError, DataError, StorageError, ClusterError, MemoryLimitError

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> for epoch in som.epochs(colors, som.Lattice(4, 5), som.MapConfig(epochs=20)):
    ...     if epoch.radius < 1:
    ...         break
    >>> epoch.codebook.shape
    (4, 5, 3)
    """
    config = config or MapConfig()
    if isinstance(config, OnlineConfig):
        weights = {"sample_weights": sample_weights, "feature_weights": feature_weights}
        _refuse_batch_only(**weights, value_errors=value_errors, execution=execution)
        yield from online_epochs(data, lattice, config, codebook=codebook, start=start)
        return
    yield from batch_epochs(
        data,
        lattice,
        config,
        execution,
        sample_weights=sample_weights,
        feature_weights=feature_weights,
        value_errors=value_errors,
        codebook=codebook,
        start=start,
    )


def _expect(config: MapConfig) -> int:
    """Return how many epochs there will be, as far as that is known before the data are."""
    return config.count_epochs(two_phases=config.phases == "two")


def _refuse_batch_only(**given: Any) -> None:
    """Refuse arguments that only the batch rule has a use for."""
    if any(given.get(name) is not None for name in ("sample_weights", "feature_weights")):
        raise ParameterError("the online rule takes no weights; use the batch rule")
    for name, value in given.items():
        if value is not None:
            raise ParameterError(f"{name} belongs to the batch rule; leave it out with an OnlineConfig")
