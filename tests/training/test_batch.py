"""Training: the plain loop, the same bits wherever it runs, and the same again after a break."""

import dataclasses
import hashlib

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import CheckpointError, DataError, ParameterError
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.passes.cluster import connect
from som_dask.samples.open import open_samples
from som_dask.training.config import Execution, MapConfig
from som_dask.training.prepared import prepare_data
from som_dask.training.train import epochs, train
from tests.reference.twins import next_codebook, sums_of

LATTICE = Lattice(5, 6)
CONFIG = MapConfig(epochs=4)


@pytest.fixture
def values(rng):
    return rng.normal(size=(9000, 3)).astype(np.float32)


def blocks(values, rows):
    """A dask array whose blocks stay as they are: above the size up to which neighbors are merged."""
    return dataclasses.replace(open_samples(values), array=da.from_array(values, chunks=(rows, -1)))


def final(data, keep="auto", **changes):
    config = dataclasses.replace(CONFIG, **changes)
    return list(epochs(data, LATTICE, config, Execution(keep=keep)))[-1].codebook


def test_it_is_the_plain_loop(values):
    start = values[:30].astype(np.float64)
    radii = CONFIG.schedule(LATTICE)
    codebook = start
    for epoch, radius in zip(epochs(values, LATTICE, CONFIG, codebook=start), radii, strict=True):
        sums = sums_of(values, codebook, LATTICE)
        assert epoch.radius == radius
        assert epoch.quantization_error == pytest.approx(sums.quantization_error, rel=1e-12)
        assert epoch.topographic_error == sums.topographic_error
        np.testing.assert_array_equal(epoch.hits.ravel(), sums.hits)
        codebook = next_codebook(sums, codebook, LATTICE, CONFIG.kernel(), radius)
        np.testing.assert_allclose(epoch.codebook.reshape(30, 3), codebook, rtol=0, atol=1e-12)
        codebook = epoch.codebook.reshape(30, 3)
    assert epoch.index == 3


def test_an_epoch_can_be_changed_by_nobody(values):
    epoch = next(epochs(values, LATTICE, CONFIG))
    with pytest.raises(dataclasses.FrozenInstanceError):
        epoch.radius = 3.0


def random_blocks(values, rng):
    """The samples cut at random."""
    cuts = np.sort(rng.choice(np.arange(1, len(values)), rng.integers(1, 40), replace=False))
    chunks = tuple(np.diff([0, *cuts, len(values)]).tolist())
    return dataclasses.replace(open_samples(values), array=da.from_array(values, chunks=(chunks, -1)))


@pytest.mark.parametrize("initialization", ["pca", "random", "sample"])
def test_the_blocks_do_not_matter(initialization, values, rng):
    wanted = final(values, initialization=initialization).tobytes()
    for _ in range(5):
        assert final(random_blocks(values, rng), initialization=initialization).tobytes() == wanted


def test_the_order_of_the_samples_does_not_matter(values, rng):
    assert final(rng.permutation(values)).tobytes() == final(values).tobytes()


