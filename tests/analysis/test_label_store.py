"""Inference: lazy labels on the samples' own coordinates, and a store that continues after a kill."""

import os
import signal
import subprocess
import sys

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis import label_groups, label_region
from som_dask.analysis import label_store as inference
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer, label_block
from som_dask.analysis.soft_labels import infer_soft
from som_dask.engine.codebook import SharedCodebook
from som_dask.errors import DataError, ParameterError, SchemaError, StorageError
from som_dask.io import draft
from som_dask.io.files import exists, names_in, remove
from som_dask.io.models import label_digest, model_digest, save_model, scaled_codebook_of
from som_dask.io.notes import Notes
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.broken import Broken, break_after, count_requests
from tests.reference.twins import plain_bmus

LATTICE = Lattice(4, 6)


@pytest.fixture
def cells(rng):
    values = rng.normal(size=(9000, 3))
    coords = {
        "marker": np.array(["a", "b", "c"], dtype=object),
        "cell": np.arange(9000) * 2,
        "plate": ("cell", np.arange(9000) % 7),
    }
    return xr.DataArray(values, dims=("cell", "marker"), coords=coords, name="cells").chunk(cell=1000)


@pytest.fixture
def model(cells):
    return train(cells, LATTICE, MapConfig(epochs=2))


def opened(place):
    return xr.open_zarr(place, chunks=None, consolidated=False).load()


