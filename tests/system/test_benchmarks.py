"""The benchmarks run: no time is judged, only that numbers come out."""

import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from minisom import MiniSom
from scipy.io import netcdf_file
from xpysom import XPySom

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig, draw_codebook
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.train import epochs
from tests.benchmarks import (
    data,
    epoch,
    final_radius,
    fine_tuning,
    gaps,
    gpu,
    late,
    lattices,
    maps,
    online,
    phases,
    quality_points,
    scale,
    schedules,
    small_data,
    small_jobs,
    time_to_quality,
    trainings,
)
from tests.benchmarks.scale_meter import longest_work, routes_of
from tests.benchmarks.stores import write_store
from tests.benchmarks.timing import Contestant, Options, Skipped, Spread, interleaved, ratio
from tests.contracts.cuda_on_host import HostDevice, compiler
from tests.reference.twins import plain_online


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


def test_late_epochs_give_positive_numbers(rng):
    found = late.measure(rng.random((300, 3)), 9, Options(threads=1, rounds=1), epochs=7)
    assert 0 <= found["moved"] < 1
    for name in ("sgemm", "plain", "recalled"):
        assert 0 < found[name] < math.inf


def test_small_jobs_take_some_time(rng):
    found = small_jobs.measure(rng.random((30, 3)), Options(threads=1, rounds=2), epochs=2)
    assert list(found) == ["train", "epochs", "infer", "evaluate"]
    for times in found.values():
        assert times["wall"].rounds == 2
        assert 0 < times["processor"].median < math.inf


def test_a_store_with_gaps_and_weights(tmp_path):
    write_store(tmp_path / "some.zarr", 3, 50, 4, gaps=True)
    samples = open_samples(tmp_path / "some.zarr", variable="samples", sample_weights="weights")
    assert samples.array.shape == (150, 4)
    assert 0.05 < float(np.isnan(samples.array).mean()) < 0.15
    assert 0.5 <= float(samples.weights.min()) < float(samples.weights.max()) < 1.5


def test_online_gives_positive_numbers():
    result = online.measure(20, OnlineConfig(epochs=3), 5, Options(threads=1, rounds=2))
    assert {"ours, rectangular", "ours, hexagonal", "NumPy loop"} <= set(result["updates_per_second"])
    for spread in (*result["updates_per_second"].values(), *result["times_numpy_loop"].values()):
        assert 0 < spread.low <= spread.median <= spread.high < math.inf


def test_the_numpy_loop_of_the_benchmark_is_the_rule(rng, monkeypatch):
    vectors, config = rng.random((4, 3)), OnlineConfig(epochs=3)
    codebook = draw_codebook(Lattice(6, 6), 3, 0)
    monkeypatch.setattr(online, "draw_codebook", lambda *_: codebook)  # which the loop changes in place
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


@pytest.mark.cluster
def test_scale_counts_what_an_epoch_costs(capsys):
    plan = scale.Plan(workers=(4,), processes=2, blocks=(9,), maps=((3, 2),), epochs=4)
    threads, *ways = scale.run(Options(threads=1), plan)
    assert threads["cpu"]["client"] > 0
    assert [row["way"] for row in (threads, *ways)] == list(scale.WAYS)
    for row in ways:
        assert row["epochs"] == row["seconds"]["rounds"] == row["overhead"]["rounds"] == 4
        assert 0 < row["overhead"]["high"] <= row["seconds"]["high"]
        assert all(row["memory"][role]["first"] > 2**20 for role in ("client", "scheduler", "workers"))
    before = ways[-1]
    assert before["tasks"] == 1 + 9 + 3  # a task a block
    for row in ways:
        if row["way"].startswith("kept"):  # a task a worker, and two; a few more where blocks lie unevenly
            assert 6 <= row["tasks"] < before["tasks"]
    kept = ways[0]
    sums = 9 * 2 * 2 * 8 + 9 * 8  # of 3 x 3 nodes: two limbs of two features, and the hits
    assert kept["moved"]["samples"] == 0
    assert 2 * sums < kept["moved"]["sums"] < kept["tasks"] * (sums + 200)
    assert 1 <= kept["codebook_rounds"] <= 3
    assert 1 <= kept["codebook_copies"] <= 3
    printed = capsys.readouterr().out
    assert "overhead ms" in printed
    assert "task prefixes" in printed


