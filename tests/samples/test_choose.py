"""Features chosen by name: the same rows as those of data in that order, and nothing else is read."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.labels import infer
from som_dask.errors import ParameterError, SchemaError
from som_dask.io.models import open_model, save_model
from som_dask.samples.open import open_samples
from som_dask.training.config import MapConfig
from som_dask.training.train import train

NAMES = ["a", "b", "c", "d", "e"]


@pytest.fixture
def table(rng):
    values = rng.normal(size=(600, 5)).astype(np.float32)
    return xr.DataArray(values, dims=("cell", "marker"), coords={"marker": np.array(NAMES, dtype=object)}, name="x")


@pytest.fixture
def levels(rng):
    """Variables with levels, with other levels, and with none, each in units of its own."""
    level = xr.Variable("level", [500, 850], {"units": "hPa"})
    return xr.Dataset(
        {
            "t": (("time", "level"), rng.normal(size=(60, 2)), {"units": "K"}),
            "z": (("time", "level"), rng.normal(size=(60, 2)), {"units": "m"}),
            "p": ("time", rng.normal(size=60), {"units": "Pa"}),
        },
        coords={"level": level},
    )


def rows_of(samples):
    """All rows, as tasks read them."""
    if not samples.reads_pieces:
        return samples.array.compute()
    return np.concatenate([piece for source in samples.sources() for _, piece in source.pieces()])


@pytest.mark.parametrize("names", [NAMES[1:4], NAMES[::-1], ["e", "a"], ["c"], NAMES], ids="".join)
@pytest.mark.parametrize("kind", ["memory", "dask", "store", "frame"])
def test_rows_are_those_of_the_features_in_that_order(kind, names, table, tmp_path):
    data = table
    if kind == "dask":
        data = table.chunk(cell=100, marker=2)
    if kind == "store":
        data = tmp_path / "x.zarr"
        table.to_dataset().chunk(cell=100, marker=2).to_zarr(data, consolidated=False)
    if kind == "frame":
        data = pd.DataFrame(table.values, columns=NAMES)
    samples = open_samples(data, features=names)
    wanted = table.sel(marker=names).values
    assert samples.features == tuple(names)
    assert samples.reads_pieces == (kind == "store")
    np.testing.assert_array_equal(samples.array.compute(), wanted)
    np.testing.assert_array_equal(rows_of(samples), wanted)
    np.testing.assert_array_equal(rows_of(open_samples(data, features=names, dtype="f8")), wanted.astype("f8"))
    again = samples.choose_features(range(len(names))[::-1])
    assert again.features == tuple(names[::-1])
    np.testing.assert_array_equal(rows_of(again), wanted[:, ::-1])
    np.testing.assert_array_equal(again.array.compute(), wanted[:, ::-1])


def test_few_of_many_are_read_alone(tmp_path):
    names = np.array([f"f{i}" for i in range(40)], dtype=object)
    wide = xr.DataArray(np.arange(400.0).reshape(10, 40), dims=("s", "f"), coords={"f": names}, name="x")
    wide.to_dataset().chunk(s=5, f=1).to_zarr(tmp_path / "x.zarr", consolidated=False, zarr_format=2)
    for i in range(40):
        if i not in (3, 30):
            for part in (0, 1):
                (tmp_path / "x.zarr" / "x" / f"{part}.{i}").write_bytes(b"rot")
    samples = open_samples(tmp_path / "x.zarr", features=["f30", "f3"])
    np.testing.assert_array_equal(rows_of(samples), wide.values[:, [30, 3]])
    np.testing.assert_array_equal(samples.array.compute(), wide.values[:, [30, 3]])


def test_features_of_several_variables(levels):
    every = open_samples(levels, variables=["t", "z", "p"])
    names = ("z level=850", "p", "t level=850", "z level=500")
    samples = open_samples(levels, variables=["t", "z", "p"], features=names)
    columns = [every.features.index(name) for name in names]
    assert samples.features == names
    np.testing.assert_array_equal(samples.array.compute(), every.array.compute()[:, columns])
    assert samples.feature_units == ("m", "Pa", "K", "m")
    assert samples.feature_coords["variable"].values.tolist() == ["z", "p", "t", "z"]
    np.testing.assert_array_equal(samples.feature_coords["level"].values, [850, np.nan, 850, 500])
    assert samples.feature_coords["level"].attrs == {"units": "hPa"}


def test_variables_without_any_are_not_read(levels):
    def refuse(block):
        raise AssertionError

    levels["z"] = (
        ("time", "level"),
        da.zeros((60, 2), chunks=30).map_blocks(refuse, dtype=float, meta=np.empty((0, 0))),
    )
    samples = open_samples(levels, variables=["t", "z", "p"], features=["p", "t level=850"])
    np.testing.assert_array_equal(samples.array.compute()[:, 0], levels["p"])
    np.testing.assert_array_equal(samples.array.compute()[:, 1], levels["t"].sel(level=850))


def test_places_of_fields(rng):
    field = xr.DataArray(
        rng.normal(size=(9, 2, 3)), dims=("time", "lat", "lon"), coords={"lat": [0, 60], "lon": [1, 2, 3]}
    )
    names = ["lat=60 lon=2", "lat=0 lon=3", "lat=60 lon=1"]
    samples = open_samples(field, sample_dims="time", features=names, feature_weights="area")
    places = xr.Dataset(samples.feature_coords)
    wanted = field.sel(lat=places["lat"], lon=places["lon"]).transpose("time", "feature")
    np.testing.assert_array_equal(samples.array.compute(), wanted.values)
    np.testing.assert_allclose(samples.feature_weights, [0.5, 1, 0.5])
    numbered = open_samples(field, sample_dims="time", features=names, feature_weights=[1, 2, 3])
    assert numbered.feature_weights.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["a", "x"], "no feature 'x'; it has a, b, c"),
        (["a", "a"], "names 'a' twice"),
        ([], "name one or more"),
    ],
)
def test_names_that_can_not_be_chosen(names, match, table):
    for data in (table, pd.DataFrame(table.values, columns=NAMES)):
        with pytest.raises(ParameterError, match=match):
            open_samples(data, features=names)


def test_features_without_names(table):
    with pytest.raises(ParameterError, match="the NumPy array does not name its features"):
        open_samples(table.values, features=["a"])
    with pytest.raises(ParameterError, match="opened already"):
        open_samples(open_samples(table), features=["a"])


@pytest.fixture
def model(table):
    return train(table.sel(marker=["a", "b", "c"]), Lattice(3, 4), MapConfig(epochs=2))


@pytest.mark.parametrize("names", [["c", "a", "b"], NAMES], ids=["another order", "more of them"])
def test_the_error_says_how_to_choose_and_labels_are_the_same(names, model, table):
    wanted = infer(table.sel(marker=["a", "b", "c"]), model).compute()
    with pytest.raises(SchemaError, match="open the samples with `features=") as caught:
        infer(table.sel(marker=names), model)
    said = str(caught.value).split("`")[1].removeprefix("features=")
    samples = open_samples(table.sel(marker=names), features=eval(said))
    xr.testing.assert_equal(infer(samples, model).compute(), wanted)


def test_what_training_chose_is_chosen_again(table, levels, tmp_path):
    frame = pd.DataFrame(table.values, columns=NAMES)
    frame["name"] = "text"
    model = train(open_samples(frame, features=["d", "b"]), Lattice(3, 4), MapConfig(epochs=2))
    save_model(model, tmp_path / "model.zarr")
    model = open_model(tmp_path / "model.zarr")
    wanted = infer(table.values[:, [3, 1]], model)["bmu_row"].values
    for data in (frame, table, table[:, ::-1], frame[["b", "d"]], open_samples(table)):
        np.testing.assert_array_equal(infer(data, model)["bmu_row"].values, wanted)
    for names in (["z level=850", "t level=850", "z level=500"], ["t level=850"]):
        samples = open_samples(levels, variables=["t", "z"], sample_dims="time", features=names)
        fields = train(samples, Lattice(3, 4), MapConfig(epochs=2))
        xr.testing.assert_equal(infer(levels, fields).compute(), infer(samples, fields).compute())
