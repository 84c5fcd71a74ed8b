"""What the map sees of samples with scaled features, weights and gaps, and the sums that they make."""

import math
from dataclasses import replace

import numpy as np
import pytest

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.engine.block import Block
from som_dask.engine.codebook import SharedCodebook, scales_for
from som_dask.engine.engines import engine_for
from som_dask.errors import DataError
from tests.engine.test_gap_search import holes
from tests.reference.twins import NEIGHBORHOODS, dense_matrix, find_nodes, next_codebook, plain_bmus
from tests.reference.twins import plain_epoch as every_epoch

LATTICE = Lattice(4, 5)


def shared(space, codebook, precision="exact", heaviest=1.0):
    if precision == "fast":
        return SharedCodebook(codebook, LATTICE, space, engine_for("cpu", "fast"))
    n_used = codebook.shape[1]
    scales = scales_for(
        codebook, space, n=1000, least=np.full(n_used, -50.0), most=np.full(n_used, 50.0), weights=(0.01, heaviest)
    )
    return SharedCodebook(codebook, LATTICE, space, scales=scales)


def sums_of(block, space, codebook, precision="exact", heaviest=1.0):
    some = shared(space, codebook, precision, heaviest)
    sums = some.add_up(block)
    return sums if precision == "fast" else sums.rounded(some.scales)


def plain_epoch(samples, weights, codebook, radius):
    """One epoch feature by feature over what is known; also weighted quantization error."""
    h = dense_matrix(LATTICE, Neighborhood(), radius)
    numerator, denominator, distance = np.zeros_like(codebook), np.zeros_like(codebook), 0.0
    bmus, _, distances = plain_bmus(samples, codebook)
    for sample, weight, bmu, d in zip(samples, weights, bmus, distances, strict=True):
        known = ~np.isnan(sample)
        numerator[:, known] += h[:, bmu, None] * weight * sample[known]
        denominator[:, known] += h[:, bmu, None] * weight
        distance += weight * d
    result = np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), codebook)
    return result, distance / sum(weights)


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_epoch_is_the_plain_one(precision, masked, weighted, rng):
    samples, codebook = rng.normal(size=(300, 4)), rng.normal(size=(20, 4))
    samples = holes(samples, 0.3, rng) if masked else samples
    weights = rng.random(300) * 5 if weighted else np.ones(300)
    missing = "mask" if masked else "error"
    space = replace(FeatureSpace.plain(4), missing=missing, gaps=masked, weighted=weighted)
    sums = sums_of(Block.of(samples, weights if weighted else None), space, codebook, precision, 5.0)
    found = next_codebook(sums, codebook, LATTICE, Neighborhood(), 1.5)
    expected, error = plain_epoch(samples, weights, codebook, 1.5)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert sums.quantization_error == pytest.approx(error, rel=1e-12)
    np.testing.assert_array_equal(sums.hits, np.bincount(plain_bmus(samples, codebook)[0], minlength=20))


