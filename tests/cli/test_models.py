"""The command line with a registry: train, list, show, promote, infer, delete."""

import json
import os
import sys

import pytest
import xarray as xr

from som_dask import __version__ as code
from som_dask.cli.progress import EpochBar
from som_dask.errors import Interrupted
from som_dask.io.models import open_model
from som_dask.io.registry import Registry
from tests.epoch_lines import apart_from_epochs
from tests.system.test_bad_input import run, store

TRAIN = ["train", "cells.zarr", "--rows", "3", "--cols", "4", "--epochs", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOM_DASK_REGISTRY", raising=False)
    store("cells.zarr", rng.normal(size=(300, 3)))
    return tmp_path


def told(capsys, *arguments, status=0):
    """What a command that ends with this status tells: its lines, or its one line of error."""
    capsys.readouterr()
    assert run(*arguments) == status
    out, err = capsys.readouterr()
    if status == 0:
        assert apart_from_epochs(err) == ""
        return out.splitlines()
    assert out == ""
    (line,) = apart_from_epochs(err).splitlines()
    return line


def test_a_session(capsys, monkeypatch, folder):
    registry = ["--registry", "models"]
    lines = told(capsys, *TRAIN, *registry, "--name", "photo", "--environment", "dev")
    assert lines[0] == f"model               dev/photo/{code}/1/1"
    assert sorted(os.listdir(folder)) == ["cells.zarr", "models"]
    told(capsys, *TRAIN, *registry, "--name", "photo", "--seed", "1", "--initialization", "random")
    monkeypatch.setenv("SOM_DASK_REGISTRY", "models")

    lines = told(capsys, "models", "list")
    assert [line.split()[0] for line in lines] == [f"dev/photo/{code}/1/{revision}" for revision in (2, 1)]
    assert all(" QE " in line and " TE " in line for line in lines)

    lines = told(capsys, "models", "show", f"photo@dev:{code}/1/2")
    assert f"key                 dev/photo/{code}/1/2" in lines
    assert f"parent              dev/photo/{code}/1/1" in lines
    assert "seed                1" in lines
    shown = json.loads("\n".join(told(capsys, "models", "show", "photo@dev", "--json")))
    assert shown["parameters"]["initialization"] == "random"
    assert open_model(shown["path"]).identical(Registry("models").load("photo"))

    lines = told(capsys, "models", "promote", f"photo@dev:{code}/1/1")
    assert lines == [f"promoted            dev/photo/{code}/1/1", f"to                  prod/photo/{code}/1/1"]
    listed = json.loads("\n".join(told(capsys, "models", "list", "--json")))
    assert [entry["key"].split("/")[0] for entry in listed] == ["prod", "dev", "dev"]
    assert listed[0]["promoted_from"] == f"dev/photo/{code}/1/1"
    assert len(told(capsys, "models", "list", "--environment", "prod")) == 1
    assert told(capsys, "models", "list", "--name", "other") == []

    first = Registry("models").load("photo", revision=1).attrs["codebook_sha256"]
    newest = Registry("models").load("photo").attrs["codebook_sha256"]
    assert first != newest
    for reference, sha256 in [("photo@prod", first), (f"photo@dev:{code}", newest), ("photo@dev", newest)]:
        lines = told(capsys, "infer", reference, "cells.zarr", "--output", "labels.zarr", "--overwrite")
        assert lines[0].startswith(f"model               {reference[6:].split(':')[0]}/photo/{code}/1/")
        labels = xr.open_zarr("labels.zarr", consolidated=False)
        assert labels.attrs["model_codebook_sha256"] == sha256

    assert told(capsys, "models", "delete", f"dev/photo/{code}/1/2") == [f"deleted             dev/photo/{code}/1/2"]
    assert len(told(capsys, "models", "list", "--environment", "dev")) == 1


def test_a_model_goes_to_a_store_and_to_the_registry(capsys):
    job = 'output = "model.zarr"\nregistry = "models"\nname = "photo"\nmodel_version = "v2"\nenvironment = "qa"\n'
    with open("job.toml", "w") as file:
        file.write(job)
    lines = told(capsys, *TRAIN, "--config", "job.toml")
    assert lines[0] == "model               model.zarr"
    assert lines[-1] == f"registered          qa/photo/{code}/v2/1"
    assert open_model("model.zarr").identical(Registry("models", "qa").load("photo"))


def test_a_registry_of_the_environment_alone_changes_nothing(capsys, monkeypatch, folder):
    monkeypatch.setenv("SOM_DASK_REGISTRY", "models")
    told(capsys, *TRAIN, "--output", "a@b")
    assert sorted(os.listdir(folder)) == ["a@b", "cells.zarr"]
    told(capsys, "infer", "a@b", "cells.zarr", "--output", "labels.zarr")  # a path that exists is no reference


@pytest.mark.parametrize(
    ("status", "words", "arguments"),
    [
        (2, "the model would go nowhere; give --output, or --registry and --name", TRAIN),
        (
            2,
            "--registry saves to a registry only with --name",
            [*TRAIN, "--output", "m.zarr", "--registry", "models"],
        ),
        (2, "--environment saves to a registry only", [*TRAIN, "--output", "m.zarr", "--environment", "dev"]),
        (2, "--registry ROOT or set SOM_DASK_REGISTRY", [*TRAIN, "--name", "photo"]),
        (2, "the name '../x' can't be used", [*TRAIN, "--name", "../x", "--registry", "models"]),
        (5, "can't write to", [*TRAIN, "--name", "photo", "--registry", "/proc/models"]),
        (2, "--registry ROOT or set", ["models", "list"]),
        (2, "--registry ROOT or set", ["infer", "photo@dev", "cells.zarr", "--output", "l.zarr"]),
        (5, "no model photo@dev", ["infer", "photo@dev", "cells.zarr", "--output", "l.zarr", "--registry", "models"]),
        (2, "is no reference", ["infer", "a@b:1/2/3/4", "cells.zarr", "--output", "l.zarr", "--registry", "models"]),
        (2, "names no model of a registry; give NAME@ENVIRONMENT", ["retrain", "photo", "cells.zarr"]),
        (2, "for '--epochs': 0 is not", ["retrain", "photo@dev", "cells.zarr", "--epochs", "0"]),
        (5, "no model photo@dev", ["models", "show", "photo@dev", "--registry", "models"]),
        (5, "no model photo@dev", ["models", "promote", "photo@dev", "--registry", "models"]),
        (2, "is no key", ["models", "delete", "photo@dev", "--registry", "models"]),
        (5, "no model dev/photo/1/1/1", ["models", "delete", "dev/photo/1/1/1", "--registry", "models"]),
        (5, "nothing://", ["models", "list", "--registry", "nothing://bucket"]),
    ],
)
def test_what_is_refused(status, words, arguments, capsys, folder):
    assert words in told(capsys, *arguments, status=status)
    assert os.listdir(folder) == ["cells.zarr"]


def test_a_run_for_the_registry_alone_is_continued(monkeypatch, capsys, folder):
    command = [*TRAIN, "--registry", "models", "--name", "photo"]
    plain = EpochBar.__call__

    def interrupt(self, epoch):
        plain(self, epoch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(EpochBar, "__call__", interrupt)
        patched.setattr(sys, "argv", ["som-dask", *command])
        assert "--resume" in told(capsys, *command, status=Interrupted.exit_status)
    assert Registry("models").list() == []
    assert (folder / "photo@dev.checkpoints").is_dir()
    told(capsys, *command, "--resume")
    assert [entry.key.revision for entry in Registry("models").list()] == [1]
    assert sorted(os.listdir(folder)) == ["cells.zarr", "models"]


def test_help(capsys):
    text = " ".join(" ".join(told(capsys, "models", "--help")).split())
    for command in ("list", "show", "promote", "delete"):
        assert f" {command} " in text
    text = " ".join(" ".join(told(capsys, "train", "--help")).split())
    assert "SOM_DASK_REGISTRY" in text
    assert "[default: dev]" in text
