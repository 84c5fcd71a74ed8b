"""Online training of labeled data: models, checkpoints and resuming, the command line."""

import dataclasses

import dask.array
import numpy as np
import psutil
import pytest
import xarray as xr
from distributed import Client, LocalCluster

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig, OnlineRun
from som_dask.analysis.labels import infer
from som_dask.cli.progress import EpochBar
from som_dask.errors import CheckpointError, DataError, Interrupted, MemoryLimitError, ParameterError
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.io.models import open_model, save_model
from som_dask.training.config import MapConfig
from som_dask.training.train import epochs, train
from tests.system.test_bad_input import run
from tests.training.test_batch import Stop, stopped_after

LATTICE = Lattice(7, 20)
CONFIG = OnlineConfig(epochs=6)


@pytest.fixture
def values(rng):
    return rng.random((70, 3))


def test_the_model_is_of_the_same_kind_as_the_batch_rules(values, tmp_path):
    names = np.array(["red", "green", "blue"], dtype=object)
    colors = xr.DataArray(values, dims=("color", "channel"), coords={"channel": names}, name="colors")
    seen = []
    model = train(colors, LATTICE, CONFIG, on_epoch=seen.append)
    online = OnlineRun(values, LATTICE, CONFIG)
    assert [epoch.index for epoch in online] == [epoch.index for epoch in seen]
    np.testing.assert_array_equal(model["codebook"].values, online.codebook)
    assert list(model["feature"].values) == list(names)
    for name in ("quantization_error", "radius", "learning_rate"):
        np.testing.assert_array_equal(model[name].values[:-1], [getattr(epoch, name) for epoch in seen])
    assert np.isnan(model["topographic_error"].values).tolist() == [True] * 6 + [False]
    save_model(model, tmp_path / "model.zarr")
    opened = open_model(tmp_path / "model.zarr")
    labels = infer(colors, opened).compute()
    assert labels["distance"].values.mean() == pytest.approx(opened["quantization_error"].values[-1], rel=1e-6)
    hits = np.zeros(LATTICE.shape, dtype=np.int64)
    np.add.at(hits, (labels["bmu_row"].values, labels["bmu_col"].values), 1)
    np.testing.assert_array_equal(hits, opened["hits"])
    assert opened.attrs["algorithm"] == "online"


def test_blocks_do_not_matter(values):
    wanted = train(values, LATTICE, CONFIG).attrs["codebook_sha256"]
    in_blocks = dask.array.from_array(values, chunks=(11, 2))
    assert train(in_blocks, LATTICE, CONFIG).attrs["codebook_sha256"] == wanted


@pytest.mark.parametrize("every", [1, 4])
def test_a_resumed_run_ends_at_the_same_bits(every, values, tmp_path):
    whole = train(values, LATTICE, CONFIG)
    for stop in (1, 4, 6):
        folder = CheckpointFolder(tmp_path / str(stop))
        with pytest.raises(Stop):
            train(
                values,
                LATTICE,
                CONFIG,
                checkpoints=folder,
                checkpoint_every=every,
                on_epoch=stopped_after(stop),
            )
        assert folder.latest().epochs_done == stop
        seen = []
        model = train(values, LATTICE, CONFIG, checkpoints=folder, resume=True, on_epoch=seen.append)
        assert [epoch.index for epoch in seen] == list(range(stop, 6))
        xr.testing.assert_identical(model.drop_attrs(), whole.drop_attrs())
        assert model.attrs["codebook_sha256"] == whole.attrs["codebook_sha256"]


def test_a_checkpoint_of_another_run_is_refused(values, tmp_path):
    folder = CheckpointFolder(tmp_path)
    with pytest.raises(Stop):
        train(values, LATTICE, CONFIG, checkpoints=folder, on_epoch=stopped_after(2))
    for change in ({"epochs": 7}, {"learning_rate": 0.2}, {"seed": 1}):
        with pytest.raises(CheckpointError, match=next(iter(change))):
            train(values, LATTICE, dataclasses.replace(CONFIG, **change), checkpoints=folder, resume=True)
    with pytest.raises(CheckpointError, match="data_fingerprint"):
        train(values[::-1], LATTICE, CONFIG, checkpoints=folder, resume=True)
    with pytest.raises(CheckpointError, match="initial_codebook"):
        train(values, LATTICE, CONFIG, codebook=np.zeros((7, 20, 3)), checkpoints=folder, resume=True)
    with pytest.raises(ParameterError, match="folder"):
        train(values, LATTICE, CONFIG, resume=True)


def test_a_map_that_does_not_fit_the_memory_is_refused(values):
    for lattice, config in ((Lattice(10**7, 10**7), CONFIG), (LATTICE, OnlineConfig(epochs=10**15))):
        with pytest.raises(MemoryLimitError, match="take a smaller one"):
            train(values, lattice, config)
        with pytest.raises(MemoryLimitError, match="take a smaller one"):
            next(epochs(values, lattice, config))
    with pytest.raises(MemoryLimitError, match="take a smaller one"):  # a codebook that is given as well
        train(values, LATTICE, OnlineConfig(epochs=10**15), codebook=np.zeros((7, 20, 3)))


