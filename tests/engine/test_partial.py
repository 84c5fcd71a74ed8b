"""Sums and codebooks tell Dask what they weigh: memory limits and moves between workers depend on it."""

import numpy as np
import pytest
from dask.sizeof import sizeof

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.partial import ExactPartial, Partial


@pytest.mark.parametrize(("weighted", "gaps"), [(False, False), (True, False), (True, True)])
def test_the_size_of_sums_is_that_of_their_arrays(weighted, gaps):
    for sums in (
        Partial.zero(100, 7, weighted=weighted, gaps=gaps),
        ExactPartial.zero(100, 7, 2, weighted=weighted, gaps=gaps),
    ):
        arrays = [sums.numerator, sums.hits, *(sums.weights.arrays() if sums.weights else [])]
        n_bytes = sum(np.asarray(array).nbytes for array in arrays)
        assert n_bytes <= sizeof(sums) < n_bytes + 1000


def test_the_size_of_a_codebook_is_that_of_its_array_and_its_space():
    shared = SharedCodebook(np.zeros((40, 100)), Lattice(5, 8))
    assert 8 * 4000 <= sizeof(shared) - sizeof(shared.space) < 8 * 4000 + 2000
