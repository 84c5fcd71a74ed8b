"""Transitions in time: gaps, months, other calendars, and places that are series of their own."""

import datetime

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.transitions import transitions
from som_dask.errors import DataError, ParameterError

LATTICE = Lattice(1, 3)


def series(col, time=None):
    coords = {} if time is None else {"time": time}
    col = np.array(col, dtype=float)
    return xr.Dataset({"bmu_row": ("time", 0 * col), "bmu_col": ("time", col)}, coords)


def test_counts_probabilities_and_spells():
    time = pd.to_datetime(["2001-01-01", "2001-01-02", "2001-01-03", "2001-01-04", "2001-01-06", "2001-01-07"])
    found = transitions(series([0, 0, 1, 1, 1, np.nan], time), LATTICE)
    assert found["transition_count"].dims == ("row", "col", "next_row", "next_col")
    assert found["transition_count"].squeeze().values.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_array_equal(found["transition_probability"].squeeze(), [[0.5, 0.5, 0], [0, 1, 0], [np.nan] * 3])
    np.testing.assert_allclose(found["expected_count"].squeeze(), [[2 / 3, 4 / 3, 0], [1 / 3, 2 / 3, 0], [0] * 3])
    np.testing.assert_array_equal(found["persistence"][0], [0.5, 1, np.nan])
    assert found["days"].values.tolist() == [[2, 3, 0]]
    assert found["spells"].values.tolist() == [[1, 2, 0]]
    np.testing.assert_array_equal(found["mean_spell"][0], [2, 1.5, np.nan])
    assert found["longest_spell"].values.tolist() == [[2, 2, 0]]
    assert (found.attrs["breaks"], found.attrs["longest_step"]) == (1, "1 days 12:00:00")
    longer = transitions(series([0, 0, 1, 1, 1, np.nan], time), LATTICE, longest_step=np.timedelta64(2, "D"))
    assert longer["longest_spell"].values.tolist() == [[2, 3, 0]]


def test_steps_of_months_of_other_calendars_and_of_numbers():
    months = pd.date_range("2001-01-01", periods=30, freq="MS").delete(7)
    assert transitions(series(np.zeros(29), months), LATTICE).attrs["breaks"] == 1
    cftime = pytest.importorskip("cftime")
    winters = [cftime.DatetimeNoLeap(y, m, d) for y in (2001, 2002) for m in (1, 2) for d in range(1, 29)]
    found = transitions(series(np.zeros(112), winters), LATTICE, longest_step=datetime.timedelta(days=1))
    assert found.attrs["breaks"] == 3
    assert transitions(series([0, 0, 0, 0], [1.0, 2.0, 3.0, 9.0]), LATTICE).attrs["breaks"] == 1
    assert transitions(series([0]), LATTICE)["longest_spell"].values.tolist() == [[1, 0, 0]]


def test_places_are_series_of_their_own_in_any_blocks(rng):
    values = np.repeat(rng.integers(-1, 3, (3, 40, 5)), 3, axis=1).astype(float)
    values[values < 0] = np.nan
    dims = ("lat", "time", "lon")
    labels = xr.Dataset({"bmu_row": (dims, 0 * values), "bmu_col": (dims, values)}, {"time": np.arange(120)})
    whole = transitions(labels, LATTICE)
    xr.testing.assert_identical(transitions(labels.chunk(time=17, lat=2, lon=3), LATTICE), whole)
    one_by_one = [
        transitions(labels.isel(lat=i, lon=j), LATTICE)["transition_count"].values
        for i in range(3)
        for j in range(5)
    ]  # fmt: skip
    np.testing.assert_array_equal(whole["transition_count"], np.sum(one_by_one, axis=0))


def test_what_is_no_series():
    days = series([0, 1, 2], np.array(["2001-01-01", "2001-01-02", "2001-01-03"], "M8[ns]"))
    for labels, options, kind, words in (
        (days, {"dim": "t"}, ParameterError, "no dimension 't', only time"),
        (days, {"longest_step": 0}, ParameterError, "must be positive"),
        (days, {"longest_step": "day"}, ParameterError, "is no step"),
        (days.drop_vars("time"), {"longest_step": 1}, ParameterError, "needs a coordinate"),
        (days.isel(time=[0, 2, 1]), {}, DataError, "do not ascend"),
        (days.assign_coords(time=list("abc")), {}, DataError, "no times or numbers"),
        (days.assign_coords(time=np.array(["2001", "NaT", "2003"], "M8[ns]")), {}, DataError, "some are missing"),
    ):
        with pytest.raises(kind, match=words):
            transitions(labels, LATTICE, **options)
    with pytest.raises(ParameterError, match="up to 4,096"):
        transitions(days, Lattice(70, 70))
