"""The registry: models saved, found, listed, promoted and deleted."""

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import som_dask
from som_dask.errors import ModelExistsError, ModelNotFoundError, ParameterError, StorageError
from som_dask.io import model_folders, registry, revisions
from som_dask.io.files import remove
from som_dask.io.model_key import ModelKey
from som_dask.io.models import open_model
from som_dask.io.registry import Registry, resolve
from tests.io.registered import same

CODE = som_dask.__version__


# Saving and loading


def test_what_is_saved_is_loaded(root, model):
    dev = Registry(root)
    key = dev.save(model, "photo")
    assert str(key) == f"dev/photo/{CODE}/1/1"
    assert same(dev.load("photo"), model)
    assert same(dev.load("photo", CODE, "1", 1), model)
    assert same(Registry(root, "prod").load_key(key), model)
    assert same(dev.load_key(str(key)), model)
    assert same(open_model(dev.path(key)), model)


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
    remove(f"{dev._folders.folder(key)}/claim")
    with pytest.raises(ModelExistsError):
        dev.save(models[1], "photo", revision=1)
    remove(f"{dev._folders.folder(key)}/claim")
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

    monkeypatch.setattr(revisions, "datetime", Clock)
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
    plain = model_folders.remove

    def killed(place):
        if place.endswith("model.zarr"):
            raise KeyboardInterrupt
        plain(place)

    with monkeypatch.context() as patched:
        patched.setattr(model_folders, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            dev.delete(keys[1])
    assert same(dev.load("photo"), models[0])
    dev.delete(keys[1])
    assert dev._folders.list_folder(dev._folders.folder(keys[1])) == ["claim"]


def test_a_delete_that_fails_is_told(tmp_path, model, monkeypatch):
    dev = Registry(tmp_path)
    key = dev.save(model, "photo")

    def fail(place):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(model_folders, "remove", fail)
    with pytest.raises(StorageError, match=r"can't delete .*Permission denied"):
        dev.delete(key)


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
