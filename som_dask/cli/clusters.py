"""The command `som-dask clusters`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import get_args

import click

from som_dask.analysis import clusters as analysis
from som_dask.analysis.clusters import ClusterMethod
from som_dask.cli.arguments import Command
from som_dask.cli.models import open_named, registry_option
from som_dask.cli.options import job_option, log_options, overwrite_option, with_telemetry
from som_dask.cli.parameters import worded_option
from som_dask.cli.terminal import echo
from som_dask.io.labeled import save_labeled
from som_dask.io.outputs import check_free, lock

__all__ = ["clusters"]


@click.command(cls=Command)
@click.argument("model")
@registry_option
@job_option
@worded_option(
    "--n-clusters",
    type=int,
    help="Number of clusters.",
    default_words="that from 2 to 15 with the highest silhouette",
)
@click.option(
    "--method",
    type=click.Choice(get_args(ClusterMethod)),
    default=get_args(ClusterMethod)[0],
    help="Method: agglomerative clusters are connected regions of the map, those of kmeans need not be.",
)
@click.option("--seed", type=int, default=0, help="Seed of everything random.")
@worded_option(
    "--weighted-by-hits/--not-weighted-by-hits",
    default=None,
    help="Count each node as often as it has hits.",
    default_words="for kmeans, which alone can",
)
@click.option("--output", help="Write the clusters to this Zarr store, a path or fsspec URL.")
@overwrite_option
@log_options
@with_telemetry
def clusters(
    model: str,
    registry: str | None,
    n_clusters: int | None,
    method: ClusterMethod,
    seed: int,
    weighted_by_hits: bool | None,
    output: str | None,
    overwrite: bool,
) -> None:
    """Put the nodes of a MODEL into clusters.

    Their number and sizes are printed. MODEL is a path or URL, or names a model in a registry as for infer.
    """
    if output is not None:
        check_free(output, overwrite=overwrite, inputs=[model])
    path, opened = open_named(model, registry)
    if output is not None:
        check_free(output, overwrite=overwrite, inputs=[path])
    with nullcontext() if output is None else lock(output):
        found = analysis.clusters(opened, n_clusters, method, seed=seed, weighted_by_hits=weighted_by_hits)
        if output is not None:
            save_labeled(found, output, overwrite=overwrite)
    if output is not None:
        echo(f"clusters            {output}")
    chosen = found.attrs["n_clusters"]
    for number, score in zip(found["n_clusters"].values, found["cluster_score"].values, strict=True):
        mark = "  chosen" if number == chosen else ""
        echo(f"{f'{number} clusters':<19} silhouette {score:.4g}{mark}")
    of = " of their weight" if "hit_share" in opened else ""
    sizes = (found[f"cluster_{name}"].values for name in ("nodes", "hits", "share"))
    for cluster, (nodes, hits, share) in enumerate(zip(*sizes, strict=True)):
        echo(f"{f'cluster {cluster}':<19} {nodes} nodes, {hits:g} samples ({share:.1%}{of})")
