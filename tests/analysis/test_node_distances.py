"""Distances to all nodes: the plain rule, and those of the other labels."""

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.labels import infer
from som_dask.analysis.node_distances import distances_to_nodes
from som_dask.errors import DataError
from som_dask.training.config import MapConfig
from som_dask.training.train import train


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "correlation", "manhattan"])
def test_the_least_distance_is_that_of_the_best_matching_unit(rng, metric):
    data = rng.random((1100, 3)) + 0.1  # more than one tile
    model = train(data[:200], Lattice(2, 3), MapConfig(epochs=2, metric=metric, scaling="none"))
    found, labels = distances_to_nodes(data, model).compute(), infer(data, model)
    assert found.shape == (1100, 6)
    np.testing.assert_array_equal(found.min(axis=1), labels["distance"])
    np.testing.assert_array_equal(found.argmin(axis=1), labels["bmu_row"] * 3 + labels["bmu_col"])
    x, nodes = data[:, None, :], model["codebook"].values.reshape(6, 3)
    plain = {
        "euclidean": lambda: np.linalg.norm(x - nodes, axis=2),
        "manhattan": lambda: np.abs(x - nodes).sum(axis=2),
        "correlation": lambda: 1 - np.corrcoef(data, nodes)[:1100, 1100:],
        "cosine": lambda: 1 - (x * nodes).sum(axis=2) / np.linalg.norm(x, axis=2) / np.linalg.norm(nodes, axis=1),
    }
    np.testing.assert_allclose(found, plain[metric](), rtol=1e-9, atol=1e-12)


def test_missing_values_are_compared_by_what_is_there_or_left_out(rng):
    data = rng.random((20, 2))
    data[3, 0] = np.nan
    data[5] = np.nan
    model = train(data, Lattice(2, 2), MapConfig(epochs=1, missing="mask"))
    found = distances_to_nodes(data, model).compute()
    np.testing.assert_allclose(found[3], np.abs(data[3, 1] - model["codebook"].values.reshape(4, 2)[:, 1]))
    assert np.isnan(found[5]).all()
    assert np.isfinite(np.delete(found, 5, axis=0)).all()
    with pytest.raises(DataError, match="3 NaN or infinite"):
        distances_to_nodes(data, model, missing="error").compute()
