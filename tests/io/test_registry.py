"""The registry: every model whole, under a key of its own, with its provenance."""

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import som_dask
from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ModelExistsError, ModelNotFoundError, ParameterError, StorageError
from som_dask.io import manifest, registry
from som_dask.io.manifest import Entry, dataset_digest
from som_dask.io.model_key import ModelKey
from som_dask.io.models import open_model, save_model
from som_dask.io.registry import Registry, resolve
from som_dask.training.batch import TrainingConfig, fit

CODE = som_dask.__version__


@pytest.fixture(scope="module")
def models():
    """Three maps that differ."""
    values = np.random.default_rng(5).normal(size=(200, 3)).astype(np.float32)
    cells = xr.DataArray(values, dims=("cell", "marker"), coords={"marker": np.array(["a", "b", "c"], dtype=object)})
    return [
        fit(cells, Lattice(3, 4, "rectangular"), TrainingConfig(epochs=2, seed=seed, initialization="random"))
        for seed in range(3)
    ]


@pytest.fixture
def model(models):
    return models[0]


@pytest.fixture(params=["path", "url"])
def root(request, tmp_path):
    return str(tmp_path / "models") if request.param == "path" else f"memory://registry-{uuid.uuid4().hex}/models"


def numbers(keys):
    return sorted(key.revision for key in keys)


def same(found, model):
    xr.testing.assert_identical(found, model)
    assert {name: found[name].dtype for name in found.data_vars} == {name: model[name].dtype for name in model}
    assert found.attrs.keys() == model.attrs.keys()
    return True


# Saving and loading


def test_what_is_saved_is_loaded(root, model):
    dev = Registry(root)
    key = dev.save(model, "photo")
    assert str(key) == f"dev/photo/{CODE}/1/1"
    assert same(dev.load("photo"), model)
    assert same(dev.load("photo", CODE, "1", 1), model)
    assert same(Registry(root, "prod").load_key(key), model)
    assert same(dev.load_key(str(key)), model)
    assert same(open_model(dev.place(key)), model)


def test_a_map_object_is_saved_by_its_dataset(root, model):
    class Map:
        def to_dataset(self):
            return model

    Registry(root).save(Map(), "photo")
    assert same(Registry(root).load("photo"), model)


def test_a_lazy_model_stays_lazy(root, model):
    lazy = model.chunk()
    Registry(root).save(lazy, "photo")
    assert lazy["codebook"].chunks is not None
    assert same(Registry(root).load("photo"), model)


@pytest.mark.parametrize("thing", [None, "model.zarr", np.zeros((2, 2)), xr.Dataset()])
def test_only_models_are_saved(thing, tmp_path):
    with pytest.raises(ParameterError, match="no som_dask model"):
        Registry(tmp_path).save(thing, "photo")
    assert os.listdir(tmp_path) == []


def test_revisions_count_retrainings_of_each_version(root, models):
    dev = Registry(root)
    assert [dev.save(model, "photo").revision for model in models] == [1, 2, 3]
    assert dev.save(models[0], "photo", model_version="2").revision == 1
    assert dev.save(models[0], "other").revision == 1
    for i, model in enumerate(models):
        assert same(dev.load("photo", CODE, "1", i + 1), model)


def test_left_out_parts_mean_the_newest_of_that_name(root, models, monkeypatch):
    dev, (a, b, c) = Registry(root), models
    saved = [("1.9.0", "2", a), ("1.10.0", "9", b), ("1.10.0", "10", c), ("1.9.0", "10", a)]
    for code, version, model in saved:
        monkeypatch.setattr(registry, "__version__", code)
        dev.save(model, "photo", model_version=version)
    dev.save(b, "other", model_version="99")
    Registry(root, "prod").save(b, "photo", model_version="99")
    assert dev.find("photo") == ModelKey("dev", "photo", "1.10.0", "10", 1)
    assert same(dev.load("photo"), c)
    assert dev.find("photo", "1.9.0") == ModelKey("dev", "photo", "1.9.0", "10", 1)
    assert dev.find("photo", model_version="9") == ModelKey("dev", "photo", "1.10.0", "9", 1)
    assert dev.find("photo", model_version="2") == ModelKey("dev", "photo", "1.9.0", "2", 1)
    dev.save(b, "photo", model_version="10")
    assert dev.find("photo", "1.9.0", revision=1).revision == 1
    assert dev.find("photo", revision=2) == dev.find("photo", "1.9.0") == ModelKey("dev", "photo", "1.9.0", "10", 2)


