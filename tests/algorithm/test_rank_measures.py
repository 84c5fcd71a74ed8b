"""Preservation of order: topographic product, trustworthiness and its counterpart against literal loops."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm import rank_measures as preservation
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.rank_measures import (
    neighborhood_preservation,
    preservation_of,
    topographic_product,
    trustworthiness,
)
from tests.reference.twins import every_lattice, name_of, plain_distances

LATTICES = pytest.mark.parametrize("lattice", every_lattice(((1, 2), (3, 1), (2, 3), (4, 5))), ids=name_of)


def plain_product(codebook, lattice):
    """The formula of Bauer and Pawelzik, node by node; of equal distances the lower index comes first."""
    m = len(codebook)
    outer = np.round(plain_distances(lattice) ** 2, 6) ** 0.5
    inner = np.array([[math.sqrt(sum((a - b) ** 2)) for b in codebook] for a in codebook])
    total = 0.0
    for j in range(m):
        others = [node for node in range(m) if node != j]
        by_outer = sorted(others, key=lambda node: (outer[j, node], node))
        by_inner = sorted(others, key=lambda node: (inner[j, node], node))
        for k in range(1, m):
            logarithm = 0.0
            for a, v in zip(by_outer[:k], by_inner[:k], strict=True):
                q1 = inner[j, a] / inner[j, v] if inner[j, a] > 0 and inner[j, v] > 0 else 1.0
                logarithm += math.log(q1) + math.log(outer[j, a] / outer[j, v])
            total += logarithm / (2 * k)
    return total / (m * (m - 1))


def orders(distances):
    """All orders of some samples that agree with their distances."""
    samples = range(len(distances))
    return [
        o
        for o in itertools.permutations(samples)
        if all(distances[a] <= distances[b] for a, b in itertools.pairwise(o))
    ]


def plain_trustworthiness(near, far, k):
    """The formula of Venna and Kaski for two matrices of distances, as the mean over all orders of ties."""
    n, total = len(near), 0.0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        penalties = []
        for on_map in orders([near[i, j] for j in others]):
            for in_data in orders([far[i, j] for j in others]):
                rank = {j: place + 1 for place, j in enumerate(in_data)}
                penalties.append(sum(rank[j] - k for j in on_map[:k] if rank[j] > k))
        total += sum(penalties) / len(penalties)
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * total


def inner_distances(points):
    return np.array([[math.dist(a, b) for b in points] for a in points])


@LATTICES
@pytest.mark.parametrize("block", [7, 2**18])
def test_topographic_product_is_that_of_the_formula(lattice, block, rng, monkeypatch):
    monkeypatch.setattr(preservation, "BLOCK_VALUES", block)
    codebook = rng.normal(100.0, 1.0, (lattice.n_nodes, 3))
    expected = plain_product(codebook, lattice)
    assert topographic_product(codebook, lattice) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_topographic_product_of_known_maps():
    for topology in ("rectangular", "hexagonal"):
        lattice = Lattice(6, 7, topology)
        flat = lattice.positions()
        assert topographic_product(flat, lattice) == pytest.approx(0.0, abs=1e-12)
        # Turned, stretched and in a space of more dimensions it is the same map.
        turned = 1e200 * np.column_stack([flat[:, 1], 0 * flat[:, 0], -flat[:, 0]])
        assert topographic_product(turned, lattice) == pytest.approx(0.0, abs=1e-12)
    # A chain that fills a square folds: its dimension is too low. A grid on a line has one too many.
    chain = Lattice(1, 64, "rectangular")
    rows, cols = np.divmod(np.arange(64), 8)
    folded = np.column_stack([rows, np.where(rows % 2, 7 - cols, cols)]).astype(np.float64)
    assert topographic_product(folded, chain) < -0.02
    grid = Lattice(8, 8, "rectangular")
    assert topographic_product(grid.positions()[:, :1] * 8 + grid.positions()[:, 1:], grid) > 0.02


def test_topographic_product_of_small_and_dull_maps():
    assert math.isnan(topographic_product(np.ones((1, 2)), Lattice(1, 1)))
    assert topographic_product(np.array([[0.0], [5.0]]), Lattice(1, 2)) == 0.0
    some_equal = np.array([[0.0], [0.0], [1.0], [1.0], [2.0], [7.0]])
    lattice = Lattice(2, 3)
    assert topographic_product(some_equal, lattice) == pytest.approx(plain_product(some_equal, lattice), rel=1e-9)
    assert math.isfinite(topographic_product(np.ones((6, 2)), lattice))


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("lattice", [Lattice(3, 4), Lattice(1, 6, "rectangular"), Lattice(1, 1)], ids=name_of)
def test_the_mean_over_all_orders_of_ties(lattice, k, rng):
    for _ in range(3):
        points = rng.integers(0, 3, (6, 2)).astype(np.float64)  # ties in the data too
        bmu = rng.integers(0, lattice.n_nodes, 6)
        near, far = np.round(plain_distances(lattice)[bmu][:, bmu], 6), inner_distances(points)
        assert trustworthiness(points, bmu, lattice, k) == pytest.approx(plain_trustworthiness(near, far, k))
        assert neighborhood_preservation(points, bmu, lattice, k) == pytest.approx(
            plain_trustworthiness(far, near, k)
        )


@pytest.mark.parametrize("k", [1, 5, 12])
def test_without_ties_it_is_scikit_learns(k, rng):
    sklearn = pytest.importorskip("sklearn.manifold", reason="scikit-learn is not installed")
    # A lattice of one row whose distances from any of these nodes differ.
    lattice = Lattice(1, 400_000, "rectangular")
    points, bmu = rng.normal(size=(60, 4)), rng.choice(lattice.n_nodes, 60, replace=False)
    on_map = lattice.positions()[bmu]
    for i in range(60):
        assert len(set(np.abs(on_map[:, 0] - on_map[i, 0]))) == 60
    expected = sklearn.trustworthiness(points, on_map, n_neighbors=k)
    assert trustworthiness(points, bmu, lattice, k) == pytest.approx(expected, rel=1e-12)
    expected = sklearn.trustworthiness(on_map, points, n_neighbors=k)
    assert neighborhood_preservation(points, bmu, lattice, k) == pytest.approx(expected, rel=1e-12)


def test_known_maps(rng):
    lattice = Lattice(9, 10, "rectangular")
    # Each sample on a node of its own, and the data the lattice itself: all ties on both sides alike.
    nodes = np.arange(90)
    points, shuffled = lattice.positions(), rng.permutation(90)
    for measure in (trustworthiness, neighborhood_preservation):
        whole = measure(points + rng.normal(0, 1e-9, points.shape), nodes, lattice, 8)
        assert whole > 0.99
        assert 0.3 < measure(points, shuffled, lattice, 8) < 0.7
    # Folded over, far samples come together on the map: not to be trusted, while what is near stays near.
    chain = Lattice(1, 20, "rectangular")
    line = np.arange(40.0)[:, None]
    folded = np.minimum(np.arange(40), 39 - np.arange(40))
    assert trustworthiness(line, folded, chain, 3) < 0.8
    assert neighborhood_preservation(line, folded, chain, 3) > 0.94
    # Torn apart, and so the other way round.
    ring = 2 * np.pi * np.arange(40) / 40
    circle = np.column_stack([np.cos(ring), np.sin(ring)])
    torn = Lattice(1, 40, "rectangular")
    assert trustworthiness(circle, np.arange(40), torn, 3) == pytest.approx(1.0, abs=1e-2)
    assert neighborhood_preservation(circle, np.arange(40), torn, 3) < 0.98
    joined = Lattice(1, 40, "rectangular", "cylindrical")
    assert neighborhood_preservation(circle, np.arange(40), joined, 3) == pytest.approx(1.0, abs=1e-2)


def test_perfect_where_nothing_is_tied():
    lattice = Lattice(1, 400_000, "rectangular")
    bmu = np.random.default_rng(0).choice(lattice.n_nodes, 60, replace=False)
    assert all(len(set(np.abs(bmu - node).tolist())) == 60 for node in bmu)
    points = lattice.positions()[bmu] * 3.5
    assert trustworthiness(points, bmu, lattice, 10) == 1.0
    assert neighborhood_preservation(points, bmu, lattice, 10) == 1.0


def test_too_few_samples_have_no_measure(rng):
    lattice = Lattice(2, 2)
    for n, k in ((0, 1), (1, 1), (2, 1), (10, 5), (10, 0)):
        assert math.isnan(trustworthiness(rng.normal(size=(n, 2)), np.zeros(n, dtype=np.int64), lattice, k))
    assert math.isfinite(trustworthiness(rng.normal(size=(3, 2)), np.zeros(3, dtype=np.int64), lattice, 1))


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 40), shape=st.tuples(st.integers(1, 4), st.integers(1, 5)))
def test_it_lies_between_zero_and_one_and_the_order_of_samples_does_not_matter(seed, n, shape):
    rng = np.random.default_rng(seed)
    lattice = Lattice(*shape)
    points, bmu = rng.integers(0, 4, (n, 3)).astype(np.float64), rng.integers(0, lattice.n_nodes, n)
    k = int(rng.integers(1, (n + 1) // 2)) if n > 3 else 1
    order = rng.permutation(n)
    for measure in (trustworthiness, neighborhood_preservation):
        value = measure(points, bmu, lattice, k)
        assert -1e-12 <= value <= 1 + 1e-12
        assert measure(points[order], bmu[order], lattice, k) == pytest.approx(value, abs=1e-12)
        assert measure(np.ldexp(points, -600), bmu, lattice, k) == value
    assert preservation_of(points, bmu, lattice, k) == tuple(
        measure(points, bmu, lattice, k) for measure in (trustworthiness, neighborhood_preservation)
    )
