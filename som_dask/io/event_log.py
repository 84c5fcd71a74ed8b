"""Telemetry: the events of a run as JSON lines, in a file or on standard error, written by the client alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import platform
import sys
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import dask
import numpy as np

from som_dask._version import __version__
from som_dask.algorithm.online_rule import Iteration
from som_dask.errors import Interrupted, ParameterError, StorageError
from som_dask.io.checkpoints import Checkpoint
from som_dask.io.files import is_url
from som_dask.io.redaction import STRUCK, check_no_credentials, is_secret_name, redact

__all__ = ["DEFAULT_LEVEL", "EventLog", "JsonLines", "Level", "telemetry"]

Level = Literal["debug", "info", "warning", "error"]
DEFAULT_LEVEL: Level = "info"
LOGGER = logging.getLogger("som_dask")
LOGGER.addHandler(logging.NullHandler())  # without one, logging prints errors for those who asked for no log
LONGEST_TEXT = 20_000  # characters
LONGEST_LIST = 1000  # entries
DEEPEST = 6  # levels of lists in lists


class JsonLines(logging.Formatter):
    """One line of JSON for each record, whatever is in it: ``time`` (UTC), ``level``, ``event``, ``run_id``, ...

    Records of other loggers, such as Dask's, are events named "log" with their ``logger`` and ``message``, and
    ``error`` where there is one. NaN is null, infinities are strings; what has no JSON form is told by its repr.
    Credentials are struck out.

    Parameters
    ----------
    run_id : str, optional
        Of the run that the records are told with.
    """

    def __init__(self, run_id: str | None = None) -> None:
        super().__init__()
        self.run_id = run_id

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without its end."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "som_dask_event", "log"),
            "run_id": self.run_id,
        }
        fields = getattr(record, "som_dask_fields", None)
        if fields is None:
            fields = _foreign(record)
        return json.dumps({**told, **fields, **told})


def _foreign(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a record that is no event of ours."""
    try:
        message = record.getMessage()
    except Exception:  # arguments that do not fit the message
        message = f"{record.msg!r} % {_repr(record.args)}"
    error = record.exc_info[1] if record.exc_info else None
    return _fields({"logger": record.name, "message": message, **({} if error is None else {"error": error})})


