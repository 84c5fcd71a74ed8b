"""`time_to_quality`: errors of maps against the time and the reads of the data that they took, ours and of others.

``python -m tests.benchmarks.time_to_quality RESULTS.json PICTURE.png`` draws what `--json` has kept.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.data import blobs, digits, manifold, noise, photograph
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options, Skipped
from tests.benchmarks.trainings import TRAININGS, Rounds, Training, count_reads, errors_of, on_one_thread

__all__ = ["DATA", "Point", "Setting", "draw", "measure", "run", "time_until"]

QE_MARGIN, TE_MARGIN = 0.01, 0.01
DATA: dict[str, Callable[[int], np.ndarray]] = {
    "photograph, D = 3": photograph,
    "30 blobs, D = 20": lambda n: blobs(n, 20),
    "noisy surface, D = 18": lambda n: manifold(n, 18),
    "noise, D = 10": lambda n: noise(n, 10),
    "digits, D = 64": lambda n: _scans() if n < 2000 else digits(n),
}
NOTES = (
    "rectangular maps of standardized samples in memory; the defaults of each package but for what the names say",
    "epochs: those of a rough phase, which reads few samples, + those on all samples",
    "CPU s, wall s: of the whole training on one thread, least of the rounds, interleaved. Others used the machine:",
    "  processor time is what to compare, wall time has their share in it",
    "reads: how often all samples are read, ours counted. Before the first epoch ours read them once, and once more",
    "  for the initial plane where there is no rough phase; after the last once, to measure the map. It is all timed",
    "QE, TE: of the codebook on all samples, by our exact search for all; medians of the rounds, each with a seed",
)


@dataclass(frozen=True)
class Setting:
    """What all are given: the number of samples, a square map, and whether it is small enough for online rules."""

    n: int
    side: int
    online: bool
    rounds: int = 3
    patience: float = 40.0

    def __str__(self) -> str:
        return f"{self.n:,} samples, {self.side} x {self.side} nodes"


SETTINGS = (Setting(1797, 8, online=True), Setting(20_000, 10, online=True), Setting(100_000, 14, online=False))


@dataclass(frozen=True)
class Point:
    """What a training of so many epochs took, and how good its map is."""

    contestant: str
    epochs: str
    cpu: float
    wall: float
    reads: float
    qe: float
    te: float
    rounds: int


def _scans() -> np.ndarray:
    """scikit-learn's 1,797 digits as they are, (1797, 64) float32."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise Skipped(f"digits: {error}") from error
    return load_digits().data.astype(np.float32)


