"""The graphs: one task a block, or a few, and a tree over them by block index."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import dask
import numpy as np
from dask.delayed import Delayed, delayed
from dask.system import CPU_COUNT

from som_dask.algorithm.feature_space import Missing, Preparation
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.batch import Precision, SharedCodebook, chunk_sums
from som_dask.engine.device import Device, pieces_of
from som_dask.engine.exact_sums import BatchSums, WholeSums
from som_dask.engine.row_numbers import Rows, join_rows
from som_dask.errors import ClusterError, DataError
from som_dask.passes.compute import active_client, compute, single_threaded_blas
from som_dask.passes.draw import Picked, block_picked
from som_dask.passes.plane_moments import PlaneMoments, Quantizer, block_moments
from som_dask.passes.scaling import Scaling, fixed_range, statistic_of
from som_dask.passes.summary import DataSummary, block_summary
from som_dask.samples.read_ahead import StoredRows
from som_dask.samples.table import Samples

__all__ = [
    "Joined",
    "epoch_sums",
    "exact_codebook",
    "moments",
    "pick",
    "rows_of_blocks",
    "summarize",
    "tree_sum",
    "weighted_block",
]

FAN_IN = 8
GROUPS_A_THREAD = 4  # so that threads end at about the same time
# Of the blocks that wait for a group to be whole: memory must not grow with the number of samples. Less than the sums
# that come of them need not be.
GROUP_BYTES = 2**23


def add_up(*parts: Any) -> Any:
    if len(parts) == 1:
        return parts[0]
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total += part  # which is this task's own, so it may be changed
    return total


def tree_sum(parts: Sequence[Delayed]) -> Delayed:
    """Add delayed parts in a tree by their order: never by who finishes first, never all in one place."""
    if not parts:
        raise DataError("there are no blocks to add up")
    add = delayed(add_up, pure=False)
    level = list(parts)
    while len(level) > 1:
        level = [
            add(*level[i : i + FAN_IN]) if i + 1 < len(level) else level[i] for i in range(0, len(level), FAN_IN)
        ]
    return level[0]


def weighted_block(block: Any, weights: Any) -> Any:
    """A block with the weights of its samples, if there are any."""
    return block if weights is None else Joined([block], [weights])


def summary_of(block: Any, weights: Any, index: int, rows: Rows, missing: Missing, scaling: Scaling) -> DataSummary:
    """`block_summary` of a block with its weights."""
    return block_summary(weighted_block(block, weights), index, rows, missing, statistic_of(scaling))


def summarize(samples: Samples, missing: Missing = "error", scaling: Scaling = "none") -> DataSummary:
    """First pass over the samples: size, range, fingerprint, gaps, weights, and what their scaling needs.

    Raises
    ------
    DataError
        If a value is infinite, or NaN where none may be missing; the message counts them and names the first
        blocks. If a weight is no weight.
    """
    statistic_of(scaling)  # which refuses what is not installed
    rows, starts = rows_of_blocks(samples), samples.block_starts
    task = delayed(summary_of, pure=False)
    parts = [
        task(block, weights, i, rows[i], missing, scaling)
        for i, (block, weights) in enumerate(_blocks_and_weights(samples))
    ]
    (summary,) = compute(tree_sum(parts))
    if summary.bad_weights:
        raise DataError(
            f"the weights of {samples.description} hold {summary.bad_weights} that are negative or not finite; "
            f"weights are 0 or more"
        )
    if summary.nonfinite:
        blocks = ", ".join(
            f"{i} (rows {starts[i]} to {starts[i] + samples.block_rows[i] - 1})" for i in summary.bad_blocks
        )
        kind, remedy = "NaN or infinite", "remove or fill those samples"
        if missing != "error":
            kind, remedy = "infinite", "they can't be left out; replace them, by NaN if they are missing"
        elif summary.nonfinite == summary.gaps.sum() or not summary.gaps.any():
            remedy += ", or leave NaN out with missing='drop' or 'mask'"
        raise DataError(
            f"{samples.description} holds {summary.nonfinite} {kind} values, in block {blocks}"
            f"{' and perhaps more' if len(summary.bad_blocks) >= 5 else ''}; {remedy}"
        )
    return summary


def _blocks_and_weights(samples: Samples) -> list[tuple[Any, Any]]:
    blocks = samples.blocks()
    weights = samples.weight_blocks()
    return list(zip(blocks, [None] * len(blocks) if weights is None else weights, strict=True))


def rows_of_blocks(samples: Samples) -> list[Any]:
    """Which rows of the data each block holds: the first one's number, or a delayed `BlockRows`."""
    if samples.grid is None:
        return samples.block_starts
    return [delayed(samples.rows_of(i), pure=False, traverse=False) for i in range(len(samples.block_rows))]


