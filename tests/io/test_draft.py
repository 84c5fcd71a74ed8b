"""Drafts: readers see a store whole or not at all, on disks and in object stores, whatever fails on the way."""

import os
import pickle

import dask.array as da
import numpy as np
import pytest
import xarray as xr
import zarr

from som_dask.errors import StorageError
from som_dask.io import draft as drafts
from som_dask.io import files
from som_dask.io.claims import claim
from som_dask.io.draft import ObjectDraft, open_draft
from som_dask.io.files import list_tree, names_in, write_bytes
from som_dask.io.labeled import save_labeled
from som_dask.io.outputs import lock
from som_dask.io.stores import open_dataset
from tests.broken import Broken, break_after


def dataset(number):
    """A Dataset with coordinates, text and a variable without dimensions; all of it depends on the number."""
    return xr.Dataset(
        {"a": (("x", "y"), np.full((4, 6), float(number))), "crs": ((), number)},
        coords={
            "x": np.arange(4) + number,
            "name": ("y", np.array([f"{number}{i}" for i in range(6)], dtype=object)),
        },
        attrs={"number": number},
    )


def read(url, consolidated=True):
    with xr.open_zarr(url, consolidated=consolidated) as found:
        return found.load()


def test_stores_replace_each_other_and_leave_nothing(storage):
    url = f"{storage}/out.zarr"
    for number in range(1, 5):  # chunks of zeros would not be stored
        save_labeled(dataset(number), url, overwrite=number > 1)
        for consolidated in (True, False):
            xr.testing.assert_identical(read(url, consolidated), dataset(number))
        assert names_in(storage) == ["out.zarr"]
        chunks = [key for key in list_tree(url) if not key.endswith("zarr.json")]
        wanted = ["a/c/0/0", "crs/c", "name/c/0", "x/c/0"] if number % 2 else ["a/0.0", "crs/0", "name/0", "x/0"]
        assert sorted(chunks) == wanted
    with pytest.raises(StorageError, match="exists already"):
        save_labeled(dataset(9), url)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("consolidated", [False, True])
def test_stores_that_others_wrote_are_replaced(zarr_format, consolidated, storage):
    url = f"{storage}/out.zarr"
    dataset(1).to_zarr(url, zarr_format=zarr_format, consolidated=consolidated)
    save_labeled(dataset(2), url, overwrite=True)
    xr.testing.assert_identical(read(url), dataset(2))
    assert not [key for key in list_tree(url) if os.path.basename(key).startswith(".")]


def test_what_is_no_store_is_never_touched(storage):
    write_bytes(f"{storage}/out.zarr/photograph.png", b"dear")
    for overwrite in (False, True):
        with pytest.raises(StorageError, match=r"exists already|not a Zarr store"):
            save_labeled(dataset(1), f"{storage}/out.zarr", overwrite=overwrite)
    url = f"{storage}/out.zarr"
    with claim(url), pytest.raises(StorageError, match="not a Zarr store"):
        ObjectDraft(url).write(dataset(1), {})
    assert list_tree(url) == ["photograph.png"]


@pytest.mark.parametrize("old", [False, True])
def test_nothing_is_seen_before_the_root_is_written(old, storage, monkeypatch):
    url = f"{storage}/out.zarr"
    if old:
        save_labeled(dataset(1), url)
    seen, plain = [], drafts.write_bytes

    def look(path, data):
        if not path.endswith("out.zarr/zarr.json"):
            if old:
                xr.testing.assert_identical(read(url), dataset(1))
            else:
                with pytest.raises(FileNotFoundError):
                    xr.open_zarr(url)
            seen.append(path)
        plain(path, data)

    monkeypatch.setattr(drafts, "write_bytes", look)
    save_labeled(dataset(2), url, overwrite=old)
    assert len(seen) > 4
    xr.testing.assert_identical(read(url), dataset(2))


@pytest.mark.parametrize("old", [False, True])
def test_a_storage_that_fails_at_any_operation(old, tmp_path):
    n, done = 0, False
    while not done:
        url = f"memory://{tmp_path.name}/{old}/{n}/out.zarr"
        if old:
            save_labeled(dataset(1), url)
        with break_after(n):
            try:
                save_labeled(dataset(2), url, overwrite=True)
                done = True
            except (StorageError, Broken):
                pass
        try:
            found = read(url)
            xr.testing.assert_identical(found, dataset(found.attrs["number"]))
            assert found.attrs["number"] == 2 or old
        except FileNotFoundError:
            assert not old
        # As the next process does, when the claim of this one has grown old.
        files.remove(os.path.dirname(url) + "/.out.zarr.claim.1")
        save_labeled(dataset(3), url, overwrite=True)
        xr.testing.assert_identical(read(url, consolidated=False), dataset(3))
        assert names_in(os.path.dirname(url)) == ["out.zarr"]
        chunks = [key for key in list_tree(url) if not key.endswith("zarr.json")]
        assert len(chunks) == 4
        n += 1
    assert n > 12


def test_a_draft_is_continued_by_regions_from_another_process(storage):
    url = f"{storage}/out.zarr"
    empty = xr.Dataset({"a": (("x",), da.zeros(6, chunks=3, dtype=np.int64))}, attrs={"run_id": "one"})
    with claim(url):
        ObjectDraft(url).write(empty, {}, compute=False)
    for start in (0, 3):
        with claim(url):
            draft = ObjectDraft(url)
            assert draft.run_id == "one"
            target = pickle.loads(pickle.dumps(draft.target)) if storage.startswith("s3") else draft.target
            part = xr.Dataset({"a": (("x",), np.arange(start, start + 3))})
            part.to_zarr(target, region={"x": slice(start, start + 3)}, consolidated=False)
    with claim(url):
        draft = ObjectDraft(url)
        with pytest.raises(StorageError, match="can't open"):
            open_dataset(url)
        draft.publish(overwrite=False)
        assert ObjectDraft(url).run_id is None
    np.testing.assert_array_equal(read(url)["a"], np.arange(6))


def test_a_draft_is_not_published_without_its_claim(storage):
    url = f"{storage}/out.zarr"
    with claim(url):
        draft = ObjectDraft(url)
        draft.write(dataset(1), {})
    with pytest.raises(StorageError, match="another run has taken over"):
        draft.publish(overwrite=True)
    with claim(url):
        save_labeled(dataset(2), url)  # by another one
        with pytest.raises(StorageError, match="has appeared in the meantime"):
            draft.publish(overwrite=False)
    xr.testing.assert_identical(read(url), dataset(2))


def test_a_local_draft_is_renamed(tmp_path):
    path = tmp_path / "out.zarr"
    for number, spelled in ((1, path), (2, f"file://{path}")):
        with lock(spelled):
            draft = open_draft(spelled)
            draft.write(dataset(number), {})
            draft.publish(overwrite=number == 2)
        xr.testing.assert_identical(read(path), dataset(number))
        assert os.listdir(tmp_path) == ["out.zarr"]


def test_what_is_withheld_is_a_store_like_others(storage):
    with claim(f"{storage}/out.zarr"):
        draft = ObjectDraft(f"{storage}/out.zarr")
        draft.write(dataset(1), {})
        group = zarr.open_group(draft.target, mode="r")
        assert sorted(name for name, _ in group.arrays()) == ["a", "crs", "name", "x"]
        xr.testing.assert_identical(open_dataset(draft.target).load(), dataset(1))
        assert not {key for key in list_tree(draft.place) if key.endswith("zarr.json")}
        draft.discard()
    assert names_in(storage) == []
