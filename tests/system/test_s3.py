"""The whole job at an S3 server on loopback: all that is read and written lies there."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr

import som_dask as som
from som_dask.cli.commands import cli
from som_dask.io.claims import claim
from som_dask.io.files import list_tree, names_in, read_bytes
from som_dask.io.notes import Notes
from som_dask.io.registry import Registry
from som_dask.samples import open as opening

LATTICE, CONFIG = som.Lattice(4, 6), som.MapConfig(epochs=3)
SIZES = ["--rows", "4", "--cols", "6", "--epochs", "3"]

# A process that dies when it has called a function n times.
DIES = """
import os, signal, sys
from som_dask.samples import open as opening
opening.MIN_BLOCK_ROWS = 1000
from {module} import {owner} as owner
plain, count = owner.{name}, 0
def dies(*arguments, **options):
    global count
    count += 1
    if count > {n}:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*arguments, **options)
owner.{name} = dies
from som_dask.cli.main import main
main(sys.argv[1:])
"""
PLAIN = """
import sys
from som_dask.cli.main import main
main(sys.argv[1:])
"""


def start(script, arguments):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], cwd="/", **pipes)


def kill(command, n, module, owner, name):
    """Run a command in a process that dies when it has called a function n times."""
    process = start(DIES.format(module=module, owner=owner, name=name, n=n), command)
    _, text = process.communicate()
    assert process.returncode == -signal.SIGKILL, text


def run(*arguments):
    """Run a command; return what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        cli.main(list(arguments), standalone_mode=False)
    return printed.getvalue()


def refuse(status, *arguments):
    """Run a command that ends with an error; return its message."""
    with pytest.raises(som.SomError) as caught:
        run(*arguments)
    assert caught.value.exit_status == status
    return str(caught.value)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(opening, "MIN_BLOCK_ROWS", 1000)


@pytest.fixture
def cells(rng):
    values = rng.normal(size=(9000, 3))
    coords = {"plate": ("cell", np.arange(9000) % 7), "cell": np.arange(9000) * 2}
    return xr.DataArray(values, dims=("cell", "feature"), coords=coords, name="cells").chunk(cell=1000)


@pytest.fixture
def stored(cells, bucket):
    """URL of the cells in a bucket."""
    cells.to_dataset().to_zarr(f"{bucket}/in.zarr", consolidated=False)
    return f"{bucket}/in.zarr"


@pytest.fixture
def model(cells):
    return som.train(cells, LATTICE, CONFIG)


def read(url):
    with xr.open_zarr(url) as found:
        return found.load()


def test_train_infer_evaluate_and_report(stored, cells, model, bucket):
    run("train", stored, "--output", f"{bucket}/model.zarr", *SIZES)
    found = som.open_model(f"{bucket}/model.zarr")
    assert found.attrs["codebook_sha256"] == model.attrs["codebook_sha256"]
    run("infer", f"{bucket}/model.zarr", stored, "--output", f"{bucket}/labels.zarr")
    labels = som.infer(cells, model).compute()
    xr.testing.assert_identical(read(f"{bucket}/labels.zarr").drop_attrs(), labels.drop_attrs())
    run("evaluate", f"{bucket}/model.zarr", stored, "--output", f"{bucket}/evaluation.zarr")
    assert "quantization_error" in read(f"{bucket}/evaluation.zarr")
    run("clusters", f"{bucket}/model.zarr", "--output", f"{bucket}/clusters.zarr")
    run("report", f"{bucket}/model.zarr", "--output", f"{bucket}/report.html")
    assert read_bytes(f"{bucket}/report.html").startswith(b"<!doctype html>")
    made = ["clusters.zarr", "evaluation.zarr", "in.zarr", "labels.zarr", "model.zarr", "report.html"]
    assert sorted(names_in(bucket)) == made
    assert "exists already" in refuse(5, "infer", f"{bucket}/model.zarr", stored, "--output", f"{bucket}/labels.zarr")


