"""Schema: labeled models, saved whole, opened only when they are."""

import json
import shutil
import uuid

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import som_dask
from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError, StorageError
from som_dask.io.models import (
    lattice_of,
    model_digest,
    open_model,
    save_labeled,
    save_model,
    scaled_codebook_of,
)
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.system.test_bad_input import run


@pytest.fixture
def model(rng):
    values = rng.normal(size=(500, 3)).astype(np.float32)
    cells = xr.DataArray(values, dims=("cell", "marker"), coords={"marker": np.array(["a", "b", "c"], dtype=object)})
    return train(cells, Lattice(4, 5, "rectangular", "toroidal"), MapConfig(epochs=3))


def test_names_and_dimensions(model):
    dims = {name: variable.dims for name, variable in model.variables.items()}
    assert dims == {
        "codebook": ("row", "col", "feature"),
        "hits": ("row", "col"),
        "u_matrix": ("row", "col"),
        "quantization_error": ("epoch",),
        "topographic_error": ("epoch",),
        "radius": ("epoch",),
        "feature": ("feature",),
        "marker": ("feature",),  # the input's own name of that dimension
        "epoch": ("epoch",),
        "x": ("row", "col"),
        "y": ("row", "col"),
    }
    assert dict(model.sizes) == {"row": 4, "col": 5, "feature": 3, "epoch": 4}
    assert list(model["feature"].values) == ["a", "b", "c"]
    assert model["hits"].sum() == 500
    np.testing.assert_array_equal(model["x"].values.ravel(), lattice_of(model).positions()[:, 0])


def test_attributes_tell_how_it_was_made(model):
    attrs = model.attrs
    assert attrs["som_dask_version"] == som_dask.__version__
    assert (attrs["epochs"], attrs["seed"], attrs["topology"], attrs["boundary"]) == (3, 0, "rectangular", "toroidal")
    assert (attrs["initial_radius"], attrs["final_radius"], attrs["initialization"]) == (1.25, 0.48, "pca")
    assert attrs["started"].endswith("+00:00")
    assert attrs["finished"] >= attrs["started"]
    assert attrs["sample_dtype"] == "float32"
    assert attrs["samples"] == 500


def test_errors_belong_to_the_codebook_after_so_many_epochs(model):
    assert np.isnan(model["radius"].values[-1])
    assert np.isfinite(model["radius"].values[:-1]).all()
    assert np.isfinite(model["quantization_error"]).all()


@pytest.mark.parametrize("url", [False, True])
def test_saved_and_opened(url, model, tmp_path):
    place = "memory://schema/model.zarr" if url else tmp_path / "model.zarr"
    save_model(model, place, overwrite=True)
    found = open_model(place)
    xr.testing.assert_identical(found, model)
    assert lattice_of(found) == Lattice(4, 5, "rectangular", "toroidal")
    assert model_digest(found) == model.attrs["codebook_sha256"]
    assert scaled_codebook_of(found).shape == (20, 3)
    with pytest.raises(StorageError, match="exists"):
        save_model(model, place)


