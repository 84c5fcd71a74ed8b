"""Made-up cells of known kinds, as cytometry measures them: some kinds rare, each with its own on and off markers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

__all__ = ["HELD_OUT", "TUNED_ON", "Cells", "Design", "make_cells"]

UNGATED = -1  # cells of no kind


@dataclass(frozen=True, kw_only=True)
class Design:
    """How cells are made.

    Parameters
    ----------
    kinds, rare : int
        Number of kinds, and how many of them are rare: from 0.1 to 1 % of the cells, evenly in the logarithm.
    markers, silent : int
        Number of features, and how many of them tell nothing.
    width : float
        Standard deviation of a marker within a kind, where levels are about 3 apart.
    tree : bool
        Whether kinds come from one another by switching a few markers, as in lineages; otherwise markers are
        on or off at random.
    uneven : float
        How much the shares of the kinds that are not rare differ: the standard deviation of their logarithms.
    shape : {"normal", "bent", "heavy", "counts"}
        Within a kind: normal with some markers correlated; a curved band; heavy tails (t with 4 degrees of freedom);
        or counts of ions with a large share of zeros.
    ungated : float
        Share of cells of no kind: doublets, the mean of two cells, and cells on the way from one kind to another.
    """

    kinds: int
    rare: int
    markers: int
    silent: int = 0
    width: float = 0.5
    tree: bool = True
    uneven: float = 0.8
    shape: Literal["normal", "bent", "heavy", "counts"] = "normal"
    ungated: float = 0.0


TUNED_ON: dict[str, Design] = {
    "plain": Design(kinds=10, rare=3, markers=15),
    "many kinds": Design(kinds=20, rare=6, markers=30, silent=4, width=0.6),
    "one kind leads": Design(kinds=8, rare=3, markers=10, uneven=1.8, shape="bent"),
    "doublets": Design(kinds=14, rare=4, markers=20, silent=3, ungated=0.06, width=0.6),
}
HELD_OUT: dict[str, Design] = {
    "32 markers": Design(kinds=14, rare=4, markers=32, silent=6, ungated=0.04, width=0.65),
    "13 markers": Design(kinds=24, rare=7, markers=13, width=0.5),
    "heavy tails": Design(kinds=12, rare=4, markers=18, silent=2, shape="heavy", width=0.45),
    "counts": Design(kinds=16, rare=5, markers=24, silent=3, shape="counts", ungated=0.03),
    "bent": Design(kinds=9, rare=2, markers=12, shape="bent", tree=False, uneven=1.4),
    "mostly rare": Design(kinds=12, rare=8, markers=20, silent=4, tree=False, ungated=0.05, width=0.7),
}


class Cells(NamedTuple):
    """Cells, (n, D) float32, and the kind of each, (n,) int64, -1 for those of no kind."""

    values: np.ndarray
    kinds: np.ndarray


def make_cells(design: Design, n: int, seed: int) -> Cells:
    """Make cells; each seed has kinds of its own."""
    rng = np.random.default_rng(seed)
    levels = _levels(design, rng)
    kinds = rng.choice(design.kinds, size=n, p=_shares(design, rng))
    values = np.empty((n, design.markers))
    for kind in range(design.kinds):
        some = np.flatnonzero(kinds == kind)
        values[some] = levels[kind] + _scatter(design, len(some), rng)
    if design.ungated:
        one, other = rng.integers(n, size=(2, int(n * design.ungated)))
        ways = rng.random((len(one), 1)) * 0.6 + 0.2
        mixed = rng.permutation(n)[: len(one)]
        values[mixed] = ways * values[one] + (1 - ways) * values[other]
        kinds = kinds.copy()
        kinds[mixed] = UNGATED
    if design.shape == "counts":
        values = np.arcsinh(rng.poisson(2.0 * np.sinh(np.clip(values, 0, None)) * rng.gamma(4, 0.25, (n, 1))) / 5)
    return Cells(values.astype(np.float32), kinds)


def _levels(design: Design, rng: np.random.Generator) -> np.ndarray:
    """Draw the level of each marker in each kind, (kinds, D): 0.5, 2 or 4, no two kinds alike."""
    telling = design.markers - design.silent
    levels = np.full((design.kinds, design.markers), 0.5)
    steps, made = np.array([0.5, 2.0, 4.0]), 0
    while made < design.kinds:
        if design.tree and made:
            new = levels[rng.integers(made), :telling].copy()
            some = rng.choice(telling, size=min(3, telling), replace=False)
            new[some] = rng.choice(steps, size=len(some))
        else:
            new = rng.choice(steps, size=telling, p=[0.6, 0.15, 0.25])
        if made == 0 or np.abs(levels[:made, :telling] - new).max(axis=1).min() > 1.9:
            levels[made, :telling] = new
            made += 1
    return levels


def _shares(design: Design, rng: np.random.Generator) -> np.ndarray:
    rare = 10 ** rng.uniform(-3, -2, design.rare)
    common = np.exp(design.uneven * rng.normal(size=design.kinds - design.rare))
    common = np.maximum(common / common.sum(), 0.015)
    shares = np.concatenate([common / common.sum() * (1 - rare.sum()), rare])
    return rng.permutation(shares)


def _scatter(design: Design, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw deviations from the levels of a kind, (n, D)."""
    noise = rng.normal(size=(n, design.markers))
    if design.shape == "heavy":
        noise = rng.standard_t(4, size=(n, design.markers)) / np.sqrt(2)
    shared = rng.normal(size=(n, 2)) @ (rng.normal(size=(2, design.markers)) * 0.5)
    if design.shape == "bent":
        along = rng.uniform(-1.5, 1.5, size=(n, 1))
        shared = along * rng.normal(size=design.markers) * 0.7 + along**2 * rng.normal(size=design.markers) * 0.5
    return design.width * (noise + shared)
