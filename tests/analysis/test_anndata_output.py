"""Labels in AnnData: the same in objects and stores, with all that was there before; a store changes as a whole."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import som_dask as som
from som_dask.errors import DataError, ParameterError, SchemaError, StorageError
from som_dask.io import anndata_store
from tests.samples.annotated import make_anndata, make_counts

anndata = pytest.importorskip("anndata")
pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
KINDS = ("object", "h5ad", "zarr")


@pytest.fixture
def cells(rng):
    adata = make_anndata(make_counts(rng), {"log": np.log1p(make_counts(rng))})
    adata.obs["batch"] = np.arange(adata.n_obs) % 3
    adata.uns["own"] = {"note": "kept"}
    return adata


@pytest.fixture
def model(cells):
    return som.train(cells, som.Lattice(3, 4), som.MapConfig(epochs=3))


def put(cells, kind, folder):
    """Put the cells where labels go, and return the place and a function that reads them back."""
    if kind == "object":
        return cells, lambda: cells
    path = folder / f"cells.{kind}"
    getattr(cells, f"write_{kind}")(path)
    return path, lambda: getattr(anndata, f"read_{kind}")(path)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_clusters_codebook_and_medians_come_back(kind, cells, model, tmp_path):
    place, read = put(cells, kind, tmp_path)
    groups = som.clusters(model, 3)
    som.infer_to_anndata(place, model, clusters=groups)
    found, labels = read(), som.infer(cells, model).compute()
    node = labels["bmu_row"].values * 4 + labels["bmu_col"].values
    assert list(found.obs) == ["batch", "som_row", "som_col", "som_node", "som_distance", "som_cluster"]
    np.testing.assert_array_equal(found.obs["som_row"], labels["bmu_row"])
    np.testing.assert_array_equal(found.obs["som_node"], node)
    np.testing.assert_array_equal(found.obs["som_distance"], labels["distance"])
    assert isinstance(found.obs["som_cluster"].dtype, pd.CategoricalDtype)
    np.testing.assert_array_equal(found.obs["som_cluster"].astype(int), som.sample_clusters(labels, groups))
    about = found.uns["som"]
    np.testing.assert_array_equal(about["codebook"], model["codebook"].values.reshape(12, 5))
    wanted = pd.DataFrame(cells.X).groupby(node).median().reindex(range(12))
    np.testing.assert_array_equal(about["medians"], wanted)
    np.testing.assert_array_equal(about["hits"], np.bincount(node, minlength=12))
    assert list(about["features"]) == list(cells.var_names)
    assert (int(about["rows"]), about["topology"], about["layer"]) == (3, "hexagonal", "X")
    assert found.uns["own"]["note"] == "kept"
    np.testing.assert_array_equal(found.X, cells.X)
    np.testing.assert_array_equal(found.layers["log"], cells.layers["log"])
    assert list(found.obs_names) == list(cells.obs_names)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_written_again_replace_the_first(kind, cells, model, tmp_path):
    place, read = put(cells, kind, tmp_path)
    som.infer_to_anndata(place, model, clusters=2)
    other = som.train(som.open_samples(cells, layer="log"), som.Lattice(2, 2), som.MapConfig(epochs=2))
    som.infer_to_anndata(place, other, medians=False)
    som.infer_to_anndata(place, model, layer="X", key="counts", medians=False)
    found = read()
    assert [name for name in found.obs if name.startswith("som")] == [
        f"som_{name}" for name in ("row", "col", "node", "distance")
    ]
    assert found.obs["som_node"].max() <= 3
    assert found.uns["som"]["layer"] == "log"
    assert not {"medians", "cluster"} & set(found.uns["som"])
    assert "counts_node" in found.obs
    names = {"object": set(), "h5ad": {"cells.h5ad"}, "zarr": {"cells.zarr"}}
    assert {path.name for path in tmp_path.iterdir()} == names[kind]


@pytest.mark.parametrize("kind", KINDS[:2])
def test_cells_that_are_left_out(kind, cells, model, tmp_path):
    cells.X[[0, 7], 1] = np.nan
    place, read = put(cells, kind, tmp_path)
    som.infer_to_anndata(place, model, clusters=2, missing="drop")
    obs = read().obs
    assert obs["som_node"].dtype == np.int32
    np.testing.assert_array_equal(np.flatnonzero(obs["som_node"] < 0), [0, 7])
    np.testing.assert_array_equal(np.flatnonzero(obs["som_cluster"].isna()), [0, 7])
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(obs["som_distance"])), [0, 7])


def digest_of(path):
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return [(str(file), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]


@pytest.mark.parametrize(
    ("kind", "fault"), [("h5ad", KeyboardInterrupt()), ("zarr", OSError(28, "No space left on device"))]
)
def test_a_store_changes_as_a_whole_or_not_at_all(kind, fault, cells, model, tmp_path, monkeypatch):
    place, _ = put(cells, kind, tmp_path)
    som.infer_to_anndata(place, model, clusters=2, medians=False)
    before, plain = digest_of(place), anndata_store._write

    def write(*arguments):
        plain(*arguments)
        raise fault

    monkeypatch.setattr(anndata_store, "_write", write)
    with pytest.raises(StorageError if isinstance(fault, OSError) else KeyboardInterrupt) as caught:
        som.infer_to_anndata(place, model, clusters=3, medians=False)
    if isinstance(fault, OSError):
        assert "No space left on device; nothing in it has changed" in str(caught.value)
    assert digest_of(place) == before
    assert {path.name for path in tmp_path.iterdir()} == {place.name}


def test_chunks_of_the_table_are_not_copied(cells, model, tmp_path):
    place, _ = put(cells, "zarr", tmp_path)
    chunks = {path.relative_to(place): path.stat().st_ino for path in (place / "X").rglob("*") if path.is_file()}
    som.infer_to_anndata(place, model, medians=False)
    kept = [path for path, number in chunks.items() if (place / path).stat().st_ino == number]
    assert {path.name for path in kept} == {path.name for path in chunks} - set(anndata_store.DOCUMENTS)
    assert kept


def test_what_can_not_be_labeled(cells, model, tmp_path):
    with pytest.raises(ParameterError, match="infer_to_store"):
        som.infer_to_anndata(cells.X, model)
    with pytest.raises(ParameterError, match="copy"):
        som.infer_to_anndata(cells[:10], model)
    with pytest.raises(ParameterError, match="no layer 'raw'"):
        som.infer_to_anndata(cells, model, layer="raw")
    with pytest.raises(ParameterError, match="slash"):
        som.infer_to_anndata(cells, model, key="a/b")
    with pytest.raises(DataError, match="of \\(3, 4\\) nodes"):
        som.infer_to_anndata(cells, model, clusters=xr.DataArray(np.zeros((2, 2), int), dims=("row", "col")))
    with pytest.raises(SchemaError):
        som.infer_to_anndata(cells[:, :3].copy(), model)
    assert list(cells.obs) == ["batch"]
    assert "som" not in cells.uns
