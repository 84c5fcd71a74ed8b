"""The estimator for scikit-learn: its own checks, and what its users expect of map, labels and lazy arrays."""

import doctest
import pickle
import runpy
import sys

import dask.array
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import som_dask.estimator
from som_dask.analysis.evaluation import evaluate
from som_dask.errors import DataError, ParameterError
from som_dask.estimator import SOM
from som_dask.kohonen_map import KohonenMap


@pytest.fixture
def blobs(rng):
    """Three groups of twenty samples of two features each, far apart."""
    return np.repeat([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], 20, axis=0) + rng.random((60, 2))


@parametrize_with_checks([SOM(rows=3, cols=3, epochs=2)])
def test_it_is_an_estimator_of_scikit_learn(estimator, check):
    check(estimator)


def test_the_example_runs():
    found = doctest.testmod(som_dask.estimator)
    assert found.attempted > 5
    assert found.failed == 0


def test_the_map_is_that_of_the_rest_of_the_package(blobs):
    weights = np.arange(60) % 3
    som = SOM(3, 4, epochs=3, random_state=5, initialization="random", scaling="zscore", feature_weights=[1, 2])
    som.fit(blobs, sample_weight=weights)
    own = KohonenMap(3, 4).train(
        blobs,
        epochs=3,
        seed=5,
        initialization="random",
        scaling="zscore",
        sample_weights=weights,
        feature_weights=[1, 2],
    )
    np.testing.assert_array_equal(som.codebook_, own.codebook)
    np.testing.assert_array_equal(som.cluster_centers_, own.codebook.values.reshape(12, 2))
    labels = own.infer(blobs)
    np.testing.assert_array_equal(som.labels_, labels["bmu_row"] * 4 + labels["bmu_col"])
    np.testing.assert_array_equal(som.transform(blobs).argmin(axis=1), som.predict(blobs))
    np.testing.assert_array_equal(som.hits_.ravel(), np.bincount(som.labels_[weights > 0], minlength=12))
    assert (som.quantization_error_, som.topographic_error_) == (own.quantization_error, own.topographic_error)
    assert som.n_iter_ == 3
    np.testing.assert_array_equal(KohonenMap.from_dataset(som.model_).codebook, som.codebook_)


def test_the_score_is_minus_the_quantization_error(blobs):
    som, weights = SOM(2, 3, epochs=2).fit(blobs), np.arange(60) % 4
    assert som.score(blobs) == -som.quantization_error_
    measured = evaluate(blobs, som.model_, sample_weights=weights, sample=0)
    assert som.score(blobs, sample_weight=weights) == -float(measured["quantization_error"])
    assert som.score(blobs, sample_weight=weights) == som.score(dask.array.from_array(blobs), sample_weight=weights)
    assert som.score(blobs, sample_weight=2.0) == pytest.approx(som.score(blobs))


def test_labels_are_clusters_of_nodes_if_asked_for(blobs):
    som = SOM(4, 4, n_clusters=3, epochs=5)
    labels = som.fit_predict(blobs)
    assert [len(set(labels[i : i + 20])) for i in (0, 20, 40)] == [1, 1, 1]
    assert set(labels) == {0, 1, 2}
    np.testing.assert_array_equal(labels, som.predict(blobs))
    np.testing.assert_array_equal(labels, som.node_clusters_.ravel()[som.bmu_])
    assert som.cluster_centers_.shape == (3, 2)
    assert not hasattr(som.set_params(n_clusters=None).fit(blobs), "node_clusters_")


@pytest.mark.parametrize("n_clusters", [None, 2])
def test_dask_arrays_stay_lazy_and_give_the_same_bits(blobs, n_clusters):
    whole, som = (SOM(3, 3, epochs=2, n_clusters=n_clusters) for _ in range(2))
    whole.fit(blobs)
    lazy = dask.array.from_array(blobs, chunks=(17, 1))
    som.fit(xr.DataArray(lazy, dims=("sample", "band")), sample_weight=dask.array.ones(60, chunks=25))
    np.testing.assert_array_equal(som.codebook_, whole.codebook_)
    for found, known in (
        (som.labels_, whole.labels_),
        (som.bmu_, whole.bmu_),
        (som.predict(lazy), whole.predict(blobs)),
        (som.transform(lazy), whole.transform(blobs)),
    ):
        assert isinstance(found, dask.array.Array)
        assert isinstance(known, np.ndarray)
        assert (found.dtype, found.shape) == (known.dtype, known.shape)
        np.testing.assert_array_equal(found.compute(), known)
    copy = pickle.loads(pickle.dumps(som))
    assert not hasattr(copy, "labels_")
    np.testing.assert_array_equal(copy.predict(blobs), whole.labels_)


