"""`schedules`: how good the maps of some schedules are, beside MiniSom and XPySom after as many epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import dask
import numpy as np
from threadpoolctl import threadpool_limits

from som_dask.algorithm.lattice import Topology
from tests.benchmarks.maps import MEASURES, Maker, errors, minisom, ours, xpysom
from tests.benchmarks.small_data import SMALL_DATA, Table, split
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options, Skipped

__all__ = ["Setting", "against", "at_equal_te", "measure", "run", "wins"]

DEFAULT = "ours, default"
PEERS: dict[str, Maker] = {"MiniSom": minisom, "XPySom": xpysom}
# "ours" as it comes is whatever MapConfig() says today; the others say all that matters.
CANDIDATES: dict[str, Maker] = {
    DEFAULT: ours(),
    "side/2 to 1.0": ours(start=1 / 2, final_radius=1.0),
    "side/2 to 0.45": ours(start=1 / 2, final_radius=0.45),
    **{f"side/4 to {final}": ours(start=1 / 4, final_radius=final) for final in (0.5, 0.48, 0.45, 0.4, 0.3)},
}
FINAL_RADII = (1.0, 0.7, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.1)
LADDER = {f"side/4 to {final}": ours(start=1 / 4, final_radius=final) for final in FINAL_RADII}
VARIANTS: dict[str, Maker] = {
    **LADDER,
    "side/7 to 0.45": ours(start=1 / 7, final_radius=0.45),
    "linear, side/4 to 0.45": ours(start=1 / 4, final_radius=0.45, radius_decay="linear"),
    "asymptotic, side/4 to 0.45": ours(start=1 / 4, final_radius=0.45, radius_decay="asymptotic"),
    "random, side/4 to 0.45": ours(start=1 / 4, final_radius=0.45, initialization="random"),
    "sample, side/4 to 0.45": ours(start=1 / 4, final_radius=0.45, initialization="sample"),
}
CHOSEN = ("side/2 to 1.0", "side/4 to 0.48")  # compared in more settings
# Literature: 10 x 10 hexagonal, z-scored; quantization error on the training part and on the part held out.
PUBLISHED = {
    "iris": (0.1823, 0.3657),
    "wine": (1.1334, 1.9354),
    "breast_cancer": (2.2132, 2.6474),
    "digits": (4.2735, 4.5856),
    "diabetes": (1.3289, 1.6952),
}
NOTES = (
    "70/30 splits, one a seed, which is the initialization's too; scaled by the training part: features z-scored,",
    "of the two fields (height, sea_surface) anomalies times sqrt(cos latitude), divided by their root mean square",
    "QE and TE by one function for all, from each one's codebook and the neighbors on its own lattice",
    "MiniSom: train with epochs x n updates, samples in turn; XPySom: batch epochs on NumPy; both by their defaults",
)


@dataclass(frozen=True)
class Setting:
    """What all contestants are given: a square map, its topology, the epochs, and the seeds 0, 1, ..."""

    side: int = 10
    topology: Topology = "hexagonal"
    epochs: int = 20
    seeds: int = 20

    def __str__(self) -> str:
        return f"{self.side} x {self.side} {self.topology}, {self.epochs} epochs, {self.seeds} seeds"


def measure(table: Table, setting: Setting, makers: Mapping[str, Maker]) -> dict[str, np.ndarray]:
    """The four errors of each contestant, (seeds, 4) float64: see `MEASURES`."""
    found = {name: np.empty((setting.seeds, len(MEASURES))) for name in makers}
    for seed in range(setting.seeds):
        samples, holdout = split(table, seed)
        for name, make in makers.items():
            made = make(samples, setting.side, setting.topology, setting.epochs, seed)
            (qe, te), (qe_holdout, te_holdout) = errors(samples, made), errors(holdout, made)
            found[name][seed] = qe, qe_holdout, te, te_holdout
    return found


def against(found: np.ndarray, other: np.ndarray) -> str:
    """Four signs, one a measure: + better (lower), - worse, = neither.

    The means over the seeds must differ by more than two standard errors of the differences, taken seed by seed.
    """
    differences = found - other
    mean, n = differences.mean(axis=0), len(differences)
    error = differences.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.zeros_like(mean)
    return "".join("=" if abs(m) <= 2 * e else "+" if m < 0 else "-" for m, e in zip(mean, error, strict=True))


def wins(signs: str) -> bool:
    """Better on one QE or both and worse on none, at equal or better TE."""
    return "+" in signs[:2] and "-" not in signs


def _tables(reasons: list[str]) -> dict[str, Table]:
    """All data sets that are there."""
    tables = {}
    for name, load in SMALL_DATA.items():
        try:
            tables[name] = load()
        except Skipped as reason:
            reasons.append(f"skipped {reason}")
    return tables


def _peers(reasons: list[str]) -> dict[str, Maker]:
    """Both peers, where they are installed."""
    found = {}
    for name, make in PEERS.items():
        try:
            make(np.random.default_rng(0).random((4, 2)), 2, "hexagonal", 1, 0)
        except Skipped as reason:
            reasons.append(f"skipped {reason}")
        else:
            found[name] = make
    return found


def _measured(
    tables: Mapping[str, Table], setting: Setting, makers: Mapping[str, Maker], options: Options, what: str
) -> dict[str, dict[str, np.ndarray]]:
    results = {}
    for name, table in tables.items():
        options.say(f"schedules: {what}, {name}, {setting}")
        results[name] = measure(table, setting, makers)
    return results


def _show_each(found: dict[str, dict[str, np.ndarray]], setting: Setting, peers: Mapping[str, Maker]) -> None:
    """Means and standard deviations, each data set by itself."""
    rows = []
    for name, results in found.items():
        for label, values in results.items():
            spread = [f"{m:.4f} ± {s:.4f}" for m, s in zip(values.mean(axis=0), values.std(axis=0), strict=True)]
            signs = [None if label in peers else against(values, results[peer]) for peer in peers]
            rows.append([f"{name}: {label}", *spread, *signs])
        if name in PUBLISHED and (setting.side, setting.topology) == (10, "hexagonal"):
            rows.append(
                [f"{name}: published", *(f"{value:.4f}" for value in PUBLISHED[name]), *[None] * (2 + len(peers))]
            )
    show(
        f"schedules: {setting}, mean ± standard deviation over the seeds",
        ["", *MEASURES, *(f"vs {peer}" for peer in peers)],
        rows,
        [
            *NOTES,
            "vs: better +, worse -, neither = on these four, by two standard errors of the differences seed by seed",
        ],
    )


def _show_counts(title: str, found: dict[str, dict[str, np.ndarray]], peers: Mapping[str, Maker]) -> None:
    """Data sets won, tied and lost, and mean differences, all data sets together."""
    labels = [label for label in next(iter(found.values())) if label not in peers]
    columns = [""]
    for peer in peers:
        columns += [f"wins vs {peer}", *MEASURES]
    rows = []
    for label in labels:
        row: list[Any] = [label]
        for peer in peers:
            signs = [against(results[label], results[peer]) for results in found.values()]
            row.append(f"{sum(map(wins, signs))} of {len(signs)}")
            for i in range(len(MEASURES)):
                pairs = [(r[label][:, i].mean(), r[peer][:, i].mean()) for r in found.values()]
                count = [sum(s[i] == sign for s in signs) for sign in "+=-"]
                if i < 2:
                    change = f"{100 * (np.exp(np.mean([np.log(a / b) for a, b in pairs])) - 1):+.1f}%"
                else:
                    change = f"{100 * np.mean([a - b for a, b in pairs]):+.1f}"
                row.append(f"{'/'.join(map(str, count))} {change}")
        rows.append(row)
    show(
        title,
        columns,
        rows,
        [
            "wins: data sets with a lower QE (train, holdout or both, neither higher) at equal or lower TE",
            "each measure: data sets better/equal/worse than that package; mean change of QE, of TE in points",
        ],
    )


def at_equal_te(ladder: Sequence[np.ndarray], peer: np.ndarray) -> list[float | None]:
    """Our least QE at no more than a peer's TE, over the peer's QE: on the training part, and held out.

    Parameters
    ----------
    ladder : sequence of (seeds, 4) float64
        Our errors for one final radius each; means over the seeds are interpolated between them.
    peer : (seeds, 4) float64

    Returns
    -------
    list of two
        None where no radius of the ladder has so low a TE.
    """
    ours_means, peer_means = np.array([values.mean(axis=0) for values in ladder]), peer.mean(axis=0)
    ratios: list[float | None] = []
    for qe, te in ((0, 2), (1, 3)):
        order = np.argsort(ours_means[:, te], kind="stable")
        errors_there, known, allowed = ours_means[order, qe], ours_means[order, te], peer_means[te]
        if known[0] > allowed:
            ratios.append(None)
            continue
        least = min(np.interp(allowed, known, errors_there), *errors_there[known <= allowed])
        ratios.append(float(least / peer_means[qe]))
    return ratios


def _show_equal(found: dict[str, dict[str, np.ndarray]], setting: Setting, peers: Mapping[str, Maker]) -> None:
    """Our QE where our final radius is the best one that gives no more than the TE of a peer."""
    rows: list[list[Any]] = []
    for name, results in found.items():
        ladder = [results[label] for label in LADDER]
        rows.append([name, *(ratio for peer in peers for ratio in at_equal_te(ladder, results[peer]))])
    middle = [[row[i] for row in rows if row[i] is not None] for i in range(1, 1 + 2 * len(peers))]
    rows.append(["geometric mean", *(float(np.exp(np.mean(np.log(m)))) if m else None for m in middle)])
    show(
        f"schedules: our QE over a peer's, at no more than the peer's TE, {setting}",
        ["", *(f"{peer}, {part}" for peer in peers for part in ("train", "holdout"))],
        rows,
        ["over the final radii from side/4 above, interpolated; -: none has so low a TE"],
    )


def _plain(found: dict[str, dict[str, np.ndarray]], setting: Setting, what: str) -> dict[str, Any]:
    """As JSON."""
    return {
        "table": what,
        **asdict(setting),
        "measures": MEASURES,
        "errors": {
            name: {label: np.round(values, 6).tolist() for label, values in results.items()}
            for name, results in found.items()
        },
    }


def run(options: Options) -> list[dict[str, Any]]:
    """Measure, print the tables, and return the errors of every seed."""
    reasons: list[str] = []
    tables, peers = _tables(reasons), _peers(reasons)
    usual, fewer = Setting(), Setting(seeds=5)
    others = [
        *(replace(fewer, epochs=epochs) for epochs in (10, 50)),
        *(replace(fewer, side=side) for side in (5, 20)),
        replace(fewer, topology="rectangular"),
    ]
    if options.quick:
        tables = {name: table for name, table in tables.items() if len(table.values) < 200}
        usual = fewer = Setting(side=5, epochs=5, seeds=2)
        others = [replace(fewer, topology="rectangular")]
    plans = [
        ("candidates", usual, CANDIDATES),
        ("variants", fewer, VARIANTS),
        *(("other settings", setting, {label: CANDIDATES[label] for label in CHOSEN}) for setting in others),
    ]
    results = []
    scheduler = "threads" if options.threads > 1 else "synchronous"
    for what, setting, makers in plans if tables else []:
        with dask.config.set(scheduler=scheduler, num_workers=options.threads), threadpool_limits(options.threads):
            found = _measured(tables, setting, {**makers, **peers}, options, what)
        if makers is CANDIDATES:
            _show_each(found, setting, peers)
        if peers:
            _show_counts(f"schedules: {what}, {setting}", found, peers)
        if peers and makers is VARIANTS:
            _show_equal(found, setting, peers)
        results.append(_plain(found, setting, what))
    for reason in reasons:
        print(f"  {reason}")
    return results
