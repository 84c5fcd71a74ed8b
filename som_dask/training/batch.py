"""Train by the batch rule: one pass over all samples in each epoch, on Dask."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from som_dask.algorithm.batch_rule import update_codebook
from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.io.models import scaled_codebook_of
from som_dask.passes.announce import announce
from som_dask.training.config import Execution, MapConfig
from som_dask.training.prepared import PreparedData, prepare_data
from som_dask.training.run import Checkpointing, Epoch, Run

__all__ = ["batch_epochs", "train_batch"]

MEASURED = ("quantization_error", "topographic_error", "radius")


def batch_epochs(
    data: Any,
    lattice: Lattice,
    config: MapConfig,
    execution: Execution | None = None,
    *,
    sample_weights: Any = None,
    feature_weights: Any = None,
    codebook: Any = None,
    start: int = 0,
) -> Iterator[Epoch]:
    """Train by the batch rule, epoch by epoch; see `som_dask.training.train.epochs`."""
    prepared = prepare_data(data, config, execution, sample_weights=sample_weights, feature_weights=feature_weights)
    if codebook is None:
        points = prepared.make_initial_codebook(lattice, config)
    else:
        points = prepared.scale_codebook(codebook, lattice)
    yield from _run_epochs(prepared.move_to_device(), lattice, config, points, start, [], [])


def _run_epochs(
    data: PreparedData,
    lattice: Lattice,
    config: MapConfig,
    points: np.ndarray,
    start: int,
    errors: Sequence[float],
    radii: Sequence[float],
) -> Iterator[Epoch]:
    """Yield epochs from `start` on until the last one, or until the quantization error no longer falls.

    Parameters
    ----------
    data : PreparedData
    lattice : Lattice
    config : MapConfig
    points : (M, K) float64
        The scaled codebook to start from.
    start : int
        Index of the first epoch.
    errors, radii : sequence of float
        Quantization errors and radii of the epochs before it.
    """
    epochs = _compute_epochs(data, lattice, config, points, start, errors, radii)
    samples, blocks = data.summary.samples, len(data.samples.block_rows)
    yield from announce(epochs, lattice, samples=samples, blocks=blocks, of=config.epochs)


def _compute_epochs(
    data: PreparedData,
    lattice: Lattice,
    config: MapConfig,
    points: np.ndarray,
    start: int,
    errors: Sequence[float],
    radii: Sequence[float],
) -> Iterator[Epoch]:
    schedule, neighborhood = config.schedule(lattice), config.kernel()
    space, engine = data.space, data.execution.engine(config.precision)
    for index in range(start, config.epochs):
        if config.has_converged(errors, radii):
            return
        clock = time.perf_counter()
        sums = data.add_up(points, lattice, engine)
        radius = float(schedule[index])
        updated = update_codebook(sums.numerator, sums.denominator, points, lattice, neighborhood, radius)
        points = space.to_sphere(updated, points)
        errors, radii = [*errors, sums.quantization_error], [*radii, radius]
        yield Epoch(
            index=index,
            radius=radius,
            codebook=space.to_data_units(points).reshape(*lattice.shape, -1),
            scaled_codebook=points.reshape(*lattice.shape, -1).copy(),
            quantization_error=sums.quantization_error,
            topographic_error=sums.topographic_error,
            hits=sums.hits.reshape(lattice.shape),
            seconds=time.perf_counter() - clock,
        )


def train_batch(
    data: Any,
    lattice: Lattice,
    config: MapConfig,
    execution: Execution | None = None,
    *,
    sample_weights: Any = None,
    feature_weights: Any = None,
    codebook: Any = None,
    base: xr.Dataset | None = None,
    checkpointing: Checkpointing | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> xr.Dataset:
    """Train by the batch rule to the end; see `som_dask.training.train.train`."""
    checkpointing = checkpointing or Checkpointing()
    if base is not None:
        _check_base(base, lattice, config, codebook, feature_weights)
    prepared = prepare_data(
        data, config, execution, sample_weights=sample_weights, feature_weights=feature_weights, base=base
    )
    origin: str = "given"
    if base is not None:
        points = scaled_codebook_of(base)
    elif codebook is not None:
        points = prepared.scale_codebook(codebook, lattice)
    else:
        points, origin = prepared.make_initial_codebook(lattice, config), config.initialization
    parameters = {
        **asdict(config),
        "initial_radius": float(config.schedule(lattice)[0]) if config.epochs else None,
        "initialization": origin,
    }
    run = Run(prepared, lattice, parameters, points, MEASURED, by_blocks=config.precision == "fast")
    run.resume(checkpointing)
    prepared = prepared.move_to_device()
    state = run.state
    errors, radii = (state.history[name].tolist() for name in ("quantization_error", "radius"))
    run.follow(
        _run_epochs(prepared, lattice, config, state.codebook, state.epochs_done, errors, radii),
        checkpointing,
        on_epoch,
    )
    final = prepared.add_up(run.state.codebook, lattice, prepared.execution.engine(config.precision))
    return run.make_model(final, epochs=config.epochs, gaps=config.missing != "error")


def _check_base(base: xr.Dataset, lattice: Lattice, config: MapConfig, codebook: Any, feature_weights: Any) -> None:
    """Check that training can go on from a model."""
    if codebook is not None or feature_weights is not None:
        raise ParameterError("a model to go on from has its own codebook and feature weights; give only one of them")
    if base["codebook"].shape[:2] != lattice.shape:
        raise ParameterError(f"the model to go on from has {base['codebook'].shape[:2]} nodes, not {lattice.shape}")
    for name, default in (("metric", "euclidean"), ("scaling", "none")):
        if getattr(config, name) != base.attrs.get(name, default):
            raise ParameterError(
                f"the model to go on from has {name} {base.attrs.get(name, default)!r}, "
                f"not {getattr(config, name)!r}; leave it as it is"
            )
