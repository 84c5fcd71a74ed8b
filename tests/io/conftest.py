"""What the tests of the registry share: three small maps, and roots to keep them under."""

import uuid

import numpy as np
import pytest
import xarray as xr
from fsspec.implementations.memory import MemoryFileSystem

from som_dask.algorithm.lattice import Lattice
from som_dask.io.registry import Registry
from som_dask.training.config import MapConfig
from som_dask.training.train import train


@pytest.fixture(scope="package")
def models():
    """Three maps that differ."""
    values = np.random.default_rng(5).normal(size=(200, 3)).astype(np.float32)
    cells = xr.DataArray(values, dims=("cell", "marker"), coords={"marker": np.array(["a", "b", "c"], dtype=object)})
    return [
        train(cells, Lattice(3, 4, "rectangular"), MapConfig(epochs=2, seed=seed, initialization="random"))
        for seed in range(3)
    ]


@pytest.fixture
def model(models):
    return models[0]


class SteadyDict(dict):
    """A dictionary that threads may list while others change it: fsspec's memory ends with an error else, rarely."""

    def items(self):
        return dict.copy(self).items()  # which no other thread can interrupt


@pytest.fixture(params=["path", "url"])
def root(request, tmp_path, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "store", SteadyDict(MemoryFileSystem.store))
    return str(tmp_path / "models") if request.param == "path" else f"memory://registry-{uuid.uuid4().hex}/models"


@pytest.fixture
def saved(tmp_path, models):
    """A registry of two revisions and the folder of the newer."""
    dev = Registry(tmp_path)
    key = [dev.save(model, "photo") for model in models[:2]][1]
    return dev, key, tmp_path / str(key)
