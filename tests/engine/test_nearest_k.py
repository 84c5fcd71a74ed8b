"""The k nearest nodes: those of the plain rule to the bit, and memberships that follow their formulas."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.memberships import entropies, memberships
from som_dask.engine import nearest_k
from som_dask.engine.block import Block
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.nearest_k import nearest_nodes
from som_dask.errors import ParameterError
from tests.engine.test_gap_search import holes
from tests.engine.test_pruned_search import smooth_codebook
from tests.reference.twins import find_nodes


def plain_nearest(samples, codebook, k, scale=1.0):
    """k nodes and distances of each sample, by sorting all (squared distance, index)."""
    nodes, distances = [], []
    for sample in np.asarray(samples, dtype=np.float64).tolist():
        squared = []
        for weights in np.asarray(codebook, dtype=np.float64).tolist():
            total = 0.0
            for x, w in zip(sample, weights, strict=True):
                if not math.isnan(x):
                    difference = (x - w) * scale
                    total += difference * difference
            squared.append(total)
        order = sorted(range(len(squared)), key=lambda i: (squared[i], i))[:k]
        nodes.append(order)
        distances.append([math.sqrt(squared[i]) / scale for i in order])
    return np.array(nodes), np.array(distances)


def assert_found(samples, codebook, lattice, k, space=None, scale=1.0):
    """The twin's nodes and distances; the first ones those of `nearest`, to the bit."""
    shared = SharedCodebook(codebook, lattice, space)
    nodes, distances = nearest_nodes(Block.of(samples), shared, k)
    assert (nodes.dtype, distances.dtype) == (np.int64, np.float64)
    wanted = plain_nearest(samples, codebook, k, scale)
    np.testing.assert_array_equal(nodes, wanted[0])
    np.testing.assert_allclose(distances, wanted[1], rtol=1e-14)
    bmu, distance = find_nodes(samples, shared)
    np.testing.assert_array_equal(nodes[:, 0], bmu)
    np.testing.assert_array_equal(distances[:, 0], distance)


def masked(n_features, **changes):
    return replace(FeatureSpace.plain(n_features), missing="mask", gaps=True, **changes)


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (2, 2), (9, 17)])
@pytest.mark.parametrize("gaps", [False, True])
def test_maps_of_any_size(shape, gaps, rng):
    lattice = Lattice(*shape)
    codebook = smooth_codebook(lattice, 6, rng)
    samples = codebook[rng.integers(0, lattice.n_nodes, 80)] + 0.1 * rng.normal(size=(80, 6))
    samples = holes(samples, 0.3, rng) if gaps else samples
    for k in sorted({1, min(3, lattice.n_nodes), min(nearest_k.MOST_ROUNDS, lattice.n_nodes), lattice.n_nodes}):
        assert_found(samples, codebook, lattice, k, masked(6) if gaps else None)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("offset", [1e5, 1e8])
def test_far_from_the_origin(gaps, offset, rng):
    lattice = Lattice(11, 12)
    codebook = smooth_codebook(lattice, 4, rng) + offset
    samples = codebook[rng.integers(0, 132, 60)] + 0.01 * rng.normal(size=(60, 4))
    assert_found(holes(samples, 0.4, rng) if gaps else samples, codebook, lattice, 5, masked(4) if gaps else None)


@pytest.mark.parametrize("gaps", [False, True])
def test_ties_go_to_the_lowest_index(gaps, rng, monkeypatch):
    monkeypatch.setattr(nearest_k, "PAIRS_AT_ONCE", 1000)  # settled a few rows at a time
    lattice = Lattice(12, 12)
    codebook = rng.integers(0, 3, (144, 3)).astype(np.float64)  # many nodes alike
    samples = rng.integers(0, 3, (60, 3)).astype(np.float64)
    samples = holes(samples, 0.4, rng) if gaps else samples
    for book in (codebook, np.ones((144, 3))):
        assert_found(samples, book, lattice, 7, masked(3) if gaps else None)


def test_nodes_that_float32_can_not_tell_apart(rng):
    lattice = Lattice(10, 10)
    codebook = rng.normal(size=(100, 3))
    codebook[40:80] = codebook[40] + 1e-12 * rng.normal(size=(40, 3))
    samples = np.concatenate([codebook[40:60] + 1e-12 * rng.normal(size=(20, 3)), codebook[:40]])
    assert_found(samples, codebook, lattice, 6)


@pytest.mark.parametrize("size", [1e-170, 1e-155, 1e155, 1e200])
def test_squares_that_vanish_or_overflow(size, rng):
    lattice = Lattice(5, 6)
    codebook, samples = rng.normal(size=(30, 3)), rng.normal(size=(40, 3))
    exponent = 2.0 ** math.frexp(size)[1]
    assert_found(samples * exponent, codebook * exponent, lattice, 4, scale=1 / exponent)


def test_samples_beyond_float32(rng):
    lattice = Lattice(9, 9)
    codebook = smooth_codebook(lattice, 3, rng)
    assert_found(np.array([[1e30, 1e30, 0.0], [1.0, -1e90, 1.0], [0.0, 0.0, 1e120]]), codebook, lattice, 4)


