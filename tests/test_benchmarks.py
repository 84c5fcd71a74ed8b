"""The benchmarks run: no time is judged, only that numbers come out."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from som_dask.lattice import Lattice
from som_dask.online import OnlineConfig, initial_weights
from tests.benchmarks import data, epoch, gaps, gpu, online
from tests.benchmarks.timing import Contestant, Options, Spread, interleaved, ratio
from tests.cuda_on_host import HostDevice, compiler
from tests.twins import plain_online


def test_epoch_gives_positive_numbers():
    result = epoch.measure(500, 3, 16, Options(threads=2, rounds=2))
    spreads = [value for value in result.values() if isinstance(value, Spread)]
    assert len(spreads) >= 3
    for spread in spreads:
        assert spread.rounds == 2
        assert 0 < spread.low <= spread.median <= spread.high < math.inf


def test_gaps_give_positive_ratios():
    result = gaps.measure(400, 4, 3, Options(threads=2, rounds=2))
    assert set(result["ratios"]) == set(gaps.KINDS) - {"plain"}
    for spread in (*result["ratios"].values(), *result["seconds"].values()):
        assert 0 < spread.low <= spread.median <= spread.high < math.inf
    assert 0.05 < np.isnan(data.with_gaps(np.ones((500, 5), np.float32), 1.0)).mean() < 0.15


def test_online_gives_positive_numbers():
    result = online.measure(20, OnlineConfig(iterations=3), 5, Options(threads=1, rounds=2))
    assert {"ours, rectangular", "ours, hexagonal", "NumPy loop"} <= set(result["updates_per_second"])
    for spread in (*result["updates_per_second"].values(), *result["times_numpy_loop"].values()):
        assert 0 < spread.low <= spread.median <= spread.high < math.inf


def test_the_numpy_loop_of_the_benchmark_is_the_rule(rng, monkeypatch):
    vectors, config = rng.random((4, 3)), OnlineConfig(iterations=3)
    codebook = initial_weights(Lattice(6, 6), 3, 0)
    monkeypatch.setattr(online, "initial_weights", lambda *_: codebook)  # which the loop changes in place
    wanted = plain_online(vectors, Lattice(6, 6, "rectangular"), codebook.copy(), 3, 0.1)[0]
    online.numpy_loop(vectors, 6, config, 12)
    np.testing.assert_allclose(codebook, wanted, rtol=0, atol=1e-12)


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
