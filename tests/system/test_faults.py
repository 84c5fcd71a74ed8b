"""Faults: what a kill, a lost chunk, a wrong path or a damaged store must never end in."""

import fcntl
import os
import subprocess
import sys

import dask
import numpy as np
import pytest
import xarray as xr
import zarr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.errors import ParameterError, SomError, StorageError
from som_dask.io import draft
from som_dask.io import outputs as storage
from som_dask.io.checkpoints import Checkpoint, CheckpointFolder
from som_dask.io.models import open_model, save_model
from som_dask.io.outputs import lock, publish
from som_dask.passes.cluster import connect
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.system.test_bad_input import run, store

LATTICE = Lattice(4, 5)
TINY = ("--rows", "2", "--cols", "3", "--epochs", "1")


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def values(rng):
    return rng.normal(size=(9000, 3))


@pytest.fixture
def model(values):
    return train(values, LATTICE, MapConfig(epochs=1))


def distances(place):
    return xr.open_zarr(place, chunks=None, consolidated=False)["distance"].values


def killed_after_a_block(data, model):
    def stop(done, _):
        if done:
            raise Killed

    with pytest.raises(Killed), dask.config.set(scheduler="sync"):
        infer_to_store(data, model, "labels.zarr", on_progress=stop)


@pytest.mark.parametrize("stored", [False, True], ids=["arrays", "one path"])
def test_labels_of_other_samples_are_never_continued(stored, values, model):
    """The partial store is told from another run's by the samples themselves, not by their description."""
    killed_after_a_block(saved(values) if stored else values, model)
    other = saved(values + 1) if stored else values + 1
    wanted = infer(values + 1, model)["distance"].compute().values
    try:
        infer_to_store(other, model, "labels.zarr")
    except StorageError:
        return  # refused: right as well
    np.testing.assert_array_equal(distances("labels.zarr"), wanted)


def saved(values):
    zarr.create_array("cells.zarr", data=values, chunks=(1000, 3), overwrite=True)
    return "cells.zarr"


def test_killed_while_the_old_store_is_removed(values, model, monkeypatch):
    """After the exchange the old store lies in the partial folder: the same command must not publish it again."""
    infer_to_store(values, model, "labels.zarr")
    other = train(values, LATTICE, MapConfig(epochs=3))
    plain = storage.remove

    def remove(place):
        if str(place).endswith("partial/labels.zarr"):
            raise Killed
        plain(place)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "remove", remove)
        with pytest.raises(Killed):
            infer_to_store(values, other, "labels.zarr", overwrite=True)
    infer_to_store(values, other, "labels.zarr", overwrite=True)
    np.testing.assert_array_equal(distances("labels.zarr"), infer(values, other)["distance"].compute())


def test_killed_just_after_publishing(values, model, monkeypatch):
    """The store is published, its partial folder still there: the same command must not lose the store."""
    plain = draft.remove

    def remove(place):
        if os.path.exists("labels.zarr"):
            raise Killed
        plain(place)

    with monkeypatch.context() as patched:
        patched.setattr(draft, "remove", remove)
        with pytest.raises(Killed):
            infer_to_store(values, model, "labels.zarr")
    infer_to_store(values, model, "labels.zarr", overwrite=True)
    np.testing.assert_array_equal(distances("labels.zarr"), infer(values, model)["distance"].compute())


def test_a_second_rename_that_fails_is_undone(tmp_path, monkeypatch):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    plain = os.rename

    def rename(source, target):
        if source.endswith("new"):
            raise OSError(5, "Input/output error")
        plain(source, target)

    monkeypatch.setattr(storage, "_exchange", lambda *_: False)
    monkeypatch.setattr(storage.os, "rename", rename)
    with pytest.raises(StorageError):
        publish(tmp_path / "new", tmp_path / "old", overwrite=True)
    assert (tmp_path / "old" / "file").read_text() == "old"


