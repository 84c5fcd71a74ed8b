"""Telemetry: lines of valid JSON whatever comes, a run's first and last event, and nothing left behind."""

import json
import logging
import sys
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from som_dask.errors import DataError, Interrupted, ParameterError, StorageError
from som_dask.io.event_log import telemetry


def lines(place="run.jsonl"):
    return [json.loads(line) for line in Path(place).read_text().splitlines()]


def names(place="run.jsonl"):
    return [line["event"] for line in lines(place)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_from_its_first_to_its_last_event():
    with telemetry("train", {"rows": 3, "radii": (2.0, 1.0), "seed": None}, file="run.jsonl") as log:
        log.event("epoch_finished", epoch=0, quantization_error=0.1)
    started, epoch, finished = lines()
    assert (started["event"], started["command"]) == ("run_started", "train")
    assert started["parameters"] == {"rows": 3, "radii": [2.0, 1.0], "seed": None}
    assert set(started["versions"]) == {"som_dask", "python", "dask", "numpy"}
    assert (epoch["event"], epoch["epoch"], epoch["quantization_error"]) == ("epoch_finished", 0, 0.1)
    assert (finished["event"], finished["status"]) == ("run_finished", "completed")
    assert finished["seconds"] >= 0
    for line in (started, epoch, finished):
        assert list(line)[:4] == ["time", "level", "event", "run_id"]
        assert line["level"] == "info"
        assert line["run_id"] == log.run_id
        assert line["time"].endswith("Z")
        assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
    log.event("too_late")
    assert len(lines()) == 3


MEASURED = {"index": 2, "radius": 1.5, "quantization_error": 0.25, "seconds": 0.1}


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({}, {}),
        ({"learning_rate": 0.05, "bmu": np.arange(3)}, {"learning_rate": 0.05}),
        (
            {"topographic_error": 0.0, "hits": np.array([[0, 3], [0, 1]])},
            {"topographic_error": 0.0, "nodes_without_hits": 2},
        ),
        ({"learning_rate": None, "topographic_error": None, "hits": None}, {}),
        ({"phase": "rough"}, {"phase": "rough"}),
    ],
)
def test_an_epoch_tells_what_it_has(extra, told):
    with telemetry("train", file="run.jsonl") as log:
        log.epoch(SimpleNamespace(**MEASURED, **extra))
    line = {name: value for name, value in lines()[1].items() if name not in ("time", "level", "run_id")}
    common = {"event": "epoch_finished", "epoch": 2, "radius": 1.5, "quantization_error": 0.25, "seconds": 0.1}
    assert line == common | told


def test_an_error_is_told_and_goes_on():
    with pytest.raises(DataError, match="no rows"), telemetry("train", file="run.jsonl"):
        raise DataError("there are no rows")
    _, error, finished = lines()
    assert (error["event"], error["level"]) == ("error", "error")
    assert error["error"] == {"type": "DataError", "message": "there are no rows"}
    assert "traceback" not in error
    assert (finished["status"], finished["level"]) == ("failed", "error")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Interrupted])
def test_an_interrupt_is_no_error(kind):
    with pytest.raises(kind), telemetry("train", file="run.jsonl"):
        raise kind
    assert names() == ["run_started", "run_finished"]
    assert (lines()[-1]["status"], lines()[-1]["level"]) == ("interrupted", "warning")


def test_debug_tells_where_an_error_came_from():
    with pytest.raises(ZeroDivisionError), telemetry("train", file="run.jsonl", level="debug"):
        _ = 1 / 0
    assert "ZeroDivisionError" in lines()[1]["traceback"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["run_started", "fine", "plain", "odd", "wrong", "run_finished"]),
        ("info", ["run_started", "plain", "odd", "wrong", "run_finished"]),
        ("warning", ["odd", "wrong"]),
        ("error", ["wrong"]),
    ],
)
def test_events_below_the_level_are_left_out(level, expected):
    with telemetry("train", file="run.jsonl", level=level) as log:
        for name, its_level in (("fine", "debug"), ("plain", "info"), ("odd", "warning"), ("wrong", "error")):
            log.event(name, its_level)
    assert names() == expected


def test_warnings_are_told_and_shown_as_before():
    def shown(message, *_):
        seen.append(str(message))

    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = shown
        with telemetry("train", file="run.jsonl"):
            warnings.warn("a checkpoint is damaged", RuntimeWarning, stacklevel=1)
        assert warnings.showwarning is shown
        warnings.warn("after the run", stacklevel=1)
    assert seen == ["a checkpoint is damaged", "after the run"]
    (told,) = [line for line in lines() if line["event"] == "warning"]
    assert (told["category"], told["message"], told["level"]) == (
        "RuntimeWarning",
        "a checkpoint is damaged",
        "warning",
    )
    assert "test_event_log.py:" in told["source"]


def test_a_warning_is_still_caught_by_who_waits_for_it():
    with pytest.warns(UserWarning, match="odd"), telemetry("train", file="run.jsonl"):
        warnings.warn("odd", stacklevel=1)
    assert names() == ["run_started", "warning", "run_finished"]


def test_standard_error_and_a_file_have_the_same_lines(capsys):
    with telemetry("infer", file="run.jsonl", stderr=True) as log:
        assert log.stderr
    out, err = capsys.readouterr()
    assert out == ""
    assert err == Path("run.jsonl").read_text()


