"""Training on data as users have them: gaps, weights, scaling, cosine; against plain epochs and plain data."""

import dask
import dask.array as da
import numpy as np
import pytest

from som_dask.algorithm.lattice import Lattice
from som_dask.errors import CheckpointError, DataError, ParameterError
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.io.models import feature_space_of, scaled_codebook_of
from som_dask.training.config import Execution, MapConfig
from som_dask.training.prepared import prepare_data
from som_dask.training.retrain import retrain
from som_dask.training.train import epochs, train
from tests.algorithm.test_feature_space import plain_epoch
from tests.engine.test_gap_search import holes

LATTICE = Lattice(4, 5)
INITIALIZATIONS = ("pca", "random", "sample")


@pytest.fixture
def values(rng):
    return (rng.normal(size=(600, 4)) @ rng.normal(size=(4, 4)) + [0, 50, -3, 7]).astype(np.float32)


@pytest.fixture
def gappy(values, rng):
    table = holes(values, 0.3, rng)
    table[::50] = np.nan  # nothing known
    return table


def trained(data, weights=None, feature_weights=None, codebook=None, device="cpu", **options):
    config = MapConfig(**{"epochs": 4, **options})
    given = {"sample_weights": weights, "feature_weights": feature_weights, "codebook": codebook}
    return train(data, LATTICE, config, Execution(device=device), **given)


def table_of(model):
    return model["codebook"].values.reshape(LATTICE.n_nodes, -1)


def same(one, other):
    np.testing.assert_array_equal(table_of(one), table_of(other))
    np.testing.assert_array_equal(one["quantization_error"], other["quantization_error"])
    np.testing.assert_array_equal(one["hits"], other["hits"])


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("weighted", [False, True])
def test_masked_epochs_are_the_plain_ones(precision, weighted, gappy, rng):
    start = rng.normal(size=(20, 4)) * 3 + [0, 50, -3, 7]
    weights = rng.integers(0, 9, 600) / 4 if weighted else None
    radii = (2.0, 1.0, 0.7)
    model = trained(
        gappy, weights, codebook=start, missing="mask", epochs=3, radii=radii, precision=precision
    )  # fmt: skip
    kept = ~np.isnan(gappy).all(axis=1)
    heavy = np.ones(600) if weights is None else weights
    codebook, rows, some = start, gappy[kept & (heavy > 0)], heavy[kept & (heavy > 0)]
    for i, radius in enumerate(radii):
        codebook, error = plain_epoch(rows, some, codebook, radius)
        assert model["quantization_error"].values[i] == pytest.approx(error, rel=1e-9)
    np.testing.assert_allclose(table_of(model), codebook, rtol=0, atol=1e-9)
    assert model.attrs["samples"] == 600
    assert model.attrs["samples_left_out"] == (heavy[~kept] > 0).sum()
    np.testing.assert_array_equal(model["missing_values"], np.isnan(gappy).sum(axis=0))
    assert int(model["hits"].sum()) == len(rows)


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_dropped_samples_are_as_if_they_were_not_there(initialization, gappy):
    rest = gappy[~np.isnan(gappy).any(axis=1)]
    dropped = trained(gappy, missing="drop", initialization=initialization)
    assert dropped.attrs["samples_left_out"] == 600 - len(rest)
    if initialization != "sample":  # other rows have other numbers
        same(dropped, trained(rest, initialization=initialization))


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
@pytest.mark.parametrize("missing", ["drop", "mask"])
def test_without_gaps_all_ways_are_one(missing, initialization, values):
    plain = trained(values, initialization=initialization)
    same(trained(values, missing=missing, initialization=initialization), plain)


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_a_feature_that_none_has_is_left_out(initialization, values):
    empty = np.insert(values, 2, np.nan, axis=1)
    model = trained(empty, missing="mask", initialization=initialization)
    plain = trained(values, initialization=initialization)
    np.testing.assert_array_equal(np.delete(table_of(model), 2, axis=1), table_of(plain))
    assert np.isnan(table_of(model)[:, 2]).all()
    np.testing.assert_array_equal(scaled_codebook_of(model), scaled_codebook_of(plain))