def moments_of(block: Any, weights: Any, how: tuple[Quantizer, Preparation]) -> PlaneMoments:
    """`block_moments` with one BLAS thread, wherever the task runs: tasks fill the cores."""
    with single_threaded_blas():
        return block_moments(weighted_block(block, weights), *how)


def moments(samples: Samples, quantizer: Quantizer, preparation: Preparation) -> PlaneMoments:
    """Second pass, for the initial plane: exact first and second moments."""
    task = delayed(moments_of, pure=False)
    how = delayed((quantizer, preparation), pure=False, traverse=False)  # once, not in each task
    parts = [task(block, weights, how) for block, weights in _blocks_and_weights(samples)]
    return compute(tree_sum(parts))[0]


def picked_of(block: Any, weights: Any, rows: Rows, preparation: Preparation, most: int, seed: int) -> Picked:
    """`block_picked` of a block with its weights."""
    return block_picked(weighted_block(block, weights), rows, preparation, most, seed)


def pick(samples: Samples, preparation: Preparation, most: int, seed: int) -> np.ndarray:
    """At most so many samples that are not left out, as points: (k, K), in one pass, the same for any blocks."""
    task, rows = delayed(picked_of, pure=False), rows_of_blocks(samples)
    how = delayed(preparation, pure=False, traverse=False)
    parts = [task(block, w, rows[i], how, most, seed) for i, (block, w) in enumerate(_blocks_and_weights(samples))]
    points: np.ndarray = compute(tree_sum(parts))[0].points
    return points


def broadcast_codebook(shared: SharedCodebook) -> SharedCodebook:
    """The codebook as a task's result; the name is what the dashboard shows."""
    return shared


@dataclass(frozen=True)
class Joined:
    """Neighboring blocks as one, with the weights of their samples: for what takes one block."""

    blocks: Sequence[Any]
    parts_of_weights: Sequence[np.ndarray] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return sum(block.shape[0] for block in self.blocks), self.blocks[0].shape[1]

    @functools.cached_property
    def weights(self) -> np.ndarray | None:
        """(n,) float64, or None."""
        if self.parts_of_weights is None:
            return None
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in self.parts_of_weights])

    def pieces(self) -> Iterator[tuple[int, np.ndarray]]:
        """Parts of the blocks in order, each with the row it starts at."""
        start = 0
        blocks = self.blocks
        if all(isinstance(block, StoredRows) for block in blocks):
            blocks = [blocks[0].joined(blocks[-1])]  # reads ahead over their borders
        for block in blocks:
            for first, piece in pieces_of(block):
                yield start + first, piece
            start += block.shape[0]


def block_sums(
    blocks: list[Any],
    weights: list[Any] | None,
    shared: SharedCodebook,
    index: int,
    rows: list[Any],
    ledger: list[int] | None,
    name: str,
) -> BatchSums | WholeSums:
    """`chunk_sums` of neighboring blocks, and proof that they are those that the first pass saw.

    Parameters
    ----------
    blocks : list of blocks
    weights : list of (rows,) arrays, optional
        Of the samples of each block.
    shared : SharedCodebook
    index : int
        Number of the first block.
    rows : list of int or BlockRows
        Which rows of the data each block holds; see `som_dask.engine.row_numbers.numbers_of`.
    ledger : list of int, optional
        Fingerprints of the blocks.
    name : str
        Of the samples.
    """
    alone = len(blocks) == 1 and weights is None
    whole = ledger is not None and shared.whole is not None

    def changed(sure: bool) -> DataError | None:
        for k, (block, expected) in enumerate(zip(blocks, ledger or [], strict=True)):
            found = weighted_block(block, None if weights is None else weights[k])
            if (sure and len(blocks) == 1) or block_summary(found, index + k, rows[k]).fingerprint != expected:
                return DataError(
                    f"block {index + k} ({_told(rows[k], block.shape[0])}) of {name} has changed since the first "
                    f"pass over the data; start again"
                )
        return DataError(f"{name} changed while it was read; start again") if sure else None

    try:
        sums = chunk_sums(blocks[0] if alone else Joined(blocks, weights), shared, _joined_rows(rows))
    except DataError as error:
        # Values beyond the range of the first pass, most likely.
        if whole and (named := changed(sure=False)) is not None:
            raise named from error
        raise
    if isinstance(sums, WholeSums) and ledger is not None and sums.fingerprint != sum(ledger) % 2**64:
        raise changed(sure=True)  # type: ignore[misc]
    return sums


def _joined_rows(rows: list[Any]) -> Rows:
    # Blocks of one sample dimension follow each other.
    return rows[0] if isinstance(rows[0], int) else join_rows(rows)


def _told(rows: Rows, n: int) -> str:
    if isinstance(rows, int):
        return f"rows {rows} to {rows + n - 1}"
    return f"{n} rows from number {rows.first} on"


