"""The engines on a CPU: samples of a tile searched by patches of the map, then added up, in compiled loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace, Part
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.metrics import chi_distances
from som_dask.engine.block import Block, Tile, add_up_tiles
from som_dask.engine.exact_sums import ExactSums, FastSums
from som_dask.engine.partial import ExactPartial, Partial, SumScales
from som_dask.engine.patches import PatchedCodebook, cut_into_patches
from som_dask.engine.protocol import CodebookView, Engine, Matches, Precision
from som_dask.engine.pruned_search import ErrorSearch, GapSearch, Search
from som_dask.engine.recalled_search import Recall, RecalledSearch
from som_dask.engine.size_search import SizeSearch

__all__ = ["CPU_EXACT", "CpuExact", "CpuFast", "CpuState", "Matcher", "sums_of_epoch"]


# By what a metric compares, and by whether samples know all features.
SEARCHES: dict[tuple[str, bool], Any] = {
    ("squares", True): Search,
    ("squares", False): GapSearch,
    ("sizes", True): SizeSearch,
    ("sizes", False): SizeSearch,
}


@dataclass(frozen=True)
class CpuState:
    """The state that the engines on a CPU make of a codebook.

    Attributes
    ----------
    patched : PatchedCodebook
    lattice : Lattice
    space : FeatureSpace
    scales : SumScales, optional
    recall : Recall
        For samples that know an old node.
    """

    patched: PatchedCodebook
    lattice: Lattice
    space: FeatureSpace
    scales: SumScales | None
    recall: Recall


class Matcher:
    """Finds the nodes of the parts of tiles, by a search for complete samples and one for those with gaps.

    Not to be shared between threads: the searches own their working memory.

    Parameters
    ----------
    state : CpuState
    need_second, certify : bool
        As for `som_dask.engine.pruned_search.Search`.
    """

    def __init__(self, state: CpuState, *, need_second: bool = True, certify: bool = True) -> None:
        self.state, self.options = state, {"need_second": need_second, "certify": certify}
        self.searches: dict[Any, Any] = {}
        self.recalled: RecalledSearch | None = None

    def __call__(self, part: Part, last: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the best and the second best matching unit and the distance of each sample: three (m,) arrays.

        Parameters
        ----------
        part : Part
        last : (m,) int32, optional
            The old nodes of the samples, -1 where they are not known.
        """
        codebook, inverse = self.state.patched.codebook, part.inverse_errors
        if inverse is not None:
            if ErrorSearch not in self.searches:
                self.searches[ErrorSearch] = ErrorSearch(self.state.patched, **self.options)
            bmu, second = self.searches[ErrorSearch](part.values, inverse)
            return bmu, second, chi_distances(part.values, inverse, bmu, codebook)
        bmu, second = self._search(part, last)
        return bmu, second, self.state.space.rule.distances(part.values, bmu, codebook)

    def _search(self, part: Part, last: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if part.complete not in self.searches:
            kind = SEARCHES[self.state.space.rule.compares, part.complete]
            self.searches[part.complete] = kind(self.state.patched, **self.options)
        search = self.searches[part.complete]
        if last is None or type(search) is not Search:
            return search(part.values)
        self.recalled = self.recalled or RecalledSearch(search, self.state.recall)
        return self.recalled(part.values, last)


class _Finder:
    """The matches of all samples of a block."""

    def __init__(self, state: CpuState, n: int, *, second: bool, certify: bool) -> None:
        self.space, self.match = state.space, Matcher(state, need_second=second, certify=certify)
        self.bmu, self.distance = np.full(n, -1, dtype=np.int64), np.full(n, np.nan)
        self.second = np.full(n, -1, dtype=np.int64) if second else None

    def add(self, tile: Tile) -> None:
        """Find the nodes of a tile's samples."""
        for part in self.space.parts(tile.values, errors=tile.errors):
            rows = part.rows_from(tile.start)
            self.bmu[rows], second, self.distance[rows] = self.match(part)
            if self.second is not None:
                self.second[rows] = second

    def result(self) -> Matches:
        """Return the matches of all tiles."""
        return Matches(self.bmu, self.second, self.distance)


class _EpochSums:
    """The sums of a block by node."""

    def __init__(self, state: CpuState, sums: ExactSums | FastSums, *, certify: bool) -> None:
        self.space, self.sums, self.match = state.space, sums, Matcher(state, certify=certify)
        self.recall = state.recall

    def add(self, tile: Tile) -> None:
        """Find the nodes of a tile's samples, and add these up."""
        self.sums.count(tile)
        for part in self.space.parts(tile.values, tile.weights, tile.errors):
            rows = part.rows_from(0)
            last = None if tile.last is None else tile.last[rows]
            matches = self.match(part, last)
            if tile.last is not None and last is not None:
                tile.last[rows] = self.recall.remember(last, matches[0])
            self.sums.add(part.values, part, *matches)

    def result(self) -> Any:
        """Return the sums of all tiles."""
        return self.sums.result()


@dataclass(frozen=True)
class CpuExact(Engine):
    """Best matching units are the float64 ones and sums are whole numbers: the same bits on every machine."""

    device: ClassVar[str] = "cpu"

    def supports(self, space: FeatureSpace) -> str | None:
        """Say what can't be; it computes in every other space."""
        if space.value_errors and space.metric != "euclidean":
            return f"errors of values need the metric 'euclidean', got {space.metric!r}"
        return None

    def prepare(self, shared: CodebookView) -> CpuState:
        """Cut the codebook into patches."""
        patched = cut_into_patches(shared.codebook, shared.lattice)
        recall = Recall(patched, shared.lattice)
        return CpuState(patched, shared.lattice, shared.space, shared.scales, recall)

    def find(self, state: CpuState, block: Block, *, second: bool = False) -> Matches:
        """Find the nodes of the samples of a block."""
        return add_up_tiles(block, _Finder(state, len(block), second=second, certify=self.exact))

    def add_up(self, state: CpuState, block: Block) -> ExactPartial | Partial:
        """Add up a block for an epoch, in whole numbers."""
        return add_up_tiles(block, _EpochSums(state, sums_of_epoch(state), certify=True))


CPU_EXACT = CpuExact()


@dataclass(frozen=True)
class CpuFast(CpuExact):
    """Near-ties may go either way, and sums are of float64, in the order of the rows."""

    precision: ClassVar[Precision] = "fast"

    def add_up(self, state: CpuState, block: Block) -> Partial:
        """Add up a block for an epoch, in float64."""
        space, neighbors = state.space, state.lattice.neighbor_table()
        n_features = state.patched.codebook.shape[1]
        sums = FastSums(
            state.lattice.n_nodes, n_features, neighbors, weighted=space.weighted, gaps=space.weighs_values
        )
        return add_up_tiles(block, _EpochSums(state, sums, certify=False))


def sums_of_epoch(state: CpuState, *, of_distances: bool = False) -> ExactSums:
    """Begin exact sums for the samples of a state: of their points, or of their distances alone."""
    assert state.scales is not None, "exact sums need scales; see scales_for"
    space, n_features = state.space, state.patched.codebook.shape[1]
    return ExactSums(
        state.lattice.n_nodes,
        1 if of_distances else n_features,
        state.lattice.neighbor_table(),
        state.scales.of_distances() if of_distances else state.scales,
        weighted=space.weighs_samples,
        gaps=space.weighs_values and not of_distances,
    )
