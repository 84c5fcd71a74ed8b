"""AnnData objects for tests: their names are objects, which every release of anndata can store."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse


def make_anndata(values, layers=None, prefix="cell"):
    """An AnnData object of cells by genes."""
    anndata = pytest.importorskip("anndata")
    frames = [name_all(name, size) for name, size in zip((prefix, "gene"), values.shape, strict=True)]
    return anndata.AnnData(values, obs=frames[0], var=frames[1], layers=layers or {})


def name_all(prefix, size):
    return pd.DataFrame(index=pd.Index([f"{prefix}{i}" for i in range(size)], dtype=object))


def make_counts(rng, cells=300, genes=5):
    """Whole numbers, of which more than half are 0."""
    return rng.poisson(0.6, size=(cells, genes)).astype(np.float32)


STORAGE = {"dense": np.asarray, "csr": scipy.sparse.csr_matrix, "csr array": scipy.sparse.csr_array}
