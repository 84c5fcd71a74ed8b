"""Texts in pictures: names and captions that fit, and that matplotlib shows letter by letter."""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

__all__ = ["clean_text", "make_caption", "shorten_names"]


def clean_text(text: object, most: int = 40) -> str:
    """Make a text that matplotlib shows letter by letter, on one line.

    Parameters
    ----------
    text : object
        Anything that `str` takes.
    most : int
        Longer texts are cut to so many letters, the last three of them dots.

    Returns
    -------
    str
        Without line breaks and unprintable letters; dollar signs are escaped, as they would begin mathematics.
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return (line if len(line) <= most else f"{line[: most - 3]}...").replace("$", r"\$")


def shorten_names(names: Sequence[str], most: int) -> tuple[list[str], str]:
    """Shorten names such as ``latitude=20.0 longitude=5.0`` to their values if they are too long.

    Parameters
    ----------
    names : sequence of str
    most : int
        The number of letters that there is room for.

    Returns
    -------
    names : list of str
        ``20.0, 5.0``, without the values that all names have in common. If all names are short enough, or they do
        not all have the same parts, the names that were given.
    parts : str
        What the values are: ``latitude, longitude``, and in brackets what all names have in common. Empty if the
        names are those that were given.
    """
    if all(len(name) <= most for name in names):
        return list(names), ""
    table = [[part.rpartition("=") for part in name.split(" ")] for name in names]
    keys, *others = {tuple(key for key, _, _ in row) for row in table}
    if others:
        return list(names), ""
    varying = [i for i, key in enumerate(keys) if not key or len({row[i][2] for row in table}) > 1]
    if not any(keys[i] for i in varying):
        return list(names), ""
    shortened = [", ".join(row[i][2] for i in varying) for row in table]
    return shortened, _describe_parts(keys, varying, names[0].split(" "))


def _describe_parts(keys: tuple[str, ...], varying: list[int], example: list[str]) -> str:
    common = ", ".join(part for i, part in enumerate(example) if i not in varying)
    return ", ".join(keys[i] or "name" for i in varying) + (f" ({common})" if common else "")


def make_caption(values: xr.DataArray) -> str:
    """Make a caption of a variable: its ``long_name`` or else its name, and its units in brackets."""
    text = str(values.attrs.get("long_name") or values.name or "")
    units = str(values.attrs.get("units", ""))
    return f"{text} [{units}]" if units and units != "1" and text else text
