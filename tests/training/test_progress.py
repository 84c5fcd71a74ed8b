"""The bar of training tells phase, epoch, radius, errors and time left."""

import dataclasses
import sys

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.training.config import MapConfig
from som_dask.training.progress import TrainingBar, describe_seconds
from som_dask.training.retrain import retrain
from som_dask.training.run import Epoch
from som_dask.training.train import train

LATTICE = Lattice(3, 4)


@pytest.fixture
def values(rng):
    return rng.random((60, 3))


def epoch(index, **changes):
    codebook, hits = np.zeros((2, 2, 3)), np.zeros((2, 2), dtype=np.int64)
    whole = Epoch(index, 4.125, codebook, codebook, 0.12345, hits, 6.0, 0.05, planned=20)
    return dataclasses.replace(whole, **changes)


def test_the_bar_tells_phase_epoch_radius_errors_and_time_left(open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setattr("som_dask.training.progress.time.monotonic", lambda: 100.0)
    then = []
    with TrainingBar(shown=True, then=then.append) as bar:
        bar(epoch(4, phase="fine-tuning"))
    last = terminal.getvalue().split("\r")[-1]
    assert last.startswith("fine-tuning:  25%|")
    assert "| 5/20 [00:00, radius 4.12, QE 0.1235, TE 0.05, 1 min 30 s left]" in last
    assert [each.index for each in then] == [4]


def test_a_rough_phase_tells_no_time_left(open_terminal):
    terminal = open_terminal()
    with TrainingBar(shown=True) as bar:
        bar(epoch(4, phase="rough", topographic_error=None))
    last = terminal.getvalue().split("\r")[-1]
    assert last.startswith("rough:")
    assert "QE 0.1235]" in last


@pytest.mark.parametrize("config", [MapConfig(epochs=2), OnlineConfig(epochs=2)])
def test_training_shows_a_bar_on_a_terminal_unless_it_is_turned_off(config, values, open_terminal, capsys):
    terminal = open_terminal()
    train(values, LATTICE, config, progress=False)
    assert terminal.getvalue() == ""
    train(values, LATTICE, config)
    assert "first pass" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_retraining_shows_a_bar_too(values, open_terminal):
    terminal = open_terminal()
    model = train(values, LATTICE, MapConfig(epochs=2), progress=False)
    retrain(values, model, progress=False)
    assert terminal.getvalue() == ""
    retrain(values, model)
    assert "5/5" in terminal.getvalue()


def test_nothing_is_shown_and_nothing_imported_where_nobody_watches(values, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)  # to import it fails
    train(values, LATTICE, MapConfig(epochs=2))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (59.7, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.6, "1 h 0 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_durations_in_words(seconds, words):
    assert describe_seconds(seconds) == words
