"""Write the events of a run as lines of JSON, to a file or to standard error. Only the client writes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import time
import traceback
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import dask
import numpy as np

from som_dask._version import __version__
from som_dask.errors import Interrupted, ParameterError
from som_dask.io.checkpoints import Checkpoint
from som_dask.io.json_lines import LineFile, LineHandler, json_fields, shorten, write_to_stderr
from som_dask.io.redaction import check_no_credentials

__all__ = ["DEFAULT_LEVEL", "EventLog", "FinishedEpoch", "Level", "telemetry"]

Level = Literal["debug", "info", "warning", "error"]
DEFAULT_LEVEL: Level = "info"
LOGGER = logging.getLogger("som_dask")
LOGGER.addHandler(logging.NullHandler())  # without one, logging prints errors for users who asked for no log


class FinishedEpoch(Protocol):
    """What an epoch of either training rule has.

    Attributes
    ----------
    index : int
        0 for the first.
    radius : float
        Neighborhood radius, in lattice units.
    quantization_error : float
        Mean distance of the samples to their best matching units.
    seconds : float
        Wall time.
    """

    @property
    def index(self) -> int: ...
    @property
    def radius(self) -> float: ...
    @property
    def quantization_error(self) -> float: ...
    @property
    def seconds(self) -> float: ...


class EventLog:
    """The log of one run, as `telemetry` gives it.

    Attributes
    ----------
    run_id : str or None
        32 hexadecimal digits; None if nothing is written.
    stderr : bool
        Whether events go to standard error, where a progress bar would get in their way.
    """

    def __init__(self, handlers: list[LineHandler], level: int, run_id: str | None, *, stderr: bool = False) -> None:
        self._handlers, self._level, self.run_id, self.stderr = handlers, level, run_id, stderr

    def event(self, name: str, level: Level = DEFAULT_LEVEL, /, **fields: Any) -> None:
        """Write an event. Never raises, whatever the fields are.

        The event also goes to the logger "som_dask", for users who have configured it.

        Parameters
        ----------
        name : str
            What happened, such as "epoch_finished".
        level : {"debug", "info", "warning", "error"}
            Events below the level of the log are left out.
        **fields
            Numbers, text, exceptions, and lists and mappings of them.
        """
        if not self._handlers:
            return
        with contextlib.suppress(Exception):
            number = logging.getLevelNamesMapping()[level.upper()]
            values = json_fields(fields)
            record = LOGGER.makeRecord(LOGGER.name, number, "", 0, "%s %s", (name, json.dumps(values)), None)
            record.som_dask_event, record.som_dask_fields = name, values
            for handler in self._handlers:
                if number >= handler.level:
                    handler.handle(record)
            if LOGGER.isEnabledFor(number):
                LOGGER.handle(record)

    def epoch(self, epoch: FinishedEpoch) -> None:
        """Write that an epoch is finished. This can be given to training as its callback, with either rule.

        Parameters
        ----------
        epoch : FinishedEpoch
            ``phase``, ``learning_rate``, ``topographic_error`` and the number of nodes without ``hits`` are written
            too, if the epoch has these attributes and they are not None.
        """
        measured: dict[str, Any] = {"radius": epoch.radius, "quantization_error": epoch.quantization_error}
        for name in ("phase", "learning_rate", "topographic_error"):
            value = getattr(epoch, name, None)
            if value is not None:
                measured[name] = value
        hits = getattr(epoch, "hits", None)
        if hits is not None:
            measured["nodes_without_hits"] = int(np.count_nonzero(np.asarray(hits) == 0))
        self.event("epoch_finished", epoch=epoch.index, **measured, seconds=epoch.seconds)

    def checkpoint(self, checkpoint: Checkpoint, file: str) -> None:
        """Write that a checkpoint is saved: a callback for `som_dask.io.checkpoints.CheckpointFolder`.

        Parameters
        ----------
        checkpoint : Checkpoint
        file : str
            Path or URL of the file that it was saved in.
        """
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
    """Log what happens within a ``with`` block, one line of JSON for each event.

    The first event is "run_started" and the last is "run_finished", whose ``status`` is "completed", "interrupted"
    or "failed". An exception is written as "error" with its type and message, and is raised again. Python's
    warnings become events too, and are still shown. Without `file` and `stderr` nothing is written.

    Parameters
    ----------
    command : str
        What the run does, such as "train".
    parameters : mapping, optional
        Written with "run_started".
    file : path-like, optional
        A local file that lines are appended to; it is created if it does not exist.
    stderr : bool
        Whether to write to standard error.
    level : {"debug", "info", "warning", "error"}
        Events below this level are left out. With "debug", errors include their traceback.
    include_dask : bool
        Whether to include the records of the loggers "dask" and "distributed" of this process, as events named
        "log". Which records there are depends on Dask's own settings under ``logging``.

    Yields
    ------
    EventLog

    Raises
    ------
    ParameterError
        If a parameter contains a credential, if the level is unknown, or if the file is a URL.
    StorageError
        If the file can't be written, or if it contains something other than lines of JSON.

    Warns
    -----
    UserWarning
        At the end, if lines could not be written to the file, for example because the disk was full.

    Examples
    --------
    >>> from som_dask.io.event_log import telemetry
    >>> from som_dask.io.event_reader import read_events
    >>> with telemetry("train", {"rows": 4}, file="run.jsonl"):
    ...     pass
    >>> read_events("run.jsonl")["event"].tolist()
    ['run_started', 'run_finished']
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
        handlers = stack.enter_context(_open_handlers(file, stderr, number, run_id))
        log = EventLog(handlers, number, run_id, stderr=stderr)
        stack.enter_context(_report_warnings(log))
        if include_dask:
            stack.enter_context(_join_dask(handlers))
        stack.enter_context(_report_run(log, command, parameters))
        yield log


@contextlib.contextmanager
def _open_handlers(
    file: str | os.PathLike[str] | None, stderr: bool, level: int, run_id: str
) -> Iterator[list[LineHandler]]:
    """Open the outputs of a log; at the end nothing is written to them any more."""
    handlers: list[LineHandler] = []
    with contextlib.ExitStack() as stack:
        stack.callback(handlers.clear)
        if file is not None:
            output = LineFile(file)
            handlers.append(LineHandler(output, level, run_id))
            stack.enter_context(output.file)
            stack.callback(_warn_of_fault, handlers[0], output.path)
        if stderr:
            handlers.append(LineHandler(write_to_stderr, level, run_id))
        yield handlers


@contextlib.contextmanager
def _report_run(log: EventLog, command: str, parameters: Mapping[str, Any]) -> Iterator[None]:
    """Write the first and the last events of a run."""
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
def _report_warnings(log: EventLog) -> Iterator[None]:
    """Write Python's warnings as events, and show them as before."""
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
def _join_dask(handlers: list[LineHandler]) -> Iterator[None]:
    """Add the handlers to Dask's loggers, and to the loggers below them that do not propagate."""
    import distributed  # noqa: F401 - configures its loggers when it is imported

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


def _warn_of_fault(handler: LineHandler, path: Path) -> None:
    if handler.fault is not None:
        warnings.warn(f"the log {path} is not whole: {shorten(handler.fault)}", stacklevel=2)
