"""The command line, som-dask: its commands, its errors and its exit status."""

from __future__ import annotations

import signal
import sys
import warnings
from typing import Any

import click

from som_dask._version import __version__
from som_dask.cli.clusters import clusters
from som_dask.cli.demo import demo
from som_dask.cli.evaluate import evaluate
from som_dask.cli.infer import infer
from som_dask.cli.info import info
from som_dask.cli.models import models
from som_dask.cli.report import report
from som_dask.cli.train import retrain, train
from som_dask.errors import Interrupted, ParameterError, SomError

__all__ = ["main"]

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and end the process with the exit status of the error, if there is one."""
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
    """Self-organizing maps on Dask, for data that do not fit one machine.

    Exit status: 0 done, 2 usage or job file, 3 checkpoint, 4 data or features, 5 storage, 6 cluster, 7 memory,
    75 interrupted and can be resumed.
    """


for command in (train, infer, retrain, evaluate, clusters, report, info, models, demo):
    cli.add_command(command)

if __name__ == "__main__":
    main()
