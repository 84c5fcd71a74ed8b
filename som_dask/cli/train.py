"""The commands `som-dask train` and `som-dask retrain`."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from typing import Any

import click
import numpy as np

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.cli.arguments import Command
from som_dask.cli.generated import add_options, take
from som_dask.cli.info import echo_model
from som_dask.cli.models import open_named, registry_option, require_registry, take_target, target_options
from som_dask.cli.options import (
    cluster_options,
    connect_as_asked,
    feature_weights_option,
    input_options,
    is_given,
    job_option,
    log_options,
    open_input,
    overwrite_option,
    sample_weights_option,
    value_errors_option,
    with_telemetry,
)
from som_dask.cli.parameters import worded_option
from som_dask.cli.progress import EpochBar
from som_dask.cli.signals import finish_first
from som_dask.cli.terminal import echo
from som_dask.errors import ClusterError, Interrupted, MemoryLimitError, ParameterError, StorageError
from som_dask.io.event_log import EventLog
from som_dask.io.outputs import check_free, lock
from som_dask.passes.map_memory import check_map_fits
from som_dask.samples.for_model import open_samples_for
from som_dask.training.config import Execution, MapConfig
from som_dask.training.retrain import RetrainingConfig, retrain_registered
from som_dask.training.train import USUAL_EVERY
from som_dask.training.train import train as train_map

__all__ = ["retrain", "train"]

ROWS, COLS = 20, 20  # of a map whose size is not given


@click.command(cls=Command)
@click.argument("input")
@click.option("--output", help="Write the model to this Zarr store, a path or fsspec URL; needed without --name.")
@target_options
@job_option
@add_options(Lattice, defaults={"rows": ROWS, "cols": COLS})
@click.option(
    "--algorithm",
    type=click.Choice(["batch", "online"]),
    default="batch",
    help="Rule to train by: batch, or online, one sample after the other, for data that fit in memory.",
)
@add_options(OnlineConfig, "learning_rate")
@add_options(MapConfig)
@click.option(
    "--initial-codebook",
    metavar="FILE.npy",
    help="Start from this codebook, a NumPy array (rows, cols, features), in place of --initialization.",
)
@add_options(Execution)
@worded_option(
    "--checkpoint-dir",
    type=click.Path(),
    metavar="PATH",
    help="Save checkpoints in this folder, a path or fsspec URL.",
    default_words="OUTPUT.checkpoints, or else NAME@ENVIRONMENT.checkpoints",
)
@worded_option(
    "--checkpoint-every",
    type=click.IntRange(1),
    help="Number of epochs between checkpoints.",
    default_words=f"{USUAL_EVERY[MapConfig]}, or {USUAL_EVERY[OnlineConfig]} by the online rule",
)
@click.option("--resume", is_flag=True, help="Continue the unfinished run whose checkpoints are there.")
@click.option(
    "--resume-or-start",
    is_flag=True,
    help="Continue the unfinished run whose checkpoints are there, or start a new one where there are none.",
)
@overwrite_option
@input_options
@sample_weights_option
@feature_weights_option
@value_errors_option
@cluster_options
@log_options
@with_telemetry
def train(
    input: str,
    output: str | None,
    overwrite: bool,
    resume: bool,
    resume_or_start: bool,
    log: EventLog,
    **options: Any,
) -> None:
    """Train a map on the samples in INPUT.

    INPUT is a path or fsspec URL: of a Zarr store, or of Parquet, CSV or netCDF files, one, a folder of them or a
    quoted pattern such as 'cells/*.parquet'.
    """
    from som_dask.io.checkpoints import CheckpointFolder
    from som_dask.io.models import save_model

    if resume and resume_or_start:
        raise ParameterError("--resume and --resume-or-start exclude each other; give one")
    lattice = take(Lattice, options)
    check_map_fits(lattice, 1, options["epochs"] or 0)  # before the radii of all epochs take the memory
    config = take(MapConfig, options)
    rule, execution = _choose_rule(
        options.pop("algorithm"), config, take(Execution, options), options.pop("learning_rate")
    )
    codebook = _load_codebook(options.pop("initial_codebook"))
    target = take_target(options, output)
    name = output or str(target)  # of the run: its lock and its checkpoints go by it
    folder = options.pop("checkpoint_dir") or f"{name.rstrip('/')}.checkpoints"
    every = options.pop("checkpoint_every")
    if output is not None:
        check_free(output, overwrite=overwrite, inputs=[input])
    checkpoints = CheckpointFolder(folder, on_save=log.checkpoint)
    with lock(name):
        samples = open_input(input, options)
        check_map_fits(lattice, samples.n_features, config.epochs or 0)
        if not (resume or resume_or_start) and checkpoints.files():
            if not overwrite:
                raise ParameterError(
                    f"{folder} holds the checkpoints of an unfinished run; continue it with --resume, "
                    f"or discard them with --overwrite"
                )
            checkpoints.clear()
        expected = config.count_epochs(two_phases=config.phases == "two")
        with connect_as_asked(**options), EpochBar(expected, log) as bar:
            try:
                model = train_map(
                    samples,
                    lattice,
                    rule,
                    execution,
                    codebook=codebook,
                    checkpoints=checkpoints,
                    checkpoint_every=every,
                    resume="auto" if resume_or_start else resume,
                    on_epoch=bar,
                    progress=False,  # that is what `bar` is for
                )
                if log.run_id is not None:
                    model.attrs["run_id"] = log.run_id
                finish_first()
                if output is not None:
                    save_model(model, output, overwrite=overwrite)
                key = target.save(model) if target is not None else None
            except (KeyboardInterrupt, ClusterError, MemoryLimitError, StorageError) as error:
                can_resume = checkpoints.files() != []  # they hold what was done, whatever ended the run
                way = _say_how_to_go_on(can_resume, resume_or_start)
                if isinstance(error, KeyboardInterrupt):
                    done = f"stopped after {bar.done} of {bar.epochs} epochs" if bar.done else "stopped"
                    raise Interrupted(f"{done}; {way}") from error
                if not can_resume:
                    raise
                raise type(error)(f"{error}; {bar.done} of {bar.epochs} epochs are done; {way}") from error
        checkpoints.clear()
    final = {name: float(model[name].values[-1]) for name in ("quantization_error", "topographic_error")}
    log.event("model_saved", path=output, model=None if key is None else str(key), **final)
    echo_model(model, output or key)
    if model.attrs.get("stopped_by") == "tolerance":
        echo(f"stopped early       after {model.attrs['epochs_done']} of {bar.epochs} epochs")
    if model.attrs.get("samples_left_out"):
        echo(f"samples left out    {model.attrs['samples_left_out']}")
    if output is not None and key is not None:
        echo(f"registered          {key}")


@click.command(cls=Command)
@click.argument("model")
@click.argument("input")
@job_option
@registry_option
@add_options(RetrainingConfig, types={"epochs": click.IntRange(1)})
@add_options(Execution)
@input_options
@sample_weights_option
@cluster_options
@log_options
@with_telemetry
def retrain(model: str, input: str, registry: str | None, log: EventLog, **options: Any) -> None:
    """Go on training a registered MODEL on new samples in INPUT.

    MODEL is NAME@ENVIRONMENT of a registry, and the result becomes its next revision there. Training starts from the
    registered codebook with a short radius. How far the data have drifted is told by the quantization error of the
    old map on the new samples, beside its error on those that it was trained on.
    """
    config, execution = take(RetrainingConfig, options), take(Execution, options)
    if "@" not in model:
        raise ParameterError(f"{model!r} names no model of a registry; give NAME@ENVIRONMENT")
    _, opened = open_named(model, registry, tell=False)
    samples = open_input(input, options, functools.partial(open_samples_for, opened))
    with connect_as_asked(**options), EpochBar(config.epochs, log) as bar:
        key, drift = retrain_registered(
            model, samples, require_registry(registry), config, execution, on_epoch=bar, progress=False
        )
    log.event("model_saved", path=None, model=str(key), **dataclasses.asdict(drift), drift=drift.ratio)
    echo(f"registered          {key}")
    echo(f"quantization error  {drift.retrained:.6g}")
    echo(f"old map, old data   {drift.old_data:.6g}")
    echo(f"old map, new data   {drift.new_data:.6g} ({drift.ratio:.3g} times)")


def _choose_rule(
    algorithm: str, config: MapConfig, execution: Execution, learning_rate: float
) -> tuple[MapConfig | OnlineConfig, Execution | None]:
    """Return the configuration of the rule and how to work, from options of both rules.

    Raises
    ------
    ParameterError
        If an option is set that only the other rule has.
    """
    if algorithm == "batch":
        if is_given("learning_rate"):
            raise ParameterError("--learning-rate belongs to --algorithm online; the batch rule has none")
        return config, execution
    for given, plain in ((config, MapConfig()), (execution, Execution())):
        for field in dataclasses.fields(given):
            name = field.name
            if name not in ("epochs", "seed") and getattr(given, name) != getattr(plain, name):
                raise ParameterError(
                    f"--{name.replace('_', '-')} belongs to the batch rule; leave it out with --algorithm online"
                )
    epochs = config.count_epochs()
    return OnlineConfig(epochs=epochs, seed=config.seed, learning_rate=learning_rate), None


def _say_how_to_go_on(can_resume: bool, resumes: bool) -> str:
    """Say how a run that has ended early is continued, also if its command `resumes` by itself."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    if can_resume and not resumes:
        arguments.append("--resume")
    return f"{'continue' if can_resume else 'start again'} with: {shlex.join(['som-dask', *arguments])}"


def _load_codebook(path: str | None) -> np.ndarray | None:
    if path is None:
        return None
    try:  # mapped first: a file that is shorter than its header says is found out before any memory is taken
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(mapped, np.ndarray):
            raise ValueError("it holds several arrays")
        if mapped.dtype.kind not in "iufb":
            raise ValueError(f"it has dtype {mapped.dtype}; real numbers are needed")
        return np.array(mapped)
    except MemoryError:
        raise
    except Exception as error:  # a header is parsed as Python, which raises errors of many kinds
        raise ParameterError(f"can't read the initial codebook {path} as a NumPy array: {error}") from error
