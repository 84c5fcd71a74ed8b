"""From a row of the data to what the map sees: features scaled and weighted, missing values left out or kept."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from som_dask.errors import DataError

__all__ = ["Metric", "Missing", "Part", "Preparation"]

Missing = Literal["error", "drop", "mask"]
Metric = Literal["euclidean", "cosine"]


class Part(NamedTuple):
    """Rows of a tile that are treated alike.

    Attributes
    ----------
    values : (m, K) float64
        In the map's own space; NaN where a value is missing, which is nowhere if `whole`.
    rows : (m,) int64, or None
        Which rows of the tile they are; None for all.
    weights : (m,) float64, or None
    whole : bool
    """

    values: np.ndarray
    rows: np.ndarray | None
    weights: np.ndarray | None
    whole: bool


@dataclass(frozen=True, eq=False)
class Preparation:
    r"""How samples x of D features become points z of the map's own space, in which K of them are left.

    ``z_j = sqrt(v_j) (x_j - center_j) / scale_j`` for the features j that are used, so that squared distances are
    weighted by v; with the metric "cosine" z is then divided by its length.

    Attributes
    ----------
    center, scale : (D,) float64
        0 and 1 where nothing is scaled.
    feature_weights : (D,) float64, positive
        v
    used : (D,) bool
        The other features were missing in all samples.
    missing : {"error", "drop", "mask"}
        What becomes of samples with missing values: never met; left out; kept with the features that they have.
    metric : {"euclidean", "cosine"}
    weighted : bool
        Whether the samples carry weights.
    masked : bool
        Whether some of the samples lack some of the features used.
    """

    center: np.ndarray
    scale: np.ndarray
    feature_weights: np.ndarray
    used: np.ndarray
    missing: Missing = "error"
    metric: Metric = "euclidean"
    weighted: bool = False
    masked: bool = False

    @classmethod
    def none(cls, n_features: int) -> Preparation:
        """Samples as they are."""
        zeros, ones = np.zeros(n_features), np.ones(n_features)
        return cls(zeros, ones, ones, np.ones(n_features, dtype=bool))

    def for_inference(self, missing: Missing) -> Preparation:
        """The same for samples to label: without weights, of which some may lack features."""
        return replace(self, missing=missing, weighted=False, masked=missing == "mask")

    @functools.cached_property
    def columns(self) -> np.ndarray | None:
        """The features used, (K,) int64; None for all."""
        return None if self.used.all() else np.flatnonzero(self.used)

    @functools.cached_property
    def _steps(self) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """Center, scale and root of the feature weights, each (K,); None where it changes nothing."""
        center, scale, root = (a[self.used] for a in (self.center, self.scale, np.sqrt(self.feature_weights)))
        return (
            center if np.any(center != 0) else None,
            scale if np.any(scale != 1) else None,
            root if np.any(root != 1) else None,
        )

    @property
    def changes_values(self) -> bool:
        """Whether the map's space is another than the data's, but for features left out."""
        return any(step is not None for step in self._steps) or self.metric == "cosine"

    @property
    def plain(self) -> bool:
        """Whether samples are taken as they are, each once."""
        return not (self.changes_values or self.weighted) and self.columns is None and self.missing == "error"

    def n_columns(self) -> int:
        """Number of sums of each node: see `som_dask.engine.exact_sums`."""
        n_used = int(np.count_nonzero(self.used))
        if self.masked:
            return 2 * n_used + 2
        return n_used + 1 if self.weighted or self.metric == "cosine" else n_used

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """z of values (..., D), without the cosine's length: (..., K) float64, a new array."""
        values = np.array(values, dtype=np.float64)
        if self.columns is not None:
            values = np.ascontiguousarray(values[..., self.columns])
        center, scale, root = self._steps
        if center is not None:
            values -= center
        if scale is not None:
            values /= scale
        if root is not None:
            values *= root
        return values

    def physical(self, points: np.ndarray) -> np.ndarray:
        """x of points (M, K) of the map's space, in the data's units: (M, D), NaN for features not used."""
        center, scale, root = self._steps
        values = np.array(points, dtype=np.float64)
        if root is not None:
            values /= root
        if scale is not None:
            values *= scale
        if center is not None:
            values += center
        if self.columns is None:
            return values
        result = np.full((len(points), len(self.used)), np.nan)
        result[:, self.columns] = values
        return result

    def on_sphere(self, points: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
        """Points (n, K) divided by their lengths where the metric asks for it.

        Zeros, where opposite samples cancel each other, have no direction: they become what is in `before`, (n, K),
        or else stay.
        """
        if self.metric != "cosine":
            return points
        lengths = _lengths(points)
        result = points / np.where(lengths > 0, lengths, 1.0)[:, None]
        return result if before is None else np.where(lengths[:, None] > 0, result, before)

    def parts(self, tile: np.ndarray, weights: np.ndarray | None = None) -> Iterator[Part]:
        """The rows of a tile (n, D) float64, which it may change, as points: at most two parts.

        Raises
        ------
        DataError
            If the metric is "cosine" and a sample has no direction: all its values are zero.
        """
        if self.plain:
            yield Part(tile, None, None, True)
            return
        values = self.scaled(tile) if self.changes_values or self.columns is not None else tile
        taken = np.ones(len(tile), dtype=bool)
        if weights is not None:
            taken &= weights > 0
        whole = taken
        if self.missing != "error":
            lacking = np.isnan(values)
            whole = taken & ~lacking.any(axis=1)
            if self.missing == "mask":
                taken &= ~lacking.all(axis=1)
            else:
                taken = whole
        if self.metric == "cosine":
            lengths = _lengths(values)
            if not (lengths[taken] > 0).all():
                zeros = np.count_nonzero(~(lengths[taken] > 0))
                raise DataError(
                    f"{zeros} samples are all zeros, which have no direction; leave them out, or use another "
                    f"metric than cosine"
                )
            with np.errstate(invalid="ignore"):  # zeros among the rows that are left out
                values = values / lengths[:, None]
        for some, complete in ((whole, True), (taken & ~whole, False)):
            if some.all() and len(some):
                yield Part(values, None, weights, complete)
            elif some.any():
                rows = np.flatnonzero(some)
                yield Part(values[rows], rows, None if weights is None else weights[rows], complete)


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
