"""How features are scaled, as the first pass over the data finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from som_dask.algorithm.feature_space import Metric, Missing, Preparation
from som_dask.errors import DataError, ParameterError
from som_dask.numerics.exact_moments import ExactMoments
from som_dask.passes.summary import DataSummary

__all__ = ["Quantiles", "Scaling", "center_and_scale", "check_weights", "fitted", "fixed_range", "statistic_of"]

Scaling = Literal["none", "zscore", "range", "robust"]

QUARTERS = (0.25, 0.5, 0.75)
LEAST_WEIGHT = 2.0**-80
LARGEST_SUM, LEAST_SUM, LEAST_SQUARE = 2.0**990, 2.0**-970, 2.0**-860  # what is added up keeps all digits in between
SCALED_SMALL = -10  # binary exponent: scaled values below a thousandth of their scale need no digits of their own


class Quantiles:
    """Quantiles of each feature from one pass, by t-digests of the package crick.

    A t-digest (Dunning and Ertl, *Computing extremely accurate quantiles using t-digests*, 2019) keeps some hundred
    weighted means, finer towards both ends; with crick's compression of 100 a quartile is off by some thousandths
    of the samples. Digests are merged by the order of the blocks, so they are the same in every run with the same
    blocks; other blocks may change them within that error.

    Parameters
    ----------
    digests : list of crick.TDigest
        One a feature.
    """

    def __init__(self, digests: list[Any]) -> None:
        self.digests = digests

    @classmethod
    def zero(cls, n_features: int) -> Quantiles:
        """Of no samples.

        Raises
        ------
        ParameterError
            If crick is missing.
        """
        return cls([_digest_type()() for _ in range(n_features)])

    def add(self, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add samples (n, D) float64, NaN where missing, in place."""
        for j, digest in enumerate(self.digests):
            known = ~np.isnan(values[:, j])
            if known.any():
                digest.update(values[known, j], 1.0 if weights is None else weights[known])

    def carried(self) -> Quantiles:
        """The same: there is nothing to carry."""
        return self

    def __add__(self, other: Quantiles) -> Quantiles:
        result = Quantiles.zero(len(self.digests))
        for digest, *both in zip(result.digests, self.digests, other.digests, strict=True):
            digest.merge(*(one for one in both if one.size() > 0))
        return result

    def quartiles(self) -> np.ndarray:
        """The three of each feature, (3, D) float64; NaN for a feature without values."""
        return np.array([digest.quantile(QUARTERS) for digest in self.digests]).reshape(-1, 3).T


def _digest_type() -> Any:
    try:
        from crick import TDigest
    except ImportError as error:
        raise ParameterError("scaling 'robust' needs crick: pip install 'som_dask[robust]'") from error
    return TDigest


def statistic_of(scaling: Scaling) -> Callable[[int], Any] | None:
    """What the first pass is to keep of the values, for `som_dask.passes.summary.block_summary`.

    Raises
    ------
    ParameterError
        If crick, which "robust" needs, is missing.
    """
    if scaling == "robust":
        _digest_type()
    return {"zscore": ExactMoments.zero, "robust": Quantiles.zero}.get(scaling)


def center_and_scale(scaling: Scaling, summary: DataSummary) -> tuple[np.ndarray, np.ndarray]:
    """What is subtracted from each feature, and what it is divided by then.

    ======== ======== =====================================================================
    scaling  center   scale
    ======== ======== =====================================================================
    none     0        1
    zscore   mean     standard deviation (divided by the number of samples, not one less)
    range    minimum  maximum less minimum
    robust   median   difference of the quartiles
    ======== ======== =====================================================================

    Of the samples that are not left out, with their weights, over the values that are known. A feature that does not
    vary is divided by 1.

    Parameters
    ----------
    scaling : {"none", "zscore", "range", "robust"}
    summary : DataSummary
        Of all samples, with the statistic of `statistic_of`.

    Returns
    -------
    center, scale : (D,) float64
        0 and 1 for a feature of which no value is known.

    Raises
    ------
    DataError
        If a scale, or for "zscore" a square times its weight, is beyond float64.
    """
    n_features = len(summary.minimum)
    center, scale = np.zeros(n_features), np.ones(n_features)
    with np.errstate(over="ignore", invalid="ignore"):
        if scaling == "zscore":
            _check_squares(summary)
            center, scale = summary.statistic.mean_and_deviation()
        elif scaling == "range":
            center, scale = summary.minimum, summary.maximum - summary.minimum
        elif scaling == "robust":
            low, center, high = summary.statistic.quartiles()
            scale = high - low
    if not np.isfinite(scale[summary.used]).all():
        raise DataError(f"the values are too large for scaling {scaling!r}; divide them by a number, or use another")
    return np.where(summary.used, center, 0.0), np.where(summary.used & (scale > 0), scale, 1.0)