def test_whole_weights_are_so_many_copies(values, rng):
    weights = rng.integers(0, 4, 600)
    weights[:4] = 3
    weighted = trained(values, weights)
    copies = trained(values.repeat(weights, axis=0))
    np.testing.assert_array_equal(table_of(weighted), table_of(copies))
    np.testing.assert_allclose(weighted["quantization_error"], copies["quantization_error"], rtol=1e-14)
    np.testing.assert_array_equal(weighted["topographic_error"], copies["topographic_error"])
    scaled = trained(values, weights, scaling="zscore"), trained(values.repeat(weights, axis=0), scaling="zscore")
    np.testing.assert_allclose(*(table_of(one) for one in scaled), rtol=1e-12)
    assert weighted.attrs["samples_of_weight_zero"] == (weights == 0).sum()


def test_weights_of_one_size_change_nothing(values):
    plain = trained(values)
    for size in (1.0, 8.0, 0.125):
        np.testing.assert_array_equal(table_of(trained(values, np.full(600, size))), table_of(plain))
    np.testing.assert_allclose(table_of(trained(values, np.full(600, 1e-200))), table_of(plain), rtol=1e-12)


@pytest.mark.parametrize("scaling", ["zscore", "range", "robust"])
@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_scaling_is_training_on_scaled_data(scaling, initialization, values):
    model = trained(values, scaling=scaling, initialization=initialization)
    space = feature_space_of(model)
    points = space.scale_values(values)
    plain = trained(points, initialization=initialization)
    np.testing.assert_array_equal(scaled_codebook_of(model), scaled_codebook_of(plain))
    np.testing.assert_array_equal(model["quantization_error"], plain["quantization_error"])
    np.testing.assert_array_equal(model["u_matrix"], plain["u_matrix"])
    np.testing.assert_allclose(
        table_of(model), scaled_codebook_of(plain) * space.scale + space.center, rtol=1e-13, atol=1e-12
    )
    table = values.astype(np.float64)
    if scaling == "zscore":
        np.testing.assert_allclose(model["feature_center"], table.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(model["feature_scale"], table.std(axis=0), rtol=1e-12)


def test_feature_weights_are_a_scaled_distance(values):
    weights = np.array([4.0, 1.0, 0.25, 1.0])
    model = trained(values, feature_weights=weights)
    plain = trained(values.astype(np.float64) * np.sqrt(weights))
    np.testing.assert_array_equal(scaled_codebook_of(model), scaled_codebook_of(plain))
    np.testing.assert_allclose(table_of(model), table_of(plain) / np.sqrt(weights), rtol=1e-14)


def test_a_feature_of_weight_zero_does_not_count_but_is_told(values):
    model = trained(values, feature_weights=[1.0, 0.0, 2.0, 1.0])
    without = trained(np.delete(values, 1, axis=1), feature_weights=[1.0, 2.0, 1.0])
    np.testing.assert_allclose(np.delete(table_of(model), 1, axis=1), table_of(without), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(model["hits"], without["hits"])
    assert abs(table_of(model)[:, 1].mean() - values[:, 1].mean()) < values[:, 1].std()
    assert model["quantization_error"].values[-1] == pytest.approx(without["quantization_error"].values[-1])


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_cosine_takes_no_notice_of_lengths(initialization, values, rng):
    values[:, 1] -= 50
    model = trained(values, metric="cosine", initialization=initialization)
    np.testing.assert_allclose(np.linalg.norm(scaled_codebook_of(model), axis=1), 1, rtol=1e-14)
    longer = trained(values * 2.0 ** rng.integers(-3, 4, (600, 1)), metric="cosine", initialization=initialization)
    if initialization != "random":  # which is of the data's range
        np.testing.assert_allclose(scaled_codebook_of(longer), scaled_codebook_of(model), rtol=0, atol=1e-4)
    unit = values / np.linalg.norm(values.astype(np.float64), axis=1)[:, None]
    best = 1 - (unit @ scaled_codebook_of(model).T).max(axis=1)
    assert model["quantization_error"].values[-1] == pytest.approx(best.mean(), rel=1e-9)


@pytest.mark.parametrize("initialization", INITIALIZATIONS)
def test_correlation_takes_no_notice_of_levels_and_lengths(initialization, values, rng):
    weights = np.array([1.0, 2.0, 0.5, 1.0])
    options = {"feature_weights": weights, "metric": "correlation", "initialization": initialization}
    model = trained(values, **options)
    same(trained(da.from_array(values, chunks=(97, -1)), **options), model)
    nodes = scaled_codebook_of(model)
    np.testing.assert_allclose(np.linalg.norm(nodes, axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(nodes @ np.sqrt(weights), 0, atol=1e-14)
    if initialization != "random":  # which is of the data's range
        moved = values.astype(np.float64) * 2.0 ** rng.integers(-3, 4, (600, 1)) + rng.integers(-9, 9, (600, 1))
        np.testing.assert_allclose(scaled_codebook_of(trained(moved, **options)), nodes, rtol=0, atol=1e-4)
    patterns = table_of(model)
    best = [1 - max(plain_correlation(x, w, weights) for w in patterns) for x in values.astype(np.float64)]
    assert model["quantization_error"].values[-1] == pytest.approx(np.mean(best), rel=1e-7)


def plain_correlation(x, y, weights):
    """Pearson's correlation of two rows with weights of the features."""
    x, y = (a - np.average(a, weights=weights) for a in (x, y))
    return (weights * x * y).sum() / np.sqrt((weights * x * x).sum() * (weights * y * y).sum())


def hard(data, blocks):
    """All at once: gaps, weights, scaling, weighted features."""
    table, weights = data
    source = da.from_array(table, chunks=(blocks, -1))
    return trained(source, weights, np.array([1.0, 2.0, 0.5, 1.0]), missing="mask", scaling="zscore")


@pytest.mark.parametrize("initialization", ["pca", "sample"])
def test_any_blocks_and_threads_give_the_same_bits(initialization, gappy, rng):
    weights = rng.random(600)
    models = []
    for blocks, threads in ((600, 1), (77, 2), (13, 4)):
        with dask.config.set(scheduler="threads", num_workers=threads):
            models.append(hard((gappy, weights), blocks))
    for other in models[1:]:
        same(models[0], other)


class Stop(Exception):
    pass


def test_a_resumed_run_ends_at_the_same_bits(gappy, rng, tmp_path):
    weights = rng.random(600)
    config = MapConfig(epochs=5, missing="mask", scaling="zscore")
    whole = train(gappy, LATTICE, config, sample_weights=weights)
    folder = CheckpointFolder(tmp_path / "checkpoints")

    def stop(epoch):
        if epoch.index == 2:
            raise Stop

    with pytest.raises(Stop):
        train(gappy, LATTICE, config, sample_weights=weights, checkpoints=folder, on_epoch=stop)
    same(train(gappy, LATTICE, config, sample_weights=weights, checkpoints=folder, resume=True), whole)
    with pytest.raises(CheckpointError, match="data_fingerprint"):
        train(gappy, LATTICE, config, sample_weights=weights[::-1], checkpoints=folder, resume=True)


def test_a_retrained_map_keeps_its_scaling(values):
    old = trained(values, scaling="zscore", missing="mask")
    new, drift = retrain(values[:300] + np.float32(2), old, on_epoch=None)
    for name in ("feature_center", "feature_scale"):
        np.testing.assert_array_equal(new[name], old[name])
    assert new.attrs["scaling"] == "zscore"
    assert drift.new_data > drift.retrained
    assert drift.old_data == old["quantization_error"].values[-1]
    with pytest.raises(ParameterError, match="has scaling 'zscore', not 'none'"):
        retrain(values, old, scaling="none")


def test_training_stops_when_nothing_changes(values):
    radii = (2.0, 1.0) + (0.3,) * 58
    whole = trained(values, epochs=60, radii=radii)
    model = trained(values, epochs=60, radii=radii, tolerance=0.0, patience=2)
    done = model.attrs["epochs_done"]
    assert 5 < done < 60
    assert (model.attrs["stopped_by"], whole.attrs["stopped_by"]) == ("tolerance", "epochs")
    errors = model["quantization_error"].values
    np.testing.assert_array_equal(errors, whole["quantization_error"].values[: done + 1])
    assert errors[-2] >= errors[-3] >= errors[-4]  # no gain in either of the last two
    assert len(list(epochs(values, LATTICE, MapConfig(epochs=60, radii=radii, tolerance=0.0, patience=2)))) == done


def test_the_last_epochs_stay_at_the_final_radius_until_the_map_is_settled(values):
    plain = trained(values, epochs=6)
    model = trained(values, epochs=6, tolerance=0.001, patience=2, settling_epochs=50)
    done, radii = model.attrs["epochs_done"], model["radius"].values[:-1]
    assert 6 + 1 < done < 56
    assert (model.attrs["stopped_by"], model.attrs["epochs"], plain.attrs["epochs_done"]) == ("tolerance", 6, 6)
    np.testing.assert_array_equal(radii[:6], plain["radius"].values[:6])
    assert (radii[5:] == 0.48).all()
    errors = model["quantization_error"].values
    np.testing.assert_array_equal(errors[:7], plain["quantization_error"].values)
    gains = 1 - errors[1:] / errors[:-1]
    assert (gains[done - 3 : done - 1] <= 0.001).all()  # of the last two errors that were known
    assert not any((gains[i : i + 2] <= 0.001).all() for i in range(5, done - 3))
    limited = trained(values, epochs=6, tolerance=0.0, settling_epochs=2)
    assert (limited.attrs["epochs_done"], limited.attrs["stopped_by"]) == (8, "epochs")
    # However many epochs it falls in, the map settles to about the same errors.
    slower = trained(values, epochs=12, tolerance=0.001, patience=2, settling_epochs=50)
    assert abs(slower["quantization_error"].values[-1] / errors[-1] - 1) < 0.03
    assert len(trained(values, epochs=0, tolerance=0.1)["epoch"]) == 1


def test_a_wide_radius_is_no_reason_to_stop(values):
    model = trained(values, epochs=8, radii=(10.0,) * 8, tolerance=0.5, patience=1)
    assert model.attrs["stopped_by"] == "epochs"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missing": "none"}, "missing must be one of"),
        ({"scaling": "z"}, "scaling must be one of"),
        ({"metric": "l1"}, "metric must be one of"),
        ({"tolerance": -1}, "tolerance 0 or more"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"tolerance": "small"}, "tolerance must be a number"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ParameterError, match=message):
        MapConfig(**options)


def test_wrong_data(values, gappy):
    with pytest.raises(DataError, match=r'NaN or infinite values.*`missing="drop"`'):
        trained(gappy)
    infinite = gappy.copy()
    infinite[5, 1] = np.inf
    for missing in ("drop", "mask"):
        with pytest.raises(DataError, match="holds 1 infinite values, in block 0"):
            trained(infinite, missing=missing)
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(DataError, match="1 that are negative or not finite"):
            trained(values, np.where(np.arange(600) == 7, bad, 1.0))
    with pytest.raises(DataError, match="no sample is left: of 600 all lack values"):
        trained(np.insert(values, 0, np.nan, axis=1), missing="drop")
    with pytest.raises(DataError, match="1 samples are all zeros"):
        trained(np.concatenate([values, np.zeros((1, 4), dtype=np.float32)]), metric="cosine")
    with pytest.raises(DataError, match="1 samples are the same in all features that they have"):
        trained(np.concatenate([values, np.full((1, 4), 0.1, dtype=np.float32)]), metric="correlation")


def test_what_the_first_pass_found_can_be_used_again(values):
    config = MapConfig(epochs=2, scaling="zscore")
    opened = prepare_data(values, config)
    same(train(opened, LATTICE, config), train(values, LATTICE, config))


@pytest.mark.parametrize("options", [{"scaling": "zscore"}, {"metric": "cosine"}, {"weights": np.ones(600)}])
def test_what_no_gpu_computes_is_refused_before_the_data_are_read(options):
    def read(block):
        raise AssertionError("read")

    unread = da.from_array(np.ones((600, 4)), chunks=100).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(ParameterError, match="not computed on a GPU yet"):
        trained(unread, device="gpu", **options)


@pytest.mark.parametrize("scaling", ["none", "zscore"])
def test_going_on_with_data_that_lack_a_feature(scaling, values):
    model = trained(values, scaling=scaling)
    lacking = values.copy()
    lacking[:, 1] = np.nan
    config = MapConfig(epochs=2, scaling=scaling, missing="mask")
    found = train(lacking, LATTICE, config, base=model)
    np.testing.assert_array_equal(scaled_codebook_of(found)[:, 1], scaled_codebook_of(model)[:, 1])
    assert not np.array_equal(scaled_codebook_of(found)[:, 0], scaled_codebook_of(model)[:, 0])
    assert found["quantization_error"].values[0] > 0


def test_opposite_directions_leave_a_node_as_it_was():
    opposite = np.repeat([[1.0, 0.0], [-1.0, 0.0]], 50, axis=0)
    config = MapConfig(epochs=3, metric="cosine", neighborhood="bubble", radii=(1.0,) * 3)
    model = train(opposite, Lattice(1, 2), config)
    np.testing.assert_array_equal(np.abs(scaled_codebook_of(model)), [[1.0, 0.0], [1.0, 0.0]])
    assert model["quantization_error"].values[-1] == 0