def test_a_lock_let_go_meanwhile_is_not_held_twice(tmp_path, monkeypatch):
    """Second opens the file, first removes it and lets go, second locks what has no name any more."""
    first, second, third = (lock(tmp_path / "out") for _ in range(3))
    first.__enter__()
    plain = fcntl.flock

    def late(file, operation):
        monkeypatch.setattr(fcntl, "flock", plain)
        first.__exit__(None, None, None)
        plain(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    holders = 0
    for one in (second, third):
        try:
            one.__enter__()
            holders += 1
        except StorageError:
            pass
    assert holders == 1


@pytest.mark.parametrize("command", [["train", "cells.zarr"], ["infer", "model.zarr", "cells.zarr"]], ids=" ".join)
def test_the_input_is_never_the_output(command, values, capsys):
    store("cells.zarr", values)
    assert run("train", "cells.zarr", "--output", "model.zarr", *TINY) == 0
    for place in [place for place in command[1:] if place.endswith(".zarr")]:
        capsys.readouterr()
        options = TINY if command[0] == "train" else ()
        assert run(*command, "--output", f"./{place}/", "--overwrite", *options) != 0
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert zarr.open_group("cells.zarr", mode="r")["data"].shape == (9000, 3)


def test_a_folder_that_is_no_store_is_not_overwritten(values, folder):
    store("cells.zarr", values)
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter.txt").write_text("years of work")
    assert run("train", "cells.zarr", "--output", "thesis", "--overwrite", *TINY) == 5
    assert (folder / "thesis" / "chapter.txt").read_text() == "years of work"


@pytest.mark.parametrize("lost", range(4))
def test_a_shard_that_is_lost_is_missed(lost, rng, folder):
    """Shards that reach beyond the array's end must not make up for one that is gone."""
    values = rng.normal(size=(1100, 4))
    zarr.create_array("s.zarr", data=values, chunks=(100, 2), shards=(1000, 2))
    np.testing.assert_array_equal(open_samples("s.zarr").array.compute(), values)
    sorted(path for path in (folder / "s.zarr" / "c").rglob("*") if path.is_file())[lost].unlink()
    with pytest.raises(StorageError, match="lacks"):
        open_samples("s.zarr")


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
@pytest.mark.parametrize("command", ["train", "infer"])
def test_a_damaged_chunk_of_the_input_is_a_storage_error(command, damage, values, folder, capsys):
    zarr.create_array("good.zarr", data=values, chunks=(1000, 3))
    zarr.create_array("bad.zarr", data=values, chunks=(1000, 3))
    assert run("train", "good.zarr", "--output", "model.zarr", *TINY) == 0
    chunk = folder / "bad.zarr" / "c" / "3" / "0"
    data = bytearray(chunk.read_bytes())
    data[2] ^= 255
    chunk.write_bytes(data[:100] if damage == "truncated" else data)
    capsys.readouterr()
    before, options = (["train"], TINY) if command == "train" else (["infer", "model.zarr"], ())
    assert run(*before, "bad.zarr", "--output", "out.zarr", *options) == 5
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_checkpoints_are_discarded_only_once_the_input_is_good(values, folder):
    store("cells.zarr", values)
    identity = {"rows": 2}
    CheckpointFolder("model.zarr.checkpoints").save(Checkpoint(1, np.zeros((6, 3)), {}, identity))
    assert run("train", "typo.zarr", "--output", "model.zarr", "--overwrite", *TINY) == 5
    assert CheckpointFolder("model.zarr.checkpoints").resume(identity).epochs_done == 1


def test_a_checkpoint_cut_short_leaves_nothing(monkeypatch, folder):
    def interrupted(_):
        raise KeyboardInterrupt

    checkpoints = CheckpointFolder("c")
    with monkeypatch.context() as patched:
        patched.setattr(storage.os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(Checkpoint(1, np.zeros((6, 3)), {}, {}))
    checkpoints.clear()
    assert not (folder / "c").exists()


@pytest.mark.parametrize(
    "line",
    ["rows = [1, 2]", "seed = 1979-05-27", "final_radius = [1.0]", "epochs = 2.7", "rows = true", "radii = 3"],
)
def test_a_job_files_value_of_the_wrong_kind(line, values, folder, capsys):
    store("cells.zarr", values)
    (folder / "job.toml").write_text(f'input = "cells.zarr"\noutput = "model.zarr"\n{line}\n')
    assert run("train", "--config", "job.toml") == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert line.split()[0].replace("_", "-") in told.replace("_", "-")


@pytest.mark.parametrize("output", ["", ".", "bogus://x/model.zarr"])
def test_an_output_that_is_no_place_is_refused_before_the_work(output, values, folder, capsys):
    store("cells.zarr", values)
    assert run("train", "cells.zarr", "--output", output, "--overwrite", *TINY) in (2, 5)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert [path.name for path in folder.iterdir()] == ["cells.zarr"]


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "U5", "O"])
def test_samples_are_converted_to_real_numbers_only(dtype, values):
    with pytest.raises(SomError):
        open_samples(values, dtype=dtype)


