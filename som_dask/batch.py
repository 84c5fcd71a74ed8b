"""One batch epoch: what a block of samples contributes, how contributions add up, what they make."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from som_dask.accumulate import add_rounded, add_whole, distances, normalize, ranges
from som_dask.backend import Device, namespace_of, pieces_of, segment_sums, to_host
from som_dask.bmu import find_bmus, prepare
from som_dask.cuda import CodebookOnDevice
from som_dask.errors import DataError
from som_dask.fingerprint import hash_rows
from som_dask.fixed import LIMB_BITS, ROWS_AT_ONCE, FixedPoint, in_one
from som_dask.lattice import Lattice
from som_dask.neighborhood import Neighborhood, smooth
from som_dask.patches import PatchedCodebook, patch
from som_dask.pruned import Search
from som_dask.sums import BatchSums, WholeSums

__all__ = ["Precision", "SharedCodebook", "chunk_sums", "nearest", "updated_codebook"]

Precision = Literal["exact", "fast"]

# Below this a neighborhood-weighted count has lost digits to underflow, and a ratio of two such is noise.
LEAST_DENOMINATOR = np.finfo(np.float64).tiny / np.finfo(np.float64).eps
# A tile is copied as float64: small enough for a core's cache, large enough that Python's part does not count.
TILE_BYTES, LEAST_TILE_ROWS, MOST_TILE_ROWS = 2 * 2**20, 1024, 16384


@dataclass(frozen=True)
class SharedCodebook:
    """A codebook as the workers get it, with what they need to search it and to add up.

    What is made of it for the search is made once a process, and stays behind when it travels.

    Attributes
    ----------
    codebook : (M, D) float64
        Not to be changed.
    lattice : Lattice with M nodes
    device : {"cpu", "gpu"}
    whole : (FixedPoint, FixedPoint) or None
        Of the features (D,) and of the distance (1,) in exact sums; None for float64 sums.
    """

    codebook: np.ndarray
    lattice: Lattice
    device: Device = "cpu"
    whole: tuple[FixedPoint, FixedPoint] | None = None
    made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    lock: Any = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

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
    ) -> SharedCodebook:
        """For exact sums of n samples.

        Parameters
        ----------
        codebook, lattice, device
        n : int
        least, most : (D,) float64
            Between these lie the features.
        small : (D,) float64, optional
            Binary exponents of numbers that are small and yet many; see `som_dask.fixed.FixedPoint.of_range`.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            lowest, highest = ranges(np.array(codebook, dtype=np.float64, order="C"))
            spans = np.maximum(most - lowest, highest - least)
            # No sample is farther from a node than this; doubled, for the rounding of all that.
            farthest = min(2 * float(np.sqrt(len(spans))) * float(np.max(spans)), np.finfo(np.float64).max)
        features = FixedPoint.of_range(np.maximum(np.abs(least), np.abs(most)), n, small)
        distance = replace(FixedPoint.of_range(np.array([farthest]), n), limbs=features.limbs)
        return cls(codebook, lattice, device, (features, distance))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.codebook, self.lattice, self.device, self.whole)

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


