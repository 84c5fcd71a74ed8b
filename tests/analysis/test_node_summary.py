"""Labels and values summarized per node: the counts of plain loops, for any blocks, with missing ones left out."""

import collections
import math

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis import node_counts as node_sums
from som_dask.analysis.labels import infer
from som_dask.analysis.node_summary import summarize_labels, summarize_values
from som_dask.errors import DataError, ParameterError
from som_dask.io.models import save_model
from som_dask.training.config import MapConfig
from som_dask.training.train import train

LATTICE = Lattice(3, 4)
N = 400


@pytest.fixture
def labels(rng):
    """Labels as `infer` gives them: node (2, 3) has no samples, some samples have no node."""
    node = rng.integers(0, 11, N)
    row, col = np.divmod(node.astype(np.float64), 4)
    row[::17] = col[::17] = np.nan
    return xr.Dataset({"bmu_row": ("cell", row), "bmu_col": ("cell", col)}, {"cell": np.arange(N)})


def plain_classes(labels, classes):
    """Counter of classes by node, sample by sample."""
    counts = collections.defaultdict(collections.Counter)
    for row, col, kind in zip(labels["bmu_row"].values, labels["bmu_col"].values, classes, strict=True):
        if not math.isnan(row) and not pd.isna(kind):
            counts[int(row), int(col)][kind] += 1
    return counts


KINDS = {
    "strings": (["plum", "apple", "fig"], None),
    "objects": (["plum", "apple", None], object),
    "integers": ([3, -1, 7], np.int16),
    "booleans": ([True, False, True], bool),
    "floats": ([1.0, 2.5, np.nan], np.float32),
    "dates": (["2001-01-01", "1999-12-31", "NaT"], "datetime64[ns]"),
}


@pytest.mark.parametrize("chunks", [None, 37, 400])
@pytest.mark.parametrize("kind", list(KINDS))
def test_counts_majority_purity_entropy(kind, chunks, labels, rng):
    values, dtype = KINDS[kind]
    classes = np.array(values, dtype=dtype)[rng.choice(3, N, p=[0.5, 0.3, 0.2])]
    given_labels = labels.chunk(cell=chunks) if chunks else labels
    given_classes = da.from_array(classes, chunks=53) if chunks else classes
    found = summarize_labels(given_labels, given_classes, LATTICE)
    counts = plain_classes(labels, classes)
    order = sorted({kind for counter in counts.values() for kind in counter})
    assert found["class"].values.tolist() == np.array(order).tolist()
    assert found["class_count"].dims == ("row", "col", "class")
    for node in np.ndindex(3, 4):
        counter, here = counts[node], found.isel(row=node[0], col=node[1])
        assert here["class_count"].values.tolist() == [counter[kind] for kind in order]
        total = sum(counter.values())
        if not total:
            assert here[["majority", "purity", "entropy"]].isnull().to_array().all()
            continue
        most = max(counter.values())
        assert here["majority"].values == min(kind for kind in order if counter[kind] == most)
        assert float(here["purity"]) == pytest.approx(most / total, rel=1e-12)
        shares = [n / total for n in counter.values()]
        assert float(here["entropy"]) == pytest.approx(-sum(s * math.log2(s) for s in shares), abs=1e-12)
    assert found["majority"].isnull().values.tolist() == [[False] * 4, [False] * 4, [False] * 3 + [True]]
    total = sum(sum(c.values()) for c in counts.values())
    purity = sum(max(c.values(), default=0) for c in counts.values()) / total
    assert float(found["overall_purity"]) == pytest.approx(purity, rel=1e-12)
    weights = found["class_count"].sum("class")
    assert float(found["overall_entropy"]) == pytest.approx(
        float(found["entropy"].weighted(weights).mean()), rel=1e-12
    )
    with_node = int(labels["bmu_row"].notnull().sum())
    assert found.attrs["samples_without_node"] == N - with_node
    assert (found.attrs["samples"], found.attrs["samples_without_class"]) == (total, with_node - total)


def test_ties_go_to_the_first_class():
    labels = xr.Dataset({"bmu_row": ("sample", [0, 0, 0, 0]), "bmu_col": ("sample", [0, 0, 1, 1])})
    found = summarize_labels(labels, np.array(["b", "a", "b", "b"]), Lattice(1, 2))
    assert found["majority"].values.tolist() == [["a", "b"]]
    assert found["purity"].values.tolist() == [[0.5, 1.0]]


