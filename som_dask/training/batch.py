"""Training: a generator of epochs, and `fit`, which runs it to the end and labels the result."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.batch import updated_codebook
from som_dask.engine.exact_sums import BatchSums
from som_dask.errors import ParameterError, StorageError
from som_dask.io.checkpoints import Checkpoint, CheckpointFolder
from som_dask.io.models import codebook_of, model_dataset
from som_dask.training.config import Keep, TrainingConfig
from som_dask.training.prepared import TrainingData

__all__ = ["Epoch", "Keep", "TrainingConfig", "fit", "train"]

HISTORY = ("quantization_error", "topographic_error", "radius")


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training gives.

    Attributes
    ----------
    index : int
        0 for the first.
    radius : float
        sigma of its update, in lattice units.
    codebook : (rows, cols, D) float64
        After the update, in the data's units; NaN for a feature that no sample has.
    codebook_scaled : (rows, cols, K) float64
        The same in the map's own space: features scaled and weighted, without those that no sample has.
    quantization_error, topographic_error : float
        Of the codebook that entered the epoch: the pass over the data that measures it is the one that
        updates it. The distance is that of the map's own space.
    hits : (rows, cols) int64
        Samples per node, likewise.
    seconds : float
        Wall time.
    """

    index: int
    radius: float
    codebook: np.ndarray
    codebook_scaled: np.ndarray
    quantization_error: float
    topographic_error: float
    hits: np.ndarray
    seconds: float


def train(
    data: Any,
    lattice: Lattice,
    config: TrainingConfig | None = None,
    *,
    weights: Any = None,
    feature_weights: Any = None,
    codebook: np.ndarray | None = None,
    start: int = 0,
) -> Iterator[Epoch]:
    """Train a map by the batch rule, one epoch each time the caller asks for the next.

    Side effects belong to the caller: checkpoints, plots, logs, stopping early. Tasks run on the active
    distributed client, or else on threads of this process.

    Parameters
    ----------
    data : anything that `som_dask.samples.table.open_samples` takes
    lattice : Lattice
    config : TrainingConfig, optional
    weights : array, DataArray, name of a variable, or "area", optional
        How much each sample counts; a weight of 2 is as good as the sample twice. See
        `som_dask.samples.table.open_samples`.
    feature_weights : array of D numbers, or "area", optional
        How much each feature counts in squared distances, after scaling.
    codebook : (rows, cols, D) or (M, D) array, optional
        Start from this codebook, in the data's units, instead of `config.initialization`.
    start : int
        Index of the first epoch to run, to continue a run from the codebook that its epoch before left.

    Yields
    ------
    Epoch

    Raises
    ------
    ParameterError, DataError, StorageError, ClusterError, MemoryLimitError
    """
    config = config or TrainingConfig()
    opened = TrainingData.open(data, config, weights=weights, feature_weights=feature_weights)
    points = opened.initial_points(lattice, config) if codebook is None else opened.points(codebook, lattice)
    yield from _epochs(opened, lattice, config, points, start, [], [])


def _epochs(
    data: TrainingData,
    lattice: Lattice,
    config: TrainingConfig,
    points: np.ndarray,
    start: int,
    errors: list[float],
    radii: list[float],
) -> Iterator[Epoch]:
    """Epochs from `start` on, after some with these errors and radii, until the last one or until nothing changes."""
    data = data.on_device(config)
    schedule = config.schedule(lattice)
    preparation, kernel = data.preparation, config.kernel()
    for index in range(start, config.epochs):
        if config.converged(errors, radii):
            return
        clock = time.perf_counter()
        sums = data.sums(points, lattice, config)
        radius = float(schedule[index])
        points = preparation.on_sphere(updated_codebook(sums, points, lattice, kernel, radius), points)
        errors, radii = [*errors, sums.quantization_error], [*radii, radius]
        yield Epoch(
            index=index,
            radius=radius,
            codebook=preparation.physical(points).reshape(*lattice.shape, -1),
            codebook_scaled=points.reshape(*lattice.shape, -1).copy(),
            quantization_error=sums.quantization_error,
            topographic_error=sums.topographic_error,
            hits=sums.counts.reshape(lattice.shape),
            seconds=time.perf_counter() - clock,
        )