def _fields(fields: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
    return {
        redact(str(name)): STRUCK if is_secret_name(str(name)) and isinstance(value, str) else _plain(value, depth)
        for name, value in fields.items()
    }


def _plain(value: Any, depth: int = 0) -> Any:
    """A value in what JSON knows. Never raises."""
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
            return {"type": type(value).__name__, "message": _text(str(value))}
        if isinstance(value, (str, os.PathLike)):
            return _text(os.fspath(value))
        if isinstance(value, datetime):
            return value.isoformat()
        if depth < DEEPEST:
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            if isinstance(value, Mapping):
                return _fields(value, depth + 1)
            if isinstance(value, (list, tuple, Set)) and len(value) <= LONGEST_LIST:
                return [_plain(entry, depth + 1) for entry in value]
    except Exception:  # an object of any class: its methods may do what they like
        pass
    return _repr(value)


def _infinity(value: float) -> str:
    return "Infinity" if value > 0 else "-Infinity"


def _text(text: Any) -> str:
    text = redact(str(text))
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."


def _repr(value: Any) -> str:
    try:
        return _text(repr(value))
    except Exception:
        return f"<{type(value).__name__} without a repr>"


class _Lines(logging.Handler):
    """Gives each record as one line to `write`, and keeps a fault for the end: a log must not end the run.

    It is no `logging.StreamHandler`: distributed quiets those when it starts a cluster.
    """

    def __init__(self, write: Callable[[str], None], level: int, run_id: str) -> None:
        super().__init__(level)
        self.setFormatter(JsonLines(run_id))
        self.write_line, self.process = write, os.getpid()
        self.fault: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if os.getpid() != self.process:  # a process forked off this one: the client alone writes
            return
        try:
            self.write_line(self.format(record))
        except Exception as error:
            self.fault = error


class _File:
    """A file that lines are added to, each whole by one write: readers and other runs never see two mixed."""

    def __init__(self, place: str | os.PathLike[str]) -> None:
        if is_url(place):
            raise ParameterError("the log can't be a URL: it is written line by line; give a file on this machine")
        self.path = Path(place)
        folder = self.path.absolute().parent
        if not folder.is_dir():
            raise StorageError(f"the folder {folder} for the log does not exist; create it first")
        try:
            beginning, self.at_start = self._ends()
            if beginning not in (b"", b"{"):
                raise StorageError(f"{self.path} is no log of JSON lines and stays as it is; choose another file")
            self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - open as long as the run
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"can't write the log {self.path}: {error.strerror}; choose another file") from error

    def _ends(self) -> tuple[bytes, bool]:
        """The first byte, and whether the last ends a line; a run that was killed may have left half of one."""
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


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class EventLog:
    """What a run tells its events to; made by `telemetry`.

    Attributes
    ----------
    run_id : str or None
        32 hexadecimal digits; None where nothing is written.
    stderr : bool
        Whether events go to standard error, where a progress bar would be in their way.
    """

    def __init__(self, handlers: list[_Lines], level: int, run_id: str | None, *, stderr: bool = False) -> None:
        self._handlers, self._level, self.run_id, self.stderr = handlers, level, run_id, stderr

    def event(self, name: str, level: Level = DEFAULT_LEVEL, /, **fields: Any) -> None:
        """Write an event; never raises, whatever the fields are.

        It also goes to the logger "som_dask", for those who have set that up.

        Parameters
        ----------
        name : str
            Such as "epoch_finished".
        level : {"debug", "info", "warning", "error"}
        **fields
            Numbers, text, exceptions, and lists and mappings of them.
        """
        if not self._handlers:
            return
        with contextlib.suppress(Exception):
            number = logging.getLevelNamesMapping()[level.upper()]
            told = _fields(fields)
            record = LOGGER.makeRecord(LOGGER.name, number, "", 0, "%s %s", (name, json.dumps(told)), None)
            record.som_dask_event, record.som_dask_fields = name, told
            for handler in self._handlers:
                if number >= handler.level:
                    handler.handle(record)
            if LOGGER.isEnabledFor(number):
                LOGGER.handle(record)

    def epoch(self, epoch: Any) -> None:
        """Tell that an epoch is done: an `on_epoch` for `som_dask.fit`, an `on_iteration` for `fit_online`."""
        measured: dict[str, Any] = {"radius": epoch.radius, "quantization_error": epoch.quantization_error}
        if isinstance(epoch, Iteration):
            measured["learning_rate"] = epoch.learning_rate
        else:
            measured["topographic_error"] = epoch.topographic_error
            measured["nodes_without_hits"] = int(np.count_nonzero(np.asarray(epoch.hits) == 0))
        self.event("epoch_finished", epoch=epoch.index, **measured, seconds=epoch.seconds)

    def checkpoint(self, checkpoint: Checkpoint, file: Path) -> None:
        """Tell that a checkpoint is saved: an `on_save` for `som_dask.io.checkpoints.CheckpointFolder`."""
        self.event("checkpoint_saved", epochs_done=checkpoint.epochs_done, path=file)

    def _error(self, error: BaseException) -> None:
        lines = {"traceback": "".join(traceback.format_exception(error))} if self._level <= logging.DEBUG else {}
        self.event("error", "error", error=error, **lines)


