"""Evaluation: exact errors, measures against loops, and what depends on neither blocks nor workers."""

import math
import weakref
from dataclasses import replace

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import som_dask
from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.algorithm.neighborhood import Neighborhood
from som_dask.algorithm.online_rule import OnlineConfig
from som_dask.algorithm.quality import topographic_error
from som_dask.algorithm.rank_measures import neighborhood_preservation, topographic_product, trustworthiness
from som_dask.analysis import evaluation_dataset
from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.labels import infer
from som_dask.errors import DataError, ParameterError, SchemaError
from som_dask.io.models import feature_space_of, model_dataset, open_model, save_labeled, scaled_codebook_of
from som_dask.passes.cluster import connect
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.algorithm.test_quality import plain_distortion
from tests.engine.test_gap_search import holes
from tests.reference.twins import dense_matrix, plain_bmus

LATTICE = Lattice(4, 5)
NAMES = ["a", "b", "c"]
EXACT = ("quantization_error", "topographic_error", "hits", "node_mean_distance")
RANKS = ("trustworthiness", "neighborhood_preservation")
ROUNDED = ("distortion", "topographic_product", "node_mean_squared_distance", "node_feature_variance")


@pytest.fixture
def cells(rng):
    return rng.normal(size=(900, 3)) * [1, 2, 5] + [100, 0, -3]


@pytest.fixture
def model(cells):
    return train(cells, LATTICE, MapConfig(epochs=4, final_radius=0.7))


def made_model(space, points, radius=0.8):
    """A model by hand whose codebook in its own space is `points`."""
    history = {name: [math.nan] for name in ("quantization_error", "topographic_error")} | {"radius": [radius]}
    kept = {
        "topology": "hexagonal",
        "boundary": "planar",
        "missing": space.missing,
        "metric": space.metric,
    }
    return model_dataset(
        points=points, space=space, hits=np.zeros(20, dtype=np.int64), history=history, features=NAMES,
        lattice=LATTICE, attrs={**kept, "neighborhood": "gaussian", "support": None},
    )  # fmt: skip


def in_blocks(array, *rows):
    """Samples in just these blocks: `open_samples` would join small ones."""
    return Samples(da.from_array(array, chunks=(rows, array.shape[1])), None, description="the dask array")


