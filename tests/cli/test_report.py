"""`som-dask report`."""

import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.evaluation_dataset import FORMAT
from som_dask.io.models import save_model
from som_dask.io.registry import Registry
from tests.plotting.pictures import model_of
from tests.system.test_bad_input import run


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOM_DASK_REGISTRY", raising=False)
    save_model(model_of(Lattice(2, 3)), "model.zarr")
    clusters = xr.Dataset({"cluster": (("row", "col"), np.arange(6).reshape(2, 3) % 2)})
    clusters.to_zarr("clusters.zarr", zarr_format=3, consolidated=False)
    xr.Dataset({"distortion": 2.5}, attrs={"format": FORMAT}).to_zarr(
        "evaluation.zarr", zarr_format=3, consolidated=False
    )
    attrs = {"format": FORMAT, "model_codebook_sha256": "0" * 64}
    xr.Dataset({"distortion": 2.5}, attrs=attrs).to_zarr("of_another.zarr", zarr_format=3, consolidated=False)
    return tmp_path


def test_a_report_of_a_store(capsys, folder):
    options = ["--clusters", "clusters.zarr", "--evaluation", "evaluation.zarr"]
    assert run("report", "model.zarr", *options) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("report              report.html\n", "")
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h1>Map model.zarr</h1>" in text
    assert "Map of the 2 clusters" in text
    assert "distortion" in text
    assert run("report", "model.zarr") == 5
    assert "exists already" in capsys.readouterr().err
    assert run("report", "model.zarr", "--overwrite", "--title", "T") == 0
    assert "<h1>T</h1>" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["none.zarr"], 5, "none.zarr does not exist"),
        (["model.zarr", "--clusters", "none.zarr"], 5, "none.zarr does not exist"),
        (["model.zarr", "--clusters", "evaluation.zarr"], 4, "no variable cluster"),
        (["model.zarr", "--evaluation", "model.zarr"], 4, "not an evaluation"),
        (["model.zarr", "--evaluation", "of_another.zarr"], 4, "of another map"),
        (["model.zarr", "--output", "model.zarr", "--overwrite"], 5, "not an HTML page"),
        (["photo@dev"], 2, "there is no registry"),
    ],
)
def test_what_can_not_be_reported(arguments, status, message, capsys, folder):
    assert run("report", *arguments) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (folder / "report.html").exists()


def test_a_report_of_a_registered_model(capsys, folder, monkeypatch):
    monkeypatch.setenv("SOM_DASK_REGISTRY", "models")
    key = Registry("models").save(model_of(Lattice(2, 3)), "photo")
    assert run("report", "photo@dev", "--output", "r.html") == 0
    assert capsys.readouterr().out.splitlines() == [f"model               {key}", "report              r.html"]
    assert "<h1>Map photo@dev</h1>" in (folder / "r.html").read_text(encoding="utf-8")
