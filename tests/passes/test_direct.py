"""Small data in the memory of this process: the same results and errors as by a graph, without one."""

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr

from som_dask import KohonenMap, evaluate, open_samples, train
from som_dask.algorithm.lattice import Lattice
from som_dask.errors import DataError
from som_dask.passes import direct
from som_dask.passes.direct import held_here
from som_dask.passes.residency import keep_samples
from som_dask.training.config import MapConfig

LATTICE, CONFIG = Lattice(4, 5), MapConfig(epochs=3)


@pytest.fixture
def graphs():
    """A list that grows with each graph that Dask computes."""
    found = []

    def get(graph, keys, **options):
        found.append(keys)
        return dask.get(graph, keys)

    with dask.config.set(scheduler=get):
        yield found


def test_small_data_are_trained_on_and_evaluated_without_a_graph(rng, graphs, monkeypatch):
    data = rng.normal(size=(150, 4))
    model = train(data, LATTICE, CONFIG)
    measured = evaluate(data, model)
    assert not graphs
    monkeypatch.setattr(direct, "_value_of", lambda array: None)
    again = train(data, LATTICE, CONFIG)
    assert len(graphs) >= CONFIG.epochs + 2
    names = ["codebook", "hits", "quantization_error", "topographic_error", "u_matrix"]
    xr.testing.assert_identical(model[names].drop_attrs(), again[names].drop_attrs())
    xr.testing.assert_identical(measured.drop_attrs(), evaluate(data, again).drop_attrs())


def test_one_block_that_is_to_be_computed_is_computed_once(rng, graphs, monkeypatch):
    fields = xr.DataArray(rng.random((30, 4, 5)), dims=("time", "y", "x"))
    samples = open_samples(fields, sample_dims="time", sample_weights=rng.random(30))
    model = train(samples, LATTICE, CONFIG)
    assert len(graphs) == 1
    monkeypatch.setattr(direct, "_value_of", lambda array: None)
    again = train(samples, LATTICE, CONFIG)
    xr.testing.assert_identical(model["codebook"], again["codebook"])
    xr.testing.assert_identical(model["hit_share"], again["hit_share"])


@pytest.mark.parametrize("initialization", ["pca", "random"])
def test_a_loop_over_epochs_needs_no_graph(rng, graphs, initialization):
    assert len(list(KohonenMap(3, 3).epochs(rng.random((40, 2)), epochs=4, initialization=initialization))) == 4
    assert not graphs


def test_only_one_block_that_is_there_is_held_here(rng):
    data = rng.random((3000, 3))
    np.testing.assert_array_equal(held_here(open_samples(data)).rows, data)
    assert held_here(open_samples(data, sample_weights=np.ones(3000))) is None  # these are still to be spread
    kept = held_here(keep_samples(open_samples(data, sample_weights=np.ones(3000)), "memory"))
    np.testing.assert_array_equal(kept.weights, np.ones(3000))
    assert held_here(open_samples(data, block_size=8000)) is None  # several blocks
    assert held_here(open_samples(dask.array.from_array(data).map_blocks(np.sqrt))) is None  # still to be computed


@pytest.mark.cluster
def test_with_a_client_there_is_a_graph(rng):
    from distributed import Client

    with Client(processes=False, n_workers=1, dashboard_address=":0"):
        assert held_here(open_samples(rng.random((30, 3)))) is None
    assert held_here(open_samples(rng.random((30, 3)))) is not None


def test_errors_are_the_same_as_by_a_graph(rng, graphs):
    data = rng.random((50, 2))
    data[7, 1] = np.inf
    with pytest.raises(DataError, match=r"1 NaN or infinite values, in block 0 \(rows 0 to 49\)"):
        train(data, LATTICE, CONFIG)
    with np.errstate(all="raise"):  # is no matter of threads that compute
        train(rng.random((50, 2)) * 1e-300, LATTICE, MapConfig(epochs=1, initialization="random"))
    assert not graphs
