"""What is given to a command, wherever it comes from: checked in one place, before the command runs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import click
import fsspec

from som_dask.errors import ParameterError, StorageError
from som_dask.io.files import is_url, local_path
from som_dask.io.redaction import check_no_credentials

__all__ = ["LOCAL", "PATHS", "Command", "Group", "check_argument"]

# The parameters that are paths, by name, and those of them that can't be URLs.
LOCAL = {"config", "initial_codebook", "log_file", "scheduler_file", "tls_ca_file", "tls_cert", "tls_key"}
PATHS = {"checkpoint_dir", "clusters", "evaluation", "input", "labels", "model", "output", "registry"} | LOCAL
FREE = {"seed"}  # of any size
LARGEST = 2**63 - 1


def check_argument(param: click.Parameter, value: Any) -> None:
    """Check the value of a parameter, from the command line, the environment or a job file.

    Raises
    ------
    ParameterError
        If it contains a credential or a NUL character, is a number that is not finite or does not fit 64 bits, a path
        that this system's encoding can't express, or a URL where a file on this machine is needed. The message never
        contains a credential.
    StorageError
        If it is a URL and there is no package for its protocol.
    """
    name = max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name
    for entry in _list_entries(value):
        if isinstance(entry, str):
            check_no_credentials(entry, name)
            if "\0" in entry:
                raise ParameterError(f"{name} {entry!r} has a NUL character; take it out")
            if param.name in PATHS:
                _check_path(name, entry, local=param.name in LOCAL)
            elif not _is_text(entry):
                raise ParameterError(f"{name} {entry!r} is not text in the encoding of this system; set PYTHONUTF8=1")
        elif isinstance(entry, int) and abs(entry) > LARGEST and param.name not in FREE:
            raise ParameterError(f"{name} is too large a number; it must fit 64 bits")
        elif isinstance(entry, float) and not math.isfinite(entry):
            raise ParameterError(f"{name} must be a finite number, got {entry!r}")


def _list_entries(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _list_entries(entry)
    else:
        yield value


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of the command line that are no text
        return False
    return True


def _check_path(name: str, path: str, *, local: bool) -> None:
    if not is_url(path):
        try:
            os.fsencode(path)
        except UnicodeEncodeError as error:
            raise ParameterError(
                f"{name} {path!r} can't be the name of a file in the encoding {error.encoding}; set PYTHONUTF8=1"
            ) from error
        return
    if local:
        raise ParameterError(f"{name} can't be a URL; give a path on this machine")
    for part in path.split("::"):
        protocol, is_one, _ = part.partition("://")
        try:
            fsspec.get_filesystem_class(protocol if is_one else part)
        except (ValueError, ImportError) as error:
            reason = str(error).strip().rstrip(".")
            raise StorageError(
                f"can't use {name} {path}: {reason}; check the URL, or install the package for it"
            ) from error


class Command(click.Command):
    """A command that runs only with arguments that pass `check_argument`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse NUL characters, which no path may have, before any of the arguments is used as one."""
        for argument in args:
            if "\0" in argument:
                raise ParameterError(f"the argument {argument!r} has a NUL character; take it out")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Check all arguments, then run the command."""
        for param in self.params:
            name = str(param.name)
            check_argument(param, ctx.params.get(name))
            if name in PATHS and isinstance(ctx.params.get(name), str):
                ctx.params[name] = local_path(ctx.params[name])
        return super().invoke(ctx)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
