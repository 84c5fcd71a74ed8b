"""The space in which a map lies: features scaled and weighted, missing values left out or kept, and the metric."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from som_dask.algorithm.centering import center_rows
from som_dask.algorithm.metrics import METRICS, Metric, MetricRule
from som_dask.errors import DataError
from som_dask.numerics.sizes import HasSize

__all__ = ["LEAST_INVERSE", "FeatureSpace", "Missing", "Part"]

Missing = Literal["error", "drop", "mask"]

LEAST_INVERSE = 1e-100  # of an error: between it and its inverse, squares and their products with points are exact


class Part(NamedTuple):
    """The rows of a tile that are treated alike.

    Attributes
    ----------
    values : (m, K) float64
        Points of the map's space; NaN where a value is missing, which is nowhere if `complete`.
    rows : (m,) int64, or None
        Which rows of the tile they are; None for all.
    weights : (m,) float64, or None
        Of the samples.
    complete : bool
        Whether no value is missing.
    inverse_errors : (m, K) float64, optional
        1 over the errors of the points' coordinates, 0 where a value is missing; None where values have no errors.
    """

    values: np.ndarray
    rows: np.ndarray | None
    weights: np.ndarray | None
    complete: bool
    inverse_errors: np.ndarray | None = None

    def rows_from(self, start: int) -> slice | np.ndarray:
        """Which rows of a block they are, whose row `start` is the tile's first."""
        return slice(start, start + len(self.values)) if self.rows is None else start + self.rows