def test_work_belongs_to_the_epoch_that_it_lies_in():
    spans = [("a", 10.0, 10.5), ("b", 10.1, 10.3), ("b", 10.3, 10.7), ("a", 20.1, 20.2)]
    assert longest_work(spans, [(9.9, 11.0), (20.0, 21.0), (30.0, 31.0)]) == pytest.approx([0.6, 0.1, 0.0])


def test_the_way_of_a_codebook_is_counted():
    assert routes_of({}) == (0, 0)
    assert routes_of({"b": "a", "c": "a", "d": "b", "e": "d"}) == (2, 3)


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


@pytest.mark.parametrize("topology", ["hexagonal", "rectangular"])
def test_errors_are_those_that_minisom_finds_itself(topology, rng, monkeypatch):
    kept = []
    monkeypatch.setattr(MiniSom, "get_euclidean_coordinates", _keeping(MiniSom.get_euclidean_coordinates, kept))
    samples, others = rng.normal(size=(60, 4)), rng.normal(size=(40, 4))
    made = maps.minisom(samples, 6, topology, 2, 0)
    for rows in (samples, others):
        qe, te = maps.errors(rows, made)
        assert qe == pytest.approx(kept[0].quantization_error(rows), rel=1e-6)
        assert te == pytest.approx(kept[0].topographic_error(rows), abs=1e-12)
        assert 0 < te < 1


def test_errors_are_those_that_xpysom_finds_itself(rng, monkeypatch):
    kept = []  # on a rectangular lattice: its own hexagonal error mixes up rows and columns
    monkeypatch.setattr(XPySom, "get_euclidean_coordinates", _keeping(XPySom.get_euclidean_coordinates, kept))
    samples = rng.normal(size=(60, 4))
    made = maps.xpysom(samples, 6, "rectangular", 3, 0)
    qe, te = maps.errors(samples, made)
    assert qe == pytest.approx(kept[0].quantization_error(samples), rel=1e-5)
    assert te == pytest.approx(kept[0].topographic_error(samples), abs=1e-12)
    assert te > 0


def _keeping(method, kept):
    return lambda self: kept.append(self) or method(self)


@pytest.mark.parametrize(("topology", "neighbors"), [("hexagonal", 6), ("rectangular", 8)])
@pytest.mark.parametrize("maker", [maps.ours(), maps.minisom, maps.xpysom])
def test_every_contestant_has_as_many_neighbors(maker, topology, neighbors, rng):
    adjacent = maker(rng.normal(size=(20, 2)), 5, topology, 1, 0).adjacent
    assert adjacent.diagonal().all()
    assert (adjacent == adjacent.T).all()
    inner = [5 * row + col for row in (1, 2, 3) for col in (1, 2, 3)]
    assert set(adjacent[inner].sum(axis=1) - 1) == {neighbors}
    assert adjacent.sum() == maps.ours()(rng.normal(size=(20, 2)), 5, topology, 1, 0).adjacent.sum()


def test_ours_takes_part_as_configured(rng):
    samples = rng.normal(size=(50, 3))
    made = maps.ours(start=0.5, final_radius=0.4, initialization="sample")(samples, 4, "hexagonal", 3, 7)
    config = MapConfig(epochs=3, initial_radius=2.0, final_radius=0.4, initialization="sample", seed=7)
    *_, last = epochs(samples, Lattice(4, 4), config)
    np.testing.assert_array_equal(made.codebook, last.codebook.reshape(16, 3))


