"""AnnData objects and stores as input: the same rows and bits from each, read block by block."""

import shutil
import sys

import numpy as np
import pytest
import scipy.sparse

import som_dask as som
from som_dask.analysis.label_store import state_of_input
from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.samples import row_arrays
from som_dask.samples.open import open_samples
from tests.samples.annotated import STORAGE, make_anndata, make_counts

anndata = pytest.importorskip("anndata")
pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")


def ways(adata, folder):
    """The object, and all that it can be stored as."""
    adata.write_h5ad(folder / "cells.h5ad")
    adata.write_zarr(folder / "cells.zarr")
    backed = anndata.read_h5ad(folder / "cells.h5ad", backed="r")
    return {"object": adata, "file": folder / "cells.h5ad", "zarr": str(folder / "cells.zarr"), "backed": backed}


@pytest.mark.parametrize("kind", STORAGE)
def test_every_way_gives_the_same_rows(kind, tmp_path, rng):
    counts = make_counts(rng)
    store = STORAGE[kind]
    adata = make_anndata(store(counts), {"log": store(np.log1p(counts))})
    for name, source in ways(adata, tmp_path).items():
        samples = open_samples(source, block_size=2000)
        assert samples.feature_names == tuple(f"gene{i}" for i in range(5)), name
        assert samples.coords["sample"].values[7] == "cell7"
        assert samples.variables == ("X",)
        assert samples.array.dtype == np.float32
        np.testing.assert_array_equal(samples.array.compute(), counts, err_msg=name)
        some = open_samples(source, layer="log", features=["gene4", "gene0"])
        np.testing.assert_array_equal(some.array.compute(), np.log1p(counts)[:, [4, 0]], err_msg=name)


def test_a_map_is_the_same_to_the_bit_and_takes_its_layer_and_features_again(tmp_path, rng):
    counts = make_counts(rng)
    adata = make_anndata(scipy.sparse.csr_matrix(counts), {"log": np.log1p(counts)})
    config = som.MapConfig(epochs=3)
    models = [
        som.train(open_samples(source, layer="log", features=["gene3", "gene1"]), som.Lattice(3, 4), config)
        for source in ways(adata, tmp_path).values()
    ]
    assert len({model.attrs["codebook_sha256"] for model in models}) == 1
    labels = [som.infer(source, models[0]).compute() for source in ways(adata, tmp_path).values()]
    wanted = som.infer(np.log1p(counts)[:, [3, 1]], models[0].assign_coords(feature=["feature_0", "feature_1"]))
    for found in labels:
        np.testing.assert_array_equal(found["bmu_row"], wanted["bmu_row"])
        np.testing.assert_array_equal(found["distance"], wanted["distance"])
    # A layer of another name is not taken in its stead.
    other = make_anndata(counts, {"scaled": counts})
    with pytest.raises(ParameterError, match="no layer 'log'"):
        som.infer(other, models[0])


@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
def test_a_stored_sparse_table_is_read_by_runs_of_rows(ending, tmp_path, rng, monkeypatch):
    adata = make_anndata(scipy.sparse.csr_matrix(make_counts(rng, cells=5000)))
    path = tmp_path / f"cells.{ending}"
    getattr(adata, f"write_{ending}")(path)
    read, plain = [], row_arrays.StoredSparse.read
    monkeypatch.setattr(
        row_arrays.StoredSparse, "read", lambda self, a, b, c: (read.append((a, b)), plain(self, a, b, c))[1]
    )
    samples = open_samples(path, block_size=1024 * 20)
    assert read == []
    assert samples.array.numblocks == (5, 1)
    samples.array.blocks[2].compute()
    assert read == [(2048, 3072)]


def test_lazy_objects(tmp_path, rng):
    counts = make_counts(rng)
    make_anndata(counts).write_zarr(tmp_path / "cells.zarr")
    lazy = anndata.experimental.read_lazy(tmp_path / "cells.zarr")
    np.testing.assert_array_equal(open_samples(lazy).array.compute(), counts)


def test_plain_names_are_no_coordinate(rng):
    adata = make_anndata(make_counts(rng))
    adata.obs_names = [str(i) for i in range(adata.n_obs)]
    assert open_samples(adata).coords == {}


def test_an_object_may_have_layers_alone(tmp_path, rng):
    adata = make_anndata(make_counts(rng), {"log": make_counts(rng)})
    adata.X = None
    for source in ways(adata, tmp_path).values():
        assert open_samples(source, layer="log").variables == ("log",)
        with pytest.raises(ParameterError, match="no layer 'X', only \\['log'\\]"):
            open_samples(source)


def test_what_can_not_be_read_is_said(tmp_path, rng):
    counts = make_counts(rng)
    adata = make_anndata(scipy.sparse.csc_matrix(counts))
    np.testing.assert_array_equal(open_samples(adata).array.compute(), counts)
    adata.write_h5ad(tmp_path / "columns.h5ad")
    with pytest.raises(DataError, match=r"by columns \(CSC\)"):
        open_samples(tmp_path / "columns.h5ad")
    with pytest.raises(StorageError, match="does not exist"):
        open_samples(tmp_path / "nothing.h5ad")
    (tmp_path / "text.h5ad").write_text("no HDF5")
    with pytest.raises(StorageError, match="as an HDF5 file"):
        open_samples(tmp_path / "text.h5ad")
    backed = anndata.read_h5ad(tmp_path / "columns.h5ad", backed="r")
    with pytest.raises(DataError, match="to_memory"):
        open_samples(backed[:5])
    with pytest.raises(ParameterError, match="`layer` is for AnnData"):
        open_samples(counts, layer="log")
    with pytest.raises(ParameterError, match="give one of them"):
        open_samples(adata, layer="log", variable="X")


@pytest.mark.parametrize("part", ["data", "indices"])
def test_lost_chunks_of_a_sparse_table_are_no_zeros(part, tmp_path, rng):
    make_anndata(scipy.sparse.csr_matrix(make_counts(rng))).write_zarr(tmp_path / "cells.zarr")
    for path in (tmp_path / "cells.zarr" / "X" / part).iterdir():
        if path.name in ("c", "0"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(StorageError, match="lacks"):
        open_samples(tmp_path / "cells.zarr")


def test_a_file_tells_no_state_so_that_labels_of_a_changed_one_are_begun_anew(tmp_path, rng):
    make_anndata(make_counts(rng)).write_h5ad(tmp_path / "cells.h5ad")
    assert state_of_input(open_samples(tmp_path / "cells.h5ad")) is None


def test_a_zarr_store_at_a_url_and_with_a_layer(bucket, rng):
    counts = make_counts(rng)
    adata = make_anndata(scipy.sparse.csr_matrix(counts), {"log": np.log1p(counts)})
    fsspec = pytest.importorskip("fsspec")
    adata.write_zarr(fsspec.get_mapper(f"{bucket}/cells.zarr"))
    np.testing.assert_array_equal(open_samples(f"{bucket}/cells.zarr").array.compute(), counts)
    model = som.train(open_samples(adata, layer="log"), som.Lattice(2, 3), som.MapConfig(epochs=2))
    labels = som.infer(f"{bucket}/cells.zarr", model)
    np.testing.assert_array_equal(labels["distance"], som.infer(adata, model)["distance"])


@pytest.mark.parametrize("package", ["h5py", "anndata.io"])
def test_a_package_that_is_missing_is_named(package, tmp_path, rng, monkeypatch):
    make_anndata(make_counts(rng)).write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ParameterError, match=r"som_dask\[cells\]"):
        open_samples(tmp_path / "cells.h5ad")