def groups_of_blocks(samples: Samples, n_nodes: int) -> list[range]:
    """Which blocks are added up together, a task each: a few groups a thread, or one where samples are few.

    So few tasks cost little, sums of the size of the codebook are few, and each thread reads ahead from one stored
    block to the next. Only on threads: blocks in the memory of workers need not travel to each other.
    """
    n_blocks = len(samples.block_rows)
    if active_client() is not None:
        return [range(i, i + 1) for i in range(n_blocks)]
    threads = dask.config.get("num_workers", None) or CPU_COUNT
    n_groups = min(n_blocks, max(threads, min(GROUPS_A_THREAD * threads, samples.n_samples // (2 * n_nodes))))
    edges = [n_blocks * i // n_groups for i in range(n_groups + 1)]
    # Stored rows are read piece by piece; other blocks, and weights, are all there before a group begins, if they
    # have not been there before.
    held = 0 if samples.reads_pieces else samples.array.dtype.itemsize * samples.n_features
    held += 0 if samples.weights is None else 16
    if samples.in_memory or not held:
        return [range(start, stop) for start, stop in pairwise(edges)]
    most = max(GROUP_BYTES, 16 * n_nodes * samples.n_features) // held
    return [part for start, stop in pairwise(edges) for part in _within(samples.block_rows, start, stop, most)]


def _within(block_rows: Sequence[int], start: int, stop: int, most: int) -> Iterator[range]:
    """Blocks from `start` to `stop` in groups of at most so many rows; a larger block is alone."""
    rows = 0
    for i in range(start, stop):
        if rows and rows + block_rows[i] > most:
            yield range(start, i)
            start, rows = i, 0
        rows += block_rows[i]
    yield range(start, stop)


def exact_codebook(
    codebook: np.ndarray, lattice: Lattice, summary: DataSummary, preparation: Preparation, device: Device = "cpu"
) -> SharedCodebook:
    """A codebook (M, K) for exact sums of the samples of a summary."""
    least, most, small = fixed_range(summary, preparation)
    return SharedCodebook.exact(
        codebook, lattice, device, n=summary.taken, least=least, most=most, small=small,
        weights=summary.weights, preparation=preparation,
    )  # fmt: skip


def epoch_sums(
    samples: Samples,
    codebook: np.ndarray,
    lattice: Lattice,
    summary: DataSummary,
    device: Device = "cpu",
    precision: Precision = "exact",
    preparation: Preparation | None = None,
) -> BatchSums:
    """Sums of all samples under a codebook: one pass over the data.

    The codebook, (M, K) in the space of `preparation`, enters the graph as one task that all others depend on: a
    copy lost with its worker is made again from the graph, and no task carries its own.

    Raises
    ------
    DataError
        If the samples are not those of `summary` any more; the message names a block. Exact sums only.
    ClusterError
        If not every block was counted once.
    """
    preparation = preparation or Preparation.none(samples.n_features)
    if precision == "exact":
        shared = exact_codebook(codebook, lattice, summary, preparation, device)
    else:
        shared = SharedCodebook(codebook, lattice, device, preparation=preparation)
    broadcast = delayed(broadcast_codebook, pure=False)(shared)
    task = delayed(block_sums, pure=False)
    # Rounded sums depend on how blocks are grouped, so there each stays alone on every machine.
    whole = precision == "exact" and device == "cpu"
    blocks = samples.blocks() if device == "cpu" else samples.delayed_blocks()
    weights = samples.weight_blocks()
    groups = groups_of_blocks(samples, len(codebook)) if whole else [range(i, i + 1) for i in range(len(blocks))]
    known = {(first, rows): fingerprint for first, rows, fingerprint in summary.blocks}
    rows, name = rows_of_blocks(samples), samples.description or "the samples"
    firsts = samples.block_starts if samples.grid is None else [samples.rows_of(i).first for i in range(len(blocks))]
    parts = []
    for group in groups:
        ledger = [known.get((firsts[i], samples.block_rows[i])) for i in group]
        expected = None if None in ledger else ledger
        heavy = None if weights is None else [weights[i] for i in group]
        parts.append(
            task([blocks[i] for i in group], heavy, broadcast, group[0], [rows[i] for i in group], expected, name)
        )
    (sums,) = compute(tree_sum(parts))
    if sums.samples != samples.n_samples:
        raise ClusterError(f"an epoch counted {sums.samples} samples of {samples.n_samples}; run it again")
    if not isinstance(sums, WholeSums) or shared.whole is None:
        return sums
    if sums.fingerprint != summary.fingerprint:
        raise DataError(
            f"{samples.description or 'the samples'}: an epoch read other samples than the first pass; start again"
        )
    return sums.rounded(shared.whole, codebook.shape[1])
