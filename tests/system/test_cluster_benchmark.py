"""The benchmark of clusters: cells are as designed, and their kinds are scored as said."""

import numpy as np
import pytest

from tests.benchmarks import clusters, populations
from tests.benchmarks.populations import HELD_OUT, TUNED_ON, Design, make_cells

pytest.importorskip("sklearn")


@pytest.mark.parametrize("name", [*TUNED_ON, *HELD_OUT])
def test_cells_are_as_designed(name):
    design = (TUNED_ON | HELD_OUT)[name]
    cells = make_cells(design, 20_000, 3)
    assert cells.values.shape == (20_000, design.markers)
    assert np.isfinite(cells.values).all()
    shares = np.bincount(cells.kinds[cells.kinds >= 0], minlength=design.kinds) / 20_000
    assert np.count_nonzero(shares < 0.012) == design.rare
    assert shares.min() > 0.0002
    assert np.mean(cells.kinds < 0) == pytest.approx(design.ungated)
    np.testing.assert_array_equal(cells.values, make_cells(design, 20_000, 3).values)
    assert (cells.values != make_cells(design, 20_000, 4).values).any()


def test_scores():
    kinds = np.repeat([0, 1, 2, -1], [200, 97, 3, 10])
    perfect = np.array([5, 1, 0, 2])[kinds]  # those of no kind have the last cluster, which is not counted as wrong
    assert clusters.score(perfect, kinds) == (1.0, 1.0, 1.0, 3.0)
    lost = np.where(kinds == 2, 1, perfect)
    f1, rare, ari, more = clusters.score(lost, kinds)
    assert f1 == pytest.approx((1 + 2 * 97 / (97 + 100)) / 3)
    assert (rare, more) == (0.0, 3.0)
    assert 0.9 < ari < 1


def test_all_ways_are_measured():
    found = clusters.measure(Design(kinds=4, rare=1, markers=5), clusters.Setting(n=500, sides=(5,), seeds=1), 0)
    assert set(found) > {f"{name}; kinds known" for name in clusters.METHODS}
    for values in found.values():
        assert values.shape == (1, 1, len(clusters.MEASURES))
        assert 0 < values[..., 0].max() <= 1
    assert set(populations.TUNED_ON).isdisjoint(populations.HELD_OUT)


def test_elbows_of_the_benchmark_are_those_of_the_package(rng):
    from som_dask.analysis.merges import MOST_MERGES, score_elbow

    heights = np.sort(rng.exponential(size=200))[::-1]
    rule = clusters.RULES[f"elbow of the last {MOST_MERGES} merges"]
    assert rule(heights) == 1 + np.argmax(score_elbow(heights))
