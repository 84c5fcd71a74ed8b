"""The rough phase: on the samples that a plain draw picks, and the same bits wherever it runs."""

import dataclasses

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback
from distributed import Client
from distributed.utils import key_split_group

from som_dask.algorithm.lattice import Lattice
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.io.models import open_model, save_model
from som_dask.numerics.hashing import mix
from som_dask.samples.open import open_samples
from som_dask.training import rough
from som_dask.training.config import Execution, MapConfig
from som_dask.training.train import epochs, train
from tests.reference.twins import next_codebook, sums_of

LATTICE = Lattice(4, 5)
CONFIG = MapConfig(phases="two", epochs=2, rough_epochs=6, rough_samples=32, seed=3)


@pytest.fixture
def values(rng):
    return rng.normal(size=(4000, 3)).astype(np.float32)


def blocks(values, rows):
    """A dask array whose blocks stay as they are: above the size up to which neighbors are merged."""
    return dataclasses.replace(open_samples(values), array=da.from_array(values, chunks=(rows, -1)))


def rows_drawn(taken, most, seed=CONFIG.seed):
    """Row numbers in the order of their keys, among those that are `taken`."""
    start = np.random.default_rng(seed).integers(2**64, dtype=np.uint64)
    rows = np.flatnonzero(taken)
    return rows[np.argsort(mix(rows.astype(np.uint64) + start))][:most]


def counting(values, rows):
    """The same in blocks, which note each time that one is read."""
    read = []

    def look(block):
        read.append(len(block))
        return block

    array = da.from_array(values, chunks=(rows, -1), name=False).map_blocks(look, meta=values[:0])
    return dataclasses.replace(open_samples(values), array=array), read


def same(one, other):
    for name in ("codebook", "quantization_error", "topographic_error", "hits", "radius", "phase"):
        np.testing.assert_array_equal(one[name], other[name])


def test_it_is_the_plain_loop_over_the_samples_drawn(values):
    drawn = values[rows_drawn(np.ones(4000, bool), 640)]
    codebook = start = values[:20].astype(np.float64)
    found = list(epochs(values, LATTICE, CONFIG, codebook=start))
    parts = [drawn[:40], drawn[:40], drawn[:160], drawn[:160], drawn, drawn, values, values]
    for epoch, some in zip(found, parts, strict=True):
        sums = sums_of(some, codebook, LATTICE)
        assert epoch.quantization_error == pytest.approx(sums.quantization_error, rel=1e-12)
        assert epoch.topographic_error == sums.topographic_error
        assert epoch.hits.sum() == len(some)
        codebook = next_codebook(sums, codebook, LATTICE, CONFIG.kernel(), epoch.radius)
        np.testing.assert_allclose(epoch.codebook.reshape(20, 3), codebook, rtol=0, atol=1e-12)
        codebook = epoch.codebook.reshape(20, 3)
    assert [epoch.phase for epoch in found] == ["rough"] * 6 + ["fine-tuning"] * 2
    assert {epoch.planned for epoch in found} == {8}


@pytest.mark.parametrize("initialization", ["pca", "random", "sample"])
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_the_same_bits_for_other_blocks_threads_and_ways_to_keep(initialization, precision, values):
    config = dataclasses.replace(CONFIG, initialization=initialization, precision=precision)
    wanted = list(epochs(values, LATTICE, config))
    for rows, threads, keep in ((4000, 1, "memory"), (333, 2, "stream"), (1000, 4, "memory")):
        with dask.config.set(scheduler="threads", num_workers=threads):
            found = list(epochs(blocks(values, rows), LATTICE, config, Execution(keep=keep)))
        last = len(wanted) if precision == "exact" else config.rough_epochs  # later sums are in the order of blocks
        for one, other in zip(wanted[:last], found[:last], strict=True):
            assert one.codebook.tobytes() == other.codebook.tobytes()


def test_the_same_bits_on_a_cluster_which_rough_epochs_never_use(values):
    wanted = train(values, LATTICE, CONFIG)
    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as client:
        same(train(blocks(values, 700), LATTICE, CONFIG), wanted)
        log, run = client.cluster.scheduler.transition_log, epochs(blocks(values, 700), LATTICE, CONFIG)
        next(run)
        log.clear()
        for _ in range(5):
            next(run)
        assert not any("epoch_sums" in str(entry[0]) for entry in log)
        next(run)
        assert any("epoch_sums" in str(entry[0]) for entry in log)


def epochs_named(keys):
    words = [key_split_group(key).split("-") for key in keys]
    return {each[1] for each in words if each[0] == "epoch_sums"}


def test_names_of_tasks_tell_the_epoch_and_are_no_more_kinds_the_more_epochs_there_are(values):
    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as client:
        scheduler, data, kinds = client.cluster.scheduler, blocks(values, 700), []
        for epochs_asked in (2, 12):
            scheduler.transition_log.clear()
            train(data, LATTICE, MapConfig(epochs=epochs_asked))
            named = epochs_named(entry[0] for entry in scheduler.transition_log)
            assert named == {*map(str, range(1, epochs_asked + 1)), "last_pass"}
            kinds.append(set(scheduler.task_prefixes))
        assert kinds[0] == kinds[1]
        assert {"epoch_sums", "add_up", "broadcast"} < kinds[0]