def test_training_that_was_killed_goes_on_from_its_checkpoint(stored, model, bucket):
    command = ("train", stored, "--output", f"{bucket}/model.zarr", *SIZES, "--checkpoint-every", "1")
    kill(command, 2, "som_dask.io.checkpoints", "CheckpointFolder", "save")
    checkpoints = names_in(f"{bucket}/model.zarr.checkpoints")
    assert sorted(name[:12] for name in checkpoints) == ["epoch-000001", "epoch-000002"]
    assert f"{bucket}/model.zarr.checkpoints holds the checkpoints of an unfinished run" in refuse(2, *command)
    run(*command, "--resume")
    found = som.open_model(f"{bucket}/model.zarr")
    xr.testing.assert_identical(found.drop_attrs(), model.drop_attrs())
    assert sorted(names_in(bucket)) == ["in.zarr", "model.zarr"]


@pytest.mark.parametrize("old", [False, True])
def test_labels_that_were_killed_go_on(old, stored, cells, model, bucket, monkeypatch):
    monkeypatch.setenv("DASK_NUM_WORKERS", "1")  # each block is noted by itself
    som.save_model(model, f"{bucket}/model.zarr")
    output = f"{bucket}/labels.zarr"
    more = ["--overwrite"] if old else []
    if old:
        som.infer_to_store(cells[:500], model, output)
        before = read(output)
    command = ("infer", f"{bucket}/model.zarr", stored, "--output", output, *more)
    kill(command, 4, "som_dask.io", "notes", "write_bytes")
    assert len(names_in(f"{bucket}/.labels.zarr.partial/done")) == 4
    if old:
        xr.testing.assert_identical(read(output), before)
    else:
        with pytest.raises(FileNotFoundError):
            xr.open_zarr(output)
    assert "4 of 9 blocks by an earlier run" in run(*command)
    xr.testing.assert_identical(read(output).drop_attrs(), som.infer(cells, model).compute().drop_attrs())
    assert sorted(names_in(bucket)) == ["in.zarr", "labels.zarr", "model.zarr"]
    assert all("/c/" in key or key.endswith("zarr.json") for key in list_tree(output)) is not old


def test_labels_in_parts_of_which_one_was_killed(stored, cells, model, bucket, monkeypatch):
    monkeypatch.setenv("DASK_NUM_WORKERS", "1")  # each block is noted by itself
    som.save_model(model, f"{bucket}/model.zarr")
    output = f"{bucket}/labels.zarr"
    command = ("infer", f"{bucket}/model.zarr", stored, "--output", output, "--part")
    kill([*command, "1/2"], 3, "som_dask.io", "notes", "write_bytes")
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda k: som.infer_to_store(stored, f"{bucket}/model.zarr", output, part=(k, 2)), (1, 2))
        first, second = found
    assert sorted([first.parts_missing, second.parts_missing]) in ([(), ()], [(), (1,)], [(), (2,)])
    assert first.blocks_before >= 3
    xr.testing.assert_identical(read(output).drop_attrs(), som.infer(cells, model).compute().drop_attrs())
    assert sorted(names_in(bucket)) == ["in.zarr", "labels.zarr", "model.zarr"]
    # As a job that was put back into the queue.
    lines = run(*command, "1/2").splitlines()
    assert lines == [f"labels              {output}", "samples             4000, 4 of 4 blocks by an earlier run"]


def test_continued_labels_notice_that_any_block_has_changed(stored, model, bucket, monkeypatch):
    monkeypatch.setenv("DASK_NUM_WORKERS", "1")
    som.save_model(model, f"{bucket}/model.zarr")
    command = ("infer", f"{bucket}/model.zarr", stored, "--output", f"{bucket}/labels.zarr")
    kill(command, 4, "som_dask.io", "notes", "write_bytes")
    first = min(record["block"] for record in Notes(f"{bucket}/.labels.zarr.partial/done").read())
    rows = slice(first * 1000, first * 1000 + 1000)
    plain = xr.open_zarr(stored, consolidated=False)["plate"].load()
    (plain + 1)[rows].drop_vars("plate").to_dataset(name="plate").drop_vars("cell").to_zarr(
        stored, region={"cell": rows}, consolidated=False
    )
    assert "another run (other samples or coordinates)" in refuse(5, *command)


