"""Evaluate a trained map: measure how well it represents data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from som_dask.algorithm.feature_space import FeatureSpace, Missing
from som_dask.analysis.evaluation_dataset import make_evaluation
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.row_numbers import table_rows
from som_dask.errors import DataError, ParameterError
from som_dask.io.models import feature_space_of, lattice_of, scaled_codebook_of
from som_dask.passes.deviations import Deviations, measure_deviations
from som_dask.passes.epoch import share_codebook
from som_dask.passes.progress import Steps, is_shown
from som_dask.passes.residency import keep_samples
from som_dask.passes.scaling import check_weights, range_of_points
from som_dask.passes.summary import DataSummary, summarize
from som_dask.samples.for_model import open_for_model
from som_dask.samples.table import Samples

__all__ = ["NEIGHBORS", "SAMPLE", "evaluate", "measure_quantization_error"]

SAMPLE = 2000  # default number of samples whose ranks are compared
NEIGHBORS = 10  # default number of neighbors of a sample
STEPS = ("range of the samples", "distances to the map", "ranks of a few samples")


def evaluate(
    data: Any,
    model: Any,
    *,
    sample_weights: Any = None,
    sample: int = SAMPLE,
    neighbors: int = NEIGHBORS,
    seed: int = 0,
    missing: Missing | None = None,
    keep: str = "stream",
    progress: bool | None = None,
) -> xr.Dataset:
    """Measure how well a trained map represents data.

    One pass over the samples finds their range, which exact sums need, and a second pass measures the map. Both read
    the samples, so memory does not grow with their number. Hits, quantization error, topographic error and the mean
    distances of nodes are exact: the same bits for any blocks and workers. On the data of an exact training, with the
    same weights, the first three are equal to those of the model. Distortion and variances are float64 sums, added up
    in a fixed tree; other blocks may change their last digits.

    Parameters
    ----------
    data : anything that `som_dask.samples.open.open_samples` takes
    model : xarray.Dataset, or path, URL or Zarr store of a saved model
    sample_weights : array, DataArray, name of a variable, or "area", optional
        How much each sample counts, as for `som_dask.train`; by default all count the same. The model does not hold
        the weights of its training. Hits, trustworthiness and neighborhood preservation ignore weights; the share
        of each node in them is ``hit_share (row, col)``.
    sample : int
        Maximum number of samples that are picked for trustworthiness and neighborhood preservation, whose cost grows
        with its square. Which samples are picked depends only on the number of samples and the seed. Those that lack
        a value are not used; if none is left, or with 0, the two measures are left out.
    neighbors : int
        Number k of neighbors for these two measures; it is reduced if there are not more than 2 k samples.
    seed : int
        Seed of the choice of samples.
    missing : {"error", "drop", "mask"}, optional
        How samples with missing values are treated; by default as in training.
    keep : {"auto", "memory", "stream"}
        As for `som_dask.Execution`: with "memory", samples that take long to compute are computed only once.
    progress : bool, optional
        Whether a bar shows the passes, and the tasks done of each where they run on threads. By default it does where
        standard error is a terminal, and in notebooks.

    Returns
    -------
    xarray.Dataset
        Scalars: ``quantization_error``, ``topographic_error``, ``distortion`` (see `som_dask.algorithm.quality`),
        ``topographic_product`` (NaN for a map of more than 10,000 nodes), ``trustworthiness`` and
        ``neighborhood_preservation`` (see `som_dask.algorithm.rank_measures`). By node ``(row, col)``: ``hits``,
        ``node_mean_distance``, ``node_mean_squared_distance``, and ``node_feature_variance (row, col, feature)``, the
        variance about the mean of the samples of the node; NaN for nodes without samples. Distances are measured in
        the map's own space; the variance of a feature is in the data's units squared, except with the metrics
        "cosine" and "correlation".

    Raises
    ------
    ParameterError
        If an option can't be used.
    SchemaError
        If the features are not those of the model.
    DataError
        If values are infinite, or missing although none may be missing; if no samples are left; or if the data change
        while they are read.
    StorageError, ClusterError, MemoryLimitError

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> colors = np.random.default_rng(0).random((40, 3))
    >>> model = som.train(colors, som.Lattice(4, 5), som.MapConfig(epochs=5))
    >>> measures = som.evaluate(colors, model)
    >>> bool(measures["quantization_error"] == model["quantization_error"][-1])
    True
    >>> measures["node_mean_distance"].dims
    ('row', 'col')
    """
    _check_options(sample, neighbors, seed)
    with Steps("evaluating", STEPS, shown=is_shown(progress)) as steps:
        measured = _measure(data, model, sample_weights, missing, keep, sample, seed, steps)
        with steps.step():
            return make_evaluation(*measured, neighbors=neighbors, seed=seed)


def measure_quantization_error(
    data: Any, model: Any, *, sample_weights: Any = None, missing: Missing | None = None, keep: str = "stream"
) -> float:
    """Measure the mean distance of samples to their best matching units: that of `evaluate`, to the bit, and no more.

    Parameters
    ----------
    data, model, sample_weights, missing, keep
        As for `evaluate`.

    Returns
    -------
    float
        In the map's own space.

    Raises
    ------
    ParameterError, DataError, StorageError, ClusterError, MemoryLimitError
        As for `evaluate`.
    """
    steps = Steps("evaluating", STEPS, shown=False)
    sums, shared, *_ = _measure(data, model, sample_weights, missing, keep, 0, 0, steps)
    return float(sums.rounded(shared).quantization_error)


def _measure(
    data: Any,
    model: Any,
    sample_weights: Any,
    missing: Missing | None,
    keep: str,
    sample: int,
    seed: int,
    steps: Steps,
) -> tuple[Deviations, SharedCodebook, xr.Dataset, Samples, DataSummary]:
    """Add up the deviations of all samples; return with them what they were measured with."""
    samples, model, missing = open_for_model(data, model, missing, sample_weights=sample_weights)
    samples = samples.refuse_errors("evaluate")
    samples, space = _leave_out_unused(samples, feature_space_of(model).for_inference(missing))
    with steps.step():
        samples = keep_samples(samples, keep)
        summary = summarize(samples, space.missing)
    _refuse_nothing(summary, samples)
    gaps = space.missing == "mask" and bool(summary.gaps.any())
    space = replace(space, gaps=gaps, weighted=samples.weights is not None)
    if space.weighted:
        least, most, _ = range_of_points(summary, space)
        check_weights(summary, least, most)
    shared = share_codebook(scaled_codebook_of(model), lattice_of(model), summary, space)
    with steps.step():
        sums = measure_deviations(samples, shared, _pick_rows(samples, sample, seed))
    if sums.distances.fingerprint != summary.fingerprint:
        raise DataError(f"{samples.description or 'the samples'} changed while they were read; start again")
    return sums, shared, model, samples, summary


def _check_options(sample: Any, neighbors: Any, seed: Any) -> None:
    for name, value, lowest in (("sample", sample, 0), ("neighbors", neighbors, 1), ("seed", seed, 0)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < lowest:
            raise ParameterError(f"{name} must be a whole number, {lowest} or more, got {value!r}")


def _refuse_nothing(summary: DataSummary, samples: Samples) -> None:
    """Refuse data of which all samples are left out."""
    where = samples.description or "the samples"
    if summary.taken:
        return
    if summary.weightless:
        raise DataError(
            f"{where}: {summary.weightless} of {summary.samples} samples weigh "
            f"nothing, the others lack values, so there is nothing to measure; give some of them weight"
        )
    raise DataError(
        f'{where}: every sample lacks values, so there is nothing to measure; allow for them with `missing="mask"`'
    )


def _pick_rows(samples: Samples, sample: int, seed: int) -> np.ndarray:
    """Pick the samples whose ranks are compared, whatever the blocks: their rows of the table, ascending."""
    n_samples = samples.n_samples
    if sample >= n_samples:
        return np.arange(n_samples)
    numbers = np.random.default_rng(seed).choice(n_samples, size=sample, replace=False, shuffle=False)
    return np.sort(table_rows(numbers, samples.sample_chunks))


def _leave_out_unused(samples: Samples, space: FeatureSpace) -> tuple[Samples, FeatureSpace]:
    """Leave out the features that the map does not use, from the samples and from the space."""
    used = space.used
    if used.all():
        return samples, space
    own = {name: getattr(space, name)[used] for name in ("center", "scale", "feature_weights", "used")}
    return replace(samples, array=samples.array[:, space.columns], stored=None), replace(space, **own)
