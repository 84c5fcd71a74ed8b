"""The guard of the benchmarks: it fails when a ratio has fallen by a quarter, in every try, and only then."""

import json

import pytest

from tests.benchmarks import guard
from tests.benchmarks.timing import Options


@pytest.fixture
def tries(tmp_path, monkeypatch):
    """What measuring gives, one after the other; two cases are recorded as 2.0."""
    found = []
    recorded = tmp_path / "guard.json"
    recorded.write_text(json.dumps({"a": 2.0, "b": 2.0}), encoding="utf-8")
    monkeypatch.setattr(guard, "RECORDED", recorded)
    monkeypatch.setattr(guard, "CASES", {"a": None, "b": None})
    monkeypatch.setattr(guard, "measure", lambda case: found.pop(0))
    return found


def test_it_passes_where_one_try_is_fast_enough(tries, capsys):
    tries += [1.0, 1.4, 1.51, 2.5]
    results = guard.run(Options(quick=True))
    assert [row["found"] for row in results] == [1.51, 2.5]
    assert "none" in capsys.readouterr().out


def test_it_fails_where_every_try_is_slow(tries, capsys):
    tries += [2.0, 1.49, 1.0, 1.2]
    with pytest.raises(SystemExit) as end:
        guard.run(Options(quick=True))
    assert end.value.code == 1
    assert "0.75 of what is recorded: b\n" in capsys.readouterr().out


def test_a_case_is_measured_by_both_contestants(monkeypatch):
    monkeypatch.setattr(guard, "ROWS", 3000)
    monkeypatch.setattr(guard, "ROUNDS", 2)
    assert 0 < guard.measure("surface D=3, 10 x 10") < 100


def test_every_case_is_recorded():
    assert json.loads(guard.RECORDED.read_text(encoding="utf-8")).keys() == guard.CASES.keys()
