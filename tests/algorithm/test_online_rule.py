"""Online training: the same as the rule written out as loops, on every lattice."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from som_dask.algorithm import online_tiles as tiles
from som_dask.algorithm import online_updates as updates
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig, OnlineRun, draw_codebook
from som_dask.errors import DataError, ParameterError
from tests.reference.twins import every_lattice, name_of, plain_online

SMALL = ((1, 1), (1, 2), (1, 7), (7, 1), (2, 2), (4, 3), (6, 5))


def trained(vectors, lattice, config, **options):
    """The codebook at the end, and what each epoch gave."""
    run = OnlineRun(vectors, lattice, config, **options)
    epochs = list(run)
    return run.codebook, epochs


def assert_like_the_twin(vectors, lattice, config, codebook=None):
    found, epochs = trained(vectors, lattice, config, codebook=codebook)
    start = draw_codebook(lattice, vectors.shape[1], config.seed) if codebook is None else codebook
    wanted, bmus, errors = plain_online(vectors, lattice, start, config.epochs, config.learning_rate)
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=0, atol=1e-12)
    np.testing.assert_array_equal([epoch.bmu for epoch in epochs], bmus)
    measured = [epoch.quantization_error for epoch in epochs]
    np.testing.assert_allclose(measured, errors.mean(axis=1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("lattice", every_lattice(SMALL), ids=name_of)
def test_it_is_the_rule(lattice, rng):
    assert_like_the_twin(rng.random((9, 3)), lattice, OnlineConfig(epochs=6, seed=lattice.cols))


@pytest.mark.parametrize("lattice", every_lattice(((18, 33),)), ids=name_of)
def test_it_is_the_rule_on_several_tiles(lattice, rng):
    assert_like_the_twin(rng.random((8, 3)), lattice, OnlineConfig(epochs=7))


def test_it_is_the_rule_beyond_one_stretch_of_vectors(rng):
    assert_like_the_twin(rng.random((2 * updates.STRETCH + 3, 2)), Lattice(5, 19), OnlineConfig(epochs=2))


@settings(max_examples=30)
@given(
    rows=st.integers(1, 20),
    cols=st.integers(1, 20),
    topology=st.sampled_from(["hexagonal", "rectangular"]),
    boundary=st.sampled_from(["planar", "cylindrical"]),
    n=st.integers(1, 5),
    n_features=st.integers(1, 5),
    epochs=st.integers(0, 4),
    rate=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**32),
)
def test_it_is_the_rule_whatever_the_sizes(rows, cols, topology, boundary, n, n_features, epochs, rate, seed):
    vectors = np.random.default_rng(seed).random((n, n_features)) * 3 - 1
    config = OnlineConfig(epochs=epochs, learning_rate=rate, seed=seed + 1)
    lattice = Lattice(rows, cols, topology, boundary)
    if epochs:
        assert_like_the_twin(vectors, lattice, config)
    else:
        codebook, done = trained(vectors, lattice, config)
        assert not done
        np.testing.assert_array_equal(codebook.reshape(-1, n_features), draw_codebook(lattice, n_features, seed + 1))


def full_sweeps(vectors, lattice, config):
    """The rule by whole-map sweeps, with the same operations in the same order: no tile, no box, nothing put off."""
    side = tiles.SIDE
    weights = draw_codebook(lattice, vectors.shape[1], config.seed)
    row, col = np.divmod(np.arange(lattice.n_nodes), lattice.cols)
    bmus = []
    for radius, rate in zip(config.radii(lattice), config.learning_rates(lattice), strict=True):
        by_row, by_col = updates.update_factors(lattice, radius, rate, lattice.rows + side, lattice.cols + side)
        for vector in vectors:
            squared = np.zeros(lattice.n_nodes)
            for j, value in enumerate(vector):
                squared += (value - weights[:, j]) * (value - weights[:, j])
            bmu = int(np.argmin(squared))
            y = by_row[row - row[bmu] + lattice.rows - 1]
            x = by_col[row % 2 - row[bmu] % 2 + 1, col - col[bmu] + lattice.cols - 1]
            weights += (y * x)[:, None] * (vector - weights)
            bmus.append(bmu)
    return weights, bmus


@pytest.mark.parametrize("lattice", every_lattice(((64, 70),)), ids=name_of)
@pytest.mark.parametrize("n", [5, 70])
def test_what_is_put_off_or_left_out_changes_no_bit(lattice, n, rng):
    vectors = np.concatenate([rng.random((n - 2, 3)), [[0.0, 0.5, 1.0], [-0.5, 0.0, 0.0]]])
    config = OnlineConfig(epochs=12)
    found, epochs = trained(vectors, lattice, config)
    wanted, bmus = full_sweeps(vectors, lattice, config)
    assert found.reshape(wanted.shape).tobytes() == wanted.tobytes()
    assert np.concatenate([epoch.bmu for epoch in epochs]).tolist() == bmus


def test_the_radius_and_the_learning_rate_follow_the_formulas():
    config = OnlineConfig(epochs=10, learning_rate=0.2)
    decay = 10 / math.log(6)
    t = np.arange(10)
    np.testing.assert_allclose(config.radii(Lattice(12, 5)), 6 * np.exp(-t / decay), rtol=1e-15)
    np.testing.assert_allclose(config.learning_rates(Lattice(5, 12)), 0.2 * np.exp(-t / decay), rtol=1e-15)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_on_the_smallest_maps_the_radius_stays(shape):
    config = OnlineConfig(epochs=4)
    np.testing.assert_array_equal(config.radii(Lattice(*shape)), [max(shape) / 2] * 4)
    np.testing.assert_allclose(config.learning_rates(Lattice(*shape)), 0.1 * np.exp(-np.arange(4) / 4), rtol=1e-15)


@pytest.mark.parametrize("lattice", every_lattice(((1, 1), (1, 2), (1, 9), (9, 1), (2, 2))), ids=name_of)
def test_small_maps_are_finite(lattice, rng):
    for epochs in (1, 2, 100):
        codebook, _ = trained(rng.random((4, 2)), lattice, OnlineConfig(epochs=epochs))
        assert np.isfinite(codebook).all()
        assert codebook.min() >= 0
        assert codebook.max() <= 1


def test_the_lowest_index_wins_a_tie():
    codebook = np.full((40, 40, 2), 0.25)
    run = OnlineRun(np.full((1, 2), 0.75), Lattice(40, 40), OnlineConfig(epochs=1), codebook=codebook)
    assert next(iter(run)).bmu.tolist() == [0]
    codebook[7, 39] = codebook[20, 3] = codebook[7, 2] = [0.5, 1.0]
    run = OnlineRun(np.full((1, 2), 0.75), Lattice(40, 40), OnlineConfig(epochs=1), codebook=codebook)
    assert next(iter(run)).bmu.tolist() == [7 * 40 + 2]


def test_the_order_of_the_vectors_counts(rng):
    vectors = rng.random((6, 3))
    config = OnlineConfig(epochs=3)
    one, other = (trained(v, Lattice(4, 4), config)[0] for v in (vectors, vectors[::-1]))
    assert not np.allclose(one, other)


def test_seeds(rng):
    vectors = rng.random((6, 3))
    one, same, other = (trained(vectors, Lattice(4, 4), OnlineConfig(epochs=2, seed=s))[0] for s in (1, 1, 2))
    assert one.tobytes() == same.tobytes()
    assert one.tobytes() != other.tobytes()
    weights = draw_codebook(Lattice(50, 50), 3, 0)
    assert 0 <= weights.min() < 0.01
    assert 0.99 < weights.max() < 1


def test_a_codebook_may_be_given(rng):
    lattice, config = Lattice(5, 4), OnlineConfig(epochs=3)
    codebook = rng.normal(size=(5, 4, 2))
    before = codebook.copy()
    assert_like_the_twin(rng.normal(size=(7, 2)), lattice, config, codebook)
    np.testing.assert_array_equal(codebook, before)


def test_it_continues_where_it_was(rng):
    vectors, lattice, config = rng.random((6, 3)), Lattice(20, 20), OnlineConfig(epochs=5)
    whole, epochs = trained(vectors, lattice, config)
    run = OnlineRun(vectors, lattice, config)
    steps = iter(run)
    next(steps)
    next(steps)
    rest, more = trained(vectors, lattice, config, codebook=run.codebook, start=2)
    assert rest.tobytes() == whole.tobytes()
    assert [epoch.index for epoch in more] == [2, 3, 4]
    for a, b in zip(more, epochs[2:], strict=True):
        for field in ("index", "radius", "learning_rate", "quantization_error"):
            assert getattr(a, field) == getattr(b, field)


def test_codebooks_read_on_the_way_are_copies(rng):
    run = OnlineRun(rng.random((3, 3)), Lattice(3, 3), OnlineConfig(epochs=2))
    codebooks = [run.codebook.copy()]
    for _ in run:
        found = run.codebook
        codebooks.append(found.copy())
        found[:] = np.nan
    assert np.isfinite(run.codebook).all()
    assert len({codebook.tobytes() for codebook in codebooks}) == 3


def test_it_learns_the_colors(rng):
    vectors = rng.random((10, 3))
    _, epochs = trained(vectors, Lattice(30, 30), OnlineConfig(epochs=60))
    assert epochs[-1].quantization_error < 0.1
    assert epochs[3].quantization_error > 0.2  # the map has drawn together


def test_any_real_dtype_and_order_of_memory(rng):
    vectors = rng.integers(0, 200, (6, 3)).astype(np.uint8)
    config = OnlineConfig(epochs=2)
    wanted = trained(vectors.astype(np.float64), Lattice(3, 4), config)[0].tobytes()
    for other in (vectors, np.asfortranarray(vectors.astype(np.float32)), vectors.tolist()):
        assert trained(other, Lattice(3, 4), config)[0].tobytes() == wanted


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.empty((0, 3)), "there are no vectors"),
        (np.empty((3, 0)), "there are no vectors"),
        (np.ones(3), "shape"),
        (np.array([["a"]]), "real numbers"),
        (
            np.array([[1.0], [np.nan], [np.inf]]),
            "2 of the vectors hold NaN or infinite values, the first is number 1",
        ),
        (np.array([[1e200]]), "scale the data"),
    ],
    ids=str,
)
def test_vectors_that_are_refused(vectors, message):
    with pytest.raises(DataError, match=message):
        OnlineRun(vectors, Lattice(2, 2))


@pytest.mark.parametrize(
    ("codebook", "message"),
    [
        (np.zeros((4, 2)), r"shape \(2, 2, 3\)"),
        (np.full((2, 2, 3), np.nan), "NaN"),
        (np.full((2, 2, 3), "a"), "real numbers"),
    ],
    ids=["shape", "nan", "text"],
)
def test_codebooks_that_are_refused(codebook, message):
    with pytest.raises(ParameterError, match=message):
        OnlineRun(np.ones((1, 3)), Lattice(2, 2), codebook=codebook)


def test_there_must_be_an_epoch_to_start_at():
    with pytest.raises(ParameterError, match="from 0 to 100"):
        OnlineRun(np.ones((1, 3)), Lattice(2, 2), start=101)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": -1},
        {"epochs": 1.5},
        {"epochs": True},
        {"seed": -1},
        {"learning_rate": 0.0},
        {"learning_rate": 1.5},
        {"learning_rate": math.nan},
        {"learning_rate": "0.1"},
    ],
    ids=str,
)
def test_parameters_that_are_refused(change):
    with pytest.raises(ParameterError, match=next(iter(change))):
        dataclasses.replace(OnlineConfig(), **change)
