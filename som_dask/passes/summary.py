"""One pass over the data before training: is it usable, what is its range, is it the same data as before?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from som_dask.algorithm.feature_space import Missing
from som_dask.engine.batch import tiles_of
from som_dask.engine.row_numbers import Rows, numbers_of
from som_dask.numerics.hashing import BIAS, fingerprint_of, scan_rows

__all__ = ["DataSummary", "block_summary"]

CARRY_ROWS = 2**27  # a statistic takes twice as many before it must be carried


@dataclass(frozen=True)
class DataSummary:
    """What the first pass learns of some samples; summaries of blocks add up in any order.

    Attributes
    ----------
    samples : int
        All of them.
    minimum, maximum : (D,) float64
        Over the finite values of the samples taken; +inf and -inf where there is none.
    nonfinite : int
        Number of values that can't be used: infinite, and NaN unless values may be missing.
    bad_blocks : tuple of int
        Indices of blocks that hold them, the lowest few.
    fingerprint : int
        64-bit sum over all rows of a hash of the row and its position: the same for any chunking, different
        (but for one chance in 2^64) for other data or another order.
    sizes : (3, D) int64
        Number of values other than zero, sum of their exponents' bits, sum of the squares of those.
    blocks : tuple of (int, int, int)
        First row, number of rows and fingerprint of each block.
    gaps : (D,) int64
        How often each feature is NaN, in all samples.
    known : (D,) int64
        How often it is not, in the samples taken.
    dropped, weightless : int
        Samples that are left out for the values that they lack, and for their weight, which is zero.
    weights : (float, float)
        The lightest and the heaviest of the samples taken; (inf, -inf) where there is none.
    whole_weights : bool
        Whether all weights are whole numbers.
    bad_weights : int
        Weights that are negative, infinite or NaN.
    statistic : optional
        Of the values of the samples taken, for their scaling.
    """

    samples: int
    minimum: np.ndarray
    maximum: np.ndarray
    nonfinite: int
    bad_blocks: tuple[int, ...]
    fingerprint: int
    sizes: np.ndarray
    blocks: tuple[tuple[int, int, int], ...]
    gaps: np.ndarray
    known: np.ndarray
    dropped: int = 0
    weightless: int = 0
    weights: tuple[float, float] = (np.inf, -np.inf)
    whole_weights: bool = True
    bad_weights: int = 0
    statistic: Any = None

    def __add__(self, other: DataSummary) -> DataSummary:
        return DataSummary(
            self.samples + other.samples,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.nonfinite + other.nonfinite,
            tuple(sorted(self.bad_blocks + other.bad_blocks)[:5]),
            (self.fingerprint + other.fingerprint) % 2**64,
            self.sizes + other.sizes,
            tuple(sorted(self.blocks + other.blocks)),
            self.gaps + other.gaps,
            self.known + other.known,
            self.dropped + other.dropped,
            self.weightless + other.weightless,
            (min(self.weights[0], other.weights[0]), max(self.weights[1], other.weights[1])),
            self.whole_weights and other.whole_weights,
            self.bad_weights + other.bad_weights,
            None if self.statistic is None else self.statistic + other.statistic,
        )

    @property
    def taken(self) -> int:
        """Samples that are not left out."""
        return self.samples - self.dropped - self.weightless

    @property
    def used(self) -> np.ndarray:
        """Features that are known of some sample, (D,) bool."""
        return self.known > 0

    def incomplete(self, used: np.ndarray) -> bool:
        """Whether some sample taken lacks one of the features used, (D,) bool."""
        return bool(np.any(used & (self.known < self.taken)))

    @property
    def small(self) -> np.ndarray:
        """Binary exponents, (D,) float64, of values that are small and yet many: mean less three deviations.

        Where one value dwarfs all others, or they come in two sizes far apart, it is that of the others.
        """
        number = np.maximum(self.sizes[0], 1)
        mean = self.sizes[1] / number
        deviation = np.sqrt(np.maximum(self.sizes[2] / number - mean * mean, 0))
        return np.where(self.sizes[0] > 0, mean - 3 * deviation - BIAS, 0.0)


def block_summary(
    block: Any,
    index: int,
    rows: Rows,
    missing: Missing = "error",
    statistic: Callable[[int], Any] | None = None,
) -> DataSummary:
    """Summary of one block.

    Parameters
    ----------
    block : (n, D) array of real numbers
        Or what `chunk_sums` takes; with the weights of its samples as an attribute if they have any.
    index : int
        Number of the block.
    rows : int or BlockRows
        Which row of the data its first one is, or all of them.
    missing : {"error", "drop", "mask"}
        What becomes of samples that lack values; see `som_dask.algorithm.feature_space.Preparation`.
    statistic : callable, optional
        Gives for D features an object to `add` values (n, D) and weights (n,) or None to.
    """
    n_features = block.shape[1]
    minimum, maximum = np.full(n_features, np.inf), np.full(n_features, -np.inf)
    sizes = np.zeros((3, n_features), dtype=np.int64)
    gaps, known = np.zeros(n_features, dtype=np.int64), np.zeros(n_features, dtype=np.int64)
    samples = nonfinite = fingerprint = dropped = weightless = bad_weights = uncarried = 0
    lightest, heaviest, whole_weights = np.inf, -np.inf, True
    kept = None if statistic is None else statistic(n_features)
    for tile in tiles_of(block):
        values, weights = tile.values, tile.weights
        fingerprint += fingerprint_of(values, weights, numbers_of(rows, tile.start, len(values)))
        samples += len(values)
        if weights is not None:
            bad_weights += int(np.count_nonzero(~(np.isfinite(weights) & (weights >= 0))))
        if weights is None and missing == "error":
            lightest, heaviest = min(lightest, 1.0), max(heaviest, 1.0)
        else:
            lacking = np.isnan(values)
            nonfinite += int(np.count_nonzero(np.isinf(values)))
            gaps += lacking.sum(axis=0)
            if missing == "error":
                nonfinite += int(np.count_nonzero(lacking))
            heavy = np.ones(len(values), dtype=bool) if weights is None else weights > 0
            out = lacking.all(axis=1) if missing == "mask" else lacking.any(axis=1)
            taken = heavy & ~out
            weightless, dropped = weightless + int((~heavy).sum()), dropped + int((heavy & out).sum())
            if not taken.all():
                values, weights = values[taken], None if weights is None else weights[taken]
            some = np.ones(min(len(values), 1)) if weights is None else weights
            lightest, heaviest = min(lightest, some.min(initial=np.inf)), max(heaviest, some.max(initial=-np.inf))
            whole_weights &= bool(np.all(some == np.rint(some)))
        bad = int(scan_rows(values, values.view(np.uint64), minimum, maximum, sizes))
        if tile.weights is None and missing == "error":
            nonfinite, known = nonfinite + bad, known + len(values)
        else:
            known += len(values) - np.count_nonzero(np.isnan(values), axis=0)
        if kept is not None:
            kept.add(values, weights)
            uncarried += len(values)
            if uncarried > CARRY_ROWS:
                kept, uncarried = kept.carried(), 0
    fingerprint %= 2**64
    return DataSummary(
        samples,
        minimum,
        maximum,
        nonfinite,
        (index,) if nonfinite else (),
        fingerprint,
        sizes,
        ((rows if isinstance(rows, int) else rows.first, samples, fingerprint),) if samples else (),
        gaps,
        known,
        dropped,
        weightless,
        (float(lightest), float(heaviest)),
        whole_weights,
        bad_weights,
        None if kept is None else kept.carried(),
    )