def test_any_dimensions_and_classes_of_one_of_them(rng):
    row, col = rng.integers(0, 3, (20, 5, 6)), rng.integers(0, 4, (20, 5, 6))
    dims = ("time", "lat", "lon")
    labels = xr.Dataset({"bmu_row": (dims, row), "bmu_col": (dims, col)}, {"time": np.arange(20)})
    season = xr.DataArray(np.array(["djf", "jja"])[np.arange(20) % 2], dims="time", coords={"time": np.arange(20)})
    wanted = np.zeros((3, 4, 2), dtype=np.int64)
    for index in np.ndindex(row.shape):
        wanted[row[index], col[index], index[0] % 2] += 1
    for some in (labels, labels.chunk(time=7, lat=2)):
        np.testing.assert_array_equal(summarize_labels(some, season, LATTICE)["class_count"], wanted)
    turned = season.expand_dims(lat=5, lon=6).transpose("lon", "time", "lat").chunk(lon=4)
    np.testing.assert_array_equal(summarize_labels(labels, turned, LATTICE)["class_count"], wanted)


def test_what_can_not_be_summarized(labels, monkeypatch):
    classes = np.arange(N) % 3
    with pytest.raises(DataError, match="shape"):
        summarize_labels(labels, classes[:-1], LATTICE)
    with pytest.raises(DataError, match="the dimensions band"):
        summarize_labels(labels, xr.DataArray(np.zeros((N, 2)), dims=("cell", "band")), LATTICE)
    with pytest.raises(DataError, match="differ along cell"):
        summarize_labels(labels, xr.DataArray(classes, dims="cell", coords={"cell": np.arange(N) + 1}), LATTICE)
    with pytest.raises(DataError, match="outside the map of 2 x 4"):
        summarize_labels(labels, classes, Lattice(2, 4))
    with pytest.raises(DataError, match="no common order"):
        summarize_labels(labels, np.array(["a", 1] * (N // 2), dtype=object), LATTICE)
    with pytest.raises(DataError, match="no sample has both"):
        summarize_labels(labels, np.full(N, np.nan), LATTICE)
    with pytest.raises(DataError, match="lack bmu_row and bmu_col"):
        summarize_labels(labels[[]], classes, LATTICE)
    monkeypatch.setattr(node_sums, "MOST_CLASSES", 5)
    for some in (labels, labels.chunk(cell=4)):  # each block has few
        with pytest.raises(DataError, match="more than 5 different classes"):
            summarize_labels(some, np.arange(N), LATTICE)


def plain_moments(labels, values):
    """Mean, standard deviation and number by node, with math.fsum."""
    groups = collections.defaultdict(list)
    for row, col, value in zip(labels["bmu_row"].values, labels["bmu_col"].values, values.tolist(), strict=True):
        if not math.isnan(row) and not math.isnan(value):
            groups[int(row), int(col)].append(float(value))
    result = np.full((3, 3, 4), np.nan)
    result[2] = 0
    for node, some in groups.items():
        mean = math.fsum(some) / len(some)
        result[(slice(None), *node)] = (
            mean,
            math.sqrt(math.fsum((x - mean) ** 2 for x in some) / len(some)),
            len(some),
        )
    return result


@pytest.mark.parametrize("chunks", [None, 37, 1])
@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_mean_and_deviation(chunks, offset, labels, rng):
    values = rng.normal(size=N) + offset
    values[::13] = np.nan
    data = xr.Dataset({"height": ("cell", values, {"units": "m"}), "wet": ("cell", rng.random(N) < 0.3)})
    if chunks:
        labels, data = labels.chunk(cell=chunks), data.chunk(cell=29)
    found = summarize_values(labels, data, LATTICE)
    for name in ("height", "wet"):
        mean, std, count = plain_moments(labels, data[name].values.astype(np.float64))
        np.testing.assert_allclose(found[f"{name}_mean"], mean, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found[f"{name}_std"], std, rtol=1e-6 if offset else 1e-12, atol=1e-14)
        np.testing.assert_array_equal(found[f"{name}_count"], count)
    assert found["height_mean"].attrs["units"] == "m"
    assert bool(found["height_mean"][2, 3].isnull())


def test_values_without_a_name_and_those_that_can_not_be(labels, rng):
    values = rng.normal(size=N)
    assert set(summarize_values(labels, values, LATTICE).data_vars) == {"value_mean", "value_std", "value_count"}
    named = xr.DataArray(values, dims="cell", name="age")
    assert set(summarize_values(labels, named, LATTICE).data_vars) == {"age_mean", "age_std", "age_count"}
    with pytest.raises(DataError, match="numbers are needed"):
        summarize_values(labels, np.array(["a"] * N), LATTICE)
    values[3] = np.inf
    with pytest.raises(DataError, match="infinities"):
        summarize_values(labels, values, LATTICE)


@pytest.mark.parametrize("name", ["iris", "wine"])
def test_classes_of_flowers_and_wines(name):
    data = getattr(pytest.importorskip("sklearn.datasets"), f"load_{name}")()
    values = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    names = np.asarray(data.target_names)[data.target]
    model = train(values, Lattice(6, 6), MapConfig(epochs=10))
    found = summarize_labels(infer(values, model), names, model)
    assert float(found["overall_purity"]) > 0.88
    assert int(found["class_count"].sum()) == len(values)
    # Of a broken map, whose units have nothing to do with the samples:
    shuffled = np.random.default_rng(1).permutation(names)
    assert float(summarize_labels(infer(values, model), shuffled, model)["overall_purity"]) < 0.75


def test_summaries_can_be_saved(labels, tmp_path):
    found = summarize_labels(labels, np.array(["a", "b"])[np.arange(N) % 2], LATTICE)
    save_model(found, tmp_path / "summary.zarr")
    again = xr.open_zarr(tmp_path / "summary.zarr", consolidated=False).load()
    for name in ("class_count", "purity", "class", "overall_purity"):
        np.testing.assert_array_equal(again[name], found[name])
    stored = again["majority"].values.astype(object)
    assert (stored[2, 3], stored[:2].tolist()) == ("", found["majority"][:2].values.tolist())
    # What comes back as another kind of string is a class as before.
    classes = again["class"].values[np.arange(N) % 2]
    xr.testing.assert_equal(summarize_labels(labels, classes, LATTICE), found)


def plain_weights(labels, classes, weights):
    """Sums of weights by node and class, sample by sample."""
    result = collections.defaultdict(list)
    for row, col, kind, weight in zip(
        labels["bmu_row"].values, labels["bmu_col"].values, classes, weights, strict=True
    ):
        if not math.isnan(row) and kind is not None:
            result[int(row), int(col), kind].append(weight)
    return {key: math.fsum(some) for key, some in result.items()}


@pytest.mark.parametrize("chunks", [None, 37])
def test_classes_by_weight(chunks, labels, rng):
    classes = np.array(["fig", "plum", None], dtype=object)[rng.integers(0, 3, N)]
    weights = rng.random(N) * (rng.random(N) < 0.8)
    weights[labels["bmu_row"].isnull().values] = np.nan  # which have no node
    given = da.from_array(weights, chunks=53) if chunks else weights
    found = summarize_labels(labels.chunk(cell=chunks) if chunks else labels, classes, LATTICE, sample_weights=given)
    sums = plain_weights(labels, classes, weights)
    wanted = np.zeros((3, 4, 2))
    for (row, col, kind), weight in sums.items():
        wanted[row, col, ["fig", "plum"].index(kind)] = weight
    np.testing.assert_allclose(found["class_count"], wanted, rtol=1e-13)
    assert found["class_count"].dtype == np.float64
    total = wanted.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(found["purity"], wanted.max(axis=-1) / total, rtol=1e-13)
    assert float(found["overall_purity"]) == pytest.approx(wanted.max(axis=-1).sum() / total.sum())
    majority = found["majority"].values[total > 0]
    np.testing.assert_array_equal(majority, np.array(["fig", "plum"])[wanted.argmax(axis=-1)[total > 0]])
    known = labels["bmu_row"].notnull().values & (classes != None)  # noqa: E711, element by element
    assert found.attrs["samples"] == np.count_nonzero(known & (weights > 0))
    assert found.attrs["samples_of_weight_zero"] == np.count_nonzero(known & (weights == 0))
    assert found.attrs["weighted"]
    with_ones = summarize_labels(labels, classes, LATTICE, sample_weights=np.ones(N))
    plain = summarize_labels(labels, classes, LATTICE)
    np.testing.assert_array_equal(with_ones["class_count"], plain["class_count"])
    assert not plain.attrs["weighted"]


@pytest.mark.parametrize("chunks", [None, 37])
@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_values_by_weight(chunks, offset, labels, rng):
    values, weights = rng.normal(size=N) + offset, rng.integers(0, 4, N)
    values[::13] = np.nan
    some = labels.chunk(cell=chunks) if chunks else labels
    found = summarize_values(some, values, LATTICE, sample_weights=weights)
    # A weight of 2 is the same as the sample twice.
    often = np.repeat(np.arange(N), weights)
    mean, std, count = plain_moments(labels.isel(cell=often), values[often])
    np.testing.assert_allclose(found["value_mean"], mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found["value_std"], std, rtol=1e-6 if offset else 1e-12, atol=1e-14)
    np.testing.assert_array_equal(found["value_count"], count)
    assert found["value_count"].dtype == np.float64
    tiny = summarize_values(some, values, LATTICE, sample_weights=weights * 2.0**-60)
    for name in ("value_mean", "value_std"):
        np.testing.assert_array_equal(tiny[name], found[name])


@pytest.mark.parametrize("two", [False, True])
def test_areas_of_labels(two, rng):
    row, col, latitudes = rng.integers(0, 3, (6, 5)), rng.integers(0, 4, (6, 5)), rng.uniform(-80, 80, 6)
    attrs = {"units": "degrees_north"}
    coordinate = (("y", "x"), np.repeat(latitudes[:, None], 5, axis=1), attrs) if two else ("y", latitudes, attrs)
    labels = xr.Dataset({"bmu_row": (("y", "x"), row), "bmu_col": (("y", "x"), col)}, {"north": coordinate})
    classes = rng.integers(0, 2, (6, 5))
    area = np.repeat(np.cos(np.deg2rad(latitudes))[:, None], 5, axis=1)
    for some in (labels, labels.chunk(y=4)):
        found = summarize_labels(some, classes, LATTICE, sample_weights="area")
        by_hand = summarize_labels(some, classes, LATTICE, sample_weights=xr.DataArray(area, dims=("y", "x")))
        np.testing.assert_allclose(found["class_count"], by_hand["class_count"], rtol=1e-11)
        assert float(found["class_count"].sum()) == pytest.approx(area.sum())
        means = summarize_values(some, classes, LATTICE, sample_weights="area")
        assert float(means["value_count"].sum()) == pytest.approx(area.sum())
    with pytest.raises(ParameterError, match="the labels has no latitude"):
        summarize_labels(labels.drop_vars("north"), classes, LATTICE, sample_weights="area")


def test_weights_that_can_not_be(labels):
    classes, weights = np.arange(N) % 3, np.ones(N)
    with pytest.raises(ParameterError, match="shape"):
        summarize_labels(labels, classes, LATTICE, sample_weights=weights[1:])
    with pytest.raises(ParameterError, match="give the variable itself"):
        summarize_values(labels, classes, LATTICE, sample_weights="mass")
    for bad in (np.nan, np.inf, -1):
        weights[1] = bad
        with pytest.raises(DataError, match="hold 1 that are negative or not finite"):
            summarize_labels(labels, classes, LATTICE, sample_weights=weights)
        with pytest.raises(DataError, match="hold 1 that are negative or not finite"):
            summarize_values(labels, classes, LATTICE, sample_weights=weights)
    with pytest.raises(DataError, match="no sample has both a node and a class and a weight above 0"):
        summarize_labels(labels, classes, LATTICE, sample_weights=np.zeros(N))


@pytest.mark.parametrize("lazy", [False, True])
def test_masked_classes_and_values_are_missing(lazy, labels, rng):
    mask = rng.random(N) < 0.3
    for kind in ("integers", "floats", "strings", "dates"):
        values, dtype = KINDS[kind]
        classes = np.array(values, dtype=dtype)[rng.integers(0, 3, N)]
        array = np.ma.array(classes, mask=mask)
        known = classes.astype(object)
        known[mask] = None
        given = da.from_array(array, chunks=70) if lazy else array
        found, wanted = (summarize_labels(labels, some, LATTICE) for some in (given, known))
        np.testing.assert_array_equal(found["class_count"], wanted["class_count"])
        if kind == "integers":
            assert found["class"].dtype.kind == "i"
            moments = summarize_values(labels, given, LATTICE)
            wanted = summarize_values(labels, np.where(mask, np.nan, classes), LATTICE)
            xr.testing.assert_allclose(moments, wanted, rtol=1e-13)
