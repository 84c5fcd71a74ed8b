"""`fine_tuning`: other ends of the rough phase and of the fine-tuning, beside 20 epochs on all samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from unittest import mock

import dask
import numpy as np
from threadpoolctl import threadpool_limits

from som_dask.algorithm.lattice import Lattice
from som_dask.training import config as configuration
from som_dask.training.config import ROUGH_END, MapConfig
from som_dask.training.train import train
from tests.benchmarks.final_radius import MADE
from tests.benchmarks.phases import Setting
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Options, Skipped

__all__ = ["measure", "run"]

USUAL = "20 epochs"
# The final radius, how far above it the rough phase ends, and other options.
ENDS: dict[str, tuple[float, float, dict[str, Any]]] = {
    "default": (0.48, ROUGH_END, {}),
    "to 0.50": (0.5, ROUGH_END, {}),
    "to 0.52": (0.52, ROUGH_END, {}),
    "rough end 1.16": (0.48, 1.16, {}),
    "rough end 1.25": (0.48, 1.25, {}),
    "rough end 1.25, 3 fine": (0.48, 1.25, {"epochs": 3}),
    "120 rough": (0.48, ROUGH_END, {"rough_epochs": 120}),
}
SETTINGS = (Setting(n=200_000, side=20), Setting(n=100_000, side=10))
NOTES = (
    "of a hexagonal map; data of each kind are made once, and each seed draws other samples",
    "QE and TE of all samples beside 20 epochs on all: QE in percent, TE in points; means over the seeds",
)


def measure(values: np.ndarray, setting: Setting) -> dict[str, np.ndarray]:
    """QE and TE of each, (runs, 2) float64; what no seed changes is run once."""
    lattice = Lattice(setting.side, setting.side)
    found = {USUAL: np.array([_errors_of(values, lattice, MapConfig(phases="one", epochs=20))])}
    for label, (final, end, options) in ENDS.items():
        with mock.patch.object(configuration, "ROUGH_END", end):
            runs = [
                _errors_of(values, lattice, MapConfig(phases="two", final_radius=final, seed=seed, **options))
                for seed in range(setting.seeds)
            ]
        found[label] = np.array(runs)
    return found


def _errors_of(values: np.ndarray, lattice: Lattice, config: MapConfig) -> list[float]:
    model = train(values, lattice, config, progress=False)
    return [float(model[name][-1]) for name in ("quantization_error", "topographic_error")]


def _changes(found: Mapping[str, np.ndarray], label: str) -> np.ndarray:
    (qe, te), (own_qe, own_te) = found[USUAL][0], found[label].mean(axis=0)
    return np.array([100 * (own_qe / qe - 1), 100 * (own_te - te)])


def run(options: Options) -> list[dict[str, Any]]:
    """Measure, print the tables, and return the errors of every run."""
    results, reasons = [], []
    for setting in (Setting(n=3000, side=4, seeds=2),) if options.quick else SETTINGS:
        rows, changes = [], []
        for name, make in MADE.items():
            if options.quick and not name.startswith("noise"):
                continue
            try:
                values = make(setting.n, np.random.default_rng(1)).astype(np.float32)
            except (Skipped, ImportError) as reason:
                reasons.append(f"skipped {name}: {reason}")
                continue
            options.say(f"fine_tuning: {name}, {setting}")
            with dask.config.set(scheduler="synchronous"), threadpool_limits(1):
                found = measure(values, setting)
            changes.append([_changes(found, label) for label in ENDS])
            qe, te = found[USUAL][0]
            rows.append([name, f"{qe:.4f} {100 * te:.1f}", *(f"{q:+.2f} {t:+.2f}" for q, t in changes[-1])])
            runs = {label: np.round(each, 6).tolist() for label, each in found.items()}
            results.append({"data": name, **asdict(setting), "runs": runs})
        rows.append(["mean", None, *(f"{q:+.2f} {t:+.2f}" for q, t in np.mean(changes, axis=0))])
        show(f"fine_tuning: {setting}", ["", "20 epochs: QE TE %", *ENDS], rows, [*NOTES, *dict.fromkeys(reasons)])
    return results
