"""Train by the online rule: all samples are in the memory of this process and are presented one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.initial import check_codebook
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig, OnlineRun, draw_codebook
from som_dask.algorithm.quality import hit_histogram
from som_dask.engine.cpu import CPU_EXACT
from som_dask.errors import MemoryLimitError, ParameterError
from som_dask.passes.announce import announce
from som_dask.passes.compute import compute
from som_dask.passes.map_memory import check_map_fits
from som_dask.passes.memory import process_memory
from som_dask.passes.summary import summarize
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples
from som_dask.training.config import Execution
from som_dask.training.prepared import PreparedData
from som_dask.training.run import Checkpointing, Epoch, Run

__all__ = ["online_epochs", "train_online"]

MEMORY_SHARE = 0.5  # maximum share of the free memory that samples may take, as they are read and as float64
MEASURED = ("quantization_error", "radius", "learning_rate")


def online_epochs(
    data: Any, lattice: Lattice, config: OnlineConfig, *, codebook: Any = None, start: int = 0
) -> Iterator[Epoch]:
    """Train by the online rule, epoch by epoch; see `som_dask.training.train.epochs`."""
    prepared = _prepare(data)
    yield from _run_epochs(prepared, lattice, config, _choose_codebook(codebook, prepared, lattice, config), start)


def _run_epochs(
    data: PreparedData, lattice: Lattice, config: OnlineConfig, codebook: np.ndarray, start: int
) -> Iterator[Epoch]:
    epochs, samples = _present(data, lattice, config, codebook, start), data.samples.n_samples
    yield from announce(epochs, lattice, samples=samples, blocks=1, of=config.epochs)


def _present(
    data: PreparedData, lattice: Lattice, config: OnlineConfig, codebook: np.ndarray, start: int
) -> Iterator[Epoch]:
    rule = OnlineRun(compute(data.samples.array)[0], lattice, config, codebook=codebook, start=start)
    for epoch in rule:
        current = rule.codebook
        yield Epoch(
            index=epoch.index,
            radius=epoch.radius,
            codebook=current,
            scaled_codebook=current,
            quantization_error=epoch.quantization_error,
            hits=hit_histogram(epoch.bmu, lattice),
            seconds=epoch.seconds,
            learning_rate=epoch.learning_rate,
            planned=config.epochs,
            lattice=lattice,
            features=data.samples.feature_names,
        )


def train_online(
    data: Any,
    lattice: Lattice,
    config: OnlineConfig,
    *,
    codebook: Any = None,
    checkpointing: Checkpointing | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> xr.Dataset:
    """Train by the online rule to the end; see `som_dask.training.train.train`."""
    checkpointing = checkpointing or Checkpointing()
    prepared = _prepare(data)
    parameters = {
        "algorithm": "online",
        **asdict(config),
        "initialization": "random" if codebook is None else "given",
    }
    run = Run(prepared, lattice, parameters, _choose_codebook(codebook, prepared, lattice, config), MEASURED)
    run.resume(checkpointing)
    epochs = _run_epochs(prepared, lattice, config, run.state.codebook, run.state.epochs_done)
    run.follow(epochs, checkpointing, on_epoch)
    final = run.measure(lambda codebook: prepared.add_up(codebook, lattice, CPU_EXACT))
    model = run.make_model(final, epochs=config.epochs)
    model["quantization_error"].attrs["comment"] = "before the last epoch: of each sample when it was presented"
    return model


def _prepare(data: Any) -> PreparedData:
    """Open and summarize samples that will be held in memory."""
    if isinstance(data, PreparedData):
        return data
    samples = open_samples(data).allow_for("error").refuse_errors("the online rule")
    if samples.weights is not None or samples.feature_weights is not None:
        raise ParameterError("the online rule takes no weights; use the batch rule")
    _check_memory(samples)
    return PreparedData(samples, summarize(samples), FeatureSpace.plain(samples.n_features), Execution())


def _choose_codebook(codebook: Any, data: PreparedData, lattice: Lattice, config: OnlineConfig) -> np.ndarray:
    """Return the codebook to start from, (M, D) float64: the one given, or a random one.

    Raises
    ------
    MemoryLimitError
        If the map does not fit the memory.
    """
    check_map_fits(lattice, data.samples.n_features, config.epochs)
    if codebook is None:
        return draw_codebook(lattice, data.samples.n_features, config.seed)
    return check_codebook(codebook, lattice, data.samples.n_features)


def _check_memory(samples: Samples) -> None:
    needed = samples.array.size * (samples.array.dtype.itemsize + 8)
    limit = MEMORY_SHARE * process_memory()
    if needed > limit:
        raise MemoryLimitError(
            f"online training holds all samples in memory: those of {samples.description} need {needed / 2**30:.3g} "
            f"GiB, and {limit / 2**30:.3g} GiB may be used; take fewer samples, or the batch rule"
        )
