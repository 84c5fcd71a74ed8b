"""`lattices`: the errors of ours, XPySom and Somoclu on the same lattice, each by its own defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import dask
import numpy as np
from threadpoolctl import threadpool_limits

from tests.benchmarks.maps import MEASURES, Maker, ours, somoclu, xpysom
from tests.benchmarks.schedules import Setting, against, measure
from tests.benchmarks.small_data import SMALL_DATA
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options, Skipped

__all__ = ["run"]

OURS = "ours"
MAKERS: dict[str, Maker] = {OURS: ours(), "XPySom": xpysom, "Somoclu": somoclu}
SETTINGS = (
    Setting(topology="rectangular", seeds=5),
    Setting(topology="hexagonal", seeds=5),
    Setting(topology="rectangular", side=20, seeds=5),
)
NOTES = (
    "70/30 splits, one a seed; QE and TE by one function for all, in percent for TE",
    "rectangular: eight neighbors; hexagonal: six (XPySom's rows are a whole unit apart, and Somoclu rounds the half",
    "steps between rows down to whole ones)",
    "ours: these four errors better +, worse -, neither = than the other's, by two standard errors seed by seed",
)


def _row(name: str, found: Mapping[str, np.ndarray]) -> list[Any]:
    row: list[Any] = [name]
    for label, values in found.items():
        qe, qe_holdout, te, te_holdout = values.mean(axis=0)
        row.append(f"{qe:.3f} {qe_holdout:.3f} {100 * te:.1f} {100 * te_holdout:.1f}")
        if label != OURS:
            row.append(against(found[OURS], values))
    return row


def _count(found: list[Mapping[str, np.ndarray]], label: str) -> list[str]:
    """Data sets where ours is better/worse, and the mean change, for each of the measures."""
    pairs = [(each[OURS].mean(axis=0), each[label].mean(axis=0)) for each in found]
    signs = [against(each[OURS], each[label]) for each in found]
    told = []
    for i in range(len(MEASURES)):
        relative = 100 * (np.exp(np.mean([np.log(a[i] / b[i]) for a, b in pairs])) - 1) if i < 2 else 0.0
        change = f"{relative:+.1f} %" if i < 2 else f"{100 * np.mean([a[i] - b[i] for a, b in pairs]):+.1f}"
        told.append(f"{sum(s[i] == '+' for s in signs)}/{sum(s[i] == '-' for s in signs)} {change}")
    return told


def run(options: Options) -> list[dict[str, Any]]:
    """Measure, print the tables, and return the errors of every seed."""
    results, reasons = [], []
    for setting in (Setting(side=4, epochs=3, seeds=2),) if options.quick else SETTINGS:
        found: dict[str, dict[str, np.ndarray]] = {}
        makers = dict(MAKERS)
        for label in list(makers):
            try:
                makers[label](np.random.default_rng(0).random((20, 2)), 3, setting.topology, 1, 0)
            except Skipped as reason:
                reasons.append(f"skipped {reason}")
                del makers[label]
        for name, load in SMALL_DATA.items():
            if options.quick and name != "iris":
                continue
            try:
                table = load()
            except Skipped as reason:
                reasons.append(f"skipped {reason}")
                continue
            options.say(f"lattices: {name}, {setting}")
            with dask.config.set(scheduler="synchronous"), threadpool_limits(1):
                found[name] = measure(table, setting, makers)
        peers = [label for label in makers if label != OURS]
        columns = ["", "ours: QE QE TE TE", *(c for peer in peers for c in (peer, "ours"))]
        show(f"lattices: {setting}", columns, [_row(*each) for each in found.items()], NOTES)
        rows = [[peer, *_count(list(found.values()), peer)] for peer in peers]
        show(f"lattices: {setting}, ours better/worse", ["", *MEASURES], rows)
        plain = {n: {label: np.round(v, 6).tolist() for label, v in each.items()} for n, each in found.items()}
        results.append({**asdict(setting), "measures": MEASURES, "errors": plain})
    for reason in dict.fromkeys(reasons):
        print(f"  {reason}")
    return results
