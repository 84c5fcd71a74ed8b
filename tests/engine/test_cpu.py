"""Batch epoch: against its sample-by-sample twin, and the properties that any epoch has."""

import functools
import itertools
import math
import operator
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.engine import block, exact_sums
from som_dask.engine.codebook import SharedCodebook, scales_for
from som_dask.engine.partial import ExactPartial, Partial
from som_dask.errors import DataError
from tests.reference.twins import (
    BOUNDARIES,
    NEIGHBORHOODS,
    TOPOLOGIES,
    add_up_block,
    every_lattice,
    exists,
    name_of,
    next_codebook,
    plain_bmus,
    plain_distances,
    plain_epoch,
    shared_codebook,
    sums_of,
)


def epoch(samples, codebook, lattice, neighborhood, radius):
    return next_codebook(sums_of(samples, codebook, lattice), codebook, lattice, neighborhood, radius)


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
    sums = sums_of(samples, codebook, lattice)
    np.testing.assert_array_equal(sums.hits, [np.count_nonzero(bmu == node) for node in range(8)])
    expected = [[math.fsum(samples[bmu == node, j]) for j in range(3)] for node in range(8)]
    np.testing.assert_allclose(sums.numerator, expected, rtol=0, atol=1e-10)
    assert sums.hits.dtype == np.int64
    assert sums.topographic_misses == np.count_nonzero(apart)
    assert sums.samples == n_samples
    assert sums.distance == pytest.approx(math.fsum(distance), rel=1e-12)
    assert sums.quantization_error == pytest.approx(distance.mean(), rel=1e-12)
    assert sums.topographic_error == np.mean(apart)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float32", ">f4", ">i2"])
def test_sums_are_made_in_float64(dtype, rng):
    # The sum of these would overflow in float16 and wrap in uint8.
    lattice = Lattice(1, 2)
    samples = np.full((3001, 1), 200, dtype=dtype)
    sums = sums_of(samples, np.array([[0.0], [201.0]]), lattice)
    np.testing.assert_array_equal(sums.numerator, [[0.0], [3001 * 200.0]])


def test_sums_of_parts_add_up_to_the_sums_of_the_whole(rng):
    lattice = Lattice(3, 4)
    # Multiples of 1/8 add up exactly, so the order of adding can't show.
    samples, codebook = rng.integers(-40, 40, (300, 2)) / 8, rng.integers(-40, 40, (12, 2)) / 8
    whole = sums_of(samples, codebook, lattice, precision="fast")
    total = Partial.zero(12, 2)
    for part in np.split(samples, [1, 50, 50, 211]):
        total = total + sums_of(part, codebook, lattice, precision="fast")
    np.testing.assert_array_equal(total.numerator, whole.numerator)
    np.testing.assert_array_equal(total.hits, whole.hits)
    assert (total.samples, total.topographic_misses) == (whole.samples, whole.topographic_misses)
    assert total.distance == pytest.approx(whole.distance, rel=1e-12)


def test_sums_of_nothing():
    empty = sums_of(np.empty((0, 2)), np.zeros((6, 2)), Lattice(2, 3))
    for sums in (empty, Partial.zero(6, 2)):
        np.testing.assert_array_equal(sums.numerator, np.zeros((6, 2)))
        np.testing.assert_array_equal(sums.hits, np.zeros(6, dtype=np.int64))
        assert (sums.distance, sums.topographic_misses, sums.samples) == (0.0, 0, 0)
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
        add_up_block(np.zeros(shape), SharedCodebook(np.zeros((6, 2)), Lattice(2, 3)))


def whole_parts(samples, shared, cuts):
    """Exact sums of the parts between the cuts."""
    edges = [0, *sorted(cuts), len(samples)]
    return [add_up_block(samples[a:b], shared, a) for a, b in itertools.pairwise(edges)]


