"""A run that is interrupted may end with the map of its last finished epoch; and what an epoch tells of itself."""

import dataclasses

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.analysis.evaluation import evaluate
from som_dask.errors import ParameterError
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.training import batch
from som_dask.training.config import MapConfig
from som_dask.training.train import epochs, train

LATTICE = Lattice(4, 5)
RULES = [MapConfig(epochs=5), OnlineConfig(epochs=5)]


@pytest.fixture
def values(rng):
    return rng.random((80, 3))


def interrupt_at(index):
    def stop(epoch):
        if epoch.index == index:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("config", RULES)
def test_the_map_of_the_last_finished_epoch_is_kept_and_measured(config, values):
    model = train(values, LATTICE, config, on_epoch=interrupt_at(2), keep_interrupted=True)
    assert (model.attrs["stopped_by"], model.attrs["epochs_done"]) == ("interrupt", 3)
    whole = list(epochs(values, LATTICE, config))
    np.testing.assert_array_equal(model["codebook"], whole[2].codebook)
    measured = evaluate(values, model, sample=0)
    assert model["quantization_error"].values[-1] == measured["quantization_error"]
    np.testing.assert_array_equal(model["hits"], measured["hits"])


def test_an_interrupt_is_an_error_where_nothing_is_kept_or_no_epoch_is_done(values, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        train(values, LATTICE, RULES[0], on_epoch=interrupt_at(2))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "update_codebook", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(values, LATTICE, RULES[0], keep_interrupted=True)


def test_a_second_interrupt_leaves_the_map_without_its_last_errors(values, monkeypatch):
    seen = []

    def stop(epoch):
        seen.append(epoch)
        if epoch.index == 2:
            monkeypatch.setattr(batch.PreparedData, "add_up", interrupt_again)
            raise KeyboardInterrupt

    def interrupt_again(*_):
        raise KeyboardInterrupt

    model = train(values, LATTICE, RULES[0], sample_weights=np.ones(80), on_epoch=stop, keep_interrupted=True)
    np.testing.assert_array_equal(model["codebook"], seen[-1].codebook)
    np.testing.assert_array_equal(model["hits"], seen[-1].hits)
    for name in ("quantization_error", "topographic_error"):
        assert np.isnan(model[name].values).tolist() == [False] * 3 + [True]
    assert np.isnan(model["hit_share"].values).all()


def test_a_run_interrupted_in_its_rough_phase_is_measured_with_all_samples(values):
    config = MapConfig(phases="two", rough_epochs=4, rough_samples=2, epochs=2)
    model = train(values, LATTICE, config, on_epoch=interrupt_at(1), keep_interrupted=True)
    assert model["phase"].values.tolist() == ["rough", "rough", "fine-tuning"]
    assert model["hits"].sum() == len(values)


def test_a_run_that_was_kept_can_go_on(values, tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints")
    train(values, LATTICE, RULES[0], checkpoints=folder, on_epoch=interrupt_at(2), keep_interrupted=True)
    model = train(values, LATTICE, RULES[0], checkpoints=folder, resume=True)
    np.testing.assert_array_equal(model["codebook"], train(values, LATTICE, RULES[0])["codebook"])


@pytest.mark.parametrize("config", RULES)
def test_an_epoch_is_told_in_one_line(config, values):
    epoch = list(epochs(values, LATTICE, config))[2]
    told = repr(epoch)
    assert told.startswith("<Epoch 3 of 5: 4 x 5 nodes, 3 features, radius ")
    assert f"quantization error {epoch.quantization_error:.4g}" in told
    assert ("topographic error" in told) == isinstance(config, MapConfig)
    assert len(told) < 160


def test_the_dataset_of_an_epoch_holds_what_pictures_need(values):
    model = train(values, LATTICE, MapConfig(epochs=1, scaling="zscore"))
    (epoch,) = epochs(values, LATTICE, MapConfig(epochs=1, scaling="zscore"))
    dataset = epoch.to_dataset()
    for name in ("codebook", "u_matrix", "feature"):
        np.testing.assert_array_equal(dataset[name], model[name])
    assert dataset["hits"].sum() == len(values)
    with pytest.raises(ParameterError, match="does not know its lattice"):
        dataclasses.replace(epoch, lattice=None).to_dataset()