@pytest.mark.parametrize("name", ["final_radius", "fine_tuning", "lattices"])
def test_what_is_compared_on_many_data_sets_gives_a_number_for_each(name, monkeypatch, capsys):
    module = {"final_radius": final_radius, "fine_tuning": fine_tuning, "lattices": lattices}[name]
    if name == "fine_tuning":
        ends = {"default": (0.48, 1.08, {"rough_epochs": 3}), "other": (0.6, 3.0, {"rough_epochs": 3})}
        monkeypatch.setattr(module, "ENDS", ends)
    if name == "final_radius":
        monkeypatch.setattr(module, "FINAL_RADII", (0.3, 0.6))
        monkeypatch.setattr(module, "EPOCHS", {"2 epochs": {"epochs": 2}})
    results = module.run(Options(quick=True, threads=1))
    told = capsys.readouterr().out
    assert "nan" not in told
    if name == "final_radius":
        assert [row["found"]["iris"]["default"]["epochs"] for row in results] == [[20, 20]]
        (chosen,) = (row["found"]["iris"]["auto"] for row in results)
        assert chosen["radius"] != [0.48, 0.48]
        assert np.shape(chosen["errors"]) == (2, 5)
    elif name == "fine_tuning":
        assert not np.allclose(results[0]["runs"]["default"], results[0]["runs"]["other"])
    else:
        assert np.all(np.array(results[0]["errors"]["iris"]["ours"])[:, :2] > 0)


def test_the_combined_error_goes_from_neighbor_to_neighbor():
    line = np.eye(4, dtype=bool) | np.eye(4, k=1, dtype=bool) | np.eye(4, k=-1, dtype=bool)
    made = maps.Map(np.array([[0.0], [10.0], [20.0], [1.0]]), line)  # the ends of the line are near each other
    samples = np.array([[0.25], [9.0], [20.0]])
    expected = np.mean([0.25 + 10 + 10 + 19, 1 + 10 + 19, 0 + 10])
    assert final_radius.combined_error(samples, made) == pytest.approx(expected)


