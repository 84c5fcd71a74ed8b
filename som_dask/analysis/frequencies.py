"""Frequencies: how many samples each node has in each period, and the trends of these."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from som_dask._version import __version__
from som_dask.algorithm.trend import Trend, find_trend
from som_dask.analysis.by_node import NODES, bmus_of
from som_dask.analysis.node_summary import summarize_labels
from som_dask.errors import DataError, ParameterError
from som_dask.io.attributes import make_plain

__all__ = ["frequencies", "trends"]

PERIOD = "period"
SEASONS = ("DJF", "MAM", "JJA", "SON")
YEAR = np.timedelta64(31_556_952, "s")  # mean of the Gregorian calendar


def frequencies(labels: xr.Dataset, by: Any, model: Any, *, sample_weights: Any = None) -> xr.Dataset:
    """Count the samples of each node in each period, such as a year, a season or a month.

    Parameters
    ----------
    labels : xarray.Dataset
        Result of `som_dask.infer`: ``bmu_row`` and ``bmu_col``, missing for samples left out.
    by : str, DataArray or array
        A part of a time coordinate of the labels, such as "time.year", "time.season" or "time.month"; the name of a
        coordinate; or periods of your own on the dimensions of the labels or some of them. A winter that runs from
        December to February has the year ``time.dt.year + (time.dt.month == 12)``.
    model : xarray.Dataset, path or URL of a saved model, or Lattice
    sample_weights : "area", DataArray or array, optional
        How much each sample counts, as for `som_dask.summarize_labels`.

    Returns
    -------
    xarray.Dataset
        ``count (row, col, period)`` (int64, or float64 sums of weights), and ``share (row, col, period)``, of the
        samples of the period; ``period`` is in ascending order, seasons in that of the year.

    Raises
    ------
    ParameterError
        If the labels have no such coordinate.
    DataError
        If dimensions or sizes do not fit, the labels are not of this map, or there are more than 4096 periods.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> import xarray as xr
    >>> time = np.arange("2001-01-01", "2004-01-01", dtype="M8[D]").astype("M8[ns]")
    >>> values = np.random.default_rng(0).random((len(time), 4))
    >>> days = som.open_samples(
    ...     xr.DataArray(values, dims=("time", "station"), coords={"time": time}), sample_dims="time"
    ... )
    >>> model = som.train(days, som.Lattice(2, 3), som.MapConfig(epochs=3))
    >>> found = som.frequencies(som.infer(days, model), "time.season", model)
    >>> found["period"].values.tolist(), int(found["count"].sum())
    (['DJF', 'MAM', 'JJA', 'SON'], 1095)
    """
    periods = _find_periods(labels, by) if isinstance(by, str) else by
    counted = summarize_labels(labels, periods, model, sample_weights=sample_weights)
    count = counted["class_count"].rename({"class": PERIOD})
    names = count[PERIOD].values.tolist()
    if set(names) <= set(SEASONS):
        count = count.isel({PERIOD: sorted(range(len(names)), key=lambda i: SEASONS.index(names[i]))})
    total = count.sum(NODES)
    share = (count / total.where(total > 0)).transpose(*count.dims)
    weighted = bool(counted.attrs["weighted"])
    what = "weight of the samples" if weighted else "samples"
    result = xr.Dataset(
        {
            "count": count.assign_attrs(long_name=f"{what} of the node in the period", units="1"),
            "share": share.assign_attrs(long_name=f"share of the {what} of the period", units="1"),
        },
        attrs={**counted.attrs, "periods": by if isinstance(by, str) else str(getattr(by, "name", None) or "given")},
    )
    return make_plain(result)


def _find_periods(labels: xr.Dataset, name: str) -> xr.DataArray:
    row, _ = bmus_of(labels)
    try:
        return row.coords[name]
    except (KeyError, AttributeError, TypeError) as error:
        known = ", ".join(map(str, row.coords)) or "none"
        raise ParameterError(
            f"`by` is {name!r}, which the coordinates of the labels ({known}) do not give; take one of them, or a "
            f'part of a time such as "time.year"'
        ) from error


def trends(frequencies: xr.Dataset | xr.DataArray, *, confidence: float = 0.95) -> xr.Dataset:
    """Find the trend of each node's share: the test of Mann and Kendall, and the slope of Theil and Sen.

    Both take the periods as independent of each other. See `som_dask.algorithm.trend.find_trend` for the formulas.

    Parameters
    ----------
    frequencies : xarray.Dataset or DataArray
        Result of `som_dask.frequencies`, of which ``share`` is taken; or an array of your own with a dimension
        ``period``. Periods are numbers, such as years, or dates.
    confidence : float
        Of the interval of the slope, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        On the other dimensions, (row, col): ``slope``, ``slope_low`` and ``slope_high``, per year if the periods are
        years or dates; ``tau`` (Kendall's tau-b) and ``p_value``, two-sided. NaN for fewer than three periods with
        samples.

    Raises
    ------
    ParameterError
        If `confidence` is not between 0 and 1.
    DataError
        If there is no dimension ``period``, or its values are not numbers or dates in ascending order.

    Examples
    --------
    >>> import numpy as np
    >>> import som_dask as som
    >>> import xarray as xr
    >>> share = xr.DataArray([0.1, 0.2, 0.4, 0.5], dims="period")
    >>> found = som.trends(share.assign_coords(period=[2001, 2002, 2003, 2004]))
    >>> round(float(found["slope"]), 3), round(float(found["p_value"]), 3)
    (0.142, 0.083)
    """
    if not 0 < confidence < 1:
        raise ParameterError(f"`confidence` must lie between 0 and 1, got {confidence}")
    share = frequencies["share"] if isinstance(frequencies, xr.Dataset) else frequencies
    if PERIOD not in share.dims or PERIOD not in share.coords:
        raise DataError("trends need a dimension period with coordinates; give what frequencies makes")
    times = _times_of(share[PERIOD].values)
    found = xr.apply_ufunc(
        lambda values: np.array(find_trend(np.asarray(values, dtype=np.float64), times, confidence)),
        share.compute(),
        input_core_dims=[[PERIOD]],
        output_core_dims=[["kind"]],
        vectorize=True,
        keep_attrs=False,
    )
    words = {
        "slope": "slope of Theil and Sen",
        "low": f"slope, lower end of the interval of {confidence:.0%}",
        "high": f"slope, upper end of the interval of {confidence:.0%}",
        "tau": "Kendall's tau of share and time",
        "p_value": "p of no trend, by Mann and Kendall",
    }
    result = xr.Dataset(attrs={"confidence": confidence, "som_dask_version": __version__})
    for i, name in enumerate(Trend._fields):
        key = f"slope_{name}" if name in ("low", "high") else name
        result[key] = found.isel(kind=i).assign_attrs(long_name=words[name])
        if not key.startswith("slope"):
            result[key].attrs["units"] = "1"
        elif share[PERIOD].dtype.kind == "M" or frequencies.attrs.get("periods", "").endswith("year"):
            result[key].attrs["units"] = "1/year"
    return make_plain(result)


def _times_of(periods: np.ndarray) -> np.ndarray:
    """Return periods as numbers, dates in years."""
    if periods.dtype.kind == "M":
        times = (periods - periods[:1]) / YEAR
    elif periods.dtype.kind in "iuf":
        times = periods.astype(np.float64)
    else:
        raise DataError(f"trends need periods in the order of time, such as years; these are {list(periods[:4])}")
    if not (np.diff(times) > 0).all():
        raise DataError("trends need periods in ascending order, each once")
    return times
