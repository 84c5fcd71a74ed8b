"""The command `som-dask report`: a model as one HTML page."""

from __future__ import annotations

import warnings

import click
import xarray as xr

from som_dask.analysis.evaluation_dataset import FORMAT
from som_dask.cli.arguments import Command
from som_dask.cli.models import open_named, registry_option
from som_dask.cli.options import job_option, log_options, with_telemetry
from som_dask.cli.parameters import worded_option
from som_dask.cli.terminal import echo
from som_dask.errors import SchemaError, StorageError
from som_dask.io.stores import open_zarr_node
from som_dask.plotting.report import check_page, write_report

__all__ = ["report"]


@click.command(cls=Command)
@click.argument("model")
@registry_option
@job_option
@click.option("--output", default="report.html", help="Write this HTML file, a path or fsspec URL.")
@worded_option("--title", help="Heading of the page.", default_words="Map MODEL")
@click.option("--evaluation", metavar="STORE", help="Show these measures, the output of som-dask evaluate.")
@click.option("--clusters", metavar="STORE", help="Show these clusters, the output of som-dask clusters.")
@click.option(
    "--labels",
    metavar="STORE",
    help="Show the classes in each node, from a Zarr store of what som_dask.summarize_labels returns, not from the "
    "output of som-dask infer.",
)
@click.option("--overwrite", is_flag=True, help="Replace the HTML page that is there.")
@log_options
@with_telemetry
def report(
    model: str,
    registry: str | None,
    output: str,
    title: str | None,
    evaluation: str | None,
    clusters: str | None,
    labels: str | None,
    overwrite: bool,
) -> None:
    """Write a report of a MODEL as one HTML page.

    It has pictures of the map, its quality, features, parameters and provenance, and needs no network and no other
    file. MODEL is a path or URL, or names a model in a registry as for infer.
    """
    check_page(output, overwrite=overwrite)
    _, opened = open_named(model, registry)
    others = {
        name: _load_store(path)
        for name, path in (("evaluation", evaluation), ("clusters", clusters), ("labels", labels))
        if path is not None
    }
    if evaluation is not None and others["evaluation"].attrs.get("format") != FORMAT:
        raise SchemaError(f"{evaluation} is not an evaluation; give the output of som-dask evaluate")
    write_report(opened, output, overwrite=overwrite, title=title or f"Map {model}", **others)
    echo(f"report              {output}")


def _load_store(path: str) -> xr.Dataset:
    """Load a store of a few small variables into memory."""
    open_zarr_node(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about consolidated metadata
            return xr.open_zarr(path, chunks=None).load()
    except Exception as error:  # a damaged chunk raises whatever its codec raises
        raise StorageError(f"can't read {path}: {error}; write it again") from error