def assert_same(one, other, exact=(*EXACT, *RANKS), rounded=ROUNDED):
    for name in exact:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    for name in rounded:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("keep", ["memory", "stream"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_errors_on_the_training_data_are_those_of_training(dtype, keep, rng):
    data = (rng.random((3000, 4)) ** 6 * 250).astype(dtype)
    model = train(in_blocks(data, 700, 2300), Lattice(6, 7), MapConfig(epochs=3))
    found = evaluate(in_blocks(data, 433, 1000, 1567), model, sample=50, keep=keep)
    for name in ("quantization_error", "topographic_error"):
        assert float(found[name]) == float(model[name][-1])
    np.testing.assert_array_equal(found["hits"], model["hits"])
    assert found.attrs["data_fingerprint"] == model.attrs["data_fingerprint"]
    assert found.attrs["model_codebook_sha256"] == model.attrs["codebook_sha256"]


def test_errors_of_samples_that_lie_on_their_nodes(rng):
    # All distances are rounding errors: here the digits that exact sums cut off would show.
    data = rng.normal(size=(12, 3)) * 1e3
    model = train(data, Lattice(7, 8), MapConfig(epochs=20, final_radius=0.1))
    found = evaluate(data, model)
    assert float(found["quantization_error"]) == float(model["quantization_error"][-1])


@pytest.mark.parametrize("config", [
    {"scaling": "zscore"}, {"missing": "mask"}, {"scaling": "range", "missing": "mask"}, {"missing": "drop"},
    {"metric": "cosine"}, {"metric": "cosine", "missing": "mask"},
], ids=str)  # fmt: skip
def test_errors_on_fields_are_those_of_training_whatever_its_scaling(config, rng):
    values = rng.normal(size=(60, 5, 6, 4)) * [1, 10, 100, 1] + [0, 5, 1000, 1]
    values[..., 3] = np.nan if "missing" in config and config["missing"] == "mask" else 1.0
    if "missing" in config:
        values[:, :, 2, 0] = np.nan
    fields = xr.DataArray(values, dims=("time", "lat", "lon", "level"), coords={"level": [1, 2, 3, 4]})
    one = fields.chunk(time=20, lat=2, lon=3)
    model = train(open_samples(one, feature_dims="level"), LATTICE, MapConfig(epochs=3, **config))
    found = evaluate(open_samples(fields.chunk(time=7), feature_dims="level"), model, sample=40)
    for name in ("quantization_error", "topographic_error"):
        assert float(found[name]) == float(model[name][-1])
    np.testing.assert_array_equal(found["hits"], model["hits"])
    assert found.attrs["samples_left_out"] == model.attrs.get("samples_left_out", 0)
    xr.testing.assert_identical(found["feature"], model["feature"])


PLAIN = FeatureSpace.plain(3)
SCALED = replace(
    PLAIN,
    center=np.array([100.0, 0, -3]),
    scale=np.array([1.0, 2, 5]),
    feature_weights=np.array([1.0, 4, 0.25]),
)
KINDS = {
    "plain": PLAIN,
    "scaled": SCALED,
    "masked": replace(PLAIN, missing="mask"),
    "scaled and masked": replace(SCALED, missing="mask"),
    "scaled and dropped": replace(SCALED, missing="drop"),
    "cosine": replace(PLAIN, metric="cosine"),
    "a feature never known": replace(SCALED, used=np.array([True, False, True]), missing="mask"),
}


@pytest.mark.parametrize("space", KINDS.values(), ids=KINDS)
def test_every_measure_is_that_of_its_formula(space, cells, rng):
    cells = cells if space.missing == "error" else holes(cells, 0.2, rng)
    points = space.scale_values(cells)
    if space.metric == "cosine":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    lacking = np.isnan(points)
    points = points[~(lacking.any(axis=1) if space.missing == "drop" else lacking.all(axis=1))]
    codebook = space.to_sphere(points[~np.isnan(points).any(axis=1)][:20])
    model = made_model(space, codebook)
    np.testing.assert_array_equal(scaled_codebook_of(model), codebook)
    assert feature_space_of(model).missing == space.missing
    found = evaluate(in_blocks(cells, 200, 1, 699), model, sample=900, neighbors=7)

    bmu, second, distance = plain_bmus(points, codebook)
    distance = distance**2 / 2 if space.metric == "cosine" else distance
    assert found.attrs["samples"] == 900
    assert found.attrs["samples_left_out"] == 900 - len(points)
    assert float(found["quantization_error"]) == pytest.approx(math.fsum(distance) / len(points), rel=1e-13)
    assert float(found["topographic_error"]) == topographic_error(bmu, second, LATTICE)
    expected = plain_distortion(points, bmu, codebook, dense_matrix(LATTICE, Neighborhood(), 0.8))
    assert float(found["distortion"]) == pytest.approx(expected, rel=1e-10)
    assert float(found["topographic_product"]) == topographic_product(codebook, LATTICE)
    whole = ~np.isnan(points).any(axis=1)
    assert found.attrs["sample"] == np.count_nonzero(whole)
    ranked = (points[whole], bmu[whole], LATTICE, 7)
    assert float(found["trustworthiness"]) == pytest.approx(trustworthiness(*ranked), rel=1e-9)
    assert float(found["neighborhood_preservation"]) == pytest.approx(neighborhood_preservation(*ranked), rel=1e-9)
    mean, squared, variance = np.full(20, np.nan), np.full(20, np.nan), np.full((20, 3), np.nan)
    in_units = points if space.metric == "cosine" else space.to_data_units(points)
    for node in set(bmu.tolist()):
        here = bmu == node
        mean[node] = distance[here].mean()
        squared[node] = np.nansum((points[here] - codebook[node]) ** 2, axis=1).mean()
        for j in np.flatnonzero(space.used):
            column = in_units[here, j] if in_units.shape[1] == 3 else points[here, j]
            column = column[~np.isnan(column)]
            if len(column):
                variance[node, j] = column.var()
    np.testing.assert_array_equal(found["hits"].values.ravel(), np.bincount(bmu, minlength=20))
    np.testing.assert_allclose(found["node_mean_distance"].values.ravel(), mean, rtol=1e-12)
    np.testing.assert_allclose(found["node_mean_squared_distance"].values.ravel(), squared, rtol=1e-11)
    np.testing.assert_allclose(found["node_feature_variance"].values.reshape(20, 3), variance, rtol=1e-8, atol=1e-12)


def test_measures_agree_with_the_labels(cells, model):
    found, labels = evaluate(cells, model), infer(cells, model).compute()
    assert float(found["quantization_error"]) == pytest.approx(float(labels["distance"].mean()), rel=1e-13)
    by_node = labels.groupby(["bmu_row", "bmu_col"]).mean()["distance"]
    hit = found["node_mean_distance"].stack(node=("row", "col")).dropna("node")
    np.testing.assert_allclose(hit, by_node.stack(node=("bmu_row", "bmu_col")).dropna("node"), rtol=1e-12)


def test_names_and_units(cells, model):
    found = evaluate(cells, model, sample=100, seed=5)
    assert set(found.data_vars) == {*EXACT, *RANKS, *ROUNDED}
    assert all(found[name].dims == () for name in evaluation_dataset.SCALARS)
    assert found["node_feature_variance"].dims == ("row", "col", "feature")
    assert all("long_name" in found[name].attrs for name in found.data_vars)
    assert all({"units", "comment"} & set(found[name].attrs) for name in found.data_vars)
    xr.testing.assert_equal(found["x"], model["x"])
    assert found["y"].attrs == {"units": "lattice units"}
    assert list(found["feature"].values) == list(model["feature"].values)
    attrs = found.attrs
    assert (attrs["sample"], attrs["seed"], attrs["neighbors"], attrs["samples"]) == (100, 5, 10, 900)
    assert (attrs["neighborhood"], attrs["radius"]) == ("gaussian", 0.7)
    assert attrs["input"] == "the NumPy array"
    assert som_dask.evaluate is evaluate


def test_it_survives_a_store(cells, model, tmp_path):
    found = evaluate(cells, model)
    save_labeled(found, tmp_path / "e.zarr")
    assert xr.open_zarr(tmp_path / "e.zarr", consolidated=False).load().identical(found)
    with pytest.raises(som_dask.SomError, match="not a som_dask model"):
        open_model(tmp_path / "e.zarr")


@settings(max_examples=8)
@given(chunks=st.lists(st.integers(1, 200), max_size=12), seed=st.integers(0, 100))
def test_blocks_change_nothing(chunks, seed):
    rng = np.random.default_rng(0)
    chunks = [30, *chunks]
    cells = holes(rng.normal(size=(sum(chunks), 3)), 0.1, rng)
    cells[:20] = 1.0
    model = made_model(replace(SCALED, missing="mask"), rng.normal(size=(20, 3)))
    once = evaluate(in_blocks(cells, len(cells)), model, sample=60, seed=seed)
    assert_same(once, evaluate(in_blocks(cells, *chunks), model, sample=60, seed=seed))


def test_the_order_of_samples_changes_no_exact_sum(cells, model, rng):
    once, again = evaluate(cells, model), evaluate(rng.permutation(cells), model)
    assert_same(once, again, EXACT, (*ROUNDED, *RANKS))


def test_which_samples_are_picked_depends_on_the_seed(cells, model):
    one, other = (evaluate(cells, model, sample=60, seed=seed) for seed in (0, 1))
    assert_same(one, other, EXACT, ())
    assert float(one["trustworthiness"]) != float(other["trustworthiness"])
    few = evaluate(cells, model, sample=9)
    assert few.attrs["neighbors"] == 4
    assert math.isnan(evaluate(cells, model, sample=2)["trustworthiness"])
    assert set(RANKS).isdisjoint(evaluate(cells, model, sample=0).data_vars)


@pytest.mark.cluster
def test_workers_change_nothing(cells, model):
    blocks = in_blocks(cells, *[100] * 9)
    once = evaluate(blocks, model)
    with connect(workers=2, threads_per_worker=1):
        again = evaluate(blocks, model)
    xr.testing.assert_identical(once.drop_attrs(), again.drop_attrs())


def test_maps_good_and_bad(rng):
    plane = rng.uniform(-1, 1, (2000, 2)) * [6, 5]
    lattice = Lattice(9, 11)
    good = evaluate(plane, train(plane, lattice, MapConfig(epochs=15)), sample=300)
    random = train(plane, lattice, MapConfig(epochs=0), codebook=rng.permutation(plane)[:99])
    bad = evaluate(plane, random, sample=300)
    assert good["trustworthiness"] > 0.97 > 0.8 > bad["trustworthiness"]
    assert good["neighborhood_preservation"] > 0.97 > 0.8 > bad["neighborhood_preservation"]
    assert good["topographic_error"] < 0.1 < 0.7 < bad["topographic_error"]
    assert good["distortion"] < bad["distortion"]
    assert abs(float(good["topographic_product"])) < 0.01
    chain = evaluate(plane, train(plane, Lattice(1, 99), MapConfig(epochs=15)), sample=300)
    assert chain["topographic_product"] < -0.02
    assert chain["neighborhood_preservation"] < 0.97


def test_online_models_and_maps_of_one_node(rng):
    colors = rng.random((30, 3))
    model = train(colors, LATTICE, OnlineConfig(epochs=5))
    found = evaluate(colors, model)
    assert float(found["quantization_error"]) == pytest.approx(float(model["quantization_error"][-1]), rel=1e-14)
    assert found.attrs["radius"] == float(model["radius"][-2])
    alone = evaluate(colors, train(colors, Lattice(1, 1), MapConfig(epochs=1)))
    assert math.isnan(alone["topographic_product"])
    assert float(alone["topographic_error"]) == 0.0
    assert float(alone["distortion"]) == pytest.approx(alone["node_mean_squared_distance"].item())


def test_a_large_map_has_no_topographic_product(cells, model, monkeypatch):
    monkeypatch.setattr(evaluation_dataset, "MOST_NODES", 19)
    found = evaluate(cells, model)
    assert math.isnan(found["topographic_product"])
    assert "more than 19 nodes" in found["topographic_product"].attrs["comment"]


def test_missing_values_are_refused_unless_allowed(cells, model):
    cells[700, 1] = np.nan
    blocks = in_blocks(cells, 500, 400)
    with pytest.raises(DataError, match=r"1 NaN or infinite values, in block 1 \(rows 500 to 899\)"):
        evaluate(blocks, model)
    scaled = made_model(SCALED, SCALED.scale_values(cells[:20]))
    with pytest.raises(DataError, match=r"1 NaN or infinite .* block 1 \(rows 500 to 899\)"):
        evaluate(blocks, scaled)
    assert evaluate(blocks, model, missing="drop").attrs["samples_left_out"] == 1
    assert evaluate(blocks, model, missing="mask").attrs["samples_left_out"] == 0
    cells[3, 0] = np.inf
    blocks = in_blocks(cells, 500, 400)
    with pytest.raises(DataError, match=r"1 infinite .* block 0 \(rows 0 to 499\)"):
        evaluate(blocks, model, missing="mask")
    with pytest.raises(DataError, match="nothing to measure"):
        evaluate(np.full((5, 3), [1.0, np.nan, 2.0]), model, missing="drop")


def test_a_feature_that_no_sample_has(cells, model):
    cells[:, 1] = np.nan
    found = evaluate(cells, model, missing="mask")
    assert np.isnan(found["node_feature_variance"][:, :, 1]).all()
    assert np.isfinite(found["distortion"])


def test_data_that_change_between_the_passes(cells, model):
    reads = []

    def read(block, block_info=None):
        reads.append(1)
        return block + len(reads) * 1e-3

    moving = da.from_array(cells, chunks=(900, 3)).map_blocks(read, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(DataError, match="changed"):
        evaluate(moving, model, keep="stream")


def test_memory_does_not_grow_with_the_samples(model, rng):
    alive, most = set(), []

    def make(block):
        values = np.full((900, 3), block[0, 0])
        alive.add(id(values))
        weakref.finalize(values, alive.discard, id(values))
        most.append(len(alive))
        return values

    numbers = da.from_array(rng.random((60, 1)), chunks=(1, 1))
    samples = numbers.map_blocks(make, chunks=((900,) * 60, (3,)), meta=np.empty((0, 0)))
    with dask.config.set(scheduler="threads", num_workers=2):
        evaluate(Samples(samples, None), model, sample=5)
    assert len(most) == 120
    assert max(most) < 20


def test_what_cannot_be_used(cells, model):
    for options in (
        {"keep": "most"},
        {"sample": -1},
        {"sample": 2.5},
        {"neighbors": 0},
        {"seed": -1},
        {"missing": "fill"},
    ):
        with pytest.raises(ParameterError, match=next(iter(options))):
            evaluate(cells, model, **options)
    with pytest.raises(SchemaError, match="2 features"):
        evaluate(cells[:, :2], model)


def test_weights_count_as_in_training(cells, rng):
    times = rng.integers(0, 4, 900)
    model = train(cells, LATTICE, MapConfig(epochs=3), sample_weights=times)
    found = evaluate(in_blocks(cells, 500, 400), model, sample=0)
    assert float(found["quantization_error"]) != float(model["quantization_error"][-1])
    found = evaluate(cells, model, sample_weights=times)
    copies = evaluate(cells.repeat(times, axis=0), model, sample=0)
    assert float(found["quantization_error"]) == float(model["quantization_error"][-1])
    assert float(found["topographic_error"]) == float(model["topographic_error"][-1])
    np.testing.assert_array_equal(found["hits"], model["hits"])
    assert (found.attrs["weighted"], found.attrs["samples_left_out"]) == (True, np.count_nonzero(times == 0))
    assert_same(found, copies, (), ("quantization_error", "node_mean_distance", *ROUNDED))


def test_samples_that_weigh_nothing_are_no_samples_that_lack_values(rng):
    cells = rng.normal(size=(50, 3))
    with pytest.raises(DataError, match="50 of 50 samples weigh nothing"):
        evaluate(cells, made_model(FeatureSpace.plain(3), cells[:20]), sample_weights=np.zeros(50))


def test_a_bar_of_passes_is_shown_on_a_terminal_unless_it_is_turned_off(rng, open_terminal, capsys):
    values = rng.random((60, 3))
    model = train(values, Lattice(3, 4), MapConfig(epochs=1))
    terminal = open_terminal()
    evaluate(values, model, progress=False)
    assert terminal.getvalue() == ""
    evaluate(values, model)
    assert "step 1 of 3: range of the samples" in terminal.getvalue()
    assert "100%" in terminal.getvalue()
    assert capsys.readouterr().out == ""