def test_a_key_is_given_once(root, models):
    dev = Registry(root)
    key = dev.save(models[0], "photo", revision=4)
    assert key.revision == 4
    with pytest.raises(ModelExistsError, match=f"dev/photo/{CODE}/1/4 was given .* leave the revision out"):
        dev.save(models[1], "photo", revision=4)
    with pytest.raises(FileExistsError):
        dev.save(models[1], "photo", revision=4)
    assert same(dev.load("photo"), models[0])
    assert dev.save(models[1], "photo").revision == 5
    assert ModelExistsError.exit_status == ModelNotFoundError.exit_status == 5


def test_a_model_without_its_claim_is_not_lost(root, models):
    dev = Registry(root)
    key = dev.save(models[0], "photo")
    registry.remove(f"{dev._folder(key)}/claim")
    with pytest.raises(ModelExistsError):
        dev.save(models[1], "photo", revision=1)
    registry.remove(f"{dev._folder(key)}/claim")
    assert dev.save(models[1], "photo").revision == 2
    assert same(dev.load("photo", revision=1), models[0])


def test_what_is_missing_is_told_with_what_there_is(root, model):
    dev = Registry(root)
    with pytest.raises(ModelNotFoundError, match="has no model photo@dev; dev is empty"):
        dev.load("photo")
    key = dev.save(model, "photo")
    with pytest.raises(ModelNotFoundError, match=f"no model photo@dev:9.9; there is {key}"):
        dev.load("photo", "9.9")
    with pytest.raises(ModelNotFoundError, match=rf"no model photo@dev:\*/7; there is {key}"):
        dev.load("photo", model_version="7")
    with pytest.raises(FileNotFoundError, match="no model fotos@dev; dev holds photo"):
        dev.load("fotos")
    with pytest.raises(ModelNotFoundError, match="no model photo@prod; prod is empty, and there is dev"):
        Registry(root, "prod").load("photo")
    for action in (dev.entry, dev.load_key, dev.promote, dev.delete):
        with pytest.raises(ModelNotFoundError, match=f"no model {replace(key, revision=2)}; there is {key}"):
            action(replace(key, revision=2))
    assert Registry(f"{root}/none").list() == []


def test_bad_names_never_reach_the_root(tmp_path, model):
    dev = Registry(tmp_path / "models")
    for name in ("..", "a/b", "/a", "", "a" * 101):
        with pytest.raises(ParameterError):
            dev.save(model, name)
        with pytest.raises(ParameterError):
            dev.save(model, "photo", model_version=name)
        with pytest.raises(ParameterError):
            dev.load(name)
        with pytest.raises(ParameterError):
            dev.load("photo", name)
        with pytest.raises(ParameterError):
            Registry(tmp_path / "models", name)
    key = dev.save(model, "photo")
    with pytest.raises(ParameterError):
        dev.promote(key, "..")
    with pytest.raises(ParameterError):
        dev.save(model, "photo", revision=0)
    with pytest.raises(ParameterError):
        dev.delete("dev/photo/../1/1")
    assert os.listdir(tmp_path) == ["models"]


def test_roots(tmp_path, model):
    with pytest.raises(ParameterError, match="empty"):
        Registry("")
    with pytest.raises(StorageError, match="nothing://"):
        Registry("nothing://bucket")
    assert Registry(f"file://{tmp_path}/models").root == f"{tmp_path}/models"
    assert repr(Registry("models/", "qa")) == "Registry('models', environment='qa')"
    (tmp_path / "file").touch()
    for action in (lambda r: r.save(model, "photo"), lambda r: r.check_can_save("photo")):
        with pytest.raises(StorageError, match="can't write"):
            action(Registry(tmp_path / "file"))


def test_saving_is_checked_before_any_work(root):
    dev = Registry(root)
    dev.check_can_save("photo")
    assert dev.list() == []
    with pytest.raises(ParameterError):
        dev.check_can_save("a b")
    with pytest.raises(ParameterError):
        dev.check_can_save("photo", "..")