def test_a_dask_array_is_not_computed_to_be_checked(blobs):
    som = SOM(2, 2, epochs=1).fit(blobs)
    calls = []
    lazy = dask.array.from_array(blobs).map_blocks(
        lambda block: calls.append(1) or block, dtype=float, meta=blobs[:0]
    )
    labels = som.predict(lazy)
    assert not calls
    labels.compute()
    assert len(calls) == 1


def test_whole_numbers_in_blocks_are_trained_on_as_floats(blobs):
    lazy = dask.array.from_array((blobs * 10).astype(np.uint8))
    som = SOM(2, 2, epochs=1).fit(lazy)
    assert som.model_.attrs["sample_dtype"] == "float32"
    np.testing.assert_array_equal(som.predict(lazy.compute() + 0.4), som.predict(lazy + 0.4))


def test_missing_values_are_masked_or_refused(blobs):
    blobs[3, 0] = blobs[5, 0] = blobs[5, 1] = np.nan
    som = SOM(2, 2, epochs=1, missing="mask").fit(blobs)
    assert som.labels_[3] >= 0
    assert som.labels_[5] == -1
    assert som.set_params(n_clusters=2).fit(blobs).labels_[5] == -1
    assert np.isnan(som.transform(blobs)[5]).all()
    with pytest.raises(ValueError, match="contains NaN"):
        SOM(2, 2).fit(blobs)


def test_pipelines_searches_and_tables(blobs):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SOM(cols=2, epochs=1)),
        {"som__rows": [1, 3], "som__n_clusters": [None, 2]},
        cv=2,
    ).fit(blobs)
    assert search.best_params_["som__rows"] == 3
    assert set(search.predict(blobs)) <= set(range(6))
    table = pd.DataFrame(blobs, columns=["a", "b"], index=np.arange(60) + 100)
    columns = ColumnTransformer([("map", SOM(2, 2, epochs=1), ["b", "a"])]).set_output(transform="pandas")
    found = columns.fit_transform(table)
    assert list(found.columns) == [f"map__som{i}" for i in range(4)]
    assert list(found.index) == list(table.index)
    som = SOM(2, 2, epochs=1).fit(table)
    assert list(som.feature_names_in_) == list(som.model_["feature"].values) == ["a", "b"]
    with pytest.raises(ValueError, match="feature names should match"):
        som.predict(table.rename(columns={"a": "c"}))


def test_random_states_are_those_of_scikit_learn(blobs):
    def codebook(random_state):
        return SOM(2, 2, epochs=0, initialization="sample", random_state=random_state).fit(blobs).codebook_

    np.testing.assert_array_equal(codebook(7), codebook(np.int64(7)))
    np.testing.assert_array_equal(codebook(np.random.RandomState(7)), codebook(np.random.RandomState(7)))
    state = np.random.RandomState(7)
    assert (codebook(state) != codebook(state)).any()
    assert SOM(random_state=(odd := [1])).get_params()["random_state"] is odd


def test_parameters_are_kept_as_given_and_checked_in_fit(blobs):
    for name, value in {"rows": 0, "epochs": -1, "metric": "odd", "n_clusters": 99, "random_state": "x"}.items():
        som = clone(SOM(2, 2, epochs=1)).set_params(**{name: value})
        with pytest.raises(ValueError) as caught:
            som.fit(blobs)
        assert "\n" not in str(caught.value)
        assert str(value) in str(caught.value)


@pytest.mark.parametrize(
    ("samples", "kind", "words"),
    [
        (csr_array(np.eye(4)), TypeError, "(?i)sparse"),
        (dask.array.ones(5), DataError, "1 dimensions of float64"),
        (dask.array.ones((5, 2), dtype=complex), DataError, "complex128"),
        (np.ones(5), ValueError, "2D array"),
    ],
)
def test_other_samples_are_refused(samples, kind, words):
    with pytest.raises(kind, match=words):
        SOM(2, 2).fit(samples)


def test_later_samples_must_have_the_same_features(blobs):
    som = SOM(2, 2, epochs=1).fit(blobs)
    for samples in (np.ones((3, 3)), dask.array.ones((3, 3))):
        with pytest.raises(ValueError, match="X has 3 features, but SOM is expecting 2"):
            som.predict(samples)
    with pytest.raises(NotFittedError):
        SOM().predict(dask.array.ones((3, 3)))


@pytest.mark.parametrize(
    ("weights", "words"), [([[1]] * 60, "a number for each sample"), ([1, 2], "inconsistent"), ([0] * 60, "zero")]
)
def test_weights_are_checked(blobs, weights, words):
    with pytest.raises(ValueError, match=words):
        SOM(2, 2, epochs=1).fit(blobs, sample_weight=weights)


def test_without_scikit_learn_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(ParameterError, match=r"^the estimator needs scikit-learn 1.6 or newer: pip install '.*'$"):
        runpy.run_path(som_dask.estimator.__file__)