def test_labels_are_those_of_the_plain_rule(cells, model):
    labels = infer(cells, model).compute()
    bmu, _, distance = plain_bmus(cells.values[:500], scaled_codebook_of(model))
    np.testing.assert_array_equal(labels["bmu_row"][:500], bmu // 6)
    np.testing.assert_array_equal(labels["bmu_col"][:500], bmu % 6)
    np.testing.assert_allclose(labels["distance"][:500], distance, rtol=1e-12)
    assert float(labels["distance"].mean()) == pytest.approx(float(model["quantization_error"][-1]), rel=1e-12)


def test_labels_have_the_samples_dimension_and_coordinates(cells, model):
    labels = infer(cells, model)
    assert {name: (v.dims, v.dtype) for name, v in labels.data_vars.items()} == {
        "bmu_row": (("cell",), np.int32),
        "bmu_col": (("cell",), np.int32),
        "distance": (("cell",), np.float64),
        "bmu": (("cell",), np.int32),
    }
    np.testing.assert_array_equal(labels["cell"], cells["cell"])
    np.testing.assert_array_equal(labels["plate"], cells["plate"])


def test_nothing_is_computed_before_it_is_asked_for(model):
    def fail(block):
        raise AssertionError("computed")

    lazy = da.map_blocks(fail, da.zeros((9000, 3), chunks=(3000, 3)), dtype=np.float64, meta=np.empty((0, 0)))
    labels = infer(lazy, model)
    with pytest.raises(AssertionError, match="computed"):
        labels.compute()


def test_values_that_are_not_finite(cells, model):
    bad = cells.values.copy()
    bad[5, 1] = np.inf
    with pytest.raises(DataError, match="1 NaN or infinite"):
        label_block(bad, SharedCodebook(scaled_codebook_of(model), LATTICE))


@pytest.mark.parametrize("url", [False, True])
def test_a_store_holds_the_same(url, cells, model, tmp_path):
    place = "memory://inference/labels.zarr" if url else tmp_path / "labels.zarr"
    seen = []
    summary = infer_to_store(
        cells, model, place, overwrite=True, on_progress=lambda done, of: seen.append((done, of))
    )
    wanted = infer(cells, model).compute()
    found = opened(place)
    xr.testing.assert_identical(found.drop_attrs(), wanted.drop_attrs())
    assert (summary.samples, summary.blocks, summary.blocks_before) == (9000, 3, 0)
    assert summary.quantization_error == pytest.approx(float(wanted["distance"].mean()), rel=1e-12)
    assert [seen[0], seen[-1]] == [(0, 3), (3, 3)]
    assert seen == sorted(set(seen))
    if not url:
        assert os.listdir(tmp_path) == ["labels.zarr"]


def test_uneven_blocks_fill_whole_chunks(model, rng):
    values = rng.normal(size=(9000, 3))
    uneven = da.from_array(values, chunks=((3000, 5000, 1000), 3))
    infer_to_store(uneven, model, "memory://inference/uneven.zarr", overwrite=True)
    wanted = infer(values, model).compute()
    np.testing.assert_array_equal(opened("memory://inference/uneven.zarr")["distance"], wanted["distance"])


KILLED = """
import os, signal, sys
from som_dask.analysis import label_region
from som_dask.analysis import label_store as inference
count = 0
plain = label_region.label_block
def dies(*arguments):
    global count
    count += 1
    if count == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*arguments)
label_region.label_block = dies
import dask
dask.config.set(scheduler="sync")
inference.infer_to_store("cells.zarr", "model.zarr", "labels.zarr")
"""


def test_a_killed_run_does_only_what_is_missing(cells, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells.drop_vars("marker").chunk(cell=1000).to_dataset().to_zarr("cells.zarr", consolidated=False)
    monkeypatch.setattr("som_dask.samples.open.MIN_BLOCK_ROWS", 1000)
    save_model(model, "model.zarr")
    script = "import som_dask.samples.open as s; s.MIN_BLOCK_ROWS = 1000\n" + KILLED
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert not os.path.exists("labels.zarr")
    cut_off = tmp_path / ".labels.zarr.partial" / "labels.zarr" / "distance" / "c" / "3.0123456789abcdef.partial"
    cut_off.write_bytes(b"as Zarr names what it is writing")
    done, plain = [], label_region.label_block

    def counted(block, *rest):
        done.append(len(block))
        return plain(block, *rest)

    monkeypatch.setattr(label_region, "label_block", counted)
    summary = infer_to_store("cells.zarr", "model.zarr", "labels.zarr")
    assert summary.blocks == 9
    assert summary.blocks_before == 3
    assert len(done) == 6
    assert not list((tmp_path / "labels.zarr").rglob("*.partial"))
    np.testing.assert_array_equal(opened("labels.zarr")["distance"], infer(cells, model)["distance"].compute())


def test_unfinished_labels_of_another_run_are_not_mixed_in(cells, model, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    place = tmp_path / "labels.zarr"
    with monkeypatch.context() as patched:
        patched.setattr(draft, "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            infer_to_store(cells, model, place)
    shifted = train(cells, LATTICE, MapConfig(epochs=2, scaling="zscore"))
    plain = shifted.assign(feature_center=shifted["feature_center"] + 1)
    assert model_digest(plain) == model_digest(shifted)
    assert label_digest(plain) != label_digest(shifted)
    other = train(cells, LATTICE, MapConfig(epochs=3))
    with pytest.raises(StorageError, match=r"another run \(other model\)"):
        infer_to_store(cells, other, place)
    assert infer_to_store(cells, model, place).blocks_before == 3
    infer_to_store(cells, other, place, overwrite=True)
    np.testing.assert_array_equal(opened(place)["bmu_row"], infer(cells, other)["bmu_row"].compute())


def test_other_features_write_nothing(cells, model, tmp_path):
    with pytest.raises(SchemaError):
        infer_to_store(cells.isel(marker=[1, 0, 2]), model, tmp_path / "labels.zarr")
    with pytest.raises(SchemaError):
        infer(cells.astype(np.float32), model)
    assert os.listdir(tmp_path) == []


def test_soft_labels_go_on_where_a_run_stopped(tmp_path, monkeypatch, rng):
    values = rng.normal(size=(1000, 3))
    model = train(values, LATTICE, MapConfig(epochs=2))
    samples = open_samples(da.from_array(values, chunks=(250, 3)), block_size=250 * 24)
    plain, seen = inference.write_durably, []

    def dies(*arguments):
        seen.append(1)
        if len(seen) > 2:
            raise OSError("no space left")
        return plain(*arguments)

    with monkeypatch.context() as patched, dask.config.set(scheduler="sync"):
        patched.setattr(inference, "write_durably", dies)
        with pytest.raises(StorageError):
            infer_to_store(samples, model, tmp_path / "soft.zarr", soft={"k": 2, "membership": "gaussian"})
    with pytest.raises(StorageError, match="unfinished labels of another run"):
        infer_to_store(samples, model, tmp_path / "soft.zarr", soft={"k": 3, "membership": "gaussian"})
    summary = infer_to_store(samples, model, tmp_path / "soft.zarr", soft={"k": 2, "membership": "gaussian"})
    assert (summary.blocks, summary.blocks_before) == (4, 2)
    wanted = infer_soft(samples, model, 2, kind="gaussian").compute()
    with xr.open_zarr(tmp_path / "soft.zarr", consolidated=True) as stored:
        xr.testing.assert_equal(stored.load(), wanted)


def test_soft_labels_that_can_not_be(tmp_path, rng):
    values = rng.normal(size=(100, 3))
    model = train(values, LATTICE, MapConfig(epochs=1))
    for soft, message in (({"k": 0}, "k must be"), ({"k": 2, "membership": "hard"}, "hard")):
        with pytest.raises(ParameterError, match=message):
            infer_to_store(values, model, tmp_path / "soft.zarr", soft=soft)
    with pytest.raises(ParameterError, match="use device 'cpu'"):
        infer_to_store(values, model, tmp_path / "soft.zarr", device="gpu", soft={"k": 2})
    assert list(tmp_path.iterdir()) == []


def stop_after(monkeypatch, n, *arguments, **options):
    """Infer into a store, and be stopped when n blocks are written."""
    plain, seen = inference.write_durably, []

    def dies(*own):
        seen.append(1)
        if len(seen) > n:
            raise KeyboardInterrupt
        return plain(*own)

    with monkeypatch.context() as patched, dask.config.set(scheduler="sync"):
        patched.setattr(inference, "write_durably", dies)
        with pytest.raises(KeyboardInterrupt):
            infer_to_store(*arguments, **options)


def change(cells, name, at):
    """Return the cells with one value of theirs, or of a coordinate, changed."""
    if name == "values":
        values = cells.values.copy()
        values[at, 0] += 1e-6
        return cells.copy(data=da.from_array(values, chunks=cells.chunks))
    values = cells[name].values.copy()
    values[at] += 1
    return cells.assign_coords({name: (cells[name].dims, values)})


@pytest.mark.parametrize("name", ["values", "plate", "cell"])
@pytest.mark.parametrize("which", [0, 6, 13])
@pytest.mark.parametrize("stored", [False, True])
def test_a_change_in_any_finished_block_is_noticed(name, which, stored, tmp_path, monkeypatch, rng):
    coords = {"plate": ("cell", np.arange(15000) % 7), "cell": np.arange(15000)}
    data = xr.DataArray(rng.normal(size=(15000, 3)), dims=("cell", "marker"), coords=coords, name="cells")
    cells = data.chunk(cell=1000)
    model = train(cells, LATTICE, MapConfig(epochs=1))
    monkeypatch.setattr("som_dask.samples.open.MIN_BLOCK_ROWS", 1000)

    def give(data):
        if not stored:
            return data
        data.to_dataset().to_zarr(tmp_path / "in.zarr", mode="a", consolidated=False)
        return str(tmp_path / "in.zarr")

    place = tmp_path / "labels.zarr"
    stop_after(monkeypatch, 14, give(cells), model, place)
    done = sorted(record["block"] for record in Notes(f"{tmp_path}/.labels.zarr.partial/done").read())
    (missing,) = set(range(15)) - set(done)
    at = done[which] * 1000 + 999
    with pytest.raises(StorageError, match=r"another run \(other (samples or )?coordinates\)"):
        infer_to_store(give(change(cells, name, at)), model, place)
    # A change in what is not done yet is none; and the same values written again are the same.
    other = change(cells, name, missing * 1000) if name == "values" else cells
    assert infer_to_store(give(other), model, place).blocks_before == 14
    np.testing.assert_array_equal(opened(place)["distance"], infer(other, model)["distance"].compute())


def test_finished_blocks_of_an_unchanged_store_are_not_read_again(tmp_path, monkeypatch, rng):
    data = xr.DataArray(rng.normal(size=(6000, 3)), dims=("cell", "marker"), name="cells").chunk(cell=1000)
    model = train(data, LATTICE, MapConfig(epochs=1))
    monkeypatch.setattr("som_dask.samples.open.MIN_BLOCK_ROWS", 1000)
    data.to_dataset().to_zarr(tmp_path / "in.zarr", consolidated=False)
    stop_after(monkeypatch, 5, str(tmp_path / "in.zarr"), model, tmp_path / "labels.zarr")
    read, plain = [], label_groups.fingerprint_block

    def counted(*arguments):
        read.append(1)
        return plain(*arguments)

    monkeypatch.setattr(label_groups, "fingerprint_block", counted)
    assert infer_to_store(str(tmp_path / "in.zarr"), model, tmp_path / "labels.zarr").blocks_before == 5
    assert len(read) == 1  # which would tell if the samples were made of the same store in another way


@pytest.mark.parametrize("old", [False, True])
def test_an_object_store_that_fails_at_any_operation(old, tmp_path, monkeypatch, rng):
    data = xr.DataArray(
        rng.normal(size=(300, 3)), dims=("cell", "marker"), coords={"plate": ("cell", np.arange(300))}
    )
    cells = data.chunk(cell=100)
    model, other = (train(cells, LATTICE, MapConfig(epochs=epochs)) for epochs in (1, 2))
    samples = open_samples(cells, block_size=100 * 24)
    wanted, before = (infer(cells, m).compute().drop_attrs() for m in (model, other))
    n, done = 0, False
    while not done:
        folder = f"memory://{tmp_path.name}/{n}"
        place = f"{folder}/labels.zarr"
        if old:
            infer_to_store(samples, other, place)
        with break_after(n), dask.config.set(scheduler="sync"):
            try:
                infer_to_store(samples, model, place, overwrite=old)
                done = True
            except (StorageError, Broken):
                pass
        found = xr.open_zarr(place).load().drop_attrs() if exists(f"{place}/zarr.json") else None
        assert found is None or found.identical(wanted) or (old and found.identical(before))
        remove(f"{folder}/.labels.zarr.claim.1")  # as if it had grown old
        if found is None or not found.identical(wanted):
            infer_to_store(samples, model, place, overwrite=old)
        xr.testing.assert_identical(opened(place).drop_attrs(), wanted)
        n += 1
    assert names_in(folder) == ["labels.zarr"]
    assert n > 20


def test_many_finished_blocks_cost_few_requests(tmp_path, monkeypatch, rng):
    """A restart must not read a note for each block, from a store that takes its time for each request."""
    data = xr.DataArray(rng.normal(size=(120, 3)), dims=("cell", "marker"), name="cells").chunk(cell=1)
    model = train(data, LATTICE, MapConfig(epochs=1))
    url = f"memory://{tmp_path.name}"
    data.chunk(cell=120).to_dataset().to_zarr(tmp_path / "cells.zarr", consolidated=False)
    monkeypatch.setattr(label_groups, "MOST_BLOCKS", 1)
    samples = open_samples(str(tmp_path / "cells.zarr"), block_size=24).cut(1)
    with monkeypatch.context() as patched, dask.config.set(scheduler="sync"):
        patched.setattr(draft.ObjectDraft, "publish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            infer_to_store(samples, model, f"{url}/labels.zarr")
    with count_requests() as requests:
        summary = infer_to_store(samples, model, f"{url}/labels.zarr")
    assert (summary.blocks, summary.blocks_before) == (120, 120)
    assert len(requests) < 80, requests
    np.testing.assert_array_equal(opened(f"{url}/labels.zarr")["distance"], infer(data, model)["distance"].compute())


def test_a_draft_of_another_layout_is_not_continued(cells, model, tmp_path, monkeypatch):
    place = tmp_path / "labels.zarr"
    with monkeypatch.context() as patched:
        patched.setattr(inference, "LAYOUT", 1)
        stop_after(monkeypatch, 1, cells, model, place)
    with pytest.raises(StorageError, match=r"another run \(other layout\)"):
        infer_to_store(cells, model, place)
    assert infer_to_store(cells, model, place, overwrite=True).blocks_before == 0


def test_a_bar_of_blocks_is_shown_on_a_terminal_unless_it_is_turned_off(rng, tmp_path, open_terminal, capsys):
    values = rng.random((60, 3))
    model = train(values, Lattice(3, 4), MapConfig(epochs=1))
    terminal = open_terminal()
    infer_to_store(values, model, tmp_path / "quiet.zarr", progress=False)
    assert terminal.getvalue() == ""
    infer_to_store(values, model, tmp_path / "labels.zarr")
    assert "labeling: 100%" in terminal.getvalue()
    assert "| 1/1 [" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_labels_by_other_errors_are_another_run(tmp_path, monkeypatch, rng):
    """A run that was killed is not continued by one with other errors, though the samples are the same."""
    dims, values, path, place = ("cell", "marker"), rng.normal(size=(200, 3)), tmp_path / "s.zarr", tmp_path / "out"
    tables = {"flux": values, "near": np.full((200, 3), 0.1), "far": 1 + values**2}
    survey = xr.Dataset({name: (dims, table) for name, table in tables.items()}).chunk(cell=20)
    survey.to_zarr(path, consolidated=False)
    model = train(values, Lattice(3, 4), MapConfig(epochs=1))

    def samples_by(errors):
        return open_samples(path, variable="flux", block_size=20 * 48, value_errors=errors)

    stop_after(monkeypatch, 4, samples_by("near"), model, place)
    for other in (None, "far"):
        with pytest.raises(StorageError, match="options of reading"):
            infer_to_store(samples_by(other), model, place)
    assert samples_by(values**2 + 1).place is None  # a store does not tell of errors that are not in it
    before = inference.state_of_input(samples_by("near"))
    survey[["near"]].assign(near=survey["near"] * 2).to_zarr(path, mode="a", consolidated=False)
    assert inference.state_of_input(samples_by("near")) != before
    with pytest.raises(StorageError, match="other samples or coordinates"):
        infer_to_store(samples_by("near"), model, place)
    infer_to_store(samples_by("near"), model, place, overwrite=True)
    wanted = infer(values, model, value_errors=np.full((200, 3), 0.2)).compute()
    np.testing.assert_array_equal(xr.open_zarr(place, consolidated=False)["distance"], wanted["distance"])
