"""Statistics that the first pass collects for the scaling of features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from som_dask.errors import ParameterError
from som_dask.numerics.exact_moments import ExactMoments

__all__ = ["Quantiles", "Scaling", "statistic_for"]

Scaling = Literal["none", "zscore", "range", "robust"]

QUARTERS = (0.25, 0.5, 0.75)


class Quantiles:
    """Quantiles of each feature from one pass, computed by t-digests of the package crick.

    A t-digest (Dunning and Ertl, *Computing extremely accurate quantiles using t-digests*, 2019) keeps a few hundred
    weighted means, which are finer toward both ends. With crick's compression of 100, the rank of a quartile is off
    by a few thousandths of the samples. Digests are merged in the order of the blocks, so they are the same in every
    run with the same blocks; other blocks may change them within that error.

    Parameters
    ----------
    digests : list of crick.TDigest
        One for each feature.
    """

    def __init__(self, digests: list[Any]) -> None:
        self.digests = digests

    @classmethod
    def zero(cls, n_features: int) -> Quantiles:
        """Make empty quantiles for D features.

        Raises
        ------
        ParameterError
            If crick is missing.
        """
        return cls([_digest_type()() for _ in range(n_features)])

    def add(self, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add samples, (n, D) float64 with NaN where missing, in place; `weights` are (n,) float64."""
        for j, digest in enumerate(self.digests):
            known = ~np.isnan(values[:, j])
            if known.any():
                digest.update(values[known, j], 1.0 if weights is None else weights[known])

    def carry(self) -> Quantiles:
        """Return these quantiles: digests have no carries to resolve."""
        return self

    def __add__(self, other: Quantiles) -> Quantiles:
        result = Quantiles.zero(len(self.digests))
        for digest, *both in zip(result.digests, self.digests, other.digests, strict=True):
            digest.merge(*(one for one in both if one.size() > 0))
        return result

    def quartiles(self) -> np.ndarray:
        """Return the three quartiles of each feature, (3, D) float64; NaN for a feature without values."""
        return np.array([digest.quantile(QUARTERS) for digest in self.digests]).reshape(-1, 3).T


def _digest_type() -> Any:
    try:
        from crick import TDigest
    except ImportError as error:
        raise ParameterError("scaling 'robust' needs crick: pip install 'som_dask[robust]'") from error
    return TDigest


def statistic_for(scaling: Scaling) -> Callable[[int], Any] | None:
    """Return the function that makes, for D features, the statistic that a scaling needs; None if it needs none.

    Raises
    ------
    ParameterError
        If crick, which "robust" needs, is missing.
    """
    if scaling == "robust":
        _digest_type()
    return {"zscore": ExactMoments.zero, "robust": Quantiles.zero}.get(scaling)
