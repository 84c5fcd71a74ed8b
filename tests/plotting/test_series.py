"""Frequencies, trends and transitions: heights, dots and arrows of the right nodes."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.patches import FancyArrowPatch

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.series import plot_frequencies, plot_transitions, plot_trends
from tests.plotting.pictures import model_of

LATTICE = Lattice(2, 3)
MODEL = model_of(LATTICE)


def shares(n, rng, names=None):
    values = rng.random((2, 3, n))
    values[0, 0, 0] = np.nan
    coords = {"period": np.arange(n) + 2001 if names is None else names}
    return xr.DataArray(values, dims=("row", "col", "period"), coords=coords, name="share")


def test_bars_are_as_high_as_the_shares(rng):
    share = shares(4, rng, ["DJF", "MAM", "JJA", "SON"])
    ax = plot_frequencies(MODEL, share.to_dataset())
    corners = np.array([path.vertices[:4] for path in ax.collections[1].get_paths()])
    heights = np.ptp(corners[..., 1], axis=1)
    wanted = share.values.ravel()[1:]
    np.testing.assert_allclose(heights / heights.max(), np.maximum(wanted / wanted.max(), 0.02 / 0.68), rtol=1e-9)
    nodes = np.repeat(np.arange(6), 4)[1:]
    assert np.abs(corners[..., 0].mean(axis=1) - LATTICE.positions()[nodes, 0]).max() < 0.4
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["DJF", "MAM", "JJA", "SON"]
    assert f"{wanted.max():.1%}" in ax.texts[0].get_text()


def test_years_have_colors_in_order_and_many_are_a_line(rng):
    few = plot_frequencies(MODEL, shares(3, rng)).collections[1].get_facecolors()
    dark = few[2:5, :3].sum(axis=1)  # the second node; the first has no first bar
    assert dark[0] < dark[1] < dark[2]
    ax = plot_frequencies(MODEL, shares(30, rng).transpose("period", "row", "col"))
    assert len(ax.collections[1].get_segments()) == 6
    assert "30 periods from 2001 (left) to 2030 (right)" in ax.texts[0].get_text()


def test_dots_mark_the_significant_trends(rng):
    p_values = np.array([[0.5, 0.05, 0.3], [0.01, np.nan, 0.9]])
    dims = ("row", "col")
    slope = rng.normal(size=(2, 3))
    found = xr.Dataset({"slope": (dims, slope, {"units": "1/year"}), "p_value": (dims, p_values)})
    ax = plot_trends(MODEL, found)
    nodes, _, dots = ax.collections
    np.testing.assert_allclose(nodes.get_array(), slope.ravel())
    assert nodes.get_clim() == (-np.abs(slope).max(), np.abs(slope).max())
    np.testing.assert_allclose(dots.get_offsets(), LATTICE.positions()[[1, 3]])


@pytest.fixture
def found():
    table = np.zeros((6, 6))
    table[0, 4], table[4, 0], table[1, 2], table[5, 5], table[3, 1] = 0.5, 0.25, 0.05, 0.9, np.nan
    dims = ("row", "col", "next_row", "next_col")
    persistence = (("row", "col"), np.diagonal(table).reshape(2, 3))
    return xr.Dataset({"transition_probability": (dims, table.reshape(2, 3, 2, 3)), "persistence": persistence})


def test_arrows_lead_from_node_to_next_as_wide_as_probable(found):
    ax = plot_transitions(MODEL, found)
    arrows = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    positions = LATTICE.positions()
    ends = []
    for arrow in arrows:
        start, stop = arrow._posA_posB
        ends.append(tuple(int(np.argmin(np.linalg.norm(positions - end, axis=1))) for end in (start, stop)))
    assert ends == [(0, 4), (4, 0)]
    assert arrows[0].get_linewidth() == 2 * arrows[1].get_linewidth()
    np.testing.assert_array_equal(ax.collections[0].get_array().filled(0), [0, 0, 0, 0, 0, 0.9])
    assert len(plot_transitions(MODEL, found, least=0.01).patches) == 3
    ax.figure.canvas.draw()


def test_of_very_many_transitions_the_most_probable_are_drawn(rng):
    table = rng.random((30, 30))
    lattice = Lattice(5, 6)
    dims = ("row", "col", "next_row", "next_col")
    many = xr.Dataset({"transition_probability": (dims, table.reshape(5, 6, 5, 6))})
    many["persistence"] = ("row", "col"), np.diagonal(table).reshape(5, 6)
    assert len(plot_transitions(model_of(lattice), many, least=0.0).patches) == 600


def test_what_can_not_be_drawn(found, rng):
    with pytest.raises(ParameterError, match="no variable share"):
        plot_frequencies(MODEL, found)
    with pytest.raises(ParameterError, match="dimensions row, col, period"):
        plot_frequencies(MODEL, shares(3, rng)[0])
    with pytest.raises(ParameterError, match="does not fit the 2 x 3 map"):
        plot_transitions(MODEL, found.isel(row=[0]))
    with pytest.raises(ParameterError, match="no variable 'slope'"):
        plot_trends(MODEL, found)
