"""The command `som-dask clusters`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import get_args

import click
import xarray as xr

from som_dask.analysis import clusters as analysis
from som_dask.analysis.clusters import MOST_SUGGESTED, ClusterMethod, Suggestion
from som_dask.cli.arguments import Command
from som_dask.cli.models import open_named, registry_option
from som_dask.cli.options import job_option, log_options, overwrite_option, with_telemetry
from som_dask.cli.parameters import worded_option
from som_dask.cli.terminal import echo
from som_dask.io.labeled import save_labeled
from som_dask.io.outputs import check_free, lock

__all__ = ["clusters"]

AFTER_CHOSEN = 3  # greater numbers whose scores are told


@click.command(cls=Command)
@click.argument("model")
@registry_option
@job_option
@worded_option(
    "--n-clusters",
    type=int,
    help="Number of clusters.",
    default_words="a suggestion",
)
@click.option(
    "--method",
    type=click.Choice(get_args(ClusterMethod)),
    default=get_args(ClusterMethod)[0],
    help="Method: average finds groups of any size, also rare ones; ward and kmeans rather groups of equal size.",
)
@worded_option(
    "--connected/--no-connected",
    default=None,
    help="Let each cluster be one connected region of the map.",
    default_words="but for kmeans, which can't",
)
@worded_option(
    "--weighted-by-hits/--not-weighted-by-hits",
    default=None,
    help="Count each node as often as it has hits.",
    default_words="but for ward, which can't",
)
@worded_option(
    "--suggest-by",
    type=click.Choice(get_args(Suggestion)),
    help="How the number is suggested: elbow keeps rare groups, silhouette finds a few large ones.",
    default_words="elbow for average, silhouette for the others",
)
@click.option(
    "--resamplings",
    type=int,
    default=0,
    help="Let so many clusterings agree, each without a tenth of the nodes, and tell how stable clusters are.",
)
@click.option("--seed", type=int, default=0, help="Seed of everything random.")
@click.option("--output", help="Write the clusters to this Zarr store, a path or fsspec URL.")
@overwrite_option
@log_options
@with_telemetry
def clusters(
    model: str,
    registry: str | None,
    n_clusters: int | None,
    method: ClusterMethod,
    connected: bool | None,
    weighted_by_hits: bool | None,
    suggest_by: Suggestion | None,
    resamplings: int,
    seed: int,
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
        found = analysis.clusters(
            opened,
            n_clusters,
            method,
            connected=connected,
            weighted_by_hits=weighted_by_hits,
            suggest_by=suggest_by,
            resamplings=resamplings,
            seed=seed,
        )
        if output is not None:
            save_labeled(found, output, overwrite=overwrite)
    if output is not None:
        echo(f"clusters            {output}")
    _tell_scores(found)
    _tell_sizes(found, " of their weight" if "hit_share" in opened else "")


def _tell_scores(found: xr.Dataset) -> None:
    """Print the score of each number, as far as numbers are near the one that is chosen."""
    chosen, score = found.attrs["n_clusters"], found.attrs["score"]
    for number, value in zip(found["n_clusters"].values, found["cluster_score"].values, strict=True):
        if number <= max(chosen + AFTER_CHOSEN, MOST_SUGGESTED):
            mark = "  chosen" if number == chosen else ""
            echo(f"{f'{number} clusters':<19} {score} {value:.4g}{mark}")


def _tell_sizes(found: xr.Dataset, of: str) -> None:
    """Print what each cluster holds, and how stable it is if that is known."""
    sizes = (found[f"cluster_{name}"].values for name in ("nodes", "hits", "share"))
    stable = found["cluster_stability"].values if "cluster_stability" in found else [None] * found.sizes["cluster"]
    for cluster, (nodes, hits, share, stability) in enumerate(zip(*sizes, stable, strict=True)):
        more = "" if stability is None else f", stability {stability:.2f}"
        echo(f"{f'cluster {cluster}':<19} {nodes} nodes, {hits:g} samples ({share:.1%}{of}){more}")
