"""Texts in pictures are shown as they are, and names briefly where there is little room."""

import pytest
import xarray as xr
from matplotlib.figure import Figure

from som_dask.plotting.texts import clean_text, make_caption, shorten_names


def test_texts_are_shown_letter_by_letter():
    assert clean_text("$\\frac{1}{$ and $x$") == "\\$\\frac{1}{\\$ and \\$x\\$"
    assert clean_text("two\nlines\t\x00") == "two lines"
    assert len(clean_text("x" * 100, 20)) == 20
    figure = Figure()
    figure.subplots().set_title(clean_text("$\\frac{$ $"))
    figure.canvas.draw()  # mathematics of that kind would raise


def test_captions():
    values = xr.DataArray(1.0, name="t", attrs={"long_name": "temperature", "units": "K"})
    assert make_caption(values) == "temperature [K]"
    assert make_caption(values.assign_attrs(units="1")) == "temperature"
    assert make_caption(xr.DataArray(1.0, name="t")) == "t"


def test_names_of_places_are_brief_and_can_be_told_apart():
    names = [f"latitude={lat} longitude={lon}" for lat in (20.0, 22.5) for lon in (-5.0, 0.0)]
    assert shorten_names(names, 40) == (names, "")
    assert shorten_names(names, 20) == (["20.0, -5.0", "20.0, 0.0", "22.5, -5.0", "22.5, 0.0"], "latitude, longitude")
    assert shorten_names(names[:2], 20) == (["-5.0", "0.0"], "longitude (latitude=20.0)")
    several = [f"{name} level={level}.0" for name in ("temperature", "humidity") for level in (500, 850)]
    assert shorten_names(several, 10)[0] == [
        "temperature, 500.0",
        "temperature, 850.0",
        "humidity, 500.0",
        "humidity, 850.0",
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["a" * 30, "b" * 30],
        ["latitude=1.0 longitude=2.0", "another of these names"],
        ["a=1 b=2", "a=1 c=2"],
        ["x=1 y=2"],
    ],
)
def test_names_of_other_kinds_stay(names):
    assert shorten_names(names, 5) == (names, "")
