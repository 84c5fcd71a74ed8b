"""Train by the batch rule: one pass over all samples in each epoch, on Dask."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from som_dask.algorithm.batch_rule import update_codebook
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.partial import Partial
from som_dask.errors import ParameterError
from som_dask.io.models import scaled_codebook_of
from som_dask.passes.announce import announce
from som_dask.passes.map_memory import check_map_fits
from som_dask.training.config import Execution, MapConfig
from som_dask.training.phases import Plan, describe_plan, plan_epochs
from som_dask.training.prepared import PreparedData, prepare_data
from som_dask.training.radius import settle_radius
from som_dask.training.rough import RoughData
from som_dask.training.run import Checkpointing, Epoch, Run

__all__ = ["batch_epochs", "train_batch"]

AtEnd = Callable[[PreparedData, np.ndarray, Callable[[], Partial]], Partial]
MEASURED = ("quantization_error", "topographic_error", "radius")


def batch_epochs(
    data: Any,
    lattice: Lattice,
    config: MapConfig,
    execution: Execution | None = None,
    *,
    sample_weights: Any = None,
    feature_weights: Any = None,
    value_errors: Any = None,
    codebook: Any = None,
    start: int = 0,
) -> Iterator[Epoch]:
    """Train by the batch rule, epoch by epoch; see `som_dask.training.train.epochs`."""
    prepared = prepare_data(
        data,
        config,
        execution,
        sample_weights=sample_weights,
        feature_weights=feature_weights,
        value_errors=value_errors,
        lattice=lattice,
    )
    training = _Training.of(prepared, lattice, config)
    points = training.make_initial_codebook() if codebook is None else prepared.scale_codebook(codebook, lattice)
    yield from training.move_to_device().run_epochs(points, start, [])


@dataclass(frozen=True)
class _Training:
    """What the epochs of a run work on.

    Attributes
    ----------
    data : PreparedData
        All samples.
    rough : RoughData, optional
        The samples of the rough phase, if there is one.
    plan : Plan
    lattice : Lattice
    config : MapConfig
        With the final radius, if that was to be chosen.
    dimension : float, optional
        Intrinsic dimension of the samples, by which it was chosen.
    """

    data: PreparedData
    rough: RoughData | None
    plan: Plan
    lattice: Lattice
    config: MapConfig
    dimension: float | None = None

    @classmethod
    def of(cls, data: PreparedData, lattice: Lattice, config: MapConfig) -> _Training:
        """Plan the epochs, and get the samples of a rough phase if there is one."""
        data, config, dimension = settle_radius(data, lattice, config)
        plan = plan_epochs(config, lattice, data.summary.taken, data.samples.n_features)
        check_map_fits(lattice, data.samples.n_features, plan.n_epochs)
        rough = RoughData.draw(data, lattice, config) if plan.n_rough else None
        return cls(replace(data, drawn=None), rough, plan, lattice, config, dimension)

    def make_initial_codebook(self) -> np.ndarray:
        """Compute the initial scaled codebook, (M, K) float64: from the drawn samples, if there are any."""
        if self.rough is None or self.config.initialization == "random":  # which knows the range of all
            return self.data.make_initial_codebook(self.lattice, self.config)
        return self.rough.make_initial_codebook(self.lattice, self.config)

    def move_to_device(self) -> _Training:
        """Move the samples to the memory of the GPUs, if the work is done there and they fit."""
        rough = None if self.rough is None else self.rough.move_to_device()
        return replace(self, data=self.data.move_to_device(), rough=rough)

    def run_epochs(self, points: np.ndarray, start: int, errors: Sequence[float]) -> Iterator[Epoch]:
        """Yield epochs from `start` on until the last one, or until the quantization error no longer falls.

        Parameters
        ----------
        points : (M, K) float64
            The scaled codebook to start from.
        start : int
            Index of the first epoch.
        errors : sequence of float
            Quantization errors of the epochs before it.
        """
        epochs, samples = self._compute_epochs(points, start, errors), self.data.samples
        announced = {"samples": self.data.summary.samples, "blocks": len(samples.block_rows)}
        yield from announce(epochs, self.lattice, **announced, of=self.plan.n_epochs)

    def _compute_epochs(self, points: np.ndarray, start: int, errors: Sequence[float]) -> Iterator[Epoch]:
        plan, lattice, config, neighborhood = self.plan, self.lattice, self.config, self.config.kernel()
        space, errors = self.data.space, list(errors)
        for index in range(start, plan.n_epochs):
            first = max(index - len(errors), plan.n_rough)  # errors of the rough phase are those of other samples
            if first < index and config.has_converged(errors[first - index :], plan.radii[first:index].tolist()):
                return
            clock = time.perf_counter()
            sums, radius = self._add_up(index, points), float(plan.radii[index])
            updated = update_codebook(sums.numerator, sums.denominator, points, lattice, neighborhood, radius)
            points = space.to_sphere(updated, points)
            errors.append(sums.quantization_error)
            yield Epoch(
                index=index,
                radius=radius,
                codebook=space.to_data_units(points).reshape(*lattice.shape, -1),
                scaled_codebook=points.reshape(*lattice.shape, -1).copy(),
                quantization_error=sums.quantization_error,
                topographic_error=sums.topographic_error,
                hits=sums.hits.reshape(lattice.shape),
                seconds=time.perf_counter() - clock,
                phase=plan.phase_of(index),
                planned=plan.n_epochs,
                lattice=lattice,
                features=self.data.samples.feature_names,
            )

    def _add_up(self, index: int, points: np.ndarray) -> Partial:
        """Search and add up the samples of an epoch."""
        plan, precision, label = self.plan, self.config.precision, self.plan.label_of(index)
        if self.rough is not None and index < plan.n_rough:
            return self.rough.add_up(plan.part_of(index), points, self.lattice, precision, label)
        return self.data.add_up(points, self.lattice, self.data.execution.engine(precision), label)


def train_batch(
    data: Any,
    lattice: Lattice,
    config: MapConfig,
    execution: Execution | None = None,
    *,
    sample_weights: Any = None,
    feature_weights: Any = None,
    value_errors: Any = None,
    codebook: Any = None,
    base: xr.Dataset | None = None,
    checkpointing: Checkpointing | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    at_end: AtEnd | None = None,
) -> xr.Dataset:
    """Train by the batch rule to the end; see `som_dask.training.train.train`.

    `at_end` is called in place of the last pass, with the data, the scaled codebook, and a function that makes the
    pass; it returns what this returns.
    """
    checkpointing = checkpointing or Checkpointing()
    if base is not None:
        _check_base(base, lattice, config, codebook, feature_weights)
    prepared = prepare_data(
        data,
        config,
        execution,
        sample_weights=sample_weights,
        feature_weights=feature_weights,
        value_errors=value_errors,
        base=base,
        lattice=lattice,
    )
    training = _Training.of(prepared, lattice, config)
    plan, prepared, config, origin = training.plan, training.data, training.config, "given"
    if base is not None:
        points = scaled_codebook_of(base)
    elif codebook is not None:
        points = prepared.scale_codebook(codebook, lattice)
    else:
        points, origin = training.make_initial_codebook(), config.initialization
    parameters = {
        **describe_plan(config, plan),
        "initial_radius": float(plan.radii[0]) if plan.n_epochs else None,
        "initialization": origin,
    }
    run = Run(prepared, lattice, parameters, points, MEASURED, by_blocks=config.precision == "fast")
    run.resume(checkpointing)
    training = training.move_to_device()
    state = run.state
    errors = state.history["quantization_error"].tolist()
    run.follow(training.run_epochs(state.codebook, state.epochs_done, errors), checkpointing, on_epoch)
    engine = prepared.execution.engine(config.precision)

    def measure(codebook: np.ndarray) -> Partial:
        add_up = functools.partial(training.data.add_up, codebook, lattice, engine)
        return add_up() if at_end is None else at_end(training.data, codebook, add_up)

    final = run.measure(measure)
    model = run.make_model(final, epochs=plan.n_epochs, gaps=config.missing != "error", phases=plan.phases())
    if training.dimension is not None:
        model.attrs["intrinsic_dimension"] = training.dimension
    return model


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