# Provenance


def test_provenance(root, models):
    dev = Registry(root)
    first, second = (dev.save(model, "photo") for model in models[:2])
    entry, attrs = dev.entry(second), models[1].attrs
    assert entry.key == second
    assert (dev.entry(first).parent, entry.parent, entry.promoted_from) == (None, first, None)
    assert dev.entry(dev.save(models[2], "photo", parent=str(first))).parent == first
    with pytest.raises(ModelNotFoundError):
        dev.save(models[2], "photo", parent=f"dev/photo/{CODE}/1/9")
    assert entry.parameters["seed"] == 1
    assert {"rows", "cols", "topology", "boundary", "epochs", "initial_radius", "neighborhood"} <= set(
        entry.parameters
    )
    assert entry.data_fingerprint == attrs["data_fingerprint"]
    assert (entry.samples, entry.features, entry.input) == (200, ["a", "b", "c"], attrs["input"])
    assert entry.metrics == {name: float(models[1][name][-1]) for name in ("quantization_error", "topographic_error")}
    assert entry.trained_with == CODE
    assert (entry.started, entry.finished) == (attrs["started"], attrs["finished"])
    assert entry.sha256 == dataset_digest(models[1])
    assert entry.created.endswith("+00:00")
    assert entry.created > dev.entry(first).created


def test_the_commit_is_told_where_the_package_is_a_checkout(tmp_path, monkeypatch, model):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    monkeypatch.setattr(manifest, "PACKAGE", tmp_path / "som_dask")
    dev = Registry(tmp_path / "models")
    assert dev.entry(dev.save(model, "photo")).git_commit is None

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "One")
    git("tag", "-am", "One", "v1")
    entry = dev.entry(dev.save(model, "photo"))
    assert (entry.git_commit, entry.git_modified) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "file").write_text("two")
    entry = dev.entry(dev.save(model, "photo"))
    assert (entry.git_commit, entry.git_modified) == (git("rev-parse", "HEAD"), True)
    monkeypatch.setenv("PATH", "")  # no git: not known, and no error
    assert dev.entry(dev.save(model, "photo")).git_commit is None


def test_a_number_that_json_does_not_know(tmp_path, model):
    odd = model.assign(topographic_error=model["topographic_error"] * np.nan).assign_attrs(odd=np.inf, pair=(1, 2))
    entry = Registry(tmp_path).entry(Registry(tmp_path).save(odd, "photo"))
    assert entry.metrics["topographic_error"] is None
    assert (entry.parameters["odd"], entry.parameters["pair"]) == (None, [1, 2])


def test_manifests_are_json_without_nan(tmp_path, model):
    dev = Registry(tmp_path)
    key = dev.save(model, "photo")

    def fail(name):
        raise AssertionError(name)

    told = json.loads((tmp_path / str(key) / "manifest.json").read_text(), parse_constant=fail)
    assert told["key"] == str(key)
    entry = dev.entry(key)
    assert Entry.from_json(entry.to_json()) == entry
    files = {path.name for path in tmp_path.rglob("*") if path.is_file() and "model.zarr" not in path.parts}
    assert files == {"claim", "manifest.json"}


@pytest.mark.parametrize("change", ["value", "name", "attribute", "dtype", "dims", "coordinate"])
def test_the_digest_covers_everything(change, model):
    other = {
        "value": lambda m: m.assign(hits=m["hits"] + 1),
        "name": lambda m: m.rename(hits="counts"),
        "attribute": lambda m: m.assign_attrs(seed=99),
        "dtype": lambda m: m.assign(radius=m["radius"].astype(np.float32)),
        "dims": lambda m: m.rename(epoch="time"),
        "coordinate": lambda m: m.reset_coords("x"),
    }[change](model)
    assert dataset_digest(other) != dataset_digest(model)
    assert dataset_digest(model.copy(deep=True)) == dataset_digest(model)


# Lists, promotion, deletion


def test_listed_newest_first(root, models):
    dev = Registry(root)
    keys = [dev.save(models[0], "b"), dev.save(models[1], "a"), dev.save(models[2], "b")]
    Registry(root, "prod").save(models[0], "c")
    assert [entry.key for entry in dev.list()] == keys[::-1]
    assert dev.environments() == ["dev", "prod"]