def test_nothing_else_is_left(model, tmp_path):
    save_model(model, tmp_path / "model.zarr")
    save_model(model, tmp_path / "model.zarr", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.zarr"]


def test_a_flipped_bit_is_an_error(model, tmp_path):
    save_model(model, tmp_path / "model.zarr")
    (chunk,) = [path for path in (tmp_path / "model.zarr" / "codebook" / "c").rglob("*") if path.is_file()]
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 4
    chunk.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        open_model(tmp_path / "model.zarr")


def test_a_codebook_that_was_exchanged_is_an_error(model, tmp_path):
    save_model(model, tmp_path / "model.zarr")
    other = model.assign(codebook=model["codebook"] + 1)
    with pytest.raises(ParameterError, match="codebook was changed"):
        save_model(other, tmp_path / "other.zarr")
    save_model(other.assign_attrs(codebook_sha256=model_digest(other)), tmp_path / "other.zarr")
    exchange(tmp_path / "other.zarr" / "codebook", tmp_path / "model.zarr" / "codebook")
    with pytest.raises(StorageError, match="not the one that was saved"):
        open_model(tmp_path / "model.zarr")
    save_labeled(other, tmp_path / "model.zarr", overwrite=True, with_digest=True)
    with pytest.raises(StorageError, match=r"codebook in .* not the one that was saved"):
        open_model(tmp_path / "model.zarr")


def exchange(source, target):
    shutil.rmtree(target)
    shutil.copytree(source, target)


@pytest.fixture
def scaled(rng):
    values = rng.normal(size=(500, 3)) * [1, 10, 100] + [0, 1e6, 1]
    values[::7, 1] = np.nan
    cells = xr.DataArray(values, dims=("cell", "marker"), coords={"marker": list("abc")})
    return train(cells, Lattice(4, 5), MapConfig(epochs=2, scaling="zscore", missing="mask"))


VARIABLES = [
    "codebook", "scaled_codebook", "feature_center", "feature_scale", "feature_weight", "missing_values", "hits",
    "u_matrix", "quantization_error", "topographic_error", "radius", "feature", "marker", "x", "y", "epoch",
]  # fmt: skip


@pytest.mark.parametrize("name", VARIABLES)
def test_a_lost_chunk_of_any_variable_is_an_error(name, scaled, tmp_path):
    place = tmp_path / "model.zarr"
    save_model(scaled, place)
    shutil.rmtree(place / name / "c")
    with pytest.raises(StorageError, match=f"the model {place} is"):
        open_model(place)


EDITS = {
    "missing": "drop", "metric": "cosine", "scaling": "none", "topology": "rectangular", "boundary": "toroidal",
    "feature_dims": ["cell"], "sample_dims": ["x"], "input_variables": ["other"], "features_named": False,
    "support": 1.0, "sample_dtype": "float32", "codebook_sha256": "0" * 64, "epochs": 3, "content_sha256": "0" * 64,
    "note": "new",
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("remove", [False, True])
def test_an_edited_or_lost_attribute_is_an_error(name, remove, scaled, tmp_path):
    place = tmp_path / "model.zarr"
    save_model(scaled, place)
    metadata = json.loads((place / "zarr.json").read_text())
    if remove:
        del metadata["attributes"][name if name in metadata["attributes"] else "rows"]
    else:
        metadata["attributes"][name] = EDITS[name]
    (place / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StorageError, match=f"the model {place} (is not|has no digest)"):
        open_model(place)


def test_no_labels_by_a_damaged_model(scaled, tmp_path, monkeypatch, capsys, rng):
    monkeypatch.chdir(tmp_path)
    save_model(scaled, "model.zarr")
    shutil.rmtree("model.zarr/feature_center/c")
    cells = xr.DataArray(rng.normal(size=(50, 3)), dims=("cell", "marker"), coords={"marker": list("abc")}, name="it")
    cells.to_dataset().to_zarr("cells.zarr", zarr_format=2, consolidated=False)
    for command in (["infer", "model.zarr", "cells.zarr", "--output", "labels.zarr"], ["info", "model.zarr"]):
        assert run(*command) == 5
        (line,) = capsys.readouterr().err.splitlines()
        assert "the model model.zarr is not the one that was saved" in line
    assert not (tmp_path / "labels.zarr").exists()


def test_the_users_own_attributes_are_saved_too(model, tmp_path):
    mine = model.assign_attrs(note="mine", number=np.float32(1.5), list=np.arange(3), nothing=None, nan=np.nan)
    save_model(mine, tmp_path / "model.zarr")
    found = open_model(tmp_path / "model.zarr")
    assert (found.attrs["note"], found.attrs["number"], found.attrs["list"]) == ("mine", 1.5, [0, 1, 2])
    assert found.attrs.keys() == mine.attrs.keys()
    plain = xr.open_zarr(tmp_path / "model.zarr")  # as the README says; it carries the digest
    save_model(plain.assign_attrs(note="another"), tmp_path / "again.zarr")
    assert open_model(tmp_path / "again.zarr").attrs["note"] == "another"


def test_what_cannot_be_stored_is_refused_and_the_old_model_stays(model, tmp_path):
    place = tmp_path / "model.zarr"
    save_model(model, place)
    periods = pd.period_range("2000-01", periods=3, freq="M").to_numpy()
    for odd in (
        model.assign_attrs(made=object()),
        model.assign_coords(month=("feature", periods)),
        model.assign_coords(lead=("feature", [1, 2, 3], {"units": "hours since 2000-01-01"})),
    ):
        with pytest.raises(StorageError, match=str(place)) as caught:
            save_model(odd, place, overwrite=True)
        assert "\n" not in str(caught.value)
        xr.testing.assert_identical(open_model(place), model)
    assert [path.name for path in tmp_path.iterdir()] == ["model.zarr"]


@pytest.mark.parametrize("url", [False, True])
def test_it_is_read_back_before_saving_is_done(url, model, tmp_path, monkeypatch):
    place = f"memory://{uuid.uuid4().hex}/model.zarr" if url else str(tmp_path / "model.zarr")
    save_model(model, place)
    write = xr.Dataset.to_zarr

    def lose(self, store, **options):
        return write(self.assign(hits=self["hits"] + 1), store, **options)

    monkeypatch.setattr(xr.Dataset, "to_zarr", lose)
    with pytest.raises(StorageError, match=f"what was written for {place} is not the one"):
        save_model(model, place, overwrite=True)
    xr.testing.assert_identical(open_model(place), model)


def test_what_is_no_model(tmp_path):
    xr.Dataset({"x": ("t", np.arange(3))}).to_zarr(tmp_path / "x.zarr", consolidated=False)
    with pytest.raises(StorageError, match="not a som_dask model"):
        open_model(tmp_path / "x.zarr")
