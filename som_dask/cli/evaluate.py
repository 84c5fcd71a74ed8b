"""The command `som-dask evaluate`."""

from __future__ import annotations

import functools
import math
from typing import Any

import click
import xarray as xr

from som_dask.algorithm.feature_space import Missing
from som_dask.analysis.evaluation import NEIGHBORS, SAMPLE
from som_dask.analysis.evaluation import evaluate as evaluate_map
from som_dask.analysis.evaluation_dataset import SCALARS
from som_dask.cli.arguments import Command
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
    sample_weights_option,
    with_telemetry,
)
from som_dask.cli.progress import is_watched
from som_dask.cli.terminal import echo, echo_json
from som_dask.io.event_log import EventLog
from som_dask.io.models import save_labeled
from som_dask.io.outputs import check_free, lock
from som_dask.samples.for_model import open_samples_for

__all__ = ["evaluate"]


@click.command(cls=Command)
@click.argument("model")
@click.argument("input")
@click.option("--output", help="Write all measures, also of single nodes, to this Zarr store, a path or fsspec URL.")
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=SAMPLE,
    help="Pick at most this many samples for trustworthiness and neighborhood preservation; 0 leaves the two out.",
)
@click.option(
    "--neighbors", type=click.IntRange(1), default=NEIGHBORS, help="Number of neighbors of a sample in these two."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of the samples that are picked.")
@missing_option
@click.option("--json", "as_json", is_flag=True, help="Print the measures as JSON.")
@registry_option
@job_option
@overwrite_option
@input_options
@sample_weights_option
@cluster_options
@log_options
@with_telemetry
def evaluate(
    model: str,
    input: str,
    output: str | None,
    registry: str | None,
    overwrite: bool,
    as_json: bool,
    log: EventLog,
    sample: int,
    neighbors: int,
    seed: int,
    missing: Missing | None,
    **options: Any,
) -> None:
    """Measure how well a MODEL fits the samples in INPUT.

    The measures are the quantization error, the topographic error, the distortion, the topographic product,
    trustworthiness and neighborhood preservation. MODEL is a path or URL, or names a model in a registry as for
    infer.
    """
    how = {"sample": sample, "neighbors": neighbors, "seed": seed, "missing": missing, "progress": is_watched(log)}
    if output is None:
        path, opened = open_named(model, registry, tell=not as_json)
        result = _measure(opened, input, options, **how)
    else:
        check_free(output, overwrite=overwrite, inputs=[model, input])
        path, opened = open_named(model, registry, tell=not as_json)
        check_free(output, overwrite=overwrite, inputs=[path])
        with lock(output):
            result = _measure(opened, input, options, **how)
            save_labeled(result, output, overwrite=overwrite)
    told = {name: float(result[name]) for name in SCALARS if name in result}
    log.event("evaluated", model=path, input=input, path=output, **told, samples=result.attrs["samples"])
    if as_json:
        plain = {name: None if math.isnan(value) else value for name, value in told.items()}
        echo_json({"model": path, "output": output, **result.attrs, **plain})
        return
    if output is not None:
        echo(f"evaluation                {output}")
    left_out = result.attrs["samples_left_out"]
    echo(f"samples                   {result.attrs['samples']}{f', {left_out} left out' if left_out else ''}")
    echo(f"nodes without hits        {result.attrs['nodes_without_samples']} of {result['hits'].size}")
    if sample and "trustworthiness" not in told:
        echo("trustworthiness           none: every sample that was picked lacks values")
    for name, value in told.items():
        echo(f"{name.replace('_', ' '):<25} {value:<10.4g}  {SCALARS[name]}")


def _measure(opened: xr.Dataset, path: str, options: dict[str, Any], **how: Any) -> xr.Dataset:
    """Evaluate a model on the samples at a path, on the cluster that the options ask for."""
    samples = open_input(path, options, functools.partial(open_samples_for, opened))
    with connect_as_asked(**options):
        return evaluate_map(samples, opened, **how)