def test_scaled_features_gaps_and_cosine(rng):
    lattice, n_features = Lattice(6, 7), 5
    space = FeatureSpace(
        rng.normal(size=n_features), rng.uniform(1, 9, n_features), rng.uniform(0.5, 2, n_features),
        np.array([True, True, False, True, True]), "mask", gaps=True,
    )  # fmt: skip
    samples = holes(rng.normal(size=(90, n_features)), 0.3, rng)
    samples[7] = np.nan
    known = ~np.isnan(samples[:, space.used]).all(axis=1)
    codebook = rng.normal(size=(42, 4))
    for metric in ("euclidean", "cosine"):
        changed = replace(space, metric=metric)
        points = changed.to_sphere(changed.scale_values(samples))
        if metric == "cosine":
            codebook = changed.to_sphere(codebook)
        shared = SharedCodebook(codebook, lattice, changed)
        nodes, distances = nearest_nodes(Block.of(samples), shared, 4)
        wanted, apart = plain_nearest(points[known], codebook, 4)
        np.testing.assert_array_equal(nodes[known], wanted)
        np.testing.assert_allclose(distances[known], apart**2 / 2 if metric == "cosine" else apart, rtol=1e-9)
        assert (nodes[~known] == -1).all()
        assert np.isnan(distances[~known]).all()
        assert (~known).any()
        bmu, distance = find_nodes(samples, shared)
        np.testing.assert_array_equal(nodes[:, 0], bmu)
        np.testing.assert_array_equal(distances[:, 0], distance)


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    n_features=st.integers(1, 6),
    size=st.sampled_from([1e-30, 1.0, 1e6]),
    share=st.sampled_from([0.0, 0.4]),
    k=st.integers(1, 5),
)
def test_any_map(seed, rows, cols, n_features, size, share, k):
    rng = np.random.default_rng(seed)
    lattice = Lattice(rows, cols)
    codebook = size * rng.normal(size=(lattice.n_nodes, n_features)).round(rng.integers(0, 8))
    samples = holes(size * rng.normal(size=(12, n_features)).round(rng.integers(0, 8)), share, rng)
    assert_found(samples, codebook, lattice, min(k, lattice.n_nodes), masked(n_features))


@pytest.mark.parametrize("k", [0, 7, 2.0, True, "3"])
def test_k_that_can_not_be(k):
    with pytest.raises(ParameterError, match="from 1 to the map's 6 nodes"):
        nearest_nodes(Block.of(np.zeros((2, 2))), SharedCodebook(np.zeros((6, 2)), Lattice(2, 3)), k)


def plain_memberships(distances, kind, parameter):
    rows = []
    for d in np.asarray(distances).tolist():
        if kind == "fuzzy":
            if 0.0 in d:
                rows.append([(x == 0) / d.count(0.0) for x in d])
            else:
                rows.append([1 / sum((x / y) ** (2 / (parameter - 1)) for y in d) for x in d])
        else:
            weights = [math.exp(-(x**2) / (2 * parameter**2)) for x in d]
            rows.append([w / sum(weights) for w in weights])
    return np.array(rows)


@pytest.mark.parametrize(
    ("kind", "parameter"), [("fuzzy", 2.0), ("fuzzy", 1.3), ("gaussian", 0.7), ("gaussian", 5.0)]
)
def test_memberships_are_those_of_the_formula(kind, parameter, rng):
    distances = np.sort(rng.uniform(0.2, 3, (50, 4)), axis=1)
    distances[0, :2], distances[1, 0] = 0.0, 0.0
    option = {"fuzzifier": parameter} if kind == "fuzzy" else {"bandwidth": parameter}
    np.testing.assert_allclose(
        memberships(distances, kind, **option), plain_memberships(distances, kind, parameter), rtol=1e-12
    )


def test_a_sample_on_a_node_belongs_to_it_alone():
    found = memberships(np.array([[0.0, 1.0, 2.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    np.testing.assert_array_equal(found, [[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3, [1 / 3] * 3])
    found = memberships(np.array([[1.0, 1.0, 2.0], [0.0, 1.0, 2.0]]), "gaussian", bandwidth=0.0)
    np.testing.assert_array_equal(found, [[0.5, 0.5, 0], [1, 0, 0]])


@given(
    seed=st.integers(0, 2**32 - 1),
    n_nodes=st.integers(1, 6),
    size=st.sampled_from([1e-300, 1e-150, 1e-3, 1.0, 1e150, 1e300]),
    option=st.sampled_from(
        [{"fuzzifier": 2.0}, {"fuzzifier": 1.0001}, {"fuzzifier": 50.0}, {"kind": "gaussian", "bandwidth": 1.0},
         {"kind": "gaussian", "bandwidth": 1e-300}, {"kind": "gaussian", "bandwidth": 0.0}]
    ),
)  # fmt: skip
def test_memberships_sum_to_one_and_do_not_increase(seed, n_nodes, size, option):
    rng = np.random.default_rng(seed)
    distances = size * np.sort(rng.integers(0, 4, (20, n_nodes)) * rng.random((20, 1)), axis=1)
    distances[3] = np.nan
    found = memberships(distances, **option)
    assert np.isnan(found[3]).all()
    found, entropy = np.delete(found, 3, axis=0), np.delete(entropies(found), 3)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
    assert (np.diff(found, axis=1) <= 0).all()
    assert (found >= 0).all()
    assert ((entropy >= 0) & (entropy <= 1)).all()


def test_entropies():
    found = entropies(np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0], [np.nan] * 3]))
    np.testing.assert_allclose(found, [0, 1, math.log(2) / math.log(3), np.nan], rtol=1e-12)
    np.testing.assert_array_equal(entropies(np.array([[1.0], [np.nan]])), [0, np.nan])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"kind": "sharp"}, "must be one of"),
        ({"fuzzifier": 1.0}, "above 1"),
        ({"kind": "gaussian"}, "needs a bandwidth"),
        ({"kind": "gaussian", "bandwidth": -1.0}, "needs a bandwidth"),
        ({"kind": "gaussian", "bandwidth": math.nan}, "needs a bandwidth"),
    ],
)
def test_memberships_that_can_not_be(option, words):
    with pytest.raises(ParameterError, match=words):
        memberships(np.ones((1, 2)), **option)
