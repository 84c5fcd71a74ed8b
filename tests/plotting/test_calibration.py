"""Coverage in its colors, a histogram in each node, and the densities of reference and target."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgba

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.calibration import plot_coverage, plot_distribution, plot_histograms
from tests.plotting.pictures import model_of

NODES = ("row", "col")


def bins_of(edges):
    edges = np.array(edges, dtype=float)
    middle = ("bin", (edges[1:] + edges[:-1]) / 2, {"long_name": "redshift"})
    return {"bin": middle, "bin_left": ("bin", edges[:-1]), "bin_right": ("bin", edges[1:])}


def histograms_of(values, edges):
    nothing = (NODES, np.zeros(values.shape[:2]))
    return xr.Dataset(
        {"histogram": ((*NODES, "bin"), values), "below": nothing, "above": nothing}, coords=bins_of(edges)
    )


@pytest.mark.parametrize("shape", [(2, 2), (1, 4)])
def test_covered_nodes_are_in_the_color_of_the_target(shape):
    lattice = Lattice(*shape)
    reference, target = np.array([3, 0, 2, 0]), np.array([4, 12, 0, 0])
    counts = {"reference_count": reference, "target_count": target}
    given = xr.Dataset({name: (NODES, values.reshape(shape)) for name, values in counts.items()})
    ax = plot_coverage(model_of(lattice), given)
    ground, above = ax.collections
    above.update_scalarmappable()
    np.testing.assert_allclose(ground.get_facecolors()[1:], [to_rgba(c) for c in ("#d55e00", "#ffffff", "#d9d9d9")])
    assert above.get_array().compressed().tolist() == [4]
    assert above.get_facecolors()[1:, 3].tolist() == [0, 0, 0]
    assert ax.get_title() == "25.0% of the target lies on covered nodes"
    bare = given.assign(reference_count=given["reference_count"] * 0)
    assert len(plot_coverage(model_of(lattice), bare).collections) == 1


@pytest.mark.parametrize("topology", ["hexagonal", "rectangular"])
def test_bars_are_as_high_as_the_density(topology):
    values = np.zeros((2, 3, 3))
    values[0, 1], values[1, 2] = [1, 4, 2], [0, 0, 5]
    ax = plot_histograms(model_of(Lattice(2, 3, topology)), histograms_of(values, [0, 1, 3, 4]))
    ground, bars = ax.collections
    known = np.all(ground.get_facecolors() == to_rgba("#f2f2f2"), axis=1)
    assert known.tolist() == [False, True, False, False, False, True]
    corners = [path.vertices[:-1] for path in bars.get_paths()]
    assert len(corners) == 2
    bottom = corners[0][:, 1].max()
    tops = bottom - corners[0][1:-1:2, 1]
    np.testing.assert_allclose(tops / tops.max(), [0.5, 1.0, 1.0])  # 1 / 1, 4 / 2, 2 / 1
    widths = np.diff(corners[0][1:-1, 0])[::2]
    np.testing.assert_allclose(widths / widths.sum(), [0.25, 0.5, 0.25])
    assert ax.texts[0].get_text() == "redshift from 0 (left) to 4 (right)"
    ax.figure.canvas.draw()


def test_densities_of_target_and_reference():
    calibrated = xr.Dataset(
        {"histogram": ("bin", [2.0, 4.0]), "covered_count": 8.0, "covered_share": 0.8}, coords=bins_of([0, 1, 3])
    )
    values = np.zeros((2, 2, 2))
    values[0, 0], values[1, 1] = [3, 0], [1, 4]
    reference, target = plot_distribution(calibrated, histograms_of(values, [0, 1, 3])).patches
    assert target.get_data().values.tolist() == [0.25, 0.25]
    assert reference.get_data().values.tolist() == [0.5, 0.25]
    assert target.get_data().edges.tolist() == [0, 1, 3]
    assert len(plot_distribution(calibrated).patches) == 1


def test_what_is_no_histogram():
    histograms = histograms_of(np.ones((2, 3, 2)), [0, 1, 2])
    with pytest.raises(ParameterError, match="do not fit the 3 x 2 map"):
        plot_histograms(model_of(Lattice(3, 2)), histograms)
    with pytest.raises(ParameterError, match="dimensions bin, got"):
        plot_distribution(histograms)
    with pytest.raises(ParameterError, match="histograms to draw are what"):
        plot_histograms(model_of(Lattice(2, 3)), histograms.drop_vars("histogram"))
    with pytest.raises(ParameterError, match="there is no variable 'reference_count'"):
        plot_coverage(model_of(Lattice(2, 3)), histograms)
