"""The engines on a GPU: blocks of samples walked in tiles by the kernels of ``kernels.cu``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.engine.accumulate import add_limbs, normalize
from som_dask.engine.block import Block
from som_dask.engine.device import Device, compiled, device_memory, namespace_of, to_device, to_host
from som_dask.engine.error_bound import definitions, gamma_of
from som_dask.engine.exact_sums import refuse_outside
from som_dask.engine.partial import ExactPartial, Partial
from som_dask.engine.protocol import CodebookView, Engine, Matches, Precision
from som_dask.engine.shifted import FAR, shift_codebook
from som_dask.errors import ParameterError
from som_dask.numerics.fixed_point import ROWS_AT_ONCE, join_limbs

__all__ = ["CodebookOnDevice", "GpuExact", "GpuFast"]

NOT_ON_A_GPU = (
    "scaling, weights, missing values and metrics other than euclidean are not computed on a GPU yet; "
    "use device 'cpu'"
)
SOURCE = Path(__file__).with_name("kernels.cu")
# As in kernels.cu.
ROWS, NODES, SEARCH_THREADS, THREADS, RUN = 128, 128, 256, 128, 64
MISSES, OUTSIDE, FINGERPRINT, DISTANCE = range(4)
CHUNKS = (16, 14, 12, 10, 8, 4)  # features multiplied at once; few, because each is compiled by itself
MOST_BLOCKS = 2048  # of kernels that walk rows by themselves: more than any GPU runs at a time
# Threads of a process share one GPU. Two at a time keep it busy while a third waits; each may use this share.
TURNS, MEMORY_SHARE = 2, 0.25
LEAST_TILE_ROWS, MOST_TILE_ROWS = 2**12, ROWS_AT_ONCE

_turns = threading.BoundedSemaphore(TURNS)


@dataclass
class _Tile:
    """Some rows on the device with the working memory for them; kernels write there."""

    samples: Any  # (n, D) float32 or float64
    n: int
    memory: dict[str, Any]

    @property
    def rows(self) -> tuple[Any, ...]:
        """The samples as kernels take them, and their number."""
        return self.samples, int(self.samples.dtype == np.float64), self.n


def compiler_options(chunk: int) -> tuple[str, ...]:
    """List the options for the compiler of kernels that multiply `chunk` features at once."""
    return ("--std=c++17", f"-DCHUNK={chunk}", *definitions())


def chunk_for(n_features: int) -> int:
    """Choose how many features the kernels multiply at once, so that few are added to fill up the last time."""
    return min(CHUNKS, key=lambda chunk: (-(-n_features // chunk) * chunk, -chunk))


class CodebookOnDevice:
    """A codebook in GPU memory, with the kernels that search it and add up.

    Threads may share it. The results are those of the engines on a CPU, to the bit.

    Parameters
    ----------
    shared : CodebookView
    device : {"gpu"}
    exact : bool
        Whether sums are whole numbers and near-ties are settled.

    Raises
    ------
    ParameterError
        If the device is unknown, or CuPy or the GPU is missing.
    """

    def __init__(self, shared: CodebookView, device: Device = "gpu", *, exact: bool = True) -> None:
        codebook = np.ascontiguousarray(shared.codebook, dtype=np.float64)
        self.n_nodes, self.n_features = codebook.shape
        self.codebook = to_device(codebook, device)
        self.scales, self.device = shared.scales if exact else None, device
        shifted = shift_codebook(codebook)
        self.scale, self.radius = shifted.scale, shifted.radius
        chunk = chunk_for(self.n_features)
        self.chunks = -(-self.n_features // chunk)
        self.padded = self.chunks * chunk
        self.node_tiles = -(-self.n_nodes // NODES)
        weights = np.zeros((self.padded, self.node_tiles * NODES), dtype=np.float32)
        weights[: self.n_features, : self.n_nodes] = -shifted.shifted.T
        half_norms = np.full(self.node_tiles * NODES, FAR, dtype=np.float32)
        half_norms[: self.n_nodes] = shifted.half_norms
        tiled = weights.reshape(self.padded, self.node_tiles, NODES).transpose(1, 0, 2)
        self.weights = to_device(np.ascontiguousarray(tiled), device)
        self.half_norms = to_device(half_norms, device)
        self.center = to_device(shifted.center, device)
        self.neighbors = to_device(shared.lattice.neighbor_table().astype(np.int32), device)
        if self.scales:
            self.factors = to_device(np.stack(self.scales.features.factors()), device)
        self.xp = namespace_of(self.codebook)
        self.module = compiled(SOURCE.read_text(encoding="utf-8"), compiler_options(chunk))

    def add_up(self, block: Block, *, certify: bool) -> Partial | ExactPartial:
        """Add up a block for an epoch.

        Raises
        ------
        DataError
            If numbers are beyond the range of the scales.
        ParameterError
            If the rows of the block do not follow each other in the data: the kernels know no other.
        """
        if not block.numbers.contiguous:
            raise ParameterError("on a GPU blocks of samples must be whole along all sample dimensions but the first")
        totals = _Totals(self)
        with _turns:
            for start, tile in self._tiles(block):
                self._search(tile, need_second=True, certify=certify)
                self._sort(tile, totals)
                self._measure(tile, totals, block.numbers.first + start, sort=True)
                self._add(tile, totals)
        return totals.result(len(block))  # waits for the device, while another thread has its turn

    def find(self, block: Block, *, second: bool, certify: bool) -> Matches:
        """Find the nodes of the samples of a block."""
        bmu, distance = np.empty(len(block), dtype=np.int64), np.empty(len(block))
        seconds = np.empty(len(block), dtype=np.int64) if second else None
        totals = _Totals(self)
        with _turns:
            for start, tile in self._tiles(block):
                part = slice(start, start + tile.n)
                self._search(tile, need_second=second, certify=certify)
                self._measure(tile, totals, 0, sort=False)
                bmu[part] = to_host(tile.memory["bmu"][: tile.n])
                distance[part] = to_host(tile.memory["distance"][: tile.n])
                if seconds is not None:
                    seconds[part] = to_host(tile.memory["second"][: tile.n])
        return Matches(bmu, seconds, distance)

    def _tiles(self, block: Block) -> Iterator[tuple[int, _Tile]]:
        """Parts of a block on the device, each with the row it starts at; they share the working memory."""
        rows = min(self._tile_rows(), len(block))
        if not rows:
            return
        xp, padded_rows = self.xp, -(-rows // ROWS) * ROWS
        memory = {
            "shifted": xp.empty(padded_rows * self.padded, dtype=xp.float32),
            "counters": xp.empty(self.n_nodes + 1, dtype=xp.int32),  # samples of each node, uncertain samples
            "starts": xp.empty(self.n_nodes, dtype=xp.int32),
            **{name: xp.empty(rows, dtype=xp.int32) for name in ("bmu", "second", "uncertain", "order")},
            **{name: xp.empty(rows, dtype=xp.float64) for name in ("bounds", "limits", "distance")},
        }
        for first, piece in block.source.pieces():
            for start in range(0, len(piece), rows):
                part = piece[start : start + rows]
                if isinstance(part, np.ndarray) and not (part.dtype.isnative and part.dtype.itemsize <= 8):
                    part = part.astype(np.float64)  # CuPy has no such numbers
                samples = to_device(part, self.device)
                if samples.dtype not in (np.float32, np.float64):
                    samples = samples.astype(xp.float64)
                yield first + start, _Tile(xp.ascontiguousarray(samples), len(part), memory)

    def _tile_rows(self) -> int:
        """Rows of a tile, by the free memory: the working arrays, and the samples as they come and as float64."""
        row_bytes = 4 * self.padded + 16 * self.n_features + 40
        rows = int(device_memory() * MEMORY_SHARE) // row_bytes // ROWS * ROWS
        return min(max(rows, LEAST_TILE_ROWS), MOST_TILE_ROWS)

    def _run(self, name: str, grid: tuple[int, ...], threads: int, *arguments: Any) -> None:
        values = [
            np.int64(value) if isinstance(value, int) else np.float64(value) if isinstance(value, float) else value
            for value in arguments
        ]
        self.module.get_function(name)(grid, (threads,), tuple(values))

    def _search(self, tile: _Tile, *, need_second: bool, certify: bool) -> None:
        """Fill `bmu` and `second`."""
        memory, n = tile.memory, tile.n
        memory["counters"].fill(0)
        if self.radius == 0:  # all nodes alike, or only one: the lowest index wins every tie
            memory["bmu"].fill(0)
            memory["second"].fill(1 if self.n_nodes > 1 else 0)
            return
        uncertain = (memory["uncertain"], memory["limits"], memory["counters"][self.n_nodes :])
        row_tiles = (-(-n // ROWS),)
        self._run(
            "shift", row_tiles, THREADS, *tile.rows, self.n_features, self.padded, self.center, self.scale,
            self.radius, gamma_of(self.n_features), memory["shifted"], memory["bounds"],
        )  # fmt: skip
        self._run(
            "search", row_tiles, SEARCH_THREADS, memory["shifted"], memory["bounds"], self.weights, self.half_norms,
            n, self.node_tiles, self.chunks, int(need_second), int(certify), memory["bmu"],
            memory["second"], *uncertain,
        )  # fmt: skip
        self._run(
            "settle", (min(n, MOST_BLOCKS),), THREADS, *tile.rows[:2], self.n_features, self.padded,
            memory["shifted"], self.weights, self.half_norms, self.codebook, self.scale, self.n_nodes, *uncertain,
            memory["bmu"], memory["second"],
        )  # fmt: skip

    def _sort(self, tile: _Tile, totals: _Totals) -> None:
        """Count the samples of each node, and fill `order`: row numbers sorted by node."""
        memory, n = tile.memory, tile.n
        blocks = (min(-(-n // THREADS), MOST_BLOCKS),)
        self._run(
            "count", blocks, THREADS, memory["bmu"], memory["second"], self.neighbors, n, memory["counters"],
            totals.numbers,
        )  # fmt: skip
        self._run("place", (1,), SEARCH_THREADS, memory["counters"], self.n_nodes, memory["starts"], totals.counts)
        self._run("sort", blocks, THREADS, memory["bmu"], n, memory["starts"], memory["order"])

    def _measure(self, tile: _Tile, totals: _Totals, first_row: int, *, sort: bool) -> None:
        """Fill `distance`, and add up the fingerprint."""
        memory = tile.memory
        self._run(
            "measure", (-(-tile.n // THREADS),), THREADS, *tile.rows, self.n_features, self.codebook, memory["bmu"],
            memory["order"], int(sort), first_row, memory["distance"], totals.numbers,
        )  # fmt: skip

    def _add(self, tile: _Tile, totals: _Totals) -> None:
        """Add up samples and distances."""
        memory, n = tile.memory, tile.n
        lanes = min(32, 1 << (self.n_features - 1).bit_length())
        grid = (-(-n // (RUN * THREADS // lanes)), -(-self.n_features // lanes))
        sorted_rows = (*tile.rows, self.n_features, memory["bmu"], memory["order"])
        if self.scales is None:
            self._run("add_rounded", grid, THREADS, *sorted_rows, lanes, totals.sums.view(self.xp.float64))
            totals.distance += float(self.xp.sum(memory["distance"][:n]))
            return
        totals.make_room(n)
        features, distance = self.scales.features, self.scales.distance
        pairs = -(-features.limbs // 2)
        self._run(
            "add", (*grid, pairs), THREADS, *sorted_rows, self.factors, features.limit, features.limbs, lanes,
            totals.sums, totals.numbers,
        )  # fmt: skip
        factors = [float(factor[0]) for factor in distance.factors()]
        self._run(
            "add_distances", (min(-(-n // THREADS), MOST_BLOCKS), pairs), THREADS, memory["distance"], n, *factors,
            distance.limit, distance.limbs, totals.numbers,
        )  # fmt: skip


class _Totals:
    """What the tiles of a block add up to on the device, all in one array: one copy brings it home."""

    def __init__(self, shared: CodebookOnDevice) -> None:
        self.shared, xp = shared, shared.xp
        self.limbs = shared.scales.limbs if shared.scales else 1
        size = shared.n_nodes * self.limbs * shared.n_features
        self.all = xp.zeros(size + shared.n_nodes + DISTANCE + self.limbs, dtype=xp.uint64)
        self.sums, self.counts = self.all[:size], self.all[size : size + shared.n_nodes]
        self.numbers = self.all[size + shared.n_nodes :]
        self.distance = 0.0  # of rounded sums
        self.uncarried = 0
        self.carried: tuple[np.ndarray, int] | None = None

    def make_room(self, n: int) -> None:
        """Carry before the low limbs could overflow by `n` rows more."""
        self.uncarried += n
        if self.uncarried > ROWS_AT_ONCE:
            self.carried = self._carry(to_host(self.all).view(np.int64))
            self.sums.fill(0)
            self.numbers[DISTANCE:].fill(0)
            self.uncarried = n

    def _carry(self, found: np.ndarray) -> tuple[np.ndarray, int]:
        """Limbs (M, L, D), normalized, and the distance, of what was carried before and what was found since."""
        shared = self.shared
        limbs = found[: self.sums.size].reshape(shared.n_nodes, self.limbs, shared.n_features)
        counts = found[self.sums.size : self.sums.size + shared.n_nodes]
        normalize(limbs, counts)
        distance = join_limbs(found[len(found) - self.limbs :])
        if self.carried is not None:
            add_limbs(limbs, self.carried[0], counts)
            distance += self.carried[1]
        return limbs, distance

    def result(self, samples: int) -> Partial | ExactPartial:
        """All of it, in main memory."""
        found = to_host(self.all).view(np.int64)
        hits, numbers = np.split(found[self.sums.size :], [self.shared.n_nodes])
        misses, outside, fingerprint = (int(number) for number in numbers[:DISTANCE])
        if self.shared.scales is None:
            sums = found[: self.sums.size].view(np.float64).reshape(self.shared.n_nodes, -1)
            return Partial(sums, hits, self.distance, misses, samples)
        refuse_outside(outside)
        limbs, distance = self._carry(found)
        return ExactPartial(limbs, hits, distance, misses, samples, fingerprint % 2**64)


@dataclass(frozen=True)
class GpuExact(Engine):
    """The bits of `som_dask.engine.cpu.CpuExact`, computed on a GPU."""

    device: ClassVar[str] = "gpu"

    def supports(self, space: FeatureSpace) -> str | None:
        """Say what of a space the kernels can't do yet; None where samples are taken as they are."""
        plain = space.takes_samples_as_they_are and space.metric == "euclidean"
        return None if plain else NOT_ON_A_GPU

    def prepare(self, shared: CodebookView) -> CodebookOnDevice:
        """Bring the codebook into the memory of the GPU."""
        return CodebookOnDevice(shared, self.device, exact=self.exact)

    def find(self, state: CodebookOnDevice, block: Block, *, second: bool = False) -> Matches:
        """Find the nodes of the samples of a block."""
        return state.find(block, second=second, certify=True)

    def add_up(self, state: CodebookOnDevice, block: Block) -> ExactPartial | Partial:
        """Add up a block for an epoch."""
        return state.add_up(block, certify=self.exact)


@dataclass(frozen=True)
class GpuFast(GpuExact):
    """Near-ties may go either way, and sums are of float64, in no fixed order."""

    precision: ClassVar[Precision] = "fast"
