"""Format records of `logging` as lines of JSON, and write the lines."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from som_dask.errors import ParameterError, StorageError
from som_dask.io.files import is_url
from som_dask.io.outputs import check_apart
from som_dask.io.redaction import STRUCK, is_secret_name, redact

__all__ = ["JsonLines", "LineFile", "LineHandler", "json_fields", "shorten", "write_to_stderr"]

LONGEST_TEXT = 20_000  # characters
LONGEST_LIST = 1000  # entries
DEEPEST = 6  # levels of lists in lists


class JsonLines(logging.Formatter):
    """Formats any record as one line of valid JSON: ``time`` (UTC), ``level``, ``event``, ``run_id``, ...

    Records of other loggers, such as Dask's, become events named "log" with their ``logger`` and ``message``, and
    with ``error`` if they have one. NaN becomes null and infinities become strings; anything else that JSON does
    not know becomes its repr. Credentials are replaced by ``***``.

    Parameters
    ----------
    run_id : str, optional
        The run that all lines name.
    """

    def __init__(self, run_id: str | None = None) -> None:
        super().__init__()
        self.run_id = run_id

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, without the newline at its end."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        common = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "som_dask_event", "log"),
            "run_id": self.run_id,
        }
        fields = getattr(record, "som_dask_fields", None)
        if fields is None:
            fields = _fields_of_record(record)
        return json.dumps({**common, **fields, **common})


def _fields_of_record(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record that was not written by an `EventLog`."""
    try:
        message = record.getMessage()
    except Exception:  # the arguments do not match the message
        message = f"{record.msg!r} % {_safe_repr(record.args)}"
    error = record.exc_info[1] if record.exc_info else None
    return json_fields({"logger": record.name, "message": message, **({} if error is None else {"error": error})})


def json_fields(fields: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
    """Convert the fields of an event to what JSON knows, without credentials.

    Parameters
    ----------
    fields : mapping
        Values of any kind.
    depth : int
        How many levels of lists and mappings `fields` lies in already.

    Returns
    -------
    dict
    """
    return {
        redact(str(name)): STRUCK if is_secret_name(str(name)) and isinstance(value, str) else _to_json(value, depth)
        for name, value in fields.items()
    }


def _to_json(value: Any, depth: int = 0) -> Any:
    """Convert a value to what JSON knows. Never raises."""
    try:
        if isinstance(value, (np.generic, np.ndarray)):
            if value.size > LONGEST_LIST:
                return f"array of shape {value.shape} and dtype {value.dtype}"
            value = value.tolist() if value.dtype.kind in "biufU" else value.astype(str).tolist()
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if abs(value) < 2**63 else repr(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else None if math.isnan(value) else _infinity(value)
        if isinstance(value, BaseException):
            return {"type": type(value).__name__, "message": shorten(str(value))}
        if isinstance(value, (str, os.PathLike)):
            return shorten(os.fspath(value))
        if isinstance(value, datetime):
            return value.isoformat()
        if depth < DEEPEST:
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            if isinstance(value, Mapping):
                return json_fields(value, depth + 1)
            if isinstance(value, (list, tuple, Set)) and len(value) <= LONGEST_LIST:
                return [_to_json(entry, depth + 1) for entry in value]
    except Exception:  # an object of any class: its methods may raise anything
        pass
    return _safe_repr(value)


def _infinity(value: float) -> str:
    return "Infinity" if value > 0 else "-Infinity"


def shorten(text: Any) -> str:
    """Convert to a string without credentials, cut to 20,000 characters."""
    text = redact(str(text))
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."


def _safe_repr(value: Any) -> str:
    try:
        return shorten(repr(value))
    except Exception:
        return f"<{type(value).__name__} without a repr>"


class LineHandler(logging.Handler):
    """Passes each record as one line to a function.

    The last error of that function is kept as `fault` and not raised, because a log must not end the run. This is
    not a `logging.StreamHandler`, because distributed changes the level of those when it starts a cluster.

    Parameters
    ----------
    write : callable
        Called with each line.
    level : int
        Records below it are ignored.
    run_id : str
        The run that all lines name.
    """

    def __init__(self, write: Callable[[str], None], level: int, run_id: str) -> None:
        super().__init__(level)
        self.setFormatter(JsonLines(run_id))
        self.write_line, self.process = write, os.getpid()
        self.fault: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if os.getpid() != self.process:  # a process forked from this one: only the client writes
            return
        try:
            self.write_line(self.format(record))
        except Exception as error:
            self.fault = error


class LineFile:
    """A file that lines are appended to, each in one write, so that the lines of two runs never mix.

    Parameters
    ----------
    path : path-like
        Created if it does not exist.

    Raises
    ------
    ParameterError
        If `path` is a URL.
    StorageError
        If the file can't be written, or if it contains something other than lines of JSON.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if is_url(path):
            raise ParameterError("the log can't be a URL: it is written line by line; give a file on this machine")
        check_apart(path, kind="log")
        self.path = Path(path)
        folder = self.path.absolute().parent
        if not folder.is_dir():
            raise StorageError(f"the folder {folder} for the log does not exist; create it first")
        try:
            beginning, self.at_start = self._read_ends()
            if beginning not in (b"", b"{"):
                raise StorageError(f"{self.path} is no log of JSON lines and stays as it is; choose another file")
            self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - open as long as the run
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"can't write the log {self.path}: {error.strerror}; choose another file") from error

    def _read_ends(self) -> tuple[bytes, bool]:
        """Return the first byte, and whether the file ends with a newline.

        A run that was killed may have left an incomplete line.
        """
        if not self.path.is_file():
            return b"", True
        with open(self.path, "rb") as file:
            first = file.read(1)
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            return first, file.read(1) in (b"", b"\n")

    def __call__(self, line: str) -> None:
        data = (line if self.at_start else f"\n{line}").encode() + b"\n"
        self.at_start = False
        if self.file.write(data) < len(data):
            raise OSError("only a part of a line could be written")
        self.at_start = True


def write_to_stderr(line: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
