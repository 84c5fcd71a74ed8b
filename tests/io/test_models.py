"""Schema: labeled models, saved whole, opened only when they are."""

import numpy as np
import pytest
import xarray as xr

import som_dask
from som_dask.algorithm.lattice import Lattice
from som_dask.errors import SchemaError, StorageError
from som_dask.io.models import check_features, lattice_of, model_digest, open_model, save_model, scaled_codebook_of
from som_dask.training.config import MapConfig
from som_dask.training.train import train


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
    save_model(other, tmp_path / "model.zarr", overwrite=True)
    with pytest.raises(StorageError, match="not the one that was saved"):
        open_model(tmp_path / "model.zarr")


def test_what_is_no_model(tmp_path):
    xr.Dataset({"x": ("t", np.arange(3))}).to_zarr(tmp_path / "x.zarr", consolidated=False)
    with pytest.raises(StorageError, match="not a som_dask model"):
        open_model(tmp_path / "x.zarr")


def test_features_are_compared(model):
    check_features(model, ("a", "b", "c"), 3, np.float32, "it")
    check_features(model, None, 3, np.float32, "it")
    for features, dtype, match in [
        (("a", "b"), np.float32, "2 features"),
        (("b", "a", "c"), np.float32, "another order"),
        (("a", "b", "x"), np.float32, "x"),
        (("a", "b", "c"), np.float64, "--dtype float32"),
    ]:
        with pytest.raises(SchemaError, match=match):
            check_features(model, features, len(features), dtype, "it")
