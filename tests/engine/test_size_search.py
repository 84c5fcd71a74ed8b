"""The search by sizes of differences: the nodes of the plain rule, with gaps and without, in few patches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.patches import cut_into_patches
from som_dask.engine.size_search import SizeSearch
from tests.engine.test_gap_search import holes
from tests.engine.test_pruned_search import smooth_codebook
from tests.reference.twins import every_lattice, name_of, plain_bmus


def assert_searched(samples, codebook, lattice):
    bmu, second, _ = plain_bmus(samples, codebook, metric="manhattan")
    for need_second in (True, False):
        search = SizeSearch(cut_into_patches(codebook, lattice), need_second=need_second)
        found = search(np.array(samples, dtype=np.float64, order="C"))
        np.testing.assert_array_equal(found[0], bmu)
        if need_second:
            np.testing.assert_array_equal(found[1], second)


@pytest.mark.parametrize("lattice", every_lattice([(1, 1), (1, 70), (70, 1), (2, 2), (9, 17), (20, 24)]), ids=name_of)
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_every_lattice(lattice, share, rng):
    codebook = smooth_codebook(lattice, 6, rng)
    samples = codebook[rng.integers(0, lattice.n_nodes, 100)] + 0.1 * rng.normal(size=(100, 6))
    assert_searched(holes(samples, share, rng), codebook, lattice)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 20),
    cols=st.integers(1, 20),
    n_features=st.integers(1, 9),
    size=st.sampled_from([1e-300, 1e-3, 1.0, 1e300]),
    digits=st.integers(0, 8),
    share=st.sampled_from([0.0, 0.5]),
)
def test_any_map(seed, rows, cols, n_features, size, digits, share):
    rng = np.random.default_rng(seed)
    lattice = Lattice(rows, cols)
    codebook = size * rng.normal(size=(lattice.n_nodes, n_features)).round(digits)  # few digits make ties
    samples = holes(size * rng.normal(size=(20, n_features)).round(digits), share, rng)
    assert_searched(samples, codebook, lattice)


def test_samples_on_the_border_of_a_box(rng):
    # The bound of a patch is then the very distance of a node: rounding must not pass it over.
    lattice = Lattice(24, 24)
    codebook = rng.integers(0, 5, (576, 4)) / 3
    samples = codebook[rng.integers(0, 576, 200)] + rng.integers(-1, 2, (200, 4)) / 3
    assert_searched(samples, codebook, lattice)
