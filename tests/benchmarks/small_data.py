"""Small data sets of all kinds, split in a part to train on and a part held out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.benchmarks.timing import Skipped

__all__ = ["CLIMATE", "SMALL_DATA", "Table", "split"]

CLIMATE = "SOM_DASK_CLIMATE"  # environment variable: the folder of the two climate fields
POINTS = 1000  # of the data sets that are made
HELD_OUT = 0.3


@dataclass(frozen=True)
class Table:
    """Samples, (n, D) float64, and how they are scaled.

    `weights` is None for features in different units: each is z-scored. For a field it holds a factor for each grid
    point: the anomalies are multiplied by it and divided by one number, their root mean square.
    """

    values: np.ndarray
    weights: np.ndarray | None = None


def split(table: Table, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scaled samples to train on and samples held out, both float64; means and scales are of the first alone."""
    order = np.random.default_rng(seed).permutation(len(table.values))
    held = round(HELD_OUT * len(order))
    train, holdout = table.values[order[held:]], table.values[order[:held]]
    center = train.mean(axis=0)
    if table.weights is None:
        deviation = train.std(axis=0)
        factor = 1 / np.where(deviation > 0, deviation, 1.0)
    else:
        factor = table.weights / np.sqrt(np.mean(((train - center) * table.weights) ** 2))
    return (train - center) * factor, (holdout - center) * factor


def _bundled(name: str) -> Callable[[], Table]:
    def load() -> Table:
        try:
            from sklearn import datasets
        except ImportError as error:
            raise Skipped(f"{name}: {error}") from error
        return Table(np.array(getattr(datasets, f"load_{name}")().data, dtype=np.float64))

    return load


def _made(name: str, **options: object) -> Callable[[], Table]:
    def make() -> Table:
        try:
            from sklearn import datasets
        except ImportError as error:
            raise Skipped(f"{name}: {error}") from error
        return Table(getattr(datasets, f"make_{name}")(POINTS, random_state=0, **options)[0])

    return make


def _field(file: str, variable: str) -> Callable[[], Table]:
    """Anomalies of a field over time, weighted by the square root of the cosine of latitude; land is dropped."""

    def load() -> Table:
        folder = os.environ.get(CLIMATE)
        if not folder:
            raise Skipped(f"{file}: set {CLIMATE} to the folder that has it")
        if not (Path(folder) / file).is_file():
            raise Skipped(f"{file}: it is not in {folder}")
        try:
            from scipy.io import netcdf_file
        except ImportError as error:
            raise Skipped(f"{file}: {error}") from error
        with netcdf_file(Path(folder) / file, mmap=False) as data:
            found, latitude = data.variables[variable], data.variables["latitude"][:].astype(np.float64)
            values = np.array(found[:], dtype=np.float64)
            for name in ("_FillValue", "missing_value"):
                if hasattr(found, name):
                    values[values == np.float64(getattr(found, name))] = np.nan
        rows = values.reshape(len(values), -1)
        factors = np.sqrt(np.cos(np.deg2rad(latitude)).clip(0))  # the last dimension is longitude
        weights = np.broadcast_to(factors[:, None], values.shape[-2:]).reshape(-1)
        known = np.isfinite(rows).all(axis=0)
        return Table(rows[:, known], weights[known])

    return load


SMALL_DATA: dict[str, Callable[[], Table]] = {
    "iris": _bundled("iris"),
    "wine": _bundled("wine"),
    "breast_cancer": _bundled("breast_cancer"),
    "digits": _bundled("digits"),
    "diabetes": _bundled("diabetes"),
    "blobs": _made("blobs", n_features=8, centers=5),
    "swiss_roll": _made("swiss_roll", noise=0.2),
    "s_curve": _made("s_curve", noise=0.05),
    "height": _field("hgt_djf.nc", "z"),
    "sea_surface": _field("sst_ndjfm_anom.nc", "sst"),
}
