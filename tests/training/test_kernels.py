"""What each neighborhood makes of a whole training."""

from typing import get_args

import numpy as np
import pytest
from sklearn.datasets import load_iris

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Kernel, Neighborhood
from som_dask.algorithm.smoothing import smooth
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.reference.twins import next_codebook, sums_of

LATTICE = Lattice(10, 10)
KERNELS = get_args(Kernel)


def uniform(n=1500):
    return np.random.default_rng(5).random((n, 2))


def iris():
    data = load_iris().data
    return (data - data.mean(axis=0)) / data.std(axis=0)


def errors(samples, **options):
    model = train(samples, LATTICE, MapConfig(initialization="sample", **options))
    return float(model["quantization_error"][-1]), float(model["topographic_error"][-1])


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_map_of_a_square_unfolds(kernel):
    # From samples picked at random, so that all order comes from the neighborhood.
    quantization, topographic = errors(uniform(), neighborhood=kernel, seed=2)
    assert topographic < 0.06
    assert quantization < 0.05


def test_what_would_not_pass_for_an_unfolded_one():
    _, unordered = errors(uniform(), neighborhood="epanechnikov", initial_radius=1.0, seed=2)
    collapsed, _ = errors(uniform(), initial_radius=50.0, final_radius=50.0, seed=2)
    assert unordered > 0.8
    assert collapsed > 0.3


def lloyd(samples, centers, steps):
    """k-means by loops: each center becomes the mean of the samples nearest to it; without samples it stays."""
    for _ in range(steps):
        own = [[] for _ in centers]
        for sample in samples:
            own[int(np.argmin([((sample - center) ** 2).sum() for center in centers]))].append(sample)
        centers = np.array(
            [np.mean(group, axis=0) if group else center for group, center in zip(own, centers, strict=True)]
        )
    return centers


@pytest.mark.parametrize(
    ("kernel", "radius"),
    [("bubble", 0.99), ("cut_gaussian", 0.99), ("epanechnikov", 1.0), ("triangle", 1.0), ("mexican_hat", 0.02)],
)
def test_a_radius_below_one_step_is_k_means(kernel, radius, rng):
    samples, lattice = rng.normal(size=(150, 3)), Lattice(4, 5)
    start = np.concatenate([samples[:17], np.full((3, 3), 50.0)])  # the last three win nothing
    config = MapConfig(epochs=6, radii=(radius,) * 6, neighborhood=kernel)
    model = train(samples, lattice, config, codebook=start.reshape(4, 5, 3))
    found = model["codebook"].values.reshape(20, 3)
    np.testing.assert_allclose(found, lloyd(samples, start, 6), rtol=0, atol=1e-12)


@pytest.mark.parametrize("boundary", ["planar", "toroidal"])
@pytest.mark.parametrize(("first", "last"), [(5.0, 1.0), (5.0, 0.5), (2.0, 0.5), (1.0, 1.0), (0.7, 0.7), (30.0, 1.0)])
@pytest.mark.parametrize("samples", [uniform(500), iris()], ids=["uniform", "iris"])
def test_training_under_a_mexican_hat_stays_near_the_data(samples, first, last, boundary):
    least, most = samples.min(axis=0), samples.max(axis=0)
    beyond = (most - least) / 19 * (1 + 1e-9)
    lattice, seen = Lattice(10, 10, boundary=boundary), []
    for initialization in ("pca", "sample"):
        options = {"neighborhood": "mexican_hat", "initialization": initialization}
        start = train(samples, lattice, MapConfig(epochs=0, **options))["codebook"].values.reshape(100, -1)
        config = MapConfig(epochs=12, initial_radius=first, final_radius=last, **options)
        train(samples, lattice, config, on_epoch=lambda epoch: seen.append(epoch.codebook.reshape(100, -1)))
        # Nodes that nothing excites may stay on the initial plane, which goes beyond the data.
        low, high = (np.minimum(least - beyond, start.min(axis=0)), np.maximum(most + beyond, start.max(axis=0)))
        assert all(((low <= codebook) & (codebook <= high)).all() for codebook in seen)
        assert len(seen) >= 12
        seen.clear()


def test_the_bare_quotient_would_leave_the_data_by_far():
    # Why inhibition is limited: the same training by H S / H n leaves the unit square.
    samples, hat = uniform(500), Neighborhood("mexican_hat")
    bare = limited = samples[:100]
    farthest, negative = 0.0, []
    for radius in MapConfig().schedule(LATTICE):
        sums = sums_of(samples, bare, LATTICE)
        smoothed = smooth(np.column_stack([sums.numerator, sums.hits]), LATTICE, hat, radius)
        bare = smoothed[:, :2] / smoothed[:, 2:]
        farthest = max(farthest, np.abs(bare).max())
        negative.append((smoothed[:, 2] < 0).mean())
        limited = next_codebook(sums_of(samples, limited, LATTICE), limited, LATTICE, hat, radius)
        assert limited.min() >= -1 / 19
        assert limited.max() <= 20 / 19
    assert max(negative) > 0.5
    assert farthest > 10
