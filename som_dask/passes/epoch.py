"""The pass of an epoch: sums of all samples for a codebook, with proof that each sample counted exactly once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.codebook import SharedCodebook, scales_for
from som_dask.engine.cpu import CPU_EXACT
from som_dask.engine.partial import ExactPartial, Partial
from som_dask.engine.protocol import Engine
from som_dask.errors import ClusterError, DataError
from som_dask.passes.checked import CheckedBlocks
from som_dask.passes.last_nodes import LastNodes
from som_dask.passes.run import Group, Pass, run_pass
from som_dask.passes.scaling import range_of_points, shares_of_values
from som_dask.passes.summary import DataSummary, summarize_block
from som_dask.samples.table import Samples

__all__ = ["epoch_sums", "share_codebook"]

CHECKED, LAST = CheckedBlocks(), LastNodes()  # kept blocks of this process


def share_codebook(
    codebook: np.ndarray, lattice: Lattice, summary: DataSummary, space: FeatureSpace, engine: Engine = CPU_EXACT
) -> SharedCodebook:
    """Prepare a codebook for the workers, with the scales of exact sums.

    Parameters
    ----------
    codebook : (M, K) float64
        The scaled codebook.
    lattice : Lattice with M nodes
    summary : DataSummary
        Summary of the samples to add up.
    space : FeatureSpace
    engine : Engine

    Returns
    -------
    SharedCodebook
    """
    if not engine.exact:
        return SharedCodebook(codebook, lattice, space, engine)
    least, most, small = range_of_points(summary, space)
    scales = scales_for(
        codebook,
        space,
        n=summary.taken,
        least=least,
        most=most,
        small=small,
        weights=summary.weights,
        shares=shares_of_values(summary, space) if space.value_errors else None,
    )
    return SharedCodebook(codebook, lattice, space, engine, scales)


def epoch_sums(
    samples: Samples,
    codebook: np.ndarray,
    lattice: Lattice,
    summary: DataSummary,
    space: FeatureSpace | None = None,
    engine: Engine = CPU_EXACT,
    label: str = "",
) -> Partial:
    """Search and add up all samples for a codebook, in one pass over the data.

    Parameters
    ----------
    samples : Samples
    codebook : (M, K) float64
        The scaled codebook.
    lattice : Lattice with M nodes
    summary : DataSummary
        Summary of these samples.
    space : FeatureSpace, optional
        By default samples are used without scaling.
    engine : Engine
    label : str
        Which epoch it is, for the names of tasks; see `som_dask.passes.run.Pass`.

    Returns
    -------
    Partial

    Raises
    ------
    DataError
        If the samples have changed since `summary` was made; the message names a block. Checked for exact sums only,
        and for blocks that are kept in memory only when a process meets them for the first time.
    ClusterError
        If samples were lost or counted twice.
    """
    space = space or FeatureSpace.plain(samples.n_features)
    shared = share_codebook(codebook, lattice, summary, space, engine)
    look = Pass(
        name="epoch_sums",
        of_group=functools.partial(_add_up_and_check, kept=samples.in_memory and samples.device == "cpu"),
        joins=engine.exact and engine.device == "cpu",
        nodes=len(codebook),
        device=engine.device,
        label=label,
    )
    sums = run_pass(look, samples, shared, _ledger_of(samples, summary) if engine.exact else None)
    if sums.samples != samples.n_samples:
        raise ClusterError(f"an epoch counted {sums.samples} samples of {samples.n_samples}; run it again")
    if not isinstance(sums, ExactPartial) or shared.scales is None:
        return sums
    if sums.fingerprint != summary.fingerprint:
        raise DataError(
            f"{samples.description or 'the samples'}: an epoch read other samples than the first pass; start again"
        )
    return sums.rounded(shared.scales)


def _ledger_of(samples: Samples, summary: DataSummary) -> list[int | None]:
    """Return the fingerprint of each block as the first pass found it, or None if the first pass had other blocks."""
    known = {(first, rows): fingerprint for first, rows, fingerprint in summary.blocks}
    firsts = [numbers.first for numbers in samples.row_numbers()]
    return [known.get(block) for block in zip(firsts, samples.block_rows, strict=True)]


def _add_up_and_check(group: Group, shared: SharedCodebook, *, kept: bool) -> Partial | ExactPartial:
    """Add up a group, and check that its blocks are the same as in the first pass.

    Hashing takes a tenth of an epoch on a small map, so blocks that are kept are checked once.
    """
    expected: Sequence[Any] = () if None in group.own else group.own
    block = group.joined
    if kept and expected and all(map(CHECKED.knows, group.blocks, expected)):
        block = replace(block, fingerprint=sum(expected) % 2**64)
    recalls, n_nodes = kept and shared.engine.device == "cpu", shared.lattice.n_nodes
    if recalls:
        block = LAST.begin(block, group.blocks, n_nodes)
    try:
        sums = shared.add_up(block)
    except DataError as error:
        # Most likely there are values beyond the range that the first pass found.
        if expected and (changed := _find_changed_block(group, sure=False)) is not None:
            raise changed from error
        raise
    if recalls:
        LAST.enter(block, group.blocks, n_nodes)
    if expected and isinstance(sums, ExactPartial):
        if sums.fingerprint != sum(expected) % 2**64:
            raise _find_changed_block(group, sure=True) or DataError(
                f"{group.description} changed while it was read; start again"
            )
        if kept:
            for each, fingerprint in zip(group.blocks, expected, strict=True):
                CHECKED.enter(each, fingerprint)
    return sums


def _find_changed_block(group: Group, *, sure: bool) -> DataError | None:
    """Return an error that names the first block whose fingerprint differs from the ledger; None if there is none.

    If it is `sure` that a block has changed and the group has only one, that block is not read again.
    """
    for place, (block, expected) in enumerate(zip(group.blocks, group.own, strict=True)):
        if (sure and len(group.blocks) == 1) or summarize_block(block).fingerprint != expected:
            return DataError(
                f"{group.name_of(place)} of {group.description} has changed since the first pass over the data; "
                f"start again"
            )
    return None
