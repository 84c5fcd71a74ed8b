"""What a block tells of a trained map: the distances of training to the bit, the rest against loops."""

from dataclasses import replace

import numpy as np
import pytest

from som_dask.algorithm.feature_space import Preparation
from som_dask.engine.batch import chunk_sums
from som_dask.errors import DataError
from som_dask.passes.deviations import block_deviations
from tests.algorithm.test_feature_space import Block, shared
from tests.algorithm.test_quality import deviations_of
from tests.engine.test_masked import holes
from tests.reference.twins import plain_bmus

NONE = np.empty(0, dtype=np.int64)
PLAIN = Preparation.none(3)
SCALED = replace(
    PLAIN, center=np.array([1.0, 0, 0]), scale=np.array([1.0, 2, 5]), feature_weights=np.array([1.0, 9, 0.25])
)
KINDS = {
    "plain": PLAIN,
    "scaled": SCALED,
    "masked": replace(SCALED, missing="mask", masked=True),
    "dropped": replace(PLAIN, missing="drop"),
    "cosine": replace(PLAIN, metric="cosine"),
    "cosine of what is known": replace(PLAIN, metric="cosine", missing="mask", masked=True),
    "a feature left out": replace(PLAIN, used=np.array([True, False, True]), missing="mask", masked=True),
}
EVERY_KIND = pytest.mark.parametrize("preparation", KINDS.values(), ids=KINDS)


def samples_for(preparation, rng, n=300):
    samples = rng.normal(size=(n, 3)) * [1, 2, 5] + [1, 0, 0]
    return samples if preparation.missing == "error" else holes(samples, 0.3, rng)


def codebook_for(preparation, rng):
    return preparation.on_sphere(rng.normal(size=(20, np.count_nonzero(preparation.used))))


@EVERY_KIND
def test_distances_and_misses_are_those_of_training_to_the_bit(preparation, rng):
    some = shared(preparation, codebook_for(preparation, rng))
    samples = samples_for(preparation, rng)
    found, trained = block_deviations(samples, some, 7, NONE), chunk_sums(samples, some, 7)
    whole = found.whole
    assert (whole.distance, whole.samples, whole.fingerprint) == (trained.distance, 300, trained.fingerprint)
    np.testing.assert_array_equal(whole.counts, trained.counts)
    errors, expected = (
        found.measured(some),
        trained.rounded(some.whole, some.codebook.shape[1]),
    )
    assert errors.quantization_error == expected.quantization_error
    assert errors.topographic_error == expected.topographic_error


@EVERY_KIND
def test_sums_by_node_are_the_plain_ones(preparation, rng):
    some = shared(preparation, codebook_for(preparation, rng))
    samples = samples_for(preparation, rng)
    found = block_deviations(samples, some, 0, np.arange(300))
    points = preparation.scaled(samples)
    if preparation.metric == "cosine":
        points = points / np.sqrt(np.nansum(points**2, axis=1, keepdims=True))
    lacking = np.isnan(points)
    points = points[~(lacking.any(axis=1) if preparation.missing == "drop" else lacking.all(axis=1))]
    bmu, _, distance = plain_bmus(points, some.codebook)
    known, sums, squares = deviations_of(points, bmu, some.codebook)
    np.testing.assert_array_equal(found.known, known)
    np.testing.assert_allclose(found.sums, sums, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.squares, squares, rtol=1e-11, atol=1e-14)
    if preparation.metric == "cosine":
        distance = distance**2 / 2
    by_node = found.measured(some).sums[:, 0]
    np.testing.assert_allclose(by_node, np.bincount(bmu, distance, minlength=20), rtol=1e-12, atol=1e-14)
    whole = ~np.isnan(points).any(axis=1)
    np.testing.assert_allclose(found.points, points[whole], rtol=1e-14)
    np.testing.assert_array_equal(found.units, bmu[whole])


@pytest.mark.parametrize("preparation", [KINDS["plain"], KINDS["masked"]], ids=["plain", "masked"])
def test_blocks_add_up(preparation, rng, monkeypatch):
    some, samples = shared(preparation, codebook_for(preparation, rng)), samples_for(preparation, rng)
    picked = np.array([0, 5, 99, 100, 101, 250, 299])
    once = block_deviations(samples, some, 0, picked)
    monkeypatch.setattr("som_dask.engine.batch.MOST_TILE_ROWS", 17)
    monkeypatch.setattr("som_dask.engine.batch.LEAST_TILE_ROWS", 1)
    monkeypatch.setattr("som_dask.passes.deviations.ROWS_AT_ONCE", 40)
    parts = [
        block_deviations(Block(samples[a:b]), some, a, picked[(picked >= a) & (picked < b)] - a)
        for a, b in ((0, 100), (100, 101), (101, 101), (101, 300))
    ]
    total = parts[0] + parts[1] + parts[2] + parts[3]
    for name in ("limbs", "counts", "distance", "misses", "samples", "fingerprint"):
        np.testing.assert_array_equal(getattr(total.whole, name), getattr(once.whole, name))
    for name in ("known", "points", "units"):
        np.testing.assert_array_equal(getattr(total, name), getattr(once, name))
    for name in ("sums", "squares"):
        np.testing.assert_allclose(getattr(total, name), getattr(once, name), rtol=1e-12, atol=1e-13)
    whole = ~np.isnan(samples[picked]).any(axis=1)
    np.testing.assert_array_equal(once.points, preparation.scaled(samples[picked][whole]))


def test_what_lies_beyond_the_range_is_refused(rng):
    with pytest.raises(DataError, match="changed"):
        block_deviations(np.full((5, 3), 1e9), shared(PLAIN, codebook_for(PLAIN, rng)), 0, NONE)


@pytest.mark.parametrize("masked", [False, True])
def test_weights_are_so_many_copies(masked, rng):
    preparation = replace(SCALED, missing="mask" if masked else "error", masked=masked)
    samples, times = samples_for(preparation, rng), rng.integers(0, 4, 300)
    codebook = codebook_for(preparation, rng)
    heavy = shared(replace(preparation, weighted=True), codebook, heaviest=4.0)
    alike = shared(preparation, codebook)
    weighted = block_deviations(Block(samples, times.astype(float)), heavy, 0, NONE)
    copies = block_deviations(samples.repeat(times, axis=0), alike, 0, NONE)
    trained = chunk_sums(Block(samples, times.astype(float)), heavy).rounded(heavy.whole, 3)
    found, expected = weighted.measured(heavy), copies.measured(alike)
    assert found.quantization_error == trained.quantization_error == pytest.approx(expected.quantization_error)
    assert found.topographic_error == trained.topographic_error == expected.topographic_error
    np.testing.assert_array_equal(found.weights, expected.counts)
    np.testing.assert_array_equal(found.counts, trained.counts)
    np.testing.assert_allclose(found.sums[:, 0], expected.sums[:, 0], rtol=1e-12)
    for name in ("known", "sums", "squares"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(copies, name), rtol=1e-11, atol=1e-12)