@pytest.mark.parametrize("initialization", ["pca", "random", "sample"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_too_large_for_their_squares(initialization, values):
    """Trained to finite weights, or refused in words."""
    try:
        model = train(values * 1e300, LATTICE, MapConfig(epochs=2, initialization=initialization))
    except SomError:
        return
    assert np.isfinite(model["codebook"]).all()


@pytest.mark.parametrize(
    "config",
    [
        {"epochs": np.int64(2)},
        {"seed": np.int64(3)},
        {"final_radius": np.float32(0.5)},
        {"initial_radius": np.int32(2)},
        {"support": np.float32(2)},
    ],
    ids=str,
)
def test_numbers_of_numpys_kinds_go_into_checkpoints_and_models(config, values):
    given = {"epochs": 2, **config}
    model = train(values, LATTICE, MapConfig(**given), checkpoints=CheckpointFolder("c"))
    save_model(model, "model.zarr")
    (name, value), *_ = config.items()
    assert open_model("model.zarr").attrs[name] == value


@pytest.mark.parametrize("every", [0, -1])
def test_epochs_between_checkpoints_are_checked(every, values):
    with pytest.raises(ParameterError):
        train(values, LATTICE, checkpoints=CheckpointFolder("c"), checkpoint_every=every)


@pytest.mark.parametrize(
    "change",
    [{"final_radius": "1"}, {"initial_radius": "1"}, {"support": "x"}, {"epochs": 1, "radii": ("x",)}],
    ids=str,
)
def test_text_for_a_number_is_refused(change):
    with pytest.raises(ParameterError):
        MapConfig(**change)


NO_SCHEDULER = """
import sys
import dask
from som_dask.passes import cluster
from som_dask.errors import ClusterError
dask.config.set({"distributed.comm.timeouts.connect": "1s"})
try:
    with cluster.connect(**{sys.argv[1]: sys.argv[2]}):
        pass
except ClusterError:
    print("told", dask.config.get("scheduler", None))
"""


@pytest.mark.parametrize(
    ("way", "place", "text"),
    [
        ("scheduler_file", "s.json", ""),
        ("scheduler_file", "s.json", "nonsense"),
        ("scheduler_file", "s.json", "{}"),
        ("scheduler_file", "s.json", "[]"),
        ("scheduler", "localhost", ""),
        ("scheduler", "tcp://127.0.0.1:9", ""),
    ],
)
def test_no_scheduler_is_told_and_leaves_no_client_behind(way, place, text, folder):
    (folder / "s.json").write_text(text)
    script = [sys.executable, "-W", "ignore", "-c", NO_SCHEDULER, way, place]
    found = subprocess.run(script, capture_output=True, text=True)
    assert found.stdout == "told None\n", found.stderr


@pytest.mark.cluster
def test_a_relative_path_means_the_same_to_workers_elsewhere(values):
    with connect(workers=1, threads_per_worker=1) as client:
        address = client.scheduler.address
        client.run(os.chdir, "/")
        store("cells.zarr", values)
        assert run("train", "cells.zarr", "--output", "model.zarr", "--scheduler", address, *TINY) == 0
        assert run("infer", "model.zarr", "cells.zarr", "--output", "labels.zarr", "--scheduler", address) == 0
    np.testing.assert_array_equal(
        distances("labels.zarr"), infer("cells.zarr", "model.zarr")["distance"].compute().values
    )
