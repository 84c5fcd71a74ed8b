"""The command `som-dask report`: a model as one HTML page."""

from __future__ import annotations

import warnings

import click
import xarray as xr

from som_dask.cli.models import open_named, registry_option
from som_dask.cli.options import job_option
from som_dask.errors import StorageError
from som_dask.io.files import open_zarr_node
from som_dask.plotting.report import check_page, write_report

__all__ = ["report"]


@click.command()
@click.argument("model")
@registry_option
@job_option
@click.option("--output", default="report.html", help="HTML file to write: a path or fsspec URL.")
@click.option("--title", help="Heading of the page.  [default: the model's place]")
@click.option("--evaluation", metavar="STORE", help="Zarr store of measures, as `som-dask evaluate` writes it.")
@click.option("--clusters", metavar="STORE", help="Zarr store of clusters, as `som-dask clusters` writes it.")
@click.option(
    "--labels",
    metavar="STORE",
    help="Zarr store of the classes in each node, as som_dask.summarize_labels gives them: not that of infer.",
)
@click.option("--overwrite", is_flag=True, help="Replace the HTML page that is at the output.")
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
    """Write a report of a MODEL, one HTML page: its pictures, quality, features, parameters and provenance.

    MODEL is a path, a URL, or NAME@ENVIRONMENT of a registry. The page needs no network and no other file.
    """
    check_page(output, overwrite=overwrite)
    _, opened = open_named(model, registry)
    others = {
        name: _opened(place)
        for name, place in (("evaluation", evaluation), ("clusters", clusters), ("labels", labels))
        if place is not None
    }
    write_report(opened, output, overwrite=overwrite, title=title or f"Map {model}", **others)
    click.echo(f"report              {output}")


def _opened(place: str) -> xr.Dataset:
    """A store of a few small variables, in memory."""
    open_zarr_node(place)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about consolidated metadata
            return xr.open_zarr(place, chunks=None).load()
    except Exception as error:  # a damaged chunk raises whatever its codec raises
        raise StorageError(f"can't read {place}: {error}; write it again") from error
