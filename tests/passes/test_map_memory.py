"""A map that can't fit is refused before memory is taken for it."""

import numpy as np
import pytest
from distributed import Client, LocalCluster

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import MemoryLimitError
from som_dask.passes.map_memory import check_map_fits
from som_dask.training.config import MapConfig
from som_dask.training.train import train


def test_what_is_usual_fits():
    check_map_fits(Lattice(100, 100), 50, 1000)


@pytest.mark.parametrize(
    ("shape", "features", "epochs"), [((10**6, 10**6), 1, 0), ((1, 1), 10**13, 0), ((1, 1), 1, 10**13)]
)
def test_what_is_huge_does_not(shape, features, epochs):
    with pytest.raises(MemoryLimitError, match=r"needs .* GiB of memory"):
        check_map_fits(Lattice(*shape), features, epochs)


def test_training_looks_before_it_takes():
    with pytest.raises(MemoryLimitError, match="1000000 x 1000000 nodes with 2 features"):
        train(np.ones((5, 2)), Lattice(10**6, 10**6))


@pytest.mark.cluster
def test_workers_without_a_limit_are_no_lack_of_memory():
    values, lattice, config = np.eye(20, 2), Lattice(3, 4), MapConfig(epochs=1)
    with (
        LocalCluster(n_workers=1, processes=False, memory_limit=0, dashboard_address="127.0.0.1:0") as own,
        Client(own),
    ):
        found = train(values, lattice, config)
    np.testing.assert_array_equal(found["codebook"], train(values, lattice, config)["codebook"])
