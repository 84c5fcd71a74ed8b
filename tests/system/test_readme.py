"""The README and the guides: their code runs as it stands, on stores like those it names."""

import os
import re
import shlex
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

import som_dask
from tests.system.test_bad_input import run, store

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
GUIDES = ROOT / "deploy" / "site" / "guides"
CLIMATE = "SOM_DASK_CLIMATE"  # the folder of a real field: sst_ndjfm_anom.nc


def python_of(page):
    """The blocks of Python on a page, in their order."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def shell_of(page):
    """The commands of the first block of shell on a page, in words."""
    lines = re.search(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)[1].splitlines()
    return [shlex.split(line, comments=True) for line in lines]


def daily_heights(rng):
    """Four waves that come and go over two years, on (time, lat, lon), with noise and a corner that is missing."""
    time, lat, lon = (
        np.arange("2000-01", "2002-01", dtype="M8[D]"),
        np.arange(80.0, 15.0, -10),
        np.arange(0.0, 360, 15),
    )
    waves = [np.cos(np.deg2rad(2 * lon + 90 * k)) * np.sin(np.deg2rad(2 * lat))[:, None] for k in range(4)]
    kind = (np.arange(len(time)) // 6 + rng.integers(2, size=len(time))) % 4
    values = 5500 + 120 * np.stack(waves)[kind] + rng.normal(0, 15, (len(time), len(lat), len(lon)))
    values[:, -1, :3] = np.nan
    coords = {"time": time, "lat": ("lat", lat, {"units": "degrees_north"}), "lon": lon}
    return xr.DataArray(values.astype(np.float32), dims=("time", "lat", "lon"), coords=coords, name="z500"), kind


def run_circulation_types(field, folder, monkeypatch):
    """The README's example on a field, with what it leaves behind."""
    monkeypatch.chdir(folder)
    field.chunk(time=100).to_dataset(name="z500").to_zarr("z500.zarr", zarr_format=2)
    (block,) = (b for b in python_of(GUIDES / "inputs.md") if "z500.zarr" in b)
    names = {}
    exec(block, names)
    return names


def test_the_circulation_types(tmp_path, monkeypatch, rng):
    field, kind = daily_heights(rng)
    found = run_circulation_types(field, tmp_path, monkeypatch)
    types, labels, seasons = found["types"], found["labels"].compute(), found["seasons"]
    assert types.dims == ("row", "col", "lat", "lon")
    np.testing.assert_array_equal(np.isnan(types.isel(row=0, col=0)), np.isnan(field.isel(time=0, drop=True)))
    assert float(found["frequency"].sum()) == pytest.approx(1)
    assert labels["bmu_row"].dims == ("time",)
    # Days of one wave have types that no day of another wave has, and the types look like the wave.
    place = (labels["bmu_row"] * 4 + labels["bmu_col"]).values.astype(int)
    owners = {node: set(kind[place == node]) for node in set(place)}
    assert all(len(waves) == 1 for waves in owners.values())
    for node, waves in owners.items():
        mean = field.isel(time=np.flatnonzero(kind == min(waves))).mean("time")
        assert abs(types.values.reshape(12, *mean.shape)[node] - mean).max() < 60
    assert bool(found["found"]["significant"].any())
    assert found["change"]["slope"].dims == ("row", "col")
    assert (found["steps"]["persistence"] > 0.3).any()  # a wave lasts six days, on one or several types
    assert found["plane"].sizes["row"] == 3
    counts = seasons["class_count"]
    assert counts.sum("class").values.tolist() == found["model"]["hits"].values.tolist()
    by_season = field["time"].dt.season.to_series().value_counts()
    assert counts.sum(("row", "col")).to_series().to_dict() == by_season.to_dict()


