"""Pruned search: whole patches passed over, and still the best and second best units of the plain rule."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.lanes import LANES
from som_dask.engine.patches import cut_into_patches
from som_dask.engine.pruned_search import FIRST_ROWS, Search
from tests.reference.twins import every_lattice, name_of, plain_bmus, sums_of


def near_square(n_nodes):
    """A lattice of so many nodes, as square as their number allows."""
    rows = max(d for d in range(1, math.isqrt(n_nodes) + 1) if n_nodes % d == 0)
    return Lattice(rows, n_nodes // rows, "rectangular")


def assert_searched(samples, codebook, bmu, second, lattice=None):
    """Both ways of the search, with and without the second best, give these units."""
    patched = cut_into_patches(codebook, lattice or near_square(len(codebook)))
    for prune in (True, False):
        for need_second in (True, False):
            search = Search(patched, need_second=need_second)
            search.prune, search.undecided = prune, False
            found = search(np.array(samples, dtype=np.float64, order="C"))
            np.testing.assert_array_equal(found[0], bmu)
            if need_second:
                np.testing.assert_array_equal(found[1], second)


def smooth_codebook(lattice, n_features, rng):
    """A codebook as training makes them: a curved sheet with a little noise."""
    place = lattice.positions() / max(lattice.shape)
    waves = np.column_stack([place, np.sin(4 * place[:, 0]), np.cos(3 * place[:, 1]), place[:, 0] * place[:, 1]])
    return waves @ rng.normal(size=(5, n_features)) + 0.01 * rng.normal(size=(lattice.n_nodes, n_features))


@pytest.mark.parametrize("lattice", every_lattice([(1, 1), (1, 70), (70, 1), (2, 2), (9, 17), (20, 24)]), ids=name_of)
def test_every_lattice(lattice, rng):
    codebook = smooth_codebook(lattice, 6, rng)
    samples = codebook[rng.integers(0, lattice.n_nodes, 200)] + 0.1 * rng.normal(size=(200, 6))
    bmu, second, _ = plain_bmus(samples, codebook)
    assert_searched(samples, codebook, bmu, second, lattice)


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5, 50, 301])
@pytest.mark.parametrize("noise", [0.0, 0.1, 10.0])
def test_samples_near_and_far_from_the_sheet(n_features, noise, rng):
    lattice = Lattice(24, 24)
    codebook = smooth_codebook(lattice, n_features, rng)
    samples = codebook[rng.integers(0, lattice.n_nodes, 100)] + noise * rng.normal(size=(100, n_features))
    bmu, second, _ = plain_bmus(samples, codebook)
    assert_searched(samples, codebook, bmu, second, lattice)


@pytest.mark.parametrize(("center", "spread"), [(101325.0, 500.0), (1000.0, 0.01), (0.0, 1e-30), (0.0, 1e30)])
def test_the_sheet_far_from_the_origin(center, spread, rng):
    lattice = Lattice(20, 20)
    codebook = center + spread * smooth_codebook(lattice, 5, rng)
    samples = codebook[rng.integers(0, 400, 300)] + 0.05 * spread * rng.normal(size=(300, 5))
    bmu, second, _ = plain_bmus(samples, codebook, scale=2.0 ** -np.rint(np.log2(spread)))
    assert_searched(samples, codebook, bmu, second, lattice)


@given(seed=st.integers(0, 2**32 - 1), n_features=st.integers(1, 4), side=st.integers(9, 20))
def test_ties_everywhere(seed, n_features, side):
    rng = np.random.default_rng(seed)
    codebook = rng.integers(0, 4, (side * side, n_features)).astype(np.float64)
    samples = rng.integers(0, 8, (60, n_features)) / 2
    bmu, second, _ = plain_bmus(samples, codebook)
    assert_searched(samples, codebook, bmu, second, Lattice(side, side))


def test_pruning_pays_on_a_sheet_and_is_given_up_on_noise(rng):
    lattice = Lattice(40, 40)
    sheet, rough = smooth_codebook(lattice, 20, rng), rng.normal(size=(1600, 20))
    for codebook, kept in ((sheet, True), (rough, False)):
        search = Search(cut_into_patches(codebook, lattice))
        search(codebook[:FIRST_ROWS] + 0.01 * rng.normal(size=(FIRST_ROWS, 20)))
        assert search.prune == kept


def test_without_certainty_a_clear_winner_is_still_found(rng):
    lattice = Lattice(20, 20)
    codebook = smooth_codebook(lattice, 5, rng)
    search = Search(cut_into_patches(codebook, lattice), certify=False)
    np.testing.assert_array_equal(search(codebook.copy())[0], np.arange(400))


def test_patches_hold_every_node_once():
    for shape in ((1, 1), (1, 200), (200, 1), (8, 8), (9, 9), (3, 50), (50, 3), (33, 21)):
        lattice = Lattice(*shape)
        nodes = cut_into_patches(np.zeros((lattice.n_nodes, 2)), lattice).nodes
        assert nodes.shape[1] == LANES
        np.testing.assert_array_equal(np.sort(nodes[nodes >= 0]), np.arange(lattice.n_nodes))


@pytest.mark.parametrize(
    ("shape", "patches", "lanes"), [((10, 10), 2, 104), ((20, 20), 9, 400), ((32, 32), 16, 1024), ((1, 70), 2, 72)]
)
def test_patches_are_few_and_nearly_full(shape, patches, lanes):
    lattice = Lattice(*shape)
    patched = cut_into_patches(np.zeros((lattice.n_nodes, 2)), lattice)
    assert (len(patched.nodes), patched.counts.sum()) == (patches, lanes)
    for nodes, count in zip(patched.nodes, patched.counts, strict=True):
        assert count - 8 < np.count_nonzero(nodes >= 0) <= count
        assert (nodes[count:] < 0).all()


def test_small_maps_are_searched_whole_from_the_first_sample_on(rng):
    search = Search(cut_into_patches(rng.normal(size=(100, 18)), Lattice(10, 10)))
    assert not any((search.undecided, search.prune))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", ">f4", "float64"])
def test_any_type_and_layout_of_block(dtype, rng):
    lattice, codebook = Lattice(9, 9), rng.uniform(0, 2, (81, 3))
    block = rng.integers(0, 2, (40, 3)).astype(dtype)
    wanted = sums_of(block.astype(np.float64), codebook, lattice)
    frozen = block.copy()
    frozen.flags.writeable = False
    for same in (block, frozen, np.asfortranarray(block), np.repeat(block, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(sums_of(same, codebook, lattice).numerator, wanted.numerator)
