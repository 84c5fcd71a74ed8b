"""Profiles: heights as the weights say, in the right nodes."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from som_dask.algorithm.lattice import Lattice
from som_dask.plotting.profiles import plot_cluster_profiles, plot_profiles
from som_dask.plotting.values import compute_relative_weights
from tests.plotting.pictures import model_of


def uneven(lattice, n, rng):
    model = model_of(lattice, [f"f{i}" for i in range(n)])
    model["codebook"].values[:] = rng.normal(size=model["codebook"].shape)
    return model


@pytest.mark.parametrize("topology", ["hexagonal", "rectangular"])
def test_bars_are_as_high_as_the_weights(topology, rng):
    lattice = Lattice(3, 4, topology)
    model = uneven(lattice, 5, rng)
    model["codebook"][..., 3] = np.nan
    given = Figure().subplots()
    ax = plot_profiles(model, ax=given)
    assert ax is given
    _, bars = ax.collections
    corners = np.array([path.vertices[:4] for path in bars.get_paths()]).reshape(12, 4, 4, 2)  # one feature unknown
    middle = corners.mean(axis=(1, 2))[:, 0]
    assert np.abs(middle - lattice.positions()[:, 0]).max() < 0.2
    heights = np.ptp(corners[..., 1], axis=2)
    weights = compute_relative_weights(model)[:, [0, 1, 2, 4]]
    full = heights.max()
    np.testing.assert_allclose(heights, np.maximum(weights * full, 0.02), atol=1e-9)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["f0", "f1", "f2", "f3", "f4"]


def test_many_features_are_a_line(rng):
    lattice = Lattice(3, 4)
    model = uneven(lattice, 30, rng)
    _, lines = plot_profiles(model).collections
    segments = np.array(lines.get_segments())
    assert segments.shape == (12, 30, 2)
    assert np.abs(segments[..., 0].mean(axis=1) - lattice.positions()[:, 0]).max() < 1e-9
    up = lattice.positions()[:, 1, None] - segments[..., 1]  # y grows downwards
    np.testing.assert_allclose((up / 0.34 + 1) / 2, compute_relative_weights(model), atol=1e-9)


@pytest.mark.parametrize("n", [4, 60, 130])
def test_a_line_for_each_cluster(n, rng):
    model = uneven(Lattice(2, 3), n, rng)
    clusters = np.array([[0, 0, 2], [2, -1, 2]])
    given = Figure().subplots()
    ax = plot_cluster_profiles(model, clusters, ax=given)
    assert ax is given
    weights = compute_relative_weights(model)
    first, second = ax.lines
    np.testing.assert_allclose(first.get_ydata(), weights[[0, 1]].mean(axis=0))
    np.testing.assert_allclose(second.get_ydata(), weights[[2, 3, 5]].mean(axis=0))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["cluster 0", "cluster 2"]
    assert len(ax.get_xticks()) <= 60
    assert ax.get_xticklabels()[0].get_text() == "f0"