@dataclass(frozen=True, eq=False)
class FeatureSpace(HasSize):
    r"""How samples x of D features become points z of the map's own space, in which K of them are left.

    ``z_j = sqrt(v_j) (x_j - center_j) / scale_j`` for the features j that are used, so that squared distances are
    weighted by v; with a metric that compares sizes, such as "manhattan", v stands for its root. With a metric on the
    unit sphere, such as "cosine", z is then divided by its length. With one that is centered too, "correlation", the
    mean over the features, weighted by v, is subtracted before: ``z - f (f.z) / (f.f)`` with ``f = sqrt(v)``, over
    the features that the sample knows.

    Attributes
    ----------
    center, scale : (D,) float64
        0 and 1 where nothing is scaled.
    feature_weights : (D,) float64, positive
        v
    used : (D,) bool
        The other features were missing in all samples.
    missing : {"error", "drop", "mask"}
        What becomes of samples with missing values: they are never met; they are left out; they are kept with the
        features that they know.
    metric : {"euclidean", "cosine", "correlation", "manhattan"}
    weighted : bool
        Whether the samples carry weights.
    gaps : bool
        Whether some of the samples lack some of the features used.
    value_errors : bool
        Whether each value has an error e. Squared distances are then ``sum_j v_j (x_j - w_j)^2 / e_j^2``: how
        features are scaled cancels. For the metric "euclidean" only.
    """

    center: np.ndarray
    scale: np.ndarray
    feature_weights: np.ndarray
    used: np.ndarray
    missing: Missing = "error"
    metric: Metric = "euclidean"
    weighted: bool = False
    gaps: bool = False
    value_errors: bool = False

    @classmethod
    def plain(cls, n_features: int) -> FeatureSpace:
        """The data's own space: samples as they are."""
        zeros, ones = np.zeros(n_features), np.ones(n_features)
        return cls(zeros, ones, ones, np.ones(n_features, dtype=bool))

    def for_inference(self, missing: Missing, *, value_errors: bool = False) -> FeatureSpace:
        """The same space for samples to label, which have no weights and of which some may lack features."""
        gaps = missing == "mask"
        return replace(self, missing=missing, weighted=False, gaps=gaps, value_errors=value_errors)

    @property
    def rule(self) -> MetricRule:
        """What the metric asks for."""
        return METRICS[self.metric]

    @property
    def n_used(self) -> int:
        """K, the number of features used."""
        return int(np.count_nonzero(self.used))

    @functools.cached_property
    def columns(self) -> np.ndarray | None:
        """The features used, (K,) int64; None for all."""
        return None if self.used.all() else np.flatnonzero(self.used)

    @functools.cached_property
    def _steps(self) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """Center, scale and factors, each (K,); None where it changes nothing."""
        center, scale, factors = (a[self.used] for a in (self.center, self.scale, self.factors))
        return (
            center if np.any(center != 0) else None,
            scale if np.any(scale != 1) else None,
            factors if np.any(factors != 1) else None,
        )

    @property
    def factors(self) -> np.ndarray:
        """What scaled features are multiplied by, (D,), so that what the metric adds up is weighted by v."""
        return np.sqrt(self.feature_weights) if self.rule.compares == "squares" else self.feature_weights

    @property
    def squared_factors(self) -> np.ndarray:
        """The squares of `factors`, (D,), without the rounding of a root."""
        return self.feature_weights if self.rule.compares == "squares" else self.feature_weights**2

    @property
    def changes_values(self) -> bool:
        """Whether the map's space is another than the data's, but for features left out."""
        return any(step is not None for step in self._steps) or self.rule.on_sphere

    @property
    def takes_samples_as_they_are(self) -> bool:
        """Whether samples are points as they are, and each counts once."""
        as_they_are = not (self.changes_values or self.weighted or self.value_errors) and self.columns is None
        return as_they_are and self.missing == "error"

    @property
    def weighs_samples(self) -> bool:
        """Whether the samples of a node are weighed, not only counted."""
        return self.weighted or self.weighs_values

    @property
    def weighs_values(self) -> bool:
        """Whether the values of a sample count apart, feature by feature."""
        return self.gaps or self.value_errors

    def _center(self, points: np.ndarray) -> np.ndarray:
        """Points (n, K) without their means over the features where the metric asks for it; see `center_rows`."""
        return center_rows(points, self.factors[self.used]) if self.rule.centered else points

    def scale_values(self, values: np.ndarray) -> np.ndarray:
        """z of values (..., D), not yet divided by its length: (..., K) float64, a new array."""
        values = np.array(values, dtype=np.float64)
        if self.columns is not None:
            values = np.ascontiguousarray(values[..., self.columns])
        center, scale, factors = self._steps
        if center is not None:
            values -= center
        if scale is not None:
            values /= scale
        if factors is not None:
            values *= factors
        return values

    def to_data_units(self, points: np.ndarray) -> np.ndarray:
        """x of points (M, K) of the map's space, in the data's units: (M, D), NaN for features not used."""
        center, scale, factors = self._steps
        values = np.array(points, dtype=np.float64)
        if factors is not None:
            values /= factors
        if scale is not None:
            values *= scale
        if center is not None:
            values += center
        if self.columns is None:
            return values
        result = np.full((len(points), len(self.used)), np.nan)
        result[:, self.columns] = values
        return result

    def to_sphere(self, points: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
        """Points (n, K) centered, and divided by their lengths, where the metric asks for it.

        Zeros, where opposite samples cancel each other, have no direction: they become what is in `before`, (n, K),
        or else stay.
        """
        if not self.rule.on_sphere:
            return points
        points = self._center(points)
        lengths = _lengths(points)
        result = points / np.where(lengths > 0, lengths, 1.0)[:, None]
        return result if before is None else np.where(lengths[:, None] > 0, result, before)

    def parts(
        self, tile: np.ndarray, weights: np.ndarray | None = None, errors: np.ndarray | None = None
    ) -> Iterator[Part]:
        """The rows of a tile (n, D) float64, which it may change, as points: at most two parts.

        Errors (n, D) are those of the values, infinite where one is missing.

        Raises
        ------
        DataError
            If the metric is on the sphere and a sample has no direction: all its values are zero, or the same if it
            is centered. If an error of a value is not above 0, or beyond what can be squared.
        """
        if self.takes_samples_as_they_are:
            yield Part(tile, None, None, True)
            return
        values = self.scale_values(tile) if self.changes_values or self.columns is not None else tile
        taken = np.ones(len(tile), dtype=bool)
        if weights is not None:
            taken &= weights > 0
        complete = taken
        if self.missing != "error":
            lacking = np.isnan(values)
            complete = taken & ~lacking.any(axis=1)
            if self.missing == "mask":
                taken &= ~lacking.all(axis=1)
            else:
                taken = complete
        if self.rule.on_sphere:
            values = self._center(values)
            lengths = _lengths(values)
            if not (lengths[taken] > 0).all():
                zeros = np.count_nonzero(~(lengths[taken] > 0))
                raise DataError(
                    f"{zeros} samples are {self.rule.refused}; leave them out, or use another metric than "
                    f"{self.metric}"
                )
            with np.errstate(invalid="ignore"):  # zeros among the rows that are left out
                values = values / lengths[:, None]
        inverse = None if errors is None else self._invert(errors, values)
        for some, is_complete in ((complete, True), (taken & ~complete, False)):
            if some.all() and len(some):
                yield Part(values, None, weights, is_complete, inverse)
            elif some.any():
                rows = np.flatnonzero(some)
                heavy, sharp = (None if each is None else each[rows] for each in (weights, inverse))
                yield Part(values[rows], rows, heavy, is_complete, sharp)

    def _invert(self, errors: np.ndarray, points: np.ndarray) -> np.ndarray:
        """1 over the errors of points (n, K), 0 where a value is missing; `errors` (n, D) are those of the values."""
        errors = errors if self.columns is None else errors[:, self.columns]
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            inverse = self.scale[self.used] / errors
        known = ~np.isnan(points)
        bad = np.count_nonzero(known & ~((inverse > LEAST_INVERSE) & (inverse < 1 / LEAST_INVERSE)))
        if bad:
            raise DataError(
                f"{bad} of the values have errors that are not above 0, or so small or large beside the scale of "
                f"their feature that their squares are beyond float64"
            )
        return np.where(known, inverse, 0.0)


def _lengths(points: np.ndarray) -> np.ndarray:
    """Euclidean norms of rows, (n,), features added in order, those that are NaN left out."""
    largest = np.nanmax(np.abs(points), axis=1, initial=0.0)
    # Scaled by a power of two, so that no square overflows or vanishes.
    _, exponents = np.frexp(largest)
    total = np.zeros(len(points))
    for j in range(points.shape[1]):
        value = np.ldexp(points[:, j], -exponents)
        total += np.where(np.isnan(value), 0.0, value * value)
    return np.ldexp(np.sqrt(total), exponents)