def _standardized(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    deviation = values.std(axis=0)
    return ((values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)


def measure(values: np.ndarray, setting: Setting, trainings: Mapping[str, Training]) -> tuple[list[Point], list[str]]:
    """Train in turns, round by round, and measure every codebook; tell why some could not take part."""
    runs: dict[tuple[str, Rounds], list[tuple[float, float, float, float]]] = {}
    reasons, spent = [], dict[tuple[str, Rounds], float]()
    with on_one_thread():
        for name, training in trainings.items():
            if training.online and not setting.online:
                continue
            try:
                training.run(values[: 4 * setting.side**2], setting.side, training.ladder[0], 0)  # compiles
            except Skipped as reason:
                reasons.append(f"skipped {reason}")
                continue
            runs |= {(name, rounds): [] for rounds in training.ladder}
        for seed in range(setting.rounds):
            for (name, rounds), found in runs.items():
                if found and spent[name, rounds] > setting.patience:
                    continue
                wall, cpu = time.perf_counter(), time.process_time()
                codebook = trainings[name].run(values, setting.side, rounds, seed)
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                spent[name, rounds] = spent.get((name, rounds), 0.0) + wall
                found.append((cpu, wall, *errors_of(values, setting.side, codebook)))
        reads = {key: count_reads(trainings[key[0]], values, setting.side, key[1]) for key in runs}
    points = []
    for (name, (rough, epochs)), found in runs.items():
        cpu, wall, qe, te = np.array(found).T
        label = f"{rough} + {epochs}" if rough else str(epochs)
        points.append(
            Point(
                contestant=name,
                epochs=label,
                cpu=float(cpu.min()),
                wall=float(wall.min()),
                reads=round(reads[name, (rough, epochs)], 3),
                qe=float(np.median(qe)),
                te=float(np.median(te)),
                rounds=len(found),
            )
        )
    return points, reasons


def time_until(points: Sequence[Point], qe: float, te: float) -> Point | None:
    """Return the point of least processor time that is within the margins of these errors; None if there is none."""
    good = [p for p in points if p.qe <= (1 + QE_MARGIN) * qe and p.te <= te + TE_MARGIN]
    return min(good, key=lambda point: point.cpu, default=None)


def _aims(points: Sequence[Point]) -> dict[str, Point]:
    """Return the maps to be as good as: that of the least error of all, and the last one of each contestant."""
    return {"least QE": min(points, key=lambda p: p.qe)} | {p.contestant: p for p in points}


def _summary_rows(name: str, points: Sequence[Point], contestants: Sequence[str]) -> list[list[Any]]:
    rows = []
    for aim, target in _aims(points).items():
        row: list[Any] = [name, aim, f"{target.qe:.4f}", f"{100 * target.te:.1f} %"]
        for contestant in contestants:
            found = time_until([p for p in points if p.contestant == contestant], target.qe, target.te)
            row.append(None if found is None else f"{found.cpu:.3g} s ({found.reads:g})")
        rows.append(row)
    return rows


def _show(setting: Setting, found: Mapping[str, Sequence[Point]], reasons: Sequence[str]) -> None:
    contestants = list(dict.fromkeys(point.contestant for points in found.values() for point in points))
    columns = ["data", "contestant", "epochs", "CPU s", "wall s", "reads", "QE", "TE %", "rounds"]
    rows = [
        [name, p.contestant, p.epochs, p.cpu, p.wall, p.reads, f"{p.qe:.4f}", f"{100 * p.te:.1f}", p.rounds]
        for name, points in found.items()
        for p in points
    ]
    show(f"time_to_quality: {setting}", columns, rows, [*NOTES, *reasons])
    show(
        f"time_to_quality: {setting}: CPU seconds (and reads) until QE is within {100 * QE_MARGIN:g} % and TE within "
        f"{100 * TE_MARGIN:g} point of a map",
        ["data", "as good as", "QE", "TE", *contestants],
        [row for name, points in found.items() for row in _summary_rows(name, points, contestants)],
        [
            "the maps: that of the least QE of all, whatever its TE, and that of the most epochs of each contestant",
            "a dash: none of its maps is as good in both",
        ],
    )


def run(options: Options, settings: Sequence[Setting] | None = None) -> list[dict[str, Any]]:
    """Measure, print the tables, and return every point."""
    if settings is None:
        settings = (Setting(1500, 6, online=True, rounds=1),) if options.quick else SETTINGS
    results = []
    for setting in settings:
        found, reasons = dict[str, list[Point]](), dict[str, None]()
        for name, make in DATA.items():
            try:
                values = _standardized(make(setting.n))
            except Skipped as reason:
                reasons[f"skipped {reason}"] = None
                continue
            options.say(f"time_to_quality: {name}, {setting}")
            found[name], skipped = measure(values, setting, TRAININGS)
            reasons |= dict.fromkeys(skipped)
            rows = [asdict(point) for point in found[name]]
            results.append({"data": name, "setting": asdict(setting), "points": rows})
        _show(setting, found, list(reasons))
    return results


def draw(results: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw both errors against the processor time, a row of panels for each data set and setting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.1 * len(results)), layout="constrained")
    panels = figure.subplots(len(results), 2, squeeze=False)
    colors = {name: f"C{k}" for k, name in enumerate(TRAININGS)}
    for row, result in zip(panels, results, strict=True):
        setting = Setting(**result["setting"])
        for name in dict.fromkeys(point["contestant"] for point in result["points"]):
            some = [point for point in result["points"] if point["contestant"] == name]
            for ax, error in zip(row, ("qe", "te"), strict=True):
                ax.plot(
                    [p["cpu"] for p in some], [p[error] for p in some], "o-", color=colors[name], label=name, ms=3
                )
        for ax, title in zip(row, ("quantization error", "topographic error"), strict=True):
            ax.set_xscale("log")
            ax.set_title(f"{result['data']}, {setting}: {title}", loc="left", fontsize=9)
            ax.grid(color="#e5e5e5", linewidth=0.6)
        row[1].set_ylim(bottom=0)
        row[0].legend(fontsize=7)
    for ax in panels[-1]:
        ax.set_xlabel("processor time [s]")
    figure.savefig(path, dpi=100)


def main(words: Sequence[str] | None = None) -> None:
    """Draw the results that a run has kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.time_to_quality", description=draw.__doc__)
    parser.add_argument("results", type=Path, help="what `python -m tests.benchmarks --json` has written")
    parser.add_argument("picture", type=Path)
    given = parser.parse_args(words)
    kept = json.loads(given.results.read_text(encoding="utf-8"))
    draw(kept["results"]["time_to_quality"], given.picture)


if __name__ == "__main__":
    main()
