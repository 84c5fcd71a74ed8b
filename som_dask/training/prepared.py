"""Prepare the samples of a training run: open and summarize them, and decide the space of the map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.initial import check_codebook, draw_rows, random_codebook, spread_over_plane
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.block import Block
from som_dask.engine.partial import Partial
from som_dask.engine.protocol import Engine
from som_dask.errors import ParameterError
from som_dask.io.features import check_features
from som_dask.io.models import feature_space_of
from som_dask.io.units import check_units, feature_units_of
from som_dask.passes.draw import Draw, Drawn, draw_samples
from som_dask.passes.epoch import epoch_sums
from som_dask.passes.map_memory import check_map_fits
from som_dask.passes.meeting import compute_shared
from som_dask.passes.plane import find_plane
from som_dask.passes.residency import keep_on_device, keep_samples
from som_dask.passes.scaling import fit_space
from som_dask.passes.summary import DataSummary, summarize
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples
from som_dask.training.config import Execution, MapConfig
from som_dask.training.phases import LAST_PASS, check_draw_fits, number_to_draw, number_to_measure

__all__ = ["PreparedData", "prepare_data"]

MOST_DRAWS = 16  # samples read for each node; if more are needed, one pass reads all samples
DRAWS = 4  # factor by which more samples are read if too many of those read are left out


@dataclass(frozen=True)
class PreparedData:
    """Samples, their summary, and the space of the map.

    Attributes
    ----------
    samples : Samples
    summary : DataSummary
        What the first pass over the samples found.
    space : FeatureSpace
        How the samples become points of the map's space.
    execution : Execution
        How the work is done.
    drawn : Drawn, optional
        Samples for a rough phase, and to choose the final radius by.
    """

    samples: Samples
    summary: DataSummary
    space: FeatureSpace
    execution: Execution
    drawn: Drawn | None = None

    def move_to_device(self) -> PreparedData:
        """Move the samples to the memory of the GPUs, if the workers compute there and the samples fit."""
        how = self.execution
        return replace(self, samples=keep_on_device(self.samples, how.keep, how.device))

    def add_up(self, points: np.ndarray, lattice: Lattice, engine: Engine, label: str = LAST_PASS) -> Partial:
        """Search and add up all samples for a scaled codebook, (M, K), in one pass over the data.

        The label tells in the names of tasks which epoch it is; by default it is the pass after the last one.
        """
        return epoch_sums(self.samples, points, lattice, self.summary, self.space, engine, label)

    def take_drawn(self, most: int, config: MapConfig) -> Drawn:
        """Take samples drawn at random, at least `most` if there are so many.

        They are those of the first pass. One more is made only if the first found that most samples are left out, or
        did not draw any.
        """
        drawn = self.drawn
        if drawn is None or len(drawn) < most:
            draw = Draw.from_samples(self.samples, most, config.seed).from_all()
            drawn = summarize(self.samples, config.missing, draw=draw).drawn
            assert drawn is not None
        return drawn

    def scale_codebook(self, codebook: Any, lattice: Lattice) -> np.ndarray:
        """Scale a codebook in the data's units, (rows, cols, D) or (M, D), to the map's space: (M, K) float64."""
        given = check_codebook(codebook, lattice, self.samples.n_features)
        return self.space.to_sphere(self.space.scale_values(given))

    def make_initial_codebook(self, lattice: Lattice, config: MapConfig) -> np.ndarray:
        """Compute the initial scaled codebook, (M, K) float64, by `config.initialization` and `config.seed`.

        Raises
        ------
        DataError
            If values are too large for the covariance that "pca" needs.
        MemoryLimitError
            If the map does not fit the memory.
        """
        check_map_fits(lattice, self.samples.n_features, config.epochs or 0)
        space, summary = self.space, self.summary
        if config.initialization == "random":
            least, most = space.scale_values(summary.minimum), space.scale_values(summary.maximum)
            return space.to_sphere(random_codebook(lattice, least, most, config.seed))
        if config.initialization == "sample":
            return space.to_sphere(self._draw_points(lattice, config.seed))
        return space.to_sphere(spread_over_plane(lattice, *find_plane(self.samples, summary, space)))

    def _draw_points(self, lattice: Lattice, seed: int) -> np.ndarray:
        """Draw samples at random as points without gaps: a missing value becomes the mean of the other samples."""
        n_nodes, summary = lattice.n_nodes, self.summary
        some_left_out = summary.taken < summary.samples
        wanted = min(n_nodes, summary.samples) if some_left_out else n_nodes
        while True:
            rows = draw_rows(summary.samples, wanted, seed)
            distinct, place = np.unique(rows, return_inverse=True)
            found, weights = self._take_rows(distinct)
            taken = np.zeros(len(found), dtype=bool)
            points = np.full((len(found), self.space.n_used), np.nan)
            for tile in Block.of(found, weights, with_errors=self.samples.value_errors).tiles():
                for part in self.space.parts(tile.values, tile.weights):
                    here = part.rows_from(tile.start)
                    taken[here], points[here] = True, part.values
            chosen = place[taken[place]]
            if len(chosen) >= n_nodes or not some_left_out or wanted >= summary.samples:
                break
            wanted = min(DRAWS * wanted, summary.samples)
            if wanted > MOST_DRAWS * n_nodes:  # so many would take as much memory as the samples
                points = draw_samples(self.samples, self.space, n_nodes, seed)
                chosen = np.arange(len(points))
                break
        points = points[np.resize(chosen, n_nodes)]  # repeated from the first one if there are too few
        lacking = np.isnan(points)
        if lacking.any():
            least, most = (self.space.scale_values(a) for a in (summary.minimum, summary.maximum))
            number = np.maximum((~lacking).sum(axis=0), 1)
            mean = np.where(lacking.all(axis=0), least / 2 + most / 2, np.nansum(points, axis=0) / number)
            points = np.where(lacking, mean, points)
        return points

    def _take_rows(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Read samples, and their weights, by their row numbers."""
        weights = self.samples.weights
        if weights is None:
            return compute_shared(self.samples, self.samples.take(numbers))[0], None
        column = replace(self.samples, array=weights[:, None], stored=None).take(numbers)
        found, heavy = compute_shared(self.samples, self.samples.take(numbers), column)
        return found, heavy[:, 0]


