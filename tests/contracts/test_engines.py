"""The contract of engines: what each must do, whatever it computes on.

Exact engines give the bits of the plain float64 rule and of each other; fast ones the same to rounding.
"""

import dataclasses
import functools
import itertools
import math
import operator
import pickle

import numpy as np
import pytest

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.engine.block import Block
from som_dask.engine.codebook import SharedCodebook, scales_for
from som_dask.engine.cpu import CPU_EXACT
from som_dask.errors import DataError, ParameterError
from tests.reference.data import DATA
from tests.reference.twins import add_up_block, find_nodes, plain_bmus, plain_distances, same_to_the_bit
from tests.reference.twins import shared_codebook as exact_codebook

LATTICE = Lattice(4, 5)


def shared_codebook(samples, codebook, lattice, case, space=None):
    """A codebook for an engine, with scales for these samples."""
    return dataclasses.replace(exact_codebook(samples, codebook, lattice, space=space), engine=case.engine)


def agree(samples, codebook, lattice, case, first_row=0):
    """Check sums and nodes against those of the exact engine on a CPU; returns the sums."""
    reference = exact_codebook(samples, codebook, lattice)
    shared = dataclasses.replace(reference, engine=case.engine)
    expected, sums = add_up_block(samples, reference, first_row), add_up_block(samples, shared, first_row)
    if case.exact:
        same_to_the_bit(sums, expected)
        for found, right in zip(find_nodes(samples, shared), find_nodes(samples, reference), strict=True):
            np.testing.assert_array_equal(found, right)
            assert found.dtype == right.dtype
    else:
        rounded = expected.rounded(reference.scales)
        assert sums.samples == rounded.samples
        assert sums.hits.sum() == rounded.hits.sum()
        # The sum over all nodes does not depend on how near-ties went.
        scale = np.abs(np.asarray(samples, dtype=np.float64)).sum(axis=0)
        apart = np.abs(sums.numerator.sum(axis=0) - rounded.numerator.sum(axis=0))
        assert (apart <= 1e-12 * scale).all()
    return sums


@DATA
def test_nodes_and_sums_are_those_of_the_plain_rule(case, data, rng):
    samples, codebook = data(rng)
    sums = agree(samples, codebook, LATTICE, case, first_row=2**40)
    if case.exact:
        shared = shared_codebook(samples, codebook, LATTICE, case)
        bmu, second, _ = plain_bmus(samples, codebook)
        found = shared.find(Block.of(samples), second=True)
        np.testing.assert_array_equal(found.bmu, bmu)
        np.testing.assert_array_equal(found.second, second)
        np.testing.assert_array_equal(sums.hits, np.bincount(bmu, minlength=20))
        apart = plain_distances(LATTICE)[bmu, second] > 1.1
        assert sums.topographic_misses == np.count_nonzero(apart)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "d", "shape"),
    [
        (1, 1, (1, 1)),
        (130, 1, (1, 2)),
        (128, 2, (11, 12)),
        (127, 4, (1, 128)),
        (300, 31, (3, 43)),
        (257, 33, (20, 55)),
        (100, 70, (4, 5)),
        (65, 50, (16, 16)),
    ],
)
def test_any_size(case, n, d, shape, dtype, rng):
    lattice = Lattice(*shape)
    codebook = rng.normal(size=(lattice.n_nodes, d))
    agree(rng.normal(size=(n, d)).astype(dtype), codebook, lattice, case)


def test_ties_and_near_ties_go_to_the_lowest_index(exact_case, rng):
    lattice = Lattice(8, 20)
    samples = rng.integers(-1, 2, (400, 5)).astype(np.float32)
    codebook = rng.integers(-1, 2, (lattice.n_nodes, 5)) * 1.0
    codebook[100:] += rng.integers(-1, 2, codebook[100:].shape) * 1e-13  # nearer than float32 can tell
    agree(samples, codebook, lattice, exact_case)
    bmu, _ = find_nodes(samples, SharedCodebook(codebook, lattice, engine=exact_case.engine))
    np.testing.assert_array_equal(bmu, plain_bmus(samples, codebook)[0])


def test_near_ties_of_the_second_and_the_third(exact_case, rng):
    lattice, nodes = Lattice(4, 16, "rectangular", "toroidal"), rng.normal(size=(64, 5))
    nodes[1::4] = nodes[::4] + 0.1
    nodes[2::4] = nodes[1::4] + rng.integers(-1, 2, (16, 5)) * 1e-13
    samples = nodes[rng.integers(0, 16, 300) * 4] + rng.normal(size=(300, 5)) * 0.01
    agree(samples, nodes, lattice, exact_case)


def test_data_far_from_zero(exact_case, rng):
    codebook = 101325 + rng.normal(size=(20, 6))
    agree(101325 + rng.normal(size=(300, 6)), codebook, LATTICE, exact_case)


@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e-150, 1e150, 1e300])
def test_numbers_whose_squares_overflow_or_vanish(exact_case, size, rng):
    samples, codebook = rng.integers(-3, 4, (300, 3)) * size, rng.integers(-3, 4, (20, 3)) * size
    agree(samples, codebook, LATTICE, exact_case)


