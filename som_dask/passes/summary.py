"""Summarize data in one pass: whether they are usable, their range, and a fingerprint that shows later changes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from som_dask.algorithm.feature_space import Missing
from som_dask.engine.block import Block, Tile, add_up_tiles
from som_dask.errors import DataError
from som_dask.numerics.scan import BIAS, scan_rows
from som_dask.numerics.sizes import HasSize
from som_dask.passes.draw import Draw, Drawing, Drawn
from som_dask.passes.run import Group, Pass, run_pass
from som_dask.passes.statistics import Scaling, statistic_for
from som_dask.samples.table import Samples

__all__ = ["DataSummary", "summarize", "summarize_block"]

CARRY_ROWS = 2**27  # a statistic can take twice as many rows before its carries must be resolved
MOST_NAMED = 5  # maximum number of blocks that a message names


@dataclass(frozen=True)
class DataSummary(HasSize):
    """Facts about some samples that the first pass collects; summaries of blocks add up in any order.

    Attributes
    ----------
    samples : int
        Number of all samples, including those that are left out.
    minimum, maximum : (D,) float64
        Range of the finite values of the samples that are not left out; +inf and -inf if there is none.
    nonfinite : int
        Number of values that can't be used: infinite values, and NaN unless values may be missing.
    bad_blocks : tuple of int
        Indices of the first few blocks that hold such values.
    fingerprint : int
        64-bit sum over all rows of a hash of the row and its row number. It is the same for any blocks, and different
        for other data or another order, except by a chance of 1 in 2^64.
    sizes : (3, D) int64
        Number of nonzero values, sum of their exponent bits, and sum of the squares of these.
    blocks : tuple of (int, int, int)
        First row number, number of rows and fingerprint of each block.
    gaps : (D,) int64
        Number of samples, out of all, in which the feature is NaN.
    known : (D,) int64
        Number of samples, out of those that are not left out, in which the feature is not NaN.
    dropped, weightless : int
        Number of samples that are left out because they lack values, and because their weight is zero.
    weights : (float, float)
        Smallest and largest weight of the samples that are not left out; (inf, -inf) if there is none.
    whole_weights : bool
        Whether all weights are integers.
    bad_weights : int
        Number of weights that are negative, infinite or NaN, of samples that do not lack values.
    statistic : optional
        Statistic of the values of the samples that are not left out, for their scaling.
    drawn : Drawn, optional
        Some of the samples that are not left out, drawn at random: values (k, D), or (k, 2 D) with their errors, and
        weights.
    errors : (2, D) float64, optional
        Smallest and largest errors of the values that are not missing, of the samples that are not left out; inf and
        -inf if there are none. None where values have no errors.
    bad_errors : int
        Number of errors that are not above 0, of values that are not missing.
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
    drawn: Drawn | None = None
    errors: np.ndarray | None = None
    bad_errors: int = 0

    def __add__(self, other: DataSummary) -> DataSummary:
        return DataSummary(
            self.samples + other.samples,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.nonfinite + other.nonfinite,
            tuple(sorted(self.bad_blocks + other.bad_blocks)[:MOST_NAMED]),
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
            None if self.drawn is None or other.drawn is None else self.drawn + other.drawn,
            _join_ranges(self.errors, other.errors),
            self.bad_errors + other.bad_errors,
        )

    @property
    def taken(self) -> int:
        """Number of samples that are not left out."""
        return self.samples - self.dropped - self.weightless

    @property
    def used(self) -> np.ndarray:
        """Whether some sample has the feature, (D,) bool."""
        return self.known > 0

    def incomplete(self, used: np.ndarray) -> bool:
        """Return whether a sample that is not left out lacks one of the features in `used`, (D,) bool."""
        return bool(np.any(used & (self.known < self.taken)))

    @property
    def small(self) -> np.ndarray:
        """Binary exponent of the small values of each feature, (D,) float64: mean minus three standard deviations.

        So small values keep their digits even if one value is far larger than all others, or if values come in two
        very different sizes.
        """
        number = np.maximum(self.sizes[0], 1)
        mean = self.sizes[1] / number
        deviation = np.sqrt(np.maximum(self.sizes[2] / number - mean * mean, 0))
        return np.where(self.sizes[0] > 0, mean - 3 * deviation - BIAS, 0.0)


