"""Sparse rows: the same samples and maps as of the dense array, of which only blocks are ever there."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.errors import DataError
from som_dask.samples import sparse
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train

DENSE = scipy.sparse.random_array((9000, 12), density=0.2, rng=np.random.default_rng(2)).toarray()
KINDS = ["csr_array", "csr_matrix", "csc_array", "coo_array", "coo_matrix", "lil_array", "dok_array", "bsr_array"]


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_hold_the_same_rows(kind):
    samples = open_samples(getattr(scipy.sparse, kind)(DENSE))
    assert samples.block_rows == (4096, 4096, 808)
    found = samples.array.compute()
    assert type(found) is np.ndarray
    np.testing.assert_array_equal(found, DENSE)


@pytest.mark.parametrize("dtype", ["float32", "int16", "bool"])
def test_numbers_keep_their_dtype(dtype):
    samples = open_samples(scipy.sparse.csr_array(DENSE.astype(dtype)))
    assert samples.array.dtype == dtype
    np.testing.assert_array_equal(samples.array.compute(), DENSE.astype(dtype))


def test_the_map_and_the_labels_are_those_of_the_dense_array(tmp_path):
    given = {
        "dense": DENSE,
        "rows": scipy.sparse.csr_array(DENSE),
        "blocks": da.from_array(DENSE, chunks=(1500, 6)).map_blocks(scipy.sparse.csr_matrix),
    }
    models = {
        name: train(data, Lattice(3, 4), MapConfig(epochs=2, missing="mask", initialization="sample"))
        for name, data in given.items()
    }
    assert len({model.attrs["codebook_sha256"] for model in models.values()}) == 1
    wanted = infer(DENSE, models["dense"]).compute()
    for name, data in given.items():
        infer_to_store(data, models["dense"], tmp_path / f"{name}.zarr")
        with xr.open_zarr(tmp_path / f"{name}.zarr", consolidated=False) as found:
            xr.testing.assert_equal(found.load(), wanted)


def test_only_blocks_become_dense(monkeypatch):
    wide = scipy.sparse.random_array((4000, 10_000), density=1e-4, rng=np.random.default_rng(3), format="csr")
    plain, seen = sparse._make_dense, []
    monkeypatch.setattr(sparse, "_make_dense", lambda block: seen.append(block) or plain(block))
    samples = open_samples(wide)
    assert not seen
    rows = samples.array[:10].compute()
    np.testing.assert_array_equal(rows, wide[:10].toarray())
    (block,) = seen
    assert block.shape[0] * block.shape[1] * 8 <= 64 * 2**20
    assert np.shares_memory(block.data, wide.data)  # and the sparse rows are not copied
    assert block.nnz < wide.nnz / 2  # what a worker gets is its own part


def test_missing_values_are_those_that_are_held_as_such():
    rows = scipy.sparse.csr_array(DENSE)
    rows.data[:3] = np.nan
    assert np.isnan(open_samples(rows).array.compute()).sum() == 3


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (scipy.sparse.coo_array(np.ones(4)), "1 dimensions; give a matrix"),
        (scipy.sparse.csr_array((0, 3)), "no samples"),
        (scipy.sparse.csr_array(np.ones((3, 2), complex)), "complex128, .*the real and the imaginary part"),
    ],
)
def test_what_is_no_table_is_refused(source, match):
    with pytest.raises(DataError, match=match):
        open_samples(source)
