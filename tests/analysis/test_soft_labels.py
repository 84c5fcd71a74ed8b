"""Soft labels: lazy, on the samples' own coordinates, the same for any blocks."""

import tracemalloc
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.feature_space import FeatureSpace
from som_dask.algorithm.lattice import Lattice
from som_dask.analysis import labels as label_module
from som_dask.analysis.label_store import infer_to_store
from som_dask.analysis.labels import infer
from som_dask.analysis.soft_labels import infer_soft, label_block_softly
from som_dask.engine.block import Block
from som_dask.engine.codebook import SharedCodebook
from som_dask.engine.nearest_k import nearest_nodes
from som_dask.errors import DataError, ParameterError, SchemaError
from som_dask.io.models import scaled_codebook_of
from som_dask.training.config import MapConfig
from som_dask.training.train import train
from tests.analysis.test_clusters import model_of
from tests.engine.test_gap_search import holes
from tests.engine.test_nearest_k import plain_memberships

LATTICE = Lattice(4, 6)


@pytest.fixture
def cells(rng):
    coords = {
        "marker": np.array(["a", "b", "c"], dtype=object),
        "cell": np.arange(9000) * 2,
        "plate": ("cell", np.arange(9000) % 7),
    }
    array = xr.DataArray(rng.normal(size=(9000, 3)), dims=("cell", "marker"), coords=coords, name="cells")
    return array.chunk(cell=1000)


@pytest.fixture
def model(cells):
    return train(cells, LATTICE, MapConfig(epochs=2))


def test_nodes_distances_and_memberships(cells, model):
    soft = infer_soft(cells, model, 4).compute()
    nodes, distances = nearest_nodes(Block.of(cells.values), SharedCodebook(scaled_codebook_of(model), LATTICE), 4)
    np.testing.assert_array_equal(soft["node_row"] * 6 + soft["node_col"], nodes)
    np.testing.assert_array_equal(soft["distance"], distances)
    wanted = plain_memberships(distances[:300], "fuzzy", 2.0)
    np.testing.assert_allclose(soft["membership"][:300], wanted, rtol=1e-12)
    np.testing.assert_array_equal(soft["ambiguity"], distances[:, 0] / distances[:, 1])
    logarithms = np.log(soft["membership"].values)
    np.testing.assert_allclose(soft["entropy"], -(soft["membership"] * logarithms).sum("neighbor") / np.log(4))
    assert (soft.attrs["membership_kind"], soft.attrs["membership_fuzzifier"]) == ("fuzzy", 2.0)


def test_labels_take_little_memory_beyond_themselves(model, rng):
    block, shared = rng.normal(size=(200_000, 3)), SharedCodebook(scaled_codebook_of(model), LATTICE)
    label_block_softly(block[:100], shared, 3, {"kind": "fuzzy"})
    tracemalloc.start()
    try:
        labels = label_block_softly(block, shared, 3, {"kind": "fuzzy"})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < labels.nbytes + 16 * 2**20


def test_blocks_whose_labels_are_large_are_cut(cells, model, tmp_path, monkeypatch):
    whole = cells.chunk(cell=9000)
    plain = infer_soft(whole, model, 3)
    assert plain["entropy"].chunks == ((3000,) * 3,)
    monkeypatch.setattr(label_module, "LABELED_BYTES", 500 * (3 * 8 + 14 * 8))
    soft = infer_soft(whole, model, 3)
    assert soft["entropy"].chunks == ((500,) * 18,)
    xr.testing.assert_equal(soft.compute(), plain.compute())
    assert infer(whole, model)["distance"].chunks == ((1286,) * 6 + (1284,),)
    summary = infer_to_store(whole, model, tmp_path / "soft.zarr", soft={"k": 3})
    assert summary.blocks == 18
    xr.testing.assert_equal(xr.open_zarr(tmp_path / "soft.zarr", consolidated=False).compute(), plain.compute())


def test_the_nearest_is_the_best_matching_unit(cells, model):
    soft, labels = infer_soft(cells, model, 2).compute(), infer(cells, model).compute()
    for name, wanted in (("node_row", "bmu_row"), ("node_col", "bmu_col"), ("distance", "distance")):
        np.testing.assert_array_equal(soft[name].isel(neighbor=0), labels[wanted])


def test_dimensions_coordinates_and_dtypes(cells, model):
    soft = infer_soft(cells, model)
    pair, one = (("cell", "neighbor"), np.float64), (("cell",), np.float64)
    index = (("cell", "neighbor"), np.int32)
    assert {name: (v.dims, v.dtype) for name, v in soft.data_vars.items()} == {
        "node_row": index, "node_col": index, "distance": pair, "membership": pair, "entropy": one, "ambiguity": one,
        "node": index,
    }  # fmt: skip
    assert soft.sizes == {"cell": 9000, "neighbor": 3}
    np.testing.assert_array_equal(soft["cell"], cells["cell"])
    np.testing.assert_array_equal(soft["plate"], cells["plate"])
    assert "ambiguity" not in infer_soft(cells, model, 1)
    np.testing.assert_array_equal(infer_soft(cells, model, 1)["membership"], 1.0)


