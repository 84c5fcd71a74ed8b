"""`time_to_quality`: errors of maps against the time and the reads of the data that they took, ours and of others.

``python -m tests.benchmarks.time_to_quality RESULTS.json PICTURE.png`` shows and draws what `--json` has kept.
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
from tests.benchmarks.quality_points import Point, draw_points, show_points
from tests.benchmarks.timing import Options, Skipped
from tests.benchmarks.trainings import TRAININGS, Rounds, Training, count_reads, errors_of, on_one_thread

__all__ = ["DATA", "SETTINGS", "Setting", "measure", "run"]

DATA: dict[str, Callable[[int], np.ndarray]] = {
    "photograph, D = 3": photograph,
    "30 blobs, D = 20": lambda n: blobs(n, 20),
    "noisy surface, D = 18": lambda n: manifold(n, 18),
    "noise, D = 10": lambda n: noise(n, 10),
    "digits, D = 64": lambda n: _scans() if n < 2000 else digits(n),
}


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
        show_points(str(setting), found, list(reasons))
    return results


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables of the results that a run has kept, and draw them."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.time_to_quality", description=main.__doc__)
    parser.add_argument("results", type=Path, help="what `python -m tests.benchmarks --json` has written")
    parser.add_argument("picture", type=Path)
    given = parser.parse_args(words)
    kept = json.loads(given.results.read_text(encoding="utf-8"))
    by_setting: dict[Setting, dict[str, list[Point]]] = {}
    for result in kept["results"]["time_to_quality"]:
        points = [Point(**point) for point in result["points"]]
        by_setting.setdefault(Setting(**result["setting"]), {})[result["data"]] = points
    for setting, found in by_setting.items():
        show_points(str(setting), found)
    titled = {f"{name}, {setting}": points for setting, found in by_setting.items() for name, points in found.items()}
    draw_points(titled, given.picture)


if __name__ == "__main__":
    main()
