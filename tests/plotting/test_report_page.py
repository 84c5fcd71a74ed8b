"""The HTML of a report: escaped, well-formed, nothing from elsewhere."""

import base64

import numpy as np
import pytest
from matplotlib.figure import Figure

from som_dask.plotting.report_page import details, number, page, picture, pictures, shown, table

HOSTILE = "<script>alert(1)</script>\"'&"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (1234567, "1,234,567"), (0.123456789, "0.123457"), (np.nan, "-"), (np.inf, "inf"), (1e-9, "1e-09")],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "yes"), (3, "3"), (0.5, "0.5"), ("a", "a"), ([1, 2], "[1, 2]"), (np.arange(2), "[0, 1]")],
)
def test_values_of_attributes(value, text):
    assert shown(value) == text


def test_all_text_is_escaped():
    parts = [
        page(HOSTILE, HOSTILE, [("key", HOSTILE, "<p>kept</p>")]),
        table(HOSTILE, [HOSTILE, HOSTILE], [(HOSTILE, HOSTILE)]),
        details(HOSTILE, ""),
        picture(lambda: Figure().subplots(), HOSTILE, HOSTILE),
    ]
    for part in parts:
        assert "<script" not in part
        assert "alert(1)" in part
    assert "<p>kept</p>" in parts[0]


def test_empty_sections_are_left_out():
    text = page("t", "f", [("one", "One", ""), ("two", "Two", "<p>x</p>")])
    assert "One" not in text
    assert '<h2 id="two">Two</h2>' in text


def test_a_picture_is_png_or_svg_within_the_page():
    for vector, start in ((False, b"\x89PNG"), (True, b"<?xml")):
        text = picture(lambda: Figure().subplots(), "alt", vector=vector)
        kind = "svg+xml" if vector else "png"
        data = text.split(f'src="data:image/{kind};base64,')[1].split('"')[0]
        assert base64.b64decode(data).startswith(start)
    assert pictures([]) == ""


def test_a_name_in_a_script_that_the_font_lacks_is_no_warning():
    def draw():
        ax = Figure().subplots()
        ax.set_title("\u6e29\u5ea6")
        return ax

    assert "png" in picture(draw, "alt")