def test_models_of_the_same_instant_are_listed_by_key(tmp_path, models, monkeypatch):
    class Clock:
        @staticmethod
        def now(zone):
            return datetime(2024, 1, 2, tzinfo=zone)

    monkeypatch.setattr(registry, "datetime", Clock)
    dev = Registry(tmp_path)
    keys = [dev.save(models[0], "photo") for _ in range(3)]
    assert [entry.key for entry in dev.list()] == keys[::-1]


def test_promotion_copies_model_and_provenance(root, models):
    dev, prod = Registry(root), Registry(root, "prod")
    keys = [dev.save(model, "photo", model_version="v2") for model in models]
    copy = dev.promote(keys[1])
    assert copy == ModelKey("prod", "photo", CODE, "v2", 1)
    assert same(prod.load("photo"), models[1])
    assert same(dev.load_key(keys[1]), models[1])
    found, source = prod.entry(copy), dev.entry(keys[1])
    assert found.promoted_from == keys[1]
    assert found == replace(source, key=copy, created=found.created, promoted_from=keys[1])
    assert found.parent == keys[0]
    assert dev.promote(str(keys[2])).revision == 2
    assert same(prod.load("photo"), models[2])
    assert prod.promote(copy, to="qa").environment == "qa"
    with pytest.raises(ParameterError, match="is in dev already"):
        dev.promote(keys[0], to="dev")


def test_a_deleted_model_is_gone_and_its_number_too(root, models):
    dev = Registry(root)
    keys = [dev.save(model, "photo") for model in models[:2]]
    dev.delete(keys[1])
    assert same(dev.load("photo"), models[0])
    assert [entry.key for entry in dev.list()] == [keys[0]]
    with pytest.raises(ModelNotFoundError):
        dev.delete(keys[1])
    with pytest.raises(ModelExistsError):
        dev.save(models[1], "photo", revision=2)
    assert dev.save(models[2], "photo").revision == 3
    dev.delete(str(keys[0]))
    dev.delete(f"dev/photo/{CODE}/1/3")
    with pytest.raises(ModelNotFoundError, match="nothing is left of photo"):
        dev.load("photo")


