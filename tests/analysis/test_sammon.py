"""The Sammon map of a model: distances of its own space, turned as the lattice is."""

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.sammon import sammon
from som_dask.errors import ParameterError
from som_dask.io.models import scaled_codebook_of
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.plotting.pictures import model_of

LATTICE = Lattice(4, 5)


def points_of(found):
    return np.stack([found["sammon_x"].values.ravel(), found["sammon_y"].values.ravel()], axis=1)


@pytest.mark.parametrize("metric", ["euclidean", "correlation", "manhattan"])
def test_distances_are_those_of_the_space_of_the_map(metric, rng):
    data = rng.random((200, 4)) * [9, 1, 1, 1]
    model = train(data, LATTICE, MapConfig(epochs=3, metric=metric, scaling="range"))
    codebook = scaled_codebook_of(model)
    apart = codebook[:, None] - codebook[None]
    wanted = np.abs(apart).sum(axis=2) if metric == "manhattan" else np.linalg.norm(apart, axis=2)
    found = sammon(model)
    points, some = points_of(found), np.triu_indices(20, 1)
    near = np.linalg.norm(points[:, None] - points[None], axis=2)[some]
    stress = ((wanted[some] - near) ** 2 / wanted[some]).sum() / wanted[some].sum()
    assert float(found["stress"]) == pytest.approx(stress, rel=1e-6)
    assert stress < 0.1
    assert found.identical(sammon(model))


def test_it_lies_as_the_lattice_does():
    model = model_of(LATTICE, ["a", "b"])
    angle = np.deg2rad(250)
    turn = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])
    model["codebook"].values[:] = (LATTICE.positions() @ turn * 3 + 100).reshape(4, 5, 2)
    found = sammon(model)
    positions = LATTICE.positions()
    np.testing.assert_allclose(points_of(found), 3 * (positions - positions.mean(axis=0)), atol=1e-5)
    assert float(found["stress"]) < 1e-9
    assert found.attrs["settled"]


@pytest.mark.parametrize(
    ("options", "words"), [({"iterations": 2.5}, "`iterations`"), ({"tolerance": -1}, "`tolerance`")]
)
def test_options_that_can_not_be(options, words):
    with pytest.raises(ParameterError, match=words):
        sammon(model_of(LATTICE), **options)
