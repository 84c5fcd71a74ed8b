"""Options that several commands have, and what is done with them before the work begins."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any, get_args

import click
from click.core import ParameterSource

from som_dask.algorithm.feature_space import Missing
from som_dask.cli.arguments import check_argument
from som_dask.cli.job_file import load_job
from som_dask.cli.parameters import (
    AreaOrNumbers,
    Names,
    Nodata,
    NumberOrWord,
    Numbers,
    combine_options,
    worded_option,
)
from som_dask.cli.terminal import echo
from som_dask.errors import ClusterError, ParameterError
from som_dask.io.event_log import DEFAULT_LEVEL, Level, telemetry
from som_dask.samples.open import DEFAULT_BLOCK_SIZE, open_samples
from som_dask.samples.table import Samples

__all__ = [
    "cluster_options",
    "connect_as_asked",
    "feature_weights_option",
    "input_options",
    "is_given",
    "job_option",
    "log_options",
    "missing_option",
    "open_input",
    "overwrite_option",
    "sample_weights_option",
    "value_errors_option",
    "with_telemetry",
]

AUTO = "auto"


def _read_job(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None:
        check_argument(param, value)
        known = {str(p.name): p for p in ctx.command.params if p.name not in ("config", "help")}
        job = load_job(value, known)
        for key, entry in job.items():
            check_argument(known[key], entry)
            kind = known[key].type
            if not isinstance(entry, _list_kinds(kind)) or (
                isinstance(entry, bool) and not isinstance(kind, click.types.BoolParamType)
            ):
                raise ParameterError(f"the job file {value} has {key} = {entry!r}, which is not of the right kind")
        ctx.default_map = job


def _list_kinds(option: click.ParamType) -> tuple[type, ...]:
    """Return the kinds of TOML values that an option takes."""
    if isinstance(option, click.types.BoolParamType):
        return (bool,)
    if isinstance(option, click.types.IntParamType):
        return (int,)
    if isinstance(option, click.types.FloatParamType):
        return (int, float)
    if isinstance(option, Nodata):
        return (list, str, int, float)
    if isinstance(option, NumberOrWord):
        return (str, int, float)
    if isinstance(option, click.Path):
        return (str,)  # an integer would be the number of an open file
    return (list, str) if isinstance(option, (Numbers, Names)) else (str, int)


job_option = click.option(
    "--config",
    type=click.Path(dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_read_job,
    help="Read options from this TOML file, whose keys are their names; options given here override it.",
)
input_options = combine_options(
    click.option("--variable", help="Variable of the input to use; needed where it has several."),
    click.option("--variables", type=Names(), help="Several variables to use, as features side by side."),
    worded_option(
        "--sample-dims",
        type=Names(),
        help="Dimensions along which the samples lie.",
        default_words="all but the feature dimensions",
    ),
    worded_option(
        "--feature-dims",
        type=Names(),
        help="Dimensions along which the features lie.",
        default_words="all but the sample dimensions; without those, feature, or else the last of two",
    ),
    worded_option(
        "--features",
        type=Names(),
        help="Features to take, by name and in this order; columns of a table.",
        default_words="all; with a model, those that its training took so",
    ),
    click.option("--dtype", help="Convert the samples to this dtype, such as float32, as they are read."),
    worded_option(
        "--nodata",
        type=Nodata(),
        help="Numbers that stand for missing values, where the input store does not say so by _FillValue.",
        default_words="none; with a model, those of its training",
    ),
    click.option("--block-size", default=DEFAULT_BLOCK_SIZE, help="Largest size of a block of samples."),
    click.option("--allow-missing-chunks", is_flag=True, help="Read chunks that the store lacks as its fill value."),
)
sample_weights_option = worded_option(
    "--sample-weights",
    metavar="area|VARIABLE",
    help="How much each sample counts: area is the cosine of the latitude, or name a variable of the input store.",
    default_words="all alike",
)
feature_weights_option = worded_option(
    "--feature-weights",
    type=AreaOrNumbers(),
    metavar="area|A,B,...",
    help="How much each feature counts in squared distances: area is the cosine of the latitude, or give a number "
    "for each.",
    default_words="all alike",
)
value_errors_option = worded_option(
    "--value-errors",
    type=Names(),
    metavar="VARIABLE,...",
    help="Variables of the input store with the error of each value, one for each variable of samples: differences "
    "are divided by them.",
    default_words="none",
)
missing_option = worded_option(
    "--missing",
    type=click.Choice(get_args(Missing)),
    help="What becomes of samples with missing values (NaN): they are an error, are left out, or are compared by the "
    "features that they have.",
    default_words="as in training",
)
cluster_options = combine_options(
    worded_option(
        "--workers", type=int, help="Start this many worker processes.", default_words="threads of this process"
    ),
    worded_option(
        "--threads", type=int, help="Threads of each of these workers.", default_words="the cores shared out"
    ),
    click.option("--memory-limit", default=AUTO, help="Memory limit of each of these workers, such as 4 GiB."),
    click.option("--scheduler", metavar="ADDRESS", help="Use the Dask cluster whose scheduler is at this address."),
    click.option("--scheduler-file", type=click.Path(), help="Use the Dask cluster whose scheduler wrote this file."),
    worded_option(
        "--interface",
        metavar="NAME",
        help="Network interface on which these workers listen.",
        default_words="loopback",
    ),
    worded_option(
        "--tls-ca-file",
        type=click.Path(),
        metavar="FILE.pem",
        help="Encrypt all connections of the cluster; this authority has signed its certificates.",
        default_words="as in Dask's configuration",
    ),
    click.option("--tls-cert", type=click.Path(), metavar="FILE.pem", help="Own certificate in the cluster."),
    click.option("--tls-key", type=click.Path(), metavar="FILE.pem", help="Key of that certificate."),
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace the output, and discard what an unfinished run has left."
)
log_options = combine_options(
    click.option(
        "--log-file",
        type=click.Path(),
        metavar="FILE",
        help="Append the events of the run to this file as JSON lines.",
    ),
    click.option(
        "--log-stderr/--no-log-stderr", help="Write the events to standard error, in place of the progress bar."
    ),
    click.option(
        "--log-level",
        type=click.Choice(get_args(Level)),
        default=DEFAULT_LEVEL,
        help="Leave out events below this level.",
    ),
    click.option("--log-dask/--no-log-dask", help="Log what Dask's client logs, too."),
)


def with_telemetry(command: Callable[..., None]) -> Callable[..., None]:
    """Run a command with the telemetry that its options ask for, and give it that as `log` if it takes that."""
    takes_log = "log" in inspect.signature(command).parameters

    @functools.wraps(command)
    def run(log_file: str | None, log_level: Level, log_stderr: bool, log_dask: bool, **options: Any) -> None:
        outputs: dict[str, Any] = {"file": log_file, "stderr": log_stderr, "level": log_level}
        with telemetry(command.__name__, options, **outputs, include_dask=log_dask) as log:
            command(**options, **({"log": log} if takes_log else {}))

    return run


@contextlib.contextmanager
def connect_as_asked(
    *, workers: int | None, threads: int | None = None, memory_limit: str = AUTO, **options: Any
) -> Iterator[None]:
    """Connect to the cluster that the options ask for, and tell where its dashboard is."""
    from som_dask.passes.cluster import connect
    from som_dask.passes.dashboard import describe_dashboard
    from som_dask.plotting.dashboard_page import PATH, add_dashboard_page

    if workers is None and (threads is not None or memory_limit != AUTO):
        raise ParameterError("--threads and --memory-limit are for the workers that --workers starts; give it too")
    options |= {"workers": workers, "threads_per_worker": threads, "memory_limit": memory_limit}
    with connect(**options) as client:
        if client is not None:
            dashboard = describe_dashboard(client)
            if dashboard is not None:
                # Nothing depends on the page, and a scheduler may take no plugins.
                with contextlib.suppress(ClusterError):
                    add_dashboard_page(client)
                    dashboard += f"; the map while it is trained: {PATH} there"
                echo(f"dashboard: {dashboard}", err=True)
        with _no_complaints():
            yield


@contextlib.contextmanager
def _no_complaints() -> Iterator[None]:
    """Drop what asyncio and the client print of lost tasks and connections: the run's own error tells of it.

    An interrupted client tells of its tasks at once, or whenever they are collected, so the levels stay after an
    error. A log that was asked for has its own handlers.
    """
    import distributed  # noqa: F401 - configures its loggers when it is imported

    loggers = [each for each in list(logging.root.manager.loggerDict.values()) if isinstance(each, logging.Logger)]
    printing = {
        handler
        for logger in loggers
        if logger.name.partition(".")[0] == "distributed"
        for handler in logger.handlers
        if type(handler) is logging.StreamHandler
    }
    quieted: list[Any] = [logging.getLogger("asyncio"), *printing]
    before = [(one, one.level) for one in quieted]
    for one in quieted:
        one.setLevel(logging.CRITICAL)
    yield  # and no finally
    for one, level in before:
        one.setLevel(level)


def is_given(name: str) -> bool:
    """Return whether an option is given, on the command line or in the job file."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (ParameterSource.DEFAULT, ParameterSource.ENVIRONMENT)


def open_input(path: str, options: dict[str, Any], open_path: Callable[..., Samples] = open_samples) -> Samples:
    """Open samples as `input_options` and the options of weights say, and take these out of `options`."""
    names = (
        *(
            "variable",
            "variables",
            "sample_dims",
            "feature_dims",
            "features",
            "dtype",
            "block_size",
            "allow_missing_chunks",
        ),
        *("sample_weights", "feature_weights", "nodata", "value_errors"),
    )
    return open_path(path, **{name: options.pop(name) for name in names if name in options})
