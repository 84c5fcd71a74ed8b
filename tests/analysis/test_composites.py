"""Composites: means and tests of plain loops, for any blocks, lazily, with days and values missing."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.composite_blocks import cut_field
from som_dask.analysis.composites import composites
from som_dask.errors import DataError, ParameterError

stats = pytest.importorskip("scipy.stats")

LATTICE = Lattice(2, 2)
T = 120


@pytest.fixture
def labels(rng):
    """Node (1, 1) has no day, some days have no node."""
    row, col = np.divmod(rng.integers(0, 3, T).astype(np.float64), 2)
    row[::13] = col[::13] = np.nan
    return xr.Dataset({"bmu_row": ("time", row), "bmu_col": ("time", col)}, {"time": np.arange(T)})


@pytest.fixture
def rain(labels, rng):
    values = rng.normal(size=(4, T, 3)) + 7
    values[0] += (labels["bmu_row"].values == 1)[:, None] * 2.0
    values[rng.random(values.shape) < 0.05] = np.nan
    return xr.DataArray(
        values,
        dims=("lat", "time", "lon"),
        coords={"time": np.arange(T), "lat": [1.0, 2.0, 3.0, 4.0], "units": "mm"},
        name="rain",
        attrs={"units": "mm"},
    )


def nodes_of(labels):
    return (labels["bmu_row"] * 2 + labels["bmu_col"]).fillna(-1).values.astype(int)


CHUNKS = [None, {"time": 1, "lat": 2}, {"time": 50, "lon": 1}, {"time": T}]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_welch_is_that_of_scipy_for_any_blocks(chunks, labels, rain):
    some = rain if chunks is None else rain.chunk(chunks)
    found = composites(labels if chunks is None else labels.chunk(time=37), some, LATTICE)
    assert (found["p_value"].chunks is None) == (chunks is None)
    assert found["composite"].dims == ("row", "col", "lat", "lon")
    assert found["composite"].attrs["units"] == "mm"
    assert found["lat"].values.tolist() == [1, 2, 3, 4]
    found, values, nodes = found.compute(), rain.transpose("time", "lat", "lon").values, nodes_of(labels)
    for node in range(3):
        here, (mine, others) = found.isel(row=node // 2, col=node % 2), split(values, nodes, node)
        wanted = stats.ttest_ind(mine, others, equal_var=False, nan_policy="omit")
        np.testing.assert_allclose(here["p_value"], wanted.pvalue, rtol=1e-9)
        np.testing.assert_allclose(
            here["composite"], np.nanmean(mine, axis=0) - np.nanmean(values[nodes >= 0], axis=0), atol=1e-13
        )
        np.testing.assert_array_equal(here["days"], (~np.isnan(mine)).sum(axis=0))
        np.testing.assert_array_equal(here["significant"], wanted.pvalue <= 0.05)
    empty = found.isel(row=1, col=1)
    assert empty[["composite", "p_value"]].isnull().to_array().all()
    assert not empty["significant"].any()
    assert found["significant"].isel(row=1, col=0, lat=0).all()


def split(values, nodes, node):
    return values[nodes == node], values[(nodes >= 0) & (nodes != node)]


@pytest.mark.parametrize("length", [1, 5])
def test_permutations_are_the_same_for_any_blocks(length, labels, rain):
    how = {"test": "permutation", "permutations": 99, "block_length": length, "seed": 3}
    whole = composites(labels, rain, LATTICE, **how)
    welch = composites(labels, rain, LATTICE)
    np.testing.assert_allclose(whole["composite"], welch["composite"], atol=1e-13)
    np.testing.assert_array_equal(whole["days"], welch["days"])
    for chunks in CHUNKS[1:3]:
        cut = composites(labels, rain.chunk(chunks), LATTICE, **how)
        assert cut["p_value"].chunks is not None
        xr.testing.assert_equal(cut[["p_value", "composite", "significant"]].compute(), whole.drop_vars(
            ["days", "field_p_value"]))  # fmt: skip
        np.testing.assert_array_equal(cut["field_p_value"], whole["field_p_value"])
    assert float(whole["p_value"].isel(row=1, col=0, lat=0).max()) == 0.01  # no order of the days comes near
    assert float(whole["field_p_value"][1, 0]) == 0.01
    assert np.isnan(whole["field_p_value"][1, 1])
    assert whole["p_value"].isel(row=1, col=1).isnull().all()
    other = composites(labels, rain, LATTICE, **{**how, "seed": 4})
    assert not other["p_value"].equals(whole["p_value"])
    if length == 1:
        near = np.abs(whole["p_value"] - welch["p_value"]).max()
        assert near < 0.15  # the two tests ask the same


def test_the_field_as_a_whole_is_weighed_by_area(labels, rain):
    how = {"test": "permutation", "permutations": 99, "seed": 1}
    placed = rain.assign_coords(lat=("lat", [90.0, 90.0, 90.0, 0.0], {"units": "degrees_north"}))
    by_area = composites(labels, placed.chunk(lat=3, lon=2), LATTICE, place_weights="area", **how)
    last = composites(labels, placed[-1:], LATTICE, **how)
    xr.testing.assert_equal(by_area["field_p_value"].compute(), last["field_p_value"])
    weights = xr.DataArray([0, 0, 0, 5.0], dims="lat")
    xr.testing.assert_equal(
        composites(labels, rain, LATTICE, place_weights=weights, **how)["field_p_value"], last["field_p_value"]
    )
    assert not composites(labels, rain, LATTICE, **how)["field_p_value"].equals(last["field_p_value"])
    for bad, kind, words in (
        ("volume", ParameterError, "'area' or a DataArray"),
        (xr.DataArray(np.ones(4), dims="level"), ParameterError, "some of lat, lon"),
        (xr.DataArray(np.ones(3), dims="lat"), DataError, "differ along lat"),
        (-weights, DataError, "not negative"),
    ):
        with pytest.raises(kind, match=words):
            composites(labels, rain, LATTICE, place_weights=bad, **how)


def test_false_discoveries_are_controlled_over_the_places_of_each_node(labels, rng):
    noise = xr.DataArray(rng.normal(size=(T, 20, 50)), dims=("time", "lat", "lon")).chunk(lat=7, lon=20)
    plain, careful = (composites(labels, noise, LATTICE, fdr=fdr)["significant"].compute() for fdr in (False, True))
    assert plain.sum() > 50
    assert careful.sum() < 5
    shifted = noise + xr.DataArray((nodes_of(labels) == 2) * 3.0, dims="time") * (noise["lat"] < 5)
    found = composites(labels, shifted, LATTICE, fdr=True)
    wanted = [stats.false_discovery_control(p.ravel()) <= 0.05 for p in found["p_value"].values.reshape(4, -1)[:3]]
    np.testing.assert_array_equal(found["significant"].values.reshape(4, -1)[:3], wanted)
    assert found["significant"][1, 0, :5].all()


def test_any_dimensions_of_labels_and_none_of_the_field(rng):
    dims = ("time", "member")
    row, col = rng.integers(0, 2, (2, 40, 3))
    labels = xr.Dataset({"bmu_row": (dims, row), "bmu_col": (dims, col)})
    field = xr.DataArray(rng.random((3, 40)) > 0.5, dims=("member", "time"))
    wet = field.transpose("time", "member").values
    for some in (field, field.chunk(time=9, member=2)):
        found = composites(labels, some, LATTICE)
        wanted = [[wet[(row == i) & (col == j)].mean() - wet.mean() for j in (0, 1)] for i in (0, 1)]
        np.testing.assert_allclose(found["composite"], wanted, atol=1e-14)
        assert found["composite"].dims == ("row", "col")
    shuffled = composites(labels, field.chunk(time=9), LATTICE, test="permutation", permutations=19)
    assert shuffled["field_p_value"].equals(shuffled["p_value"])


def test_blocks_hold_enough_days_and_not_too_many_places():
    lattice = Lattice(10, 10)
    row = xr.DataArray(da.zeros(2_000, chunks=10), dims="time")
    field = xr.DataArray(da.zeros((2_000, 721, 1440), chunks=(10, -1, -1), dtype=np.float32), dims=("time", "y", "x"))
    for whole in (False, True):
        data, nodes = cut_field(field, row, row, lattice, whole=whole)
        assert data.chunks[0] == nodes.chunks[0]
        size = [max(sizes) for sizes in data.chunks]
        assert size[0] == (2_000 if whole else 400)
        assert 2**24 < 8 * np.prod(size) <= 2**26
    members = xr.DataArray(da.zeros((3, 900), chunks=(1, 1)), dims=("member", "time"))
    wide = xr.DataArray(da.zeros((3, 900, 50), chunks=(1, 1, -1)), dims=("member", "time", "x"))
    assert cut_field(wide, members, members, lattice, whole=False)[0].chunksize == (3, 134, 50)
    tasks = composites(xr.Dataset({"bmu_row": row, "bmu_col": row}), field, lattice)["p_value"].__dask_graph__()
    assert len(tasks) < 100_000


BAD = [
    ({"test": "t"}, ParameterError, "`test` must be one of welch, permutation, got 't'"),
    ({"level": 0}, ParameterError, "`level` must lie between 0 and 1"),
    ({"permutations": 0}, ParameterError, "`permutations` must be a positive integer"),
    ({"block_length": 2.5}, ParameterError, "`block_length` must be a positive integer"),
    ({"block_length": 5}, ParameterError, 'is for `test="permutation"`'),
    ({"place_weights": "area"}, ParameterError, 'are for `test="permutation"`'),
    ({"block_length": 61, "test": "permutation"}, ParameterError, "at least twice as many"),
]


@pytest.mark.parametrize(("options", "kind", "words"), BAD, ids=[str(bad[0]) for bad in BAD])
def test_options_that_can_not_be(options, kind, words, labels, rain):
    with pytest.raises(kind, match=words):
        composites(labels, rain, LATTICE, **options)


def test_fields_that_can_not_be(labels, rain):
    backwards = {"test": "permutation", "block_length": 2, "permutations": 9}
    with pytest.raises(DataError, match="in the order of time"):
        composites(
            labels.isel(time=slice(None, None, -1)), rain.isel(time=slice(None, None, -1)), LATTICE, **backwards
        )
    for field, words in (
        (rain.values, "give a DataArray"),
        (rain.isel(time=0), "lacks the dimension time"),
        (rain.isel(time=slice(1, None)), "differ along time"),
        (rain.assign_coords(time=np.arange(T) + 1), "differ along time"),
        (rain.astype(str), "numbers are needed"),
        (rain.rename(lat="row"), "rename it"),
        (rain.where(rain < 8, np.inf), "infinities"),
    ):
        with pytest.raises(DataError, match=words):
            composites(labels, field, LATTICE)
    with pytest.raises(DataError, match="outside the map of 1 x 2"):
        composites(labels, rain, Lattice(1, 2))