def test_the_circulation_types_of_a_real_field(tmp_path, monkeypatch):
    folder = os.environ.get(CLIMATE)
    if not folder or not (Path(folder) / "sst_ndjfm_anom.nc").is_file():
        pytest.skip(f"set {CLIMATE} to a folder with sst_ndjfm_anom.nc")
    pytest.importorskip("scipy")
    with xr.open_dataset(Path(folder) / "sst_ndjfm_anom.nc", engine="scipy") as data:
        field = data["sst"].load()
    field.encoding.clear()
    found = run_circulation_types(field, tmp_path, monkeypatch)
    sea = ~np.isnan(field).all("time")
    assert 0 < int(sea.sum()) < sea.size
    types = found["types"]
    np.testing.assert_array_equal(~np.isnan(types.isel(row=0, col=0)), sea)
    assert int(found["model"]["hits"].sum()) == field.sizes["time"]
    # The map tells more of the anomalies than no map at all: their mean.
    area = np.cos(np.deg2rad(field["latitude"]))
    spread = np.sqrt((((field - field.mean("time")) ** 2) * area).sum(("latitude", "longitude"))).mean()
    assert float(found["model"]["quantization_error"][-1]) < 0.75 * float(spread)


def test_the_ocean_example(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    coords = {"time": np.arange(6), "lat": np.linspace(-60, 60, 5), "lon": np.arange(8.0)}
    shape, dims = (6, 5, 8), ("time", "lat", "lon")
    land = xr.DataArray(rng.random((5, 8)) < 0.3, dims=("lat", "lon"))
    ocean = xr.Dataset(
        {name: xr.DataArray(rng.normal(size=shape), dims=dims, coords=coords) for name in ("temperature", "salinity")}
    ).where(~land)
    ocean.chunk(time=2).to_zarr("ocean.zarr", zarr_format=2)
    import som_dask

    names = {"som": som_dask, "lattice": som_dask.Lattice(3, 4)}
    (block,) = (b for b in python_of(GUIDES / "inputs.md") if "ocean" in b)
    exec(block, names)
    labels = names["labels"].compute()
    np.testing.assert_array_equal(
        np.isnan(labels["bmu_row"]), land.broadcast_like(labels["bmu_row"]).transpose(*dims)
    )


def test_the_example_of_cells_runs(tmp_path, monkeypatch, rng):
    flowio = pytest.importorskip("flowio")
    anndata = pytest.importorskip("anndata")
    monkeypatch.chdir(tmp_path)
    names, values = ["CD3", "CD4", "CD8"], rng.lognormal(size=(500, 3)).astype(np.float32)
    with open("cells.fcs", "wb") as file:
        flowio.create_fcs(file, values.ravel().tolist(), names)
    obs = pd.DataFrame(index=pd.Index([f"cell {i}" for i in range(500)], dtype=object))
    var = pd.DataFrame(index=pd.Index(names, dtype=object))
    anndata.AnnData(np.arcsinh(values / 5), obs=obs, var=var).write_h5ad("cells.h5ad")
    names = {"som": som_dask}
    (block,) = (b for b in python_of(GUIDES / "inputs.md") if "cells.fcs" in b)
    exec(block, names)
    assert int(names["model"]["hits"].sum()) == 500
    assert "som_cluster" in anndata.read_h5ad("cells.h5ad").obs


def test_the_example_of_galaxies_runs(rng):
    colors = rng.normal(size=(600, 3))
    names = {"som": som_dask, "colors": colors, "known_colors": colors[:200], "redshifts": colors[:200, 0] ** 2}
    names["model"] = som_dask.train(colors, som_dask.Lattice(4, 5))
    (block,) = (b for b in python_of(GUIDES / "inputs.md") if "redshifts" in b)
    exec(block, names)
    covered = names["found"]["target_count"].where(names["found"]["reference_count"] > 0).sum()
    assert float(names["n_z"]["covered_count"]) == float(covered) > 300


def test_the_session_on_quality_runs(tmp_path, monkeypatch, capsys, rng):
    monkeypatch.chdir(tmp_path)
    store("cells.zarr", rng.normal(size=(1000, 3)))
    assert run("train", "cells.zarr", "--output", "model.zarr", "--rows", "5", "--cols", "6", "--epochs", "3") == 0
    commands = [arguments for command, *arguments in shell_of(GUIDES / "quality.md") if command == "som-dask"]
    for arguments in commands:
        assert run(*arguments) == 0, arguments
    assert [arguments[0] for arguments in commands] == ["evaluate", "clusters", "report"]
    assert "trustworthiness" in capsys.readouterr().out
    known = xr.open_zarr("cells.zarr", consolidated=False).assign(label=("sample", np.repeat(["a", "b"], 500)))
    known.drop_encoding().to_zarr("labeled_cells.zarr", zarr_format=2)
    assert run("infer", "model.zarr", "labeled_cells.zarr", "--output", "labels.zarr") == 0
    (block,) = python_of(GUIDES / "quality.md")
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Zarr's, about consolidated metadata
        exec(block, names)
    assert names["classes"]["class_count"].sum(("row", "col")).values.tolist() == [500, 500]
    assert run("report", "model.zarr", "--labels", "classes.zarr", "--output", "classes.html") == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8").lower()
    assert "trustworthiness" in page


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    names = np.array(["cd3", "cd4", "cd8"], dtype=object)
    values = rng.normal(size=(2000, 3)).astype(np.float32)
    cells = xr.DataArray(values, dims=("cell", "marker"), coords={"marker": names}, name="expression")
    cells.chunk(cell=500).to_dataset().to_zarr("cells.zarr", zarr_format=2)
    (block,) = python_of(README)
    names = {}
    exec(block, names)
    assert names["labels"].sizes == {"cell": 2000}
    assert names["model"].attrs["epochs"] == 20
    assert names["colored"].lattice == som_dask.Lattice(10, 12)


def test_the_commands_of_the_readme_run(tmp_path, monkeypatch, rng):
    monkeypatch.chdir(tmp_path)
    store("cells.zarr", rng.normal(size=(2000, 3)))
    lines = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("som-dask ")]
    for line in lines:
        _, *arguments = shlex.split(line, comments=True)
        assert run(*arguments) == 0, line
    assert [line.split()[1] for line in lines] == ["train", "infer"]
    assert xr.open_zarr("labels.zarr").sizes == {"sample": 2000}


