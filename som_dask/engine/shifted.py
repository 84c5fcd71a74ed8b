"""A codebook shifted and scaled, as every search in float32 takes it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

__all__ = ["FAR", "ShiftedCodebook", "shift_codebook"]

FAR = np.float32(1e38)  # score of a place without a node: above every real one
MOST_EXPONENT = 1000  # of the scale, which and whose inverse are to be normal numbers


class ShiftedCodebook(NamedTuple):
    """A codebook less its mean, times a power of two that brings its largest entry near 1.

    Shifting matters: without it float32 scores of data like 1000 +- 0.01 have no correct digit left.

    Attributes
    ----------
    codebook : (M, K) float64
        As it is.
    center : (K,) float64
    scale : float
    shifted : (M, K) float64
        ``(codebook - center) scale``.
    half_norms : (M,) float64
        ``|w|^2 / 2`` of the shifted nodes.
    radius : float
        R, the largest ``|w|``.
    """

    codebook: np.ndarray
    center: np.ndarray
    scale: float
    shifted: np.ndarray
    half_norms: np.ndarray
    radius: float


def shift_codebook(codebook: np.ndarray) -> ShiftedCodebook:
    """Shift and scale a codebook, (M, K) float64 and finite."""
    codebook = np.array(codebook, dtype=np.float64, order="C")
    center = codebook.mean(axis=0)
    shifted = codebook - center
    largest = float(np.abs(shifted).max(initial=0.0))
    exponent = min(max(math.frexp(largest)[1], -MOST_EXPONENT), MOST_EXPONENT)
    scale = 2.0**-exponent if largest > 0 else 1.0
    shifted *= scale
    squared_norms = np.sum(shifted * shifted, axis=1)
    return ShiftedCodebook(
        codebook, center, scale, shifted, squared_norms / 2, math.sqrt(float(squared_norms.max(initial=0.0)))
    )