def _check_squares(summary: DataSummary) -> None:
    """Refuse values whose squares leave the range in which `ExactMoments` is exact."""
    largest = np.maximum(np.abs(summary.minimum), np.abs(summary.maximum))[summary.used]
    roots = largest * np.sqrt(summary.weights[1])
    if (np.maximum(roots, np.sqrt(summary.weights[1])) > np.sqrt(LARGEST_SUM)).any():
        raise DataError(
            "squares of the values, or the weights, are too large for scaling 'zscore'; divide them by a number, or "
            "use another scaling"
        )
    if ((largest > 0) & (roots < np.sqrt(LEAST_SQUARE))).any():
        raise DataError(
            "squares of the values, or the weights, are too small for scaling 'zscore'; multiply them by a number, "
            "or use another scaling"
        )


def check_weights(summary: DataSummary, least: np.ndarray, most: np.ndarray) -> None:
    """Refuse samples' weights whose products with the values are beyond float64.

    Parameters
    ----------
    summary : DataSummary
    least, most : (K,) float64
        Between these lie the points; see `fixed_range`.

    Raises
    ------
    DataError
    """
    largest, heaviest = np.maximum(np.abs(least), np.abs(most)), summary.weights[1]
    with np.errstate(over="ignore", under="ignore"):
        products = np.append(largest[largest > 0], 1.0) * heaviest
    for wrong, change in (((products > LARGEST_SUM).any(), "divide"), ((products < LEAST_SUM).any(), "multiply")):
        if wrong:
            raise DataError(
                f"the samples' weights go up to {heaviest:g}, and with the values' sizes the sums are beyond "
                f"float64; {change} all weights by a number: only their ratios matter"
            )


def fitted(
    summary: DataSummary,
    *,
    scaling: Scaling = "none",
    metric: Metric = "euclidean",
    missing: Missing = "error",
    feature_weights: np.ndarray | None = None,
    weighted: bool = False,
    scaled_by: Preparation | None = None,
) -> Preparation:
    """How the samples of a summary become points of the map's space.

    Parameters
    ----------
    summary : DataSummary
    scaling, metric, missing
    feature_weights : (D,) float64, optional
        Of 0, a feature does not count, but the codebook tells its mean all the same: 2^-80 of the heaviest is taken.
    weighted : bool
        Whether the samples have weights.
    scaled_by : Preparation, optional
        Of a map that goes on: its features, scaling, feature weights and metric in place of those above.

    Raises
    ------
    DataError
        If no sample is left, or the scaled values are beyond float64.
    """
    if not summary.taken:
        why = " and ".join(
            text
            for number, text in ((summary.dropped, "lack values"), (summary.weightless, "weigh nothing"))
            if number
        )
        raise DataError(f"no sample is left: of {summary.samples} all {why}")
    # Where nothing is missing that matters, samples take the plain way.
    used = summary.used if scaled_by is None else scaled_by.used
    incomplete = summary.incomplete(used)
    how: dict[str, Any] = {"missing": missing if incomplete or summary.dropped else "error", "weighted": weighted}
    how["masked"] = missing == "mask" and incomplete
    if scaled_by is not None:
        result = replace(scaled_by, **how)
    else:
        center, scale = center_and_scale(scaling, summary)
        n_features = len(center)
        weights = np.ones(n_features) if feature_weights is None else np.array(feature_weights, dtype=np.float64)
        weights[weights == 0] = weights.max() * LEAST_WEIGHT
        result = Preparation(center, scale, weights, used, metric=metric, **how)
    least, most, _ = fixed_range(summary, result)
    if not (np.isfinite(least).all() and np.isfinite(most).all()):
        raise DataError("scaled values are beyond float64; choose another scaling than this for such values")
    if weighted:
        check_weights(summary, least, most)
    return result


def fixed_range(summary: DataSummary, preparation: Preparation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least and most of each coordinate of the points, and the binary exponent of small ones: three (K,) float64.

    For `som_dask.engine.batch.SharedCodebook.exact`. 0 and 0 for a feature of the map that none of the samples has.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        least, most = preparation.scaled(summary.minimum), preparation.scaled(summary.maximum)
    known = summary.used[preparation.used]
    least, most = np.where(known, least, 0.0), np.where(known, most, 0.0)
    if preparation.metric == "cosine":
        return np.full(len(least), -1.0), np.full(len(least), 1.0), np.full(len(least), float(SCALED_SMALL))
    if not preparation.changes_values:
        return least, most, summary.small[preparation.used]
    _, exponents = np.frexp(np.sqrt(preparation.feature_weights[preparation.used]))
    small = np.full(len(least), float(SCALED_SMALL))
    if not np.any(preparation.scale != 1):  # weighted features, in the data's own units
        small = summary.small[preparation.used]
    return least, most, small + exponents
