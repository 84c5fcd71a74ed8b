"""What a block tells of a trained map: the distances of training to the bit, the rest against loops."""

from dataclasses import replace

import numpy as np
import pytest

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.engine.block import Block
from som_dask.errors import DataError
from som_dask.passes.deviations import measure_block_deviations
from tests.algorithm.test_feature_space import shared
from tests.algorithm.test_quality import deviations_of
from tests.engine.test_gap_search import holes
from tests.reference.twins import plain_bmus

NONE = np.empty(0, dtype=np.int64)
PLAIN = FeatureSpace.plain(3)
SCALED = replace(
    PLAIN, center=np.array([1.0, 0, 0]), scale=np.array([1.0, 2, 5]), feature_weights=np.array([1.0, 9, 0.25])
)
KINDS = {
    "plain": PLAIN,
    "scaled": SCALED,
    "masked": replace(SCALED, missing="mask", gaps=True),
    "dropped": replace(PLAIN, missing="drop"),
    "cosine": replace(PLAIN, metric="cosine"),
    "cosine of what is known": replace(PLAIN, metric="cosine", missing="mask", gaps=True),
    "a feature left out": replace(PLAIN, used=np.array([True, False, True]), missing="mask", gaps=True),
}
EVERY_KIND = pytest.mark.parametrize("space", KINDS.values(), ids=KINDS)


def samples_for(space, rng, n=300):
    samples = rng.normal(size=(n, 3)) * [1, 2, 5] + [1, 0, 0]
    return samples if space.missing == "error" else holes(samples, 0.3, rng)


def codebook_for(space, rng):
    return space.to_sphere(rng.normal(size=(20, np.count_nonzero(space.used))))


@EVERY_KIND
def test_distances_and_misses_are_those_of_training_to_the_bit(space, rng):
    some = shared(space, codebook_for(space, rng))
    samples = samples_for(space, rng)
    block = Block.of(samples, None, 7)
    found, trained = measure_block_deviations(block, some, NONE), some.add_up(block)
    whole = found.distances
    assert (whole.distance, whole.samples, whole.fingerprint) == (trained.distance, 300, trained.fingerprint)
    np.testing.assert_array_equal(whole.hits, trained.hits)
    errors, expected = (
        found.rounded(some),
        trained.rounded(some.scales),
    )
    assert errors.quantization_error == expected.quantization_error
    assert errors.topographic_error == expected.topographic_error


@EVERY_KIND
def test_sums_by_node_are_the_plain_ones(space, rng):
    some = shared(space, codebook_for(space, rng))
    samples = samples_for(space, rng)
    found = measure_block_deviations(Block.of(samples), some, np.arange(300))
    points = space.scale_values(samples)
    if space.metric == "cosine":
        points = points / np.sqrt(np.nansum(points**2, axis=1, keepdims=True))
    lacking = np.isnan(points)
    points = points[~(lacking.any(axis=1) if space.missing == "drop" else lacking.all(axis=1))]
    bmu, _, distance = plain_bmus(points, some.codebook)
    known, sums, squares = deviations_of(points, bmu, some.codebook)
    np.testing.assert_array_equal(found.known, known)
    np.testing.assert_allclose(found.sums, sums, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.squares, squares, rtol=1e-11, atol=1e-14)
    if space.metric == "cosine":
        distance = distance**2 / 2
    by_node = found.rounded(some).numerator[:, 0]
    np.testing.assert_allclose(by_node, np.bincount(bmu, distance, minlength=20), rtol=1e-12, atol=1e-14)
    whole = ~np.isnan(points).any(axis=1)
    np.testing.assert_allclose(found.points, points[whole], rtol=1e-14)
    np.testing.assert_array_equal(found.bmu, bmu[whole])


@pytest.mark.parametrize("space", [KINDS["plain"], KINDS["masked"]], ids=["plain", "masked"])
def test_blocks_add_up(space, rng, monkeypatch):
    some, samples = shared(space, codebook_for(space, rng)), samples_for(space, rng)
    picked = np.array([0, 5, 99, 100, 101, 250, 299])
    once = measure_block_deviations(Block.of(samples), some, picked)
    monkeypatch.setattr("som_dask.engine.block.MOST_TILE_ROWS", 17)
    monkeypatch.setattr("som_dask.engine.block.LEAST_TILE_ROWS", 1)
    monkeypatch.setattr("som_dask.engine.exact_sums.MOST_TILE_ROWS", 17)
    monkeypatch.setattr("som_dask.engine.exact_sums.ROWS_AT_ONCE", 40)
    parts = [
        measure_block_deviations(Block.of(samples[a:b], None, a), some, picked[(picked >= a) & (picked < b)] - a)
        for a, b in ((0, 100), (100, 101), (101, 101), (101, 300))
    ]
    total = parts[0] + parts[1] + parts[2] + parts[3]
    for name in ("numerator", "hits", "distance", "topographic_misses", "samples", "fingerprint"):
        np.testing.assert_array_equal(getattr(total.distances, name), getattr(once.distances, name))
    for name in ("known", "points", "bmu"):
        np.testing.assert_array_equal(getattr(total, name), getattr(once, name))
    for name in ("sums", "squares"):
        np.testing.assert_allclose(getattr(total, name), getattr(once, name), rtol=1e-12, atol=1e-13)
    whole = ~np.isnan(samples[picked]).any(axis=1)
    np.testing.assert_array_equal(once.points, space.scale_values(samples[picked][whole]))


def test_what_lies_beyond_the_range_is_refused(rng):
    with pytest.raises(DataError, match="changed"):
        measure_block_deviations(Block.of(np.full((5, 3), 1e9)), shared(PLAIN, codebook_for(PLAIN, rng)), NONE)


@pytest.mark.parametrize("masked", [False, True])
def test_weights_are_so_many_copies(masked, rng):
    space = replace(SCALED, missing="mask" if masked else "error", gaps=masked)
    samples, times = samples_for(space, rng), rng.integers(0, 4, 300)
    codebook = codebook_for(space, rng)
    heavy = shared(replace(space, weighted=True), codebook, heaviest=4.0)
    alike = shared(space, codebook)
    weighted = measure_block_deviations(Block.of(samples, times.astype(float)), heavy, NONE)
    copies = measure_block_deviations(Block.of(samples.repeat(times, axis=0)), alike, NONE)
    trained = heavy.add_up(Block.of(samples, times.astype(float))).rounded(heavy.scales)
    found, expected = weighted.rounded(heavy), copies.rounded(alike)
    assert found.quantization_error == trained.quantization_error == pytest.approx(expected.quantization_error)
    assert found.topographic_error == trained.topographic_error == expected.topographic_error
    np.testing.assert_array_equal(found.weight, expected.hits)
    np.testing.assert_array_equal(found.hits, trained.hits)
    np.testing.assert_allclose(found.numerator[:, 0], expected.numerator[:, 0], rtol=1e-12)
    for name in ("known", "sums", "squares"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(copies, name), rtol=1e-11, atol=1e-12)
