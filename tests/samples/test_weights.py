"""Weights: areas from latitudes, and numbers that fit the samples' and the features' dimensions."""

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.evaluation import evaluate
from som_dask.analysis.labels import infer
from som_dask.errors import DataError, ParameterError, StorageError
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train

LATITUDES = np.array([-90.0, -60.0, 0.0, 60.0, 90.0])
COSINES = np.array([0.0, 0.5, 1.0, 0.5, 0.0])


def field(name="lat", latitudes=LATITUDES, attrs=None, **coords):
    values = np.random.default_rng(0).normal(size=(8, 5, 6, 2))
    dims = ("time", name, "lon", "feature")
    coords = {name: (name, latitudes, attrs or {}), "lon": np.arange(6) * 60.0, **coords}
    return xr.DataArray(values, dims=dims, coords=coords, name="z")


def weights_of(source, weights, **options):
    """Weights on the sample dimensions, and the samples."""
    samples = open_samples(source, sample_weights=weights, **options)
    assert samples.weights.chunks[0] == samples.block_rows
    assert samples.weights.dtype == np.float64
    blocks = dask.get(samples.weights.__dask_graph__(), samples.weight_keys())
    np.testing.assert_array_equal(np.concatenate(blocks), samples.weights.compute())
    return samples.to_dataset({"w": samples.weights})["w"].values, samples


@pytest.mark.parametrize("chunks", [{}, {"time": 3, "lat": 2, "lon": 4}])
def test_areas_are_cosines_of_the_latitude(chunks):
    source = field().chunk(chunks) if chunks else field()
    found, _ = weights_of(source, "area", block_size=500)
    np.testing.assert_allclose(found, np.broadcast_to(COSINES[:, None], (8, 5, 6)), atol=1e-12)
    assert (found[:, [0, -1]] == 0).all()


@pytest.mark.parametrize(
    ("name", "attrs"),
    [
        ("latitude", {}),
        ("Lat", {}),
        ("y", {"units": "degrees_north"}),
        ("y", {"units": "degreeN"}),
        ("y", {"standard_name": "latitude"}),
        ("y", {"axis": "Y", "units": "degrees"}),
    ],
)
def test_a_latitude_is_known_by_name_or_attributes(name, attrs):
    found, _ = weights_of(field(name, attrs=attrs), "area")
    np.testing.assert_allclose(found[0, :, 0], COSINES, atol=1e-12)


def test_a_latitude_of_each_place():
    places = xr.DataArray(
        np.zeros((5, 2)),
        dims=("place", "feature"),
        coords={"lat": ("place", LATITUDES), "height": ("place", [0] * 5)},
    )
    np.testing.assert_allclose(weights_of(places, "area")[0], COSINES, atol=1e-12)


REFUSED = [
    (field("y"), "no latitude"),
    (field("y", attrs={"axis": "Y", "units": "m"}), "no latitude"),
    (field("lat", attrs={"units": "radians"}), "no latitude"),
    (field(latitudes=LATITUDES * 2), "between -90 and 90"),
    (field(latitudes=np.array([0, 1, 2, 3, np.nan])), "between -90 and 90"),
    (field("y", lat=("time", np.arange(8.0)), latitude=("y", LATITUDES)), "2 latitudes: lat, latitude"),
]


@pytest.mark.parametrize(("source", "match"), REFUSED)
def test_areas_that_cannot_be_told(source, match):
    with pytest.raises(ParameterError, match=match):
        open_samples(source, sample_weights="area")


def test_a_variable_beside_the_samples(tmp_path):
    mass = xr.DataArray(np.arange(30.0).reshape(6, 5), dims=("lon", "lat"))
    dataset = xr.Dataset({"z": field(), "mass": mass})
    wanted = np.broadcast_to(mass.values.T, (8, 5, 6))
    np.testing.assert_array_equal(weights_of(dataset, "mass", variable="z")[0], wanted)
    dataset.chunk(time=3, lat=2).to_zarr(tmp_path / "z.zarr", consolidated=False)
    np.testing.assert_array_equal(weights_of(tmp_path / "z.zarr", "mass", variable="z", block_size=500)[0], wanted)
    with pytest.raises(ParameterError, match="no variable 'mas'"):
        open_samples(dataset, variable="z", sample_weights="mas")
    next((tmp_path / "z.zarr" / "mass" / "c").rglob("1")).unlink()
    with pytest.raises(StorageError, match="mass lacks"):
        open_samples(tmp_path / "z.zarr", variable="z", sample_weights="mass").allow_for("error")