@contextlib.contextmanager
def telemetry(
    command: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    file: str | os.PathLike[str] | None = None,
    stderr: bool = False,
    level: Level = DEFAULT_LEVEL,
    include_dask: bool = False,
) -> Iterator[EventLog]:
    """Write the events of what is done inside the ``with`` block, one line of JSON each.

    It begins with "run_started" and ends with "run_finished", whose ``status`` is "completed", "interrupted" or
    "failed"; before a failed one comes "error" with the type and message of the exception, which goes on. Python's
    warnings become events and are shown as before. Without `file` and `stderr` nothing is written.

    Parameters
    ----------
    command : str
        What the run is, such as "train".
    parameters : mapping, optional
        Told with "run_started".
    file : path, optional
        Lines are added to it; made if it is not there.
    stderr : bool
        Write to standard error.
    level : {"debug", "info", "warning", "error"}
        Leave out events below it. With "debug" errors carry their traceback.
    include_dask : bool
        Let the records of the loggers "dask" and "distributed" of this process join, as events named "log". Which
        ones there are is up to Dask's own settings under ``logging``.

    Yields
    ------
    EventLog

    Raises
    ------
    ParameterError
        If a parameter holds a credential, the level is none, or the file is a URL.
    StorageError
        If the file can't be written, or holds something else.

    Warns
    -----
    UserWarning
        At the end, if lines could not be written to the file, such as on a full disk.
    """
    if level not in get_args(Level):
        raise ParameterError(f"the level of the log must be one of {get_args(Level)}, got {level!r}")
    number = logging.getLevelNamesMapping()[level.upper()]
    if file is None and not stderr:
        yield EventLog([], number, None)
        return
    parameters = dict(parameters or {})
    check_no_credentials({**parameters, "the log": file})
    run_id = uuid.uuid4().hex
    with contextlib.ExitStack() as stack:
        handlers: list[_Lines] = []
        stack.callback(handlers.clear)
        if file is not None:
            output = _File(file)
            handlers.append(_Lines(output, number, run_id))
            stack.enter_context(output.file)
            stack.callback(_tell_fault, handlers[0], output.path)
        if stderr:
            handlers.append(_Lines(_to_stderr, number, run_id))
        log = EventLog(handlers, number, run_id, stderr=stderr)
        stack.enter_context(_warnings_told(log))
        if include_dask:
            stack.enter_context(_joined(handlers))
        stack.enter_context(_told(log, command, parameters))
        yield log


@contextlib.contextmanager
def _told(log: EventLog, command: str, parameters: Mapping[str, Any]) -> Iterator[None]:
    """The first and the last events of a run."""
    clock = time.perf_counter()
    versions = {"som_dask": __version__, "python": platform.python_version()}
    versions |= {"dask": dask.__version__, "numpy": np.__version__}
    log.event("run_started", command=command, parameters=parameters, versions=versions, pid=os.getpid())
    level: Level = "info"
    status = "completed"
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        level, status = "warning", "interrupted"
        raise
    except BaseException as error:
        level, status = "error", "failed"
        log._error(error)
        raise
    finally:
        log.event("run_finished", level, status=status, seconds=time.perf_counter() - clock)


@contextlib.contextmanager
def _warnings_told(log: EventLog) -> Iterator[None]:
    """Python's warnings as events; they are shown as before too."""
    shown = warnings.showwarning

    def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        with contextlib.suppress(Exception):
            name, source = category.__name__, f"{filename}:{lineno}"
            log.event("warning", "warning", category=name, message=str(message), source=source)
        shown(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield
    finally:
        if warnings.showwarning is show:
            warnings.showwarning = shown


@contextlib.contextmanager
def _joined(handlers: list[_Lines]) -> Iterator[None]:
    """The handlers on Dask's loggers, and on those below them that pass nothing up."""
    import distributed  # noqa: F401 - it sets its loggers up when it is imported

    loggers = [logging.getLogger(name) for name in ("dask", "distributed")]
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if name.startswith(("dask.", "distributed.")) and isinstance(logger, logging.Logger) and not logger.propagate:
            loggers.append(logger)
    with contextlib.ExitStack() as stack:
        for logger in loggers:
            for handler in handlers:
                logger.addHandler(handler)
                stack.callback(logger.removeHandler, handler)
        yield


def _tell_fault(handler: _Lines, path: Path) -> None:
    if handler.fault is not None:
        warnings.warn(f"the log {path} is not whole: {_text(handler.fault)}", stacklevel=2)
