"""Training curves: all epochs, gaps where nothing is known."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting.history import plot_training
from tests.plotting.pictures import model_of


def test_curves_are_the_history():
    model = model_of(Lattice(2, 3))
    given = Figure().subplots(3, 1)
    panels = plot_training(model, axes=given)
    assert list(panels) == list(given)
    for ax, name in zip(panels, ("quantization_error", "topographic_error", "radius"), strict=True):
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), model["epoch"].values)
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), model[name].values)
    with pytest.raises(ParameterError, match="need 3 axes"):
        plot_training(model, axes=given[:2])


def test_rough_epochs_are_a_curve_of_their_own():
    model = model_of(Lattice(2, 3)).assign_coords(phase=("epoch", ["rough"] * 2 + ["fine-tuning"] * 3))
    for ax, name in zip(plot_training(model), ("quantization_error", "topographic_error", "radius"), strict=True):
        rough, fine = ax.lines
        np.testing.assert_array_equal(rough.get_xydata(), np.stack([[0, 1], model[name].values[:2]], axis=1))
        np.testing.assert_array_equal(fine.get_xydata(), np.stack([[2, 3, 4], model[name].values[2:]], axis=1))
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["rough"]


@pytest.mark.parametrize("values", [[np.nan] * 5, [np.nan, 1, np.nan, 2, np.nan], [3.0] * 5, [0.0] * 5])
def test_odd_histories_are_drawn(values):
    model = model_of(Lattice(2, 3))
    for name in ("quantization_error", "topographic_error", "radius"):
        model[name].values[:] = values
    panels = plot_training(model.assign(learning_rate=model["radius"]))
    assert len(panels) == 4
    panels[0].figure.canvas.draw()
    for ax in panels:
        low, high = ax.get_ylim()
        assert low < high
