"""The samples of a training run: opened, looked through once, and on their way into the map's space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from som_dask.algorithm.feature_space import Preparation
from som_dask.algorithm.initial import given_codebook, plane_codebook, random_codebook, sampled_rows
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.batch import NOT_ON_A_GPU
from som_dask.engine.exact_sums import BatchSums
from som_dask.errors import DataError, ParameterError
from som_dask.io.models import preparation_of
from som_dask.passes.compute import compute, kept, kept_on_device
from som_dask.passes.plane_moments import Quantizer
from som_dask.passes.run import epoch_sums, moments, pick, summarize
from som_dask.passes.scaling import fitted
from som_dask.passes.summary import DataSummary
from som_dask.samples.table import Samples, open_samples
from som_dask.training.config import TrainingConfig

__all__ = ["TrainingData"]

MOST_DRAWS = 16  # for each node; after that all samples are looked at, in one pass
DRAWS = 4  # times as many samples are looked at as are needed, where some of them lack values


@dataclass(frozen=True)
class TrainingData:
    """Samples, what the first pass over them found, and how they become points of the map's space.

    Attributes
    ----------
    samples : Samples
    summary : DataSummary
    preparation : Preparation
    """

    samples: Samples
    summary: DataSummary
    preparation: Preparation

    @classmethod
    def open(
        cls,
        data: Any,
        config: TrainingConfig,
        *,
        weights: Any = None,
        feature_weights: Any = None,
        base: xr.Dataset | None = None,
    ) -> TrainingData:
        """Open and look through some data.

        Parameters
        ----------
        data, weights, feature_weights
            As for `som_dask.samples.table.open_samples`; a `TrainingData` is returned as it is.
        config : TrainingConfig
        base : xarray.Dataset, optional
            A model that goes on: its scaling, feature weights and metric are used.

        Raises
        ------
        ParameterError, DataError, StorageError, ClusterError, MemoryLimitError
        """
        if isinstance(data, TrainingData):
            return data
        samples = open_samples(data, weights=weights, feature_weights=feature_weights)
        scaled_by = None if base is None else preparation_of(base)
        scaling = config.scaling if scaled_by is None else "none"
        if config.device != "cpu":  # before any work
            given = np.ones(1) if samples.feature_weights is None else samples.feature_weights
            changed = bool(np.any(given != 1)) if scaled_by is None else scaled_by.changes_values
            if changed or scaling != "none" or config.metric != "euclidean" or samples.weights is not None:
                raise ParameterError(NOT_ON_A_GPU)
        samples = kept(samples, config.keep)
        summary = summarize(samples, config.missing, scaling)
        preparation = fitted(
            summary,
            scaling=scaling,
            metric=config.metric,
            missing=config.missing,
            feature_weights=samples.feature_weights,
            weighted=samples.weights is not None,
            scaled_by=scaled_by,
        )
        if config.device != "cpu" and not preparation.plain:
            raise ParameterError(NOT_ON_A_GPU)
        return cls(samples, replace(summary, statistic=None), preparation)

    def on_device(self, config: TrainingConfig) -> TrainingData:
        """The same in the memory of the GPUs, if that is where the workers compute and they fit."""
        return replace(self, samples=kept_on_device(self.samples, config.keep, config.device))

    def sums(self, points: np.ndarray, lattice: Lattice, config: TrainingConfig) -> BatchSums:
        """Sums of all samples under a codebook (M, K): one pass over the data."""
        return epoch_sums(
            self.samples, points, lattice, self.summary, config.device, config.precision, self.preparation
        )

    def points(self, codebook: Any, lattice: Lattice) -> np.ndarray:
        """A codebook given in the data's units, (rows, cols, D) or (M, D), in the map's space: (M, K)."""
        given = given_codebook(codebook, lattice, self.samples.n_features)
        return self.preparation.on_sphere(self.preparation.scaled(given))

    def initial_points(self, lattice: Lattice, config: TrainingConfig) -> np.ndarray:
        """The codebook to start from, (M, K) float64, by `config.initialization` and `config.seed`.

        Raises
        ------
        DataError
            If values are too large for what it needs.
        """
        prepared, summary = self.preparation, self.summary
        if config.initialization == "random":
            least, most = prepared.scaled(summary.minimum), prepared.scaled(summary.maximum)
            return prepared.on_sphere(random_codebook(lattice, least, most, config.seed))
        if config.initialization == "sample":
            return prepared.on_sphere(self._sampled(lattice, config.seed))
        quantizer = Quantizer.of(summary, prepared)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, covariance = moments(self.samples, quantizer, prepared).mean_and_covariance(quantizer)
        if not np.isfinite(covariance).all():
            raise DataError(
                f"{self.samples.description} has values too large for a covariance in float64; "
                f"scale them, or use another initialization than pca"
            )
        return prepared.on_sphere(plane_codebook(lattice, mean, covariance))

    def _sampled(self, lattice: Lattice, seed: int) -> np.ndarray:
        """Samples picked at random, as points without gaps: a value that one lacks is the mean of the others."""
        n_nodes, summary = lattice.n_nodes, self.summary
        some_left_out = summary.taken < summary.samples
        wanted = min(n_nodes, summary.samples) if some_left_out else n_nodes
        while True:
            rows = sampled_rows(summary.samples, wanted, seed)
            distinct, place = np.unique(rows, return_inverse=True)
            found, weights = self._rows(distinct)
            taken = np.zeros(len(found), dtype=bool)
            points = np.full((len(found), len(summary.used[self.preparation.used])), np.nan)
            for part in self.preparation.parts(found.astype(np.float64), weights):
                here = slice(None) if part.rows is None else part.rows
                taken[here], points[here] = True, part.values
            chosen = place[taken[place]]
            if len(chosen) >= n_nodes or not some_left_out or wanted >= summary.samples:
                break
            wanted = min(DRAWS * wanted, summary.samples)
            if wanted > MOST_DRAWS * n_nodes:  # so many would need memory as the samples do
                points = pick(self.samples, self.preparation, n_nodes, seed)
                chosen = np.arange(len(points))
                break
        points = points[np.resize(chosen, n_nodes)]  # again from the first on where there are too few
        lacking = np.isnan(points)
        if lacking.any():
            least, most = (self.preparation.scaled(a) for a in (summary.minimum, summary.maximum))
            number = np.maximum((~lacking).sum(axis=0), 1)
            mean = np.where(lacking.all(axis=0), least / 2 + most / 2, np.nansum(points, axis=0) / number)
            points = np.where(lacking, mean, points)
        return points

    def _rows(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Samples, and their weights, by their numbers."""
        weights = self.samples.weights
        if weights is None:
            return compute(self.samples.take(numbers))[0], None
        column = replace(self.samples, array=weights[:, None], stored=None).take(numbers)
        found, heavy = compute(self.samples.take(numbers), column)
        return found, heavy[:, 0]