@pytest.mark.parametrize("neighborhood", NEIGHBORHOODS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_an_epoch_is_the_plain_one_under_every_neighborhood(neighborhood, masked, rng):
    samples, codebook, weights = rng.normal(size=(80, 4)), rng.normal(size=(20, 4)), rng.random(80) * 5
    samples = holes(samples, 0.5, rng) if masked else samples
    space = replace(FeatureSpace.plain(4), missing="mask" if masked else "error", gaps=masked, weighted=True)
    sums = sums_of(Block.of(samples, weights), space, codebook, heaviest=5.0)
    for radius in (0.5, 1.0, 2.3):
        found = next_codebook(sums, codebook, LATTICE, neighborhood, radius)
        expected = every_epoch(samples, codebook, LATTICE, neighborhood, radius, weights)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


def test_whole_weights_are_so_many_copies(rng):
    samples, codebook = rng.normal(size=(200, 3)).astype(np.float32), rng.normal(size=(20, 3))
    times = rng.integers(0, 5, 200)
    space = replace(FeatureSpace.plain(3), weighted=True)
    weighted = sums_of(Block.of(samples, times.astype(float)), space, codebook, heaviest=4.0)
    copies = sums_of(Block.of(samples.repeat(times, axis=0), np.ones(times.sum())), space, codebook, heaviest=4.0)
    found, expected = (next_codebook(s, codebook, LATTICE, Neighborhood(), 1.0) for s in (weighted, copies))
    np.testing.assert_array_equal(found, expected)  # to the bit: products of float32 and small numbers are exact
    np.testing.assert_array_equal(weighted.weight, copies.hits)
    assert weighted.topographic_error == copies.topographic_error
    assert weighted.quantization_error == pytest.approx(copies.quantization_error, rel=1e-14)


def test_any_order_gives_the_same_sums(rng):
    samples, codebook = holes(rng.normal(size=(500, 4)), 0.4, rng), rng.normal(size=(20, 4))
    weights = rng.random(500)
    space = replace(FeatureSpace.plain(4), missing="mask", gaps=True, weighted=True)
    some = shared(space, codebook)
    whole = some.add_up(Block.of(samples, weights))
    cuts = np.split(rng.permutation(500), [7, 100, 333])
    total = sum(
        (some.add_up(Block.of(samples[c], weights[c])) for c in cuts[1:]),
        start=some.add_up(Block.of(samples[cuts[0]], weights[cuts[0]])),
    )
    np.testing.assert_array_equal(total.numerator, whole.numerator)
    assert (total.distance, total.topographic_misses) == (whole.distance, whole.topographic_misses)


def test_where_nobody_knows_a_feature_the_node_keeps_it(rng):
    codebook = rng.normal(size=(20, 2))
    samples = codebook.copy()
    samples[:, 1] = np.nan
    space = replace(FeatureSpace.plain(2), missing="mask", gaps=True)
    found = next_codebook(sums_of(Block.of(samples), space, codebook), codebook, LATTICE, Neighborhood(), 0.5)
    np.testing.assert_array_equal(found[:, 1], codebook[:, 1])


@pytest.mark.parametrize("missing", ["drop", "mask"])
def test_nearest_leaves_out_samples(missing, rng):
    codebook, samples = rng.normal(size=(20, 3)), rng.normal(size=(50, 3))
    samples[3, 1], samples[7] = np.nan, np.nan
    space = FeatureSpace.plain(3).for_inference(missing)
    bmu, distance = find_nodes(samples, SharedCodebook(codebook, LATTICE, space))
    out = [3, 7] if missing == "drop" else [7]
    assert np.flatnonzero(bmu < 0).tolist() == np.flatnonzero(np.isnan(distance)).tolist() == out
    rest = np.delete(np.arange(50), out)
    expected = plain_bmus(samples[rest], codebook)
    np.testing.assert_array_equal(bmu[rest], expected[0])
    np.testing.assert_allclose(distance[rest], expected[2], rtol=1e-14)


def test_scaling_and_feature_weights(rng):
    samples = rng.normal(size=(40, 3)) * [1, 10, 100] + [0, 5, 1000]
    space = replace(
        FeatureSpace.plain(3),
        center=np.array([0.0, 5.0, 1000.0]),
        scale=np.array([1.0, 10.0, 100.0]),
        feature_weights=np.array([1.0, 4.0, 0.25]),
    )
    scaled = space.scale_values(samples)
    np.testing.assert_array_equal(scaled, (samples - space.center) / space.scale * [1, 2, 0.5])
    np.testing.assert_allclose(space.to_data_units(scaled), samples, rtol=1e-13)


def test_a_feature_that_none_has_is_left_out(rng):
    space = replace(FeatureSpace.plain(3), used=np.array([True, False, True]), missing="mask")
    samples = rng.normal(size=(5, 3))
    samples[:, 1] = np.nan
    (part,) = space.parts(samples)
    assert part.complete
    np.testing.assert_array_equal(part.values, samples[:, [0, 2]])
    np.testing.assert_array_equal(space.to_data_units(part.values), samples)


def test_cosine_takes_the_direction_alone(rng):
    samples, codebook = rng.normal(size=(100, 3)) * rng.uniform(1e-3, 1e3, (100, 1)), rng.normal(size=(20, 3))
    space = replace(FeatureSpace.plain(3), metric="cosine")
    codebook = space.to_sphere(codebook)
    bmu, distance = find_nodes(samples, SharedCodebook(codebook, LATTICE, space))
    cosine = (samples @ codebook.T) / np.linalg.norm(samples, axis=1)[:, None]
    np.testing.assert_array_equal(bmu, cosine.argmax(axis=1))
    np.testing.assert_allclose(distance, 1 - cosine.max(axis=1), rtol=0, atol=1e-14)
    sums = sums_of(Block.of(samples), space, codebook)
    assert sums.quantization_error == pytest.approx(math.fsum(distance) / 100, rel=1e-12)
    with pytest.raises(DataError, match="1 samples are all zeros"):
        find_nodes(np.zeros((1, 3)), SharedCodebook(codebook, LATTICE, space))


@pytest.mark.parametrize("missing", ["drop", "error"])
def test_zeros_that_are_left_out_need_no_direction(missing, rng):
    values, weights = rng.normal(size=(20, 3)), np.ones(20)
    values[3], weights[3] = 0.0, 0.0
    if missing == "drop":
        values[4] = [0.0, np.nan, 0.0]
    space = replace(FeatureSpace.plain(3), metric="cosine", missing=missing, weighted=True)
    (part,) = space.parts(values, weights)
    assert not {3, 4 if missing == "drop" else 3} & set(part.rows.tolist())
    np.testing.assert_allclose(np.linalg.norm(part.values, axis=1), 1.0)
