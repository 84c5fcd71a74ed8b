"""The final radius that a run chooses: a number that the data and the seed decide, and nothing else."""

import dataclasses

import dask.array as da
import numpy as np
import pytest

import som_dask as som
from som_dask.algorithm.intrinsic_dimension import choose_final_radius, intrinsic_dimension
from som_dask.algorithm.lattice import Lattice
from som_dask.errors import DataError, ParameterError
from som_dask.estimator import SOM
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.samples.open import open_samples
from som_dask.training.config import Execution, MapConfig
from som_dask.training.train import epochs, train
from tests.training.test_rough import counting, rows_drawn

LATTICE = Lattice(4, 5)
CONFIG = MapConfig(final_radius="auto", epochs=2, seed=3)


@pytest.fixture
def values(rng):
    return rng.normal(size=(4000, 5)) * [1, 1, 1, 0.1, 0.01]


def test_it_is_chosen_by_samples_drawn_at_random_and_the_map_is_that_of_the_number(values):
    model = train(values, LATTICE, CONFIG)
    dimension = intrinsic_dimension(values[rows_drawn(np.ones(4000, bool), 1000)])
    radius = choose_final_radius(dimension, 4000, 20)
    assert (model.attrs["intrinsic_dimension"], model.attrs["final_radius"]) == (dimension, radius)
    assert model["radius"][-2] == radius
    assert radius != 0.48
    given = train(values, LATTICE, dataclasses.replace(CONFIG, final_radius=radius))
    assert model.attrs["codebook_sha256"] == given.attrs["codebook_sha256"]
    assert "intrinsic_dimension" not in given.attrs
    other = train(values, LATTICE, dataclasses.replace(CONFIG, seed=4))
    assert other.attrs["intrinsic_dimension"] != dimension
    assert [epoch.radius for epoch in epochs(values, LATTICE, CONFIG)] == model["radius"].values[:-1].tolist()


@pytest.mark.parametrize("options", [{}, {"phases": "two", "rough_epochs": 3, "rough_samples": 8}])
def test_blocks_change_nothing_and_no_more_passes_are_made(options, values):
    expected, found = train(values, LATTICE, dataclasses.replace(CONFIG, **options)), []
    for rows in (300, 1700):
        reads = []
        for radius in ("auto", expected.attrs["final_radius"]):
            samples, read = counting(values, rows)
            config = dataclasses.replace(CONFIG, **options, final_radius=radius)
            model = train(samples, LATTICE, config, Execution(keep="stream"))
            found.append(model.attrs["codebook_sha256"])
            reads.append(sum(read))
        assert reads[0] == reads[1] > 4000
    assert set(found) == {expected.attrs["codebook_sha256"]}


def test_samples_with_gaps_do_not_count_and_others_are_drawn_for_those_left_out(rng):
    values = rng.normal(size=(12_000, 5))  # of which the first pass looks at a third
    values[rng.random(12_000) < 0.9, 1] = np.nan
    taken = np.flatnonzero(~np.isnan(values[:, 1]))
    config = dataclasses.replace(CONFIG, missing="drop", scaling="range")
    model = train(values, LATTICE, config)
    low, high = values[taken].min(axis=0), values[taken].max(axis=0)
    some = values[rows_drawn(~np.isnan(values[:, 1]), 1000)]
    assert model.attrs["intrinsic_dimension"] == pytest.approx(intrinsic_dimension((some - low) / (high - low)))
    masked = train(values, LATTICE, dataclasses.replace(CONFIG, missing="mask"))
    drawn = rows_drawn(np.ones(12_000, bool), 1000)
    complete = values[drawn[np.isin(drawn, taken)]]
    assert masked.attrs["intrinsic_dimension"] == intrinsic_dimension(complete)


def test_a_run_goes_on_with_the_radius_that_it_has_chosen(values, tmp_path):
    folder, expected = CheckpointFolder(tmp_path / "checkpoints"), train(values, LATTICE, CONFIG)

    def stop(epoch):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(values, LATTICE, CONFIG, checkpoints=folder, on_epoch=stop)
    seen = []
    samples = dataclasses.replace(open_samples(values), array=da.from_array(values, chunks=(700, -1)))
    model = train(samples, LATTICE, CONFIG, checkpoints=folder, resume=True, on_epoch=seen.append)
    assert len(seen) == 1
    assert model.attrs["codebook_sha256"] == expected.attrs["codebook_sha256"]


def test_all_ways_to_train_take_it(values):
    expected = train(values, LATTICE, CONFIG)
    (model,), table = som.train_many(values, [som.MapRun(lattice=LATTICE, config=CONFIG)])
    assert model.attrs["codebook_sha256"] == expected.attrs["codebook_sha256"]
    assert table["final_radius"].tolist() == [expected.attrs["final_radius"]]
    fitted = SOM(rows=4, cols=5, epochs=2, final_radius="auto", random_state=3).fit(values)
    np.testing.assert_array_equal(fitted.codebook_, expected["codebook"])
    newer, _ = som.retrain(values * [1, 1, 1, 1, 100], expected, epochs=1, final_radius="auto")
    assert newer.attrs["final_radius"] > expected.attrs["final_radius"]


@pytest.mark.parametrize(
    "options",
    [{"neighborhood": "bubble"}, {"epochs": 2, "radii": (1.0, 0.5)}, {"final_radius": "other"}],
)
def test_options_that_are_refused(options):
    with pytest.raises(ParameterError, match="final_radius"):
        MapConfig(**{"final_radius": "auto", **options})


def test_too_few_samples_are_refused():
    with pytest.raises(DataError, match="give `final_radius` as a number"):
        train(np.arange(38.0).reshape(19, 2), Lattice(2, 2), MapConfig(final_radius="auto"))
