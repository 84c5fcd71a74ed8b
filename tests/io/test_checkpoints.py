"""Checkpoints: whole or not at all, the last three, and a way back from damage."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest

from som_dask.errors import CheckpointError, StorageError
from som_dask.io import files as storage
from som_dask.io.checkpoints import KEPT, Checkpoint, CheckpointFolder
from som_dask.io.files import names_in, write_bytes

IDENTITY = {"rows": 2, "features": ("a", "b"), "support": None}


def checkpoint(epochs, value=1.5):
    history = {"radius": np.arange(epochs, dtype=np.float64)}
    return Checkpoint(epochs, np.full((4, 2), value), history, IDENTITY)


def test_what_is_read_is_what_was_saved(tmp_path):
    folder = CheckpointFolder(tmp_path / "new" / "folder")
    folder.save(checkpoint(3))
    found = folder.resume(IDENTITY)
    assert found.epochs_done == 3
    np.testing.assert_array_equal(found.codebook, checkpoint(3).codebook)
    np.testing.assert_array_equal(found.history["radius"], [0.0, 1.0, 2.0])


def test_the_last_three_are_kept(tmp_path):
    folder = CheckpointFolder(tmp_path)
    for epochs in range(1, 7):
        folder.save(checkpoint(epochs))
    assert [Path(file).name[:12] for file in folder.files()] == ["epoch-000004", "epoch-000005", "epoch-000006"]
    assert len(list(tmp_path.iterdir())) == KEPT


def test_each_save_is_told_once_it_is_whole(tmp_path):
    told = []

    def tell(saved, file):
        told.append((saved.epochs_done, Path(file).exists()))

    folder = CheckpointFolder(tmp_path, on_save=tell)
    folder.save(checkpoint(1))
    folder.save(checkpoint(2))
    assert told == [(1, True), (2, True)]


def test_it_is_plain_numpy_without_pickle(tmp_path):
    file = CheckpointFolder(tmp_path).save(checkpoint(1))
    with np.load(file, allow_pickle=False) as arrays:
        assert {"codebook", "epochs_done", "identity", "history_radius"} == set(arrays.files)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_one_falls_back_to_the_one_before(damage, tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))
    file = Path(folder.save(checkpoint(2)))
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    file.write_bytes({"truncated": data[:-7], "flipped": data, "empty": b""}[damage])
    with pytest.warns(UserWarning, match="damaged"):
        assert folder.latest().epochs_done == 1


def test_all_damaged_is_an_error(tmp_path):
    folder = CheckpointFolder(tmp_path)
    Path(folder.save(checkpoint(1))).write_bytes(b"?")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(CheckpointError, match="every checkpoint"):
        folder.latest()


def test_a_write_that_fails_leaves_those_before(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", no_space)
    with pytest.raises(StorageError, match="No space left"):
        folder.save(checkpoint(2))
    assert [path.name[:12] for path in tmp_path.iterdir()] == ["epoch-000001"]
    assert folder.latest().epochs_done == 1


def test_what_differs_is_named(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))
    with pytest.raises(CheckpointError, match=r"rows \(2 there, 3 here\)"):
        folder.resume({**IDENTITY, "rows": 3})
    with pytest.raises(CheckpointError, match="support"):
        folder.resume({**IDENTITY, "support": 2.0})


def test_clear_removes_its_own_files_only(tmp_path):
    folder, path = CheckpointFolder(tmp_path / "c"), tmp_path / "c"
    folder.save(checkpoint(1))
    folder.clear()
    assert not path.exists()
    folder.save(checkpoint(1))
    (path / "notes.txt").write_text("mine")
    folder.clear()
    assert [file.name for file in path.iterdir()] == ["notes.txt"]


def test_a_folder_at_a_url(storage):
    folder = CheckpointFolder(f"{storage}/c/")
    assert folder.latest() is None
    files = [folder.save(checkpoint(epochs)) for epochs in range(1, 6)]
    assert folder.files() == files[-KEPT:]
    assert folder.resume(IDENTITY).epochs_done == 5
    write_bytes(files[-1], b"?")
    with pytest.warns(UserWarning, match="damaged"):
        assert CheckpointFolder(f"{storage}/c").latest().epochs_done == 4
    write_bytes(f"{storage}/c/notes.txt", b"mine")
    folder.clear()
    assert names_in(f"{storage}/c") == ["notes.txt"]
    write_bytes(f"{storage}/in.zarr/zarr.json", b"{}")
    with pytest.raises(
        StorageError, match=rf"the folder of checkpoints .* lies in the Zarr store {storage}/in\.zarr;"
    ):
        CheckpointFolder(f"{storage}/in.zarr/checkpoints")


def test_no_checkpoints_in_a_store(tmp_path):
    (tmp_path / "zarr.json").touch()
    with pytest.raises(StorageError, match=r"the folder of checkpoints .* lies in the Zarr store"):
        CheckpointFolder(tmp_path / "checkpoints")


CRAFTED = {
    "shape": {"codebook": np.ones((2, 2, 2))},
    "dtype": {"codebook": np.ones((4, 2), dtype=np.float32)},
    "text": {"codebook": np.full((4, 2), "1")},
    "nan": {"codebook": np.full((4, 2), np.nan)},
    "epochs": {"epochs_done": np.array([1, 2])},
    "fraction": {"epochs_done": np.array(1.5)},
    "negative": {"epochs_done": np.array(-1)},
    "history": {"history_radius": np.zeros(7)},
    "identity": {"identity": np.frombuffer(b"[]", dtype=np.uint8)},
    "json": {"identity": np.frombuffer(b"{", dtype=np.uint8)},
}


@pytest.mark.parametrize("change", CRAFTED.values(), ids=CRAFTED)
def test_one_whose_digest_is_right_and_whose_arrays_are_not_is_damaged(change, tmp_path):
    buffer = io.BytesIO()
    identity = np.frombuffer(json.dumps(IDENTITY).encode(), dtype=np.uint8)
    arrays = {"codebook": np.ones((4, 2)), "epochs_done": np.array(1), "identity": identity}
    np.savez(buffer, **{**arrays, "history_radius": np.zeros(1), **change})
    keep(tmp_path, buffer.getvalue())
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(CheckpointError, match="every checkpoint"):
        CheckpointFolder(tmp_path).resume(IDENTITY)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and so on", b"letters"])
def test_one_whose_digest_is_right_and_that_is_no_archive_is_damaged(data, tmp_path):
    keep(tmp_path, data)
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(CheckpointError, match="every checkpoint"):
        CheckpointFolder(tmp_path).latest()


def keep(folder, data):
    (folder / f"epoch-000001.{hashlib.sha256(data).hexdigest()[:32]}.npz").write_bytes(data)


@pytest.mark.parametrize(
    "start",
    [
        Checkpoint(0, np.ones((4, 3)), {"radius": np.empty(0)}, IDENTITY),
        Checkpoint(0, np.ones((4, 2)), {"radius": np.empty(0), "quantization_error": np.empty(0)}, IDENTITY),
    ],
)
def test_one_that_does_not_fit_its_run_is_refused(start, tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint(1))
    with pytest.raises(CheckpointError, match="does not fit its run"):
        folder.resume(IDENTITY, like=start)
