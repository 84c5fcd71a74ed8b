"""Manifests: where a model comes from, and a digest of all that it is."""

import json
import shutil
import subprocess

import numpy as np
import pytest

import som_dask
from som_dask.errors import ModelNotFoundError
from som_dask.io import manifest
from som_dask.io.digest import dataset_digest
from som_dask.io.manifest import Entry
from som_dask.io.registry import Registry

CODE = som_dask.__version__


def test_provenance(root, models):
    dev = Registry(root)
    first, second = (dev.save(model, "photo") for model in models[:2])
    entry, attrs = dev.entry(second), models[1].attrs
    assert entry.key == second
    assert (dev.entry(first).parent, entry.parent, entry.promoted_from) == (None, first, None)
    assert dev.entry(dev.save(models[2], "photo", parent=str(first))).parent == first
    with pytest.raises(ModelNotFoundError):
        dev.save(models[2], "photo", parent=f"dev/photo/{CODE}/1/9")
    assert entry.parameters["seed"] == 1
    assert {"rows", "cols", "topology", "boundary", "epochs", "initial_radius", "neighborhood"} <= set(
        entry.parameters
    )
    assert entry.data_fingerprint == attrs["data_fingerprint"]
    assert (entry.samples, entry.features, entry.input) == (200, ["a", "b", "c"], attrs["input"])
    assert entry.metrics == {name: float(models[1][name][-1]) for name in ("quantization_error", "topographic_error")}
    assert entry.trained_with == CODE
    assert (entry.started, entry.finished) == (attrs["started"], attrs["finished"])
    assert entry.sha256 == dataset_digest(models[1])
    assert entry.created.endswith("+00:00")
    assert entry.created > dev.entry(first).created


def test_the_commit_is_told_where_the_package_is_a_checkout(tmp_path, monkeypatch, model):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    monkeypatch.setattr(manifest, "PACKAGE", tmp_path / "som_dask")
    dev = Registry(tmp_path / "models")
    assert dev.entry(dev.save(model, "photo")).git_commit is None

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "One")
    git("tag", "-am", "One", "v1")
    entry = dev.entry(dev.save(model, "photo"))
    assert (entry.git_commit, entry.git_modified) == (git("rev-parse", "HEAD"), False)
    (tmp_path / "file").write_text("two")
    entry = dev.entry(dev.save(model, "photo"))
    assert (entry.git_commit, entry.git_modified) == (git("rev-parse", "HEAD"), True)
    monkeypatch.setenv("PATH", "")  # no git: not known, and no error
    assert dev.entry(dev.save(model, "photo")).git_commit is None


def test_a_number_that_json_does_not_know(tmp_path, model):
    odd = model.assign(topographic_error=model["topographic_error"] * np.nan).assign_attrs(odd=np.inf, pair=(1, 2))
    entry = Registry(tmp_path).entry(Registry(tmp_path).save(odd, "photo"))
    assert entry.metrics["topographic_error"] is None
    assert (entry.parameters["odd"], entry.parameters["pair"]) == (None, [1, 2])


def test_manifests_are_json_without_nan(tmp_path, model):
    dev = Registry(tmp_path)
    key = dev.save(model, "photo")

    def fail(name):
        raise AssertionError(name)

    told = json.loads((tmp_path / str(key) / "manifest.json").read_text(), parse_constant=fail)
    assert told["key"] == str(key)
    entry = dev.entry(key)
    assert Entry.from_json(entry.to_json()) == entry
    files = {path.name for path in tmp_path.rglob("*") if path.is_file() and "model.zarr" not in path.parts}
    assert files == {"claim", "manifest.json"}


@pytest.mark.parametrize("change", ["value", "name", "attribute", "dtype", "dims", "coordinate"])
def test_the_digest_covers_everything(change, model):
    other = {
        "value": lambda m: m.assign(hits=m["hits"] + 1),
        "name": lambda m: m.rename(hits="counts"),
        "attribute": lambda m: m.assign_attrs(seed=99),
        "dtype": lambda m: m.assign(radius=m["radius"].astype(np.float32)),
        "dims": lambda m: m.rename(epoch="time"),
        "coordinate": lambda m: m.reset_coords("x"),
    }[change](model)
    assert dataset_digest(other) != dataset_digest(model)
    assert dataset_digest(model.copy(deep=True)) == dataset_digest(model)