def test_fast_sums_are_near_the_exact_ones_whatever_the_blocks(values, rng):
    exact = final(values)
    for data in (values, random_blocks(values, rng)):
        np.testing.assert_allclose(final(data, precision="fast"), exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize("initialization", ["pca", "random", "sample"])
def test_the_same_bits_on_threads_and_one_after_the_other(initialization, values):
    data = blocks(values, 1000)
    wanted = final(data, initialization=initialization)
    for scheduler in ("threads", "sync"):
        with dask.config.set(scheduler=scheduler):
            assert final(data, initialization=initialization).tobytes() == wanted.tobytes()


@pytest.mark.cluster
def test_the_same_bits_for_20_chunkings_on_1_2_and_4_processes(values, rng):
    wanted = hashlib.sha256(final(values).tobytes()).hexdigest()
    found = []
    for workers, chunkings in ((1, 6), (2, 7), (4, 7)):
        with connect(workers=workers, threads_per_worker=2):
            for k in range(chunkings):
                codebook = final(random_blocks(values, rng), keep=("memory", "stream")[k % 2])
                found.append(hashlib.sha256(codebook.tobytes()).hexdigest())
    assert len(found) == 20
    assert set(found) == {wanted}


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_same_bits_on_any_number_of_threads(threads, values, rng):
    wanted = final(values).tobytes()
    with dask.config.set(scheduler="threads", num_workers=threads):
        for _ in range(3):
            assert final(random_blocks(values, rng)).tobytes() == wanted


def test_kept_or_streamed_are_the_same_bits(values):
    assert final(values, keep="memory").tobytes() == final(values, keep="stream").tobytes()


def test_seeds(values):
    for initialization in ("random", "sample"):
        one, same, other = (final(values, initialization=initialization, seed=seed) for seed in (1, 1, 2))
        assert one.tobytes() == same.tobytes()
        assert one.tobytes() != other.tobytes()


def test_initial_codebooks(values):
    data = prepare_data(values, MapConfig())
    sampled = data.make_initial_codebook(LATTICE, MapConfig(initialization="sample"))
    assert {tuple(row) for row in sampled} <= {tuple(row) for row in values.astype(np.float64)}
    random = data.make_initial_codebook(LATTICE, MapConfig(initialization="random"))
    assert (random >= values.min(axis=0)).all()
    assert (random <= values.max(axis=0)).all()


def test_no_epochs_leave_the_initial_codebook(values):
    start = values[:30].astype(np.float64)
    model = train(values, LATTICE, MapConfig(epochs=0), codebook=start)
    np.testing.assert_array_equal(model["codebook"].values.reshape(30, 3), start)
    assert model.sizes["epoch"] == 1


class Stop(Exception):
    pass


def stopped_after(epochs):
    def on_epoch(epoch):
        if epoch.index + 1 == epochs:
            raise Stop

    return on_epoch


@pytest.mark.parametrize("every", [1, 3])
def test_a_resumed_run_ends_at_the_same_bits(every, values, tmp_path):
    config = MapConfig(epochs=6)
    whole = train(values, LATTICE, config)
    for stop in (1, 4, 6):
        folder = CheckpointFolder(tmp_path / str(stop))
        with pytest.raises(Stop):
            train(values, LATTICE, config, checkpoints=folder, checkpoint_every=every, on_epoch=stopped_after(stop))
        assert folder.latest().epochs_done == stop
        seen = []
        model = train(values, LATTICE, config, checkpoints=folder, resume=True, on_epoch=seen.append)
        assert [epoch.index for epoch in seen] == list(range(stop, 6))
        xr.testing.assert_identical(model.drop_attrs(), whole.drop_attrs())
        assert model.attrs["codebook_sha256"] == whole.attrs["codebook_sha256"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": 5}, "seed"),
        ({"epochs": 7}, "epochs"),
        ({"final_radius": 0.5}, "final_radius"),
        ({"neighborhood": "bubble"}, "neighborhood"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(change, word, values, tmp_path):
    folder = CheckpointFolder(tmp_path)
    with pytest.raises(Stop):
        train(values, LATTICE, CONFIG, checkpoints=folder, on_epoch=stopped_after(2))
    with pytest.raises(CheckpointError, match=word):
        train(values, LATTICE, dataclasses.replace(CONFIG, **change), checkpoints=folder, resume=True)


def test_a_checkpoint_of_other_data_or_another_map_is_refused(values, tmp_path):
    folder = CheckpointFolder(tmp_path)
    with pytest.raises(Stop):
        train(values, LATTICE, CONFIG, checkpoints=folder, on_epoch=stopped_after(2))
    with pytest.raises(CheckpointError, match="rows"):
        train(values, Lattice(6, 6), CONFIG, checkpoints=folder, resume=True)
    changed = values.copy()
    changed[1234, 1] = np.nextafter(changed[1234, 1], np.float32(9))
    with pytest.raises(CheckpointError, match="data_fingerprint"):
        train(changed, LATTICE, CONFIG, checkpoints=folder, resume=True)
    with pytest.raises(CheckpointError, match="features"):
        train(values[:, :2], LATTICE, CONFIG, checkpoints=folder, resume=True)


def test_resume_auto_starts_or_goes_on(values, tmp_path):
    folder, seen = CheckpointFolder(tmp_path / "c"), []
    whole = train(values, LATTICE, CONFIG)

    def stop(epoch):
        if epoch.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(values, LATTICE, CONFIG, checkpoints=folder, resume="auto", on_epoch=stop)
    model = train(values, LATTICE, CONFIG, checkpoints=folder, resume="auto", on_epoch=seen.append)
    assert seen[0].index == 2
    assert model.attrs["codebook_sha256"] == whole.attrs["codebook_sha256"]
    with pytest.raises(CheckpointError, match="seed"):  # never discarded in silence
        train(values, LATTICE, dataclasses.replace(CONFIG, seed=7), checkpoints=folder, resume="auto")
    with pytest.raises(ParameterError, match="'yes'"):
        train(values, LATTICE, CONFIG, checkpoints=folder, resume="yes")


def test_resume_needs_checkpoints(values, tmp_path):
    with pytest.raises(ParameterError, match="folder"):
        train(values, LATTICE, CONFIG, resume=True)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        train(values, LATTICE, CONFIG, checkpoints=CheckpointFolder(tmp_path), resume=True)


def test_values_that_are_not_finite_are_refused(values):
    values[4321, 2] = np.nan
    with pytest.raises(DataError, match="1 NaN or infinite values, in block 4 "):
        train(blocks(values, 1000), LATTICE, CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": -1},
        {"epochs": 2.5},
        {"epochs": True},
        {"seed": -1},
        {"final_radius": 0.0},
        {"initial_radius": float("nan")},
        {"radius_decay": "cosine"},
        {"neighborhood": "box"},
        {"support": -1.0},
        {"initialization": "zeros"},
        {"radii": (1.0, 2.0)},
    ],
    ids=str,
)
def test_parameters_that_are_refused(change):
    with pytest.raises(ParameterError):
        MapConfig(**change)


@pytest.mark.parametrize("change", [{"keep": "disk"}, {"device": "tpu"}], ids=str)
def test_ways_of_working_that_are_refused(change):
    with pytest.raises(ParameterError):
        Execution(**change)
