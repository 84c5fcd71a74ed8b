"""Batch epoch: against its sample-by-sample twin, and the properties that any epoch has."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from som_dask.batch import BatchSums, chunk_sums, updated_codebook
from som_dask.errors import DataError
from som_dask.lattice import Lattice
from som_dask.neighborhood import Neighborhood
from tests.twins import (
    BOUNDARIES,
    NEIGHBORHOODS,
    TOPOLOGIES,
    every_lattice,
    exists,
    name_of,
    plain_bmus,
    plain_distances,
    plain_epoch,
)


def epoch(samples, codebook, lattice, neighborhood, radius):
    return updated_codebook(chunk_sums(samples, codebook, lattice), codebook, lattice, neighborhood, radius)


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
@pytest.mark.parametrize("lattice", every_lattice([(1, 1), (1, 6), (6, 1), (2, 2), (4, 5)]), ids=name_of)
def test_one_epoch_is_the_plain_one(lattice, neighborhood, rng):
    samples, codebook = rng.normal(10.0, 1.0, (60, 3)), rng.normal(10.0, 1.0, (lattice.n_nodes, 3))
    for radius in (0.5, 1.0, 3.0):
        expected = plain_epoch(samples, codebook, lattice, neighborhood, radius)
        np.testing.assert_allclose(epoch(samples, codebook, lattice, neighborhood, radius), expected, rtol=1e-11)


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
def test_several_epochs_are_the_plain_ones(neighborhood, rng):
    lattice = Lattice(5, 6)
    samples = rng.normal(size=(200, 3))
    fast = plain = samples[:30].copy()
    for radius in (3.0, 2.0, 1.5, 1.0, 0.6):
        fast = epoch(samples, fast, lattice, neighborhood, radius)
        plain = plain_epoch(samples, plain, lattice, neighborhood, radius)
    np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-10)


@pytest.mark.parametrize("n_samples", [1, 63, 5000])  # 5000 samples make more than one tile
def test_sums_of_a_block(n_samples, rng):
    lattice = Lattice(2, 4)
    samples, codebook = rng.normal(size=(n_samples, 3)), rng.normal(size=(8, 3))
    bmu, second, distance = plain_bmus(samples, codebook)
    apart = plain_distances(lattice)[bmu, second] > 1.1
    sums = chunk_sums(samples, codebook, lattice)
    np.testing.assert_array_equal(sums.counts, [np.count_nonzero(bmu == node) for node in range(8)])
    expected = [[math.fsum(samples[bmu == node, j]) for j in range(3)] for node in range(8)]
    np.testing.assert_allclose(sums.sums, expected, rtol=0, atol=1e-10)
    assert sums.counts.dtype == np.int64
    assert sums.misses == np.count_nonzero(apart)
    assert sums.samples == n_samples
    assert sums.distance == pytest.approx(math.fsum(distance), rel=1e-12)
    assert sums.quantization_error == pytest.approx(distance.mean(), rel=1e-12)
    assert sums.topographic_error == np.mean(apart)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32", ">f4", ">i2"])
def test_sums_are_made_in_float64(dtype, rng):
    # The sum of these would overflow in float16 and wrap in uint8.
    lattice = Lattice(1, 2)
    samples = np.full((3001, 1), 200, dtype=dtype)
    sums = chunk_sums(samples, np.array([[0.0], [201.0]]), lattice)
    np.testing.assert_array_equal(sums.sums, [[0.0], [3001 * 200.0]])


def test_sums_of_parts_add_up_to_the_sums_of_the_whole(rng):
    lattice = Lattice(3, 4)
    # Multiples of 1/8 add up exactly, so the order of adding can't show.
    samples, codebook = rng.integers(-40, 40, (300, 2)) / 8, rng.integers(-40, 40, (12, 2)) / 8
    whole = chunk_sums(samples, codebook, lattice)
    total = BatchSums.zero(12, 2)
    for part in np.split(samples, [1, 50, 50, 211]):
        total = total + chunk_sums(part, codebook, lattice)
    np.testing.assert_array_equal(total.sums, whole.sums)
    np.testing.assert_array_equal(total.counts, whole.counts)
    assert (total.samples, total.misses) == (whole.samples, whole.misses)
    assert total.distance == pytest.approx(whole.distance, rel=1e-12)


def test_sums_of_nothing():
    empty = chunk_sums(np.empty((0, 2)), np.zeros((6, 2)), Lattice(2, 3))
    for sums in (empty, BatchSums.zero(6, 2)):
        np.testing.assert_array_equal(sums.sums, np.zeros((6, 2)))
        np.testing.assert_array_equal(sums.counts, np.zeros(6, dtype=np.int64))
        assert (sums.distance, sums.misses, sums.samples) == (0.0, 0, 0)
        assert math.isnan(sums.quantization_error)
        assert math.isnan(sums.topographic_error)


def test_no_samples_leave_the_codebook(rng):
    codebook = rng.normal(size=(6, 2))
    result = epoch(np.empty((0, 2)), codebook, Lattice(2, 3), Neighborhood(), 1.0)
    np.testing.assert_array_equal(result, codebook)
    assert not np.shares_memory(result, codebook)


@pytest.mark.parametrize("shape", [(5, 3), (5, 1), (0, 3), (5,), (2, 5, 2)])
def test_a_block_of_another_shape_is_refused(shape):
    with pytest.raises(DataError, match="2 features"):
        chunk_sums(np.zeros(shape), np.zeros((6, 2)), Lattice(2, 3))


@pytest.mark.parametrize("neighborhood", [Neighborhood(), Neighborhood("bubble"), Neighborhood(support=3.0)], ids=str)
def test_nodes_that_nothing_reaches_keep_their_weights(neighborhood):
    codebook = np.array([[0.0], [10.0], [20.0], [30.0]])
    result = epoch(np.array([[1.0], [2.0], [29.0]]), codebook, Lattice(1, 4), neighborhood, 0.01)
    np.testing.assert_array_equal(result, [[1.5], [10.0], [20.0], [29.0]])


def test_a_map_of_one_node_becomes_the_mean(rng):
    samples = rng.normal(5.0, 2.0, (77, 4))
    result = epoch(samples, np.zeros((1, 4)), Lattice(1, 1), Neighborhood(), 1.0)
    np.testing.assert_allclose(result, [samples.mean(axis=0)], rtol=1e-13)


@pytest.mark.parametrize("n_samples", [1, 3])
def test_more_nodes_than_samples(n_samples, rng):
    lattice = Lattice(8, 9)
    samples, codebook = rng.normal(size=(n_samples, 2)), rng.normal(size=(72, 2))
    expected = plain_epoch(samples, codebook, lattice, Neighborhood(), 2.0)
    np.testing.assert_allclose(epoch(samples, codebook, lattice, Neighborhood(), 2.0), expected, rtol=1e-11)


@pytest.mark.parametrize("exponent", [-100, -50, 0, 100])
def test_far_nodes_become_the_only_sample_whatever_its_unit(exponent):
    # Fluxes in erg/s/cm2/Hz are near 1e-29. A node keeps its weights or takes the sample's, to rounding.
    lattice, sample = Lattice(1, 40), np.array([[3.0 * 2.0**exponent]])
    for radius in (0.5, 0.75, 0.9, 1.0):
        result = epoch(sample, np.zeros((40, 1)), lattice, Neighborhood(), radius)
        reached = result[result != 0]
        assert len(reached) > 10
        np.testing.assert_allclose(reached, sample[0, 0], rtol=1e-10)


CASES = {
    "rows": st.integers(1, 7),
    "cols": st.integers(1, 7),
    "topology": st.sampled_from(TOPOLOGIES),
    "boundary": st.sampled_from(BOUNDARIES),
    "neighborhood": st.sampled_from(NEIGHBORHOODS),
    "radius": st.floats(0.3, 8.0),
    "seed": st.integers(0, 2**32 - 1),
}


def case(rows, cols, topology, boundary, seed):
    """A lattice, samples and a codebook; all values are multiples of 1/8, so that shifting them is exact."""
    assume(exists(rows, topology, boundary))
    rng = np.random.default_rng(seed)
    samples = rng.integers(-80, 80, (rng.integers(1, 40), 2)) / 8
    codebook = samples[rng.integers(0, len(samples), rows * cols)]
    return rng, Lattice(rows, cols, topology, boundary), samples, codebook


@given(**CASES)
def test_an_epoch_stays_inside_the_data(rows, cols, topology, boundary, neighborhood, radius, seed):
    _, lattice, samples, codebook = case(rows, cols, topology, boundary, seed)
    result = epoch(samples, codebook, lattice, neighborhood, radius)
    assert (result >= samples.min(axis=0) - 1e-10).all()
    assert (result <= samples.max(axis=0) + 1e-10).all()


@given(**CASES)
def test_the_order_of_samples_does_not_matter(rows, cols, topology, boundary, neighborhood, radius, seed):
    rng, lattice, samples, codebook = case(rows, cols, topology, boundary, seed)
    shuffled = epoch(rng.permutation(samples), codebook, lattice, neighborhood, radius)
    np.testing.assert_allclose(shuffled, epoch(samples, codebook, lattice, neighborhood, radius), atol=1e-10)


@given(**CASES)
def test_samples_given_twice_count_no_more(rows, cols, topology, boundary, neighborhood, radius, seed):
    _, lattice, samples, codebook = case(rows, cols, topology, boundary, seed)
    twice = epoch(np.concatenate([samples, samples]), codebook, lattice, neighborhood, radius)
    np.testing.assert_allclose(twice, epoch(samples, codebook, lattice, neighborhood, radius), atol=1e-10)


@given(**CASES)
def test_shifting_all_shifts_the_result(rows, cols, topology, boundary, neighborhood, radius, seed):
    _, lattice, samples, codebook = case(rows, cols, topology, boundary, seed)
    shift = np.array([1000.0, -33.0])
    shifted = epoch(samples + shift, codebook + shift, lattice, neighborhood, radius)
    expected = epoch(samples, codebook, lattice, neighborhood, radius) + shift
    np.testing.assert_allclose(shifted, expected, rtol=0, atol=1e-9)


@given(**CASES)
def test_any_epoch_is_the_plain_one(rows, cols, topology, boundary, neighborhood, radius, seed):
    _, lattice, samples, codebook = case(rows, cols, topology, boundary, seed)
    expected = plain_epoch(samples, codebook, lattice, neighborhood, radius)
    np.testing.assert_allclose(epoch(samples, codebook, lattice, neighborhood, radius), expected, atol=1e-10)
