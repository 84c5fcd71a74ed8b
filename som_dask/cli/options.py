"""The options that the commands share, and what they do before the work begins."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any, get_args

import click

from som_dask.algorithm.online_rule import Iteration
from som_dask.cli.job_file import load_job
from som_dask.errors import Interrupted, ParameterError
from som_dask.io.event_log import DEFAULT_LEVEL, EventLog, Level, telemetry
from som_dask.samples.table import DEFAULT_BLOCK_SIZE, Samples, open_samples
from som_dask.samples.weights import AREA
from som_dask.training.batch import Epoch, TrainingConfig

__all__ = [
    "AreaOrNumbers",
    "EpochBar",
    "Names",
    "Numbers",
    "cluster_options",
    "connected_as_asked",
    "device_option",
    "feature_weights_option",
    "input_options",
    "job_option",
    "log_options",
    "logged",
    "options_of",
    "overwrite_option",
    "samples_of",
    "watched",
    "weights_option",
]


class Numbers(click.ParamType):
    """Numbers separated by commas, or a list in a job file."""

    name, wanted = "a,b,...", "a list of numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        try:
            return tuple(float(part) for part in parts)
        except (TypeError, ValueError):
            self.fail(f"{value!r} is not {self.wanted}.", param, ctx)


class Names(click.ParamType):
    """Names separated by commas, or a list in a job file."""

    name = "a,b,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not all(isinstance(part, str) and part.strip() for part in parts):
            self.fail(f"{value!r} is not a list of names.", param, ctx)
        return tuple(part.strip() for part in parts)


class AreaOrNumbers(Numbers):
    """The word area, or numbers."""

    name, wanted = "area|a,b,...", "the word area or a list of numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == AREA else super().convert(value, param, ctx)


def _read_job(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        known = {str(p.name): p.type for p in ctx.command.params if p.name not in ("config", "help")}
        job = load_job(value, known)
        for key, entry in job.items():
            if not isinstance(entry, _kinds(known[key])) or (
                isinstance(entry, bool) and not isinstance(known[key], click.types.BoolParamType)
            ):
                raise ParameterError(f"the job file {value} has {key} = {entry!r}, which is not of the right kind")
        ctx.default_map = job


def _kinds(option: click.ParamType) -> tuple[type, ...]:
    """Kinds of TOML values that an option takes."""
    if isinstance(option, click.types.BoolParamType):
        return (bool,)
    if isinstance(option, click.types.IntParamType):
        return (int,)
    if isinstance(option, click.types.FloatParamType):
        return (int, float)
    return (list, str) if isinstance(option, (Numbers, Names)) else (str, int)


def options_of(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


job_option = click.option(
    "--config",
    type=click.Path(dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_read_job,
    help="Job file in TOML with any of these options as keys; options given here override it.",
)
input_options = options_of(
    click.option("--variable", help="Variable of the input store; needed where it has several."),
    click.option("--variables", type=Names(), help="Several variables, as features beside each other."),
    click.option("--sample-dims", type=Names(), help="Dimensions of the samples.  [default: those not of features]"),
    click.option(
        "--feature-dims",
        type=Names(),
        help="Dimensions of the features.  [default: those not of samples; feature, else the last of two]",
    ),
    click.option("--dtype", help="Convert the samples to this dtype as they are read, such as float32."),
    click.option("--block-size", default=DEFAULT_BLOCK_SIZE, help="Most bytes of one block of samples."),
    click.option("--allow-missing-chunks", is_flag=True, help="Read chunks that are not stored as fill value."),
)
weights_option = click.option(
    "--weights",
    metavar="area|VARIABLE",
    help="How much each sample counts: area is cos(latitude), or a variable of the input store.",
)
feature_weights_option = click.option(
    "--feature-weights",
    type=AreaOrNumbers(),
    metavar="area|A,B,...",
    help="How much each feature counts in squared distances: area is cos(latitude), or a number for each.",
)
cluster_options = options_of(
    click.option("--workers", type=int, help="Start so many worker processes.  [default: threads of this one]"),
    click.option("--threads", type=int, help="Threads of each of these workers.  [default: cores shared out]"),
    click.option("--memory-limit", default="auto", help="Memory of each of these workers."),
    click.option("--scheduler", metavar="ADDRESS", help="Use the Dask cluster at this address."),
    click.option("--scheduler-file", type=click.Path(), help="Use the Dask cluster that wrote this file."),
)
device_option = click.option(
    "--device", type=click.Choice(["cpu", "gpu"]), default=TrainingConfig.device, help="What workers compute on."
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace the output, and discard what an unfinished run left."
)
log_options = options_of(
    click.option("--log-file", type=click.Path(), metavar="FILE", help="Add the run's events to it as JSON lines."),
    click.option("--log-stderr/--no-log-stderr", help="Events to standard error, in place of the progress bar."),
    click.option("--log-level", type=click.Choice(get_args(Level)), default=DEFAULT_LEVEL, help="Of these two."),
    click.option("--log-dask/--no-log-dask", help="Let the log records of Dask's client join them."),
)


def logged(command: Callable[..., None]) -> Callable[..., None]:
    """A command within the telemetry that its options ask for, given to it as `log`."""

    @functools.wraps(command)
    def run(log_file: str | None, log_level: Level, log_stderr: bool, log_dask: bool, **options: Any) -> None:
        outputs: dict[str, Any] = {"file": log_file, "stderr": log_stderr, "level": log_level}
        with telemetry(command.__name__, options, **outputs, include_dask=log_dask) as log:
            command(log=log, **options)

    return run


@contextlib.contextmanager
def connected_as_asked(**options: Any) -> Iterator[None]:
    """The cluster that was asked for, its dashboard told."""
    from som_dask.passes.cluster import connected

    if options["workers"] is None and (options["threads"] is not None or options["memory_limit"] != "auto"):
        raise ParameterError("--threads and --memory-limit are of the workers that --workers starts; give it too")
    with connected(threads_per_worker=options.pop("threads"), **options) as client:
        if client is not None:
            click.echo(f"dashboard: {client.dashboard_link}", err=True)
        try:
            yield
        except (KeyboardInterrupt, Interrupted):
            # The client complains of the tasks it leaves behind; that they are left is what was asked for.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            raise


def samples_of(place: str, options: dict[str, Any], open_them: Callable[..., Samples] = open_samples) -> Samples:
    """The samples at a place by the options of `input_options` and of weights, which it takes out."""
    names = (
        *("variable", "variables", "sample_dims", "feature_dims", "dtype", "block_size", "allow_missing_chunks"),
        *("weights", "feature_weights"),
    )
    return open_them(place, **{name: options.pop(name) for name in names if name in options})


def watched(log: EventLog | None) -> bool:
    return sys.stderr.isatty() and not (log and log.stderr)


class EpochBar:
    """Progress of training: epoch, radius, errors, time left. Silent where nobody watches."""

    def __init__(self, epochs: int, log: EventLog | None = None) -> None:
        self.log = log
        self.bar = click.progressbar(
            length=epochs,
            label="training",
            item_show_func=self._show,
            file=sys.stderr,
            hidden=not watched(log),
        )
        self.done = 0

    @staticmethod
    def _show(epoch: Epoch | Iteration | None) -> str | None:
        if epoch is None:
            return None
        if isinstance(epoch, Iteration):
            return f"iteration {epoch.index + 1}  radius {epoch.radius:.3g}  QE {epoch.quantization_error:.4g}"
        return (
            f"epoch {epoch.index + 1}  radius {epoch.radius:.3g}  "
            f"QE {epoch.quantization_error:.4g}  TE {epoch.topographic_error:.3g}"
        )

    def __enter__(self) -> EpochBar:
        self.bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.__exit__(*error)

    def __call__(self, epoch: Epoch | Iteration) -> None:
        if self.log is not None:
            self.log.epoch(epoch)
        self.bar.update(epoch.index + 1 - self.bar.pos, epoch)
        self.done = epoch.index + 1
