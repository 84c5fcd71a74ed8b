"""Labels by several runs, each of which labels a part; none knows of the others but by files at the output."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis import label_parts, label_region
from som_dask.analysis.label_store import infer_to_store, name_part
from som_dask.analysis.labels import infer
from som_dask.errors import ParameterError, StorageError
from som_dask.io import draft
from som_dask.io.draft import published_run_id
from som_dask.io.files import exists, list_tree, names_in, read_bytes
from som_dask.io.models import save_model
from som_dask.io.outputs import lock
from som_dask.training.config import MapConfig
from som_dask.training.train import train

pytestmark = pytest.mark.usefixtures("folder")


@pytest.fixture
def folder(tmp_path, monkeypatch, rng):
    """The current folder, with samples in seven chunks, each of which is a block, and a model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("som_dask.samples.open.MIN_BLOCK_ROWS", 100)
    coords = {"cell": np.arange(700) * 2, "plate": ("cell", np.arange(700) % 7)}
    cells = xr.DataArray(rng.normal(size=(700, 3)), dims=("cell", "marker"), coords=coords, name="cells")
    cells.chunk(cell=100).to_dataset().to_zarr("cells.zarr", consolidated=False)
    save_model(train(cells, Lattice(3, 4), MapConfig(epochs=1)), "model.zarr")
    with dask.config.set(scheduler="sync"):
        yield tmp_path


@pytest.fixture(params=["path", "url"])
def place(request, tmp_path):
    """Where labels are written."""
    return "labels.zarr" if request.param == "path" else f"memory://{tmp_path.name}/labels.zarr"


def label(place, k, n=3, **options):
    return infer_to_store("cells.zarr", "model.zarr", place, part=(k, n), **options)


def break_publishing(monkeypatch, action):
    """Call a function in place of publishing."""
    for kind in (draft.LocalDraft, draft.ObjectDraft):
        monkeypatch.setattr(kind, "publish", lambda *_, **__: action())


def stop(*_):
    raise KeyboardInterrupt


def labels():
    return infer("cells.zarr", "model.zarr").compute()


def check(place):
    found = xr.open_zarr(place, chunks=None, consolidated=False).load()
    xr.testing.assert_identical(found.drop_attrs(), labels().drop_attrs())
    parent = os.path.dirname(place) or "."
    assert [name for name in names_in(parent) if "labels" in name] == ["labels.zarr"]


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_the_last_of_the_parts_publishes_the_bytes_of_one_run():
    told = []
    first = label("labels.zarr", 2, on_progress=lambda *done: told.append(done))
    assert (first.samples, first.blocks, first.blocks_before, first.parts_missing) == (200, 2, 0, (1, 3))
    assert told[-1] == (2, 2)
    assert not os.path.exists("labels.zarr")
    assert label("labels.zarr", 3).parts_missing == (1,)
    last = label("labels.zarr", 1)
    assert (last.samples, last.blocks, last.blocks_before, last.parts_missing) == (700, 7, 5, ())
    check("labels.zarr")
    whole = infer_to_store("cells.zarr", "model.zarr", "whole.zarr")
    assert last.quantization_error == whole.quantization_error
    parts, one = contents("labels.zarr"), contents("whole.zarr")
    roots = [json.loads(files.pop(Path("zarr.json"))) for files in (parts, one)]
    for root in roots:
        del root["attributes"]["run_id"], root["attributes"]["created"]
    assert roots[0] == roots[1]
    assert parts == one


def test_regions_share_all_blocks_and_some_may_be_empty(place):
    found = [label(place, k, 9) for k in range(1, 9)]
    assert sum(summary.blocks for summary in found) == 6
    assert 0 in [summary.blocks for summary in found]
    assert label(place, 9, 9).parts_missing == ()
    check(place)


def test_a_part_that_starts_again_after_publication_is_done(place):
    for k in (1, 2, 3):
        label(place, k)
    before = published_run_id(place)
    for overwrite in (False, True):
        summary = label(place, 2, overwrite=overwrite)
        assert (summary.samples, summary.blocks, summary.blocks_before, summary.parts_missing) == (200, 2, 2, ())
        assert np.isnan(summary.quantization_error)
    assert published_run_id(place) == before
    check(place)
    with pytest.raises(StorageError, match="exists already"):
        label(place, 1, 2)  # the same, but another plan