def test_of_two_runs_one_wins_and_the_other_ends_at_once(stored, model, bucket):
    som.save_model(model, f"{bucket}/model.zarr")
    for command in (
        ("train", stored, *SIZES),
        ("infer", f"{bucket}/model.zarr", stored),
        ("evaluate", f"{bucket}/model.zarr", stored),
        ("clusters", f"{bucket}/model.zarr"),
        ("report", f"{bucket}/model.zarr"),
    ):
        output = f"{bucket}/{command[0]}.out"
        with claim(output), ThreadPoolExecutor(1) as pool:
            text = pool.submit(refuse, 5, *command, "--output", output).result()
        assert f"another run (process {os.getpid()} on " in text
        assert not names_in(output)
    command = ("train", stored, *SIZES, "--output", f"{bucket}/raced.zarr")
    starting = [start(PLAIN, command) for _ in range(2)]
    texts = [process.communicate()[1] for process in starting]
    statuses = sorted(process.returncode for process in starting)
    assert statuses == [0, 5], texts
    assert som.open_model(f"{bucket}/raced.zarr").attrs["codebook_sha256"] == model.attrs["codebook_sha256"]


def test_a_registry(stored, model, bucket):
    root = f"{bucket}/models"
    run("train", stored, "--name", "cells", "--registry", root, *SIZES)
    key = Registry(root).find("cells")
    assert Registry(root).load_key(key).attrs["codebook_sha256"] == model.attrs["codebook_sha256"]
    run("retrain", "cells@dev", stored, "--registry", root, "--epochs", "2")
    assert [entry.key.revision for entry in Registry(root).list()] == [2, 1]
    assert Registry(root).promote(key).environment == "prod"
    run("infer", "cells@prod", stored, "--registry", root, "--output", f"{bucket}/labels.zarr")
    Registry(root).delete(key)
    assert [entry.key.revision for entry in Registry(root).list()] == [2]


def test_logs_hold_the_urls(stored, bucket, tmp_path):
    log = tmp_path / "log.jsonl"
    run(
        "train",
        stored,
        "--output",
        f"{bucket}/m.zarr",
        *SIZES,
        "--checkpoint-every",
        "1",
        "--log-file",
        f"file://{log}",
    )
    events = [json.loads(line) for line in io.StringIO(log.read_text())]
    saved = [event["path"] for event in events if event["event"] == "checkpoint_saved"]
    assert saved
    assert all(path.startswith(f"{bucket}/m.zarr.checkpoints/epoch-") for path in saved)


@pytest.mark.parametrize("protocol", ["file", "local"])
def test_local_urls(protocol, cells, model, tmp_path):
    url = f"{protocol}://{tmp_path}"
    cells.to_dataset().to_zarr(tmp_path / "in.zarr", consolidated=False)
    run("train", f"{url}/in.zarr", "--output", f"{url}/model.zarr", *SIZES, "--checkpoint-dir", f"{url}/checkpoints")
    run("infer", f"{url}/model.zarr", f"{url}/in.zarr", "--output", f"{url}/labels.zarr")
    run("report", f"{url}/model.zarr", "--output", f"{url}/report.html")
    assert sorted(os.listdir(tmp_path)) == ["in.zarr", "labels.zarr", "model.zarr", "report.html"]
    labels = som.infer(cells, model).compute()
    xr.testing.assert_identical(read(tmp_path / "labels.zarr").drop_attrs(), labels.drop_attrs())
