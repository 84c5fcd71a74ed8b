"""The state of a training run by either rule: its identity, its checkpoints, and the model that it ends in."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.quality import u_matrix
from som_dask.engine.partial import NodeWeights, Partial
from som_dask.errors import ParameterError, StorageError
from som_dask.io.checkpoints import Checkpoint, CheckpointFolder
from som_dask.io.models import model_dataset
from som_dask.samples.gaps import nodata_attrs
from som_dask.training.prepared import PreparedData

__all__ = ["Checkpointing", "Epoch", "Resume", "Run"]

Resume = bool | Literal["auto"]


@dataclass(frozen=True, repr=False)
class Epoch:
    """The result of one epoch of training, by the batch rule or the online rule.

    Attributes
    ----------
    index : int
        Index of the epoch, from 0.
    radius : float
        Radius sigma of the neighborhood, in lattice units.
    codebook : (rows, cols, D) float64
        The codebook after the epoch, in the data's units; NaN for a feature that no sample has.
    scaled_codebook : (rows, cols, K) float64
        The same in the map's own space: features scaled and weighted, without those that no sample has.
    quantization_error : float
        Mean distance of the samples to their best matching units, in the map's own space. By the batch rule it is the
        error of the codebook that entered the epoch, because one pass over the data both measures and updates it. By
        the online rule each sample is measured when it is presented.
    hits : (rows, cols) int64
        Number of samples of each node, for the same codebook.
    seconds : float
        Wall time of the epoch.
    topographic_error : float, optional
        Share of samples whose two best matching units are not adjacent; by the batch rule only, for the same
        codebook.
    learning_rate : float, optional
        Learning rate alpha; by the online rule only.
    phase : {"rough", "fine-tuning"}, optional
        Phase of training, where there are two. In the rough phase, errors and hits are those of the samples that were
        drawn for it.
    planned : int, optional
        Number of epochs that the run has in all, unless it stops early.
    lattice : Lattice, optional
        The lattice of the nodes.
    features : tuple of str
        Names of the features.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> for epoch in som.epochs(colors, som.Lattice(4, 5), som.MapConfig(epochs=3, radii=(2, 1, 0.5))):
    ...     print(epoch.index, epoch.radius, epoch.hits.sum())
    0 2.0 40
    1 1.0 40
    2 0.5 40
    """

    index: int
    radius: float
    codebook: np.ndarray
    scaled_codebook: np.ndarray
    quantization_error: float
    hits: np.ndarray
    seconds: float
    topographic_error: float | None = None
    learning_rate: float | None = None
    phase: Literal["rough", "fine-tuning"] | None = None
    planned: int | None = None
    lattice: Lattice | None = None
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Let nobody who is told of the epoch write into what the run goes on with."""
        for name in ("codebook", "scaled_codebook", "hits"):
            shown = getattr(self, name).view()
            shown.flags.writeable = False
            object.__setattr__(self, name, shown)

    def __repr__(self) -> str:
        rows, cols, n_features = self.codebook.shape
        of = "" if self.planned is None else f" of {self.planned}"
        told = [f"{rows} x {cols} nodes, {n_features} features", f"radius {self.radius:.3g}"]
        told.append(f"quantization error {self.quantization_error:.4g}")
        if self.topographic_error is not None:
            told.append(f"topographic error {self.topographic_error:.3g}")
        phase = "" if self.phase is None else f"{self.phase} "
        return f"<Epoch {self.index + 1}{of}: {phase}{', '.join(told)}, {self.seconds:.3g} s>"

    def to_dataset(self) -> xr.Dataset:
        """Return what pictures of a map need.

        Returns
        -------
        xarray.Dataset
            ``codebook (row, col, feature)`` in the data's units, ``hits (row, col)`` and ``u_matrix (row, col)``,
            with the lattice in its attributes. It is not a model: it does not hold how features are scaled.

        Raises
        ------
        ParameterError
            If the epoch was made by hand, without a lattice.
        """
        if self.lattice is None:
            raise ParameterError("this epoch does not know its lattice; take one that som_dask.epochs yields")
        heights = u_matrix(self.scaled_codebook.reshape(self.lattice.n_nodes, -1), self.lattice)
        return xr.Dataset(
            {
                "codebook": (("row", "col", "feature"), self.codebook),
                "hits": (("row", "col"), self.hits),
                "u_matrix": (("row", "col"), heights),
            },
            {"feature": ("feature", np.array(self.features or range(self.codebook.shape[2]), dtype=object))},
            {**asdict(self.lattice), "epochs_done": self.index + 1},
        )