def test_a_delete_that_is_killed_leaves_nothing_that_loads(root, models, monkeypatch):
    dev = Registry(root)
    keys = [dev.save(model, "photo") for model in models[:2]]
    plain = registry.remove

    def killed(place):
        if place.endswith("model.zarr"):
            raise KeyboardInterrupt
        plain(place)

    with monkeypatch.context() as patched:
        patched.setattr(registry, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            dev.delete(keys[1])
    assert same(dev.load("photo"), models[0])
    dev.delete(keys[1])
    assert dev._names(dev._folder(keys[1]), every=True) == ["claim"]


def test_a_delete_that_fails_is_told(tmp_path, model, monkeypatch):
    dev = Registry(tmp_path)
    key = dev.save(model, "photo")

    def fail(place):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(registry, "remove", fail)
    with pytest.raises(StorageError, match=r"can't delete .*Permission denied"):
        dev.delete(key)


# Kills, faults, damage

DIE = """
import os, sys
from som_dask.io import registry
from som_dask.io.models import open_model
def die(*_):
    os._exit(9)
registry.write_bytes = die  # between the model and its manifest
registry.Registry(sys.argv[1]).save(open_model(sys.argv[2]), "photo")
"""


def test_a_save_that_is_killed_leaves_no_entry(tmp_path, models):
    dev = Registry(tmp_path / "models")
    dev.save(models[0], "photo")
    save_model(models[1], tmp_path / "model.zarr")
    command = [sys.executable, "-c", DIE, str(tmp_path / "models"), str(tmp_path / "model.zarr")]
    assert subprocess.run(command).returncode == 9
    assert os.path.isdir(dev.place(f"dev/photo/{CODE}/1/2"))
    assert same(dev.load("photo"), models[0])
    assert [entry.key.revision for entry in dev.list()] == [1]
    with pytest.raises(ModelNotFoundError):
        dev.load("photo", revision=2)
    assert dev.save(models[2], "photo").revision == 3
    assert same(dev.load("photo"), models[2])
    dev.delete(f"dev/photo/{CODE}/1/2")  # removes what is left
    assert not os.path.exists(dev.place(f"dev/photo/{CODE}/1/2"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, StorageError("disk full")])
@pytest.mark.parametrize("step", ["save_model", "open_model", "write_bytes"])
def test_a_save_that_fails_leaves_nothing(step, error, root, models, monkeypatch):
    dev = Registry(root)
    dev.save(models[0], "photo")

    def fail(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(registry, step, fail)
        with pytest.raises(type(error) if isinstance(error, Exception) else error):
            dev.save(models[1], "photo")
    assert [entry.key.revision for entry in dev.list()] == [1]
    assert dev.save(models[1], "photo", revision=2).revision == 2
    assert same(dev.load("photo"), models[1])


def test_a_model_that_changes_as_it_is_stored_is_not_published(tmp_path, model, monkeypatch):
    def other(dataset, place):
        save_model(dataset.assign(hits=dataset["hits"] + 1), place)

    monkeypatch.setattr(registry, "save_model", other)
    with pytest.raises(StorageError, match="not the one that was saved"):
        Registry(tmp_path).save(model, "photo")
    assert Registry(tmp_path).list() == []


@pytest.fixture
def saved(tmp_path, models):
    """A registry of two revisions and the folder of the newer."""
    dev = Registry(tmp_path)
    key = [dev.save(model, "photo") for model in models[:2]][1]
    return dev, key, tmp_path / str(key)


@pytest.mark.parametrize("variable", ["codebook", "hits", "radius", "feature", "x"])
@pytest.mark.parametrize("damage", ["flip", "lose"])
def test_a_damaged_chunk_is_told(variable, damage, saved):
    dev, key, folder = saved
    (chunk,) = [path for path in (folder / "model.zarr" / variable / "c").rglob("*") if path.is_file()]
    if damage == "flip":
        data = bytearray(chunk.read_bytes())
        data[len(data) // 2] ^= 4
        chunk.write_bytes(data)
    else:
        chunk.unlink()
    for action in (dev.load_key, dev.promote):
        with pytest.raises(StorageError, match=r"damaged|not the one that was saved"):
            action(key)
    with pytest.raises(StorageError):  # never the older one in its place
        dev.load("photo")
    assert Registry(dev.root, "prod").list() == []


def test_another_whole_model_in_its_place_is_told(saved, models):
    dev, key, folder = saved
    save_model(models[2], folder / "model.zarr", overwrite=True)
    with pytest.raises(StorageError, match="not the one that was saved"):
        dev.load_key(key)


def test_a_model_that_is_gone_is_told(saved):
    dev, key, folder = saved
    shutil.rmtree(folder / "model.zarr")
    with pytest.raises(StorageError, match="does not exist"):
        dev.load_key(key)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "x"}', "\xff", None])
def test_a_damaged_manifest_is_told(text, saved):
    dev, key, folder = saved
    manifest_file = folder / "manifest.json"
    if text is None:  # still JSON, one number another
        text = manifest_file.read_text().replace('"samples": 200', '"samples": 201')
        assert text != manifest_file.read_text()
    manifest_file.write_text(text, encoding="latin-1")
    for action in (dev.load_key, dev.entry):
        with pytest.raises(StorageError, match=f"the manifest .* is damaged .* delete {key}"):
            action(key)
    with pytest.raises(StorageError, match="is damaged"):  # never the older one in its place
        dev.load("photo")
    with pytest.warns(UserWarning, match="is damaged"):
        assert [entry.key.revision for entry in dev.list()] == [1]
    dev.delete(key)
    assert dev.find("photo").revision == 1


def test_a_manifest_of_another_key_or_format_is_told(saved, monkeypatch):
    dev, key, folder = saved
    shutil.copy(folder.parent / "1" / "manifest.json", folder / "manifest.json")
    with pytest.raises(StorageError, match=f"is of {replace(key, revision=1)}"):
        dev.load_key(key)
    monkeypatch.setattr(manifest, "FORMAT", "som_dask registry 2")
    dev.save(open_model(folder / "model.zarr"), "new")
    monkeypatch.undo()
    with pytest.raises(StorageError, match="another version of som_dask"):
        dev.load("new")


def test_what_else_lies_in_the_folders_is_passed_over(saved, tmp_path):
    dev, key, folder = saved
    (tmp_path / "README").touch()
    assert dev.environments() == ["dev"]
    (tmp_path / "dev" / "notes.txt").touch()
    (tmp_path / "dev" / ".hidden").mkdir()
    (folder.parent / "latest").mkdir()
    (folder.parent / "007").mkdir()
    assert [entry.key.revision for entry in dev.list()] == [2, 1]
    assert dev.find("photo") == key
    assert dev.save(dev.load("photo"), "photo").revision == 3


# Races


# Warnings are silenced by a filter of the whole process, which threads put back under one another.
@pytest.mark.filterwarnings("ignore")
def test_threads_get_a_revision_each(root, models):
    start = threading.Barrier(4)

    def save(i):
        start.wait()
        return Registry(root).save(models[i % 3], "photo")

    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(save, range(4)))
    assert numbers(keys) == [1, 2, 3, 4]
    for i, key in enumerate(keys):
        assert same(Registry(root).load_key(key), models[i % 3])


# Warnings are silenced by a filter of the whole process, which threads put back under one another.
@pytest.mark.filterwarnings("ignore")
def test_of_threads_that_want_one_revision_one_wins(root, models):
    start = threading.Barrier(3)

    def save(i):
        start.wait()
        try:
            return Registry(root).save(models[i], "photo", revision=7)
        except ModelExistsError as error:
            return error

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(save, range(3)))
    (winner,) = [i for i, result in enumerate(results) if isinstance(result, ModelKey)]
    assert same(Registry(root).load("photo"), models[winner])


