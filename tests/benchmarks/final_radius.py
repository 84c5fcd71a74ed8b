"""`final_radius`: the default, one by the intrinsic dimension, and one by a validation part, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import dask
import numpy as np
from threadpoolctl import threadpool_limits

from som_dask.algorithm.lattice import Lattice
from som_dask.training.batch import batch_epochs
from som_dask.training.config import MapConfig
from som_dask.training.run import Epoch
from tests.benchmarks.maps import MEASURES, Map, errors
from tests.benchmarks.phases import LARGE_DATA
from tests.benchmarks.schedules import against
from tests.benchmarks.small_data import SMALL_DATA, Table, split
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options, Skipped

__all__ = ["DATA", "DESIGN", "Setting", "combined_error", "measure", "run"]

DEFAULT, AUTO = "default", "auto"
FINAL_RADII = (0.3, 0.36, 0.42, 0.48, 0.54, 0.6, 0.7)
# Of the final radii, the one whose map of a part of the samples has the least of these errors on the others.
VALIDATIONS = ("validation, QE", "validation, C")
EPOCHS: dict[str, dict[str, Any]] = {
    "10 epochs": {"epochs": 10},
    "10 epochs, settled": {"epochs": 10, "tolerance": 0.001},
    "20 epochs, settled": {"epochs": 20, "tolerance": 0.001},
    "40 epochs": {"epochs": 40},
    "40 epochs, settled": {"epochs": 40, "tolerance": 0.001},
    "40 epochs to 0.49": {"epochs": 40, "final_radius": 0.49},
}
ALL_MEASURES = (*MEASURES, "C holdout")
VALIDATED = 0.2  # of the training part
NOTES = (
    "70/30 splits, one a seed, which is the map's too; hexagonal maps by default settings but for what is named",
    "C: combined error (Kaski and Lagus, 1996)",
    f"validation: of the final radii {', '.join(map(str, FINAL_RADII))} the one whose map of 80 % of the training",
    "part has the least QE, or C, on the other 20 %; the map is then trained on all of it",
    "changes beside the default: QE train, QE holdout in percent, TE train, TE holdout in points, C in percent",
    "signs of these five: better +, worse -, neither =, by two standard errors of the differences seed by seed",
    "settled: with a tolerance of 0.001 there are up to 30 more epochs at the final radius",
)


def _low_rank(n: int, rng: np.random.Generator) -> np.ndarray:
    """Samples of 20 features along ever fainter directions."""
    strength = np.exp(-np.arange(20) / 2)
    return (rng.normal(size=(n, 20)) * strength) @ np.linalg.qr(rng.normal(size=(20, 20)))[0]


def _rings(n: int, rng: np.random.Generator) -> np.ndarray:
    """A line and two rings in the plane, blurred, in five features."""
    angle, kind = 2 * np.pi * rng.random(n), rng.integers(3, size=n)
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) * np.where(kind == 0, 1, 2.5)[:, None]
    line = np.column_stack([6 * rng.random(n) - 3, np.full(n, 3.5)])
    flat = np.where(kind[:, None] == 2, line, ring)
    return flat @ rng.normal(size=(2, 5)) + rng.normal(size=(n, 5)) * 0.1


MADE = {**LARGE_DATA, "low rank": _low_rank, "rings": _rings}
DATA: dict[str, Callable[[int], Table]] = {
    **{name: lambda n, load=load: load() for name, load in SMALL_DATA.items() if name not in ("blobs", "swiss_roll")},
    **{
        f"{name} (made)": lambda n, make=make: Table(make(n, np.random.default_rng(1)))
        for name, make in MADE.items()
        if name != "digits"
    },
}
# What the number of samples drawn and the bounds of the radius were chosen by; the others only judged the result.
DESIGN = ("iris", "digits", "blobs (made)", "noise, D = 3 (made)", "swiss roll (made)")


@dataclass(frozen=True)
class Setting:
    """What all are given: a square map, from how many to how many samples, and the seeds 0, 1, ..."""

    side: int = 10
    most: int = 20_000
    seeds: int = 5
    least: int = 0
    every: bool = True  # contestant; otherwise only the final radii near the default and the chosen one

    def __str__(self) -> str:
        return f"{self.side} x {self.side} nodes, up to {self.most:,} samples, {self.seeds} seeds"


SETTINGS = (
    Setting(),
    Setting(side=20, least=1500, every=False),
    Setting(most=80_000, least=80_000, every=False),  # two phases
)
QUICK = (Setting(side=4, seeds=2),)


def combined_error(samples: np.ndarray, made: Map) -> float:
    """Mean way from a sample to its best matching unit and on, from neighbor to neighbor, to the second best.

    S. Kaski, K. Lagus, Comparing self-organizing maps, ICANN 1996.
    """
    from scipy.sparse.csgraph import dijkstra
    from scipy.spatial.distance import cdist

    between = np.where(made.adjacent, np.maximum(cdist(made.codebook, made.codebook), 1e-300), 0)
    ways, found = dijkstra(between, directed=False), 0.0
    for start in range(0, len(samples), 1024):
        distances = cdist(samples[start : start + 1024], made.codebook)
        first, second = np.argpartition(distances, 1, axis=1)[:, :2].T
        found += float(np.sum(distances[np.arange(len(first)), first] + ways[first, second]))
    return found / len(samples)


def _make_map(samples: np.ndarray, side: int, **options: Any) -> tuple[Map, Epoch]:
    """Train a map; return it, and the last epoch."""
    lattice = Lattice(side, side)
    for epoch in batch_epochs(samples, lattice, MapConfig(**options)):
        last = epoch
    node = np.arange(lattice.n_nodes)
    adjacent = lattice.adjacent(node[:, None], node[None, :])
    return Map(last.codebook.reshape(lattice.n_nodes, -1), adjacent), last


def _validate(samples: np.ndarray, side: int, seed: int) -> list[float]:
    """Choose final radii by a validation part, one for each of the `VALIDATIONS`."""
    order = np.random.default_rng(seed).permutation(len(samples))
    held = round(VALIDATED * len(order))
    part, others = samples[order[:held]], samples[order[held:]]
    maps = [_make_map(others, side, final_radius=radius, seed=seed)[0] for radius in FINAL_RADII]
    found = [[errors(part, made)[0] for made in maps], [combined_error(part, made) for made in maps]]
    return [FINAL_RADII[int(np.argmin(each))] for each in found]


def _contestants(train: np.ndarray, setting: Setting, seed: int) -> dict[str, dict[str, Any]]:
    """Options of `MapConfig` of each contestant."""
    radii = FINAL_RADII if setting.every else (0.42, 0.48, 0.54)
    found: dict[str, dict[str, Any]] = {DEFAULT: {}, AUTO: {"final_radius": "auto"}}
    found |= {str(radius): {"final_radius": radius} for radius in radii}
    if setting.every:
        chosen = zip(VALIDATIONS, _validate(train, setting.side, seed), strict=True)
        found |= {label: {"final_radius": radius} for label, radius in chosen} | EPOCHS
    return found


def measure(table: Table, setting: Setting) -> dict[str, dict[str, Any]]:
    """Errors, (seeds, 5) float64, by `ALL_MEASURES`, final radii and numbers of epochs of each contestant."""
    found: dict[str, dict[str, list[Any]]] = {}
    for seed in range(setting.seeds):
        train, holdout = split(table, seed)
        for label, options in _contestants(train, setting, seed).items():
            made, last = _make_map(train, setting.side, seed=seed, **options)
            (qe, te), (qe_holdout, te_holdout) = errors(train, made), errors(holdout, made)
            each = found.setdefault(label, {"errors": [], "radius": [], "epochs": []})
            each["errors"].append([qe, qe_holdout, te, te_holdout, combined_error(holdout, made)])
            each["radius"].append(last.radius)
            each["epochs"].append(last.index + 1)
    return {label: {**each, "errors": np.array(each["errors"])} for label, each in found.items()}


def _changes(found: np.ndarray, default: np.ndarray) -> np.ndarray:
    """Changes of the means beside the default, (5,): QE and C in percent, TE in points."""
    mean, usual = found.mean(axis=0), default.mean(axis=0)
    relative = 100 * np.log(np.maximum(mean, 1e-300) / np.maximum(usual, 1e-300))
    return np.where([False, False, True, True, False], 100 * (mean - usual), relative)


def _say(changes: np.ndarray) -> str:
    return " ".join(f"{change:+.1f}" for change in changes)


def _show_each(found: Mapping[str, Any], setting: Setting) -> None:
    """Print the changes of each data set by itself."""
    rows = []
    for name, results in found.items():
        usual = results[DEFAULT]["errors"]
        qe, qe_holdout, te, te_holdout, _ = usual.mean(axis=0)
        row = [name, "design" if name in DESIGN else "held out", f"{qe:.4f} {qe_holdout:.4f}"]
        row.append(f"{100 * te:.1f} {100 * te_holdout:.1f}")
        for label in (AUTO, *VALIDATIONS[1:]) if setting.every else (AUTO,):
            own = results[label]["errors"]
            row += [
                f"{np.mean(results[label]['radius']):.2f}",
                f"{_say(_changes(own, usual))} {against(own, usual)}",
            ]
        rows.append(row)
    heads = ["", "", "default: QE", "TE %", "auto", "changes"]
    show(f"final_radius: {setting}", heads + (["validation, C", "changes"] if setting.every else []), rows, NOTES)


def _show_means(found: Mapping[str, Any], setting: Setting) -> None:
    """Print the mean changes of the data sets of design, and of those held out from it."""
    rows = []
    parts = {"design": [n for n in found if n in DESIGN], "held out": [n for n in found if n not in DESIGN]}
    for part, names in parts.items():
        for label in next(iter(found.values())) if names else []:
            pairs = [(found[name][label]["errors"], found[name][DEFAULT]["errors"]) for name in names]
            signs = [against(*pair) for pair in pairs]
            counts = [[sum(sign[i] == kind for sign in signs) for kind in "+-"] for i in range(len(ALL_MEASURES))]
            both = sum("+" in sign[:2] and "+" in sign[2:4] and "-" not in sign[:4] for sign in signs)
            epochs = np.mean([np.mean(found[name][label]["epochs"]) for name in names])
            told = [f"{c:+.2f} {n[0]}/{n[1]}" for c, n in zip(_means(pairs), counts, strict=True)]
            rows.append([f"{part} ({len(names)}): {label}", *told, both, f"{epochs:.0f}"])
    show(
        f"final_radius: {setting}, means of the changes",
        ["", *ALL_MEASURES, "both better", "epochs"],
        rows,
        ["each measure: mean change, and data sets better/worse; both better: QE and TE, neither worse anywhere"],
    )


def _means(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    means: np.ndarray = np.mean([_changes(*pair) for pair in pairs], axis=0)
    return means


def run(options: Options) -> list[dict[str, Any]]:
    """Measure, print the tables, and return the errors of every seed."""
    results, reasons = [], []
    for setting in QUICK if options.quick else SETTINGS:
        found = {}
        for name, load in DATA.items():
            if options.quick and name != "iris":
                continue
            try:
                table = load(setting.most)
            except (Skipped, ImportError) as reason:
                reasons.append(f"skipped {reason}")
                continue
            if len(table.values) < setting.least:
                continue
            options.say(f"final_radius: {name}, {setting}")
            with dask.config.set(scheduler="synchronous"), threadpool_limits(1):
                found[name] = measure(table, setting)
        _show_each(found, setting)
        _show_means(found, setting)
        plain = {
            name: {label: {**r, "errors": np.round(r["errors"], 6).tolist()} for label, r in each.items()}
            for name, each in found.items()
        }
        results.append({**asdict(setting), "measures": ALL_MEASURES, "design": DESIGN, "found": plain})
    for reason in dict.fromkeys(reasons):
        print(f"  {reason}")
    return results
