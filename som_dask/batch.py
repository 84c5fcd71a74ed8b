"""One batch epoch: what a block of samples contributes, how contributions add up, what they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from som_dask.backend import Device, namespace_of, segment_sums, to_device, to_host
from som_dask.bmu import PreparedCodebook, find_bmus, prepare
from som_dask.errors import DataError
from som_dask.lattice import Lattice
from som_dask.neighborhood import Neighborhood, smooth
from som_dask.pruned import TILE_ROWS, TileSearch, add_tile, distances, patch, plain_tile

__all__ = ["BatchSums", "chunk_sums", "nearest", "updated_codebook"]

# Below this a neighborhood-weighted count has lost digits to underflow, and a ratio of two such is noise.
LEAST_DENOMINATOR = np.finfo(np.float64).tiny / np.finfo(np.float64).eps


@dataclass(frozen=True)
class BatchSums:
    """What some samples contribute to an epoch. Sums travel, samples stay.

    Attributes
    ----------
    sums : (M, D) float64
        S, the sum of the samples whose best matching unit is the node.
    counts : (M,) int64
        n, how many those are: the hits.
    distance : float
        Sum of the samples' Euclidean distances to their best matching units.
    misses : int
        Samples whose two best units are not adjacent on the lattice.
    samples : int
        Number of samples counted.
    """

    sums: np.ndarray
    counts: np.ndarray
    distance: float
    misses: int
    samples: int

    def __add__(self, other: BatchSums) -> BatchSums:
        return BatchSums(
            self.sums + other.sums,
            self.counts + other.counts,
            self.distance + other.distance,
            self.misses + other.misses,
            self.samples + other.samples,
        )

    @classmethod
    def zero(cls, n_nodes: int, n_features: int) -> BatchSums:
        """The sums of no samples."""
        return cls(np.zeros((n_nodes, n_features)), np.zeros(n_nodes, dtype=np.int64), 0.0, 0, 0)

    @property
    def quantization_error(self) -> float:
        """Mean distance of the samples to their best matching units; nan without samples."""
        return self.distance / self.samples if self.samples else float("nan")

    @property
    def topographic_error(self) -> float:
        """Share of samples whose two best matching units are not adjacent; nan without samples."""
        return self.misses / self.samples if self.samples else float("nan")


def chunk_sums(block: Any, codebook: np.ndarray, lattice: Lattice, device: Device = "cpu") -> BatchSums:
    """Sums of one block of samples under a codebook.

    The block is walked in tiles, so memory beyond the block itself is a few MiB whatever its size.

    Parameters
    ----------
    block : (n, D) array of real numbers, finite; n may be 0
    codebook : (M, D) float64
    lattice : Lattice with M nodes
    device : {"cpu", "gpu"}

    Returns
    -------
    BatchSums
        In main memory, whatever the device.

    Raises
    ------
    DataError
        If the block has another number of features than the codebook.
    """
    if block.ndim != 2 or block.shape[1] != codebook.shape[1]:
        raise DataError(f"a block has shape {block.shape}, the codebook {codebook.shape[1]} features")
    total = BatchSums.zero(*codebook.shape)
    if not block.shape[0]:
        return total
    if device == "cpu" and isinstance(block, np.ndarray):
        return _host_sums(block, codebook, lattice)
    prepared = prepare(to_device(codebook, device) if device != "cpu" else codebook)
    for start in range(0, block.shape[0], prepared.tile_rows):
        tile = block[start : min(start + prepared.tile_rows, block.shape[0]), :]
        total = total + _tile_sums(to_device(tile, device) if device != "cpu" else tile, prepared, lattice)
    return total


def _host_sums(block: np.ndarray, codebook: np.ndarray, lattice: Lattice) -> BatchSums:
    search = TileSearch(patch(codebook, lattice))
    sums = np.zeros(codebook.shape)
    counts = np.zeros(lattice.n_nodes, dtype=np.int64)
    neighbors = lattice.neighbor_table()
    distance, misses = 0.0, 0
    for start in range(0, len(block), TILE_ROWS):
        tile = plain_tile(block[start : start + TILE_ROWS])
        bmu, second = search(tile)
        more, missed = add_tile(tile, bmu, second, search.patched.codebook, neighbors, sums, counts)
        distance, misses = distance + more, misses + missed
    return BatchSums(sums, counts, distance, misses, len(block))


def _tile_sums(tile: Any, prepared: PreparedCodebook, lattice: Lattice) -> BatchSums:
    xp = namespace_of(tile)
    matches = find_bmus(tile, prepared)
    bmu = to_host(matches.bmu)
    return BatchSums(
        sums=to_host(segment_sums(xp.astype(tile, xp.float64), matches.bmu, lattice.n_nodes)),
        counts=np.bincount(bmu, minlength=lattice.n_nodes).astype(np.int64, copy=False),
        distance=float(xp.sum(matches.distance)),
        misses=int(np.count_nonzero(~lattice.adjacent(bmu, to_host(matches.second)))),
        samples=len(bmu),
    )


def nearest(
    block: np.ndarray, codebook: np.ndarray, lattice: Lattice, device: Device = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Best matching unit of each sample, without sums.

    Parameters
    ----------
    block : (n, D) array of real numbers, finite
    codebook : (M, D) float64
    lattice : Lattice with M nodes
    device : {"cpu", "gpu"}

    Returns
    -------
    bmu : (n,) int64
        Flat indices.
    distance : (n,) float64
        Euclidean, in the data's units.
    """
    bmu, distance = np.empty(len(block), dtype=np.int64), np.empty(len(block))
    if device == "cpu":
        search = TileSearch(patch(codebook, lattice), need_second=False)
        for start in range(0, len(block), TILE_ROWS):
            part = slice(start, start + TILE_ROWS)
            tile = plain_tile(block[part])
            bmu[part], _ = search(tile)
            distance[part] = distances(tile, bmu[part], search.patched.codebook)
        return bmu, distance
    prepared = prepare(to_device(codebook, device))
    for start in range(0, len(block), prepared.tile_rows):
        part = slice(start, start + prepared.tile_rows)
        found = find_bmus(to_device(block[part], device), prepared, need_second=False)
        bmu[part], distance[part] = to_host(found.bmu), to_host(found.distance)
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
    _, exponents = np.frexp(np.abs(sums.sums).max(axis=0))
    both = np.column_stack([np.ldexp(sums.sums, -exponents), sums.counts])
    smoothed = smooth(both, lattice, neighborhood, radius)
    numerator, denominator = smoothed[:, :-1], smoothed[:, -1:]
    known = denominator > LEAST_DENOMINATOR
    return np.where(known, np.ldexp(numerator / np.where(known, denominator, 1.0), exponents), codebook)