def test_nothing_is_computed_before_it_is_asked_for(model):
    def fail(block):
        raise AssertionError("computed")

    lazy = da.map_blocks(fail, da.zeros((9000, 3), chunks=(3000, 3)), dtype=np.float64, meta=np.empty((0, 0)))
    soft = infer_soft(lazy, model)
    with pytest.raises(AssertionError, match="computed"):
        soft.compute()


def test_any_blocks_give_the_same_bits(cells, model):
    wanted = infer_soft(cells.values, model).compute()
    for chunks in ((9000,), (4000, 1, 4999), (3000,) * 3):
        found = infer_soft(da.from_array(cells.values, chunks=(chunks, 3)), model).compute()
        xr.testing.assert_equal(found, wanted)


def test_gaussian_memberships_take_the_models_error_for_their_width(cells, model):
    soft = infer_soft(cells, model, kind="gaussian").compute()
    width = float(model["quantization_error"][-1])
    assert soft.attrs["membership_bandwidth"] == width
    wanted = plain_memberships(soft["distance"].values[:200], "gaussian", width)
    np.testing.assert_allclose(soft["membership"][:200], wanted, rtol=1e-12)
    other = infer_soft(cells, model, kind="gaussian", bandwidth=0.5)
    wanted = plain_memberships(soft["distance"].values[:200], "gaussian", 0.5)
    np.testing.assert_allclose(other["membership"][:200], wanted, rtol=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_scaled_maps_with_missing_values(metric, rng):
    center, scale = np.array([5.0, -3.0, 0.0]), np.array([2.0, 0.1, 7.0])
    space = FeatureSpace(center, scale, np.ones(3), np.ones(3, dtype=bool), "mask", metric, gaps=True)
    model = model_of(space.to_sphere(rng.normal(size=(24, 3))), LATTICE, space=space)
    samples = holes(center + scale * rng.normal(size=(400, 3)), 0.3, rng)
    samples[11] = np.nan
    soft = infer_soft(samples, model).compute()
    shared = SharedCodebook(scaled_codebook_of(model), LATTICE, space=space)
    nodes, distances = nearest_nodes(Block.of(samples), shared, 3)
    assert soft["node_row"].dtype == np.float64
    assert soft.isel(sample=11).isnull().all().to_array().all()
    rest = soft.drop_isel(sample=11)
    np.testing.assert_array_equal(rest["node_row"] * 6 + rest["node_col"], np.delete(nodes, 11, axis=0))
    apart = np.delete(distances, 11, axis=0)
    straight = np.sqrt(2 * apart) if metric == "cosine" else apart
    np.testing.assert_allclose(rest["membership"], plain_memberships(straight, "fuzzy", 2.0), rtol=1e-9)
    dropped = infer_soft(samples, model, missing="drop").compute()
    np.testing.assert_array_equal(dropped["distance"].isnull().all("neighbor"), np.isnan(samples).any(axis=1))
    with pytest.raises(DataError, match="NaN or infinite"):
        infer_soft(samples, model, missing="error").compute()


def test_values_and_arguments_that_can_not_be(cells, model):
    strict = SharedCodebook(scaled_codebook_of(model), LATTICE)
    options = {"kind": "fuzzy", "fuzzifier": 2.0, "bandwidth": None}
    for value, words in ((np.nan, "1 NaN or infinite"), (np.inf, "1 NaN or infinite")):
        with pytest.raises(DataError, match=words):
            label_block_softly(np.array([[0.0, value, 0.0]]), strict, 2, options)
    lenient = SharedCodebook(
        scaled_codebook_of(model), LATTICE, space=replace(FeatureSpace.plain(3), missing="mask", gaps=True)
    )
    unused = replace(lenient.space, used=np.array([True, False, True]))
    partly = SharedCodebook(scaled_codebook_of(model)[:, ::2].copy(), LATTICE, space=unused)
    found = label_block_softly(np.array([[0.0, np.inf, 1.0], [0.0, np.nan, 1.0]]), partly, 2, options)
    np.testing.assert_array_equal(found[0], found[1])
    assert np.isfinite(found).all()
    with pytest.raises(DataError, match="1 infinite"):
        label_block_softly(np.array([[0.0, np.inf, np.nan]]), lenient, 2, options)
    for k in (0, 25, 1.5):
        with pytest.raises(ParameterError, match="from 1 to the map's 24 nodes"):
            infer_soft(cells, model, k)
    for option in ({"kind": "sharp"}, {"missing": "fill"}):
        with pytest.raises(ParameterError, match="must be one of"):
            infer_soft(cells, model, **option)
    with pytest.raises(SchemaError):
        infer_soft(cells.isel(marker=[1, 0, 2]), model)
