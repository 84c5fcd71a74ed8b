"""Lines of JSON: each valid, whatever comes, and without credentials."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.io.event_log import EventLog, telemetry
from som_dask.io.json_lines import JsonLines


class Awkward:
    def __repr__(self):
        raise RuntimeError("no repr")


class Kept(logging.Handler):
    def __init__(self, seen):
        super().__init__()
        self.seen = seen
        self.setFormatter(JsonLines("r"))

    def emit(self, record):
        self.seen.append(self.format(record))


def record(message="a message", *args, error=None):
    return logging.LogRecord("distributed", logging.WARNING, "f.py", 1, message, args, error and (None, error, None))


def test_a_foreign_record_with_an_error_and_arguments_that_do_not_fit():
    told = json.loads(JsonLines("r").format(record("failed: %s", "x", error=ValueError("bad"))))
    assert told["message"] == "failed: x"
    assert told["error"] == {"type": "ValueError", "message": "bad"}
    assert "%d" in json.loads(JsonLines().format(record("%d of %d", "x")))["message"]
    assert json.loads(JsonLines().format(record("two\nlines \u2028 é")))["message"] == "two\nlines \u2028 é"
    assert len(JsonLines().format(record("two\nlines \u2028 é")).splitlines()) == 1


def test_whatever_a_field_is_the_line_is_valid_json(tmp_path):
    endless = []
    endless.append(endless)
    fields = {
        "count": np.int32(3),
        "mean": np.float32(0.5),
        "flag": np.bool_(True),
        "nothing": math.nan,
        "most": math.inf,
        "least": np.float64(-np.inf),
        "array": np.arange(3),
        "dates": np.array(["2025-01-01"], dtype="datetime64[D]"),
        "large": np.zeros((100, 100)),
        "path": Path("a/b.zarr"),
        "set": {1},
        "mapping": {1: {"x": (1, 2.5)}},
        "error": KeyError("k"),
        "huge": 10**5000,
        "bytes": b"\xff",
        "lone": "\ud800",
        "awkward": Awkward(),
        "endless": endless,
        "complex": 1j,
        "class": int,
        "time": "never",
    }
    with telemetry("train", file=tmp_path / "run.jsonl") as log:
        log.event("odd", **fields)
    for text in (tmp_path / "run.jsonl").read_text().splitlines():
        told = json.loads(text, parse_constant=pytest.fail)
        if told["event"] == "odd":
            break
    assert [told[name] for name in ("count", "mean", "flag", "nothing")] == [3, 0.5, True, None]
    assert (told["most"], told["least"]) == ("Infinity", "-Infinity")
    assert (told["array"], told["dates"]) == ([0, 1, 2], ["2025-01-01"])
    assert told["large"] == "array of shape (100, 100) and dtype float64"
    assert (told["path"], told["set"], told["mapping"]) == ("a/b.zarr", [1], {"1": {"x": [1, 2.5]}})
    assert told["error"] == {"type": "KeyError", "message": "'k'"}
    assert told["awkward"] == "<Awkward without a repr>"
    assert told["lone"] == "\ud800"
    assert told["time"] != "never"


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON_LIKE, max_size=5))
def test_any_fields_make_one_line(fields):
    made = record()
    made.som_dask_event, made.som_dask_fields = "any", None
    made.msg, made.args = "%s", (fields,)
    text = JsonLines("r").format(made)
    assert len(text.splitlines()) == 1
    assert json.loads(text, parse_constant=pytest.fail)["event"] == "any"
    seen = []
    log = EventLog([Kept(seen)], logging.INFO, "r")
    log.event("any", **{f"x{name}": value for name, value in fields.items()})
    (text,) = seen
    assert json.loads(text, parse_constant=pytest.fail)["event"] == "any"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_categories=("Z", "C")), min_size=8))
def test_no_credential_slips_into_a_line(secret):
    seen = []
    log = EventLog([Kept(seen)], logging.INFO, "r")
    place = f"s3://key:{secret}@bucket"
    log.event("odd", place=place, nested=[{"at": (place,)}], error=OSError(f"can't read {place}"), secret=secret)
    (text,) = seen
    told = json.loads(text)
    assert told["place"] == "s3://***@bucket"
    assert told["nested"] == [{"at": ["s3://***@bucket"]}]
    assert told["error"]["message"] == "can't read s3://***@bucket"
    assert told["secret"] == "***"