def prepare_data(
    data: Any,
    config: MapConfig,
    execution: Execution | None = None,
    *,
    sample_weights: Any = None,
    feature_weights: Any = None,
    value_errors: Any = None,
    base: xr.Dataset | None = None,
    lattice: Lattice | None = None,
) -> PreparedData:
    """Open data and summarize them in one pass; draw what is needed of them at random in the same one.

    Parameters
    ----------
    data, sample_weights, feature_weights, value_errors
        As for `som_dask.samples.open.open_samples`; `PreparedData` are returned unchanged.
    config : MapConfig
    execution : Execution, optional
    base : xarray.Dataset, optional
        A model to go on training: its scaling, feature weights and metric are used.
    lattice : Lattice, optional
        Of the map, whose size decides about a rough phase; without it none is prepared for.

    Returns
    -------
    PreparedData

    Raises
    ------
    ParameterError, DataError, StorageError, ClusterError, MemoryLimitError
    """
    if isinstance(data, PreparedData):
        return data
    execution = execution or Execution()
    samples = open_samples(
        data, sample_weights=sample_weights, feature_weights=feature_weights, value_errors=value_errors
    )
    samples = samples.allow_for(config.missing)
    if base is not None:
        samples = _take_units(samples, base)
    scaled_by = None if base is None else feature_space_of(base)
    scaling = config.scaling if scaled_by is None else "none"
    engine = execution.engine(config.precision)
    _refuse_unsupported(_foresee_space(samples, config, scaled_by), engine)  # before any work
    samples = keep_samples(samples, execution.keep)
    most = 0 if lattice is None else number_to_draw(config, lattice, samples.n_samples, samples.n_features)
    check_draw_fits(most, samples.array.shape[1])
    most = max(most, number_to_measure(config, samples.n_samples, samples.array.shape[1]))
    draw = Draw.from_samples(samples, most, config.seed) if most else None
    summary = summarize(samples, config.missing, scaling, draw)
    space = fit_space(
        summary,
        scaling=scaling,
        metric=config.metric,
        missing=config.missing,
        feature_weights=samples.feature_weights,
        weighted=samples.weights is not None,
        scaled_by=scaled_by,
    )
    _refuse_unsupported(space, engine)
    return PreparedData(samples, replace(summary, statistic=None, drawn=None), space, execution, summary.drawn)


def _take_units(samples: Samples, base: xr.Dataset) -> Samples:
    """Return the samples with the units of a model where they tell none; refuse other features or other units."""
    dtype = base.attrs.get("sample_dtype")  # another one does no harm here
    check_features(base, samples.features, samples.n_features, dtype, samples.description)
    check_units(base, samples.feature_units, samples.description)
    known = feature_units_of(base)
    own = samples.feature_units or ("",) * len(known)
    return replace(
        samples,
        feature_units=tuple(one or other for one, other in zip(own, known, strict=True)),
        standard_name=samples.standard_name or base["codebook"].attrs.get("standard_name"),
    )


def _foresee_space(samples: Samples, config: MapConfig, scaled_by: FeatureSpace | None) -> FeatureSpace:
    """Return what is known about the map's space before the first pass; of scaling, only whether there is one."""
    space = FeatureSpace.plain(samples.n_features) if scaled_by is None else scaled_by
    if scaled_by is None:
        weights = space.feature_weights if samples.feature_weights is None else samples.feature_weights
        scale = space.scale if config.scaling == "none" else space.scale * 2
        space = replace(space, scale=scale, feature_weights=weights, metric=config.metric)
    errors = samples.value_errors
    return replace(space, weighted=samples.weights is not None, missing="error", value_errors=errors)


def _refuse_unsupported(space: FeatureSpace, engine: Engine) -> None:
    reason = engine.supports(space)
    if reason is not None:
        raise ParameterError(reason)
