"""The registry under kills, faults, damage and races: every model whole, under a key of its own."""

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import som_dask
from som_dask.errors import ModelExistsError, ModelNotFoundError, StorageError
from som_dask.io import manifest, revisions
from som_dask.io.files import name_me, write_bytes
from som_dask.io.model_key import ModelKey
from som_dask.io.models import open_model, save_model
from som_dask.io.registry import Registry
from tests.io.registered import numbers, same

CODE = som_dask.__version__


# Kills, faults, damage

DIE = """
import os, sys
from som_dask.io import revisions
from som_dask.io.models import open_model
from som_dask.io.registry import Registry
def die(*_):
    os._exit(9)
revisions.write_bytes = die  # between the model and its manifest
Registry(sys.argv[1]).save(open_model(sys.argv[2]), "photo")
"""


def test_a_save_that_is_killed_leaves_no_entry(tmp_path, models):
    dev = Registry(tmp_path / "models")
    dev.save(models[0], "photo")
    save_model(models[1], tmp_path / "model.zarr")
    command = [sys.executable, "-c", DIE, str(tmp_path / "models"), str(tmp_path / "model.zarr")]
    assert subprocess.run(command).returncode == 9
    assert os.path.isdir(dev.path(f"dev/photo/{CODE}/1/2"))
    assert same(dev.load("photo"), models[0])
    assert [entry.key.revision for entry in dev.list()] == [1]
    with pytest.raises(ModelNotFoundError):
        dev.load("photo", revision=2)
    assert dev.save(models[2], "photo").revision == 3  # and removes what is left
    assert same(dev.load("photo"), models[2])
    assert os.listdir(tmp_path / "models" / "dev" / "photo" / CODE / "1" / "2") == ["claim"]
    with pytest.raises(ModelNotFoundError):
        dev.delete(f"dev/photo/{CODE}/1/2")


def test_what_others_have_not_finished_is_left_to_them(tmp_path, models):
    dev = Registry(tmp_path / "models")
    for revision, owner in enumerate(["elsewhere-1-0123456789ab", f"{name_me()}", "0" * 32], 1):
        write_bytes(f"{dev.path(f'dev/photo/{CODE}/1/{revision}')}/zarr.json", b"{}")
        write_bytes(f"{os.path.dirname(dev.path(f'dev/photo/{CODE}/1/{revision}'))}/claim", owner.encode())
    assert dev.save(models[0], "photo").revision == 4
    assert all(os.path.exists(dev.path(f"dev/photo/{CODE}/1/{revision}")) for revision in (1, 2, 3))


@pytest.mark.parametrize("error", [KeyboardInterrupt, StorageError("disk full")])
@pytest.mark.parametrize("step", ["save_model", "open_model", "write_bytes"])
def test_a_save_that_fails_leaves_nothing(step, error, root, models, monkeypatch):
    dev = Registry(root)
    dev.save(models[0], "photo")

    def fail(*_):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(revisions, step, fail)
        with pytest.raises(type(error) if isinstance(error, Exception) else error):
            dev.save(models[1], "photo")
    assert [entry.key.revision for entry in dev.list()] == [1]
    assert dev.save(models[1], "photo", revision=2).revision == 2
    assert same(dev.load("photo"), models[1])


def test_a_model_that_changes_as_it_is_stored_is_not_published(tmp_path, model, monkeypatch):
    def other(dataset, place):
        save_model(dataset.assign(hits=dataset["hits"] + 1), place)

    monkeypatch.setattr(revisions, "save_model", other)
    with pytest.raises(StorageError, match="not the one that was saved"):
        Registry(tmp_path).save(model, "photo")
    assert Registry(tmp_path).list() == []


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
    dev, plain = Registry(root), revisions.save_model

    def overtaken(dataset, place):
        plain(dataset, place)
        revisions.write_bytes(f"{os.path.dirname(place)}/claim", b"another's")

    monkeypatch.setattr(revisions, "save_model", overtaken)
    with pytest.raises(StorageError, match="another writer has taken"):
        dev.save(models[0], "photo")
    assert dev.list() == []
    assert dev._folders.revisions(f"{dev.root}/dev/photo/{CODE}/1") == [1]  # the other's is left as it is