def test_numbers_of_the_samples_shape():
    values = np.random.default_rng(1).random((8, 5, 6))
    for weights in (values, values.ravel(), values.tolist(), da.from_array(values, chunks=3)):
        np.testing.assert_array_equal(weights_of(field(), weights, block_size=500)[0], values)
    named = xr.DataArray(values, dims=("time", "lat", "lon")).transpose("lon", "time", "lat").chunk(lat=2)
    np.testing.assert_array_equal(weights_of(field(), named, block_size=500)[0], values)
    np.testing.assert_array_equal(weights_of(np.zeros((5, 2)), [1, 2, 3, 0, 1])[0], [1, 2, 3, 0, 1])


@pytest.mark.parametrize(
    ("weights", "error", "match"),
    [
        (np.ones(7), ParameterError, r"shape \(7,\).*\(8, 5, 6\)"),
        (xr.DataArray(np.ones(2), dims="feature"), ParameterError, "'feature'"),
        (xr.DataArray(np.ones(7), dims="time"), ParameterError, "differ along 'time'"),
        (xr.DataArray(np.ones(6), dims="lon", coords={"lon": np.arange(6)}), ParameterError, "differ along 'lon'"),
        (np.full((8, 5, 6), "x"), DataError, "real numbers"),
    ],
)
def test_weights_that_do_not_fit(weights, error, match):
    with pytest.raises(error, match=match):
        open_samples(field(), sample_weights=weights)


def test_nothing_is_read_before_it_is_asked_for():
    def fail(block):
        raise AssertionError("read")

    lazy = da.map_blocks(fail, da.zeros((8, 5, 6), chunks=4), dtype=float, meta=np.empty((0, 0, 0)))
    assert open_samples(field(), sample_weights=lazy).weights.shape == (240,)


def test_areas_of_features():
    samples = open_samples(field(), sample_dims="time", feature_weights="area")
    wanted = np.broadcast_to(COSINES[:, None, None], (5, 6, 2)).ravel()
    np.testing.assert_allclose(samples.feature_weights, wanted, atol=1e-12)
    assert samples.weights is None
    two = xr.Dataset({"z": field(), "t": field().isel(feature=0, lon=0, drop=True)})
    samples = open_samples(two, variables=["z", "t"], sample_dims="time", feature_weights="area")
    np.testing.assert_allclose(samples.feature_weights, [*wanted, *COSINES], atol=1e-12)


def test_numbers_for_features():
    options = {"sample_dims": ("time", "lon")}
    lat = xr.DataArray(np.arange(5.0), dims="lat", coords={"lat": LATITUDES})
    found = open_samples(field(), feature_weights=lat, **options).feature_weights
    np.testing.assert_array_equal(found, np.repeat(np.arange(5.0), 2))
    found = open_samples(field(), feature_weights=range(10), **options).feature_weights
    np.testing.assert_array_equal(found, np.arange(10.0))


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ([1, 2, 3], "3 feature weights for the 2 features"),
        ([1, -1], "none below 0"),
        ([0, 0], "some above"),
        ([1, np.nan], "finite"),
        (["a", "b"], "must be numbers"),
        ("areas", "'area' or a number"),
        ("area", "no latitude among its feature dimensions"),
    ],
)
def test_feature_weights_that_do_not_fit(weights, match):
    with pytest.raises(ParameterError, match=match):
        open_samples(field(), feature_weights=weights)


def test_weights_come_with_the_opening():
    with pytest.raises(ParameterError, match="opened already"):
        open_samples(open_samples(field()), sample_weights="area")


def curvilinear(attrs, rng, **others):
    """A field on a grid whose latitudes have two dimensions, and these."""
    latitudes = rng.uniform(-80, 80, size=(4, 6))
    coords = {"TLAT": (("y", "x"), latitudes, attrs), **others}
    return xr.DataArray(rng.normal(size=(7, 4, 6, 2)), dims=("time", "y", "x", "feature"), coords=coords), latitudes


@pytest.mark.parametrize("attrs", [{"units": "degrees_north"}, {"standard_name": "latitude"}])
@pytest.mark.parametrize("chunks", [{}, {"time": 3, "y": 3, "x": 4}])
def test_areas_on_curvilinear_grids(attrs, chunks, rng):
    source, latitudes = curvilinear(attrs, rng, lon=("x", np.arange(6.0)))
    wanted = np.broadcast_to(np.cos(np.deg2rad(latitudes)), (7, 4, 6))
    source = source.chunk(chunks) if chunks else source
    np.testing.assert_allclose(weights_of(source, "area", block_size=500)[0], wanted, atol=1e-12)
    turned = source.transpose("x", "time", "feature", "y")
    np.testing.assert_allclose(weights_of(turned, "area")[0], wanted.transpose(2, 0, 1), atol=1e-12)
    cells = open_samples(source, sample_dims="time", feature_weights="area").feature_weights
    np.testing.assert_allclose(cells, np.repeat(wanted[0].ravel(), 2), atol=1e-12)


