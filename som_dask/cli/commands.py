"""The commands of som-dask."""

from __future__ import annotations

import click

from som_dask._version import __version__
from som_dask.cli.arguments import Group
from som_dask.cli.clusters import clusters
from som_dask.cli.demo import demo
from som_dask.cli.evaluate import evaluate
from som_dask.cli.infer import infer
from som_dask.cli.info import info
from som_dask.cli.models import models
from som_dask.cli.report import report
from som_dask.cli.sweep import sweep
from som_dask.cli.train import retrain, train

__all__ = ["cli"]

CONTEXT = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


@click.group(cls=Group, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="som-dask")
def cli() -> None:
    """Self-organizing maps on Dask, for data that do not fit one machine.

    Exit status: 0 done, 1 internal error, 2 usage or job file, 3 checkpoint, 4 data or features, 5 storage,
    6 cluster, 7 memory, 75 interrupted and can be resumed.
    """


for command in (train, sweep, infer, retrain, evaluate, clusters, report, info, models, demo):
    cli.add_command(command)
