"""Searches that know old nodes find what the plain rule finds, whatever the old nodes are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.patches import cut_into_patches
from som_dask.engine.pruned_search import Search
from som_dask.engine.recalled_search import Recall, RecalledSearch
from tests.engine.test_pruned_search import smooth_codebook
from tests.reference.twins import every_lattice, name_of, plain_bmus


class Counted(Search):
    """A search that counts its samples."""

    rows = 0

    def __call__(self, rows):
        self.rows += len(rows)
        return super().__call__(rows)


def recalled(codebook, lattice, *, always=True):
    """A search that knows old nodes; `always`: whether they pay or not."""
    patched = cut_into_patches(codebook, lattice)
    recall = Recall(patched, lattice)
    recall.pays = True if always else recall.pays
    return RecalledSearch(Counted(patched), recall)


def assert_found(samples, codebook, lattice, rng, scale=1.0):
    """Right, wrong, unknown and impossible old nodes lead to the nodes of the plain rule."""
    bmu, second, _ = plain_bmus(samples, codebook, scale=scale)
    drawn = rng.integers(-2, lattice.n_nodes + 2, len(samples))
    for last in (bmu, np.where(rng.random(len(samples)) < 0.3, drawn, second), np.full(len(samples), -1)):
        search = recalled(codebook, lattice)
        found = search(np.array(samples, dtype=np.float64, order="C"), last.astype(np.int32))
        np.testing.assert_array_equal(found[0], bmu)
        np.testing.assert_array_equal(found[1], second)


@pytest.mark.parametrize("lattice", every_lattice([(8, 8), (9, 17), (20, 24), (1, 70)]), ids=name_of)
def test_every_lattice(lattice, rng):
    codebook = smooth_codebook(lattice, 6, rng)
    samples = codebook[rng.integers(0, lattice.n_nodes, 200)] + 0.03 * rng.normal(size=(200, 6))
    assert_found(samples, codebook, lattice, rng)


@pytest.mark.parametrize("n_features", [1, 2, 3, 5, 50])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1, 10.0])
def test_samples_near_and_far_from_the_sheet(n_features, noise, rng):
    lattice = Lattice(24, 24)
    codebook = smooth_codebook(lattice, n_features, rng)
    samples = codebook[rng.integers(0, lattice.n_nodes, 300)] + noise * rng.normal(size=(300, n_features))
    samples[7] *= 1e20
    assert_found(samples, codebook, lattice, rng)


@pytest.mark.parametrize(("center", "spread"), [(101325.0, 500.0), (1000.0, 0.01), (0.0, 1e-30), (0.0, 1e30)])
def test_the_sheet_far_from_the_origin(center, spread, rng):
    lattice = Lattice(20, 20)
    codebook = center + spread * smooth_codebook(lattice, 5, rng)
    samples = codebook[rng.integers(0, 400, 300)] + 0.05 * spread * rng.normal(size=(300, 5))
    assert_found(samples, codebook, lattice, rng, scale=2.0 ** -np.rint(np.log2(spread)))


@given(seed=st.integers(0, 2**32 - 1), n_features=st.integers(1, 4), side=st.integers(8, 20))
def test_ties_everywhere(seed, n_features, side):
    rng = np.random.default_rng(seed)
    codebook = rng.integers(0, 4, (side * side, n_features)).astype(np.float64)
    samples = rng.integers(0, 8, (60, n_features)) / 2
    assert_found(samples, codebook, Lattice(side, side), rng)


def folded(lattice, n_features, rng, gap):
    """A sheet folded so that its two halves lie a little apart: neighbors in space are far apart on the map."""
    row, col = np.divmod(np.arange(lattice.n_nodes), lattice.cols)
    half = lattice.cols // 2
    places = np.column_stack([row, np.where(col < half, col, lattice.cols - 1 - col), gap * (col >= half)])
    return (
        np.pad(places / lattice.rows, ((0, 0), (0, n_features - 3)))
        @ np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
    )


@pytest.mark.parametrize("gap", [0.0, 0.3, 1.0, 3.0])
def test_nodes_far_off_on_the_map_are_found(gap, rng):
    lattice = Lattice(16, 40)
    codebook = folded(lattice, 4, rng, gap)
    samples = codebook[rng.integers(0, lattice.n_nodes, 400)] + 0.03 * rng.normal(size=(400, 4))
    assert_found(samples, codebook, lattice, rng)


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_few_samples_of_a_sheet_are_searched_everywhere(noise, rng):
    lattice = Lattice(32, 32)
    codebook = smooth_codebook(lattice, 20, rng)
    bmu = rng.integers(0, lattice.n_nodes, 2000)
    samples = codebook[bmu] + noise * rng.normal(size=(2000, 20))
    search = recalled(codebook, lattice)
    search(samples, bmu.astype(np.int32))
    assert search.search.rows < 0.15 * len(samples)
    search(samples, np.full(2000, -1, dtype=np.int32))
    assert search.search.rows >= len(samples)


def test_old_nodes_are_given_up_where_they_do_not_pay(rng):
    lattice = Lattice(40, 40)
    for codebook, pays in ((smooth_codebook(lattice, 20, rng), True), (rng.normal(size=(1600, 20)), False)):
        bmu = rng.integers(0, 1600, 3000)
        samples = codebook[bmu] + 0.01 * rng.normal(size=(3000, 20))
        samples = samples if pays else rng.normal(size=(3000, 20))
        search = recalled(codebook, lattice, always=False)
        for _ in range(2):  # a first time without old nodes, to see whether trying them is worth it
            search(samples, bmu.astype(np.int32))
        assert search.recall.pays == pays
        search(samples, bmu.astype(np.int32))
        assert (search.search.rows < 3 * len(samples)) == pays


def test_old_nodes_that_are_wrong_are_tried_and_given_up(rng):
    lattice = Lattice(40, 40)
    codebook = smooth_codebook(lattice, 20, rng)
    bmu = rng.integers(0, 1600, 3000)
    search = recalled(codebook, lattice, always=False)
    search.recall.promises = True
    search(codebook[bmu] + 0.01 * rng.normal(size=(3000, 20)), rng.permutation(bmu).astype(np.int32))
    assert search.recall.pays is False
    assert search.recall.surroundings() is None


def test_maps_without_surroundings_never_try(rng):
    search = recalled(rng.normal(size=(42, 2)), Lattice(6, 7), always=False)
    search(rng.normal(size=(50, 2)), np.arange(50, dtype=np.int32) % 42)
    assert search.recall.pays is False
    assert not search.recall.made


def test_what_did_not_pay_is_tried_again_in_the_fourth_epoch(rng):
    lattice, bmus = Lattice(8, 8), np.arange(5)
    patched = cut_into_patches(rng.normal(size=(64, 2)), lattice)
    kept, seen = bmus.astype(np.int32), []
    for _ in range(5):
        recall = Recall(patched, lattice)
        recall.pays = False if kept.max() >= 0 else None  # tried, in vain
        kept = recall.remember(kept, bmus)
        seen.append(int(kept[0]))
    assert seen == [-3, -2, -1, 0, -3]
    recall.pays = True
    np.testing.assert_array_equal(recall.remember(bmus[::-1], bmus), bmus)