def fit(
    data: Any,
    lattice: Lattice,
    config: TrainingConfig | None = None,
    *,
    weights: Any = None,
    feature_weights: Any = None,
    codebook: np.ndarray | None = None,
    base: xr.Dataset | None = None,
    checkpoints: CheckpointFolder | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> xr.Dataset:
    """Train a map to the end and return it as a labelled Dataset.

    Parameters
    ----------
    data, lattice, config, weights, feature_weights, codebook
        As for `train`.
    base : xarray.Dataset, optional
        A model to go on from, on the same lattice: its codebook, with the scaling and feature weights kept in it. Its
        metric must be that of `config`.
    checkpoints : CheckpointFolder, optional
        Where to save the state every `checkpoint_every` epochs, and when the run is interrupted.
    resume : bool
        Continue from the newest checkpoint there; the result is the same to the bit as without a break.
    on_epoch : callable, optional
        Called with each `Epoch`: a progress bar, a log.

    Returns
    -------
    xarray.Dataset
        The model; see `som_dask.io.models.model_dataset`.

    Raises
    ------
    CheckpointError
        If `resume` finds no checkpoint, or one of another configuration or other data.
    ParameterError, DataError, StorageError, ClusterError, MemoryLimitError
        As `train`.
    """
    config = config or TrainingConfig()
    if checkpoint_every < 1:
        raise ParameterError(f"checkpoint_every must be at least 1, got {checkpoint_every}")
    if base is not None:
        _check_base(base, lattice, config, codebook, feature_weights)
    began = datetime.now(UTC)
    opened = TrainingData.open(data, config, weights=weights, feature_weights=feature_weights, base=base)
    if base is not None:
        points, origin = codebook_of(base), "given"
    elif codebook is not None:
        points, origin = opened.points(codebook, lattice), "given"
    else:
        points, origin = opened.initial_points(lattice, config), config.initialization
    run = _Run(opened, lattice, config, points, origin, base)
    opened = opened.on_device(config)
    if resume:
        if checkpoints is None:
            raise ParameterError("resume needs a folder of checkpoints")
        run.state = checkpoints.resume(run.identity)
    errors, radii = (run.state.history[name].tolist() for name in ("quantization_error", "radius"))
    try:
        for epoch in _epochs(opened, lattice, config, run.state.codebook, run.state.epochs_done, errors, radii):
            run.record(epoch)
            if checkpoints is not None and run.state.epochs_done % checkpoint_every == 0:
                checkpoints.save(run.state)
            if on_epoch is not None:
                on_epoch(epoch)
    except BaseException:
        # Interrupted, killed workers, a full disk: what is done is worth keeping, whatever ended the run.
        if checkpoints is not None and run.state.epochs_done:
            with contextlib.suppress(StorageError):
                checkpoints.save(run.state)
        raise
    return run.model(opened.sums(run.state.codebook, lattice, config), began)


def _check_base(
    base: xr.Dataset, lattice: Lattice, config: TrainingConfig, codebook: Any, feature_weights: Any
) -> None:
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


class _Run:
    """The state of one call of `fit`."""

    def __init__(
        self,
        data: TrainingData,
        lattice: Lattice,
        config: TrainingConfig,
        points: np.ndarray,
        origin: str,
        base: xr.Dataset | None,
    ) -> None:
        self.data, self.lattice, self.config = data, lattice, config
        samples, summary, preparation = data.samples, data.summary, data.preparation
        self.parameters = {
            **asdict(lattice),
            **asdict(config),
            "initial_radius": float(config.schedule(lattice)[0]) if config.epochs else None,
            "initialization": origin,
        }
        self.identity = {
            **{name: value for name, value in self.parameters.items() if name != "keep"},
            "som_dask_version": __version__,
            "samples": summary.samples,
            "features": samples.feature_names,
            "dtype": str(samples.array.dtype),
            "data_fingerprint": f"{summary.fingerprint:016x}",
            "initial_codebook": _digest(points),
        }
        if preparation.changes_values:
            spaces = [preparation.center, preparation.scale, preparation.feature_weights]
            self.identity["scaling_digest"] = _digest(np.concatenate(spaces))
        if config.precision == "fast":  # float64 sums depend on the blocks
            self.identity["block_rows"] = _digest(np.array(samples.block_rows))
        self.state = Checkpoint(0, points, {name: np.empty(0) for name in HISTORY}, self.identity)

    def record(self, epoch: Epoch) -> None:
        """Enter an epoch: all in one assignment, which no interrupt can cut in two."""
        points = epoch.codebook_scaled.reshape(self.lattice.n_nodes, -1)
        history = {name: np.append(values, getattr(epoch, name)) for name, values in self.state.history.items()}
        self.state = Checkpoint(epoch.index + 1, points, history, self.identity)

    def model(self, final: BatchSums, began: datetime) -> xr.Dataset:
        samples, summary, done = self.data.samples, self.data.summary, self.state.epochs_done
        last = (final.quantization_error, final.topographic_error, float("nan"))
        history = self.state.history
        counts = {"samples": summary.samples}
        if self.config.missing != "error":
            counts |= {"samples_left_out": summary.dropped, "missing_values": int(summary.gaps.sum())}
        if samples.weights is not None:
            counts |= {"samples_of_weight_zero": summary.weightless}
        return model_dataset(
            points=self.state.codebook,
            preparation=self.data.preparation,
            hits=final.counts,
            history={name: [*history[name], value] for name, value in zip(HISTORY, last, strict=True)},
            features=samples.feature_names,
            lattice=self.lattice,
            feature_coords=samples.feature_coords,
            gaps=summary.gaps if self.config.missing != "error" else None,
            attrs={
                **self.parameters,
                "epochs_done": done,
                "stopped_by": "epochs" if done == self.config.epochs else "tolerance",
                "input": samples.description,
                **counts,
                "weighted": samples.weights is not None,
                "sample_dtype": str(samples.array.dtype),
                "features_named": samples.features is not None,
                "variables": list(samples.variables),
                "sample_dims": list(samples.sample_dims),
                "feature_dims": list(samples.feature_dims),
                "data_fingerprint": self.identity["data_fingerprint"],
                "started": began.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