def test_without_an_output_nothing_is_written(folder, capsys, caplog):
    caplog.set_level(logging.DEBUG)
    with telemetry("train", {"input": "s3://a:b@c"}) as log:
        log.event("odd", "error")
    assert (log.run_id, log.stderr) == (None, False)
    with pytest.raises(DataError), telemetry("train"):
        raise DataError("no rows")
    assert capsys.readouterr() == ("", "")
    assert caplog.records == []
    assert list(folder.iterdir()) == []


def test_the_loggers_are_left_as_they_were():
    watched = [logging.getLogger(name) for name in ("", "som_dask", "dask", "distributed", "distributed.client")]

    def state():
        return [(list(logger.handlers), logger.level, logger.propagate, logger.disabled) for logger in watched]

    import distributed  # noqa: F401 - sets up its loggers

    before, shown = state(), warnings.showwarning
    within = []
    with pytest.raises(DataError), telemetry("train", file="run.jsonl", include_dask=True):
        raise within.append(state()) or DataError("no rows")
    assert within != [before]
    assert state() == before
    assert warnings.showwarning is shown


def test_events_reach_those_who_have_set_logging_up(caplog):
    caplog.set_level(logging.INFO, logger="som_dask")
    with telemetry("train", file="run.jsonl") as log:
        log.event("epoch_finished", epoch=3)
    assert [record.getMessage() for record in caplog.records][1] == 'epoch_finished {"epoch": 3}'


@pytest.mark.parametrize("name", ["dask", "distributed", "distributed.scheduler", "distributed.client"])
def test_dask_joins_when_asked(name):
    with telemetry("train", file="run.jsonl", include_dask=True) as log:
        logging.getLogger(name).error("lost %s at %s", "a worker", "https://me:pw12345@host/x")
        logging.getLogger("another").error("not of Dask")
    with telemetry("train", file="without.jsonl"):
        logging.getLogger(name).error("lost")
    (joined,) = [line for line in lines() if line["event"] == "log"]
    assert (joined["logger"], joined["level"], joined["run_id"]) == (name, "error", log.run_id)
    assert joined["message"] == "lost a worker at https://***@host/x"
    assert names("without.jsonl") == ["run_started", "run_finished"]


def test_a_handler_of_anothers_that_fails_is_not_the_runs_fault():
    class Failing(logging.Handler):
        def emit(self, record):
            raise RuntimeError("no")

    logger, handler = logging.getLogger("som_dask"), Failing()
    logger.addHandler(handler)
    try:
        with telemetry("train", file="run.jsonl") as log:
            log.event("odd", "warning")
    finally:
        logger.removeHandler(handler)
    assert names() == ["run_started", "odd", "run_finished"]


def test_a_process_forked_off_writes_nothing(monkeypatch):
    with telemetry("train", file="run.jsonl") as log, monkeypatch.context() as patched:
        patched.setattr("som_dask.io.event_log.os.getpid", lambda: -1)
        log.event("odd")
    assert names() == ["run_started", "run_finished"]


def test_a_standard_error_that_is_closed_does_not_end_the_run(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with telemetry("train", file="run.jsonl", stderr=True):
        pass
    assert names() == ["run_started", "run_finished"]


def test_a_full_disk_does_not_end_the_run():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with pytest.warns(UserWarning, match="/dev/full is not whole: .*space"), telemetry("t", file="/dev/full") as log:
        log.event("odd")


def test_lines_are_added_to_a_log_and_begin_anew_after_half_a_line():
    Path("run.jsonl").write_text('{"event": "old"}\n{"event": "ha')
    with telemetry("train", file="run.jsonl"):
        pass
    old, half, *new = Path("run.jsonl").read_text().splitlines()
    assert (old, half) == ('{"event": "old"}', '{"event": "ha')
    assert [json.loads(line)["event"] for line in new] == ["run_started", "run_finished"]


def test_two_runs_have_lines_of_their_own():
    with telemetry("outer", file="a.jsonl") as outer, telemetry("inner", file="b.jsonl") as inner:
        outer.event("of_outer")
        inner.event("of_inner")
    assert names("a.jsonl") == ["run_started", "of_outer", "run_finished"]
    assert names("b.jsonl") == ["run_started", "of_inner", "run_finished"]
    assert outer.run_id != inner.run_id


@pytest.mark.parametrize(
    ("place", "error", "match"),
    [
        ("no/such/run.jsonl", StorageError, "no/such for the log does not exist"),
        (".", StorageError, "can't write the log"),
        ("s3://bucket/run.jsonl", ParameterError, "can't be a URL"),
        ("other.txt", StorageError, r"other\.txt is no log"),
    ],
)
def test_a_place_that_can_hold_no_log(place, error, match):
    Path("other.txt").write_text("my notes\n")
    with pytest.raises(error, match=match), telemetry("train", file=place):
        pytest.fail("it began")
    assert Path("other.txt").read_text() == "my notes\n"


def test_a_level_that_is_none():
    with pytest.raises(ParameterError, match="'loud'"), telemetry("train", file="run.jsonl", level="loud"):
        pytest.fail("it began")


def test_a_credential_is_refused_before_anything_is_written(folder):
    with (
        pytest.raises(ParameterError, match="input holds a credential"),
        telemetry("train", {"input": "s3://key:hunter2@bucket/x"}, file="run.jsonl", stderr=True),
    ):
        pytest.fail("it began")
    assert list(folder.iterdir()) == []
