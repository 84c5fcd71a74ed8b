"""The initial plane of wide data: that of the covariance never formed, the same bits however the data are cut."""

import functools
import itertools
import operator
import tracemalloc

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from som_dask.algorithm.lattice import Lattice
from som_dask.engine.block import Block
from som_dask.errors import DataError
from som_dask.passes import plane, plane_products
from som_dask.passes.plane import WIDE, find_plane
from som_dask.passes.plane_moments import Quantizer
from som_dask.passes.plane_products import Probes, measure_block_mean, multiply_block
from som_dask.training.config import MapConfig
from som_dask.training.prepared import prepare_data
from tests.engine.test_gap_search import holes

LATTICE = Lattice(4, 5)


def wide_samples(rng, n, n_features=WIDE + 10):
    """Samples of three strong components in noise, made without BLAS."""
    components = rng.integers(-9, 10, size=(3, n_features)) / 8
    scores = rng.integers(-99, 100, size=(n, 3)) * [4, 2, 1] / 50
    return 5 + (scores[:, :, None] * components).sum(axis=1) + rng.integers(-9, 10, size=(n, n_features)) / 90


def plane_of(data, **options):
    given = {name: options.pop(name) for name in ("sample_weights", "feature_weights") if name in options}
    prepared = prepare_data(data, MapConfig(**options), **given)
    return find_plane(prepared.samples, prepared.summary, prepared.space)


