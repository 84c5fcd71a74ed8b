"""Evaluation: how good a trained map is on some data, as a labelled Dataset."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr
from dask.delayed import delayed

from som_dask._version import __version__
from som_dask.algorithm.feature_space import Missing, Preparation
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.algorithm.quality import distortion, node_means
from som_dask.algorithm.rank_measures import preservation_of, topographic_product
from som_dask.engine.batch import SharedCodebook
from som_dask.engine.exact_sums import BatchSums
from som_dask.engine.row_numbers import Rows, table_rows
from som_dask.errors import DataError, ParameterError
from som_dask.io.models import codebook_of, lattice_of, model_digest, preparation_of
from som_dask.passes.compute import compute, kept
from som_dask.passes.deviations import Deviations, block_deviations
from som_dask.passes.run import (
    broadcast_codebook,
    exact_codebook,
    rows_of_blocks,
    summarize,
    tree_sum,
    weighted_block,
)
from som_dask.passes.scaling import check_weights, fixed_range
from som_dask.passes.summary import DataSummary
from som_dask.samples.for_model import opened
from som_dask.samples.table import Samples

__all__ = ["NEIGHBORS", "SAMPLE", "SCALARS", "evaluate"]

FORMAT = "som_dask evaluation 1"
SAMPLE = 2000  # samples that ranks are compared of, by default
NEIGHBORS = 10  # of a sample, by default
MOST_NODES = 10_000  # of a map whose topographic product is computed: it takes the square of them
SCALARS = {
    "quantization_error": "mean distance of samples to their best matching units",
    "topographic_error": "share of samples whose two best matching units are not adjacent",
    "distortion": "mean squared distance of samples to all nodes, weighted by the final neighborhood",
    "topographic_product": "fit of the map's dimension: 0 best, below it folds, above it is too high",
    "trustworthiness": "are samples near on the map near in the data? 1 best",
    "neighborhood_preservation": "are samples near in the data near on the map? 1 best",
}


def evaluate(
    data: Any,
    model: Any,
    *,
    weights: Any = None,
    sample: int = SAMPLE,
    neighbors: int = NEIGHBORS,
    seed: int = 0,
    missing: Missing | None = None,
    keep: str = "auto",
) -> xr.Dataset:
    """Measure a trained map on some data.

    The samples are scanned once for their range, which exact sums need, and then measured in one streamed pass; they
    are kept in memory in between where they fit. Hits, quantization and topographic error and the nodes' mean
    distances are exact: the same bits for any blocks and workers. On the data of an exact training, with the same
    weights, the first three are the model's own. Distortion and variances are float64 sums, added in a fixed tree:
    good to rounding.

    Parameters
    ----------
    data : anything that `som_dask.samples.table.open_samples` takes
    model : xarray.Dataset, or path or URL of a saved model
    weights : array, DataArray, name of a variable, or "area", optional
        How much each sample counts, as for `som_dask.training.batch.fit`; all alike without. The model does not keep
        those of its training. Hits and the two measures of ranks count samples.
    sample : int
        At most so many samples are picked for trustworthiness and neighborhood preservation, whose cost grows with
        the square. Which ones depends on their number and the seed alone. Of these only samples that lack no value
        count; where there is none, or with 0, the two are left out.
    neighbors : int
        k of these two; fewer where there are not more than 2 k samples.
    seed : int
    missing : {"error", "drop", "mask"}, optional
        What becomes of samples with missing values; by default as in training.
    keep : {"auto", "memory", "stream"}
        As `som_dask.training.batch.TrainingConfig.keep`.

    Returns
    -------
    xarray.Dataset
        Scalars ``quantization_error``, ``topographic_error``, ``distortion`` (`som_dask.algorithm.quality`),
        ``topographic_product`` (NaN for a map of more than 10,000 nodes), ``trustworthiness``,
        ``neighborhood_preservation`` (`som_dask.algorithm.rank_measures`). By node ``(row, col)``: ``hits``,
        ``node_mean_distance``, ``node_mean_squared_distance``, and ``node_feature_variance (row, col, feature)``
        about the mean of the node's samples; NaN for nodes without samples. Distances are of the map's own space,
        the variance of a feature is in the data's units but with the metric "cosine".

    Raises
    ------
    ParameterError
        If an option can't be used.
    SchemaError
        If the features are not the model's.
    DataError
        If values are infinite, or missing where that is an error; if no samples are left; or if the data change
        while they are read.
    StorageError, ClusterError, MemoryLimitError
    """
    for name, value, lowest in (("sample", sample, 0), ("neighbors", neighbors, 1), ("seed", seed, 0)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < lowest:
            raise ParameterError(f"{name} must be a whole number, {lowest} or more, got {value!r}")
    samples, model, missing = opened(data, model, missing, weights=weights)
    samples, preparation = _reduced(samples, preparation_of(model).for_inference(missing))
    samples = kept(samples, keep)
    summary = summarize(samples, preparation.missing)
    if not summary.taken:
        if summary.weightless:
            raise DataError(
                f"{samples.description or 'the samples'}: {summary.weightless} of {summary.samples} samples weigh "
                f"nothing, the others lack values, so there is nothing to measure; give some of them weight"
            )
        raise DataError(
            f"{samples.description or 'the samples'}: every sample lacks values, so there is nothing to measure; "
            f"allow for them with missing 'mask' (--missing mask)"
        )
    masked = preparation.missing == "mask" and bool(summary.gaps.any())
    preparation = replace(preparation, masked=masked, weighted=samples.weights is not None)
    picked = _picked(samples, sample, seed)
    if preparation.weighted:
        least, most, _ = fixed_range(summary, preparation)
        check_weights(summary, least, most)
    shared = exact_codebook(codebook_of(model), lattice_of(model), summary, preparation)
    sums = _deviations(samples, shared, picked)
    if sums.whole.fingerprint != summary.fingerprint:
        raise DataError(f"{samples.description or 'the samples'} changed while they were read; start again")
    return _dataset(sums, shared, model, samples, summary, neighbors=neighbors, seed=seed)


def _picked(samples: Samples, sample: int, seed: int) -> np.ndarray:
    """Rows of the table to compare ranks of, ascending: of the samples with these numbers, whatever the blocks."""
    n_samples = samples.n_samples
    if sample >= n_samples:
        return np.arange(n_samples)
    numbers = np.random.default_rng(seed).choice(n_samples, size=sample, replace=False, shuffle=False)
    return np.sort(table_rows(numbers, samples.sample_chunks))


def _deviations(samples: Samples, shared: SharedCodebook, picked: np.ndarray) -> Deviations:
    """One pass: each block searched once, a tree by the blocks' order."""
    broadcast = delayed(broadcast_codebook, pure=False)(shared)
    task = delayed(_block_deviations, pure=False)
    weights = samples.weight_blocks()
    parts, rows = [], rows_of_blocks(samples)
    for i, (block, start) in enumerate(zip(samples.blocks(), samples.block_starts, strict=True)):
        low, high = np.searchsorted(picked, [start, start + samples.block_rows[i]])
        heavy = None if weights is None else weights[i]
        parts.append(task(block, heavy, broadcast, rows[i], picked[low:high] - start))
    return compute(tree_sum(parts))[0]


