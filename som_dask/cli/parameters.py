"""Kinds of options, and of what is given to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from som_dask.errors import ParameterError
from som_dask.samples.gaps import parse_nodata
from som_dask.samples.weights import AREA

__all__ = [
    "AreaOrNumbers",
    "Names",
    "Nodata",
    "NumberOrWord",
    "Numbers",
    "NumbersOrWord",
    "Part",
    "WordedOption",
    "combine_options",
    "worded_option",
]


class Numbers(click.ParamType):
    """Numbers separated by commas, or a list in a job file."""

    name, wanted = "a,b,...", "a list of numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        try:
            return tuple(float(part) for part in parts)
        except (TypeError, ValueError, OverflowError):
            self.fail(f"{value!r} is not {self.wanted}.", param, ctx)


class NumberOrWord(click.ParamType):
    """A number, or one of some words.

    Parameters
    ----------
    words : sequence of str
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words, self.name = tuple(words), "number or word"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what the help shows in place of a value: words as they are written."""
        return "|".join(["FLOAT", *self.words])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        if value in self.words:
            return str(value)
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            self.fail(f"{value!r} is not a number or {' or '.join(self.words)}.", param, ctx)


class NumbersOrWord(Numbers):
    """Numbers, and one of some words among them.

    Parameters
    ----------
    words : sequence of str
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.one, self.name = NumberOrWord(words), "a,b,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, (list, tuple)):
            self.fail(f"{value!r} is not {self.wanted}.", param, ctx)
        return tuple(self.one.convert(part.strip() if isinstance(part, str) else part, param, ctx) for part in parts)


class Names(click.ParamType):
    """Names separated by commas, or a list in a job file."""

    name = "a,b,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not all(isinstance(part, str) and part.strip() for part in parts):
            self.fail(f"{value!r} is not a list of names.", param, ctx)
        return tuple(part.strip() for part in parts)


class AreaOrNumbers(Numbers):
    """The word area, or numbers."""

    name, wanted = "area|a,b,...", "the word area or a list of numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == AREA else super().convert(value, param, ctx)


class Nodata(click.ParamType):
    """Numbers that stand for missing values, as text: a large integer keeps all its digits."""

    name = "value,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        try:
            return tuple(str(number) for number in parse_nodata(parts))
        except ParameterError:
            self.fail(f"{value!r} is not a number or a list of numbers.", param, ctx)


class Part(click.ParamType):
    """One part of several: K/N, with K from 1 to N."""

    name = "k/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(r"([0-9]{1,18})/([0-9]{1,18})", str(value))
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            self.fail(f"{value!r} is not K/N with K from 1 to N, such as 3/16.", param, ctx)
        return int(found[1]), int(found[2])


class WordedOption(click.Option):
    """An option whose default is no value, and whose help says in words what happens then.

    Parameters
    ----------
    *names, **attributes
        As for `click.Option`.
    default_words : str, optional
        Shown as the default.
    """

    def __init__(self, *names: Any, default_words: str | None = None, **attributes: Any) -> None:
        super().__init__(*names, **attributes)
        self.default_words = default_words

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return what stands in brackets after the help."""
        extra = super().get_help_extra(ctx)
        if self.default_words is not None:
            extra["default"] = self.default_words
        return extra


def worded_option(name: str, *, default_words: str | None, **attributes: Any) -> Callable[[Any], Any]:
    """Return a decorator that adds a `WordedOption` to a command."""
    return click.option(name, cls=WordedOption, default_words=default_words, **attributes)


def combine_options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that adds several options to a command, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add