def test_a_latitude_of_one_dimension_goes_first(rng):
    source, _ = curvilinear({"units": "degrees_north"}, rng, lat=("y", [0.0, 60.0, 90.0, 60.0]))
    np.testing.assert_allclose(weights_of(source, "area")[0][0, :, 0], [1, 0.5, 0, 0.5], atol=1e-12)
    source, _ = curvilinear({"units": "degrees_north"}, rng)
    twice = source.assign_coords(ULAT=source["TLAT"])
    with pytest.raises(ParameterError, match="2 latitudes: TLAT, ULAT"):
        open_samples(twice, sample_weights="area")
    beyond = source.assign_coords(TLAT=(2 * source["TLAT"]).assign_attrs(units="degrees_north"))
    with pytest.raises(ParameterError, match="between -90 and 90"):
        open_samples(beyond, sample_weights="area")


def test_latitudes_may_be_missing_where_values_are(rng):
    source, latitudes = curvilinear({"standard_name": "latitude"}, rng)
    source = source.where(source["TLAT"] < 40)
    known = xr.where(latitudes < 40, latitudes, np.nan)
    source = source.assign_coords(TLAT=(("y", "x"), known, {"standard_name": "latitude"}))
    config = MapConfig(epochs=2, missing="drop")
    zeros = np.broadcast_to(np.nan_to_num(np.rint(np.cos(np.deg2rad(known)) * 2.0**40) / 2.0**40), (7, 4, 6))
    found = train(open_samples(source, sample_weights="area"), Lattice(2, 3), config)
    wanted = train(open_samples(source, sample_weights=zeros), Lattice(2, 3), config)
    np.testing.assert_array_equal(found["codebook"], wanted["codebook"])
    assert found.attrs["samples_left_out"] == 7 * np.count_nonzero(latitudes >= 40)
    assert found.attrs["samples_of_weight_zero"] == 0
    unknown = np.where(latitudes == latitudes.min(), np.nan, known)
    source = source.assign_coords(TLAT=(("y", "x"), unknown, {"standard_name": "latitude"}))
    with pytest.raises(DataError, match=r"7 that are negative or not finite; .* only for samples that are left out"):
        train(open_samples(source, sample_weights="area"), Lattice(2, 3), config)


def test_models_tell_the_share_of_the_weight_of_each_node():
    source = field()
    samples = open_samples(source, sample_weights="area")
    model = train(samples, Lattice(2, 3), MapConfig(epochs=2))
    labels = infer(source, model)
    area = xr.DataArray(weights_of(source, "area")[0], dims=("time", "lat", "lon"))
    for row, col in np.ndindex(2, 3):
        mine = (labels["bmu_row"] == row) & (labels["bmu_col"] == col)
        assert int(model["hits"][row, col]) == int((mine & (area > 0)).sum())
        assert float(model["hit_share"][row, col]) == pytest.approx(float(area.where(mine).sum() / area.sum()))
    assert float(model["hit_share"].sum()) == pytest.approx(1)
    xr.testing.assert_identical(evaluate(samples, model)["hit_share"], model["hit_share"])
    plain = train(source, Lattice(2, 3), MapConfig(epochs=1))
    assert "hit_share" not in plain
    assert "hit_share" not in evaluate(source, plain)


def test_latitudes_that_are_variables_beside_the_samples(rng, tmp_path):
    source, latitudes = curvilinear({"units": "degrees_north"}, rng)
    beside = xr.Dataset({"z": source.drop_vars("TLAT"), "TLAT": source["TLAT"].variable, "depth": ("y", np.ones(4))})
    beside.to_zarr(tmp_path / "z.zarr", consolidated=False, zarr_format=2)
    wanted = np.broadcast_to(np.cos(np.deg2rad(latitudes)), (7, 4, 6))
    for some in (beside, tmp_path / "z.zarr"):
        np.testing.assert_allclose(weights_of(some, "area", variable="z")[0], wanted, atol=1e-12)
        cells = open_samples(some, variable="z", sample_dims="time", feature_weights="area").feature_weights
        np.testing.assert_allclose(cells, np.repeat(wanted[0].ravel(), 2), atol=1e-12)
    beside["ULAT"] = 0.5 * beside["TLAT"].assign_attrs(units="degrees_north")
    known = beside.set_coords("TLAT")  # which goes first
    np.testing.assert_allclose(weights_of(known, "area", variable="z")[0], wanted, atol=1e-12)