def _block_deviations(block: Any, weights: Any, shared: SharedCodebook, rows: Rows, picked: np.ndarray) -> Deviations:
    return block_deviations(weighted_block(block, weights), shared, rows, picked)


def _reduced(samples: Samples, preparation: Preparation) -> tuple[Samples, Preparation]:
    """Samples without the features that the map does not use, and their way into its space."""
    used = preparation.used
    if used.all():
        return samples, preparation
    own = {name: getattr(preparation, name)[used] for name in ("center", "scale", "feature_weights", "used")}
    return replace(samples, array=samples.array[:, preparation.columns], stored=None), replace(preparation, **own)


def _dataset(
    sums: Deviations,
    shared: SharedCodebook,
    model: xr.Dataset,
    samples: Samples,
    summary: DataSummary,
    *,
    neighbors: int,
    seed: int,
) -> xr.Dataset:
    lattice, preparation = shared.lattice, shared.preparation
    measured = sums.measured(shared)
    kernel, radius = _final_neighborhood(model)
    used = max(min(neighbors, (len(sums.units) - 1) // 2), 0)
    values = {
        "quantization_error": measured.quantization_error,
        "topographic_error": measured.topographic_error,
        "distortion": distortion(
            sums.known, sums.sums, sums.squares, math.fsum(measured.weights), shared.codebook, lattice, kernel, radius
        ),
        "topographic_product": (
            topographic_product(shared.codebook, lattice) if lattice.n_nodes <= MOST_NODES else float("nan")
        ),
    }
    if len(sums.units):
        ranks = preservation_of(sums.points, sums.units, lattice, used)
        values["trustworthiness"], values["neighborhood_preservation"] = ranks
    space = _Space(preparation_of(model))
    units = {"topographic_error": {"units": "1"}, "quantization_error": {"comment": space.distance}}
    units["distortion"] = {"comment": space.squares}
    x, y = lattice.positions().T.reshape(2, *lattice.shape)
    result = xr.Dataset(
        {
            **{
                name: ((), value, {"long_name": SCALARS[name], **units.get(name, {"units": "1"})})
                for name, value in values.items()
            },
            **_by_node(measured, sums, lattice, preparation_of(model)),
        },
        coords={
            **{name: c.variable for name, c in model.coords.items() if c.dims == ("feature",)},
            "x": (("row", "col"), x, {"units": "lattice units"}),
            "y": (("row", "col"), y, {"units": "lattice units"}),
        },
        attrs={
            "format": FORMAT,
            "som_dask_version": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "input": samples.description,
            "data_fingerprint": f"{summary.fingerprint:016x}",
            "model_codebook_sha256": model_digest(model),
            "samples": measured.samples,
            "samples_left_out": measured.samples - int(measured.counts.sum()),
            "nodes_without_samples": int(np.count_nonzero(measured.counts == 0)),
            "weighted": preparation.weighted,
            "missing": preparation.missing,
            "metric": preparation.metric,
            "neighborhood": kernel.kernel,
            "radius": radius,
            "sample": len(sums.units),
            "neighbors": used,
            "seed": int(seed),
        },
    )
    if lattice.n_nodes > MOST_NODES:
        result["topographic_product"].attrs["comment"] = f"left out for a map of more than {MOST_NODES} nodes"
    return result


class _Space:
    """In words, what space distances are of."""

    def __init__(self, preparation: Preparation) -> None:
        cosine = preparation.metric == "cosine"
        where = "in the map's own space" if preparation.changes_values else "in the data's units"
        self.distance = "1 less the cosine" if cosine else f"Euclidean, {where}"
        self.squares = f"squared Euclidean distances {where}"
        self.variance = f"in the {'map' if cosine else 'data'}'s units, squared"


def _final_neighborhood(model: xr.Dataset) -> tuple[Neighborhood, float]:
    """The neighborhood of a model's last update."""
    kernel = Neighborhood(model.attrs.get("neighborhood", "gaussian"), model.attrs.get("support"))
    radii = np.asarray(model["radius"].values, dtype=np.float64) if "radius" in model else np.empty(0)
    radii = radii[np.isfinite(radii)]
    return kernel, float(radii[-1]) if len(radii) else float(model.attrs.get("final_radius") or 1.0)


def _by_node(
    measured: BatchSums, sums: Deviations, lattice: Lattice, preparation: Preparation
) -> dict[str, tuple[Any, ...]]:
    space, hits = _Space(preparation), measured.counts
    with np.errstate(over="ignore", invalid="ignore"):
        mean = node_means(sums.sums, sums.known)
        variance = np.maximum(node_means(sums.squares, sums.known) - mean * mean, 0.0)
        if preparation.metric == "euclidean":
            used = preparation.used
            variance = variance * preparation.scale[used] ** 2 / preparation.feature_weights[used]
        squared = node_means(sums.squares.sum(axis=1), measured.weights)
    by_feature = np.full((len(hits), len(preparation.used)), np.nan)
    by_feature[:, preparation.used] = variance
    grid, described = ("row", "col"), "of the samples of a node"
    return {
        "hits": (grid, hits.reshape(lattice.shape), {"long_name": "samples per node", "units": "1"}),
        "node_mean_distance": (
            grid,
            node_means(measured.sums[:, 0], measured.weights).reshape(lattice.shape),
            {"long_name": f"mean distance {described} to its weights", "comment": space.distance},
        ),
        "node_mean_squared_distance": (
            grid,
            squared.reshape(lattice.shape),
            {"long_name": f"mean squared distance {described} to its weights", "comment": space.squares},
        ),
        "node_feature_variance": (
            (*grid, "feature"),
            by_feature.reshape(*lattice.shape, -1),
            {"long_name": f"variance {described} about their mean", "comment": space.variance},
        ),
    }
