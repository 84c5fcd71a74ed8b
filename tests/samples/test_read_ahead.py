"""Stored rows: read piece by piece, ahead, and never others than asked for."""

import dataclasses

import dask
import numpy as np
import pytest
import zarr

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import DataError
from som_dask.samples import open as opening
from som_dask.samples.open import open_samples
from som_dask.samples.read_ahead import READ_AHEAD, StoredRows
from som_dask.training.config import Execution, MapConfig
from som_dask.training.train import epochs

LATTICE = Lattice(4, 5)


@pytest.fixture
def stored(tmp_path, rng):
    values = rng.normal(size=(10_000, 3))
    array = zarr.create_array(tmp_path / "x.zarr", shape=values.shape, chunks=(500, 3), dtype="float32")
    array[:] = values
    return str(tmp_path / "x.zarr"), values.astype(np.float32)


@pytest.mark.parametrize("piece_bytes", [1, 3 * 500 * 12, 10**9])
@pytest.mark.parametrize("dtype", [None, "float64"])
def test_stored_rows_come_in_pieces_and_in_order(piece_bytes, dtype, stored, monkeypatch):
    monkeypatch.setattr(opening, "PIECE_BYTES", piece_bytes)
    place, values = stored
    samples = open_samples(place, dtype=dtype, block_size=2000 * 12)
    assert len(samples.sources()) == 5
    for block, start in zip(samples.sources(), samples.block_starts, strict=True):
        assert block.shape == (2000, 3)
        pieces = list(block.pieces())
        firsts = np.cumsum([0] + [len(piece) for _, piece in pieces])
        assert [first for first, _ in pieces] == firsts[:-1].tolist()
        assert all(len(piece) % 500 == 0 and piece.dtype == (dtype or "float32") for _, piece in pieces)
        np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), values[start : start + 2000])


def test_pieces_are_asked_for_before_they_are_wanted(stored, monkeypatch):
    monkeypatch.setattr(opening, "PIECE_BYTES", 1)
    (block, *_) = open_samples(stored[0], block_size=10**6).sources()
    asked = []
    read = StoredRows.read
    monkeypatch.setattr(StoredRows, "read", lambda self, first: asked.append(first) or read(self, first))
    pieces = block.pieces()
    assert asked == []
    _, piece = next(pieces)
    assert len(piece) == 500
    assert set(asked) <= {500 * i for i in range(READ_AHEAD + 1)}
    assert len(list(pieces)) == 7
    assert sorted(asked) == [500 * i for i in range(8)]


def test_joined_rows_are_those_of_all(stored):
    place, values = stored
    blocks = open_samples(place, block_size=2000 * 12).sources()
    joined = blocks[1].joined(blocks[2:4])
    assert joined.shape == (6000, 3)
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in joined.pieces()]), values[2000:8000])


@pytest.mark.parametrize("threads", [1, 2])
def test_epochs_that_read_ahead_are_those_in_memory(threads, stored):
    place, values = stored
    config = MapConfig(epochs=2)
    with dask.config.set(scheduler="threads", num_workers=threads):
        ahead = epochs(open_samples(place, block_size=6000), LATTICE, config, Execution(keep="stream"))
        streamed = [epoch.codebook.tobytes() for epoch in ahead]
    assert streamed == [epoch.codebook.tobytes() for epoch in epochs(values, LATTICE, config)]


def test_a_change_behind_a_border_is_named(stored):
    place, _ = stored
    samples = open_samples(place, block_size=6000)
    streamed = epochs(samples, LATTICE, MapConfig(epochs=3), Execution(keep="stream"))
    next(streamed)
    zarr.open_array(place, mode="r+")[7777, 1] = 3.25
    with pytest.raises(DataError, match=r"block 15 \(rows 7500 to 7999\) of .*x\.zarr has changed"):
        next(streamed)


def test_what_was_made_of_the_array_is_not_read_straight(stored):
    samples = open_samples(stored[0])
    doubled = dataclasses.replace(samples, array=samples.array * 2)
    assert not any(isinstance(block, StoredRows) for block in doubled.sources())
