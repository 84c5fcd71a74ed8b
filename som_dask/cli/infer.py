"""The command `som-dask infer`."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from typing import Any

import click

from som_dask.algorithm.feature_space import Missing
from som_dask.cli.arguments import Command
from som_dask.cli.generated import add_options
from som_dask.cli.models import open_named, registry_option
from som_dask.cli.options import (
    cluster_options,
    connect_as_asked,
    input_options,
    job_option,
    log_options,
    missing_option,
    open_input,
    overwrite_option,
    with_telemetry,
)
from som_dask.cli.progress import is_watched
from som_dask.cli.signals import stop_if_asked
from som_dask.cli.terminal import echo
from som_dask.errors import Interrupted
from som_dask.io.event_log import EventLog
from som_dask.io.outputs import check_free
from som_dask.samples.for_model import open_samples_for
from som_dask.training.config import Execution

__all__ = ["infer"]


@click.command(cls=Command)
@click.argument("model")
@click.argument("input")
@click.option("--output", required=True, help="Write the labels to this Zarr store, a path or fsspec URL.")
@registry_option
@job_option
@missing_option
@click.option(
    "--nearest",
    type=click.IntRange(1),
    metavar="K",
    help="Write the K nearest nodes of each sample and its fuzzy memberships, in place of its best matching unit.",
)
@add_options(Execution, "device")
@overwrite_option
@input_options
@cluster_options
@log_options
@with_telemetry
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
    """Find the best matching unit of each sample in INPUT.

    The labels are the row and the column of the best matching unit, and the distance to it. MODEL is a path or URL,
    or names a model in a registry: NAME@ENVIRONMENT is the newest there,
    NAME@ENVIRONMENT:CODE_VERSION[/MODEL_VERSION[/REVISION]] a certain one.

    A run that was stopped is continued by the same command, which does only the blocks that are missing.
    """
    from som_dask.analysis.label_store import infer_to_store

    check_free(output, overwrite=overwrite, inputs=[model, input])
    path, opened = open_named(model, registry)
    check_free(output, overwrite=overwrite, inputs=[path])
    samples = open_input(input, options, functools.partial(open_samples_for, opened))

    def tell(done: int, blocks: int) -> None:
        stop_if_asked()
        log.event("blocks_finished", done=done, blocks=blocks)

    try:
        with connect_as_asked(**options):
            summary = infer_to_store(
                samples,
                opened,
                output,
                overwrite=overwrite,
                missing=missing,
                device=device,
                soft=None if nearest is None else {"k": nearest},
                on_progress=tell,
                progress=is_watched(log),
            )
    except KeyboardInterrupt as error:
        command = shlex.join(["som-dask", *sys.argv[1:]])
        raise Interrupted(f"stopped; the blocks done are kept; continue with: {command}") from error
    log.event("labels_saved", path=output, **dataclasses.asdict(summary))
    echo(f"labels              {output}")
    before = (
        f", {summary.blocks_before} of {summary.blocks} blocks by an earlier run" if summary.blocks_before else ""
    )
    echo(f"samples             {summary.samples}{before}")
    if summary.left_out:
        echo(f"left out            {summary.left_out}, for the values that they lack")
    echo(f"quantization error  {summary.quantization_error:.6g}")
