"""Training: a generator of epochs, and `fit`, which runs it to the end and labels the result."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr

import som_dask
from som_dask.backend import Device
from som_dask.batch import Precision, updated_codebook
from som_dask.checkpoint import Checkpoint, CheckpointFolder
from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.initial import Initialization, given_codebook, plane_codebook, random_codebook, sampled_rows
from som_dask.lattice import Lattice
from som_dask.neighborhood import Kernel, Neighborhood
from som_dask.reduction import compute, epoch_sums, kept, kept_on_device, moments, summarize
from som_dask.samples import Samples, open_samples
from som_dask.schedule import Decay, radii
from som_dask.schema import model_dataset
from som_dask.summary import DataSummary
from som_dask.sums import BatchSums

__all__ = ["Epoch", "Keep", "TrainingConfig", "fit", "initial_codebook", "train"]

Keep = Literal["auto", "memory", "stream"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train; every default of training is stated here and nowhere else.

    Parameters
    ----------
    epochs : int
        Passes over the data that end in an update. 0 leaves the initial codebook.
    initial_radius : float, optional
        sigma of the first epoch in lattice units; by default half the longer side of the map.
    final_radius : float
        sigma of the last epoch.
    radius_decay : {"exponential", "linear", "asymptotic"}
        How sigma goes from one to the other; see `som_dask.schedule.decay`.
    radii : tuple of float, optional
        sigma of every epoch, in place of the three above.
    neighborhood : {"gaussian", "cut_gaussian", "bubble", "epanechnikov", "triangle", "mexican_hat"}
        See `som_dask.neighborhood.Neighborhood`. The last is for comparison; it is not recommended.
    support : float, optional
        Cuts the gaussian off beyond this many sigma.
    initialization : {"pca", "random", "sample"}
        Initial codebook: on the plane of the two largest principal components, uniform in the data's range,
        or samples picked at random.
    seed : int
        Of everything random; the same seed and data give the same bits.
    precision : {"exact", "fast"}
        "exact": each sample's best matching unit is the nearest in float64, and sums are of whole numbers, so the
        codebook is the same to the bit for any blocks, workers, order and processor. "fast": units that float32
        can't tell apart may go either way, and sums are of float64, in the order of the blocks.
    keep : {"auto", "memory", "stream"}
        Whether the samples stay in the workers' memory between epochs or are read again: "auto" keeps them
        when they take no more than half of it. With device "gpu" they stay in GPU memory too, unless "stream",
        when they take no more than half of what is free there.
    device : {"cpu", "gpu"}
        What the workers compute on. With precision "exact" the codebook is the same to the bit.

    Raises
    ------
    ParameterError
        If a value can't be used.
    """

    epochs: int = 20
    initial_radius: float | None = None
    final_radius: float = 1.0
    radius_decay: Decay = "exponential"
    radii: tuple[float, ...] | None = None
    neighborhood: Kernel = "gaussian"
    support: float | None = None
    initialization: Initialization = "pca"
    seed: int = 0
    precision: Precision = "exact"
    keep: Keep = "auto"
    device: Device = "cpu"

    def __post_init__(self) -> None:
        for name in ("epochs", "seed"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
                raise ParameterError(f"{name} must be a whole number, 0 or more, got {value!r}")
            object.__setattr__(self, name, int(value))
        for name in ("initial_radius", "final_radius", "support"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _number(name, value))
        for name, kind in (("initialization", Initialization), ("precision", Precision), ("keep", Keep)):
            if getattr(self, name) not in get_args(kind):
                raise ParameterError(f"{name} must be one of {get_args(kind)}, got {getattr(self, name)!r}")
        if self.device not in ("cpu", "gpu"):
            raise ParameterError(f"device must be 'cpu' or 'gpu', got {self.device!r}")
        if self.radii is not None:
            object.__setattr__(self, "radii", tuple(_number("radii", radius) for radius in self.radii))
        self.kernel()
        self.schedule(Lattice(1, 1))

    def kernel(self) -> Neighborhood:
        """The neighborhood function."""
        return Neighborhood(self.neighborhood, self.support)

    def schedule(self, lattice: Lattice) -> np.ndarray:
        """sigma of each epoch on `lattice`, (epochs,) float64."""
        return radii(
            self.radius_decay,
            *lattice.shape,
            self.epochs,
            self.initial_radius,
            self.final_radius,
            self.radii,
        )


def _number(name: str, value: Any) -> float:
    if isinstance(value, (bool, str)):
        raise ParameterError(f"{name} must be a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must be a number, got {value!r}") from error


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
        After the update.
    quantization_error, topographic_error : float
        Of the codebook that entered the epoch: the pass over the data that measures it is the one that
        updates it.
    hits : (rows, cols) int64
        Samples per node, likewise.
    seconds : float
        Wall time.
    """

    index: int
    radius: float
    codebook: np.ndarray
    quantization_error: float
    topographic_error: float
    hits: np.ndarray
    seconds: float


def initial_codebook(samples: Samples, lattice: Lattice, config: TrainingConfig, summary: DataSummary) -> np.ndarray:
    """The codebook to start from, (M, D) float64, by `config.initialization` and `config.seed`."""
    if config.initialization == "random":
        return random_codebook(lattice, summary.minimum, summary.maximum, config.seed)
    if config.initialization == "sample":
        rows = sampled_rows(summary.samples, lattice, config.seed)
        distinct, place = np.unique(rows, return_inverse=True)
        return compute(samples.array[distinct])[0].astype(np.float64)[place]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, covariance = moments(samples, summary).mean_and_covariance(summary.minimum, summary.maximum)
    if not np.isfinite(covariance).all():
        raise DataError(
            f"{samples.description} has values too large for a covariance in float64; "
            f"scale them, or use another initialization than pca"
        )
    return plane_codebook(lattice, mean, covariance)


def train(
    data: Any,
    lattice: Lattice,
    config: TrainingConfig | None = None,
    *,
    codebook: np.ndarray | None = None,
    summary: DataSummary | None = None,
    start: int = 0,
) -> Iterator[Epoch]:
    """Train a map by the batch rule, one epoch each time the caller asks for the next.

    Side effects belong to the caller: checkpoints, plots, logs, stopping early. Tasks run on the active
    distributed client, or else on threads of this process.

    Parameters
    ----------
    data : anything that `som_dask.samples.open_samples` takes
    lattice : Lattice
    config : TrainingConfig, optional
    codebook : (rows, cols, D) or (M, D) array, optional
        Start from this codebook instead of `config.initialization`.
    summary : DataSummary, optional
        Of the samples, if the caller has it already; otherwise a first pass over the data makes it.
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
    samples = kept(open_samples(data), config.keep)
    summary = summary or summarize(samples)
    if codebook is None:
        weights = initial_codebook(samples, lattice, config, summary)
    else:
        weights = given_codebook(codebook, lattice, samples.n_features)
    samples = kept_on_device(samples, config.keep, config.device)
    schedule = config.schedule(lattice)
    for index in range(start, config.epochs):
        clock = time.perf_counter()
        sums = epoch_sums(samples, weights, lattice, summary, config.device, config.precision)
        radius = float(schedule[index])
        weights = updated_codebook(sums, weights, lattice, config.kernel(), radius)
        yield Epoch(
            index=index,
            radius=radius,
            codebook=weights.reshape(*lattice.shape, -1).copy(),
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
    codebook: np.ndarray | None = None,
    checkpoints: CheckpointFolder | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> xr.Dataset:
    """Train a map to the end and return it as a labelled Dataset.

    Parameters
    ----------
    data, lattice, config, codebook
        As for `train`.
    checkpoints : CheckpointFolder, optional
        Where to save the state every `checkpoint_every` epochs, and when the run is interrupted.
    resume : bool
        Continue from the newest checkpoint there; the result is the same to the bit as without a break.
    on_epoch : callable, optional
        Called with each `Epoch`: a progress bar, a log.

    Returns
    -------
    xarray.Dataset
        The model; see `som_dask.schema.model_dataset`.

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
    began = datetime.now(UTC)
    samples = kept(open_samples(data), config.keep)
    summary = summarize(samples)
    run = _Run(samples, lattice, config, summary, codebook)
    samples = kept_on_device(samples, config.keep, config.device)
    if resume:
        if checkpoints is None:
            raise ParameterError("resume needs a folder of checkpoints")
        run.state = checkpoints.resume(run.identity)
    try:
        for epoch in train(
            samples, lattice, config, codebook=run.state.codebook, summary=summary, start=run.state.epochs_done
        ):
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
    final = epoch_sums(samples, run.state.codebook, lattice, summary, config.device, config.precision)
    return run.model(final, began)


class _Run:
    """The state of one call of `fit`."""

    def __init__(
        self,
        samples: Samples,
        lattice: Lattice,
        config: TrainingConfig,
        summary: DataSummary,
        codebook: np.ndarray | None,
    ) -> None:
        self.samples, self.lattice, self.config, self.summary = samples, lattice, config, summary
        weights = (
            initial_codebook(samples, lattice, config, summary)
            if codebook is None
            else given_codebook(codebook, lattice, samples.n_features)
        )
        self.parameters = {
            **asdict(lattice),
            **asdict(config),
            "initial_radius": float(config.schedule(lattice)[0]) if config.epochs else None,
            "initialization": config.initialization if codebook is None else "given",
        }
        self.identity = {
            **{name: value for name, value in self.parameters.items() if name != "keep"},
            "som_dask_version": som_dask.__version__,
            "samples": summary.samples,
            "features": samples.feature_names,
            "dtype": str(samples.array.dtype),
            "data_fingerprint": f"{summary.fingerprint:016x}",
            "initial_codebook": _digest(weights),
        }
        if config.precision == "fast":  # float64 sums depend on the blocks
            self.identity["block_rows"] = _digest(np.array(samples.block_rows))
        nothing = {name: np.empty(0) for name in ("quantization_error", "topographic_error", "radius")}
        self.state = Checkpoint(0, weights, nothing, self.identity)

    def record(self, epoch: Epoch) -> None:
        """Enter an epoch: all in one assignment, which no interrupt can cut in two."""
        weights = epoch.codebook.reshape(self.lattice.n_nodes, -1)
        history = {name: np.append(values, getattr(epoch, name)) for name, values in self.state.history.items()}
        self.state = Checkpoint(epoch.index + 1, weights, history, self.identity)

    def model(self, final: BatchSums, began: datetime) -> xr.Dataset:
        last = {
            "quantization_error": final.quantization_error,
            "topographic_error": final.topographic_error,
            "radius": float("nan"),
        }
        return model_dataset(
            codebook=self.state.codebook,
            hits=final.counts,
            history={name: [*values, last[name]] for name, values in self.state.history.items()},
            features=self.samples.feature_names,
            lattice=self.lattice,
            attrs={
                **self.parameters,
                "input": self.samples.description,
                "samples": self.summary.samples,
                "sample_dtype": str(self.samples.array.dtype),
                "features_named": self.samples.features is not None,
                "data_fingerprint": self.identity["data_fingerprint"],
                "started": began.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
