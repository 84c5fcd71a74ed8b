"""Options made from the fields of configurations: each default, choice and description is stated there alone.

The name and the default of an option are those of the field, its type comes from the annotation, and its help is the
first sentence that the class's docstring has on it. Where the default is None, the docstring says what that means in
a clause "by default ...", which the help shows as the default.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from som_dask.cli.parameters import NumberOrWord, Numbers, combine_options, worded_option

__all__ = ["Description", "add_options", "read_descriptions", "take"]

Config = TypeVar("Config")
PLAIN: dict[Any, click.ParamType] = {int: click.INT, float: click.FLOAT, str: click.STRING}


class Description(NamedTuple):
    """What a docstring says of a parameter.

    Attributes
    ----------
    kind : str
        What stands after the colon.
    text : str
        In one line.
    """

    kind: str = ""
    text: str = ""


def read_descriptions(documented: Any) -> dict[str, Description]:
    """Read the section "Parameters" of a numpydoc docstring.

    Parameters
    ----------
    documented : class or function

    Returns
    -------
    dict of str to Description
        By the parameters' names; empty where there is no docstring, as under ``python -OO``.
    """
    _, _, section = (inspect.getdoc(documented) or "").partition("Parameters\n----------\n")
    found: dict[str, Description] = {}
    names: list[str] = []
    for line, following in pairwise([*section.splitlines(), ""]):
        if following.startswith("---"):
            break  # this line is the title of the next section
        if line and not line.startswith(" "):
            head, _, kind = line.partition(" : ")
            names = [name.strip() for name in head.split(",")]
            found |= {name: Description(kind) for name in names}
        elif line:
            for name in names:
                found[name] = found[name]._replace(text=f"{found[name].text} {line.strip()}".strip())
    return found


def add_options(
    config: type,
    *names: str,
    types: Mapping[str, click.ParamType] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Callable[[Any], Any]:
    """Return a decorator that adds an option for each field of a configuration to a command.

    Parameters
    ----------
    config : dataclass
    *names : str
        Fields to take; all without any.
    types : mapping, optional
        Types that are narrower than the fields' annotations.
    defaults : mapping, optional
        Of fields that have none.
    """
    hints, described = get_type_hints(config), read_descriptions(config)
    every = {field.name: field.default for field in fields(config)} | dict(defaults or {})
    options = []
    for name in names or every:
        description = described.get(name, Description())
        text, words = _describe(description.text, every)
        options.append(
            worded_option(
                _name_option(name),
                type=(types or {}).get(name) or _choose_type(hints[name], description.kind),
                default=None if every[name] is MISSING else every[name],
                required=every[name] is MISSING,
                help=text,
                default_words=words if every[name] is None else None,
            )
        )
    return combine_options(*options)


def take(config: Callable[..., Config], options: dict[str, Any]) -> Config:
    """Make a configuration of the options that are its fields, and take these out of `options`."""
    return config(**{name: options.pop(name) for name in _list_fields(config) if name in options})


def _list_fields(config: Any) -> list[str]:
    return [field.name for field in fields(config)]


def _name_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _choose_type(hint: Any, kind: str) -> click.ParamType:
    """Choose the type of an option by its field's annotation; for text, the choices in the docstring, if any."""
    if get_origin(hint) in (Union, UnionType):
        kinds = [part for part in get_args(hint) if part is not NoneType]
        words = [word for part in kinds if get_origin(part) is Literal for word in get_args(part)]
        if float in kinds and words:
            return NumberOrWord(words)
        (hint,) = kinds
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    if get_origin(hint) is tuple:
        return Numbers()
    choices = re.findall(r'"([^"]+)"', kind) if hint is str else []
    return click.Choice(choices) if choices else PLAIN[hint]


def _describe(text: str, names: Mapping[str, Any]) -> tuple[str, str | None]:
    """Part a description into the help of an option and its default in words; `names` are those of all options."""
    text = re.sub(r"`+([^`]+)`+", lambda found: _name_option(found[1]) if found[1] in names else found[1], text)
    sentence, *_ = re.split(r"(?<=\.)\s", text, maxsplit=1)
    said, by_default, words = sentence.partition("; by default ")
    return (f"{said}.", words.removesuffix(".")) if by_default else (sentence, None)
