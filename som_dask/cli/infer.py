"""The command `som-dask infer`."""

from __future__ import annotations

import dataclasses
import functools
import math
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
    value_errors_option,
    with_telemetry,
)
from som_dask.cli.parameters import Part, worded_option
from som_dask.cli.progress import is_watched
from som_dask.cli.signals import stop_if_asked
from som_dask.cli.terminal import echo
from som_dask.errors import Interrupted
from som_dask.io.event_log import EventLog
from som_dask.io.outputs import check_free
from som_dask.samples.for_model import open_samples_for
from som_dask.training.config import Execution

if TYPE_CHECKING:
    from som_dask.analysis.label_store import LabelSummary

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
@worded_option(
    "--part",
    type=Part(),
    metavar="K/N",
    default_words="all samples",
    help="Label part K of N only, K from 1 to N; N runs, with no cluster in common, write one output, which appears "
    "when all are done.",
)
@add_options(Execution, "device")
@overwrite_option
@input_options
@value_errors_option
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
    part: tuple[int, int] | None,
    device: str,
    log: EventLog,
    **options: Any,
) -> None:
    """Find the best matching unit of each sample in INPUT.

    The labels are the row and the column of the best matching unit, and the distance to it. MODEL is a path or URL,
    or names a model in a registry: NAME@ENVIRONMENT is the newest there,
    NAME@ENVIRONMENT:CODE_VERSION[/MODEL_VERSION[/REVISION]] a certain one.

    A run that was stopped is continued by the same command, which does only the blocks that are missing. With --part
    the run that finds all parts finished publishes the output; the others say which are missing.
    """
    from som_dask.analysis.label_store import infer_to_store

    may_exist = overwrite or part is not None  # what is there may be of other parts
    check_free(output, overwrite=may_exist, inputs=[model, input])
    path, opened = open_named(model, registry)
    check_free(output, overwrite=may_exist, inputs=[path])
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
                part=part,
                on_progress=tell,
                progress=is_watched(log),
            )
    except KeyboardInterrupt as error:
        command = shlex.join(["som-dask", *sys.argv[1:]])
        raise Interrupted(f"stopped; the blocks done are kept; continue with: {command}") from error
    if summary.parts_missing:
        log.event("part_finished", path=output, **dataclasses.asdict(summary))
    else:
        log.event("labels_saved", path=output, **dataclasses.asdict(summary))
    _tell(summary, output, part)


def _tell(summary: LabelSummary, output: str, part: tuple[int, int] | None) -> None:
    """Print what has been done."""
    if not summary.parts_missing:
        echo(f"labels              {output}")
    elif part is not None:
        echo(f"part                {part[0]} of {part[1]} is finished")
        echo(f"still missing       {_list_parts(summary.parts_missing)}; then {output} appears")
    before = (
        f", {summary.blocks_before} of {summary.blocks} blocks by an earlier run" if summary.blocks_before else ""
    )
    echo(f"samples             {summary.samples}{before}")
    if summary.left_out:
        echo(f"left out            {summary.left_out}, for the values that they lack")
    if part is None or not math.isnan(summary.quantization_error):
        echo(f"quantization error  {summary.quantization_error:.6g}")


def _list_parts(parts: Sequence[int]) -> str:
    """Return numbers, in order, with ranges in short: parts 2, 5 to 7."""
    runs: list[list[int]] = []
    for k in parts:
        if runs and k == runs[-1][-1] + 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    words = (f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
    return f"part{'s' if len(parts) > 1 else ''} {', '.join(words)}"
