"""The labeled Dataset that an evaluation returns."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.algorithm.quality import distortion, node_means
from som_dask.algorithm.rank_measures import preservation_of, topographic_product
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.partial import Partial
from som_dask.io.attributes import make_plain
from som_dask.io.models import describe_hit_share, feature_space_of, model_digest, positions_of
from som_dask.passes.deviations import Deviations
from som_dask.passes.summary import DataSummary
from som_dask.samples.table import Samples

__all__ = ["FORMAT", "SCALARS", "make_evaluation"]

FORMAT = "som_dask evaluation 1"
MOST_NODES = 10_000  # the cost of the topographic product grows with the square of the number of nodes
SCALARS = {
    "quantization_error": "mean distance of samples to their best matching units",
    "topographic_error": "share of samples whose two best matching units are not adjacent",
    "distortion": "mean squared distance of samples to all nodes, weighted by the final neighborhood",
    "topographic_product": "fit of the map's dimension: 0 best, below it folds, above it is too high",
    "trustworthiness": "are samples near on the map near in the data? 1 best",
    "neighborhood_preservation": "are samples near in the data near on the map? 1 best",
}


def make_evaluation(
    sums: Deviations,
    shared: SharedCodebook,
    model: xr.Dataset,
    samples: Samples,
    summary: DataSummary,
    *,
    neighbors: int,
    seed: int,
) -> xr.Dataset:
    """Make the labeled Dataset of an evaluation.

    Parameters
    ----------
    sums : Deviations
        Deviations of all samples.
    shared : SharedCodebook
        The codebook that they were measured with.
    model : xarray.Dataset
    samples : Samples
    summary : DataSummary
        Summary of these samples.
    neighbors : int
        Number of neighbors for the comparison of ranks, if there are enough samples.
    seed : int
        Seed by which samples were picked for it.

    Returns
    -------
    xarray.Dataset
        As described in `som_dask.analysis.evaluation.evaluate`.
    """
    lattice, space = shared.lattice, shared.space
    measured = sums.rounded(shared)
    kernel, radius = _final_neighborhood_of(model)
    used = max(min(neighbors, (len(sums.bmu) - 1) // 2), 0)
    values = _measure_map(measured, sums, shared, kernel, radius, used)
    result = xr.Dataset(
        {
            **_describe_map(values, _Words(feature_space_of(model))),
            **_describe_nodes(measured, sums, lattice, feature_space_of(model)),
            **describe_hit_share(measured.weight_share if space.weighted else None, lattice),
        },
        coords={
            **{name: c.variable for name, c in model.coords.items() if c.dims == ("feature",)},
            **positions_of(lattice),
        },
        attrs={
            "format": FORMAT,
            "som_dask_version": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "input": samples.description,
            "data_fingerprint": f"{summary.fingerprint:016x}",
            "model_codebook_sha256": model_digest(model),
            "samples": measured.samples,
            "samples_left_out": measured.samples - int(measured.hits.sum()),
            "nodes_without_samples": int(np.count_nonzero(measured.hits == 0)),
            "weighted": space.weighted,
            "missing": space.missing,
            "metric": space.metric,
            "neighborhood": kernel.kernel,
            "radius": radius,
            "sample": len(sums.bmu),
            "neighbors": used,
            "seed": int(seed),
        },
    )
    if lattice.n_nodes > MOST_NODES:
        result["topographic_product"].attrs["comment"] = f"left out for a map of more than {MOST_NODES} nodes"
    return make_plain(result)


def _measure_map(
    measured: Partial, sums: Deviations, shared: SharedCodebook, kernel: Neighborhood, radius: float, neighbors: int
) -> dict[str, float]:
    """Compute the measures of the map from the sums over all samples, by name."""
    lattice = shared.lattice
    values = {
        "quantization_error": measured.quantization_error,
        "topographic_error": measured.topographic_error,
        "distortion": distortion(
            sums.known, sums.sums, sums.squares, math.fsum(measured.weight), shared.codebook, lattice, kernel, radius
        ),
        "topographic_product": (
            topographic_product(shared.codebook, lattice) if lattice.n_nodes <= MOST_NODES else float("nan")
        ),
    }
    if len(sums.bmu):
        ranks = preservation_of(sums.points, sums.bmu, lattice, neighbors)
        values["trustworthiness"], values["neighborhood_preservation"] = ranks
    return values


class _Words:
    """Phrases that say in which space and units distances are measured."""

    def __init__(self, space: FeatureSpace) -> None:
        cosine = space.rule.on_sphere
        where = "in the map's own space" if space.changes_values else "in the data's units"
        self.distance = space.rule.describe(where)
        self.squares = f"squared Euclidean distances {where}"
        self.variance = f"in the {'map' if cosine else 'data'}'s units, squared"


def _final_neighborhood_of(model: xr.Dataset) -> tuple[Neighborhood, float]:
    """Return the neighborhood function and the radius of the last update of a model."""
    kernel = Neighborhood(model.attrs.get("neighborhood", "gaussian"), model.attrs.get("support"))
    radii = np.asarray(model["radius"].values, dtype=np.float64) if "radius" in model else np.empty(0)
    radii = radii[np.isfinite(radii)]
    return kernel, float(radii[-1]) if len(radii) else float(model.attrs.get("final_radius") or 1.0)


def _describe_map(values: dict[str, float], words: _Words) -> dict[str, tuple[Any, ...]]:
    """Return the variables for the measures of the map."""
    attrs = {"quantization_error": {"comment": words.distance}, "distortion": {"comment": words.squares}}
    return {
        name: ((), value, {"long_name": SCALARS[name], **attrs.get(name, {"units": "1"})})
        for name, value in values.items()
    }


def _describe_nodes(
    measured: Partial, sums: Deviations, lattice: Lattice, space: FeatureSpace
) -> dict[str, tuple[Any, ...]]:
    """Return the variables by node."""
    words, hits = _Words(space), measured.hits
    with np.errstate(over="ignore", invalid="ignore"):
        mean = node_means(sums.sums, sums.known)
        variance = np.maximum(node_means(sums.squares, sums.known) - mean * mean, 0.0)
        if not space.rule.on_sphere:
            used = space.used
            variance = variance * space.scale[used] ** 2 / space.squared_factors[used]
        squared = node_means(sums.squares.sum(axis=1), measured.weight)
    by_feature = np.full((len(hits), len(space.used)), np.nan)
    by_feature[:, space.used] = variance
    grid, described = ("row", "col"), "of the samples of a node"
    return {
        "hits": (grid, hits.reshape(lattice.shape), {"long_name": "samples per node", "units": "1"}),
        "node_mean_distance": (
            grid,
            node_means(measured.numerator[:, 0], measured.weight).reshape(lattice.shape),
            {"long_name": f"mean distance {described} to the node", "comment": words.distance},
        ),
        "node_mean_squared_distance": (
            grid,
            squared.reshape(lattice.shape),
            {"long_name": f"mean squared distance {described} to the node", "comment": words.squares},
        ),
        "node_feature_variance": (
            (*grid, "feature"),
            by_feature.reshape(*lattice.shape, -1),
            {"long_name": f"variance {described} about their mean", "comment": words.variance},
        ),
    }
