"""The HTML of a report: escaped, well-formed, nothing from elsewhere."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from som_dask.plotting.report_page import (
    ENVIRONMENT,
    START,
    Section,
    Table,
    draw_picture,
    format_attribute,
    format_number,
    render_page,
)

HOSTILE = "<script>alert(1)</script>\"'&"


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (1234567, "1,234,567"), (0.123456789, "0.123457"), (np.nan, "-"), (np.inf, "inf"), (1e-9, "1e-09")],
)
def test_numbers(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (True, "yes"), (3, "3"), (0.5, "0.5"), ("a", "a"), ([1, 2], "[1, 2]"), (np.arange(2), "[0, 1]")],
)
def test_values_of_attributes(value, text):
    assert format_attribute(value) == text


def page_of(**parts):
    """A page of one section."""
    return render_page("t", ["f"], [Section(key="key", heading="h", **parts)])


def table_of(text, **options):
    return Table(caption=text, heads=[text, text], rows=[(text, text)], **options)


def test_all_text_is_escaped():
    plain = draw_picture(lambda: Figure().subplots(), "alt")
    pages = [
        (6, render_page(HOSTILE, [HOSTILE, HOSTILE], [Section(key="key", heading=HOSTILE, note="kept")])),
        (6, page_of(note=HOSTILE, table=table_of(HOSTILE))),
        (7, page_of(note=HOSTILE, table=table_of(HOSTILE, numeric=True, summary=HOSTILE))),
        (2, page_of(pictures=[replace(plain, alt=HOSTILE, caption=HOSTILE)])),
        (1, page_of(pictures=[replace(plain, source=HOSTILE)])),
    ]
    for times, text in pages:
        assert "<script" not in text
        assert text.count("alert(1)") == times
        assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;") == times
    assert "<p>kept</p>" in pages[0][1]


def test_nothing_in_the_template_turns_the_escape_off():
    source, _, _ = ENVIRONMENT.loader.get_source(ENVIRONMENT, "report.html.jinja")
    assert ENVIRONMENT.autoescape is True
    assert not re.search(r"\bsafe\b|autoescape (false|true)", source)


def test_text_that_looks_like_a_template_is_text():
    assert "<p>{{ 7 * 7 }}{% raw %}{# x #}</p>" in page_of(note="{{ 7 * 7 }}{% raw %}{# x #}")


def test_empty_sections_are_left_out():
    sections = [Section(key="one", heading="One"), Section(key="two", heading="Two", note="x")]
    text = render_page("t", ["f"], sections)
    assert "One" not in text
    assert '<h2 id="two">Two</h2>' in text
    assert "<p>x</p>" in text
    assert text.startswith(START)


def test_a_table_has_its_headings_and_cells_in_order():
    rows = [("a", "1", "2"), ("b", "3", "4")]
    text = page_of(table=Table(caption="c", heads=("x", "y", "z"), rows=rows, numeric=True, summary="more"))
    assert re.findall(r"<t[hd](?: [^>]*)?>([^<]*)", text) == ["x", "y", "z", "a", "1", "2", "b", "3", "4"]
    assert text.count('class="number"') == 2 + 4  # all but the first column
    assert re.search(r"<details>\s*<summary>more</summary>.*</table>\s*</div>\s*</details>", text, re.S)
    assert "<details>" not in page_of(table=Table(caption="c", heads=("x", "y"), rows=[("a", "b")]))


def test_a_picture_is_png_or_svg_within_the_page():
    for vector, start in ((False, b"\x89PNG"), (True, b"<?xml")):
        text = page_of(pictures=[draw_picture(lambda: Figure().subplots(), "alt", vector=vector)])
        kind = "svg+xml" if vector else "png"
        data = text.split(f'src="data:image/{kind};base64,')[1].split('"')[0]
        assert base64.b64decode(data).startswith(start)
    assert 'class="pictures"' not in page_of(note="n", pictures=[])


def test_a_name_in_a_script_that_the_font_lacks_is_no_warning():
    def draw():
        ax = Figure().subplots()
        ax.set_title("\u6e29\u5ea6")
        return ax

    assert "png" in draw_picture(draw, "alt").source
