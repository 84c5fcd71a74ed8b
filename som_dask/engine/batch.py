"""One batch epoch: what a block of samples contributes, how contributions add up, what they make."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from som_dask.algorithm.feature_space import Part, Preparation
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood, weighted_sums
from som_dask.engine.accumulate import (
    add_rounded,
    add_weighted,
    add_weighted_rounded,
    add_whole,
    distances,
    normalize,
    ranges,
)
from som_dask.engine.bmu import find_bmus, prepare
from som_dask.engine.device import Device, namespace_of, pieces_of, segment_sums, to_host
from som_dask.engine.exact_sums import BatchSums, WholeSums, layout_of
from som_dask.engine.gpu import CodebookOnDevice
from som_dask.engine.masked import MaskedSearch
from som_dask.engine.patches import PatchedCodebook, patch
from som_dask.engine.pruned_search import Search
from som_dask.engine.row_numbers import Rows, numbers_of
from som_dask.errors import DataError, ParameterError
from som_dask.numerics.fixed_point import LIMB_BITS, ROWS_AT_ONCE, FixedPoint, in_one
from som_dask.numerics.hashing import fingerprint_of

__all__ = [
    "NOT_ON_A_GPU",
    "Precision",
    "Searches",
    "SharedCodebook",
    "Tile",
    "chunk_sums",
    "nearest",
    "tiles_of",
    "updated_codebook",
]

Precision = Literal["exact", "fast"]

# Below this a neighborhood-weighted count has lost digits to underflow, and a ratio of two such is noise.
LEAST_DENOMINATOR = np.finfo(np.float64).tiny / np.finfo(np.float64).eps
# A tile is copied as float64: small enough for a core's cache, large enough that Python's part does not count.
TILE_BYTES, LEAST_TILE_ROWS, MOST_TILE_ROWS = 2 * 2**20, 1024, 16384
ONE = np.ones(1)
NOT_ON_A_GPU = (
    "scaling, weights, missing values and the metric cosine are not computed on a GPU yet; use device 'cpu'"
)
LIGHTEST_BITS = 30  # of weights below 2^-30 of the heaviest not all digits count


@dataclass(frozen=True)
class SharedCodebook:
    """A codebook as the workers get it, with what they need to search it and to add up.

    What is made of it for the search is made once a process, and stays behind when it travels.

    Attributes
    ----------
    codebook : (M, K) float64
        In the space of `preparation`. Not to be changed.
    lattice : Lattice with M nodes
    device : {"cpu", "gpu"}
    whole : (FixedPoint, FixedPoint) or None
        Of the columns of sums (C,) and of the distance (1,) in exact sums; None for float64 sums.
    preparation : Preparation, optional
        Of samples as they are, if not given.
    """

    codebook: np.ndarray
    lattice: Lattice
    device: Device = "cpu"
    whole: tuple[FixedPoint, FixedPoint] | None = None
    preparation: Preparation = None  # type: ignore[assignment]
    made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    lock: Any = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.preparation is None:
            object.__setattr__(self, "preparation", Preparation.none(self.codebook.shape[1]))
        if self.device != "cpu" and not self.preparation.plain:
            raise ParameterError(NOT_ON_A_GPU)

    @classmethod
    def exact(
        cls,
        codebook: np.ndarray,
        lattice: Lattice,
        device: Device,
        *,
        n: int,
        least: np.ndarray,
        most: np.ndarray,
        small: np.ndarray | None = None,
        weights: tuple[float, float] = (1.0, 1.0),
        preparation: Preparation | None = None,
    ) -> SharedCodebook:
        """For exact sums of n samples.

        Parameters
        ----------
        codebook, lattice, device
        n : int
        least, most : (K,) float64
            Between these lie the features.
        small : (K,) float64, optional
            Binary exponents of numbers that are small and yet many; see `FixedPoint.of_range`.
        weights : (float, float)
            Between these lie the samples' weights.
        preparation : Preparation, optional
        """
        preparation = preparation or Preparation.none(codebook.shape[1])
        lightest, heaviest = weights
        with np.errstate(over="ignore", invalid="ignore"):
            lowest, highest = ranges(np.array(codebook, dtype=np.float64, order="C"))
            spans = np.maximum(most - lowest, highest - least)
            # No sample is farther from a node than this; doubled, for the rounding of all that.
            farthest = 2 * float(np.sqrt(len(spans))) * float(np.max(spans))
            if preparation.metric == "cosine":
                farthest = farthest * farthest
            farthest = min(farthest * heaviest, np.finfo(np.float64).max)
        largest, more = np.maximum(np.abs(least), np.abs(most)), preparation.n_columns() - len(spans)
        if more:
            largest = np.append(largest * heaviest, [heaviest] * more)
            # Weights far below the heaviest are nothing beside it, in any number.
            light = float(max(np.frexp(lightest)[1], np.frexp(heaviest)[1] - LIGHTEST_BITS))
            small = np.append((0.0 if small is None else small) + np.full(len(spans), light), [light] * more)
        columns = FixedPoint.of_range(largest, n, small)
        distance = replace(FixedPoint.of_range(np.array([farthest]), n), limbs=columns.limbs)
        return cls(codebook, lattice, device, (columns, distance), preparation)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.codebook, self.lattice, self.device, self.whole, self.preparation)

    def once(self, name: str, make: Any) -> Any:
        """What `make()` gives, called once a process: threads share it."""
        with self.lock:
            if name not in self.made:
                self.made[name] = make()
            return self.made[name]

    def on_device(self) -> CodebookOnDevice:
        """In the memory of the GPU."""
        return self.once("on_device", lambda: CodebookOnDevice(self.codebook, self.lattice, self.whole, self.device))

    def patched(self) -> PatchedCodebook:
        """Cut into patches, for the search on a CPU."""
        return self.once("patched", lambda: patch(self.codebook, self.lattice))


class Tile(NamedTuple):
    """Rows of a block copied as float64, one kind of array for the kernels, and the row they start at."""

    start: int
    values: np.ndarray
    weights: np.ndarray | None


def tiles_of(block: Any) -> Iterator[Tile]:
    """A block in parts, with the weights of its samples where it has some as an attribute (n,)."""
    rows = min(max(TILE_BYTES // (8 * block.shape[1]), LEAST_TILE_ROWS), MOST_TILE_ROWS)
    weights = getattr(block, "weights", None)
    for first, piece in pieces_of(block):
        for start in range(0, len(piece), rows):
            values = np.array(piece[start : start + rows], dtype=np.float64, order="C")
            start += first
            yield Tile(start, values, None if weights is None else weights[start : start + len(values)])


class Searches:
    """The searches for samples with all features and for those that lack some, made when they are needed."""

    def __init__(self, shared: SharedCodebook, **options: bool) -> None:
        self.shared, self.options, self.made = shared, options, dict[bool, Search]()

    def __call__(self, part: Part) -> tuple[np.ndarray, np.ndarray]:
        if part.whole not in self.made:
            kind = Search if part.whole else MaskedSearch
            self.made[part.whole] = kind(self.shared.patched(), **self.options)
        return self.made[part.whole](part.values)


def chunk_sums(block: Any, shared: SharedCodebook, rows: Rows = 0) -> BatchSums | WholeSums:
    """Sums of one block of samples under a codebook.

    The block is walked in tiles, so memory beyond the block and the sums themselves is a few MiB.

    Parameters
    ----------
    block : (n, D) array of real numbers, finite; n may be 0
        Or what has a shape and gives such arrays, with the rows they start at, by its method `pieces`.
    shared : SharedCodebook
    rows : int or BlockRows
        Position of the block's first row in the data, or of all, for the fingerprint.

    Returns
    -------
    WholeSums or BatchSums
        By `shared.whole`; in main memory, whatever the device.

    Raises
    ------
    DataError
        If the block has another number of features than the codebook, or numbers beyond the range that
        `shared` was made for.
    """
    n_features = len(shared.preparation.used)
    if len(block.shape) != 2 or block.shape[1] != n_features:
        raise DataError(f"a block has shape {block.shape}, the codebook {n_features} features")
    if shared.device != "cpu":
        return _device_sums(block, shared, rows)
    if not (isinstance(block, np.ndarray) or hasattr(block, "pieces")):
        return _generic_sums(block, shared, rows)
    return _whole_sums(block, shared, rows) if shared.whole else _rounded_sums(block, shared)


def _rounded_sums(block: Any, shared: SharedCodebook) -> BatchSums:
    search = Searches(shared, certify=False)
    codebook, neighbors = shared.patched().codebook, shared.lattice.neighbor_table()
    preparation, n_columns = shared.preparation, shared.preparation.n_columns()
    layout = layout_of(n_columns, codebook.shape[1])
    sums, counts = np.zeros((len(codebook), n_columns)), np.zeros(len(codebook), dtype=np.int64)
    totals, misses, samples = np.zeros(2), 0, 0
    for tile in tiles_of(block):
        samples += len(tile.values)
        for part in preparation.parts(tile.values, tile.weights):
            units = search(part)
            if layout == "plain":
                more, missed = add_rounded(part.values, *units, codebook, neighbors, sums, counts)
                totals[0], misses = totals[0] + more, misses + missed
            else:
                weights = ONE if part.weights is None else part.weights
                cosine = preparation.metric == "cosine"
                add_weighted_rounded(
                    part.values, weights, part.whole, *units, codebook, neighbors, cosine, sums, counts, totals
                )
    missed = misses if layout == "plain" else float(totals[1])
    return BatchSums(sums, counts, float(totals[0]), missed, samples, layout)


def _whole_sums(block: Any, shared: SharedCodebook, rows: Rows) -> WholeSums:
    search = Searches(shared)
    codebook, neighbors = shared.patched().codebook, shared.lattice.neighbor_table()
    columns, distance = shared.whole  # type: ignore[misc]
    factors = np.column_stack([columns.factors(), distance.factors()])
    preparation, n_columns = shared.preparation, shared.preparation.n_columns()
    total = WholeSums.zero(len(codebook), n_columns, columns.limbs)
    whole_distance = misses = samples = outside = fingerprint = uncarried = 0
    for tile in tiles_of(block):
        numbers = numbers_of(rows, tile.start, len(tile.values))
        fingerprint += fingerprint_of(tile.values, tile.weights, numbers)
        samples += len(tile.values)
        for part in preparation.parts(tile.values, tile.weights):
            units = search(part)
            common = (codebook, neighbors)
            if n_columns == codebook.shape[1]:
                limbs = np.zeros(columns.limbs, dtype=np.int64)
                missed, beyond = add_whole(
                    part.values, *units, *common, factors, columns.limit, total.limbs, total.counts, limbs
                )
            else:
                weights = ONE if part.weights is None else part.weights
                both = np.zeros((columns.limbs, 2), dtype=np.int64)
                beyond = add_weighted(
                    part.values, weights, part.whole, *units, *common, preparation.metric == "cosine",
                    factors, columns.limit, total.limbs, total.counts, both,
                )  # fmt: skip
                limbs, missed = both[:, 0], in_one(both[:, 1])
            whole_distance += in_one(limbs)
            misses, outside = misses + missed, outside + beyond
            uncarried += len(part.values)
        if uncarried > ROWS_AT_ONCE - MOST_TILE_ROWS:
            normalize(total.limbs, total.counts)
            uncarried = 0
    _refuse_outside(outside)
    normalize(total.limbs, total.counts)
    return WholeSums(total.limbs, total.counts, whole_distance, misses, samples, fingerprint % 2**64)


def _device_sums(block: Any, shared: SharedCodebook, rows: Rows) -> BatchSums | WholeSums:
    sums, counts, distance, misses, outside, fingerprint = shared.on_device().sums(block, _first_of(rows))
    if shared.whole is None:
        return BatchSums(sums, counts, distance, misses, len(block))
    _refuse_outside(outside)
    return WholeSums(sums, counts, distance, misses, len(block), fingerprint)


def _first_of(rows: Rows) -> int:
    """Number of the first row of a block whose rows follow each other: kernels on a GPU know no other."""
    if isinstance(rows, int) or rows.contiguous:
        return rows if isinstance(rows, int) else rows.first
    raise ParameterError("on a GPU blocks of samples must be whole along all sample dimensions but the first")


def _refuse_outside(outside: int) -> None:
    if outside:
        raise DataError(
            f"{outside} values lie outside the range that the first pass over the data found; "
            f"the data have changed since, start again"
        )


def _generic_sums(block: Any, shared: SharedCodebook, rows: Rows) -> BatchSums | WholeSums:
    """By array operations of any namespace."""
    if not shared.preparation.plain:
        raise ParameterError("scaling, weights, missing values and the metric cosine need samples in main memory")
    lattice = shared.lattice
    prepared = shared.once("prepared", lambda: prepare(shared.codebook))
    n_nodes, n_features = shared.codebook.shape
    total: Any = BatchSums.zero(n_nodes, n_features)
    if shared.whole:
        total = WholeSums.zero(n_nodes, n_features, shared.whole[0].limbs)
    for start in range(0, block.shape[0], prepared.tile_rows):
        tile = block[start : min(start + prepared.tile_rows, block.shape[0]), :]
        xp = namespace_of(tile)
        tile = xp.astype(tile, xp.float64)
        matches = find_bmus(tile, prepared)
        bmu = to_host(matches.bmu)
        counts = np.bincount(bmu, minlength=lattice.n_nodes).astype(np.int64, copy=False)
        misses = int(np.count_nonzero(~lattice.adjacent(bmu, to_host(matches.second))))
        if shared.whole is None:
            sums = to_host(segment_sums(tile, matches.bmu, lattice.n_nodes))
            total = total + BatchSums(sums, counts, float(xp.sum(matches.distance)), misses, len(bmu))
            continue
        features, distance = shared.whole
        parts = [to_host(segment_sums(limb, matches.bmu, lattice.n_nodes)) for limb in _limbs(tile, features)]
        limbs = np.stack(parts, axis=1)
        normalize(limbs, counts)
        whole_distance = in_one(np.array([int(xp.sum(limb)) for limb in _limbs(matches.distance[:, None], distance)]))
        numbers = numbers_of(rows, start, len(bmu))
        fingerprint = fingerprint_of(np.array(to_host(tile), order="C"), None, numbers)
        total = total + WholeSums(limbs, counts, whole_distance, misses, len(bmu), fingerprint)
    return total


def _limbs(values: Any, fixed: FixedPoint) -> list[Any]:
    """Limbs of numbers (n, K), int64 of the same shape each; see `FixedPoint`."""
    xp = namespace_of(values)
    first, second = (xp.asarray(factor) for factor in fixed.factors())
    scaled = values * first * second
    _refuse_outside(int(xp.sum(xp.astype(~(xp.abs(scaled) < fixed.limit), xp.int64))))
    limbs = []
    for _ in range(fixed.limbs):
        whole = xp.trunc(scaled)
        limbs.append(xp.astype(whole, xp.int64))
        scaled = (scaled - whole) * 2.0**LIMB_BITS
    return limbs


def nearest(block: Any, shared: SharedCodebook) -> tuple[np.ndarray, np.ndarray]:
    """Best matching unit of each sample, without sums.

    Parameters
    ----------
    block : (n, D) array of real numbers, not infinite
        In main memory, or on the device of `shared`.
    shared : SharedCodebook

    Returns
    -------
    bmu : (n,) int64
        Flat indices; -1 for samples that are left out for the values that they lack.
    distance : (n,) float64
        Euclidean, in the map's space; with the metric "cosine" 1 less the cosine. NaN for samples left out.
    """
    if shared.device != "cpu":
        return shared.on_device().nearest(block)
    bmu, distance = np.full(len(block), -1, dtype=np.int64), np.full(len(block), np.nan)
    search = Searches(shared, need_second=False)
    codebook = shared.patched().codebook
    for tile in tiles_of(block):
        for part in shared.preparation.parts(tile.values):
            rows = slice(tile.start, tile.start + len(tile.values)) if part.rows is None else tile.start + part.rows
            units, _ = search(part)
            bmu[rows], found = units, distances(part.values, units, codebook)
            distance[rows] = found * found / 2 if shared.preparation.metric == "cosine" else found
    return bmu, distance


def updated_codebook(
    sums: BatchSums, codebook: np.ndarray, lattice: Lattice, neighborhood: Neighborhood, radius: float
) -> np.ndarray:
    r"""The codebook after one batch epoch.

    ``w_i = sum_c h(|r_i - r_c|) S_c / sum_c h(|r_i - r_c|) n_c``, feature by feature where values are missing: then
    n_c is the weight of the samples of node c that have the feature. Where the denominator is zero the node keeps
    its old weights. There is no learning rate in the batch rule: it would cancel (Kohonen, *Self-Organizing
    Maps*, 3rd ed., 2001, section 3.6). Under a mexican hat the negative h count less; see
    `som_dask.algorithm.neighborhood.weighted_sums`.

    Parameters
    ----------
    sums : BatchSums
    codebook : (M, D) float64
        The codebook that the sums were made with.
    lattice : Lattice with M nodes
    neighborhood : Neighborhood
    radius : float
        sigma, in lattice units.

    Returns
    -------
    (M, D) float64, a new array
    """
    # Powers of two bring each feature's sums near 1: far from all samples h is so small that numerators of data
    # in small units would lose digits to underflow before the denominator does.
    n_features = sums.n_features
    denominators = sums.denominators
    both = np.hstack([sums.sums[:, :n_features], denominators])
    _, exponents = np.frexp(np.max(np.abs(ranges(both)), axis=0))
    exponents[n_features:] = exponents[n_features:].max() if sums.layout != "plain" else 0
    both = _scaled(both, -exponents)
    numerator, denominator = weighted_sums(both[:, :n_features], both[:, n_features:], lattice, neighborhood, radius)
    known = np.broadcast_to(denominator > LEAST_DENOMINATOR, numerator.shape)
    means = np.divide(numerator, denominator, out=numerator, where=known)
    return np.where(known, _scaled(means, exponents[:n_features] - exponents[-1]), codebook)


def _scaled(values: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Columns times two to the power of their exponents."""
    if np.abs(exponents).max() < 1000:
        return values * np.ldexp(1.0, exponents)  # the same numbers as below, and faster
    return np.ldexp(values, exponents)
