"""Reading logs back: whole ones, cut ones, several runs in one file."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from som_dask import train
from som_dask.algorithm.lattice import Lattice
from som_dask.errors import DataError, StorageError
from som_dask.io.event_log import telemetry
from som_dask.io.event_reader import epochs_table, read_events
from som_dask.training.config import MapConfig

FIRST, SECOND = "a" * 32, "b" * 32


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*events, end=""):
    text = "".join(json.dumps({"time": "2025-01-02T03:04:05.678Z", "level": "info", **e}) + "\n" for e in events)
    Path("run.jsonl").write_text(text + end)


def epoch(run, index, error):
    return {"event": "epoch_finished", "run_id": run, "epoch": index, "quantization_error": error, "radius": 2.0}


def test_all_events_in_one_table():
    with pytest.raises(DataError), telemetry("train", {"rows": 3}, file="run.jsonl") as log:
        raise DataError("no rows")
    table = read_events("run.jsonl")
    assert list(table.columns)[:4] == ["time", "level", "event", "run_id"]
    assert list(table["event"]) == ["run_started", "error", "run_finished"]
    assert set(table["run_id"]) == {log.run_id}
    assert isinstance(table["time"].dtype, pd.DatetimeTZDtype)
    assert table["time"].is_monotonic_increasing
    assert table["parameters"][0] == {"rows": 3}
    assert table["error"][1] == {"type": "DataError", "message": "no rows"}
    assert pd.isna(table["seconds"][0])


def test_the_time_is_utc():
    write({"event": "run_started", "run_id": FIRST})
    assert read_events("run.jsonl")["time"][0] == pd.Timestamp("2025-01-02 03:04:05.678", tz="UTC")


@pytest.mark.parametrize(
    "cut", ['{"event": "epoch_fin', '{"event": "epoch_finished"', "\xff\ufffd", "3\n", "[]\n", "dashboard: http\n"]
)
def test_what_is_no_whole_event_is_passed_over_with_a_warning(cut):
    write({"event": "run_started", "run_id": FIRST}, end=cut)
    with pytest.warns(UserWarning, match="passed over 1 of its lines"):
        assert list(read_events("run.jsonl")["event"]) == ["run_started"]


def test_half_a_line_between_two_runs():
    write(epoch(FIRST, 0, 0.5), end='{"event": "epo')
    with telemetry("train", file="run.jsonl"):
        pass
    with pytest.warns(UserWarning, match="passed over 1"):
        assert list(read_events("run.jsonl")["event"]) == ["epoch_finished", "run_started", "run_finished"]


def test_the_epochs_of_each_run():
    write(
        epoch(SECOND, 1, 0.5),
        epoch(FIRST, 2, 0.25),
        {"event": "run_finished", "run_id": SECOND},
        epoch(SECOND, 2, "Infinity"),
        epoch(FIRST, 3, None),
        {"event": "epoch_finished"},
    )
    table = epochs_table("run.jsonl")
    assert table["run"].values.tolist() == [SECOND, FIRST]
    assert table["epoch"].values.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(table["quantization_error"], [[0.5, np.inf, np.nan], [np.nan, 0.25, np.nan]])
    np.testing.assert_array_equal(table["radius"].sel(run=FIRST), [np.nan, 2.0, 2.0])
    assert table["topographic_error"].isnull().all()
    assert table["seconds"].attrs["units"] == "s"
    assert "phase" not in table.coords


def test_a_training_run_is_read_back_to_the_bit(rng):
    with telemetry("train", file="run.jsonl") as log:
        model = train(rng.normal(size=(300, 3)), Lattice(3, 4), MapConfig(epochs=3), on_epoch=log.epoch)
    table = epochs_table("run.jsonl").sel(run=log.run_id)
    for name in ("quantization_error", "topographic_error", "radius"):
        assert table[name].dtype == np.float64
        np.testing.assert_array_equal(table[name], model[name][:-1])


def test_the_phase_of_each_epoch_where_there_are_two(rng):
    values, config = rng.normal(size=(300, 3)), MapConfig(phases="two", rough_epochs=3, epochs=2)
    with telemetry("train", file="run.jsonl") as log:
        model = train(values, Lattice(3, 4), config, on_epoch=log.epoch)
    assert epochs_table("run.jsonl")["phase"].values.tolist() == [["rough"] * 3 + ["fine-tuning"] * 2]
    with telemetry("train", file="run.jsonl") as other:
        train(values, Lattice(3, 4), MapConfig(epochs=1), on_epoch=other.epoch)
    table = epochs_table("run.jsonl")
    assert table["phase"].sel(run=log.run_id).values.tolist() == model["phase"].values.tolist()[:-1]
    assert table["phase"].sel(run=other.run_id).values.tolist() == [""] * 5
    assert table["phase"].attrs == model["phase"].attrs
    later = table.sel(run=log.run_id)
    np.testing.assert_array_equal(later["radius"][later["phase"] == "fine-tuning"], model["radius"][3:-1])


@pytest.mark.parametrize("events", [[], [{"event": "run_started", "run_id": FIRST}]])
def test_a_log_without_epochs(events):
    write(*events)
    assert len(read_events("run.jsonl")) == len(events)
    assert dict(epochs_table("run.jsonl").sizes) == {"run": 0, "epoch": 0}


def test_no_log():
    with pytest.raises(StorageError, match=r"none\.jsonl: No such file"):
        read_events("none.jsonl")