def _join_ranges(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
    if one is None or other is None:
        return None
    return np.stack([np.minimum(one[0], other[0]), np.maximum(one[1], other[1])])


def summarize(
    samples: Samples, missing: Missing = "error", scaling: Scaling = "none", draw: Draw | None = None
) -> DataSummary:
    """Summarize samples in a first pass: number, range, fingerprint, gaps, weights, and what their scaling needs.

    Parameters
    ----------
    samples : Samples
    missing : {"error", "drop", "mask"}
    scaling : {"none", "zscore", "range", "robust"}
    draw : Draw, optional
        Samples to draw in the same pass.

    Returns
    -------
    DataSummary

    Raises
    ------
    DataError
        If a value is infinite, or NaN although none may be missing; the message gives their number and the first
        blocks. If the weight of a sample that is not left out for its values is negative or not finite.
    ParameterError
        If the scaling needs a package that is not installed.
    """
    statistic_for(scaling)  # raises if a package is not installed
    look = Pass(name="summary", of_group=functools.partial(_summarize_group, missing, scaling, draw))
    summary: DataSummary = run_pass(look, samples)
    _refuse_bad(summary, samples, missing)
    return summary


def _summarize_group(missing: Missing, scaling: Scaling, draw: Draw | None, group: Group, _: None) -> DataSummary:
    (block,) = group.blocks
    return summarize_block(block, group.indices[0], missing, statistic_for(scaling), draw)


def _refuse_bad(summary: DataSummary, samples: Samples, missing: Missing) -> None:
    """Refuse weights and values that can't be used."""
    if summary.bad_weights:
        raise DataError(
            f"the weights of {samples.description} hold {summary.bad_weights} that are negative or not finite; "
            f"weights are 0 or more, and may be NaN only for samples that are left out"
        )
    if summary.bad_errors:
        raise DataError(
            f"the errors of {samples.description} hold {summary.bad_errors} that are not above 0; give those values "
            f"an error, or make them missing: NaN"
        )
    if summary.nonfinite:
        starts = samples.block_starts
        blocks = ", ".join(
            f"{i} (rows {starts[i]} to {starts[i] + samples.block_rows[i] - 1})" for i in summary.bad_blocks
        )
        kind, remedy = "NaN or infinite", "remove or fill those samples"
        if missing != "error":
            kind, remedy = "infinite", "they can't be left out; replace them, by NaN if they are missing"
        elif summary.nonfinite == summary.gaps.sum() or not summary.gaps.any():
            remedy += ', or leave NaN out with `missing="drop"` or `missing="mask"`'
        raise DataError(
            f"{samples.description} holds {summary.nonfinite} {kind} values, in block {blocks}"
            f"{' and perhaps more' if len(summary.bad_blocks) >= MOST_NAMED else ''}; {remedy}"
        )


def summarize_block(
    block: Block,
    index: int = 0,
    missing: Missing = "error",
    statistic: Callable[[int], Any] | None = None,
    draw: Draw | None = None,
) -> DataSummary:
    """Summarize one block.

    Parameters
    ----------
    block : Block
    index : int
        Index of the block.
    missing : {"error", "drop", "mask"}
        How samples that lack values are treated; see `som_dask.algorithm.feature_space.FeatureSpace`.
    statistic : callable, optional
        Makes the statistic for D features, an object whose `add` takes values (n, D) and weights (n,) or None.
    draw : Draw, optional
        Samples to draw.

    Returns
    -------
    DataSummary
    """
    return add_up_tiles(block, _BlockSummary(block, index, missing, statistic, draw))


class _BlockSummary:
    """Summary of a block, added up tile by tile."""

    def __init__(
        self,
        block: Block,
        index: int,
        missing: Missing,
        statistic: Callable[[int], Any] | None,
        draw: Draw | None,
    ) -> None:
        n_features = block.shape[1]
        self.index, self.missing, self.first = index, missing, block.numbers.first
        self.minimum, self.maximum = np.full(n_features, np.inf), np.full(n_features, -np.inf)
        self.sizes = np.zeros((3, n_features), dtype=np.int64)
        self.gaps, self.known = np.zeros((2, n_features), dtype=np.int64)
        self.samples = self.nonfinite = self.fingerprint = self.bad_weights = self.uncarried = 0
        self.dropped = self.weightless = 0
        self.weights, self.whole_weights = (np.inf, -np.inf), True
        self.statistic = None if statistic is None else statistic(n_features)
        weighted = block.weights is not None
        self.drawing = None if draw is None else Drawing(draw, block.source.shape[1], weighted=weighted)
        self.errors = np.array([[np.inf], [-np.inf]]).repeat(n_features, axis=1) if block.with_errors else None
        self.bad_errors = 0

    def add(self, tile: Tile) -> None:
        """Add the samples of a tile."""
        values, weights, taken = tile.values, tile.weights, None
        self.fingerprint += tile.fingerprint
        if tile.errors is not None:
            self._enter_errors(tile)
        self.samples += len(values)
        if weights is None and self.missing == "error" and tile.errors is None:
            self._enter_weights(np.ones(min(len(values), 1)))
            bad = int(scan_rows(values, values.view(np.uint64), self.minimum, self.maximum, self.sizes))
            self.nonfinite += bad
            self.known += len(values)
        else:
            values, weights, taken = self._take(values, weights)
            scan_rows(values, values.view(np.uint64), self.minimum, self.maximum, self.sizes)
            self.known += len(values) - np.count_nonzero(np.isnan(values), axis=0)
        if self.statistic is not None:
            self.statistic.add(values, weights)
            self.uncarried += len(values)
            if self.uncarried > CARRY_ROWS:
                self.statistic, self.uncarried = self.statistic.carry(), 0
        if self.drawing is not None:
            rows = None if taken is None else np.flatnonzero(taken)
            columns = values if tile.errors is None else tile.columns[rows]
            self.drawing.add(tile.numbers, columns, weights, rows)

    def _enter_errors(self, tile: Tile) -> None:
        """Enter the errors of the values that are not missing, whose errors are not infinite."""
        assert tile.errors is not None
        assert self.errors is not None
        self.bad_errors += int(np.count_nonzero(~(tile.errors > 0)))
        known = np.isfinite(tile.errors)
        self.errors = _join_ranges(
            self.errors,
            np.stack(
                [
                    np.min(tile.errors, axis=0, where=known, initial=np.inf),
                    np.max(tile.errors, axis=0, where=known, initial=-np.inf),
                ]
            ),
        )

    def _take(
        self, values: np.ndarray, weights: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return the samples that are not left out, their weights, and which they are; count the others."""
        lacking = np.isnan(values)
        self.nonfinite += int(np.count_nonzero(np.isinf(values)))
        self.gaps += lacking.sum(axis=0)
        if self.missing == "error":
            self.nonfinite += int(np.count_nonzero(lacking))
        out = lacking.all(axis=1) if self.missing == "mask" else lacking.any(axis=1)
        taken, weightless = ~out, np.zeros(len(values), dtype=bool)
        if weights is not None:
            # Of a sample that is left out anyway the weight does not matter: where data are missing, so are areas.
            self.bad_weights += int(np.count_nonzero(~out & ~(np.isfinite(weights) & (weights >= 0))))
            taken, weightless = taken & (weights > 0), ~(weights > 0) & ~(out & np.isnan(weights))
        self.weightless += int(weightless.sum())
        self.dropped += int((out & ~weightless).sum())
        if not taken.all():
            values, weights = values[taken], None if weights is None else weights[taken]
        self._enter_weights(np.ones(min(len(values), 1)) if weights is None else weights)
        return values, weights, taken

    def _enter_weights(self, weights: np.ndarray) -> None:
        lightest, heaviest = self.weights
        self.weights = min(lightest, weights.min(initial=np.inf)), max(heaviest, weights.max(initial=-np.inf))
        self.whole_weights &= bool(np.all(weights == np.rint(weights)))

    def result(self) -> DataSummary:
        """Return the summary of all tiles."""
        fingerprint = self.fingerprint % 2**64
        return DataSummary(
            self.samples,
            self.minimum,
            self.maximum,
            self.nonfinite,
            (self.index,) if self.nonfinite else (),
            fingerprint,
            self.sizes,
            ((self.first, self.samples, fingerprint),) if self.samples else (),
            self.gaps,
            self.known,
            self.dropped,
            self.weightless,
            (float(self.weights[0]), float(self.weights[1])),
            self.whole_weights,
            self.bad_weights,
            None if self.statistic is None else self.statistic.carry(),
            None if self.drawing is None else self.drawing.result(),
            self.errors,
            self.bad_errors,
        )
