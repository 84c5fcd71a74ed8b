"""Merges are cut at any number of clusters; and the elbow of their heights."""

import numpy as np
import pytest

from som_dask.analysis.merges import Merges, score_elbow


def test_cuts():
    merges = Merges(np.array([0, 1, 2, 3, 1]), np.array([[0, 1], [3, 2], [1, 3]]), np.array([1.0, 2.0, 3.0]))
    assert merges(4).tolist() == [0, 1, 2, 3, 1]
    two = merges(2)
    assert (two[[0, 4]] == two[1]).all()
    assert two[2] == two[3] != two[0]
    assert len(np.unique(merges(1))) == 1
    assert merges.descending_heights.tolist() == [3, 2, 1]


def test_the_elbow_is_the_first_of_the_low_heights():
    heights = np.concatenate([[9.0, 8.5, 8.2, 7.9, 6.5], np.linspace(1, 0, 60)])
    scores = score_elbow(heights)
    assert np.argmax(scores) + 1 == 6  # five merges of groups that are far apart are not done
    np.testing.assert_allclose(scores[5], 1 - 5 / 64 - 1 / 9)
    assert scores[0] == scores[-1] == 0
    np.testing.assert_allclose(score_elbow(1e-300 * heights), scores, rtol=1e-9)
    # However many low ones there are: only the last 80 merges count.
    np.testing.assert_array_equal(
        score_elbow(np.concatenate([heights, np.zeros(15)])), score_elbow(np.concatenate([heights, np.zeros(999)]))
    )


@pytest.mark.parametrize("heights", [[], [3.0], [3.0, 1.0], [2.0, 2.0, 2.0]])
def test_without_a_bend_there_is_no_elbow(heights):
    assert score_elbow(np.array(heights)).tolist() == [0.0] * len(heights)
