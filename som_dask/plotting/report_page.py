"""The page of a report: the data that it shows, and the HTML that a template makes of them."""

from __future__ import annotations

import base64
import datetime
import io
import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from som_dask._version import __version__

__all__ = ["START", "Picture", "Section", "Table", "draw_picture", "format_attribute", "format_number", "render_page"]

START = "<!doctype html>"  # of every page
DPI = 100
TEMPLATE = "report.html.jinja"
ENVIRONMENT = Environment(
    loader=PackageLoader("som_dask.plotting", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text.

    Parameters
    ----------
    caption : str
    heads : sequence of str
        Headings of the columns.
    rows : sequence of sequences of str
        The first cell of a row is its heading.
    numeric : bool
        Whether the cells are numbers, which are aligned on the right.
    summary : str
        If it is not empty, the page shows this line only, and the table when the reader unfolds it.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: bool = False
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture with its bytes, as `draw_picture` makes it.

    Parameters
    ----------
    source : str
        The picture as a ``data:`` URL.
    alt : str
        Text for readers who do not see the picture.
    caption : str
        Text below the picture; none if empty.
    broad : bool
        Whether it takes the page's whole width, and is scrolled where the page is narrow, not shrunk.
    """

    source: str
    alt: str
    caption: str = ""
    broad: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page: a note, then pictures, then a table, as far as there are any.

    Parameters
    ----------
    key : str
        Name of the section in links, unique in the page.
    heading : str
    note : str
    pictures : sequence of Picture
    table : Table, optional
    """

    key: str
    heading: str
    note: str = ""
    pictures: Sequence[Picture] = ()
    table: Table | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.note or self.pictures or self.table)


def render_page(title: str, facts: Sequence[str], sections: Iterable[Section]) -> str:
    """Make the HTML of a page, in which all text is escaped.

    Parameters
    ----------
    title : str
        Heading of the page.
    facts : sequence of str
        What the line below the heading says.
    sections : iterable of Section
        Empty ones are left out.

    Returns
    -------
    str
        An HTML document. It makes no request and has no script.
    """
    return ENVIRONMENT.get_template(TEMPLATE).render(
        title=title,
        facts=facts,
        sections=[section for section in sections if not section.is_empty],
        version=__version__,
        written=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def draw_picture(
    draw: Callable[[], Any], alt: str, caption: str = "", *, vector: bool = False, broad: bool = False
) -> Picture:
    """Draw a picture for a page.

    Parameters
    ----------
    draw : callable
        Returns the matplotlib Axes, or an array of Axes of one figure.
    alt, caption, broad
        See `Picture`.
    vector : bool
        Make an SVG, which suits the few lines of a curve, not a PNG.

    Returns
    -------
    Picture

    Raises
    ------
    ParameterError
        If matplotlib is missing.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in scripts that the font lacks
        figure = np.ravel(np.asarray(draw(), dtype=object))[0].figure
        kind = {"format": "svg", "metadata": {"Date": None}} if vector else {"format": "png", "dpi": DPI}
        figure.savefig(buffer, bbox_inches="tight", **kind)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    source = f"data:image/{'svg+xml' if vector else 'png'};base64,{data}"
    return Picture(source=source, alt=alt, caption=caption, broad=broad)


def format_number(value: Any) -> str:
    """Format a number for a table: up to six digits, whole numbers in full, a dash for NaN."""
    value = float(value)
    if np.isnan(value):
        return "-"
    return f"{int(value):,}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def format_attribute(value: Any) -> str:
    """Format the value of a model's attribute for a table: a dash for None, JSON for lists and arrays."""
    if value is None:
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return str(value)
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}"
    if isinstance(value, str):
        return value
    return json.dumps(value.tolist() if isinstance(value, np.ndarray) else value, default=str)