def _tiles(block: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Parts of a block, each with the row it starts at, copied as float64: one kind of array for the kernels."""
    rows = min(max(TILE_BYTES // (8 * block.shape[1]), LEAST_TILE_ROWS), MOST_TILE_ROWS)
    for first, piece in pieces_of(block):
        for start in range(0, len(piece), rows):
            yield first + start, np.array(piece[start : start + rows], dtype=np.float64, order="C")


def chunk_sums(block: Any, shared: SharedCodebook, first_row: int = 0) -> BatchSums | WholeSums:
    """Sums of one block of samples under a codebook.

    The block is walked in tiles, so memory beyond the block and the sums themselves is a few MiB.

    Parameters
    ----------
    block : (n, D) array of real numbers, finite; n may be 0
        Or what has a shape and gives such arrays, with the rows they start at, by its method `pieces`.
    shared : SharedCodebook
    first_row : int
        Position of the block's first row in the data, for the fingerprint.

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
    codebook = shared.codebook
    if len(block.shape) != 2 or block.shape[1] != codebook.shape[1]:
        raise DataError(f"a block has shape {block.shape}, the codebook {codebook.shape[1]} features")
    if shared.device != "cpu":
        return _device_sums(block, shared, first_row)
    if not (isinstance(block, np.ndarray) or hasattr(block, "pieces")):
        return _generic_sums(block, shared, first_row)
    return _whole_sums(block, shared, first_row) if shared.whole else _rounded_sums(block, shared)


def _rounded_sums(block: Any, shared: SharedCodebook) -> BatchSums:
    search = Search(shared.patched(), certify=False)
    codebook, neighbors = search.patched.codebook, shared.lattice.neighbor_table()
    sums, counts = np.zeros(codebook.shape), np.zeros(len(codebook), dtype=np.int64)
    distance, misses, samples = 0.0, 0, 0
    for _, tile in _tiles(block):
        more, missed = add_rounded(tile, *search(tile), codebook, neighbors, sums, counts)
        distance, misses, samples = distance + more, misses + missed, samples + len(tile)
    return BatchSums(sums, counts, distance, misses, samples)


def _whole_sums(block: Any, shared: SharedCodebook, first_row: int) -> WholeSums:
    search = Search(shared.patched())
    codebook, neighbors = search.patched.codebook, shared.lattice.neighbor_table()
    features, distance = shared.whole  # type: ignore[misc]
    factors = np.column_stack([features.factors(), distance.factors()])
    total = WholeSums.zero(len(codebook), codebook.shape[1], features.limbs)
    whole_distance = misses = samples = outside = fingerprint = uncarried = 0
    for start, tile in _tiles(block):
        limbs = np.zeros(features.limbs, dtype=np.int64)
        missed, beyond = add_whole(
            tile, *search(tile), codebook, neighbors, factors, features.limit, total.limbs, total.counts, limbs
        )
        whole_distance += in_one(limbs)
        fingerprint += int(hash_rows(tile.view(np.uint64), first_row + start))
        misses, samples, outside = misses + missed, samples + len(tile), outside + beyond
        uncarried += len(tile)
        if uncarried > ROWS_AT_ONCE - MOST_TILE_ROWS:
            normalize(total.limbs, total.counts)
            uncarried = 0
    _refuse_outside(outside)
    normalize(total.limbs, total.counts)
    return WholeSums(total.limbs, total.counts, whole_distance, misses, samples, fingerprint % 2**64)


def _device_sums(block: Any, shared: SharedCodebook, first_row: int) -> BatchSums | WholeSums:
    sums, counts, distance, misses, outside, fingerprint = shared.on_device().sums(block, first_row)
    if shared.whole is None:
        return BatchSums(sums, counts, distance, misses, len(block))
    _refuse_outside(outside)
    return WholeSums(sums, counts, distance, misses, len(block), fingerprint)


def _refuse_outside(outside: int) -> None:
    if outside:
        raise DataError(
            f"{outside} values lie outside the range that the first pass over the data found; "
            f"the data have changed since, start again"
        )


def _generic_sums(block: Any, shared: SharedCodebook, first_row: int) -> BatchSums | WholeSums:
    """By array operations of any namespace."""
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
        fingerprint = int(hash_rows(np.array(to_host(tile), order="C").view(np.uint64), first_row + start))
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


def nearest(block: np.ndarray, shared: SharedCodebook) -> tuple[np.ndarray, np.ndarray]:
    """Best matching unit of each sample, without sums.

    Parameters
    ----------
    block : (n, D) array of real numbers, finite
        In main memory, or on the device of `shared`.
    shared : SharedCodebook

    Returns
    -------
    bmu : (n,) int64
        Flat indices.
    distance : (n,) float64
        Euclidean, in the data's units.
    """
    if shared.device != "cpu":
        return shared.on_device().nearest(block)
    bmu, distance = np.empty(len(block), dtype=np.int64), np.empty(len(block))
    search = Search(shared.patched(), need_second=False)
    for start, tile in _tiles(block):
        part = slice(start, start + len(tile))
        bmu[part], _ = search(tile)
        distance[part] = distances(tile, bmu[part], search.patched.codebook)
    return bmu, distance


def updated_codebook(
    sums: BatchSums, codebook: np.ndarray, lattice: Lattice, neighborhood: Neighborhood, radius: float
) -> np.ndarray:
    r"""The codebook after one batch epoch.

    ``w_i = sum_c h(|r_i - r_c|) S_c / sum_c h(|r_i - r_c|) n_c``; where the denominator is zero the node keeps
    its old weights. There is no learning rate in the batch rule: it would cancel (Kohonen, *Self-Organizing
    Maps*, 3rd ed., 2001, section 3.6).

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
    _, exponents = np.frexp(np.max(np.abs(ranges(np.ascontiguousarray(sums.sums))), axis=0))
    both = np.empty((len(sums.sums), len(exponents) + 1))
    both[:, :-1], both[:, -1] = _scaled(sums.sums, -exponents), sums.counts
    smoothed = smooth(both, lattice, neighborhood, radius)
    denominator = smoothed[:, -1:]
    known = denominator > LEAST_DENOMINATOR
    means = np.divide(smoothed[:, :-1], denominator, out=smoothed[:, :-1], where=known)
    return np.where(known, _scaled(means, exponents), codebook)


def _scaled(values: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """Columns times two to the power of their exponents."""
    if np.abs(exponents).max() < 1000:
        return values * np.ldexp(1.0, exponents)  # the same numbers as below, and faster
    return np.ldexp(values, exponents)
