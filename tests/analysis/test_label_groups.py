"""Groups of blocks: one chunk of the store each, whatever the grid, with labels that do not depend on them."""

import math
import weakref

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis import label_groups
from som_dask.analysis.label_groups import Groups, choose_factors
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import LabelTask, infer
from som_dask.analysis.soft_labels import infer_soft
from som_dask.engine.row_numbers import all_box_rows
from som_dask.errors import DataError
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train


def evenly(size, step):
    return (step,) * (size // step) + ((size % step,) if size % step else ())


@pytest.mark.parametrize(
    ("grid", "sample_bytes", "wanted"),
    [
        ((evenly(4096 * 64, 64),), 24, (64,)),  # many small blocks
        ((evenly(30_000 * 64, 64),), 24, (64,)),
        ((evenly(65 * 64, 64),), 24, (1,)),  # few blocks, for many threads
        ((evenly(130 * 64, 64),), 24, (2,)),
        ((evenly(2000 * 400, 400),), 40_000, (4,)),  # large samples with small labels
        ((evenly(1000 * 100_000, 100_000),), 64, (1,)),  # large labels
        ((evenly(1000, 1), evenly(40, 10), evenly(90, 10)), 40, (1, 4, 9)),
        ((evenly(1000, 1), evenly(400, 10), evenly(900, 10)), 40, (1, 1, 45)),
    ],
)
def test_how_many_blocks_are_grouped(grid, sample_bytes, wanted):
    assert choose_factors(grid, sample_bytes, 24) == wanted


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(label_groups, "LEAST_GROUPS", 3)


@pytest.fixture
def field(rng):
    values = rng.normal(size=(5, 4, 7, 2))
    values[3, 1, 2] = np.nan
    coords = {
        "time": np.arange(5),
        "month": ("time", np.arange(5) % 3),
        "height": (("lat", "lon"), rng.normal(size=(4, 7))),
        "name": (("time", "lat"), np.array([[f"{t} {i}" for i in range(4)] for t in range(5)])),
    }
    array = xr.DataArray(values, dims=("time", "lat", "lon", "level"), coords=coords, name="field")
    return array.chunk(time=1, lat=2, lon=3)


@pytest.mark.parametrize("most", [1, 4, 1000])
@pytest.mark.filterwarnings("ignore")  # Zarr: strings have no specification yet
def test_any_groups_give_the_same_store(most, field, small_limits, monkeypatch, tmp_path):
    samples = open_samples(field, feature_dims="level", block_size=96)
    model = train(samples, Lattice(3, 4), MapConfig(epochs=1, missing="mask"))
    monkeypatch.setattr(label_groups, "MOST_BLOCKS", most)
    wanted, soft = (infer_soft(samples, model, 2), {"k": 2}) if most == 4 else (infer(samples, model), None)
    summary = infer_to_store(samples, model, tmp_path / "labels.zarr", soft=soft)
    found = xr.open_zarr(tmp_path / "labels.zarr", chunks=None)
    xr.testing.assert_identical(found.load().drop_attrs(), wanted.compute().drop_attrs())
    chunks = found["distance"].encoding["chunks"]
    assert summary.blocks == math.prod(-(-n // size) for n, size in zip(samples.sample_shape, chunks, strict=False))
    assert chunks[:3] == {1: (1, 2, 3), 4: (1, 2, 7), 1000: (1, 4, 7)}[most]


def test_regions_cover_all_samples_once(field, small_limits):
    samples = open_samples(field, feature_dims="level", block_size=96)
    model = train(samples, Lattice(2, 2), MapConfig(epochs=0, missing="mask"))
    groups = Groups(LabelTask.of(samples, model, "mask", "cpu"))
    seen = np.zeros(samples.sample_shape, dtype=int)
    parts = []
    for i in range(len(groups)):
        region = groups.region(i)
        seen[tuple(region.slices.values())] += 1
        parts += groups._parts_of(i)
    np.testing.assert_array_equal(seen, 1)
    assert sorted(part.index for part in parts) == list(range(len(samples.block_rows)))
    boxes = list(all_box_rows(samples.sample_chunks))
    for part in parts:
        assert (part.offsets, part.shape) == (boxes[part.index].offsets, boxes[part.index].shape)
        assert part.start == samples.block_starts[part.index]


def test_thousands_of_small_blocks_are_few_files(tmp_path, rng):
    values = rng.normal(size=(1024 * 8, 3))
    model = train(values, Lattice(3, 4), MapConfig(epochs=1))
    samples = Samples(da.from_array(values, chunks=(8, -1)), None)
    assert infer_to_store(samples, model, tmp_path / "labels.zarr").blocks == 64
    assert len([path for path in (tmp_path / "labels.zarr").rglob("*") if path.is_file()]) == 4 * 64 + 5
    found = xr.open_zarr(tmp_path / "labels.zarr", chunks=None)["distance"]
    np.testing.assert_array_equal(found, infer(values, model)["distance"])


def test_a_block_of_a_group_is_named(tmp_path, rng, small_limits):
    values = rng.normal(size=(160, 3))
    model = train(values, Lattice(3, 4), MapConfig(epochs=1))
    values[77] = np.nan
    samples = Samples(da.from_array(values, chunks=(8, -1)), None)
    with pytest.raises(DataError, match=r"block 9 \(rows 72 to 79\): there are 3 NaN"):
        infer_to_store(samples, model, tmp_path / "labels.zarr")


def test_only_one_block_of_a_group_is_in_memory(tmp_path, rng, small_limits):
    """Each block is dropped when its labels are there."""
    made, most = [], []

    class Rows(np.ndarray):
        """An array that can be watched."""

    def make(block):
        kept = np.array(block).view(Rows)
        made.append(weakref.ref(kept))
        most.append(sum(ref() is not None for ref in made))
        return kept

    array = da.map_blocks(make, da.zeros((3000, 3), chunks=(100, 3)), dtype=float, meta=np.empty((0, 0)))
    model = train(rng.normal(size=(100, 3)), Lattice(3, 4), MapConfig(epochs=1))
    with dask.config.set(scheduler="sync"):
        assert infer_to_store(Samples(array, None), model, tmp_path / "labels.zarr").blocks == 3
    assert len(most) == 30
    assert max(most) <= 2
