"""Online training of labelled data: progress, checkpoints, and the same kind of model as the batch rule gives."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psutil
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.feature_space import Preparation
from som_dask.algorithm.initial import given_codebook
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import Iteration, OnlineConfig, OnlineRun, initial_weights
from som_dask.errors import MemoryLimitError, ParameterError, StorageError
from som_dask.io.checkpoints import Checkpoint, CheckpointFolder
from som_dask.io.models import model_dataset
from som_dask.passes.compute import compute
from som_dask.passes.run import epoch_sums, summarize
from som_dask.samples.table import Samples, open_samples
from som_dask.training.config import TrainingConfig

__all__ = ["fit_online", "online_config"]

MEMORY_SHARE = 0.5  # of the memory that is free: the samples as they are read, and as float64
MEASURED = ("quantization_error", "radius", "learning_rate")  # by every iteration


def fit_online(
    data: Any,
    lattice: Lattice,
    config: OnlineConfig | None = None,
    *,
    codebook: np.ndarray | None = None,
    checkpoints: CheckpointFolder | None = None,
    checkpoint_every: int = 10,
    resume: bool = False,
    on_iteration: Callable[[Iteration], None] | None = None,
) -> xr.Dataset:
    """Train a map by Kohonen's online rule and return it as a labelled Dataset.

    The rule takes one vector after the other, so all samples are held in this process's memory; it is for data
    that fit there with ease. For other data there is `som_dask.training.batch.fit`.

    Parameters
    ----------
    data : anything that `som_dask.samples.table.open_samples` takes
        Presented in its order, in every iteration.
    lattice : Lattice
    config : OnlineConfig, optional
    codebook : (rows, cols, D) or (M, D) array, optional
        Start from this codebook instead of random weights in [0, 1).
    checkpoints : CheckpointFolder, optional
        Where to save the state every `checkpoint_every` iterations, and when the run is interrupted.
    resume : bool
        Continue from the newest checkpoint there; the result is the same to the bit as without a break.
    on_iteration : callable, optional
        Called with each `Iteration`: a progress bar, a log.

    Returns
    -------
    xarray.Dataset
        The model; see `som_dask.io.models.model_dataset`. An epoch is an iteration. Its quantization error is of
        the samples at the moments they were presented; the topographic error is known at the end alone, and nan
        before. ``learning_rate (epoch)`` is there too.

    Raises
    ------
    CheckpointError
        If `resume` finds no checkpoint, or one of another configuration or other data.
    MemoryLimitError
        If the samples take more than half the memory that is free.
    ParameterError, DataError, StorageError, ClusterError
    """
    config = config or OnlineConfig()
    if checkpoint_every < 1:
        raise ParameterError(f"checkpoint_every must be at least 1, got {checkpoint_every}")
    if resume and checkpoints is None:
        raise ParameterError("resume needs a folder of checkpoints")
    began = datetime.now(UTC)
    samples = open_samples(data)
    if samples.weights is not None or samples.feature_weights is not None:
        raise ParameterError("the online rule takes no weights; use the batch rule")
    _check_memory(samples)
    summary = summarize(samples)
    weights = (
        initial_weights(lattice, samples.n_features, config.seed)
        if codebook is None
        else given_codebook(codebook, lattice, samples.n_features)
    )
    parameters = {
        "algorithm": "online",
        **asdict(lattice),
        **asdict(config),
        "initialization": "random" if codebook is None else "given",
    }
    fingerprint = f"{summary.fingerprint:016x}"
    identity = {
        **parameters,
        "som_dask_version": __version__,
        "samples": summary.samples,
        "features": samples.feature_names,
        "dtype": str(samples.array.dtype),
        "data_fingerprint": fingerprint,
        "initial_codebook": hashlib.sha256(weights.tobytes()).hexdigest()[:16],
    }
    state = Checkpoint(0, weights, {name: np.empty(0) for name in MEASURED}, identity)
    if resume and checkpoints is not None:
        state = checkpoints.resume(identity)
    run = OnlineRun(compute(samples.array)[0], lattice, config, codebook=state.codebook, start=state.epochs_done)
    history = state.history
    try:
        for iteration in run:
            history = {name: np.append(values, getattr(iteration, name)) for name, values in history.items()}
            if checkpoints is not None:
                # In one assignment, which no interrupt can cut in two.
                state = Checkpoint(run.next, run.codebook.reshape(lattice.n_nodes, -1), history, identity)
                if state.epochs_done % checkpoint_every == 0:
                    checkpoints.save(state)
            if on_iteration is not None:
                on_iteration(iteration)
    except BaseException:
        if checkpoints is not None and state.epochs_done:
            with contextlib.suppress(StorageError):
                checkpoints.save(state)
        raise
    weights = run.codebook.reshape(lattice.n_nodes, -1)
    final = epoch_sums(samples, weights, lattice, summary, "cpu", "exact")
    unknown = [np.nan] * config.iterations
    model = model_dataset(
        points=weights,
        preparation=Preparation.none(samples.n_features),
        hits=final.counts,
        history={
            "quantization_error": [*history["quantization_error"], final.quantization_error],
            "topographic_error": [*unknown, final.topographic_error],
            "radius": [*history["radius"], np.nan],
            "learning_rate": [*history["learning_rate"], np.nan],
        },
        features=samples.feature_names,
        lattice=lattice,
        feature_coords=samples.feature_coords,
        attrs={
            **parameters,
            "input": samples.description,
            "samples": summary.samples,
            "sample_dtype": str(samples.array.dtype),
            "features_named": samples.features is not None,
            "variables": list(samples.variables),
            "sample_dims": list(samples.sample_dims),
            "feature_dims": list(samples.feature_dims),
            "data_fingerprint": fingerprint,
            "started": began.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    model["quantization_error"].attrs["comment"] = "before the last epoch: of each sample when it was presented"
    return model


def online_config(config: TrainingConfig, learning_rate: float | None) -> OnlineConfig:
    """The options of the command line as an `OnlineConfig`.

    Raises
    ------
    ParameterError
        If an option that only the batch rule has is set.
    """
    plain = TrainingConfig()
    for field in fields(TrainingConfig):
        if field.name not in ("epochs", "seed") and getattr(config, field.name) != getattr(plain, field.name):
            raise ParameterError(
                f"--{field.name.replace('_', '-')} belongs to the batch rule; leave it out with --algorithm online"
            )
    rate = {} if learning_rate is None else {"learning_rate": learning_rate}
    return OnlineConfig(iterations=config.epochs, seed=config.seed, **rate)


def _check_memory(samples: Samples) -> None:
    needed = samples.array.size * (samples.array.dtype.itemsize + 8)
    limit = MEMORY_SHARE * psutil.virtual_memory().available
    if needed > limit:
        raise MemoryLimitError(
            f"online training holds all samples in memory: those of {samples.description} need {needed / 2**30:.3g} "
            f"GiB, and {limit / 2**30:.3g} GiB may be used; take fewer samples, or the batch rule"
        )