def test_an_input_that_has_changed_is_labeled_anew(place):
    for k in (1, 2):
        label(place, k, 2)
    cells = xr.open_zarr("cells.zarr", consolidated=False).load()
    (cells + 1).to_zarr("cells.zarr", mode="r+", consolidated=False)
    with pytest.raises(StorageError, match="exists already"):
        label(place, 1, 2)
    assert [label(place, k, 2, overwrite=True).blocks_before for k in (1, 2)] == [0, 3]
    check(place)


def test_old_labels_stay_until_the_new_ones_are_published(place):
    infer_to_store("cells.zarr", "model.zarr", place)
    old = published_run_id(place)
    with pytest.raises(StorageError, match="exists already"):
        label(place, 1)
    for k in (1, 2):
        label(place, k, overwrite=True)
        assert published_run_id(place) == old
    assert label(place, 3, overwrite=True).blocks_before == 4  # it wiped nothing that the others had done
    assert published_run_id(place) != old
    check(place)


KILLED = """
import os, signal, sys
from som_dask.analysis import label_region
from som_dask.analysis.label_store import infer_to_store
from som_dask.samples import open as opening
opening.MIN_BLOCK_ROWS = 100
plain, count = label_region.label_block, 0
def dies(*arguments):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*arguments)
label_region.label_block = dies
import dask
dask.config.set(scheduler="sync")
infer_to_store("cells.zarr", "model.zarr", "labels.zarr", part=(2, 2))
"""


def test_a_killed_part_goes_on_where_it_was(monkeypatch):
    label("labels.zarr", 1, 2)
    assert subprocess.run([sys.executable, "-c", KILLED]).returncode == -signal.SIGKILL
    cut_off = Path(".labels.zarr.partial/labels.zarr/distance/c/5.0123456789abcdef.partial")
    cut_off.write_bytes(b"as Zarr names what it is writing")
    done, plain = [], label_region.label_block
    monkeypatch.setattr(label_region, "label_block", lambda *all: done.append(all) or plain(*all))
    summary = label("labels.zarr", 2, 2)
    assert (len(done), summary.blocks_before) == (2, 5)
    check("labels.zarr")
    assert not list(Path("labels.zarr").rglob("*.partial"))


def test_one_part_is_written_by_one_run(place):
    label(place, 2)
    before = sorted(list_tree(f"memory://{Path.cwd().name}")) if "://" in place else sorted(contents("."))
    absolute = place if "://" in place else os.path.abspath(place)
    with lock(name_part(absolute, 1, 3)):
        with pytest.raises(StorageError, match=r"another run.* is writing .*labels.zarr part 1 of 3; wait"):
            in_thread(label, place, 1)
        # Nor may what it writes be discarded.
        for options in ({"part": (1, 2)}, {}):
            with pytest.raises(StorageError, match=r"another run.* is writing .*labels.zarr part 1 of 3; wait"):
                in_thread(infer_to_store, "cells.zarr", "model.zarr", place, overwrite=True, **options)
        in_thread(label, place, 3)
    after = sorted(list_tree(f"memory://{Path.cwd().name}")) if "://" in place else sorted(contents("."))
    assert set(before) < set(after)
    label(place, 1)
    check(place)


def test_other_plans_are_not_mixed_in(place):
    label(place, 1)
    for options in ({"part": (2, 4)}, {}):
        with pytest.raises(StorageError, match=r"unfinished labels of another run \(other parts\)"):
            infer_to_store("cells.zarr", "model.zarr", place, **options)
    with pytest.raises(StorageError, match=r"unfinished labels of another run \(other .*k"):
        label(place, 2, soft={"k": 2})
    assert label(place, 1, 2, overwrite=True).parts_missing == (2,)
    assert label(place, 2, 2, overwrite=True).parts_missing == ()
    check(place)


