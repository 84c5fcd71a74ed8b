"""Weights by hashes of row numbers: the same for any blocks, with the distribution that they are said to have."""

import numpy as np
import pytest
import xarray as xr

from som_dask.errors import ParameterError
from som_dask.samples.open import open_samples
from som_dask.samples.reweight import Reweighting, bootstrap_weights, held_out, reweight


def test_weights_by_row_numbers_are_the_same_for_any_blocks_of_any_dimensions(rng):
    cube = xr.DataArray(rng.normal(size=(6, 8, 2)), dims=("time", "cell", "feature"))
    weights = xr.DataArray(rng.integers(1, 3, (6, 8)) * 1.0, dims=("time", "cell"))
    expected = weights.values.ravel() * bootstrap_weights(48, 9) * ~held_out(48, 0.3, 2)
    for chunks in ({"time": 6, "cell": 8}, {"time": 4, "cell": 3}):
        samples = open_samples(cube.chunk(chunks), sample_weights=weights, sample_dims=("time", "cell"))
        mine = reweight(samples, Reweighting(bootstrap=9, holdout=0.3, holdout_seed=2))
        numbers = [n.numbers(0, r) for n, r in zip(samples.row_numbers(), samples.block_rows, strict=True)]
        np.testing.assert_array_equal(mine.weights.compute(), expected[np.concatenate(numbers)])
    assert reweight(samples, Reweighting()) is samples
    with pytest.raises(ParameterError, match="before"):
        reweight(mine, Reweighting(bootstrap=1))


def test_bootstrap_weights_have_the_distribution_of_poisson():
    counts = np.bincount(bootstrap_weights(100_000, 1).astype(int)) / 100_000
    expected = np.exp(-1) / np.array([1, 1, 2, 6, 24])
    np.testing.assert_allclose(counts[:5], expected, atol=0.006)
    both = bootstrap_weights(100_000, 1), bootstrap_weights(100_000, 2), held_out(100_000, 0.5, 1)
    assert np.abs(np.corrcoef(both) - np.eye(3)).max() < 0.02
    np.testing.assert_array_equal(bootstrap_weights(10, 0), [0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 4.0, 0.0, 0.0, 0.0])
    assert bootstrap_weights(50, 1)[:10].tolist() == bootstrap_weights(10, 1).tolist()
    assert held_out(100_000, 0.25, 3).mean() == pytest.approx(0.25, abs=0.01)
    assert not held_out(100, 0.0).any()