@dataclass(frozen=True)
class Checkpointing:
    """When a run saves its state, whether it continues from a saved one, and what is left of it when interrupted.

    Parameters
    ----------
    folder : CheckpointFolder, optional
        Where checkpoints are saved and looked for.
    every : int
        Number of epochs between checkpoints.
    resume : bool or "auto"
        Continue from the newest checkpoint; "auto" begins a new run where there is none.
    keep_interrupted : bool
        Whether an interrupt ends the run with the map of the last finished epoch, in place of an error.

    Raises
    ------
    ParameterError
        If `every` is not positive, `resume` is something else, or there is no folder to resume from.
    """

    folder: CheckpointFolder | None = None
    every: int = 1
    resume: Resume = False
    keep_interrupted: bool = False

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ParameterError(f"checkpoint_every must be at least 1, got {self.every}")
        if self.resume not in (False, True, "auto"):
            raise ParameterError(f"resume must be False, True or 'auto', got {self.resume!r}")
        if self.resume and self.folder is None:
            raise ParameterError("resume needs a folder of checkpoints")


class Run:
    """The state of one training run.

    Parameters
    ----------
    data : PreparedData
    lattice : Lattice
    parameters : mapping
        What decides the bits of the map besides the data, as JSON values. Parameters and data are the identity of the
        run. How the work is done is not part of it, so a run begun on a GPU may continue on CPUs.
    codebook : (M, K) float64
        The scaled codebook to start from.
    measured : sequence of str
        Attributes of an `Epoch` that are kept in the history.
    by_blocks : bool
        Whether the bits depend on how samples are cut into blocks; if so, the blocks are part of the identity.
    """

    def __init__(
        self,
        data: PreparedData,
        lattice: Lattice,
        parameters: Mapping[str, Any],
        codebook: np.ndarray,
        measured: Iterable[str],
        *,
        by_blocks: bool = False,
    ) -> None:
        self.began = datetime.now(UTC)
        self.data, self.lattice = data, lattice
        self.parameters = {**asdict(lattice), **parameters}
        samples, summary, space = data.samples, data.summary, data.space
        identity = {
            **self.parameters,
            "som_dask_version": __version__,
            "samples": summary.samples,
            "features": samples.feature_names,
            "dtype": str(samples.array.dtype),
            "data_fingerprint": f"{summary.fingerprint:016x}",
            "initial_codebook": _digest_of(codebook),
        }
        if space.changes_values:
            identity["scaling_digest"] = _digest_of(
                np.concatenate([space.center, space.scale, space.feature_weights])
            )
        if by_blocks:
            identity["block_rows"] = _digest_of(np.array(samples.block_rows))
        self.identity = identity
        self.state = Checkpoint(0, codebook, {name: np.empty(0) for name in measured}, identity)
        self.interrupted, self.keeps = False, False
        self._hits = np.zeros(lattice.n_nodes, dtype=np.int64)

    def resume(self, checkpointing: Checkpointing) -> None:
        """Continue from the newest checkpoint, if `checkpointing` asks for it.

        Raises
        ------
        CheckpointError
            If there is no checkpoint and one is required, or it belongs to another run.
        """
        folder, resume = checkpointing.folder, checkpointing.resume
        if folder is None or not resume or (resume == "auto" and not folder.files()):
            return
        self.state = folder.resume(self.identity, like=self.state)

    def follow(
        self,
        epochs: Iterable[Epoch],
        checkpointing: Checkpointing,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> None:
        """Train to the end; save the state from time to time, and when the run is interrupted.

        Parameters
        ----------
        epochs : iterable of Epoch
        checkpointing : Checkpointing
        on_epoch : callable, optional
            Called with each epoch, after it was saved.

        Raises
        ------
        KeyboardInterrupt
            If the run is interrupted before the first epoch is done, or it is not to be kept then.
        """
        folder, self.keeps = checkpointing.folder, checkpointing.keep_interrupted
        try:
            for epoch in epochs:
                self._enter(epoch)
                if folder is not None and self.state.epochs_done % checkpointing.every == 0:
                    folder.save(self.state)
                if on_epoch is not None:
                    on_epoch(epoch)
        except BaseException as error:
            # Whatever ended the run (an interrupt, killed workers, a full disk): finished epochs are worth keeping.
            if folder is not None and self.state.epochs_done:
                with contextlib.suppress(StorageError):
                    folder.save(self.state)
            if not (self.keeps and self.state.epochs_done and isinstance(error, KeyboardInterrupt)):
                raise
            self.interrupted = True

    def _enter(self, epoch: Epoch) -> None:
        """Enter an epoch in one assignment, which no interrupt can split."""
        codebook = epoch.scaled_codebook.reshape(self.lattice.n_nodes, -1)
        history = {name: np.append(values, getattr(epoch, name)) for name, values in self.state.history.items()}
        self.state = Checkpoint(epoch.index + 1, codebook, history, self.identity)
        self._hits = epoch.hits.ravel()

    def measure(self, add_up: Callable[[np.ndarray], Partial]) -> Partial:
        """Measure the last codebook: add up all samples for it.

        Parameters
        ----------
        add_up : callable
            Called with the codebook, (M, K) float64.

        Returns
        -------
        Partial
            If that is interrupted and the run is kept, one whose errors are NaN, with the hits of the last epoch.
        """
        try:
            return add_up(self.state.codebook)
        except KeyboardInterrupt:
            if not self.keeps:
                raise
            self.interrupted, nodes = True, self.lattice.n_nodes
        unknown = NodeWeights(np.full((nodes, 1), np.nan))
        return Partial(np.zeros((nodes, 0)), self._hits, np.nan, np.nan, self.data.summary.samples, unknown)

    def make_model(
        self, final: Partial, *, epochs: int, gaps: bool = False, phases: Sequence[str] = ()
    ) -> xr.Dataset:
        """Return the trained model.

        Parameters
        ----------
        final : Partial
            Sums of all samples for the last codebook.
        epochs : int
            Number of epochs asked for.
        gaps : bool
            Whether values may be missing; if so, the model holds how many are.
        phases : sequence of str
            Phase of each entry of the history, from the first epoch on, if there are several.

        Returns
        -------
        xarray.Dataset
        """
        data, state = self.data, self.state
        samples, summary = data.samples, data.summary
        last = {
            "quantization_error": final.quantization_error,
            "topographic_error": final.topographic_error,
        }
        in_order = {name: state.history.get(name, np.full(state.epochs_done, np.nan)) for name in last}
        history = {
            name: [*values, last.get(name, float("nan"))] for name, values in {**in_order, **state.history}.items()
        }
        counts = {"samples": summary.samples}
        if gaps:
            counts |= {"samples_left_out": summary.dropped, "missing_values": int(summary.gaps.sum())}
        if samples.absent:
            counts |= {"absent_chunks": sum(each.count for each in samples.absent)}
        if samples.weights is not None:
            counts |= {"samples_of_weight_zero": summary.weightless}
        return model_dataset(
            points=state.codebook,
            space=data.space,
            hits=final.hits,
            hit_share=None if samples.weights is None else final.weight_share,
            history=history,
            phases=[*phases[: state.epochs_done], *phases[-1:]],  # the last is measured with all samples
            features=samples.feature_names,
            lattice=self.lattice,
            feature_coords=samples.feature_coords,
            feature_units=samples.feature_units,
            standard_name=samples.standard_name,
            gaps=summary.gaps if gaps else None,
            attrs={
                **self.parameters,
                **asdict(data.execution),
                "epochs_done": state.epochs_done,
                "stopped_by": self._name_end(epochs),
                "input": samples.description,
                **counts,
                "weighted": samples.weights is not None,
                **({"value_errors": True} if samples.value_errors else {}),
                "sample_dtype": str(samples.array.dtype),
                "features_named": samples.features is not None,
                **({"features_chosen": True} if samples.features_chosen else {}),
                "input_variables": list(samples.variables),
                **nodata_attrs(samples.nodata),
                "sample_dims": list(samples.sample_dims),
                "feature_dims": list(samples.feature_dims),
                "data_fingerprint": self.identity["data_fingerprint"],
                "started": self.began.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def _name_end(self, epochs: int) -> str:
        """Name what ended the run: all epochs were done, the errors fell no more, or somebody interrupted it."""
        if self.interrupted:
            return "interrupt"
        return "epochs" if self.state.epochs_done == epochs else "tolerance"


def _digest_of(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
