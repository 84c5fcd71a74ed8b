"""The command line: train, infer, evaluate, clusters, report, info, demo, models."""

from __future__ import annotations

import dataclasses
import functools
import json
import shlex
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np

from som_dask._version import __version__
from som_dask.algorithm.decay import Decay
from som_dask.algorithm.feature_space import Metric, Missing
from som_dask.algorithm.initial import Initialization
from som_dask.algorithm.lattice import Boundary, Lattice, Topology
from som_dask.algorithm.neighborhood import Kernel
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.cli.clusters import clusters
from som_dask.cli.evaluate import evaluate
from som_dask.cli.models import given_registry, models, open_named, registry_option, target_options, training_target
from som_dask.cli.options import (
    EpochBar,
    Numbers,
    cluster_options,
    connected_as_asked,
    device_option,
    feature_weights_option,
    input_options,
    job_option,
    log_options,
    logged,
    overwrite_option,
    samples_of,
    watched,
    weights_option,
)
from som_dask.cli.report import report
from som_dask.engine.batch import Precision
from som_dask.errors import Interrupted, ParameterError, SomError
from som_dask.io.event_log import EventLog
from som_dask.io.files import check_free, is_url, lock
from som_dask.passes.scaling import Scaling
from som_dask.samples.for_model import samples_for
from som_dask.training.batch import Keep, TrainingConfig, fit
from som_dask.training.config import OTHER_RADII, RADII
from som_dask.training.retrain import RetrainingConfig, retrain_registered

__all__ = ["main"]

DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainingConfig)}
FIRST, LAST = RADII[TrainingConfig.neighborhood]
LATTICE_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Lattice)}
CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; ends the process with the exit status of `som_dask.errors`."""
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends like Ctrl-C: in order
    try:
        cli.main(arguments, prog_name="som-dask", standalone_mode=False)
    except SomError as error:
        _end(str(error), error.exit_status)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(ParameterError.exit_status)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "som-dask"
        _end(f"{error.format_message()} See {path} --help.", ParameterError.exit_status)
    except click.ClickException as error:
        _end(error.format_message(), ParameterError.exit_status)
    except (click.Abort, KeyboardInterrupt):
        _end("interrupted; nothing was left half-written", Interrupted.exit_status)


def _end(message: str, status: int) -> None:
    click.echo(f"som-dask: {' '.join(message.split())}", err=True)
    sys.exit(status)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"som-dask: warning: {message}", err=True)


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="som-dask")
def cli() -> None:
    """Self-organizing maps on Dask, for data that does not fit one machine.

    Exit status: 0 done, 2 usage or job file, 3 checkpoint, 4 data or features, 5 storage, 6 cluster,
    7 memory, 75 interrupted and can be resumed.
    """


cli.add_command(models)
cli.add_command(evaluate)
cli.add_command(clusters)
cli.add_command(report)


@cli.command()
@click.argument("input")
@click.option("--output", help="Zarr store to write the model to: a path or fsspec URL.  [required without --name]")
@target_options
@job_option
@click.option("--rows", type=int, default=20, help="Rows of the map.")
@click.option("--cols", type=int, default=20, help="Columns of the map.")
@click.option("--topology", type=click.Choice(get_args(Topology)), default=LATTICE_DEFAULTS["topology"])
@click.option("--boundary", type=click.Choice(get_args(Boundary)), default=LATTICE_DEFAULTS["boundary"])
@click.option(
    "--algorithm",
    type=click.Choice(["batch", "online"]),
    default="batch",
    help="online: Kohonen's rule, one sample after the other, for data that fit in memory; an epoch is an iteration.",
)
@click.option(
    "--learning-rate", type=float, help=f"Online only: at the start.  [default: {OnlineConfig.learning_rate}]"
)
@click.option("--epochs", type=int, default=DEFAULTS["epochs"], help="Passes over the data.")
@click.option("--initial-radius", type=float, help=f"sigma of the first epoch.  [default: longer side x {FIRST}]")
@click.option(
    "--final-radius",
    type=float,
    help=f"sigma of the last epoch.  [default: {LAST}; other neighborhoods than gaussian end at {OTHER_RADII[1]:g}]",
)
@click.option("--radius-decay", type=click.Choice(get_args(Decay)), default=DEFAULTS["radius_decay"])
@click.option("--radii", type=Numbers(), help="sigma of every epoch, in place of the three above.")
@click.option(
    "--neighborhood",
    type=click.Choice(get_args(Kernel)),
    default=DEFAULTS["neighborhood"],
    help="How far a sample moves the nodes around its own; mexican_hat is for comparison only.",
)
@click.option("--support", type=float, help="Cut the gaussian off beyond so many sigma.  [default: never]")
@click.option("--initialization", type=click.Choice(get_args(Initialization)), default=DEFAULTS["initialization"])
@click.option("--initial-codebook", metavar="FILE.npy", help="Start from this (rows, cols, features) array.")
@click.option(
    "--scaling",
    type=click.Choice(get_args(Scaling)),
    default=DEFAULTS["scaling"],
    help="Of features, found in one pass and kept in the model; robust: median and quartiles.",
)
@click.option("--metric", type=click.Choice(get_args(Metric)), default=DEFAULTS["metric"], help="Distance.")
@click.option(
    "--missing",
    type=click.Choice(get_args(Missing)),
    default=DEFAULTS["missing"],
    help="Samples with NaN: an error; left out; or compared by the features that they have.",
)
@click.option(
    "--tolerance",
    type=float,
    help="Stop when the quantization error falls by less than this share an epoch.  [default: never]",
)
@click.option("--patience", type=int, default=DEFAULTS["patience"], help="For so many epochs in turn.")
@click.option("--seed", type=int, default=DEFAULTS["seed"])
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default=DEFAULTS["precision"],
    help="exact: the same bits for any blocks, workers and processor; fast: float64 sums, near-ties either way.",
)
@click.option(
    "--keep",
    type=click.Choice(get_args(Keep)),
    default=DEFAULTS["keep"],
    help="Keep samples in memory between epochs, or read them again; auto: keep if half of it holds them.",
)
@device_option
@click.option(
    "--checkpoint-dir",
    type=click.Path(file_okay=False),
    help="[default: OUTPUT.checkpoints, else NAME@ENVIRONMENT.checkpoints]",
)
@click.option("--checkpoint-every", type=click.IntRange(1), default=1, help="Epochs between checkpoints.")
@click.option("--resume", is_flag=True, help="Continue the run that the checkpoints are of.")
@overwrite_option
@input_options
@weights_option
@feature_weights_option
@cluster_options
@log_options
@logged
def train(input: str, output: str | None, overwrite: bool, resume: bool, log: EventLog, **options: Any) -> None:
    """Train a map on the samples in the Zarr store INPUT (a path or fsspec URL)."""
    from som_dask.io.checkpoints import CheckpointFolder
    from som_dask.io.models import save_model

    lattice = Lattice(*(options.pop(name) for name in ("rows", "cols", "topology", "boundary")))
    config = TrainingConfig(**{name: options.pop(name) for name in DEFAULTS})
    fit_map = _fit_by(options.pop("algorithm"), config, options.pop("learning_rate"))
    codebook = _load_codebook(options.pop("initial_codebook"))
    target = training_target(options, output)
    place = output or str(target)  # the run's name: its lock and its checkpoints go by it
    folder = options.pop("checkpoint_dir") or _checkpoint_folder(place)
    every = options.pop("checkpoint_every")
    if output is not None:
        check_free(output, overwrite=overwrite, inputs=[input])
    checkpoints = CheckpointFolder(folder, on_save=log.checkpoint)
    with lock(place):
        samples = samples_of(input, options)
        if not resume and checkpoints.files():
            if not overwrite:
                raise ParameterError(
                    f"{folder} holds the checkpoints of an unfinished run; continue it with --resume, "
                    f"or discard them with --overwrite"
                )
            checkpoints.clear()
        with connected_as_asked(**options), EpochBar(config.epochs, log) as bar:
            try:
                model = fit_map(
                    samples,
                    lattice,
                    bar,
                    codebook=codebook,
                    checkpoints=checkpoints,
                    checkpoint_every=every,
                    resume=resume,
                )
                if log.run_id is not None:
                    model.attrs["run_id"] = log.run_id
                if output is not None:
                    save_model(model, output, overwrite=overwrite)
                key = target.save(model) if target is not None else None
            except KeyboardInterrupt as error:
                raise _interrupted(bar.done, config.epochs, checkpoints.files() != []) from error
        checkpoints.clear()
    final = {name: float(model[name].values[-1]) for name in ("quantization_error", "topographic_error")}
    log.event("model_saved", path=output, model=None if key is None else str(key), **final)
    _tell_model(model, output or key)
    if model.attrs.get("stopped_by") == "tolerance":
        click.echo(f"stopped early       after {model.attrs['epochs_done']} of {config.epochs} epochs")
    if model.attrs.get("samples_left_out"):
        click.echo(f"samples left out    {model.attrs['samples_left_out']}")
    if output is not None and key is not None:
        click.echo(f"registered          {key}")


@cli.command()
@click.argument("model")
@click.argument("input")
@job_option
@registry_option
@click.option("--epochs", type=click.IntRange(1), default=RetrainingConfig.epochs, help="Passes over the new data.")
@click.option("--initial-radius", type=float, default=RetrainingConfig.initial_radius, help="In lattice units.")
@click.option("--final-radius", type=float, help="In lattice units.  [default: the last one of the map's training]")
@device_option
@input_options
@weights_option
@cluster_options
@log_options
@logged
def retrain(model: str, input: str, registry: str | None, log: EventLog, **options: Any) -> None:
    """Go on training MODEL of a registry (NAME@ENVIRONMENT) with the new data in INPUT: its next revision.

    It begins with the registered codebook and a short radius, and tells the drift: the old map's quantization error
    on the new data beside the one on the data that it was trained on.
    """
    names = [field.name for field in dataclasses.fields(RetrainingConfig)]
    config = RetrainingConfig(**{name: options.pop(name) for name in names})
    device = options.pop("device")
    if "@" not in model:
        raise ParameterError(f"{model!r} names no model of a registry; give NAME@ENVIRONMENT")
    _, opened = open_named(model, registry, tell=False)
    samples = samples_of(input, options, functools.partial(samples_for, opened))
    with connected_as_asked(**options), EpochBar(config.epochs, log) as bar:
        key, drift = retrain_registered(model, samples, given_registry(registry), config, on_epoch=bar, device=device)
    log.event("model_saved", path=None, model=str(key), **dataclasses.asdict(drift), drift=drift.ratio)
    click.echo(f"registered          {key}")
    click.echo(f"quantization error  {drift.retrained:.6g}")
    click.echo(f"old map, old data   {drift.old_data:.6g}")
    click.echo(f"old map, new data   {drift.new_data:.6g} ({drift.ratio:.3g} times)")


def _fit_by(algorithm: str, config: TrainingConfig, learning_rate: float | None) -> Callable[..., Any]:
    """Training by the algorithm: a function of samples, lattice, progress bar and what `fit` takes by name."""
    if algorithm == "online":
        from som_dask.training.online import fit_online, online_config

        online = online_config(config, learning_rate)
        return lambda samples, lattice, bar, **options: fit_online(
            samples, lattice, online, on_iteration=bar, **options
        )
    if learning_rate is not None:
        raise ParameterError("--learning-rate belongs to --algorithm online; the batch rule has none")
    return lambda samples, lattice, bar, **options: fit(samples, lattice, config, on_epoch=bar, **options)


def _interrupted(done: int, epochs: int, can_resume: bool) -> Interrupted:
    arguments = [argument for argument in sys.argv[1:] if argument != "--resume"]
    command = shlex.join(["som-dask", *arguments, *(["--resume"] if can_resume else [])])
    state = f"stopped after {done} of {epochs} epochs" if done else "stopped"
    return Interrupted(f"{state}; {'continue' if can_resume else 'start again'} with: {command}")


def _checkpoint_folder(output: str) -> str:
    if is_url(output):
        return f"{output.rstrip('/').rpartition('/')[2]}.checkpoints"
    return f"{output.rstrip('/')}.checkpoints"


def _load_codebook(path: str | None) -> np.ndarray | None:
    if path is None:
        return None
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ParameterError(f"can't read the initial codebook {path} as a NumPy array: {error}") from error


def _tell_model(model: Any, place: Any) -> None:
    click.echo(f"model               {place}")
    click.echo(f"quantization error  {model['quantization_error'].values[-1]:.6g}")
    click.echo(f"topographic error   {model['topographic_error'].values[-1]:.4g}")


@cli.command()
@click.argument("model")
@click.argument("input")
@click.option("--output", required=True, help="Zarr store to write the labels to: a path or fsspec URL.")
@registry_option
@job_option
@click.option(
    "--missing",
    type=click.Choice(get_args(Missing)),
    help="Samples that lack features (NaN): refuse them; leave them out; compare the features that they have, and "
    "leave out those that have none.  [default: as the model was trained]",
)
@click.option(
    "--nearest",
    type=click.IntRange(1),
    metavar="K",
    help="The K nearest nodes of each sample and its fuzzy memberships, in place of its best matching unit.",
)
@device_option
@overwrite_option
@input_options
@cluster_options
@log_options
@logged
def infer(
    model: str,
    input: str,
    output: str,
    registry: str | None,
    overwrite: bool,
    missing: Missing | None,
    nearest: int | None,
    device: str,
    log: EventLog,
    **options: Any,
) -> None:
    """Label the samples in INPUT with a trained MODEL: row, column and distance of each one's best unit.

    MODEL is a path or URL, or names a model in a registry: NAME@ENVIRONMENT is the newest there,
    NAME@ENVIRONMENT:CODE_VERSION[/MODEL_VERSION[/REVISION]] a certain one.

    A run that was stopped is continued by the same command: it does only the blocks that are missing.
    """
    from som_dask.analysis.label_store import label_store

    check_free(output, overwrite=overwrite, inputs=[model, input])
    place, opened = open_named(model, registry)
    check_free(output, overwrite=overwrite, inputs=[place])
    samples = samples_of(input, options, functools.partial(samples_for, opened))
    bar = click.progressbar(
        length=len(samples.block_rows), label="labelling", file=sys.stderr, hidden=not watched(log)
    )

    def tell(done: int, blocks: int) -> None:
        log.event("blocks_finished", done=done, blocks=blocks)
        bar.update(done - bar.pos)

    try:
        with connected_as_asked(**options), bar:
            summary = label_store(
                samples,
                opened,
                output,
                overwrite=overwrite,
                missing=missing,
                device=device,
                soft=None if nearest is None else {"k": nearest},
                on_progress=tell,
            )
    except KeyboardInterrupt as error:
        command = shlex.join(["som-dask", *sys.argv[1:]])
        raise Interrupted(f"stopped; the blocks done are kept; continue with: {command}") from error
    log.event("labels_saved", path=output, **dataclasses.asdict(summary))
    click.echo(f"labels              {output}")
    before = (
        f", {summary.blocks_before} of {summary.blocks} blocks by an earlier run" if summary.blocks_before else ""
    )
    click.echo(f"samples             {summary.samples}{before}")
    if summary.left_out:
        click.echo(f"left out            {summary.left_out}, for the values that they lack")
    click.echo(f"quantization error  {summary.quantization_error:.6g}")


@cli.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def info(model: str, as_json: bool) -> None:
    """Tell what a MODEL is, how it was trained and how good it is."""
    from som_dask.io.models import open_model

    opened = open_model(model)
    features = [str(name) for name in opened["feature"].values]
    if as_json:
        history = {
            name: [None if np.isnan(value) else value for value in opened[name].values.tolist()]
            for name in ("quantization_error", "topographic_error", "radius")
        }
        click.echo(json.dumps({"model": model, **opened.attrs, "features": features, **history}, indent=2))
        return
    click.echo(f"model               {model}")
    click.echo(f"features            {len(features)}: {', '.join(features[:8])}{' ...' if len(features) > 8 else ''}")
    click.echo(f"nodes without hits  {int((opened['hits'] == 0).sum())} of {opened['hits'].size}")
    click.echo(f"quantization error  {opened['quantization_error'].values[-1]:.6g}")
    click.echo(f"topographic error   {opened['topographic_error'].values[-1]:.4g}")
    for name, value in opened.attrs.items():
        if value is not None:
            click.echo(f"{name.replace('_', ' '):<19} {value}")


@cli.command()
@click.option("--output", default="som_dask_demo", help="Folder for everything that the demo writes.")
@click.option("--case", type=click.Choice(["photograph", "colors"]), default="photograph", help="What to show.")
@click.option("--data-only", is_flag=True, help="Only write the photograph's input store.")
@click.option(
    "--epochs",
    type=int,
    help=f"Passes over the data.  [default: {DEFAULTS['epochs']}; colors: {OnlineConfig.iterations}]",
)
@click.option("--workers", type=int, default=2, help="Worker processes; colors needs none.")
def demo(output: str, case: str, data_only: bool, epochs: int | None, workers: int) -> None:
    """Train a map and draw pictures of it.

    photograph: a 40 x 40 map of the 273,280 pixels of a photograph by the batch rule, and the photograph redrawn from
    it. colors: a 400 x 400 map of 40 colors by the online rule, from noise to smooth patches.
    """
    from som_dask.cli import demo as demonstration

    if data_only and case != "photograph":
        raise ParameterError("--data-only belongs to --case photograph; colors writes no input store")
    config = TrainingConfig() if epochs is None else TrainingConfig(epochs=epochs)
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"can't make the folder {folder}: {error.strerror}; choose another --output") from error
    if data_only:
        demonstration.write_photograph(folder / "flower.zarr")
        click.echo(f"samples             {folder / 'flower.zarr'}")
        return
    if case == "colors":
        online = OnlineConfig() if epochs is None else OnlineConfig(iterations=epochs)
        with EpochBar(online.iterations) as bar:
            model, places = demonstration.run_colors(folder, online, on_iteration=bar)
    else:
        cluster = {"workers": workers, "threads": None, "memory_limit": "auto"}
        with connected_as_asked(**cluster), EpochBar(config.epochs) as bar:
            model, places = demonstration.run_photograph(folder, config, on_epoch=bar)
    _tell_model(model, places.pop("model"))
    for name, place in places.items():
        click.echo(f"{name:<19} {place}")


if __name__ == "__main__":
    main()
