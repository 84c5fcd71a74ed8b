"""The plane of the two largest principal components of all samples, from which a map may start."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.errors import DataError
from som_dask.numerics.eigen import principal_components
from som_dask.passes.plane_moments import Quantizer, measure_plane
from som_dask.passes.plane_products import iterate_plane
from som_dask.passes.summary import DataSummary
from som_dask.samples.table import Samples

__all__ = ["Plane", "find_plane"]

# With more features than this, the covariance is never formed. It would take more memory than the products with some
# vectors do, (K, K) against (64, K), and about as many operations for each sample.
WIDE = 2048


class Plane(NamedTuple):
    """A plane in the map's space.

    Attributes
    ----------
    mean : (K,) float64
    deviations : (k,) float64
        Standard deviations along the components, largest first. k is 2, or 1 if K = 1.
    directions : (k, K) float64
        Unit vectors.
    """

    mean: np.ndarray
    deviations: np.ndarray
    directions: np.ndarray


def find_plane(samples: Samples, summary: DataSummary, space: FeatureSpace) -> Plane:
    """Find the plane of the two largest principal components: the same bits for any blocks, in any order.

    Up to 2,048 features, one pass over the samples measures their covariance. With more features, some passes measure
    its products with vectors; see `som_dask.passes.plane_products.iterate_plane`. Only the number of features decides
    which of the two is done.

    Parameters
    ----------
    samples : Samples
    summary : DataSummary
        Summary of these samples.
    space : FeatureSpace

    Returns
    -------
    Plane

    Raises
    ------
    DataError
        If values are too large.
    """
    quantizer = Quantizer.of(summary, space)
    with np.errstate(over="ignore", invalid="ignore"):
        if space.n_used > WIDE:
            plane = Plane(*iterate_plane(samples, quantizer, space, summary.taken))
            _check_finite(plane.deviations, samples)
            return plane
        mean, covariance = measure_plane(samples, quantizer, space).mean_and_covariance(quantizer)
    _check_finite(covariance, samples)
    return Plane(mean, *principal_components(covariance))


def _check_finite(found: np.ndarray, samples: Samples) -> None:
    if not np.isfinite(found).all():
        raise DataError(
            f"{samples.description} has values too large for a covariance in float64; "
            f"scale them, or use another initialization than pca"
        )
