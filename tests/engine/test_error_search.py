"""The search for samples whose values have errors: the units of the plain rule in units of the errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.metrics import chi_distances
from som_dask.engine.patches import cut_into_patches
from som_dask.engine.pruned_search import ErrorSearch, GapSearch
from tests.engine.test_gap_search import holes
from tests.engine.test_pruned_search import smooth_codebook
from tests.reference.twins import every_lattice, name_of


def plain_search(samples, inverse, codebook):
    """The plain rule, sample by sample: the two best and the distance to the best."""
    best = []
    for x, sharp in zip(samples, inverse, strict=True):
        chi = np.zeros(len(codebook))
        for j in np.flatnonzero(~np.isnan(x)):
            chi += ((x[j] - codebook[:, j]) * sharp[j]) ** 2
        order = np.argsort(chi, kind="stable")
        best.append((order[0], order[min(1, len(order) - 1)], np.sqrt(chi[order[0]])))
    return [np.array(each) for each in zip(*best, strict=True)]


def assert_searched(samples, errors, codebook, lattice):
    samples = np.array(samples, dtype=np.float64, order="C")
    inverse = np.where(np.isnan(samples), 0.0, 1 / errors)
    bmu, second, distance = plain_search(samples, inverse, codebook)
    for prune in (True, False):
        for need_second in (True, False):
            search = ErrorSearch(cut_into_patches(codebook, lattice), need_second=need_second)
            search.prune, search.undecided = prune and len(search.patched.nodes) > 1, False
            found = search(samples, inverse)
            np.testing.assert_array_equal(found[0], bmu)
            if need_second:
                np.testing.assert_array_equal(found[1], second)
    np.testing.assert_allclose(chi_distances(samples, inverse, bmu, codebook), distance, rtol=1e-14)


def errors_of(shape, rng, size=1.0, spread=1.0):
    return size * np.exp(spread * rng.normal(size=shape))


@pytest.mark.parametrize("lattice", every_lattice([(1, 1), (1, 70), (2, 2), (9, 17), (20, 24)]), ids=name_of)
def test_every_lattice(lattice, rng):
    codebook = smooth_codebook(lattice, 6, rng)
    samples = codebook[rng.integers(0, lattice.n_nodes, 100)] + 0.1 * rng.normal(size=(100, 6))
    assert_searched(holes(samples, 0.2, rng), errors_of((100, 6), rng), codebook, lattice)


@pytest.mark.parametrize("size", [1e-40, 1e-3, 1e20])
@pytest.mark.parametrize("spread", [0.0, 3.0, 12.0])
@pytest.mark.parametrize("n_features", [1, 5, 50])
def test_errors_of_any_size(n_features, spread, size, rng):
    lattice = Lattice(24, 24)
    codebook = smooth_codebook(lattice, n_features, rng) + 1e4
    samples = codebook[rng.integers(0, lattice.n_nodes, 100)] + 0.2 * rng.normal(size=(100, n_features))
    assert_searched(samples, errors_of((100, n_features), rng, size, spread), codebook, lattice)


def test_ties_go_to_the_lowest_index(rng):
    lattice = Lattice(12, 12)
    codebook = rng.integers(0, 3, (144, 3)).astype(np.float64)  # many nodes alike
    samples = holes(rng.integers(0, 3, (300, 3)).astype(np.float64), 0.3, rng)
    assert_searched(samples, 2.0 ** rng.integers(-3, 3, (300, 3)), codebook, lattice)


@pytest.mark.parametrize("apart", [1e-3, 1e-5, 1e-8])
def test_near_ties_that_float32_can_not_tell(apart, rng):
    """Nodes lie close together, and far from the center: their scores differ by less than these are off."""
    lattice = Lattice(20, 20)
    codebook = rng.choice([-1.0, 1.0], (400, 1)) + apart * rng.normal(size=(400, 4))
    samples = codebook[rng.integers(0, 400, 100)] + apart * rng.normal(size=(100, 4))
    assert_searched(holes(samples, 0.1, rng), errors_of((100, 4), rng), codebook, lattice)


def test_values_beyond_float32(rng):
    lattice = Lattice(9, 9)
    codebook = smooth_codebook(lattice, 3, rng)
    samples = np.array([[1e30, 1e30, np.nan], [np.nan, -1e90, 1.0], [np.nan, np.nan, 1e120]])
    assert_searched(samples, np.array([[1, 2, 1], [1, 1e80, 1], [1, 1, 1e-9]]), codebook, lattice)


def test_equal_errors_are_the_search_of_samples_with_gaps(rng):
    lattice = Lattice(20, 24)
    codebook = smooth_codebook(lattice, 6, rng)
    samples = holes(codebook[rng.integers(0, 480, 300)] + 0.1 * rng.normal(size=(300, 6)), 0.3, rng)
    patched = cut_into_patches(codebook, lattice)
    wanted = GapSearch(patched)(samples)
    np.testing.assert_array_equal(ErrorSearch(patched)(samples, np.where(np.isnan(samples), 0.0, 8.0)), wanted)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 20),
    cols=st.integers(1, 20),
    n_features=st.integers(1, 9),
    size=st.sampled_from([1e-30, 1.0, 1e6]),
    spread=st.sampled_from([0.0, 1.0, 8.0]),
)
def test_any_map(seed, rows, cols, n_features, size, spread):
    rng = np.random.default_rng(seed)
    lattice = Lattice(rows, cols)
    codebook = size * rng.normal(size=(lattice.n_nodes, n_features)).round(rng.integers(0, 8))
    samples = holes(size * rng.normal(size=(20, n_features)).round(rng.integers(0, 8)), 0.1, rng)
    assert_searched(samples, errors_of(samples.shape, rng, spread=spread).round(2) + 0.01, codebook, lattice)