@pytest.mark.parametrize("far", [1e18, 1e170])  # 1e170: scaled by its size, the squares of the others vanish
def test_one_node_far_from_the_others(exact_case, far, rng):
    codebook = rng.normal(size=(20, 3))
    codebook[7] = far
    agree(rng.normal(size=(300, 3)), codebook, LATTICE, exact_case)


def test_subnormal_numbers_and_minus_zero(exact_case, rng):
    bits = rng.integers(0, 2**23, (200, 3), dtype=np.uint32) | (rng.integers(0, 2, (200, 3), dtype=np.uint32) << 31)
    samples = bits.view(np.float32)
    samples[::7] = -0.0
    agree(samples, samples[:20].astype(np.float64), LATTICE, exact_case)


@pytest.mark.parametrize("digits", [12, 30, 45])
def test_features_that_need_further_limbs(exact_case, digits, rng):
    samples = rng.normal(size=(200, 3)) * 10.0 ** rng.integers(-digits, digits + 1, (200, 1))
    sums = agree(samples, rng.normal(size=(20, 3)), LATTICE, exact_case)
    assert sums.numerator.shape[1] > 2


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "bool", "float16", ">f4", "longdouble"])
def test_other_kinds_of_numbers(case, dtype, rng):
    agree(rng.integers(0, 100, (200, 3)).astype(dtype), rng.normal(50, 30, (20, 3)), LATTICE, case)


def test_rows_that_are_not_side_by_side_in_memory(case, rng):
    table = rng.normal(size=(6, 900))
    agree(table.T[::3, 1::2], rng.normal(size=(20, 3)), LATTICE, case)


def test_no_samples(case, rng):
    agree(np.zeros((0, 3)), rng.normal(size=(20, 3)), LATTICE, case)


@pytest.mark.parametrize("cuts", [[], [1], [40, 41, 120], [7, 7, 250]])
def test_blocks_add_up_to_the_whole_in_any_order(case, cuts, rng):
    samples, codebook = rng.lognormal(sigma=3.0, size=(300, 3)), rng.normal(size=(20, 3))
    shared = shared_codebook(samples, codebook, LATTICE, case)
    whole = add_up_block(samples, shared)
    edges = [0, *cuts, 300]
    parts = [add_up_block(samples[a:b], shared, a) for a, b in itertools.pairwise(edges)]
    rng.shuffle(parts)
    total = functools.reduce(operator.add, parts)
    if case.exact:
        same_to_the_bit(total, whole)
    np.testing.assert_array_equal(total.hits, whole.hits)
    assert (total.samples, total.topographic_misses) == (whole.samples, whole.topographic_misses)


def test_the_order_of_samples_does_not_matter(exact_case, rng):
    samples, codebook = rng.normal(size=(300, 3)), rng.normal(size=(20, 3))
    shared = shared_codebook(samples, codebook, LATTICE, exact_case)
    first, second = add_up_block(samples, shared), add_up_block(rng.permutation(samples), shared)
    assert first.fingerprint != second.fingerprint  # the ledger sees what the sums do not
    same_to_the_bit(dataclasses.replace(second, fingerprint=first.fingerprint), first)


def test_joined_blocks_are_those_of_one(case, rng):
    samples, codebook = rng.normal(size=(300, 3)), rng.normal(size=(20, 3))
    shared = shared_codebook(samples, codebook, LATTICE, case)
    parts = [Block.of(samples[a : a + 100], None, a) for a in (0, 100, 200)]
    joined, whole = shared.add_up(Block.joined(parts)), add_up_block(samples, shared)
    np.testing.assert_array_equal(joined.hits, whole.hits)
    if case.exact:
        same_to_the_bit(joined, whole)


@pytest.mark.parametrize("smallest", [1.0, 1e-40])
def test_numbers_beyond_the_range_are_refused(exact_case, smallest, rng):
    samples, codebook = rng.normal(size=(300, 3)), rng.normal(size=(20, 3))
    samples[:150] *= smallest  # which takes further limbs
    shared = shared_codebook(samples, codebook, LATTICE, exact_case)
    samples[17, 1] = 1e6
    with pytest.raises(DataError, match="2 values lie outside the range"):  # the number and its distance
        add_up_block(samples, shared)


def test_a_miss_is_two_units_that_are_not_neighbors(case, rng):
    lattice = Lattice(5, 5, "rectangular", "toroidal")  # each node has 8 neighbors
    samples, codebook = rng.normal(size=(700, 2)), rng.normal(size=(25, 2))
    expected = add_up_block(samples, exact_codebook(samples, codebook, lattice))
    sums = add_up_block(samples, shared_codebook(samples, codebook, lattice, case))
    assert 0 < sums.topographic_misses == expected.topographic_misses


