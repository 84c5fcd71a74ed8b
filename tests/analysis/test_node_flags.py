"""Node numbers of labels: one for each sample, told apart as flags of the CF conventions."""

import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.clusters import clusters
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.analysis.node_flags import MOST_FLAGS, describe_flags
from som_dask.analysis.node_summary import summarize_labels
from som_dask.analysis.sample_clusters import sample_clusters
from som_dask.analysis.soft_labels import infer_soft
from tests.analysis.test_clusters import model_of


@pytest.fixture
def model(rng):
    return model_of(rng.normal(size=(15, 2)), Lattice(3, 5))


@pytest.fixture
def values(rng):
    found = rng.normal(size=(6, 40, 2))
    found[1, 7] = np.nan
    return xr.DataArray(found, dims=("y", "x", "feature"))


@pytest.mark.parametrize("missing", ["error", "mask"])
def test_each_sample_has_the_number_of_its_node(missing, model, values, tmp_path):
    values = values.fillna(0) if missing == "error" else values
    labels = infer(values.chunk(y=2), model, missing=missing)
    infer_to_store(values, model, tmp_path / "labels.zarr", missing=missing)
    with xr.open_zarr(tmp_path / "labels.zarr", consolidated=False) as stored:
        xr.testing.assert_equal(stored.load(), labels.compute())
        xr.testing.assert_equal(stored["bmu"], stored["bmu_row"] * 5 + stored["bmu_col"])
        assert stored["bmu"].isnull().sum() == (missing == "mask")
        assert stored["bmu"].attrs["flag_values"] == list(range(15))
        assert stored["bmu"].attrs["flag_meanings"].split()[7] == "node_1_2"
        assert stored["bmu"].encoding["dtype"] == np.int32


def test_nodes_of_soft_labels_have_numbers_too(model, values):
    soft = infer_soft(values.chunk(y=2), model, 3, missing="drop").compute()
    xr.testing.assert_equal(soft["node"], soft["node_row"] * 5 + soft["node_col"])
    assert soft["node"].dims == ("y", "x", "neighbor")
    np.testing.assert_array_equal(soft["node"].attrs["flag_values"], range(15))


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf"])
@pytest.mark.parametrize("shape", [(64, 64), (1, MOST_FLAGS)])
def test_flags_of_the_largest_map_that_has_them_fit_a_file(shape, engine, tmp_path):
    flags = describe_flags(Lattice(*shape))
    labels = xr.Dataset({"bmu": ("sample", np.arange(3, dtype=np.int32), flags)})
    labels.to_netcdf(tmp_path / "labels.nc", engine=engine)
    with xr.open_dataset(tmp_path / "labels.nc", engine=engine) as found:
        assert found["bmu"].attrs["flag_values"].dtype == found["bmu"].dtype  # as the conventions ask
        assert len(found["bmu"].attrs["flag_meanings"].split()) == MOST_FLAGS


def test_larger_maps_have_none():
    assert describe_flags(Lattice(1, MOST_FLAGS + 1)) == {}


def test_labels_of_earlier_versions_are_read(model, values):
    labels = infer(values, model, missing="drop")
    old, groups = labels.drop_vars("bmu"), clusters(model, 3)
    xr.testing.assert_equal(sample_clusters(old, groups), sample_clusters(labels, groups))
    classes = values.isel(feature=0) > 0
    xr.testing.assert_equal(summarize_labels(old, classes, model), summarize_labels(labels, classes, model))