@given(
    cuts=st.lists(st.integers(0, 80), max_size=7),
    center=st.sampled_from([0.0, 1e6]),
    spread=st.sampled_from([1e-300, 1e-8, 1.0, 1e150]),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_sums_are_the_same_integers_for_any_split_and_order(cuts, center, spread, seed):
    rng = np.random.default_rng(seed)
    samples = center * spread + spread * rng.lognormal(sigma=3.0, size=(80, 3))
    shared = shared_codebook(samples, samples[:12].copy(), Lattice(3, 4))
    whole, parts = add_up_block(samples, shared), whole_parts(samples, shared, cuts)
    rng.shuffle(parts)
    total = functools.reduce(operator.add, parts)
    grown = ExactPartial.zero(12, 3, whole.numerator.shape[1])
    for part in parts:
        grown += part
    for found in (total, grown):
        np.testing.assert_array_equal(found.numerator, whole.numerator)
        np.testing.assert_array_equal(found.hits, whole.hits)
        assert (found.distance, found.samples) == (whole.distance, whole.samples)
        assert found.topographic_misses == whole.topographic_misses
        assert found.fingerprint == whole.fingerprint


@given(
    exponents=st.lists(st.integers(-40, 40), min_size=1, max_size=30),
    unit=st.sampled_from([1e-320, 1e-290, 1.0, 1e290]),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_sums_are_as_good_as_float64_of_the_largest(exponents, unit, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(exponents), 1)) * np.exp2(exponents)[:, None] * unit
    sums = sums_of(values, np.zeros((1, 1)), Lattice(1, 1))
    exactly = sum((Fraction(v) for v in values.ravel().tolist()), Fraction(0))
    # Each number of the usual size keeps its digits; then the sum is rounded.
    usual = min(np.exp2(np.mean(exponents)) * unit, np.abs(values).max())
    room = len(values) * max(usual * 2.0**-52, 5e-324) + 2.0**-51 * abs(float(exactly))
    assert abs(float(Fraction(float(sums.numerator[0, 0])) - exactly)) <= room
    assert sums.distance == pytest.approx(np.abs(values).sum(), rel=1e-12, abs=5e-324 * len(values))


def test_one_outlier_leaves_the_other_nodes_their_digits(rng):
    # Such as a fill value that nobody took out.
    samples = rng.normal(size=(1000, 2))
    samples[500] = 9.969e36
    codebook = np.concatenate([samples[490:501], -np.ones((1, 2))])
    sums = sums_of(samples, codebook, Lattice(3, 4))
    bmu, _, distance = plain_bmus(samples, codebook)
    expected = [[math.fsum(samples[bmu == node, j]) for j in range(2)] for node in range(12)]
    np.testing.assert_allclose(sums.numerator, expected, rtol=1e-12)
    assert sums.distance == pytest.approx(math.fsum(distance), rel=1e-12)


def test_adding_whole_sums_leaves_the_parts(rng):
    samples = rng.normal(size=(50, 2))
    shared = shared_codebook(samples, samples[:6].copy(), Lattice(2, 3))
    first, second = whole_parts(samples, shared, [20])
    for part in (first, second):
        part.numerator.setflags(write=False)  # as they come from another worker
    kept = first.numerator.copy()
    np.testing.assert_array_equal((first + second).numerator, add_up_block(samples, shared).numerator)
    np.testing.assert_array_equal(first.numerator, kept)


def test_many_samples_on_one_node_carry(monkeypatch, rng):
    monkeypatch.setattr(exact_sums, "ROWS_AT_ONCE", 2 * block.MOST_TILE_ROWS)
    samples = rng.random((5 * block.MOST_TILE_ROWS, 1))
    shared = shared_codebook(samples, np.zeros((1, 1)), Lattice(1, 1))
    whole = add_up_block(samples, shared)
    assert 0 <= whole.numerator[0, 1, 0] < 2**40
    assert whole.rounded(shared.scales).numerator[0, 0] == pytest.approx(math.fsum(samples.ravel()), rel=1e-15)


@pytest.mark.parametrize("value", [2.5, -2.5, 1e300, np.inf, np.nan])
def test_numbers_beyond_the_range_are_refused_and_never_wrap(value, rng):
    samples = rng.uniform(-1, 1, (40, 2))
    shared = shared_codebook(samples, samples[:6].copy(), Lattice(2, 3))
    samples[17, 1] = value
    with pytest.raises(DataError, match="outside the range that the first pass"):
        add_up_block(samples, shared)


def test_the_largest_numbers_do_not_overflow():
    largest = np.finfo(np.float64).max
    samples = np.full((1000, 1), largest)
    samples[500:] = -largest
    codebook, space = np.zeros((1, 1)), FeatureSpace.plain(1)
    scales = scales_for(codebook, space, n=1000, least=samples.min(axis=0), most=samples.max(axis=0))
    shared = SharedCodebook(codebook, Lattice(1, 1), scales=scales)
    sums = add_up_block(samples, shared)
    assert sums.numerator[0].tolist() == [[0], [0]]


def test_a_shared_codebook_travels_light(rng):
    shared = shared_codebook(rng.normal(size=(30, 2)), rng.normal(size=(12, 2)), Lattice(3, 4))
    state = shared.state
    assert shared.state is state
    wanted, packed = replace(shared), pickle.dumps(shared)
    del shared  # as in another process, where there is none
    arrived = pickle.loads(packed)
    assert not arrived.made
    np.testing.assert_array_equal(arrived.codebook, wanted.codebook)
    assert arrived.scales.features.shift.tolist() == wanted.scales.features.shift.tolist()
    assert arrived.lattice == wanted.lattice


def test_a_shared_codebook_is_one_however_often_it_arrives(rng):
    shared = shared_codebook(rng.normal(size=(30, 2)), rng.normal(size=(12, 2)), Lattice(3, 4))
    packed = pickle.dumps(shared)
    assert pickle.loads(packed) is shared
    del shared
    with ThreadPoolExecutor(4) as pool:
        arrived = list(pool.map(pickle.loads, [packed] * 20))
    assert len({id(each) for each in arrived}) == 1
    assert pickle.loads(pickle.dumps(arrived[0])) is arrived[0]
    assert replace(arrived[0]).identity != arrived[0].identity
    gone = weakref.ref(arrived[0])
    del arrived
    assert gone() is None  # nothing keeps it


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
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
    least, most = samples.min(axis=0), samples.max(axis=0)
    beyond = (most - least) / 19 if neighborhood.inhibits else 0.0  # a twentieth of the weight pushes away
    assert (result >= least - beyond - 1e-10).all()
    assert (result <= most + beyond + 1e-10).all()


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
