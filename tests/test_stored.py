"""Stored rows: read piece by piece, ahead, and never others than asked for."""

import dataclasses

import numpy as np
import pytest
import zarr

from som_dask import samples as samples_module
from som_dask import stored as stored_module
from som_dask.samples import open_samples
from som_dask.stored import StoredRows


@pytest.fixture
def stored(tmp_path, rng):
    values = rng.normal(size=(10_000, 3))
    array = zarr.create_array(tmp_path / "x.zarr", shape=values.shape, chunks=(500, 3), dtype="float32")
    array[:] = values
    return str(tmp_path / "x.zarr"), values.astype(np.float32)


@pytest.mark.parametrize("piece_bytes", [1, 3 * 500 * 12, 10**9])
@pytest.mark.parametrize("dtype", [None, "float64"])
def test_stored_rows_come_in_pieces_and_in_order(piece_bytes, dtype, stored, monkeypatch):
    monkeypatch.setattr(samples_module, "PIECE_BYTES", piece_bytes)
    place, values = stored
    samples = open_samples(place, dtype=dtype, block_size=2000 * 12)
    assert len(samples.blocks()) == 5
    for block, start in zip(samples.blocks(), samples.block_starts, strict=True):
        assert block.shape == (2000, 3)
        pieces = list(block.pieces())
        firsts = np.cumsum([0] + [len(piece) for _, piece in pieces])
        assert [first for first, _ in pieces] == firsts[:-1].tolist()
        assert all(len(piece) % 500 == 0 and piece.dtype == (dtype or "float32") for _, piece in pieces)
        np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), values[start : start + 2000])


def test_pieces_are_asked_for_before_they_are_wanted(stored, monkeypatch):
    monkeypatch.setattr(samples_module, "PIECE_BYTES", 1)
    samples = open_samples(stored[0], block_size=10**6)
    (block, *_) = samples.blocks()
    asked = []
    take = stored_module.READERS.take
    monkeypatch.setattr(stored_module.READERS, "take", lambda rows, first: asked.append(first) or take(rows, first))
    pieces = block.pieces()
    assert asked == []
    next(pieces)
    assert asked == [500 * i for i in range(stored_module.READ_AHEAD + 1)]


def test_a_block_in_turn_is_prepared_and_taken_once(stored):
    samples = open_samples(stored[0], block_size=2000 * 12)
    readers = stored_module.READERS
    blocks = samples.blocks()
    list(blocks[0].pieces())
    prepared = [key for key in readers.prepared if key[0] == samples.array.name]
    assert (samples.array.name, 2000, 4000) in prepared
    np.testing.assert_array_equal(next(blocks[1].pieces())[1], stored[1][2000:4000])
    assert (samples.array.name, 2000, 4000) not in readers.prepared


def test_rows_of_unequal_last_block_are_prepared_as_they_are(tmp_path):
    values = np.arange(30.0).reshape(10, 3)
    array = zarr.create_array(tmp_path / "x.zarr", shape=values.shape, chunks=(4, 3), dtype="float64")
    array[:] = values
    samples = open_samples(tmp_path / "x.zarr", block_size=4 * 24)
    found = [np.concatenate([piece for _, piece in block.pieces()]) for block in samples.blocks()]
    np.testing.assert_array_equal(np.concatenate(found), values)
    assert not [key for key in stored_module.READERS.prepared if key[0] == samples.array.name]


def test_what_was_made_of_the_array_is_not_read_straight(stored):
    samples = open_samples(stored[0])
    doubled = dataclasses.replace(samples, array=samples.array * 2)
    assert not any(isinstance(block, StoredRows) for block in doubled.blocks())
