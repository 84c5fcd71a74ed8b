"""Standard output and standard error: what is written there can't harm the terminal, and can't stop the work."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

import click

from som_dask.errors import StorageError

__all__ = ["clean", "echo", "echo_json", "standard_streams"]

# Control and format characters, lone surrogates, and what ends a line or a paragraph. Format characters could turn
# the direction of the text around them.
HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def clean(text: str) -> str:
    r"""Replace whatever could move the cursor, change colors or end the line by its escape, such as ``\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in HARMFUL else character
        for character in text
    )


def echo(text: object = "", *, err: bool = False) -> None:
    """Print one line, cleaned by `clean`: every line that a command prints goes through this."""
    click.echo(clean(str(text)), err=err)


def echo_json(value: Any) -> None:
    """Print a value as JSON, in which all but ASCII is escaped."""
    click.echo(json.dumps(value, indent=2))


class Output:
    """A stream that keeps its first error in place of raising it, and writes nothing after that."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """Write text, if that is possible."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Write what is held back, if that is possible."""
        self._try(self._stream.flush)

    def _try(self, action: Any) -> None:
        if self.fault is not None:
            return
        try:
            action()
        except OSError as error:
            self.fault = error
            with contextlib.suppress(OSError, ValueError):  # so that the interpreter does not try again at its end
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, self._stream.fileno())
                os.close(nothing)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Make standard output and standard error safe to write to within a ``with`` block.

    What their encoding lacks is written as an escape. A reader that has gone, as in ``| head``, is no error. Any
    other fault of standard output ends the command with an error, but not before its work is done.

    Raises
    ------
    StorageError
        At the end, if standard output could not be written.
    """
    _open_closed_ones()
    before = sys.stdout, sys.stderr
    for stream in before:
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stdout, sys.stderr = outputs = Output(before[0]), Output(before[1])
    try:
        yield
        fault = outputs[0].fault
        if fault is not None and fault.errno != errno.EPIPE:
            raise StorageError(f"the work is done, but standard output can't be written: {fault.strerror}")
    finally:
        outputs[0].flush()
        sys.stdout, sys.stderr = before


def _open_closed_ones() -> None:
    """Open whatever standard stream is closed, lest the next file take its number and messages go there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