def test_names_of_tasks_tell_the_phase(values, monkeypatch):
    monkeypatch.setattr(rough, "BLOCK_ROWS", 100)  # those of one block are added up without a graph
    keys = []
    with Callback(start=keys.extend):
        train(blocks(values, 700), LATTICE, dataclasses.replace(CONFIG, rough_epochs=2, rough_samples=200))
    assert epochs_named(keys) == {"rough_1", "rough_2", "fine_tuning_3", "fine_tuning_4", "last_pass"}


def test_sample_dimensions_in_any_order_of_blocks_are_the_same(values):
    field = xr.DataArray(values.reshape(50, 80, 3), dims=("time", "lat", "feature"))
    wanted = train(values, LATTICE, CONFIG)
    found = train(field.chunk({"time": 7, "lat": 30}), LATTICE, CONFIG)
    np.testing.assert_array_equal(found["codebook"], wanted["codebook"])


@pytest.mark.parametrize("missing", ["drop", "mask"])
@pytest.mark.parametrize("left_out", [0.1, 0.97])
def test_gaps_and_weights(missing, left_out, values, rng):
    values[rng.random(4000) < left_out] = np.nan
    values[rng.random(4000) < 0.2, 1] = np.nan
    weights = rng.integers(0, 4, 4000) / 2
    config = dataclasses.replace(CONFIG, missing=missing, scaling="zscore")
    taken = ~(np.isnan(values).all(axis=1) if missing == "mask" else np.isnan(values).any(axis=1)) & (weights > 0)
    rows = rows_drawn(taken, 640)
    wanted = train(values, LATTICE, config, sample_weights=weights)
    samples = open_samples(values, sample_weights=weights)
    weighted = da.from_array(weights, chunks=611)
    cut = dataclasses.replace(samples, array=da.from_array(values, chunks=(611, -1)), weights=weighted)
    same(train(cut, LATTICE, config), wanted)
    seen = [epoch.hits.sum() for epoch in epochs(cut, LATTICE, config)]
    n = min(640, int(taken.sum()))
    assert len(rows) == n
    assert seen == [n // 16] * 2 + [n // 4] * 2 + [n] * 2 + [taken.sum()] * 2
    assert not np.isnan(wanted["codebook"]).any()


@pytest.mark.parametrize(("left_out", "reads"), [(0.0, 4), (0.5, 4), (0.97, 5)])
def test_all_data_are_read_once_an_epoch_and_two_times_more(left_out, reads, values, rng):
    values[rng.random(4000) < left_out] = np.nan
    samples, read = counting(values, 500)
    config = dataclasses.replace(CONFIG, missing="drop", rough_samples=20)  # a tenth
    train(samples, LATTICE, config, Execution(keep="stream"))
    assert read == [500] * 8 * reads


@pytest.mark.parametrize("done", [1, 3, 6, 7])
def test_a_run_that_stopped_in_either_phase_goes_on_to_the_same_bits(done, values, tmp_path):
    wanted = train(values, LATTICE, CONFIG)

    def stop(epoch):
        if epoch.index + 1 == done:
            raise KeyboardInterrupt

    folder = CheckpointFolder(str(tmp_path / "saved"))
    with pytest.raises(KeyboardInterrupt):
        train(values, LATTICE, CONFIG, checkpoints=folder, on_epoch=stop)
    told = []
    again = train(
        blocks(values, 900), LATTICE, CONFIG, checkpoints=folder, resume=True, on_epoch=told.append
    )  # fmt: skip
    same(again, wanted)
    assert [epoch.index for epoch in told] == list(range(done, 8))
    codebook = told[0].codebook
    rest = list(epochs(values, LATTICE, CONFIG, codebook=codebook, start=done + 1))
    if rest:
        np.testing.assert_array_equal(rest[-1].codebook, wanted["codebook"])


def test_the_model_tells_the_phases_apart(values, tmp_path):
    model = train(values, LATTICE, CONFIG)
    save_model(model, tmp_path / "map.zarr")
    for one in (model, open_model(tmp_path / "map.zarr")):
        assert one["phase"].values.tolist() == ["rough"] * 6 + ["fine-tuning"] * 3
        assert one.attrs["phases"] == "two"
        assert (one.attrs["epochs"], one.attrs["rough_epochs"], one.attrs["epochs_done"]) == (2, 6, 8)
    assert "phase" not in train(values, LATTICE, dataclasses.replace(CONFIG, phases="one"))


def test_without_the_rough_phase_it_is_the_run_of_so_many_epochs(rng):
    values, lattice = rng.normal(size=(2500, 2)), Lattice(2, 2)
    one = train(values, lattice, MapConfig(phases="one"))
    np.testing.assert_array_equal(one["codebook"], train(values, lattice, MapConfig(epochs=20))["codebook"])
    assert train(values, lattice).attrs["phases"] == "two"


def test_tolerance_counts_only_epochs_on_all_samples(values):
    config = dataclasses.replace(CONFIG, epochs=30, tolerance=0.5, patience=2)
    assert len(list(epochs(values, LATTICE, config))) == 6 + 3
