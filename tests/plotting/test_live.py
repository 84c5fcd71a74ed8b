"""The picture of a map in training: what is drawn, how often, and that it never ends the training."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import ParameterError
from som_dask.plotting import live
from som_dask.plotting.history import plot_training
from som_dask.plotting.kinds import draw_picture_of_kind
from som_dask.plotting.live import LivePicture, draw_training_picture
from som_dask.plotting.maps import plot_u_matrix
from som_dask.training.config import MapConfig
from som_dask.training.train import epochs, train
from tests.plotting.pictures import model_of

LATTICE = Lattice(3, 4)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def trained(rng):
    """The epochs of a training."""
    return list(epochs(rng.random((60, 3)), LATTICE, MapConfig(epochs=6)))


def test_drawing_takes_a_fifth_of_the_time_at_most(clock, trained, monkeypatch):
    def draw(*_):
        clock[0] += 3  # seconds that a picture takes
        return b""

    monkeypatch.setattr(LivePicture, "_render", draw)
    shown = []
    picture = LivePicture("hits", shown.append, repr)
    drawn = []
    for _ in range(60):
        clock[0] += 1
        begun = clock[0]
        picture(trained[0])
        drawn.append(clock[0] - begun)
    assert len(shown) == sum(seconds > 0 for seconds in drawn) > 3
    assert sum(drawn) <= 0.2 * (clock[0] - 100) + 3


def test_each_picture_replaces_the_one_before_and_the_last_is_of_the_model(clock, trained):
    shown, told = [], []
    picture = LivePicture("u_matrix", shown.append, repr, told.append)
    for epoch in trained[:2]:
        clock[0] += 2
        picture(epoch)
    picture.finish(model_of(LATTICE), "done")
    assert [imread(io.BytesIO(png)).ndim for png in shown] == [3, 3, 3]
    assert len(set(shown)) == 3
    assert told == trained[:2]


@pytest.mark.parametrize(
    ("view", "titles"), [("u_matrix", ["U-matrix"]), ("hits", ["hits"]), ("planes", list("abc"))]
)
def test_a_view_is_drawn_beside_the_errors(view, titles):
    errors = np.array([[0, 2.0, 0.2, 1], [1, 1.0, 0.1, 0], [2, 0.5, 0.05, 0]])
    figure = draw_training_picture(model_of(LATTICE), view, errors, "epoch 2 of 3")
    assert [ax.get_title() or ax.get_title("left") for ax in figure.axes] == [
        *titles,
        "quantization error",
        "topographic error",
    ]
    rough, fine = figure.axes[-2].lines
    np.testing.assert_array_equal(rough.get_xydata(), errors[:1, :2])
    np.testing.assert_array_equal(fine.get_xydata(), errors[1:, :2])
    assert figure.texts[0].get_text() == "epoch 2 of 3"
    inside = [ax.get_position() for ax in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in inside)


def test_a_picture_that_fails_is_told_once_and_training_goes_on(clock, trained):
    def show(_):
        raise OSError("the browser has gone")

    picture, told = LivePicture("hits", show, repr, lambda epoch: told.append(epoch)), []
    clock[0] += 10
    with pytest.warns(UserWarning, match="the browser has gone"):
        picture(trained[0])
    for epoch in trained[1:]:  # any other warning would be an error
        clock[0] += 10
        picture(epoch)
    assert told == trained


def test_there_is_no_other_view():
    with pytest.raises(ParameterError, match="what must be one of u_matrix, hits, planes"):
        LivePicture("colors", print, repr)


@pytest.mark.parametrize("kind", ["colors", "u_matrix", "hits", "planes", "profiles"])
def test_an_epoch_is_drawn_like_the_model_of_it(kind, rng):
    values = rng.random((60, 3))
    (epoch,) = epochs(values, LATTICE, MapConfig(epochs=1))
    drawn = [draw_picture_of_kind(each, kind) for each in (epoch, train(values, LATTICE, MapConfig(epochs=1)))]
    one, other = (np.ravel(axes)[0] for axes in drawn)
    assert one.get_title() == other.get_title()
    if kind in ("u_matrix", "planes"):
        np.testing.assert_array_equal(one.collections[0].get_array(), other.collections[0].get_array())


def test_an_epoch_has_no_history_and_nothing_else_is_drawn(trained):
    with pytest.raises(ParameterError, match="an epoch has no history"):
        plot_training(trained[0])
    with pytest.raises(ParameterError, match="can be drawn, not a ndarray"):
        plot_u_matrix(np.zeros((3, 4)))