def test_a_codebook_may_be_given(values, rng):
    codebook = rng.random((7, 20, 3))
    model = train(values, LATTICE, CONFIG, codebook=codebook)
    online = OnlineRun(values, LATTICE, CONFIG, codebook=codebook)
    assert len(list(online)) == 6
    np.testing.assert_array_equal(model["codebook"].values, online.codebook)
    assert model.attrs["initialization"] == "given"
    unchanged = train(values, LATTICE, OnlineConfig(epochs=0), codebook=codebook)
    np.testing.assert_array_equal(unchanged["codebook"].values, codebook)
    assert unchanged.sizes["epoch"] == 1


@pytest.mark.cluster
def test_the_memory_that_counts_is_that_of_this_process(values):
    # The workers have no limit, which is 0, but no sample goes there.
    with (
        LocalCluster(n_workers=1, processes=False, memory_limit=0, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster),
    ):
        found = train(values, LATTICE, OnlineConfig(epochs=1))
    np.testing.assert_array_equal(found["codebook"], train(values, LATTICE, OnlineConfig(epochs=1))["codebook"])


def test_data_that_are_refused(values, monkeypatch):
    with pytest.raises(DataError, match="no samples"):
        train(values[:0], LATTICE, OnlineConfig())
    with pytest.raises(ParameterError, match="checkpoint_every"):
        train(values, LATTICE, OnlineConfig(), checkpoint_every=0)
    little = psutil.virtual_memory()._replace(available=2000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    with pytest.raises(MemoryLimitError, match="batch rule"):
        train(values, LATTICE, OnlineConfig())
    monkeypatch.undo()
    values[3, 1] = np.nan
    with pytest.raises(DataError, match="1 NaN or infinite values"):
        train(values, LATTICE, OnlineConfig())


def store(values, place):
    dataset = xr.Dataset({"colors": (("color", "channel"), values)})
    dataset.to_zarr(place, zarr_format=3, consolidated=False)


def test_the_command_line_trains_online(values, tmp_path, capsys):
    place, output = tmp_path / "colors.zarr", tmp_path / "model.zarr"
    store(values, place)
    options = ["--output", str(output), "--rows", "7", "--cols", "20", "--epochs", "6", "--algorithm", "online"]
    assert run("train", str(place), *options) == 0
    assert open_model(output).attrs["codebook_sha256"] == train(values, LATTICE, CONFIG).attrs["codebook_sha256"]
    assert run("train", str(place), *options, "--overwrite", "--learning-rate", "0.5") == 0
    assert open_model(output).attrs["learning_rate"] == 0.5
    assert run("info", str(output)) == 0
    assert run("train", str(place), *options, "--overwrite", "--final-radius", "2") == 2
    assert "--algorithm online" in capsys.readouterr().err
    assert run("train", str(place), "--output", str(output), "--overwrite", "--learning-rate", "0.5") == 2
    assert "the batch rule has none" in capsys.readouterr().err


@pytest.mark.parametrize("given", [("final-radius", "0.5"), ("radii", "2,2,2"), ("device", "gpu")], ids=str)
def test_options_of_the_batch_rule_are_refused(given, values, tmp_path, capsys):
    place, (option, value) = tmp_path / "colors.zarr", given
    store(values, place)
    options = ["--output", str(tmp_path / "model.zarr"), "--epochs", "3", "--algorithm", "online"]
    assert run("train", str(place), *options, f"--{option}", value) == 2
    assert f"--{option} belongs to the batch rule" in capsys.readouterr().err
    assert run("train", str(place), *options, "--seed", "4", "--learning-rate", "0.5") == 0
    attrs = open_model(tmp_path / "model.zarr").attrs
    assert (attrs["epochs"], attrs["seed"], attrs["learning_rate"]) == (3, 4, 0.5)


def test_the_command_line_resumes(values, tmp_path, monkeypatch, capsys):
    place, output = tmp_path / "colors.zarr", tmp_path / "model.zarr"
    store(values, place)
    options = ["--output", str(output), "--rows", "7", "--cols", "20", "--epochs", "6", "--algorithm", "online"]
    seen = []

    def stop(bar, epoch):
        seen.append(repr(epoch))
        bar.done = epoch.index + 1
        if epoch.index == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(EpochBar, "__call__", stop)
        assert run("train", str(place), *options) == Interrupted.exit_status
    assert "stopped after 4 of 6 epochs; continue with" in capsys.readouterr().err
    assert seen[3].startswith("<Epoch 4 of 6: 7 x 20 nodes, 3 features, radius 3.16, quantization error ")
    assert run("train", str(place), *options, "--resume") == 0
    assert open_model(output).attrs["codebook_sha256"] == train(values, LATTICE, CONFIG).attrs["codebook_sha256"]


@pytest.mark.parametrize("config", [OnlineConfig(epochs=2), MapConfig(epochs=2)], ids=["online", "batch"])
def test_who_is_told_of_an_epoch_can_change_nothing_of_the_run(values, config):
    def spoil(epoch):
        for array in (epoch.codebook, epoch.scaled_codebook, epoch.hits):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0

    spoiled, plain = train(values, LATTICE, config, on_epoch=spoil), train(values, LATTICE, config)
    np.testing.assert_array_equal(spoiled["codebook"], plain["codebook"])
