"""Search for best matching units by array operations of any namespace: a reference for the compiled searches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from som_dask.engine.accumulate import normalize
from som_dask.engine.partial import ExactPartial
from som_dask.numerics.fixed_point import LIMB_BITS, join_limbs
from som_dask.numerics.hashing import fingerprint_of
from tests.reference.array_functions import (
    as_numpy,
    namespace_of,
    put_at,
    put_in_rows,
    put_masked,
    segment_sums,
)

__all__ = ["Matches", "PreparedCodebook", "add_up_by_arrays", "find_bmus", "prepare"]

LEAST_SQUARE = 1e-280  # below it a sum of squares may have lost digits to underflow
UNIT_ROUNDOFF_32, UNIT_ROUNDOFF_64 = 2.0**-24, 2.0**-53
LARGEST_NORM = 1e30  # of a scaled sample: beyond it a float32 product might overflow
# Scores of one tile, tile_rows x M float32: small enough to stay in a core's cache, large enough for GEMM.
TILE_BYTES = 4 * 2**20
MIN_TILE_ROWS, MAX_TILE_ROWS = 64, 4096
PAIRS_AT_ONCE = 2**20  # so that a tile full of ties needs little more memory than any other


@dataclass(frozen=True)
class PreparedCodebook:
    """A codebook made ready for `find_bmus`; built by `prepare`.

    Attributes
    ----------
    codebook : (M, D) float64
    center : (D,) float64
        Mean of the codebook; samples and codebook are shifted by it before they are rounded to float32.
    scale : float
        Power of two that brings the shifted codebook's largest entry near 1.
    proposal : (D + 1, M) float32
        The shifted, scaled codebook w, negated and transposed, above a row of ``|w|^2 / 2``: a sample with a 1
        appended, times this, is its scores.
    radius : float
        R, the largest ``|w|`` of the shifted, scaled codebook.
    """

    codebook: Any
    center: Any
    scale: float
    proposal: Any
    radius: float

    @property
    def tile_rows(self) -> int:
        """Number of samples scored at once."""
        rows = TILE_BYTES // (4 * self.codebook.shape[0])
        return min(max(rows, MIN_TILE_ROWS), MAX_TILE_ROWS)


@dataclass(frozen=True)
class Matches:
    """What `find_bmus` found, one entry a sample.

    Attributes
    ----------
    bmu : (n,) int64
        Flat index of the best matching unit; the lowest index on ties.
    second : (n,) int64
        Flat index of the second best; equal to `bmu` on a map of one node.
    distance : (n,) float64
        Euclidean distance to the best matching unit, in the data's units.
    """

    bmu: Any
    second: Any
    distance: Any


def prepare(codebook: Any) -> PreparedCodebook:
    """Make a codebook, (M, D) float64 and finite, ready for the search.

    Shifting by the codebook's mean matters: without it float32 scores of data like 1000 +- 0.01 have no
    correct digit left.
    """
    xp = namespace_of(codebook)
    center = xp.mean(codebook, axis=0)
    shifted = codebook - center
    largest = float(xp.max(xp.abs(shifted)))
    # The exponent is held where the scale and its inverse are normal numbers.
    scale = 2.0 ** -min(max(math.frexp(largest)[1], -1000), 1000) if largest > 0 else 1.0
    shifted = shifted * scale
    squared_norms = xp.sum(shifted * shifted, axis=1)
    return PreparedCodebook(
        codebook=codebook,
        center=center,
        scale=scale,
        proposal=xp.astype(xp.concat([-shifted.T, squared_norms[None, :] / 2]), xp.float32),
        radius=math.sqrt(float(xp.max(squared_norms))),
    )


def find_bmus(samples: Any, prepared: PreparedCodebook, *, need_second: bool = True) -> Matches:
    r"""Best and second best matching units of one tile of samples.

    The result is that of the plain rule ``bmu = argmin_i sum_j (x_j - w_ij)^2`` in float64 (features added in
    order), lowest index on ties. How it is found: with shifted and scaled x and w the scores
    ``s_i = |w_i|^2 / 2 - x . w_i`` are half the squared distances less the same ``|x|^2 / 2``. They are computed
    by one float32 matrix product with D + 1 terms. In whatever order it adds, a score's error is at most

    ``b = gamma R (|x| + R) + (D + 3) v (|x| + R)^2``,  gamma = (D + 5) u / (1 - (D + 5) u),

    with R = max |w|, u = 2^-24 and v = 2^-53: rounding x and w to float32 costs 2 u |x| R, rounding |w|^2 / 2 at
    most u R^2, the product (D + 1) u (|x| R + R^2) to first order (Higham, *Accuracy and Stability of Numerical
    Algorithms*, 2nd ed., 2002, section 3.1), and the last term is the rounding of the float64 rule itself. A
    node whose score lies more than 2 b above the lowest can't be the best. Rows where this leaves any choice,
    or where float32 might overflow, are settled by the plain rule among the nodes left.

    Parameters
    ----------
    samples : (n, D) array of real numbers, finite
        A tile: n x M scores in float32 are held in memory.
    prepared : PreparedCodebook
        Of the same array namespace as `samples`.
    need_second : bool
        Without it `second` repeats `bmu` and the search is faster.

    Returns
    -------
    Matches
    """
    xp = namespace_of(samples)
    samples = xp.astype(samples, xp.float64)
    n_nodes, n_features = prepared.codebook.shape
    if prepared.radius == 0:  # all nodes alike: the lowest index wins every tie
        bmu = xp.zeros(samples.shape[0], dtype=xp.int64)
        return Matches(bmu, bmu + (1 if need_second and n_nodes > 1 else 0), _distance(samples, prepared, bmu))

    shifted = (samples - prepared.center) * prepared.scale
    norms = xp.sqrt(xp.sum(shifted * shifted, axis=1))
    radius, terms = prepared.radius, n_features + 5
    gamma = terms * UNIT_ROUNDOFF_32 / (1 - terms * UNIT_ROUNDOFF_32)
    bound = gamma * radius * (norms + radius) + terms * UNIT_ROUNDOFF_64 * (norms + radius) ** 2
    safe = norms < LARGEST_NORM
    bound = xp.where(safe, bound, xp.inf)
    shifted = xp.where(safe[:, None], shifted, 0.0)

    ones = xp.ones((samples.shape[0], 1), dtype=xp.float32)
    scores = xp.concat([xp.astype(shifted, xp.float32), ones], axis=1) @ prepared.proposal
    # The last of the 1 or 2 winners and the first of the losers decide whether a row is certain.
    bmu = xp.argmin(scores, axis=1)
    lowest = xp.min(scores, axis=1)
    scores = put_in_rows(scores, bmu, xp.inf)
    second, last = bmu, lowest
    certain = xp.ones(bmu.shape, dtype=xp.bool)
    if need_second and n_nodes > 1:
        second = xp.argmin(scores, axis=1)
        last = xp.min(scores, axis=1)
        certain = last - lowest > 2 * bound
        scores = put_in_rows(scores, second, xp.inf)
    certain = certain & (xp.min(scores, axis=1) - last > 2 * bound)
    (rows,) = xp.nonzero(~certain)
    limit = xp.astype(last, xp.float64) + 2 * bound
    step = max(1, PAIRS_AT_ONCE // n_nodes)
    for start in range(0, rows.shape[0], step):
        some = rows[start : min(start + step, rows.shape[0])]
        nodes = xp.arange(n_nodes)[None, :]
        candidates = ~(xp.take(scores, some, axis=0) > xp.take(limit, some)[:, None])
        candidates = candidates | (nodes == xp.take(bmu, some)[:, None]) | (nodes == xp.take(second, some)[:, None])
        settled = _settle(xp.take(samples, some, axis=0), prepared, candidates, need_second)
        bmu, second = put_at(bmu, some, settled[0]), put_at(second, some, settled[1])
    return Matches(bmu, second, _distance(samples, prepared, bmu))


def _settle(samples: Any, prepared: PreparedCodebook, candidates: Any, need_second: bool) -> tuple[Any, Any]:
    """Best and second best among the candidates, (n, M) bool, by the plain float64 rule."""
    xp = namespace_of(samples)
    row, node = xp.nonzero(candidates)
    # As they are; and scaled, by a power of two, only for the rows where squares overflow or vanish.
    plain, scaled = xp.zeros(row.shape, dtype=xp.float64), xp.zeros(row.shape, dtype=xp.float64)
    for j in range(samples.shape[1]):  # one feature after the other, so that the order of adding is fixed
        difference = xp.take(samples[:, j], row) - xp.take(prepared.codebook[:, j], node)
        plain = plain + difference * difference
        difference = difference * prepared.scale
        scaled = scaled + difference * difference
    bmu, second, next_least = _two_least(candidates, plain, need_second)
    other = _two_least(candidates, scaled, need_second)
    sound = (next_least > LEAST_SQUARE) & (next_least < xp.finfo(xp.float64).max)
    return xp.where(sound, bmu, other[0]), xp.where(sound, second, other[1])


def _two_least(candidates: Any, squared: Any, need_second: bool) -> tuple[Any, Any, Any]:
    """For each row of candidates the two that are least, and how much the second one is."""
    xp = namespace_of(squared)
    # A square that overflows is as far as can be, but nearer than a node that is no candidate.
    squared = xp.where(squared < xp.inf, squared, xp.finfo(xp.float64).max)
    table = put_masked(xp.full(candidates.shape, xp.inf), candidates, squared)
    bmu = xp.argmin(table, axis=1)
    table = put_in_rows(table, bmu, xp.inf)
    second = xp.argmin(table, axis=1) if need_second and candidates.shape[1] > 1 else bmu
    return bmu, second, xp.min(table, axis=1)


def _distance(samples: Any, prepared: PreparedCodebook, bmu: Any) -> Any:
    """Euclidean distances (n,) float64 of samples to their nodes, by differences, features added in order."""
    xp = namespace_of(samples)
    difference = samples - xp.take(prepared.codebook, bmu, axis=0)
    largest = xp.max(xp.abs(difference), axis=1)
    with np.errstate(over="ignore"):
        plain = xp.sqrt(_squares(difference))
    # Rows whose squares overflow or vanish: once more, scaled.
    sound = ((largest > 1e-150) & (largest < 1e150)) | (largest == 0)
    divisor = xp.where(sound, 1.0, largest)
    return xp.where(sound, plain, xp.sqrt(_squares(difference / divisor[:, None])) * divisor)


def _squares(difference: Any) -> Any:
    """Sums of squares of rows, one feature after the other: (n, D) -> (n,)."""
    xp = namespace_of(difference)
    total = xp.zeros(difference.shape[0], dtype=xp.float64)
    for j in range(difference.shape[1]):
        total = total + difference[:, j] * difference[:, j]
    return total


def add_up_by_arrays(block: Any, shared: Any, first_row: int = 0) -> ExactPartial:
    """What a block contributes to an epoch, by operations of its namespace: the bits of the engines."""
    lattice, prepared = shared.lattice, prepare(shared.codebook)
    n_nodes, n_features = shared.codebook.shape
    total = ExactPartial.zero(n_nodes, n_features, shared.scales.limbs)
    for start in range(0, block.shape[0], prepared.tile_rows):
        tile = block[start : min(start + prepared.tile_rows, block.shape[0]), :]
        xp = namespace_of(tile)
        tile = xp.astype(tile, xp.float64)
        matches = find_bmus(tile, prepared)
        bmu = as_numpy(matches.bmu)
        hits = np.bincount(bmu, minlength=n_nodes).astype(np.int64, copy=False)
        misses = int(np.count_nonzero(~lattice.adjacent(bmu, as_numpy(matches.second))))
        parts = [as_numpy(segment_sums(limb, matches.bmu, n_nodes)) for limb in _limbs(tile, shared.scales.features)]
        limbs = np.stack(parts, axis=1)
        normalize(limbs, hits)
        of_distance = _limbs(matches.distance[:, None], shared.scales.distance)
        distance = join_limbs(np.array([int(xp.sum(limb)) for limb in of_distance]))
        fingerprint = fingerprint_of(np.array(as_numpy(tile), order="C"), None, first_row + start)
        total = total + ExactPartial(limbs, hits, distance, misses, len(bmu), fingerprint)
    return total


def _limbs(values: Any, fixed: Any) -> list[Any]:
    """Limbs of numbers (n, K), int64 of the same shape each; see `FixedPoint`."""
    xp = namespace_of(values)
    first, second = (xp.asarray(factor) for factor in fixed.factors())
    scaled = values * first * second
    limbs = []
    for _ in range(fixed.limbs):
        whole = xp.trunc(scaled)
        limbs.append(xp.astype(whole, xp.int64))
        scaled = (scaled - whole) * 2.0**LIMB_BITS
    return limbs
