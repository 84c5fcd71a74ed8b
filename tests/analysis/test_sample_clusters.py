"""The cluster of each sample: lazily, on any dimensions, and with what is missing."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.clusters import clusters
from som_dask.analysis.labels import infer
from som_dask.analysis.sample_clusters import sample_clusters
from som_dask.errors import DataError
from som_dask.training.config import MapConfig
from som_dask.training.train import train

pytest.importorskip("sklearn.cluster")


@pytest.fixture
def clustered(rng):
    values = rng.normal(size=(9000, 3))
    model = train(values, Lattice(4, 6), MapConfig(epochs=2))
    return values, model, clusters(model, 3)


def test_samples_have_the_cluster_of_their_unit(clustered):
    values, model, found = clustered
    lazy = infer(da.from_array(values, chunks=(4500, 3)), model)
    labels = lazy.compute()
    wanted = found["cluster"].values[labels["bmu_row"], labels["bmu_col"]]
    mine = sample_clusters(lazy, found)
    assert (mine.name, mine.dims, mine.dtype, mine.chunks) == (
        "cluster",
        ("sample",),
        np.int32,
        lazy["bmu_row"].chunks,
    )
    np.testing.assert_array_equal(mine, wanted)
    np.testing.assert_array_equal(sample_clusters(labels, found["cluster"]), wanted)
    counts = np.bincount(wanted, minlength=3)
    np.testing.assert_array_equal(counts, found["cluster_hits"])


def test_labels_of_any_dimensions_keep_what_is_missing(clustered):
    _, _, found = clustered
    row = np.array([[0.0, np.nan, 3.0], [1.0, 2.0, np.nan]])
    col = np.array([[5.0, np.nan, 0.0], [2.0, 4.0, 1.0]])
    labels = xr.Dataset(
        {"bmu_row": (("lat", "lon"), row), "bmu_col": (("lon", "lat"), col.T)}, {"lat": [10, 20], "lon": [1, 2, 3]}
    )
    table = found["cluster"].values
    wanted = np.array([[table[0, 5], np.nan, table[3, 0]], [table[1, 2], table[2, 4], np.nan]])
    for some in (labels, labels.chunk(lat=1), labels.chunk(lon=2)):
        mine = sample_clusters(some, found)
        assert mine.dtype == np.float64
        np.testing.assert_array_equal(mine, wanted)
        np.testing.assert_array_equal(mine["lat"], labels["lat"])
    whole = labels.fillna(-1).astype(np.int32)
    np.testing.assert_array_equal(sample_clusters(whole, found), np.nan_to_num(wanted, nan=-1))


def test_samples_of_another_map(clustered):
    _, _, found = clustered
    labels = xr.Dataset({"bmu_row": ("sample", [0, 4]), "bmu_col": ("sample", [0, 0])})
    with pytest.raises(DataError, match="outside the map of 4 x 6"):
        sample_clusters(labels, found)
    lazy = sample_clusters(labels.chunk(), found)  # not before it is computed
    with pytest.raises(DataError, match="outside the map of 4 x 6"):
        lazy.compute()
    with pytest.raises(DataError, match="lack bmu_col"):
        sample_clusters(labels.drop_vars("bmu_col"), found)
    with pytest.raises(DataError, match="whole numbers"):
        sample_clusters(labels, found["cluster"].astype(np.float64))