@pytest.mark.parametrize("data", [1.0, 1e35])
def test_sums_are_near_the_exact_ones(case, data, rng):
    samples, codebook = rng.normal(size=(700, 40)), rng.normal(size=(20, 40))
    samples[13, 2] *= data
    reference = exact_codebook(samples, codebook, LATTICE)
    expected = add_up_block(samples, reference).rounded(reference.scales)
    sums = add_up_block(samples, dataclasses.replace(reference, engine=case.engine))
    sums = sums.rounded(reference.scales) if case.exact else sums
    np.testing.assert_array_equal(sums.hits, expected.hits)
    np.testing.assert_allclose(sums.numerator, expected.numerator, rtol=1e-12, atol=1e-12)
    assert sums.distance == pytest.approx(expected.distance, rel=1e-12)
    assert (sums.topographic_misses, sums.samples) == (expected.topographic_misses, expected.samples)


SPACES = {
    "weights": {"weighted": True},
    "gaps": {"missing": "mask", "gaps": True},
    "dropped gaps": {"missing": "drop"},
    "gaps and weights": {"missing": "mask", "gaps": True, "weighted": True},
    "scaling": {"center": np.full(3, 0.5), "scale": np.full(3, 2.0)},
    "feature weights": {"feature_weights": np.array([1.0, 4.0, 0.25])},
    "cosine": {"metric": "cosine"},
    "correlation": {"metric": "correlation"},
    "manhattan": {"metric": "manhattan"},
    "manhattan, gaps and weights": {"metric": "manhattan", "missing": "mask", "gaps": True, "weighted": True},
    "an unused feature": {"used": np.array([True, False, True])},
}


@pytest.mark.parametrize("name", SPACES)
def test_other_spaces_are_computed_or_refused_in_words(case, name, rng):
    space = dataclasses.replace(FeatureSpace.plain(3), **SPACES[name])
    samples, codebook = rng.normal(size=(200, 3)), space.to_sphere(rng.normal(size=(20, space.n_used)))
    weights = rng.random(200) + 0.1 if space.weighted else None
    if space.missing != "error":
        samples[rng.random(samples.shape) < 0.2] = np.nan
    reason = case.engine.supports(space)
    if reason is not None:
        assert "not computed" in reason
        with pytest.raises(ParameterError, match="not computed"):
            SharedCodebook(codebook, LATTICE, space, case.engine)
        return
    wide = np.full(space.n_used, 99.0)
    scales = scales_for(codebook, space, n=200, least=-wide, most=wide, weights=(0.1, 1.1))
    shared = SharedCodebook(codebook, LATTICE, space, case.engine, scales)
    sums = add_up_block(samples, shared, weights=weights)
    sums = sums.rounded(scales) if case.exact else sums
    points, taken, mass = np.empty((0, space.n_used)), [], []
    for part in space.parts(samples.copy(), weights):
        points = np.concatenate([points, part.values])
        taken += [np.arange(200) if part.rows is None else part.rows]
        mass += [np.ones(len(part.values)) if part.weights is None else part.weights]
    bmu, _, distance = plain_bmus(points, codebook, metric=space.metric)
    mass = np.concatenate(mass)
    np.testing.assert_array_equal(sums.hits, np.bincount(bmu, minlength=20))
    for node in range(20):
        mine = bmu == node
        expected = np.nansum(points[mine] * mass[mine, None], axis=0)
        np.testing.assert_allclose(sums.numerator[node], expected, rtol=1e-11, atol=1e-11)
        known = (~np.isnan(points[mine]) * mass[mine, None]).sum(axis=0)
        np.testing.assert_allclose(np.broadcast_to(sums.denominator[node], known.shape), known, rtol=1e-11)
    expected = math.fsum((distance**2 / 2 if space.rule.on_sphere else distance) * mass)
    assert sums.distance == pytest.approx(expected, rel=1e-11)
    assert sums.samples == 200
    found = shared.find(Block.of(samples))
    np.testing.assert_array_equal(np.flatnonzero(found.bmu >= 0), np.sort(np.concatenate(taken)))


@pytest.mark.parametrize("shape", [(5, 3), (5, 1), (0, 3), (5,), (2, 5, 2)])
def test_a_block_of_another_shape_is_refused(case, shape):
    shared = SharedCodebook(np.zeros((6, 2)), Lattice(2, 3), engine=case.engine)
    for ask in (shared.add_up, shared.find):
        with pytest.raises(DataError, match="2 features"):
            ask(Block.of(np.zeros(shape)))


def test_an_engine_travels_with_the_codebook_and_its_state_stays(case, rng):
    samples, codebook = rng.normal(size=(30, 2)), rng.normal(size=(20, 2))
    shared = shared_codebook(samples, codebook, LATTICE, case)
    assert shared.state is shared.state
    right, packed = add_up_block(samples, shared), pickle.dumps(shared)
    del shared  # as in another process, where there is none
    arrived = pickle.loads(packed)
    assert not arrived.made
    assert arrived.engine == case.engine
    found = add_up_block(samples, arrived)
    np.testing.assert_array_equal(found.hits, right.hits)


def test_exact_engines_are_the_reference_by_default():
    assert SharedCodebook(np.zeros((6, 2)), Lattice(2, 3)).engine is CPU_EXACT
