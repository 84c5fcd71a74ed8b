"""Training and inference by the errors of values: the plain formulas, and the same bits however it is done."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.analysis.soft_labels import infer_soft
from som_dask.errors import DataError, ParameterError
from som_dask.io.checkpoints import CheckpointFolder
from som_dask.samples.open import open_samples
from som_dask.training.config import Execution, MapConfig
from som_dask.training.retrain import retrain
from som_dask.training.train import epochs, train
from tests.reference.twins import plain_positions

LATTICE, N, D = Lattice(4, 5), 500, 3
NAMES = ("codebook", "hits", "quantization_error", "topographic_error")


@pytest.fixture
def values(rng):
    """Values, some of them missing, of sizes that differ by feature."""
    found = (rng.random((N, D)) + np.array([0.0, 5.0, 0.0])) * [1.0, 1.0, 1e6]
    found[rng.random((N, D)) < 0.1] = np.nan
    return found


@pytest.fixture
def errors(rng):
    """Errors, some of them of no use."""
    found = np.exp(rng.normal(size=(N, D)) - 2) * [1.0, 1.0, 1e6]
    found[::37, 1], found[::41, 2] = np.inf, np.nan
    return found


def config(**options):
    return MapConfig(**{"epochs": 4, "missing": "mask", **options})


def same_maps(one, other):
    for name in NAMES:
        np.testing.assert_array_equal(one[name], other[name])


def plain_labels(values, errors, codebook):
    """Best matching unit and chi of each sample, feature by feature over what is known; -1 where nothing is."""
    chi = np.zeros((len(values), len(codebook)))
    for j in range(D):
        known = np.isfinite(values[:, j]) & np.isfinite(errors[:, j])
        chi[known] += ((values[known, j, None] - codebook[:, j]) / errors[known, j, None]) ** 2
    nothing = ~(np.isfinite(values) & np.isfinite(errors)).any(axis=1)
    return np.where(nothing, -1, chi.argmin(axis=1)), np.where(nothing, np.nan, np.sqrt(chi.min(axis=1)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scaling", ["none", "zscore"])
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_an_epoch_is_that_of_the_formulas(precision, scaling, weighted, values, errors, rng):
    weights = rng.random(N) if weighted else None
    start = rng.random((20, D)) * [1.0, 1.0, 1e6] + [0.0, 5.0, 0.0]
    options = {"value_errors": errors, "sample_weights": weights, "codebook": start}
    found = next(iter(epochs(values, LATTICE, config(precision=precision, scaling=scaling), **options)))
    bmu, chi = plain_labels(values, errors, start)
    some, heavy = bmu >= 0, np.ones(N) if weights is None else weights
    assert found.quantization_error == pytest.approx(np.average(chi[some], weights=heavy[some]), rel=1e-12)
    positions = plain_positions(LATTICE)
    for i in range(20):
        h = np.exp(-np.sum((positions - positions[i]) ** 2, axis=1) / (2 * found.radius**2))
        for j in range(D):
            known = some & np.isfinite(values[:, j]) & np.isfinite(errors[:, j])
            share = h[bmu[known]] * heavy[known] / errors[known, j] ** 2
            wanted = np.average(values[known, j], weights=share)
            assert found.codebook.reshape(20, D)[i, j] == pytest.approx(wanted, rel=1e-11)


@pytest.mark.parametrize(
    "options", [{}, {"initialization": "sample"}, {"scaling": "robust", "missing": "drop"}], ids=str
)
def test_the_same_bits_for_any_chunks(options, values, errors, rng):
    weights = rng.random(N)
    wanted = train(values, LATTICE, config(**options), value_errors=errors, sample_weights=weights)
    lazy = [da.from_array(values, chunks=(61, 2)), da.from_array(errors, chunks=(100, 3))]
    for keep in ("memory", "stream"):
        how = {"value_errors": lazy[1], "sample_weights": da.from_array(weights, chunks=90)}
        found = train(lazy[0], LATTICE, config(**options), Execution(keep=keep), **how)
        same_maps(found, wanted)
    assert wanted.attrs["value_errors"]
    labels = infer(lazy[0], wanted, value_errors=lazy[1]).compute()
    xr.testing.assert_equal(labels, infer(values, wanted, value_errors=errors).compute())


def test_a_rough_phase_knows_the_errors(rng):
    values = rng.random((4000, 2))
    errors = np.where(rng.random((4000, 2)) < 0.5, 0.05, 5.0)
    values += errors * rng.normal(size=values.shape)
    values[:2000:3] = np.nan  # left out, so that those drawn are not in their places
    options = MapConfig(epochs=2, rough_epochs=6, phases="two", missing="drop")
    two = train(values, Lattice(3, 3), options, value_errors=errors)
    lazy = da.from_array(values, chunks=(901, 2))
    same_maps(train(lazy, Lattice(3, 3), options, value_errors=errors), two)
    # What is measured badly does not tear the map apart.
    assert np.abs(two["codebook"] - 0.5).max() < 0.6
    assert np.abs(train(values, Lattice(3, 3), options)["codebook"] - 0.5).max() > 0.6


def test_errors_alike_change_nothing_but_the_unit(values):
    plain = train(values, LATTICE, config())
    ones = train(values, LATTICE, config(), value_errors=np.ones((N, D)))
    same_maps(plain, ones)
    quarters = train(values, LATTICE, config(), value_errors=np.full((N, D), 0.25))
    np.testing.assert_array_equal(quarters["codebook"], plain["codebook"])
    np.testing.assert_array_equal(quarters["quantization_error"], 4 * plain["quantization_error"])
    assert "units of the errors" in quarters["quantization_error"].attrs["long_name"]


def test_a_value_without_an_error_is_missing(values, errors):
    known = np.isfinite(values) & np.isfinite(errors)
    wanted = train(np.where(known, values, np.nan), LATTICE, config(), value_errors=np.where(known, errors, 7.0))
    found = train(values, LATTICE, config(), value_errors=errors)
    same_maps(found, wanted)
    assert int(found["missing_values"].sum()) == np.count_nonzero(~known)
    with pytest.raises(DataError, match="NaN or infinite values"):
        train(np.nan_to_num(values), LATTICE, config(missing="error"), value_errors=errors)
    with pytest.raises(DataError, match="NaN or infinite values"):
        infer(np.nan_to_num(values), found, value_errors=errors, missing="error").compute()


def test_labels_are_those_of_the_formulas(values, errors, tmp_path):
    model = train(values, LATTICE, config(scaling="zscore"), value_errors=errors, feature_weights=[1, 4, 1])
    codebook = model["codebook"].values.reshape(-1, D)
    bmu, chi = plain_labels(values, errors / [1, 2, 1], codebook)
    labels = infer(values, model, value_errors=errors).compute()
    flat = labels["bmu_row"] * 5 + labels["bmu_col"]
    np.testing.assert_array_equal(flat.fillna(-1), bmu)
    np.testing.assert_allclose(labels["distance"], chi, rtol=1e-9)
    assert labels["distance"].attrs["units"] == "1"
    assert "units of the errors" in labels["distance"].attrs["long_name"]
    assert float(np.nanmean(chi)) == pytest.approx(float(model["quantization_error"][-1]), rel=1e-9)
    lazy = da.from_array(values, chunks=(90, -1))
    infer_to_store(lazy, model, tmp_path / "labels.zarr", value_errors=errors)
    stored = xr.open_zarr(tmp_path / "labels.zarr", consolidated=False)
    np.testing.assert_array_equal(stored["distance"], labels["distance"])
    plain = infer(values, model).compute()
    assert "scaled and weighted" in plain["distance"].attrs["long_name"]


def test_a_run_goes_on_to_the_same_bits(values, errors, tmp_path):
    wanted = train(values, LATTICE, config(), value_errors=errors)
    folder = CheckpointFolder(tmp_path / "checkpoints")

    def stop(epoch):
        if epoch.index == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(values, LATTICE, config(), value_errors=errors, checkpoints=folder, on_epoch=stop)
    same_maps(train(values, LATTICE, config(), value_errors=errors, checkpoints=folder, resume=True), wanted)
    on = train(values, LATTICE, config(epochs=1), value_errors=errors, base=wanted)
    assert on["quantization_error"][0] == wanted["quantization_error"][-1]


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_errors_that_are_none(bad, values, errors):
    model = train(values, LATTICE, config(epochs=1), value_errors=errors)
    wrong = errors.copy()
    wrong[3, 0], values[3, 0] = bad, 1.0
    with pytest.raises(DataError, match=r"the errors of .* hold 1 that are not above 0"):
        train(values, LATTICE, config(), value_errors=wrong)
    with pytest.raises(DataError, match="1 of the values have errors that are not above 0"):
        infer(values, model, value_errors=wrong).compute()


@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_errors_beyond_float64(size, values):
    with pytest.raises(DataError, match="beyond"):
        train(values, LATTICE, config(), value_errors=np.full((N, D), size))


def test_what_takes_no_errors(values, errors):
    complete = np.nan_to_num(values)
    samples = open_samples(complete, value_errors=np.ones((N, D)))
    model = train(complete, LATTICE, config(epochs=1))
    for what, call in {
        "evaluate": lambda: evaluate(samples, model),
        "infer_soft": lambda: infer_soft(samples, model),
        "retrain": lambda: retrain(samples, model),
        "the online rule": lambda: train(samples, LATTICE, OnlineConfig(epochs=1)),
    }.items():
        with pytest.raises(ParameterError, match=f"^{what} takes no errors of values"):
            call()
    with pytest.raises(ParameterError, match="value_errors belongs to the batch rule"):
        train(complete, LATTICE, OnlineConfig(epochs=1), value_errors=errors)
    with pytest.raises(ParameterError, match="need the metric 'euclidean'"):
        train(values, LATTICE, config(metric="cosine"), value_errors=errors)
    for call in (
        lambda: train(samples, LATTICE, config(), Execution(device="gpu")),
        lambda: infer(samples, model, device="gpu"),
    ):
        with pytest.raises(ParameterError):
            call()
