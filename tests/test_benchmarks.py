"""The benchmarks run: no time is judged, only that numbers come out."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.benchmarks import epoch, gpu
from tests.benchmarks.timing import Contestant, Options, Spread, interleaved, ratio
from tests.cuda_on_host import HostDevice, compiler


def test_epoch_gives_positive_numbers():
    result = epoch.measure(500, 3, 16, Options(threads=2, rounds=2))
    spreads = [value for value in result.values() if isinstance(value, Spread)]
    assert len(spreads) >= 3
    for spread in spreads:
        assert spread.rounds == 2
        assert 0 < spread.low <= spread.median <= spread.high < math.inf


def test_gpu_gives_positive_numbers(monkeypatch, tmp_path, capsys):
    if compiler() is None:
        pytest.skip("there is no g++ to compile the kernels for the host")
    host = HostDevice(tmp_path).install(monkeypatch)
    wait = SimpleNamespace(id=0, synchronize=lambda: None)
    runtime = SimpleNamespace(getDeviceProperties=lambda number: {"name": b"stand-in"})
    cuda = SimpleNamespace(Device=lambda: wait, runtime=runtime)
    parts = {"asarray": host.to_device, "empty": np.empty, "float32": np.float32, "matmul": np.matmul}
    monkeypatch.setattr(gpu, "device", lambda: SimpleNamespace(cuda=cuda, **parts))
    monkeypatch.setattr(gpu, "PART_ROWS", 300)
    monkeypatch.setattr(gpu, "SIDES", (3, 4))
    results = gpu.run(Options(quick=True, threads=1, rounds=1))
    assert [result["side"] for result in results] == [3, 4]
    for result in results:
        assert all(result[name]["median"] > 0 for name in ("epochs", "block", "floor", "cpu"))
        assert {"search", "settle", "add"} < set(result["kernels"])
        assert 0 <= result["settled"] < 1
    assert "on stand-in" in capsys.readouterr().out


def test_without_a_gpu_its_benchmark_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)  # makes `import cupy` fail
    assert gpu.run(Options(quick=True)) == []
    assert "skipped gpu: device 'gpu' needs CuPy" in capsys.readouterr().out


def test_contestants_take_turns_until_patience_ends():
    order = []
    contestants = {
        "quick": Contestant(lambda: order.append("quick")),
        "cold": Contestant(lambda: order.append("cold"), warm=False),
    }
    interleaved(contestants, Options(threads=1, rounds=2))
    assert order == ["quick", "quick", "cold", "quick", "cold"]  # the first one untimed
    times = interleaved(contestants, Options(threads=1, rounds=3, patience=0.0))
    assert {name: len(values) for name, values in times.items()} == {"quick": 1, "cold": 1}


def test_ratios_are_taken_within_a_round():
    assert ratio([2.0, 30.0], [1.0, 10.0, 99.0]) == Spread(2.5, 2.0, 3.0, 2)
