"""The cluster model: what FlowSOM asks of one, with the package itself where it is installed."""

import copy
import inspect
import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import som_dask as som
from som_dask.cluster_model import ClusterModel
from som_dask.errors import DataError, ParameterError

LIKE = {"xdim": 3, "ydim": 4, "rlen": 4, "seed": 2}


@pytest.fixture
def cells(rng):
    """Three groups of cells with four markers."""
    return np.repeat(rng.normal(size=(3, 4)) * 9, 40, axis=0) + rng.normal(size=(120, 4))


def test_it_is_the_map_of_the_rest_of_the_package(cells):
    found = ClusterModel(**LIKE, importance=[1, 2, 0, 3]).fit(cells)
    own = som.KohonenMap(3, 4, "rectangular").train(cells, epochs=4, seed=2, feature_weights=[1, 4, 0, 9])
    labels = own.infer(cells)
    np.testing.assert_array_equal(found.codes, own.codebook.values.reshape(12, 4))
    np.testing.assert_array_equal(found.labels_, labels["bmu_row"] * 4 + labels["bmu_col"])
    np.testing.assert_array_equal(found.distances, labels["distance"])
    assert found.labels_.dtype == np.int64


def test_blocks_that_are_predicted_apart_give_the_same(cells):
    model = ClusterModel(**LIKE)
    nodes = model.fit_predict(da.from_array(cells, chunks=(50, 2)))
    assert isinstance(nodes, np.ndarray)
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        blocks = da.from_array(cells, chunks=(30, 4)).map_blocks(each.predict, drop_axis=1, dtype=np.int64)
        with dask.config.set(scheduler="threads"):
            np.testing.assert_array_equal(blocks.compute(), nodes)
    assert model.predict(cells[:0]).shape == (0,)
    np.testing.assert_array_equal(model.predict(np.asmatrix(cells[:5])), nodes[:5])
    np.testing.assert_array_equal(model.distances, ClusterModel(**LIKE).fit(cells).distances[:5])


@pytest.mark.cluster
def test_blocks_are_predicted_on_the_workers_of_a_cluster(cells):
    distributed = pytest.importorskip("distributed")
    model = ClusterModel(**LIKE)
    nodes = model.fit_predict(cells)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, memory_limit=0, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        scattered = client.scatter(model)
        blocks = da.from_array(cells, chunks=(30, 4)).map_blocks(
            lambda block, fitted: fitted.predict(block), fitted=scattered, drop_axis=1, dtype=np.int64
        )
        np.testing.assert_array_equal(blocks.compute(), nodes)


def test_codes_to_start_from_stay_a_parameter(cells):
    codes = cells[::10]
    model = ClusterModel(**LIKE, codes=codes)
    np.testing.assert_array_equal(model.codes, codes)
    first = model.fit(cells).codes
    assert not np.array_equal(first, codes)
    np.testing.assert_array_equal(clone(model).fit(cells).codes, first)
    np.testing.assert_array_equal(model.fit(cells).codes, first)
    with pytest.raises(ParameterError, match="shape"):
        ClusterModel(**LIKE, codes=codes[:5]).fit(cells)


def test_what_it_refuses(cells):
    with pytest.raises(NotFittedError):
        ClusterModel().predict(cells)
    with pytest.raises(ParameterError, match="mst"):
        ClusterModel(**LIKE, mst=3).fit(cells)
    with pytest.raises(DataError, match="two dimensions"):
        ClusterModel(**LIKE).fit(cells[0])


def test_it_takes_what_flowsom_hands_on():
    assert {"xdim", "ydim", "rlen", "mst", "seed", "codes", "importance"} <= set(
        inspect.signature(ClusterModel).parameters
    )


@pytest.mark.filterwarnings("ignore")
def test_flowsom_takes_it(cells):
    flowsom = pytest.importorskip("flowsom", reason="flowsom is not installed")
    anndata = pytest.importorskip("anndata")
    adata = anndata.AnnData(cells.astype(np.float32))
    adata.var_names = ["CD3", "CD4", "CD8", "CD19"]
    found = flowsom.FlowSOM(adata, n_clusters=3, cluster_model=ClusterModel, xdim=3, ydim=4, rlen=4, seed=2)
    own = ClusterModel(**LIKE).fit(cells.astype(np.float32))
    data, nodes = found.get_cell_data(), found.get_cluster_data()
    np.testing.assert_array_equal(data.obs["clustering"], own.labels_)
    np.testing.assert_array_equal(data.obs["distance_to_bmu"], own.distances)
    np.testing.assert_array_equal(nodes.obsm["codes"], own.codes)
    np.testing.assert_array_equal(nodes.obsm["grid"], np.argwhere(np.ones((3, 4))))
    assert len(set(data.obs["metaclustering"])) == 3
    newer = found.new_data(anndata.AnnData(cells[:9].astype(np.float32), var=adata.var[[]]))
    np.testing.assert_array_equal(newer.get_cell_data().obs["clustering"], own.labels_[:9])
    assert found.subset(np.arange(60)).get_cell_data().n_obs == 60
