"""Progress of training: a line for each epoch where no terminal listens."""

import dataclasses
import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from som_dask.cli.progress import EpochBar, is_watched
from som_dask.training.run import Epoch


def epoch(index, topographic_error=0.05):
    codebook = np.zeros((2, 2, 3))
    hits = np.zeros((2, 2), dtype=np.int64)
    return Epoch(index, 4.125, codebook, codebook, 0.12345, hits, 6.0, topographic_error)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr("som_dask.training.progress.time.monotonic", lambda: now[0])
    return now


def test_each_epoch_is_a_line_where_no_terminal_listens(clock, capsys):
    with EpochBar(20) as bar:
        bar(epoch(9))  # the first after those of an earlier run
        clock[0] += 30
        bar(epoch(10))
        bar(epoch(19, topographic_error=None))
    assert capsys.readouterr().err.splitlines() == [
        "epoch 10 of 20: quantization error 0.1235, topographic error 0.05, radius 4.12, 1 min 0 s left",
        "epoch 11 of 20: quantization error 0.1235, topographic error 0.05, radius 4.12, 4 min 30 s left",
        "epoch 20 of 20: quantization error 0.1235, radius 4.12",
    ]


def test_a_rough_phase_is_named_and_tells_no_time_left(clock, capsys):
    with EpochBar(20) as bar:  # before the data are seen, nobody knows that there are two phases
        bar(dataclasses.replace(epoch(59), phase="rough", planned=62))
        clock[0] += 30
        bar(dataclasses.replace(epoch(60), phase="fine-tuning", planned=62))
    assert bar.epochs == 62
    measured = "quantization error 0.1235, topographic error 0.05, radius 4.12"
    assert capsys.readouterr().err.splitlines() == [
        f"rough epoch 60 of 62: {measured}",
        f"fine-tuning epoch 61 of 62: {measured}, 6 s left",
    ]


def test_a_terminal_has_a_bar_and_no_lines(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with EpochBar(20) as bar:
        bar(epoch(9))
    assert "training" in terminal.getvalue()
    assert "epoch 10 of 20" not in terminal.getvalue()


def test_the_lines_are_written_at_once(tmp_path, monkeypatch):
    with open(tmp_path / "err.txt", "w") as file, EpochBar(20) as bar:
        monkeypatch.setattr(sys, "stderr", file)
        bar(epoch(0))
        assert (tmp_path / "err.txt").read_text().startswith("epoch 1 of 20: ")


@pytest.mark.parametrize("log_stderr", [False, True])
def test_one_rule_says_where_progress_is_shown(log_stderr, monkeypatch):
    monkeypatch.setattr("som_dask.passes.progress.in_notebook", lambda: True)
    log = SimpleNamespace(stderr=log_stderr)
    assert is_watched(None)
    assert is_watched(log) is not log_stderr
    monkeypatch.setattr(sys, "stderr", None)  # nobody can watch that, and it is no error to ask
    monkeypatch.setattr("som_dask.passes.progress.in_notebook", lambda: False)
    assert not is_watched(None)
