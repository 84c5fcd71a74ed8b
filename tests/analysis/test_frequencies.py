"""Frequencies by period, and their trends, against loops and SciPy."""

import numpy as np
import pytest
import xarray as xr

from som_dask.algorithm.lattice import Lattice
from som_dask.analysis.frequencies import frequencies, trends
from som_dask.errors import DataError, ParameterError

LATTICE = Lattice(1, 3)
TIME = np.arange("1999-03-01", "2011-03-01", dtype="M8[D]").astype("M8[ns]")


@pytest.fixture
def labels(rng):
    """Node 1 comes more often from year to year; node 2 has no days."""
    later = np.arange(len(TIME)) / len(TIME)
    col = (rng.random(len(TIME)) < 0.2 + 0.5 * later).astype(float)
    col[::50] = np.nan
    return xr.Dataset({"bmu_row": ("time", 0 * col), "bmu_col": ("time", col)}, {"time": TIME})


@pytest.mark.parametrize("chunked", [False, True])
def test_counts_and_shares_by_year_and_season(chunked, labels):
    some = labels.chunk(time=999) if chunked else labels
    col, years = labels["bmu_col"].values, labels["time.year"].values
    found = frequencies(some, "time.year", LATTICE)
    assert found["period"].values.tolist() == list(range(1999, 2012))
    for i, year in enumerate(range(1999, 2012)):
        counts = [int(np.count_nonzero((col == k) & (years == year))) for k in range(3)]
        assert found["count"][0, :, i].values.tolist() == counts
        np.testing.assert_allclose(found["share"][0, :, i], np.array(counts) / sum(counts), rtol=1e-15)
    seasons = frequencies(some, labels["time"].dt.season, LATTICE)
    assert seasons["period"].values.tolist() == ["DJF", "MAM", "JJA", "SON"]
    winter = labels["time.season"].values == "DJF"
    assert int(seasons["count"][0, 1, 0]) == np.count_nonzero(winter & (col == 1))
    weighted = frequencies(some, "time.year", LATTICE, sample_weights=np.full(len(TIME), 0.5))
    np.testing.assert_allclose(weighted["count"], found["count"] / 2)


def test_trends_of_shares_are_those_of_scipy(labels):
    stats = pytest.importorskip("scipy.stats")
    by_year = frequencies(labels, "time.year", LATTICE)
    found = trends(by_year, confidence=0.9)
    for node in range(2):
        share = by_year["share"][0, node].values
        slope, _, low, high = stats.theilslopes(share, by_year["period"], 0.9)
        here = found.isel(row=0, col=node)
        np.testing.assert_allclose([here["slope"], here["slope_low"], here["slope_high"]], [slope, low, high])
        wanted = stats.kendalltau(by_year["period"], share)
        assert float(here["p_value"]) == pytest.approx(wanted.pvalue, rel=1e-6)
    assert float(found["slope"][0, 1]) == pytest.approx(0.5 / 12, rel=0.3)
    assert float(found["p_value"][0, 1]) < 0.001
    assert float(found["slope"][0, 2]) == 0
    dates = by_year["share"].assign_coords(
        period=np.array([f"{y}-01-01" for y in by_year["period"].values], "M8[ns]")
    )
    assert found["slope"].attrs["units"] == trends(dates)["slope_low"].attrs["units"] == "1/year"
    assert "units" not in trends(by_year["share"])["slope"].attrs
    np.testing.assert_allclose(trends(dates, confidence=0.9)["slope"], found["slope"], rtol=2e-3, atol=1e-12)


def test_what_is_no_period_or_series(labels):
    for by in ("time.decade", "regime", "bmu_col.year"):
        with pytest.raises(ParameterError, match=rf"`by` is '{by}'"):
            frequencies(labels, by, LATTICE)
    by_season = frequencies(labels, "time.season", LATTICE)
    with pytest.raises(DataError, match="order of time, such as years"):
        trends(by_season)
    with pytest.raises(DataError, match="dimension period"):
        trends(by_season["share"].rename(period="year"))
    with pytest.raises(DataError, match="ascending"):
        trends(by_season["share"].assign_coords(period=[4, 3, 2, 1]))
    with pytest.raises(ParameterError, match="`confidence`"):
        trends(by_season, confidence=95)
