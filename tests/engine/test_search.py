"""The searches, compiled and by arrays: the two best units are those of the float64 rule, to the last tie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.test_pruned_search import assert_searched
from tests.reference import array_search
from tests.reference.array_search import find_bmus, prepare
from tests.reference.twins import plain_bmus

SUBNORMAL = 5e-324  # the smallest number above zero


def assert_found(samples, codebook, scale=1.0):
    """Both searches, with and without the second best, give what the twin gives."""
    prepared = prepare(codebook)
    bmu, second, distance = plain_bmus(samples, codebook, scale)
    assert_searched(samples, codebook, bmu, second)
    found = find_bmus(samples, prepared)
    np.testing.assert_array_equal(found.bmu, bmu)
    np.testing.assert_array_equal(found.second, second)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-12, atol=0)
    assert (found.bmu.dtype, found.second.dtype, found.distance.dtype) == (np.int64, np.int64, np.float64)
    alone = find_bmus(samples, prepared, need_second=False)
    np.testing.assert_array_equal(alone.bmu, bmu)
    np.testing.assert_array_equal(alone.second, bmu)
    np.testing.assert_array_equal(alone.distance, found.distance)


@pytest.mark.parametrize(
    ("center", "spread"), [(0.0, 1.0), (101325.0, 500.0), (1000.0, 0.01), (-1e9, 1e-3), (1.0, 1e-12)]
)
def test_far_from_the_origin(center, spread, rng):
    samples, codebook = rng.normal(center, spread, (300, 5)), rng.normal(center, spread, (60, 5))
    assert_found(samples, codebook)


def test_samples_far_from_the_codebook(rng):
    assert_found(rng.normal(1e6, 1.0, (200, 4)), rng.normal(0.0, 1.0, (40, 4)))
    assert_found(rng.normal(1e6, 1.0, (200, 4)), rng.normal(0.0, 1e-6, (40, 4)))


@pytest.mark.parametrize("n_nodes", [1, 2, 3, 64, 65, 300])
@pytest.mark.parametrize("n_features", [1, 2, 3, 17])
def test_sizes_of_the_map_and_of_the_samples(n_nodes, n_features, rng):
    assert_found(rng.normal(size=(100, n_features)), rng.normal(size=(n_nodes, n_features)))


def test_two_thousand_features(rng):
    assert_found(rng.normal(size=(20, 2000)), rng.normal(size=(50, 2000)))


def test_no_samples(rng):
    found = find_bmus(np.empty((0, 3)), prepare(rng.normal(size=(5, 3))))
    assert found.bmu.shape == found.second.shape == found.distance.shape == (0,)


@pytest.mark.parametrize("distinct", [1, 2, 7])
def test_codebooks_with_rows_alike(distinct, rng):
    rows = rng.normal(size=(distinct, 3))
    codebook = rows[rng.integers(0, distinct, 40)]
    assert_found(np.concatenate([rng.normal(size=(100, 3)), rows]), codebook)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e5, 1e-300, SUBNORMAL])
def test_a_codebook_of_one_value(value, rng):
    assert_found(rng.normal(size=(20, 3)), np.full((7, 3), value))


@pytest.mark.parametrize("center", [0.0, 1.0, 101325.0, -1e-3])
def test_ties_but_for_one_ulp(center, rng):
    # Nodes one ulp apart, in both orders; samples on them, beside them and halfway between distant ones.
    row = rng.normal(center, 1.0, 4)
    steps = [row, np.nextafter(row, np.inf), np.nextafter(row, -np.inf), row]
    codebook = np.stack([row + 2, *steps, row - 2, *steps[::-1]])
    near = [np.nextafter(row + shift, sign * np.inf) for shift in (-1, 0, 1) for sign in (-1, 1)]
    samples = np.concatenate([codebook, near, np.stack([row + 1, row - 1, row])])
    assert_found(samples, codebook)


def test_samples_halfway_between_nodes():
    codebook = np.arange(12.0)[:, None]
    between = np.arange(11.0)[:, None] + 0.5
    assert_found(np.concatenate([between, np.nextafter(between, 0), np.nextafter(between, 99)]), codebook)


@pytest.mark.parametrize("largest", [2, 20, 2**20, 2**40])
def test_subnormal_data(largest, rng):
    samples = rng.integers(-largest, largest, (200, 3)) * SUBNORMAL
    codebook = rng.integers(-largest, largest, (30, 3)) * SUBNORMAL
    assert_found(samples, codebook, scale=2.0**1000)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e-30, 1e30, 1e150, 1e300])
def test_tiny_and_huge_data(size, rng):
    samples, codebook = rng.normal(size=(200, 3)) * size, rng.normal(size=(30, 3)) * size
    assert_found(samples, codebook, scale=2.0 ** -np.clip(np.rint(np.log2(size)), -1000, 1000))


@pytest.mark.parametrize("outlier", [1e8, 1e29, 1e30, 1e31, 1e60, 1e150])
def test_outliers(outlier, rng):
    samples, codebook = rng.normal(size=(50, 3)), rng.normal(size=(30, 3))
    samples[7, 1], samples[8], samples[20, 0] = outlier, -outlier, -outlier
    assert_found(samples, codebook)
    codebook[11, 2] = min(outlier, 1e60)  # an outlier may have become a node
    assert_found(samples, codebook)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_node_of_extreme_size_leaves_the_others_apart():
    sample, codebook = np.array([[1.0, 1.0]]), np.array([[0.0, 0.0], [1.0, 1.0], [1e300, 0.0]])
    assert_found(sample, codebook)
    assert_found(np.array([[1e-100, 0.0], [0.25, 0.25]]), codebook)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_sample_whose_square_overflows_has_two_different_units(rng):
    samples, codebook = rng.normal(size=(3, 3)), rng.normal(size=(5, 3))
    samples[1] = 1e200  # as far from one node as from the next, in float64
    found = find_bmus(samples, prepare(codebook))
    np.testing.assert_array_equal(found.bmu[[0, 2]], plain_bmus(samples[[0, 2]], codebook)[0])
    assert (found.bmu[1], found.second[1]) == (0, 1)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "float32", "float64"])
def test_types_of_samples(dtype, rng):
    samples = rng.integers(0, 200, (200, 4)).astype(dtype)
    assert_found(samples, rng.integers(0, 200, (50, 4)).astype(np.float64))
    assert_found(samples, rng.normal(100.0, 50.0, (50, 4)))


@given(
    n_nodes=st.integers(1, 12),
    n_features=st.integers(1, 3),
    n_values=st.integers(1, 4),
    offset=st.sampled_from([0.0, 0.1, 1e6]),
    seed=st.integers(0, 2**32 - 1),
)
def test_many_ties(n_nodes, n_features, n_values, offset, seed):
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, n_values, (30, n_features)) + offset
    assert_found(samples, rng.integers(0, n_values, (n_nodes, n_features)) + offset)


@given(
    n_nodes=st.integers(1, 30),
    n_features=st.integers(1, 6),
    center=st.floats(-1e6, 1e6),
    exponent=st.integers(-12, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_data(n_nodes, n_features, center, exponent, seed):
    rng = np.random.default_rng(seed)
    spread = 10.0**exponent
    samples = rng.normal(center, spread, (30, n_features))
    assert_found(samples, rng.normal(center, spread, (n_nodes, n_features)))


def tied_and_plain(rng):
    """Samples of which a third lie on ties, and a codebook."""
    codebook = np.concatenate([rng.normal(size=(20, 6)), rng.integers(0, 2, (20, 6))])
    return np.concatenate([rng.normal(size=(60, 6)), rng.integers(0, 2, (30, 6))]), codebook


def test_each_row_is_on_its_own(rng):
    samples, codebook = tied_and_plain(rng)
    prepared = prepare(codebook)
    together = find_bmus(samples, prepared)
    for i in range(len(samples)):
        alone = find_bmus(samples[i : i + 1], prepared)
        assert (alone.bmu[0], alone.second[0]) == (together.bmu[i], together.second[i])
        assert alone.distance[0] == together.distance[i]


@pytest.mark.parametrize("pairs", [1, 7, 100])
def test_ties_are_settled_a_part_at_a_time(pairs, rng, monkeypatch):
    samples, codebook = tied_and_plain(rng)
    monkeypatch.setattr(array_search, "PAIRS_AT_ONCE", pairs)
    assert_found(samples, codebook)


def test_memory_layout_does_not_matter_and_inputs_stay(rng):
    samples, codebook = tied_and_plain(rng)
    for array in (samples, codebook):
        array.setflags(write=False)
    expected = find_bmus(samples, prepare(codebook))
    spread_out = np.zeros((2 * len(samples), 12))
    spread_out[::2, ::2] = samples
    for same in (np.asfortranarray(samples), spread_out[::2, ::2]):
        found = find_bmus(same, prepare(np.asfortranarray(codebook)))
        np.testing.assert_array_equal(found.bmu, expected.bmu)
        np.testing.assert_array_equal(found.second, expected.second)
        np.testing.assert_allclose(found.distance, expected.distance, rtol=1e-12)


@pytest.mark.parametrize("n_nodes", [1, 100, 10**4, 10**6])
def test_a_tile_is_small_and_not_empty(n_nodes):
    rows = prepare(np.zeros((n_nodes, 1))).tile_rows
    assert 64 <= rows <= 4096
    assert rows == 64 or rows * n_nodes * 4 <= 4 * 2**20
