"""The HTML of a report: the page, its tables, and pictures within it. All text given is escaped here."""

from __future__ import annotations

import base64
import datetime
import io
import json
import warnings
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import numpy as np

from som_dask._version import __version__

__all__ = ["START", "details", "number", "page", "picture", "pictures", "shown", "table"]

START = "<!doctype html>"
DPI = 100
# Only pictures within the page: a browser that obeys makes no request, whatever the page holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --soft: #57606a; --ground: #ffffff; --line: #d0d7de; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --soft: #9aa4af; --ground: #14181d; --line: #3a424c; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
th { overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0; }
h2 { font-size: 1.25rem; margin: 2rem 0 0.5rem; border-bottom: 1px solid var(--line); }
.facts, figcaption, caption { color: var(--soft); }
nav ul { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; list-style: none; padding: 0; }
a { color: inherit; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1rem;
  align-items: start; }
figure { margin: 0; min-width: 0; max-width: 46rem; }
figure:has(.broad) { grid-column: 1 / -1; max-width: 100%; }
figure div { background: #ffffff; border: 1px solid var(--line); border-radius: 6px; padding: 0.5rem;
  overflow-x: auto; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figure .broad img { max-width: max(100%, 54rem); }
figcaption { font-size: 0.9rem; margin: 0.2rem 0 0.8rem; max-width: 45rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.92rem; margin: 0.5rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-size: 0.9rem; }
th, td { text-align: left; vertical-align: top; padding: 0.2rem 1rem 0.2rem 0; border-bottom: 1px solid var(--line); }
th[scope="row"] { min-width: 7rem; }
td { min-width: 6.5rem; overflow-wrap: break-word; }
td.number { min-width: 0; }
thead th { white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
thead th { border-bottom-width: 2px; }
summary { cursor: pointer; }
@media print { nav { display: none; } figure, tr { break-inside: avoid; } }
"""


def page(title: str, facts: str, sections: Iterable[tuple[str, str, str]]) -> str:
    """The whole page.

    Parameters
    ----------
    title, facts : str
        Heading, and the line below it.
    sections : iterable of (key, heading, content)
        The contents are HTML, of the other functions here; those that are empty are left out.
    """
    kept = [section for section in sections if section[2]]
    links = "".join(f'<li><a href="#{key}">{escape(heading)}</a></li>' for key, heading, _ in kept)
    body = "".join(
        f'<section aria-labelledby="{key}">\n<h2 id="{key}">{escape(heading)}</h2>\n{content}\n</section>\n'
        for key, heading, content in kept
    )
    version = escape(__version__)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return (
        f'{START}\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="som_dask {version}">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{escape(title)}</h1>\n<p class="facts">{escape(facts)}</p>\n</header>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n{body}</main>\n'
        f'<footer><p class="facts">Written by som_dask {version}, {now}</p></footer>\n</body>\n</html>\n'
    )


def number(value: Any) -> str:
    """A number of a table; a dash for NaN."""
    value = float(value)
    if np.isnan(value):
        return "-"
    return f"{int(value):,}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def shown(value: Any) -> str:
    """The value of an attribute."""
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


def table(caption: str, heads: Iterable[str], rows: Iterable[Iterable[str]], *, numbers: bool = False) -> str:
    """A table with a heading in each row; its cells are numbers, or text."""
    kind = ' class="number"' if numbers else ""
    first, *others = heads
    head = f'<th scope="col">{escape(first)}</th>' + "".join(
        f'<th scope="col"{kind}>{escape(other)}</th>' for other in others
    )
    lines = []
    for name, *cells in rows:
        data = "".join(f"<td{kind}>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{data}</tr>')
    return (
        f'<div class="table"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def details(summary: str, content: str) -> str:
    """HTML that is shown when it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def picture(
    draw: Callable[[], Any], alt: str, caption: str = "", *, vector: bool = False, broad: bool = False
) -> str:
    """A figure in the page: PNG, or SVG for the few lines of a curve. One that is `broad` is scrolled, not shrunk."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in scripts that the font lacks
        figure = np.ravel(np.asarray(draw(), dtype=object))[0].figure
        kind = {"format": "svg", "metadata": {"Date": None}} if vector else {"format": "png", "dpi": DPI}
        figure.savefig(buffer, bbox_inches="tight", **kind)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    source = f"data:image/{'svg+xml' if vector else 'png'};base64,{data}"
    told = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    area = '<div class="broad" tabindex="0">' if broad else "<div>"
    return f'<figure>{area}<img alt="{escape(alt)}" src="{source}"></div>{told}</figure>\n'


def pictures(figures: Iterable[str]) -> str:
    """Figures beside each other, as far as there is room."""
    content = "".join(figures)
    return f'<div class="pictures">{content}</div>' if content else ""