def test_a_whole_run_and_parts_exclude_each_other(place, monkeypatch):
    with monkeypatch.context() as patched:
        break_publishing(patched, stop)
        with pytest.raises(KeyboardInterrupt):
            infer_to_store("cells.zarr", "model.zarr", place)
    with pytest.raises(StorageError, match=r"unfinished labels of another run \(other parts\)"):
        label(place, 1)
    # While it is at work, parts don't wait for its end.
    with lock(place), pytest.raises(StorageError, match=r"another run.* is writing"):
        in_thread(label, place, 1)
    assert infer_to_store("cells.zarr", "model.zarr", place).blocks_before == 7
    check(place)


def in_thread(function, *arguments, **options):
    """Call a function in another thread, which holds none of the claims of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments, **options).result()


def test_parts_wait_for_their_turn(place, monkeypatch):
    looked = []
    three = threading.Event()

    def look(seconds):
        looked.append(seconds)
        if len(looked) == 3:
            three.set()
        time_to_sleep(0.001)

    time_to_sleep = time.sleep
    monkeypatch.setattr(label_parts, "time", SimpleNamespace(monotonic=time.monotonic, sleep=look))
    with ThreadPoolExecutor(1) as pool, lock(place):
        later = pool.submit(label, place, 1)
        assert three.wait(60)
    assert later.result().parts_missing == (2, 3)
    assert looked[1] > looked[0] / 2


def test_parts_that_run_together_publish_once(place, monkeypatch):
    plain, published = draft.LocalDraft.publish, []

    def count(self, **options):
        published.append(self)
        plain_of[type(self)](self, **options)

    plain_of = {draft.LocalDraft: plain, draft.ObjectDraft: draft.ObjectDraft.publish}
    for kind in plain_of:
        monkeypatch.setattr(kind, "publish", count)
    monkeypatch.setattr(label_parts, "LONGEST_LOOK", 0.1)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: label(place, k, 4), range(1, 5)))
    assert len(published) == 1
    assert [summary.parts_missing for summary in found].count(()) >= 1
    check(place)


@pytest.mark.parametrize("before", [True, False])
def test_a_run_that_is_killed_while_it_publishes(before, place, monkeypatch):
    label(place, 1, 2)
    with monkeypatch.context() as patched:
        if before:
            break_publishing(patched, stop)
        else:
            plain_remove = draft.remove
            patched.setattr(draft, "remove", lambda path: stop() if "partial" in str(path) else plain_remove(path))
        with pytest.raises(KeyboardInterrupt):
            label(place, 2, 2)
    assert exists(f"{place}/zarr.json") is not before
    for k in (1, 2):
        assert label(place, k, 2).parts_missing == ()
    check(place)


def test_finished_blocks_are_compared_with_the_samples(place):
    label(place, 1, 2)
    cells = xr.open_zarr("cells.zarr", consolidated=False).load()
    cells["cells"][0, 0] += 1  # of the part that is finished
    cells.to_zarr("cells.zarr", mode="r+", consolidated=False)
    with pytest.raises(StorageError, match="other samples or coordinates"):
        label(place, 2, 2)
    assert label(place, 2, 2, overwrite=True).parts_missing == (1,)
    label(place, 1, 2, overwrite=True)
    check(place)


def test_arrays_in_memory_are_written_in_parts_too(place):
    cells = xr.open_zarr("cells.zarr", consolidated=False)["cells"]
    for k in (1, 2, 1):
        if k == 2:
            assert infer_to_store(cells, "model.zarr", place, part=(1, 2)).parts_missing == (2,)  # again
        elif exists(f"{place}/zarr.json"):
            # Nobody can tell whether they are still the same.
            with pytest.raises(StorageError, match="exists already"):
                infer_to_store(cells, "model.zarr", place, part=(k, 2))
            continue
        infer_to_store(cells, "model.zarr", place, part=(k, 2))
    check(place)


@pytest.mark.parametrize("part", [(0, 4), (5, 4), (1, 0), (1.0, 2), (1,), "1/2"])
def test_there_is_no_such_part(part):
    with pytest.raises(ParameterError, match="there is no part"):
        infer_to_store("cells.zarr", "model.zarr", "labels.zarr", part=part)
    assert not exists("labels.zarr")


def test_store_objects_are_not_written_in_parts():
    from zarr.storage import MemoryStore

    with pytest.raises(ParameterError, match="store object"):
        infer_to_store("cells.zarr", "model.zarr", MemoryStore(), part=(1, 2))
    assert read_bytes("model.zarr/zarr.json")
