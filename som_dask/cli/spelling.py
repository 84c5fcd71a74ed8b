"""Options in messages: as Python spells them in the library, and as the command line does where it prints them.

The library sets an option between backticks, alone or with a value: ``name`` or ``name=value``, the value as Python
writes it. Here the same becomes ``--name`` or ``--name value``, if the command line has such an option.
"""

from __future__ import annotations

import ast
import functools
import json
import re
import shlex
from typing import Any

import click

__all__ = ["list_options", "spell_for_shell"]

MARKED = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")
OTHER_NAMES = {"threads_per_worker": "threads"}  # of arguments that are called otherwise in the library


def spell_for_shell(text: str) -> str:
    """Return a message of the library with its options as the command line spells them."""
    return MARKED.sub(_spell, text)


def _spell(found: re.Match[str]) -> str:
    name = OTHER_NAMES.get(found[1], found[1])
    if name not in list_options():
        return found[0]
    option = f"--{name.replace('_', '-')}"
    if found[2] is None:
        return option
    try:
        value = ast.literal_eval(found[2])
    except (ValueError, SyntaxError):  # a placeholder, such as NAMES
        return f"{option} {found[2]}"
    if isinstance(value, bool):
        return option if value else option.replace("--", "--no-", 1)
    if isinstance(value, (list, tuple)) and not all(_is_plain(part) for part in value):
        return f"{name} = {json.dumps(value, ensure_ascii=False)} in the file of --config"
    return f"{option} {shlex.quote(_join(value))}"


def _is_plain(part: Any) -> bool:
    """Return whether an entry of a list can be given between commas."""
    text = str(part)
    return bool(text) and text == text.strip() and "," not in text


def _join(value: Any) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value)


@functools.cache
def list_options() -> frozenset[str]:
    """Return the names of the options of all commands, as Python spells them."""
    from som_dask.cli.commands import cli

    return frozenset(_walk(cli))


def _walk(command: click.Command) -> set[str]:
    names = {
        option.removeprefix("--").replace("-", "_")
        for param in command.params
        if isinstance(param, click.Option)
        for option in param.opts
        if option.startswith("--")
    }
    parts = command.commands.values() if isinstance(command, click.Group) else ()
    return names.union(*(_walk(part) for part in parts))
