"""The plan of the epochs: when there is a rough phase, and the radius of each epoch."""

import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import MemoryLimitError, ParameterError
from som_dask.training.config import ROUGH_END, MapConfig
from som_dask.training.phases import LEAST_A_NODE, describe_plan, number_to_draw, plan_epochs
from som_dask.training.train import train

LATTICE = Lattice(6, 8)
MANY = 48 * LEAST_A_NODE


@pytest.mark.parametrize(
    ("options", "n", "n_rough"),
    [
        ({}, MANY, 60),
        ({}, MANY - 1, 0),
        ({"epochs": 20}, MANY, 0),
        ({"epochs": 2, "radii": (2.0, 1.0)}, MANY, 0),
        ({"phases": "one"}, MANY, 0),
        ({"phases": "two", "epochs": 3, "rough_epochs": 7}, 10, 7),
    ],
)
def test_there_is_a_rough_phase_where_it_pays_or_is_asked_for(options, n, n_rough):
    config = MapConfig(**options)
    plan = plan_epochs(config, LATTICE, n, 3)
    assert plan.n_rough == n_rough
    assert plan.n_epochs == n_rough + (config.epochs or (1 if n_rough else 20))
    assert plan.phase_of(0) == ("rough" if n_rough else None)
    assert plan.phases().count("rough") == n_rough
    assert number_to_draw(config, LATTICE, n, 3) == (min(100 * 48, n) if n_rough else 0)
    described = describe_plan(config, plan)
    assert described["phases"] == ("two" if n_rough else "one")
    assert described["epochs"] == plan.n_epochs - n_rough
    assert ("rough_epochs" in described) == bool(n_rough)


def test_a_draw_that_would_take_much_memory_is_not_made_or_refused(monkeypatch):
    wide = 2**30 // (8 * 100 * 48)
    assert number_to_draw(MapConfig(), LATTICE, MANY, wide) == 4800
    assert number_to_draw(MapConfig(), LATTICE, MANY, wide + 1) == 0
    assert number_to_draw(MapConfig(phases="two"), LATTICE, MANY, wide + 1) == 4800
    monkeypatch.setattr("som_dask.training.phases.process_memory", lambda: 100_000)
    values = np.ones((4000, 20))
    train(values, LATTICE, MapConfig(epochs=1))
    with pytest.raises(MemoryLimitError, match="`rough_samples`"):
        train(values, Lattice(5, 10), MapConfig(phases="two"))


def test_the_radius_falls_in_the_rough_phase_and_stays_in_the_other():
    plan = plan_epochs(MapConfig(phases="two", epochs=3, rough_epochs=7), LATTICE, 100, 3)
    assert plan.radii[0] == 2.0
    np.testing.assert_allclose(plan.radii[1:7] / plan.radii[:6], (0.48 * ROUGH_END / 2) ** (1 / 6))
    assert plan.radii[7:].tolist() == [0.48] * 3
    assert [plan.part_of(i) for i in range(7)] == [0, 0, 0, 1, 1, 2, 2]
    radii = (3.0, 2.0, 1.0)
    given = MapConfig(phases="two", epochs=1, rough_epochs=2, radii=radii)
    assert given.schedule(LATTICE, two_phases=True).tolist() == list(radii)


@pytest.mark.parametrize(
    "options",
    [
        {"phases": "three"},
        {"phases": None},
        {"rough_epochs": 0},
        {"rough_epochs": 1.5},
        {"rough_samples": 0},
        {"rough_samples": -1},
        {"phases": "two", "epochs": 2, "radii": (1.0, 0.5)},
    ],
)
def test_options_that_are_refused(options):
    with pytest.raises(ParameterError, match=next(iter(options)) if len(options) == 1 else "62 epochs"):
        MapConfig(**options)
