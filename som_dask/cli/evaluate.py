"""The command `som-dask evaluate`."""

from __future__ import annotations

import functools
import json
import math
from typing import Any, get_args

import click
import xarray as xr

from som_dask.algorithm.feature_space import Missing
from som_dask.analysis.evaluation import NEIGHBORS, SAMPLE, SCALARS
from som_dask.analysis.evaluation import evaluate as evaluated
from som_dask.cli.models import open_named, registry_option
from som_dask.cli.options import (
    cluster_options,
    connected_as_asked,
    input_options,
    job_option,
    log_options,
    logged,
    overwrite_option,
    samples_of,
    weights_option,
)
from som_dask.io.event_log import EventLog
from som_dask.io.files import check_free, lock
from som_dask.io.models import save_labelled
from som_dask.samples.for_model import samples_for

__all__ = ["evaluate"]


@click.command()
@click.argument("model")
@click.argument("input")
@click.option("--output", help="Zarr store to write all measures to, those of the nodes too: a path or fsspec URL.")
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=SAMPLE,
    help="Samples picked for trustworthiness and neighborhood preservation, at most; 0 leaves them out.",
)
@click.option("--neighbors", type=click.IntRange(1), default=NEIGHBORS, help="Neighbors of a sample in these two.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of which samples are picked.")
@click.option(
    "--missing",
    type=click.Choice(get_args(Missing)),
    help="What becomes of samples with missing values.  [default: as in training]",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@registry_option
@job_option
@overwrite_option
@input_options
@weights_option
@cluster_options
@log_options
@logged
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
    """Measure how good a trained MODEL is on the samples in INPUT.

    MODEL is a path or URL, or names a model in a registry as for infer. Tells the quantization and the topographic
    error, the distortion, the topographic product, trustworthiness and neighborhood preservation.
    """
    if output is None:
        place, opened = open_named(model, registry, tell=not as_json)
        result = _measured(opened, input, options, sample=sample, neighbors=neighbors, seed=seed, missing=missing)
    else:
        check_free(output, overwrite=overwrite, inputs=[model, input])
        place, opened = open_named(model, registry, tell=not as_json)
        check_free(output, overwrite=overwrite, inputs=[place])
        with lock(output):
            result = _measured(opened, input, options, sample=sample, neighbors=neighbors, seed=seed, missing=missing)
            save_labelled(result, output, overwrite=overwrite)
    told = {name: float(result[name]) for name in SCALARS if name in result}
    log.event("evaluated", model=place, input=input, path=output, **told, samples=result.attrs["samples"])
    if as_json:
        plain = {name: None if math.isnan(value) else value for name, value in told.items()}
        click.echo(json.dumps({"model": place, "output": output, **result.attrs, **plain}, indent=2))
        return
    if output is not None:
        click.echo(f"evaluation                {output}")
    left_out = result.attrs["samples_left_out"]
    click.echo(f"samples                   {result.attrs['samples']}{f', {left_out} left out' if left_out else ''}")
    click.echo(f"nodes without hits        {result.attrs['nodes_without_samples']} of {result['hits'].size}")
    if sample and "trustworthiness" not in told:
        click.echo("trustworthiness           none: every sample that was picked lacks values")
    for name, value in told.items():
        click.echo(f"{name.replace('_', ' '):<25} {value:<10.4g}  {SCALARS[name]}")


def _measured(opened: xr.Dataset, place: str, options: dict[str, Any], **how: Any) -> xr.Dataset:
    samples = samples_of(place, options, functools.partial(samples_for, opened))
    with connected_as_asked(**options):
        return evaluated(samples, opened, **how)