def assert_same_bits(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n", [2, 40, 300])
def test_it_is_the_plane_of_the_covariance(n, rng):
    data = wide_samples(rng, n)
    mean, deviations, directions = plane_of(data)
    np.testing.assert_allclose(mean, data.mean(axis=0), atol=1e-4)
    _, sizes, axes = np.linalg.svd((data - data.mean(axis=0)) / np.sqrt(n), full_matrices=False)
    known = min(n - 1, 2)  # two samples lie on a line
    np.testing.assert_allclose(deviations[:known], sizes[:known], rtol=1e-4)
    np.testing.assert_allclose(np.abs((directions * axes[:2]).sum(axis=1))[:known], 1, atol=1e-6)
    assert (np.abs(deviations[known:]) < 1e-3 * deviations[0]).all()


SETTINGS = {
    "plain": {},
    "weights": {"weighted": True},
    "whole weights": {"weighted": True, "whole": True},
    "masked gaps": {"missing": "mask"},
    "dropped gaps": {"missing": "drop"},
    "masked gaps and weights": {"missing": "mask", "weighted": True},
    "zscore": {"scaling": "zscore"},
    "feature weights": {"features": True, "missing": "mask", "scaling": "range"},
    "cosine": {"metric": "cosine"},
    "correlation": {"metric": "correlation"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_the_plane_of_the_narrow_path(name, rng, monkeypatch):
    options, more = dict(SETTINGS[name]), {}
    data = wide_samples(rng, 500, 70) * rng.integers(1, 5, 70)
    data[:, 7] = 3.0  # does not vary
    if options.get("missing"):
        data = holes(data, 0.2 if options["missing"] == "mask" else 0.01, rng)
    if options.pop("weighted", False):
        more["sample_weights"] = rng.integers(0, 9, 500) / (1 if options.pop("whole", False) else 7)
    if options.pop("features", False):
        more["feature_weights"] = np.append(0.0, rng.random(69))
    narrow = plane_of(data, **options, **more)
    monkeypatch.setattr(plane, "WIDE", 0)
    mean, deviations, directions = plane_of(data, **options, **more)
    assert_same_bits([mean], [narrow.mean])
    np.testing.assert_allclose(deviations, narrow.deviations, rtol=1e-4)
    np.testing.assert_allclose(directions, narrow.directions, rtol=0, atol=1e-3)


def test_the_same_bits_for_any_chunks_order_and_threads(rng):
    data = holes(wide_samples(rng, 150), 0.05, rng)
    weights = rng.integers(1, 9, 150) / 7
    whole = plane_of(data, sample_weights=weights, missing="mask")
    for rows, threads in ((1, 2), (37, 1), (64, 3)):
        order = rng.permutation(150)
        with dask.config.set(num_workers=threads):
            cut = da.from_array(data[order], chunks=(rows, -1))
            assert_same_bits(plane_of(cut, sample_weights=weights[order], missing="mask"), whole)


@given(cuts=st.lists(st.integers(0, 50), max_size=5), seed=st.integers(0, 2**32 - 1))
def test_products_are_the_same_integers_for_any_split(cuts, seed):
    rng = np.random.default_rng(seed)
    data, weights = holes(rng.lognormal(size=(50, 6)), 0.1, rng), rng.integers(0, 4097, 50).astype(float)
    prepared = prepare_data(data, MapConfig(missing="mask"), sample_weights=weights)
    space = prepared.space
    quantizer = Quantizer.of(prepared.summary, space)
    probes, _ = Probes.of(rng.normal(size=(3, 6)), int(weights.sum()))
    edges = [0, *sorted(cuts), 50]
    blocks = [Block.of(data[a:b], weights[a:b]) for a, b in itertools.pairwise(edges)]
    products = functools.reduce(operator.add, (multiply_block(b, quantizer, space, probes) for b in blocks))
    sums = functools.reduce(operator.add, (measure_block_mean(b, quantizer, space) for b in blocks))
    levels = np.rint((data - quantizer.center) / quantizer.step)
    known, heavy = ~np.isnan(levels), weights.astype(np.int64)
    levels = np.where(known, levels, 0).astype(np.int64)
    np.testing.assert_array_equal(sums.first, heavy @ levels)
    np.testing.assert_array_equal(sums.known, heavy @ known)
    scores = np.rint(np.ldexp((levels @ probes.coefficients.T.astype(np.int64)).astype(float), -probes.shift))
    np.testing.assert_array_equal(products, (scores.astype(np.int64) * heavy[:, None]).T @ levels)
    assert products.dtype == np.int64


@pytest.mark.parametrize("n_features", [3000, 2**20])
@pytest.mark.parametrize("most_total", [1, 2**20, 2**32])
def test_the_largest_products_fit(n_features, most_total):
    vectors = np.ones((1, n_features))
    probes, units = Probes.of(vectors, most_total)
    level = 2**plane_products.LEVEL_BITS
    score = int(probes.coefficients.astype(np.int64).sum()) * level
    assert score <= 2**53
    rounded = score >> int(probes.shift[0])
    assert rounded * level * most_total < 2**63
    assert rounded * level * probes.rows <= 2**53
    assert rounded * units[0] == pytest.approx(n_features * level, rel=1e-3)


def test_a_few_samples_need_two_rounds(rng, monkeypatch):
    names, run = [], plane_products.run_pass
    monkeypatch.setattr(plane_products, "run_pass", lambda look, *rest: names.append(look.name) or run(look, *rest))
    plane_of(rng.normal(size=(60, WIDE + 1)))
    assert names == ["plane_mean", *["plane_products"] * 2]


def test_the_covariance_is_never_formed(rng):
    prepared = prepare_data(rng.normal(size=(20, 8000)), MapConfig())
    tracemalloc.start()
    codebook = prepared.make_initial_codebook(LATTICE, MapConfig())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert codebook.shape == (20, 8000)
    assert peak < 8 * 8000**2 / 8


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.0, -1e9, 1.7e308])
def test_constant_data_start_at_their_mean(value, monkeypatch):
    monkeypatch.setattr(plane, "WIDE", 0)
    mean, deviations, _ = plane_of(np.full((10, 70), value))
    np.testing.assert_array_equal(mean, np.full(70, value))
    np.testing.assert_array_equal(deviations, [0, 0])


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_sizes_whose_squares_are_no_numbers(size, monkeypatch, rng):
    monkeypatch.setattr(plane, "WIDE", 0)
    data = np.column_stack(
        [rng.normal(size=(200, 69)) * np.append([5, 4], np.ones(67)), np.full(200, 5)]
    )  # one of them does not vary
    near_one, far = plane_of(data), plane_of(data * size)
    np.testing.assert_allclose(far.deviations / size, near_one.deviations, rtol=1e-4)
    np.testing.assert_allclose(far.directions, near_one.directions, rtol=0, atol=1e-3)


def test_deviations_beyond_all_numbers_are_refused(monkeypatch):
    monkeypatch.setattr(plane, "WIDE", 0)
    with pytest.raises(DataError, match="too large for a covariance"):
        plane_of(np.repeat([[-1.7e308], [1.7e308]], 70, axis=1))


def test_weights_are_so_many_samples(rng):
    data, weights = wide_samples(rng, 30), rng.integers(1, 5, 30)
    copies = np.repeat(data, weights, axis=0)
    weighted, plain = plane_of(data, sample_weights=weights.astype(float)), plane_of(copies)
    np.testing.assert_array_equal(weighted.mean, plain.mean)
    np.testing.assert_allclose(weighted.deviations, plain.deviations, rtol=1e-4)
    np.testing.assert_allclose(weighted.directions, plain.directions, rtol=0, atol=1e-4)
