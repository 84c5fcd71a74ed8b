"""The search for samples that lack features: the units of the plain rule over the features that are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.patches import cut_into_patches
from som_dask.engine.pruned_search import GapSearch
from tests.engine.test_pruned_search import smooth_codebook
from tests.reference.twins import every_lattice, name_of, plain_bmus


def holes(samples, share, rng):
    """The samples with some values missing, at least one known in each."""
    missing = rng.random(samples.shape) < share
    missing[np.arange(len(samples)), rng.integers(0, samples.shape[1], len(samples))] = False
    return np.where(missing, np.nan, samples)


def assert_searched(samples, codebook, lattice):
    """Both ways of the search, with and without the second best, give the units of the twin."""
    bmu, second, _ = plain_bmus(samples, codebook)
    for prune in (True, False):
        for need_second in (True, False):
            search = GapSearch(cut_into_patches(codebook, lattice), need_second=need_second)
            search.prune, search.undecided = prune and len(search.patched.nodes) > 1, False
            found = search(np.array(samples, dtype=np.float64, order="C"))
            np.testing.assert_array_equal(found[0], bmu)
            if need_second:
                np.testing.assert_array_equal(found[1], second)


@pytest.mark.parametrize("lattice", every_lattice([(1, 1), (1, 70), (70, 1), (2, 2), (9, 17), (20, 24)]), ids=name_of)
def test_every_lattice(lattice, rng):
    codebook = smooth_codebook(lattice, 6, rng)
    samples = codebook[rng.integers(0, lattice.n_nodes, 200)] + 0.1 * rng.normal(size=(200, 6))
    assert_searched(holes(samples, 0.3, rng), codebook, lattice)


@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 50, 301])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_few_and_many_missing(n_features, share, rng):
    lattice = Lattice(24, 24)
    codebook = smooth_codebook(lattice, n_features, rng)
    samples = codebook[rng.integers(0, lattice.n_nodes, 100)] + 0.2 * rng.normal(size=(100, n_features))
    assert_searched(holes(samples, share, rng), codebook, lattice)


@pytest.mark.parametrize("offset", [0.0, 1e5, 1e8])
def test_far_from_the_origin(offset, rng):
    lattice = Lattice(17, 20)
    codebook = smooth_codebook(lattice, 4, rng) + offset
    samples = codebook[rng.integers(0, lattice.n_nodes, 200)] + 0.01 * rng.normal(size=(200, 4))
    assert_searched(holes(samples, 0.4, rng), codebook, lattice)


def test_ties_go_to_the_lowest_index(rng):
    lattice = Lattice(12, 12)
    codebook = rng.integers(0, 3, (144, 3)).astype(np.float64)  # many nodes alike
    samples = rng.integers(0, 3, (300, 3)).astype(np.float64)
    assert_searched(holes(samples, 0.5, rng), codebook, lattice)
    assert_searched(holes(samples, 0.5, rng), np.ones((144, 3)), lattice)


def test_nodes_that_differ_in_the_missing_feature_only(rng):
    lattice = Lattice(12, 12)
    codebook = np.ones((144, 2))
    codebook[:, 1] = rng.permutation(144)
    samples = np.column_stack([rng.normal(size=50), np.full(50, np.nan)])
    assert_searched(samples, codebook, lattice)


def test_values_beyond_float32(rng):
    lattice = Lattice(9, 9)
    codebook = smooth_codebook(lattice, 3, rng)
    samples = np.array([[1e30, 1e30, np.nan], [np.nan, -1e90, 1.0], [np.nan, np.nan, 1e120]])
    assert_searched(samples, codebook, lattice)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 20),
    cols=st.integers(1, 20),
    n_features=st.integers(1, 9),
    size=st.sampled_from([1e-30, 1e-3, 1.0, 1e6]),
    share=st.sampled_from([0.1, 0.5, 0.8]),
)
def test_any_map(seed, rows, cols, n_features, size, share):
    rng = np.random.default_rng(seed)
    lattice = Lattice(rows, cols)
    codebook = size * rng.normal(size=(lattice.n_nodes, n_features)).round(rng.integers(0, 8))
    samples = holes(size * rng.normal(size=(20, n_features)).round(rng.integers(0, 8)), share, rng)
    assert_searched(samples, codebook, lattice)
