"""The folders of a registry: a claim for one writer, and nothing that is not a whole model."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from som_dask.errors import ParameterError, StorageError
from som_dask.io.files import write_bytes
from som_dask.io.model_folders import ModelFolders
from som_dask.io.model_key import ModelKey, Reference

KEY = ModelKey("dev", "photo", "1.2.3", "1", 1)


@pytest.fixture
def folders(root):
    return ModelFolders(root)


def complete(folders, *keys):
    for key in keys:
        write_bytes(folders.manifest(key), b"{}")


def test_paths_are_those_of_the_key(folders):
    assert folders.folder(KEY) == f"{folders.root}/dev/photo/1.2.3/1/1"
    assert folders.model(str(KEY)) == f"{folders.root}/dev/photo/1.2.3/1/1/model.zarr"
    assert folders.manifest(KEY) == f"{folders.root}/dev/photo/1.2.3/1/1/manifest.json"
    with pytest.raises(ParameterError):
        folders.folder("dev/../1.2.3/1/1")


def test_an_empty_root(folders):
    assert folders.environments() == []
    assert list(folders.keys("dev")) == []
    assert folders.list_folder(folders.folder(KEY)) == []
    assert folders.is_empty(KEY)


def test_one_writer_gets_the_claim(folders):
    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(lambda i: folders.claim(KEY, b"%d" % i), range(4)))
    assert sorted(claimed) == [False] * 3 + [True]
    assert [folders.owns(KEY, b"%d" % i) for i in range(4)] == claimed
    assert folders.is_empty(KEY)
    assert not folders.is_complete(KEY)
    assert list(folders.keys("dev")) == []


def test_a_folder_with_a_model_but_no_claim_is_not_claimed(folders):
    complete(folders, KEY)
    assert not folders.claim(KEY, b"token")


def test_only_the_owner_gives_a_folder_up(folders):
    folders.claim(KEY, b"mine")
    complete(folders, KEY)
    folders.give_up(KEY, b"another's")
    assert folders.is_complete(KEY)
    folders.give_up(KEY, b"mine")
    assert folders.list_folder(folders.folder(KEY)) == []


def test_the_claim_outlives_the_model(folders):
    folders.claim(KEY, b"mine")
    complete(folders, KEY)
    folders.clear(KEY)
    assert folders.list_folder(folders.folder(KEY)) == ["claim"]
    assert folders.revisions(f"{folders.root}/dev/photo/1.2.3/1") == [1]
    assert not folders.claim(KEY, b"mine")


def test_keys_match_a_reference(folders):
    newer, other = ModelKey("dev", "photo", "1.3", "1", 2), ModelKey("dev", "other", "1.3", "1", 1)
    complete(folders, KEY, newer, other, ModelKey("prod", "photo", "1.3", "1", 1))
    assert set(folders.keys("dev")) == {KEY, newer, other}
    assert set(folders.keys("dev", Reference("photo", "dev"))) == {KEY, newer}
    assert set(folders.keys("dev", Reference("photo", "dev", "1.3"))) == {newer}
    assert set(folders.keys("dev", Reference("photo", "dev", revision=1))) == {KEY}
    assert folders.environments() == ["dev", "prod"]


def test_a_folder_that_cannot_be_read(folders, monkeypatch):
    def fail(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("som_dask.io.model_folders.names_in", fail)
    with pytest.raises(StorageError, match=r"can't read .*: Permission denied; check the registry"):
        folders.list_folder(folders.folder(KEY))
