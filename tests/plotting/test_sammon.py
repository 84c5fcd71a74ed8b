"""The Sammon map: nodes at their places, joined to their neighbors."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.sammon import plot_sammon
from tests.plotting.pictures import model_of


@pytest.mark.parametrize(
    ("lattice", "lines"),
    [
        (Lattice(2, 3, "rectangular"), {(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)}),
        (Lattice(2, 3), {(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5), (1, 3), (2, 4)}),
        (Lattice(1, 4, "rectangular", "cylindrical"), {(0, 1), (1, 2), (2, 3), (0, 3)}),
    ],
)
def test_nodes_and_lines(lattice, lines, rng):
    x, y = rng.normal(size=(2, *lattice.shape))
    found = xr.Dataset({"sammon_x": (("row", "col"), x), "sammon_y": (("row", "col"), y), "stress": 0.25})
    given = Figure().subplots()
    ax = plot_sammon(model_of(lattice), found, "hits", ax=given)
    assert ax is given
    joined, nodes = ax.collections
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    np.testing.assert_array_equal(nodes.get_offsets(), points)
    np.testing.assert_array_equal(nodes.get_array(), np.arange(lattice.n_nodes))
    drawn = {
        tuple(int(np.flatnonzero((points == end).all(axis=1))[0]) for end in line) for line in joined.get_segments()
    }
    assert drawn == lines
    assert [text.get_text() for text in ax.texts][:2] == ["0,0", "0,1"]
    assert ax.get_xlabel() == "stress 0.25"
    low, high = ax.get_ylim()
    assert low > high


def test_each_node_needs_a_place():
    with pytest.raises(ParameterError, match="no variable 'sammon_x'"):
        plot_sammon(model_of(Lattice(2, 2)), xr.Dataset())