def test_the_readme_is_short_and_its_links_lead_somewhere():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("https://")]
    assert {"deploy/site/guides/cluster_job.md", "deploy/site/gallery/index.md"} <= set(links)
    assert [link for link in links if not (ROOT / link).is_file()] == []
    assert [path for path in re.findall(r"\b(?:deploy|jobs)/[\w/.-]*\w", text) if not (ROOT / path).exists()] == []


def test_the_example_of_icechunk_runs(tmp_path, monkeypatch, rng):
    icechunk = pytest.importorskip("icechunk")
    repo = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "repo")))
    session = repo.writable_session("main")
    xr.Dataset({"cells": (("cell", "feature"), rng.normal(size=(500, 3)))}).to_zarr(session.store, consolidated=False)
    session.commit("cells")
    (block,) = python_of(GUIDES / "object_stores.md")
    names = {"som": som_dask, "zarr": zarr, "repo": repo, "lattice": som_dask.Lattice(3, 4)}
    exec(block, names)
    found = som_dask.open_model(zarr.storage.StorePath(repo.readonly_session("main").store, "model"))
    xr.testing.assert_identical(found, names["model"])


def test_the_session_with_a_registry_runs(tmp_path, monkeypatch, capsys, rng):
    monkeypatch.chdir(tmp_path)
    store("cells.zarr", rng.normal(size=(3000, 3)))
    store("new_cells.zarr", rng.normal(size=(2000, 3)) + 0.3)
    commands = []
    for line in shell_of(GUIDES / "registry.md"):
        command, *arguments = line
        if command == "export":
            monkeypatch.setenv(*arguments[0].split("="))
        else:
            assert command == "som-dask"
            commands.append(arguments[:1] if arguments[0] != "models" else arguments[:2])
            assert run(*arguments) == 0, line
    assert commands == [["train"], ["models", "list"], ["retrain"], ["models", "promote"], ["infer"]]
    out = capsys.readouterr().out
    assert "registered          dev/blood/0.1.0/1/2\n" in out
    assert "prod/blood/0.1.0/1/1" in out
    assert xr.open_zarr("labels.zarr").sizes == {"sample": 2000}
