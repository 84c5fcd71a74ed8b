"""Coordinates: in a form that a store gives back as it was."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.errors import DataError
from som_dask.io.coordinates import check_names, is_time_unit, make_storable
from som_dask.io.digest import dataset_digest


def objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def times(*texts, unit="ns"):
    return np.array(texts, dtype=f"datetime64[{unit}]")


SAME = {
    "numbers": np.array([3, 1, 2]),
    "half floats": np.array([1.5, np.nan, 2], dtype=np.float16),
    "truths": np.array([True, False, True]),
    "text": objects(["a", "", "\u00fc"]),
    "nanoseconds": times("2000-01-01T00:00:00.000000001", "1800-01-01", "2200-01-01"),
    "seconds": times("2000-01-01", "1900-01-01", "2200-01-01", unit="s"),
    "durations": np.array([1, 10**15 + 1, "NaT"], dtype="timedelta64[ns]"),
}


def stored(variable, tmp_path):
    """What xarray reads of a coordinate that it has written."""
    xr.Dataset(coords={"c": variable}).to_zarr(tmp_path / "c.zarr", zarr_format=3, consolidated=False)
    return xr.open_zarr(tmp_path / "c.zarr", chunks=None, consolidated=False)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SAME)
def test_what_a_store_can_hold_stays(kind, tmp_path):
    given = xr.Variable("feature", SAME[kind], {"long_name": "it"})
    found = make_storable(given, kind)
    assert found.identical(given)
    assert found.dtype == given.dtype
    assert dataset_digest(stored(found, tmp_path)) == dataset_digest(xr.Dataset(coords={"c": found}))


ODD = {
    "periods": (pd.period_range("2000-01", periods=3, freq="M").to_numpy(), ["2000-01", "2000-02", "2000-03"]),
    "intervals": (pd.interval_range(0, 3).to_numpy(), ["(0, 1]", "(1, 2]", "(2, 3]"]),
    "missing": (objects(["a", None, np.nan]), ["a", "", ""]),
    "mixed": (objects(["a", 1, pd.NA]), ["a", "1", ""]),
    "tuples": (objects([("a", 1), ("b", 2), ("c", 3)]), ["('a', 1)", "('b', 2)", "('c', 3)"]),
    "dates": (objects([pd.Timestamp("2000-01-31").date()] * 3), ["2000-01-31"] * 3),
    "objects that are numbers": (objects([1, 2, 3]), [1, 2, 3]),
    "longest floats": (np.array([1, 2, 3], dtype=np.longdouble), ["1.0", "2.0", "3.0"]),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_it_cannot_hold_becomes_text_or_numbers(kind, tmp_path):
    values, wanted = ODD[kind]
    if kind == "longest floats" and np.dtype(np.longdouble).itemsize <= 8:
        wanted = [1.0, 2.0, 3.0]
    found = make_storable(xr.Variable("feature", values), kind)
    assert found.values.tolist() == wanted
    assert dataset_digest(stored(found, tmp_path)) == dataset_digest(xr.Dataset(coords={"c": found}))


UNITS = {
    "days since": ({"units": "days since 2000-01-01"}, times("2000-01-01", "2000-01-07", "2000-01-13")),
    "months since": ({"units": "months since 2000-01-01"}, [0, 6, 12]),
    "no time": ({"units": "time since the experiment began"}, [0, 6, 12]),
    "scaled": ({"scale_factor": 0.5}, [0, 3, 6]),
    "coordinates": ({"coordinates": "lat lon"}, [0, 6, 12]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", UNITS)
def test_attributes_that_change_values_on_reading_are_settled_before(kind, tmp_path):
    attrs, wanted = UNITS[kind]
    found = make_storable(xr.Variable("feature", [0, 6, 12], attrs), kind)
    np.testing.assert_array_equal(found.values, wanted)
    if found.values.tolist() == [0, 6, 12]:
        assert next(iter(attrs.values())) in found.attrs["comment"]
    assert dataset_digest(stored(found, tmp_path)) == dataset_digest(xr.Dataset(coords={"c": found}))


def test_hours_stay_hours_in_one_form_or_the_other(tmp_path):
    found = make_storable(xr.Variable("feature", [0, 6, 12], {"units": "hours"}), "lead")
    assert found.dtype.kind == "m" or found.attrs["units"] == "hours"
    assert dataset_digest(stored(found, tmp_path)) == dataset_digest(xr.Dataset(coords={"c": found}))


@pytest.mark.filterwarnings("ignore")
def test_dates_of_other_calendars(tmp_path):
    cftime = pytest.importorskip("cftime")
    given = objects([cftime.Datetime360Day(2000, month, 30) for month in (1, 2, 3)])
    found = make_storable(xr.Variable("feature", given), "time")
    assert found.values.tolist() == given.tolist()
    assert dataset_digest(stored(found, tmp_path)) == dataset_digest(xr.Dataset(coords={"c": found}))
    mixed = objects([cftime.Datetime360Day(2000, 2, 30), cftime.DatetimeNoLeap(2000, 1, 1)])
    texts = make_storable(xr.Variable("feature", mixed), "time").values.tolist()
    assert texts == ["2000-02-30 00:00:00", "2000-01-01 00:00:00"]
    calendar = {"units": "months since 2000-01-01", "calendar": "360_day"}
    months = make_storable(xr.Variable("feature", [0, 6], calendar), "time")
    assert months.values.tolist() == [cftime.Datetime360Day(2000, month, 1) for month in (1, 7)]


def test_attributes_that_json_cannot_hold_become_text():
    attrs = {"made": pd.Timestamp("2000-01-01"), "range": np.array([1, 2]), "of": {"a": None}}
    found = make_storable(xr.Variable("feature", [1, 2], attrs), "level").attrs
    assert (found["made"], found["range"].tolist(), found["of"]) == ("2000-01-01 00:00:00", [1, 2], {"a": None})


@pytest.mark.parametrize("values", [np.array(["a", "\ud800"]), objects(["a", "\ud800", 1])])
def test_text_that_cannot_be_encoded_is_refused(values):
    with pytest.raises(DataError, match="the coordinate 'gene' has text that can't be stored") as caught:
        make_storable(xr.Variable("feature", values), "the coordinate 'gene'")
    str(caught.value).encode()


@pytest.mark.parametrize("name", ["a/b", "", ".", "..", "zarr.json", ".zattrs", "a\ud800"])
def test_names_that_no_store_can_hold_are_refused(name):
    with pytest.raises(DataError, match=r"of the samples|the samples has a dimension or coordinate") as caught:
        check_names(["lat", name], "the samples")
    str(caught.value).encode()
    check_names(["lat", "a b", "ä", "c", "__x"], "the samples")


def test_time_units():
    assert all(is_time_unit(units) for units in ("days", "hours", "Seconds", "months since 2000", "nanoseconds"))
    assert not any(is_time_unit(units) for units in ("K", "m s-1", "day", "1", "", None, 3, "days-1"))