RACE = """
import sys
from som_dask.io.registry import Registry
from som_dask.io.models import open_model
model = open_model(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()  # both begin here
for _ in range(3):
    print(Registry(sys.argv[1]).save(model, "photo"), flush=True)
"""


def test_processes_get_a_revision_each(tmp_path, models):
    root, pipes = str(tmp_path / "models"), {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = []
    for i in range(2):
        save_model(models[i], tmp_path / f"{i}.zarr")
        command = [sys.executable, "-c", RACE, root, str(tmp_path / f"{i}.zarr")]
        writers.append(subprocess.Popen(command, **pipes))
    assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    told = [writer.communicate()[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert numbers(ModelKey.parse(key) for keys in told for key in keys) == [1, 2, 3, 4, 5, 6]
    for i, keys in enumerate(told):
        for key in keys:
            assert same(Registry(root).load_key(key), models[i])


def test_a_writer_that_lost_its_claim_ends_with_an_error(root, models, monkeypatch):
    dev, plain = Registry(root), registry.save_model

    def overtaken(dataset, place):
        plain(dataset, place)
        registry.write_bytes(f"{os.path.dirname(place)}/claim", b"another's")

    monkeypatch.setattr(registry, "save_model", overtaken)
    with pytest.raises(StorageError, match="another writer has taken"):
        dev.save(models[0], "photo")
    assert dev.list() == []
    assert dev._numbers(f"{dev.root}/dev/photo/{CODE}/1") == [1]  # the other's is left as it is


# References


def test_references_are_resolved(root, models, monkeypatch):
    dev = Registry(root)
    monkeypatch.setattr(registry, "__version__", "1.2.3")
    keys = [dev.save(model, "photo") for model in models]
    monkeypatch.setattr(registry, "__version__", "1.3.0")
    newer = dev.save(models[0], "photo")
    assert resolve("photo@dev", root) == newer
    assert resolve("photo@dev:1.2.3", root) == keys[2]
    assert resolve("photo@dev:1.2.3/1/2", root) == resolve(str(keys[1]), root) == keys[1]
    with pytest.raises(ModelNotFoundError, match=r"no model photo@dev:2\.0"):
        resolve("photo@dev:2.0", root)
    with pytest.raises(ParameterError):
        resolve("photo", root)


def test_the_root_may_be_a_path_object(tmp_path, model):
    assert Registry(Path(tmp_path)).save(model, "photo") == resolve("photo@dev", tmp_path)