def test_splits_are_scaled_by_the_training_part(rng):
    values = np.hstack([rng.normal(5, 3, size=(40, 3)), np.full((40, 1), 2.0)])
    samples, holdout = small_data.split(small_data.Table(values), 1)
    assert (len(samples), len(holdout)) == (28, 12)
    np.testing.assert_allclose(samples.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(samples.std(axis=0), [1, 1, 1, 0], atol=1e-12)
    both = np.vstack([samples, holdout])[:, :3]
    scale = np.ptp(values[:, :3], axis=0) / np.ptp(both, axis=0)
    expected = both * scale + (values[:, :3].min(axis=0) - (both * scale).min(axis=0))
    assert {tuple(row) for row in expected.round(9)} == {tuple(row) for row in values[:, :3].round(9)}
    assert not np.array_equal(samples, small_data.split(small_data.Table(values), 2)[0])


def test_a_climate_field_without_its_land_points(rng, tmp_path, monkeypatch):
    field, latitude = rng.normal(size=(10, 3, 2)), np.array([0.0, 60.0, 90.0])
    with netcdf_file(tmp_path / "sst_ndjfm_anom.nc", "w") as file:
        for name, size in (("time", 10), ("latitude", 3), ("longitude", 2)):
            file.createDimension(name, size)
        file.createVariable("latitude", "d", ("latitude",))[:] = latitude
        stored = file.createVariable("sst", "d", ("time", "latitude", "longitude"))
        stored[:] = field
        stored[:, 1, 0] = stored.missing_value = -999.0
    monkeypatch.setenv(small_data.CLIMATE, str(tmp_path))
    table = small_data.SMALL_DATA["sea_surface"]()
    np.testing.assert_array_equal(table.values, np.delete(field.reshape(10, 6), 2, axis=1))
    np.testing.assert_allclose(table.weights, np.sqrt([1, 1, 0.5, 0, 0]), atol=1e-7)
    samples, _ = small_data.split(table, 0)
    assert np.mean(samples**2) == pytest.approx(1)
    with pytest.raises(Skipped, match=r"hgt_djf\.nc"):
        small_data.SMALL_DATA["height"]()
    monkeypatch.delenv(small_data.CLIMATE)
    with pytest.raises(Skipped, match=f"set {small_data.CLIMATE}"):
        small_data.SMALL_DATA["sea_surface"]()


def test_signs_tell_better_from_worse():
    noise = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    base = np.arange(16.0).reshape(4, 4)
    signs = schedules.against(base + [-5, 5, 0, 0.1] + noise * [0, 0.1, 0, 0.1], base)
    assert signs == "+-=="
    assert [schedules.wins(s) for s in ("+===", "=+++", "+-==", "++-=", "====")] == [True, True, False, False, False]


def test_qe_at_no_more_te_than_the_peer():
    ladder = [np.array([[2.0, 4.0, 0.1, 0.2]] * 2), np.array([[0.5, 1.5, 0.4, 0.3], [1.5, 2.5, 0.2, 0.5]])]
    for steps in (ladder, ladder[::-1]):  # means 2 at TE 0.1 and 1 at 0.3; 4 at 0.2 and 2 at 0.4
        assert schedules.at_equal_te(steps, np.array([[2.0, 6.0, 0.2, 0.3]])) == pytest.approx([0.75, 0.5])
        assert schedules.at_equal_te(steps, np.array([[2.0, 6.0, 0.05, 0.9]])) == [None, pytest.approx(1 / 3)]
    worse = np.array([[3.0, 5.0, 0.3, 0.3]])
    assert schedules.at_equal_te([ladder[0], worse], np.array([[2.0, 4.0, 0.9, 0.25]])) == [1.0, 1.0]


def test_schedules_give_a_table(monkeypatch, capsys):
    table = small_data.SMALL_DATA["iris"]()
    monkeypatch.setattr(schedules, "SMALL_DATA", {"iris": lambda: table, "absent": _absent})
    results = schedules.run(Options(quick=True, threads=1))
    assert [result["table"] for result in results] == ["candidates", "variants", "other settings"]
    for result in results:
        for values in result["errors"]["iris"].values():
            assert np.shape(values) == (result["seeds"], len(result["measures"]))
            assert (np.array(values) >= 0).all()
        assert {"MiniSom", "XPySom"} < set(result["errors"]["iris"])
    assert results[0]["errors"]["iris"]["side/2 to 1.0"] != results[0]["errors"]["iris"]["side/4 to 0.3"]
    printed = capsys.readouterr().out
    assert "skipped absent: for the test" in printed
    assert "wins vs MiniSom" in printed
    assert "at no more than the peer's TE" in printed


def _absent():
    raise Skipped("absent: for the test")


def test_phases_are_measured_beside_epochs_on_all_samples(capsys):
    results = phases.run(Options(quick=True, threads=1))
    assert [result["data"] for result in results] == ["noise, D = 3", "noise, D = 10"]
    for result in results:
        assert [len(runs) for runs in result["runs"].values()] == [1, 1, 2]
        assert (np.array(result["runs"]["two phases"]) > 0).all()
    assert "two phases: QE" in capsys.readouterr().out
    for name, make in phases.LARGE_DATA.items():
        if name != "height":  # needs a file
            table = make(50, np.random.default_rng(0))
            assert table.shape[0] == 50
            assert np.isfinite(table).all()


def test_time_to_quality_gives_a_table_and_a_picture(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(time_to_quality, "DATA", {"noise": lambda n: data.noise(n, 3), "absent": lambda n: _absent()})
    two, one = trainings.TRAININGS["ours, two phases"].run, trainings.TRAININGS["ours, one phase"].run
    few = {
        "ours, two phases": trainings.Training(two, ((6, 1), (6, 3))),
        "ours, one phase": trainings.Training(one, ((0, 2), (0, 5))),
        **{name: replace(trainings.TRAININGS[name], ladder=((0, 2),)) for name in ("XPySom", "MiniSom")},
    }
    monkeypatch.setattr(time_to_quality, "TRAININGS", few)
    setting = time_to_quality.Setting(200, 4, online=True, rounds=2)
    results = time_to_quality.run(Options(threads=1), [setting, replace(setting, online=False)])
    found = [{(p["contestant"], p["epochs"]): p for p in result["points"]} for result in results]
    assert [len(points) for points in found] == [6, 5]
    reads = {key: point["reads"] for key, point in found[0].items()}
    assert reads == {
        ("ours, two phases", "6 + 1"): 3,  # the first pass, the epoch, the last pass
        ("ours, two phases", "6 + 3"): 5,
        ("ours, one phase", "2"): 5,  # the initial plane too
        ("ours, one phase", "5"): 8,
        ("XPySom", "2"): 2,
        ("MiniSom", "2"): 2,
    }
    for point in found[0].values():
        assert point["rounds"] == 2
        assert 0 < point["cpu"] < math.inf
    kept, picture = tmp_path / "kept.json", tmp_path / "picture.png"
    kept.write_text(json.dumps({"results": {"time_to_quality": results[:1]}}))
    time_to_quality.main([str(kept), str(picture)])
    assert picture.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "skipped absent: for the test" in printed
    assert "within 1 % and TE within 1 point" in printed


@pytest.mark.parametrize("name", ["ours, two phases", "ours, to radius 0.3", "XPySom", "MiniSom, plane"])
def test_all_codebooks_are_measured_alike(name, rng):
    values, side = rng.normal(size=(90, 3)).astype(np.float32), 5
    training = trainings.TRAININGS[name]
    codebook = training.run(values, side, (3, 2) if "two" in name else (0, 2), 0)
    node = np.arange(side**2)
    adjacent = trainings.lattice_of(side).adjacent(node[:, None], node[None, :])
    wanted = maps.errors(values.astype(np.float64), maps.Map(codebook, adjacent))
    assert trainings.errors_of(values, side, codebook) == pytest.approx(wanted, rel=1e-9)
    assert wanted[1] > 0


def quality_points_of(contestant, *points):
    return [
        quality_points.Point(contestant, str(k), cpu, cpu, 1.0, qe, te, 1) for k, (cpu, qe, te) in enumerate(points)
    ]


def test_the_quickest_map_that_is_good_enough():
    points = quality_points_of("a", (1.0, 2.0, 0.1), (3.0, 1.009, 0.109), (2.0, 1.02, 0.0), (4.0, 0.9, 0.2))
    assert quality_points.time_until(points, 1.0, 0.1).epochs == "1"
    assert quality_points.time_until(points, 0.9, 0.2).epochs == "3"
    assert quality_points.time_until(points, 0.8, 0.2) is None
    assert quality_points.time_until(points, 2.0, 0.05).epochs == "2"


def test_who_is_as_good_as_whom(capsys):
    peer = quality_points_of("peer", (5.0, 2.0, 0.1), (6.0, 1.0, 0.1), (12.0, 1.0, 0.1))
    good, bad = ((2.0, 1.5, 0.1), (3.0, 1.0, 0.1)), ((1.0, 1.5, 0.1),)
    found = {
        "some": [*quality_points_of("ours, two phases", *bad), *quality_points_of("ours, one phase", *good), *peer],
        "more": [*quality_points_of("ours, two phases", *bad), *peer],
    }
    assert quality_points.compare(found["some"], "ours", "peer") == 0.5  # until it is as good as at its end
    assert quality_points.compare(found["more"], "ours", "peer") is None
    assert quality_points.compare(found["some"], "peer", "ours, two phases") == 6.0
    quality_points.show_points("title", found)
    cells = capsys.readouterr().out.splitlines()[-5].split("  ")
    assert [cell.strip() for cell in cells if cell] == ["peer", "1 of 2", "0.500", "2 of 2", "6.00 [6.00, 6.00]"]
