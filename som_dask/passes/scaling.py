"""Scale features by what the first pass over the data found, and check that exact sums can hold the points."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from som_dask.algorithm.feature_space import LEAST_INVERSE, FeatureSpace, Missing
from som_dask.algorithm.metrics import Metric
from som_dask.errors import DataError
from som_dask.passes.statistics import Scaling
from som_dask.passes.summary import DataSummary

__all__ = ["check_weights", "find_center_and_scale", "fit_space", "range_of_points", "shares_of_values"]

LEAST_WEIGHT = 2.0**-80
LARGEST_SUM, LEAST_SUM, LEAST_SQUARE = 2.0**990, 2.0**-970, 2.0**-860  # sums keep all digits between these
SCALED_SMALL = -10  # binary exponent: scaled values below a thousandth of their scale need no digits of their own


def find_center_and_scale(scaling: Scaling, summary: DataSummary) -> tuple[np.ndarray, np.ndarray]:
    """Find the center that is subtracted from each feature, and the scale that it is then divided by.

    ======== ======== =====================================================================
    scaling  center   scale
    ======== ======== =====================================================================
    none     0        1
    zscore   mean     standard deviation (divided by the number of samples, not one less)
    range    minimum  maximum - minimum
    robust   median   difference of the quartiles
    ======== ======== =====================================================================

    These are taken over the samples that are not left out, with their weights, and over values that are not missing.
    A feature that does not vary is divided by 1.

    Parameters
    ----------
    scaling : {"none", "zscore", "range", "robust"}
    summary : DataSummary
        Summary of all samples, with the statistic of `statistic_for`.

    Returns
    -------
    center, scale : (D,) float64
        0 and 1 for a feature that no sample has.

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
    """Refuse values whose squares are outside the range in which `ExactMoments` is exact."""
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


def check_weights(
    summary: DataSummary,
    least: np.ndarray,
    most: np.ndarray,
    shares: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Refuse weights of samples or values whose products with the values are beyond float64.

    Parameters
    ----------
    summary : DataSummary
    least, most : (K,) float64
        Smallest and largest coordinates of the points; see `range_of_points`.
    shares : ((K,), (K,)) float64, optional
        Of the values; see `shares_of_values`.

    Raises
    ------
    DataError
        If a product, or a weight, is too large or too small for sums in float64.
    """
    largest, heaviest = np.maximum(np.abs(least), np.abs(most)), summary.weights[1]
    with np.errstate(over="ignore", under="ignore"):
        heavy = np.ones(len(largest)) if shares is None else shares[1]
        products = np.concatenate([(largest * heavy)[largest > 0], heavy, [1.0]]) * heaviest
    for wrong, change in (((products > LARGEST_SUM).any(), "divide"), ((products < LEAST_SUM).any(), "multiply")):
        if wrong and shares is not None:
            raise DataError(
                "values over the squares of their errors are beyond float64; check the units of the errors"
            )
        if wrong:
            raise DataError(
                f"the samples' weights go up to {heaviest:g}, and with the values' sizes the sums are beyond "
                f"float64; {change} all weights by a number: only their ratios matter"
            )


def fit_space(
    summary: DataSummary,
    *,
    scaling: Scaling = "none",
    metric: Metric = "euclidean",
    missing: Missing = "error",
    feature_weights: np.ndarray | None = None,
    weighted: bool = False,
    scaled_by: FeatureSpace | None = None,
) -> FeatureSpace:
    """Decide how the samples of a summary become points of the map's space.

    Parameters
    ----------
    summary : DataSummary
    scaling : {"none", "zscore", "range", "robust"}
    metric : {"euclidean", "cosine", "correlation", "manhattan"}
    missing : {"error", "drop", "mask"}
    feature_weights : (D,) float64, optional
        A feature of weight 0 does not count, but the codebook still holds its mean: its weight becomes 2^-80 times
        the largest.
    weighted : bool
        Whether the samples have weights.
    scaled_by : FeatureSpace, optional
        The space of a map that goes on training: its features, scaling, feature weights and metric are used instead
        of those above.

    Returns
    -------
    FeatureSpace

    Raises
    ------
    DataError
        If no sample is left, or if scaled values or weighted sums are beyond float64.
    """
    if not summary.taken:
        why = " and ".join(
            text
            for number, text in ((summary.dropped, "lack values"), (summary.weightless, "weigh nothing"))
            if number
        )
        raise DataError(f"no sample is left: of {summary.samples} all {why}")
    # If no value that matters is missing, samples take the faster path without gaps.
    used = summary.used if scaled_by is None else scaled_by.used
    incomplete = summary.incomplete(used)
    how: dict[str, Any] = {"missing": missing if incomplete or summary.dropped else "error", "weighted": weighted}
    how["gaps"] = missing == "mask" and incomplete
    how["value_errors"] = summary.errors is not None
    if scaled_by is not None:
        result = replace(scaled_by, **how)
    else:
        center, scale = find_center_and_scale(scaling, summary)
        n_features = len(center)
        weights = np.ones(n_features) if feature_weights is None else np.array(feature_weights, dtype=np.float64)
        weights[weights == 0] = weights.max() * LEAST_WEIGHT
        result = FeatureSpace(center, scale, weights, used, metric=metric, **how)
    least, most, _ = range_of_points(summary, result)
    if not (np.isfinite(least).all() and np.isfinite(most).all()):
        raise DataError("scaled values are beyond float64; choose another scaling than this for such values")
    if weighted or result.value_errors:
        check_weights(summary, least, most, shares_of_values(summary, result) if result.value_errors else None)
    return result


def shares_of_values(summary: DataSummary, space: FeatureSpace) -> tuple[np.ndarray, np.ndarray]:
    """Return the range of 1 over the squared errors of each coordinate of the points: least and most, (K,) float64.

    1 where values have no errors, and for a feature of the map that none of the samples has.

    Raises
    ------
    DataError
        If a square is beyond float64.
    """
    ones = np.ones(space.n_used)
    if summary.errors is None:
        return ones, ones
    known, scale = summary.used[space.used], space.scale[space.used]
    with np.errstate(over="ignore", under="ignore"):
        low, high = (np.where(known, scale / np.where(known, e[space.used], 1.0), 1.0) for e in summary.errors[::-1])
    if (low <= LEAST_INVERSE).any() or (high >= 1 / LEAST_INVERSE).any():
        raise DataError(
            "the errors are so small or so large beside the scale of their feature that their squares are beyond "
            "float64; check their units, or make those values missing"
        )
    return low * low, high * high


def range_of_points(summary: DataSummary, space: FeatureSpace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the range of each coordinate of the points, for `som_dask.engine.codebook.scales_for`.

    Parameters
    ----------
    summary : DataSummary
    space : FeatureSpace

    Returns
    -------
    least, most : (K,) float64
        Smallest and largest coordinates; 0 and 0 for a feature of the map that none of the samples has.
    small : (K,) float64
        Binary exponents of small coordinates; see `DataSummary.small`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        least, most = space.scale_values(summary.minimum), space.scale_values(summary.maximum)
    known = summary.used[space.used]
    least, most = np.where(known, least, 0.0), np.where(known, most, 0.0)
    if space.rule.on_sphere:
        return np.full(len(least), -1.0), np.full(len(least), 1.0), np.full(len(least), float(SCALED_SMALL))
    if not space.changes_values:
        return least, most, summary.small[space.used]
    _, exponents = np.frexp(space.factors[space.used])
    small = np.full(len(least), float(SCALED_SMALL))
    if not np.any(space.scale != 1):  # features are weighted, but in the data's units
        small = summary.small[space.used]
    return least, most, small + exponents
